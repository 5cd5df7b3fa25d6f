package web

import (
	"net/http"

	"mobileid/internal/fault"
	"mobileid/templates"
)

// evidenceKeys publishes the keys that evidence is verified with, to anyone and
// for ever. A new key is seen at once. Pages of other origins may read them too: nothing in them is secret.
func (s *Server) evidenceKeys(w http.ResponseWriter, r *http.Request) error {
	set, err := s.EvidenceKeys(r.Context())
	if err != nil {
		return fault.Wrap(fault.Unavailable, "the keys cannot be read; try again", err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Cache-Control", "no-cache")
	h.Set("Access-Control-Allow-Origin", "*")
	_, err = w.Write(set)
	return err
}

// verifyPage is where anyone looks at evidence; the browser does the checking.
func (s *Server) verifyPage(w http.ResponseWriter, r *http.Request) error {
	s.render(w, r, http.StatusOK, templates.Verify(templates.VerifyView{Page: s.page(r), Issuer: s.Issuer}))
	return nil
}
