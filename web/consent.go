package web

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"mobileid/flows"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/kv"
	"mobileid/provider"
	"mobileid/templates"

	"github.com/gorilla/sessions"
)

// parked is an authorize request that waits for the user's consent. It is made
// after the login and is good for that login in that browser only: whoever opens
// its address otherwise starts again.
type parked struct {
	ClientID string   `json:"client"`
	Form     string   `json:"form"`
	Browser  string   `json:"browser"`
	UserID   string   `json:"user"`
	SID      string   `json:"sid"`
	Scopes   []string `json:"scopes"` // as they are shown
	CSRF     string   `json:"csrf"`
}

var errConsentOver = fault.New(fault.NotFound, "this request is over, or was started in another browser; please start again")

// answer finishes an authorize request for a login that suffices, after asking
// for consent where that is needed.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, req *provider.AuthorizeRequest, sess *sessions.Session, l *login) error {
	ask, err := s.Provider.NeedsConsent(r.Context(), req, l.UserID)
	if err != nil {
		return err
	}
	if !ask {
		return s.complete(w, r, req, l)
	}
	if slices.Contains(req.Prompt, "none") {
		s.Provider.DenyAuthorize(w, r, req, "consent_required", "the user has to allow this, and prompt=none forbids asking")
		return nil
	}
	id := rand.Text()
	p := parked{ClientID: req.Client.ID, Form: req.Form.Encode(), Browser: browser(sess), UserID: l.UserID, SID: l.SID, Scopes: req.Consents(), CSRF: rand.Text()}
	if err := s.consents.Create(r.Context(), id, p, flows.InteractionLife); err != nil {
		return fault.Wrap(fault.Unavailable, "the request cannot be kept; please try again", err)
	}
	http.Redirect(w, r, "/consent/"+id, http.StatusSeeOther)
	return nil
}

// promptly is how long after a login its user may take until the client is answered,
// however small its max_age: with 0, which asks for a new login and no more, nobody would
// ever be done. Clients allow for clocks that differ by as much.
const promptly = 30 * time.Second

// complete sends the browser back with a code, now that no consent is needed any more,
// unless the login that was fresh enough when the request came has become too old for it,
// while its user was asked for consent or the browser slept: the client would refuse such
// an auth_time (OIDC Core section 3.1.3.7), so the request starts over.
func (s *Server) complete(w http.ResponseWriter, r *http.Request, req *provider.AuthorizeRequest, l *login) error {
	if req.MaxAge != nil && s.Clock.Now().Sub(time.UnixMilli(l.AuthTime)) >= max(*req.MaxAge, promptly) {
		return s.restart(w, r, req, consented(req, l.UserID))
	}
	err := s.Provider.FinishAuthorize(w, r, req, l.authenticated())
	if _, refused := errors.AsType[*provider.AuthorizeError](err); refused {
		return s.authorizeError(w, r, err)
	}
	return err
}

// consented is the form of a request that its user has consented to, by which it starts
// over: nobody is asked twice for prompt=consent, so nobody else may answer then.
func consented(req *provider.AuthorizeRequest, userID string) url.Values {
	if !slices.Contains(req.Prompt, "consent") {
		return req.Form
	}
	form := maps.Clone(req.Form)
	rest := slices.DeleteFunc(slices.Clone(req.Prompt), func(p string) bool { return p == "consent" })
	form.Set("prompt", strings.Join(rest, " "))
	if hinted(req) == "" {
		form.Set("login_hint", "userId:"+userID)
	}
	return form
}

// restart has the request begin anew as form. Where something was approved with it, the
// client is told login_required instead (OIDC Core section 3.1.2.6): a second approval of
// one payment is for the client to ask for, who knows that the first came to nothing.
func (s *Server) restart(w http.ResponseWriter, r *http.Request, req *provider.AuthorizeRequest, form url.Values) error {
	if req.Details != nil {
		s.Provider.DenyAuthorize(w, r, req, "login_required", "the login in which the authorization details were approved is over or too old; the user is not asked a second time")
		return nil
	}
	return s.asGET(w, r, "/authorize", form.Encode())
}

// consenting returns the parked request of the address. again is true if it is
// this browser's, but its login is no more, or not the one it was made for: then
// the request starts over.
func (s *Server) consenting(r *http.Request) (p parked, l *login, again bool, err error) {
	sess, l, err := s.sessions.current(r)
	if err != nil {
		return p, nil, false, err
	}
	p, err = s.consents.Get(r.Context(), r.PathValue("id"))
	if errors.Is(err, kv.ErrNotFound) || err == nil && (p.Browser == "" || p.Browser != browser(sess)) {
		return p, nil, false, errConsentOver
	}
	if err != nil {
		return p, nil, false, fault.Wrap(fault.Unavailable, "the request cannot be read; please try again", err)
	}
	return p, l, l == nil || l.SID != p.SID || l.UserID != p.UserID, nil
}

func (s *Server) consent(w http.ResponseWriter, r *http.Request) error {
	p, l, again, err := s.consenting(r)
	if err != nil {
		return err
	}
	req, err := s.unpark(r, &p)
	if err != nil {
		return s.authorizeError(w, r, err)
	}
	if again {
		return s.restart(w, r, req, req.Form)
	}
	v := templates.ConsentView{Page: s.pageIn(r, req.UILocales), ID: r.PathValue("id"), CSRF: p.CSRF, ClientName: req.Client.Name, Scopes: p.Scopes}
	err = s.DB.View(r.Context(), func(tx *db.Tx) error {
		u, err := tx.User(l.UserID)
		if err != nil {
			return err
		}
		m, err := tx.Merchant(req.Client.MerchantID)
		v.UserName, v.Merchant = u.ExternalRef, m.Name
		return err
	})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Security-Policy", formsTo(req.RedirectURI))
	s.render(w, r, http.StatusOK, templates.Consent(v))
	return nil
}

func (s *Server) unpark(r *http.Request, p *parked) (*provider.AuthorizeRequest, error) {
	form, err := url.ParseQuery(p.Form)
	if err != nil {
		return nil, err
	}
	return s.Provider.ResumeAuthorize(r.Context(), form)
}

// decide takes the user's word, once.
func (s *Server) decide(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return fault.Wrap(fault.Invalid, "the form cannot be read", err)
	}
	p, l, again, err := s.consenting(r)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(r.PostForm.Get("csrf")), []byte(p.CSRF)) != 1 {
		return fault.New(fault.Forbidden, "this form is from another page; please go back and try again")
	}
	decision := r.PostForm.Get("decision")
	if decision != "allow" && decision != "deny" {
		return fault.New(fault.Invalid, "the form says neither allow nor deny")
	}
	req, err := s.unpark(r, &p)
	if err != nil {
		return s.authorizeError(w, r, err)
	}
	// What is allowed is what was shown, by who was logged in then.
	if again || !slices.Equal(req.Consents(), p.Scopes) {
		return s.restart(w, r, req, req.Form)
	}
	if _, err := s.consents.Take(r.Context(), r.PathValue("id")); errors.Is(err, kv.ErrNotFound) {
		return errConsentOver
	} else if err != nil {
		return fault.Wrap(fault.Unavailable, "the request cannot be read; please try again", err)
	}
	if decision == "deny" {
		s.Provider.DenyAuthorize(w, r, req, "access_denied", "the user did not allow it")
		return nil
	}
	if err := s.Provider.Consent(r.Context(), req, l.UserID, l.SID); err != nil {
		return err
	}
	return s.complete(w, r, req, l)
}
