package web

import (
	"crypto/subtle"
	"maps"
	"net/http"
	"slices"
	"strings"

	"mobileid/flows"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/provider"
	"mobileid/templates"

	"github.com/gorilla/sessions"
)

// logout is the end session endpoint (OpenID Connect RP-Initiated Logout). A
// browser is logged out at once only on the word of a client that took part in
// the login; otherwise its user is asked.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		s.errorPage(w, r, http.StatusMethodNotAllowed, "this address takes GET and POST", "")
		return nil
	}
	req, err := s.askedOut(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodPost {
		return s.asGET(w, r, r.URL.Path, req.Form.Encode())
	}
	sess, l, err := s.sessions.current(r)
	if err != nil {
		return err
	}
	switch {
	case l == nil:
		return s.loggedOut(w, r, req, req.Hinted)
	case req.Proves(l.SID, l.UserID):
		if err := s.endLogin(w, r, sess, l); err != nil {
			return err
		}
		return s.loggedOut(w, r, req, true)
	}
	v := templates.LogoutView{Page: s.pageIn(r, strings.Fields(req.Form.Get("ui_locales"))), CSRF: logoutCSRF(sess)}
	if req.Client != nil {
		v.ClientName = req.Client.Name
	}
	for _, name := range slices.Sorted(maps.Keys(req.Form)) {
		v.Params = append(v.Params, templates.Param{Name: name, Value: req.Form.Get(name)})
	}
	if to := req.Target(); to != "" {
		w.Header().Set("Content-Security-Policy", formsTo(to))
	}
	s.render(w, r, http.StatusOK, templates.Logout(v))
	return nil
}

// askedOut reads the logout request, which may have been kept since its POST.
func (s *Server) askedOut(r *http.Request) (*provider.LogoutRequest, error) {
	form, err := s.parkedForm(r)
	if err != nil {
		return nil, err
	}
	if form != nil {
		return s.Provider.ResumeLogout(r.Context(), form)
	}
	return s.Provider.ParseLogout(r.Context(), r)
}

// logoutCSRF is the token of the question's form: only who reads this browser's
// session can know it.
func logoutCSRF(sess *sessions.Session) string {
	b, _ := sess.Values[browserKey].(string)
	return flows.HashSession("logout " + b)
}

// confirmLogout takes the user's yes.
func (s *Server) confirmLogout(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return fault.Wrap(fault.Invalid, "the form cannot be read", err)
	}
	req, err := s.Provider.ResumeLogout(r.Context(), r.PostForm)
	if err != nil {
		return err
	}
	sess, l, err := s.sessions.current(r)
	if err != nil {
		return err
	}
	if l != nil {
		if subtle.ConstantTimeCompare([]byte(r.PostForm.Get("csrf")), []byte(logoutCSRF(sess))) != 1 {
			return fault.New(fault.Forbidden, "this form is from another page; please go back and try again")
		}
		if err := s.endLogin(w, r, sess, l); err != nil {
			return err
		}
	}
	return s.loggedOut(w, r, req, true)
}

// endLogin ends the browser's login, in SQL first.
func (s *Server) endLogin(w http.ResponseWriter, r *http.Request, sess *sessions.Session, l *login) error {
	err := s.Provider.EndSession(r.Context(), l.SID, l.UserID, func(tx *db.Tx) error {
		return tx.Revoke(revokedKind, flows.HashSession(sess.ID), tx.Now().Add(ssoAbsolute))
	})
	if err != nil {
		return err
	}
	if err := s.KV.Delete(r.Context(), sessionKey(sess.ID)); err != nil {
		s.Log.WarnContext(r.Context(), "an ended session was not removed from kv", "error", err)
	}
	opts := *sess.Options
	opts.MaxAge = -1
	http.SetCookie(w, sessions.NewCookie(sess.Name(), "", &opts))
	return nil
}

// loggedOut goes where the client asked for, or says that it is done. Without
// an ID token of the client the user decides whether to go on.
func (s *Server) loggedOut(w http.ResponseWriter, r *http.Request, req *provider.LogoutRequest, goOn bool) error {
	to := req.Target()
	if to != "" && goOn {
		http.Redirect(w, r, to, http.StatusSeeOther)
		return nil
	}
	v := templates.LoggedOutView{Page: s.pageIn(r, strings.Fields(req.Form.Get("ui_locales"))), ContinueURL: to}
	if req.Client != nil {
		v.ClientName = req.Client.Name
	}
	s.render(w, r, http.StatusOK, templates.LoggedOut(v))
	return nil
}
