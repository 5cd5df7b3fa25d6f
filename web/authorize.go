package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"mobileid/flows"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/identity"
	"mobileid/internal/operation"
	"mobileid/provider"

	"github.com/gorilla/sessions"
)

// authorize is the authorization endpoint (OIDC Core section 3.1.2): it answers
// at once for a browser that is logged in well enough, and otherwise parks the
// request and shows the login page.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return wrongMethod([]string{http.MethodGet, http.MethodPost})(w, r)
	}
	req, err := s.asked(r)
	if err != nil {
		return s.authorizeError(w, r, err)
	}
	if r.Method == http.MethodPost {
		return s.asGET(w, r, r.URL.Path, req.Form.Encode())
	}
	sess, l, err := s.sessions.current(r)
	if err != nil {
		return err
	}
	if req.LoginHint != "" && req.HintedUserID != "" && req.Client.Settings.RevealUnknownUser {
		// Before anybody's phone is asked for what nobody's answer could be right for. Other
		// clients may not learn whose reference it is: theirs go on, and nobody is asked.
		same, err := s.isUser(r, req, req.HintedUserID)
		if err != nil {
			return err
		}
		if !same {
			s.Provider.DenyAuthorize(w, r, req, "invalid_request", "login_hint names another user than id_token_hint or the sub of claims")
			return nil
		}
	}
	if slices.Contains(req.Prompt, "none") {
		return s.silent(w, r, req, sess, l)
	}
	ok, err := s.suffices(r, req, l)
	if err != nil {
		return err
	}
	if ok {
		if err := s.sessions.touch(r, w, sess, l); err != nil {
			return err
		}
		return s.answer(w, r, req, sess, l)
	}
	// Saved each time, so that the session lives as long as the interaction.
	if err := s.sessions.Save(r, w, sess); err != nil {
		return err
	}
	id, err := s.Flows.OpenInteraction(r.Context(), req.Client, flows.Interaction{
		ClientID: req.Client.ID, Form: req.Form.Encode(), Browser: browser(sess), MinACR: req.MinACR,
		Subject: req.HintedUserID, Identifier: hinted(req), Fixed: hinted(req) != "",
		Details: detailsOf(req), Locales: strings.Join(req.UILocales, " "),
		Initiator: operation.Initiator{IP: s.clientIP(r), Browser: flows.BrowserName(r.UserAgent())},
	})
	if err != nil {
		return err
	}
	http.Redirect(w, r, "/i/"+id, http.StatusSeeOther)
	return nil
}

// asked reads the authorize request, which may have been kept since its POST.
func (s *Server) asked(r *http.Request) (*provider.AuthorizeRequest, error) {
	form, err := s.parkedForm(r)
	if err != nil {
		return nil, err
	}
	if form != nil {
		return s.Provider.ResumeAuthorize(r.Context(), form)
	}
	return s.Provider.ParseAuthorize(r.Context(), r)
}

// detailsOf are the canonical bytes of the request's details.
func detailsOf(req *provider.AuthorizeRequest) string {
	if req.Details == nil {
		return ""
	}
	return string(req.Details.Canonical)
}

// hinted is whom the client wants: by login_hint, or the subject of its id_token_hint.
func hinted(req *provider.AuthorizeRequest) string {
	if req.LoginHint == "" && req.HintedUserID != "" {
		return "userId:" + req.HintedUserID
	}
	return req.LoginHint
}

// silent answers prompt=none: success without any interaction, or why there must
// be one.
func (s *Server) silent(w http.ResponseWriter, r *http.Request, req *provider.AuthorizeRequest, sess *sessions.Session, l *login) error {
	ok, err := s.suffices(r, req, l)
	if err != nil {
		return err
	}
	if !ok && req.Details != nil {
		s.Provider.DenyAuthorize(w, r, req, "interaction_required", "the user has to approve the authorization details, and prompt=none forbids asking")
		return nil
	}
	if !ok {
		s.Provider.DenyAuthorize(w, r, req, "login_required", "the user has to log in, and prompt=none forbids it")
		return nil
	}
	return s.answer(w, r, req, sess, l)
}

// suffices reports whether the browser's login answers the request: fresh
// enough, strong enough, the user who is meant, and nothing withdrawn since.
func (s *Server) suffices(r *http.Request, req *provider.AuthorizeRequest, l *login) (bool, error) {
	if l == nil || req.Details != nil { // what is to be approved needs an answer of its own
		return false, nil
	}
	for _, p := range req.Prompt {
		if p == "login" || p == "select_account" {
			return false, nil
		}
	}
	at := time.UnixMilli(l.AuthTime)
	if req.MaxAge != nil && s.Clock.Now().Sub(at) >= *req.MaxAge {
		return false, nil
	}
	if operation.Rank(l.ACR) < operation.Rank(req.MinACR) || operation.Rank(l.ACR) < operation.Rank(req.Client.Settings.MinACR) {
		return false, nil
	}
	if req.HintedUserID != "" && req.HintedUserID != l.UserID {
		return false, nil
	}
	idle, err := s.Flows.SessionIdle(r.Context(), req.Client.AppID)
	if err != nil || s.Clock.Now().Sub(time.UnixMilli(l.SeenAt)) >= idle {
		return false, err
	}
	if req.LoginHint != "" {
		same, err := s.isUser(r, req, l.UserID)
		if !same || err != nil {
			return false, err
		}
	}
	var ok bool
	err = s.DB.View(r.Context(), func(tx *db.Tx) (err error) {
		ok, err = tx.MayIssue(req.Client.ID, l.UserID, l.DeviceID, at, tx.Now())
		return err
	})
	return ok, err
}

func (s *Server) isUser(r *http.Request, req *provider.AuthorizeRequest, userID string) (bool, error) {
	h, err := identity.ParseHint(req.LoginHint)
	if err != nil {
		return false, nil
	}
	u, err := s.Users.Resolve(r.Context(), req.Client.MerchantID, h)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	return u.ID == userID, err
}

func (l *login) authenticated() provider.Authenticated {
	return provider.Authenticated{UserID: l.UserID, DeviceID: l.DeviceID, OperationID: l.OperationID, SID: l.SID,
		AuthTime: time.UnixMilli(l.AuthTime), AMR: l.AMR, ACR: l.ACR, SCA: l.SCA}
}

// authorizeError answers by redirect where that is allowed, and else by a page.
func (s *Server) authorizeError(w http.ResponseWriter, r *http.Request, err error) error {
	if s.Provider.WriteAuthorizeError(w, r, err) {
		return nil
	}
	e, ok := errors.AsType[*provider.AuthorizeError](err)
	if !ok {
		return err
	}
	code := http.StatusBadRequest
	if e.Code == "server_error" || e.Code == "temporarily_unavailable" {
		code = http.StatusServiceUnavailable
	}
	if e.Status != 0 {
		code = e.Status
	}
	s.errorPage(w, r, code, "The application sent a request that cannot be answered.", strings.TrimSpace(e.Code+": "+e.Description))
	return nil
}

// resume reads a parked authorize request again: its client may have changed.
func (s *Server) resume(r *http.Request, in *flows.Interaction) (*provider.AuthorizeRequest, error) {
	form, err := url.ParseQuery(in.Form)
	if err != nil {
		return nil, err
	}
	return s.Provider.ResumeAuthorize(r.Context(), form)
}
