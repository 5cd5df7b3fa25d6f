package web

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"time"

	"mobileid/flows"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/operation"
	"mobileid/provider"
	"mobileid/templates"
)

// mine returns the interaction of the address if this browser started it.
func (s *Server) mine(r *http.Request) (flows.Interaction, error) {
	sess, _, err := s.sessions.current(r)
	if err != nil {
		return flows.Interaction{}, err
	}
	return s.Flows.Interaction(r.Context(), r.PathValue("id"), browser(sess))
}

// interaction shows the login page, or finishes an approved login.
func (s *Server) interaction(w http.ResponseWriter, r *http.Request) error {
	in, err := s.mine(r)
	if err != nil {
		return err
	}
	st, err := s.Flows.LoginState(r.Context(), &in)
	if err != nil {
		return err
	}
	if st.Outcome.Approved() {
		return s.finish(w, r, &in, st.Outcome.UserID)
	}
	v, err := s.view(r, &in, st)
	if err != nil {
		return err
	}
	if req, err := s.resume(r, &in); err == nil {
		w.Header().Set("Content-Security-Policy", formsTo(req.RedirectURI))
	}
	s.render(w, r, http.StatusOK, templates.Interaction(v))
	return nil
}

// finish spends the interaction, logs the browser in under a new session id and
// answers the client.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, in *flows.Interaction, userID string) error {
	req, err := s.resume(r, in)
	if err != nil {
		return s.authorizeError(w, r, err)
	}
	if in.Subject != "" && in.Subject != userID {
		s.Provider.DenyAuthorize(w, r, req, "login_required", "another user answered than id_token_hint names")
		return nil
	}
	sess, before, err := s.sessions.current(r)
	if err != nil {
		return err
	}
	// The same person in the same browser: still the session that other clients
	// know by its sid, and that a logout ends for all of them.
	sid := rand.Text()
	if before != nil && before.UserID == userID {
		sid = before.SID
	}
	out, err := s.Flows.FinishLogin(r.Context(), in, sid)
	if fault.Is(err, fault.Forbidden) {
		s.Provider.DenyAuthorize(w, r, req, "access_denied", "the user, the phone or the application was withdrawn meanwhile")
		return nil
	}
	if err != nil {
		return err
	}
	l := &login{UserID: out.UserID, DeviceID: out.DeviceID, OperationID: out.OperationID, SID: sid,
		AuthTime: out.At.UnixMilli(), AMR: out.AMR, ACR: out.ACR, SCA: out.SCA}
	if before != nil && before.UserID != userID {
		// Another person: the one before is logged out.
		if err := s.Provider.EndSession(r.Context(), before.SID, before.UserID, func(*db.Tx) error { return nil }); err != nil {
			return err
		}
	}
	if err := s.sessions.logIn(w, r, l); err != nil {
		return err
	}
	return s.answer(w, r, req, sess, l)
}

// reportedAfter tells by the time that is left whether an application that may
// not ask now was declined or reported: a try again is offered after the first.
const reportedAfter = time.Minute

// pageState is what the login page calls a login's state.
func pageState(st flows.LoginState) templates.InteractionState {
	switch st.Trouble {
	case "":
	case fault.DeviceBlocked:
		return templates.StateBlocked
	case fault.NoDevice, fault.NotFound:
		return templates.StateNoDevice
	case fault.UserLocked, fault.UserDeactivated:
		return templates.StateLocked
	case fault.Forbidden: // the user declined this application a moment ago
		return templates.StateDeclined
	case fault.Invalid:
		return templates.StateIdentify
	default:
		return templates.StateUnavailable
	}
	switch st.Outcome.State {
	case operation.Completed:
		return templates.StateDone
	case operation.Declined:
		return templates.StateDeclined
	case operation.Reported:
		return templates.StateReported
	case operation.Expired:
		return templates.StateExpired
	case operation.Locked:
		if !st.Until.IsZero() {
			return templates.StateBlocked
		}
		return templates.StateLocked
	case operation.Cancelled:
		if st.Outcome.Reason == operation.ReasonRisk {
			return templates.StateUnfit
		}
		return templates.StateCancelled
	case operation.Superseded:
		return templates.StateSuperseded
	case operation.Pending, operation.Claimed:
		return templates.StateWaiting
	}
	return templates.StateIdentify
}

func (s *Server) view(r *http.Request, in *flows.Interaction, st flows.LoginState) (templates.InteractionView, error) {
	var client db.Client
	var merchant db.Merchant
	err := s.DB.View(r.Context(), func(tx *db.Tx) (err error) {
		if client, err = tx.Client(in.ClientID); err != nil {
			return err
		}
		merchant, err = tx.Merchant(client.MerchantID)
		return err
	})
	if err != nil {
		return templates.InteractionView{}, err
	}
	v := templates.InteractionView{
		Page: s.pageIn(r, strings.Fields(in.Locales)), ID: in.ID, CSRF: in.CSRF, Merchant: merchant.Name, ClientName: client.Name, Browser: in.Initiator.Browser,
		Time: time.UnixMilli(in.ExpiresAt).Add(-flows.InteractionLife), State: pageState(st), Identifier: in.Identifier, CanChange: !in.Fixed,
	}
	v.Facts, v.Approves = in.Facts(v.Lang), in.Details != ""
	if !st.Until.IsZero() { // pages show whole seconds: not one too early
		v.BlockedUntil = st.Until.Add(time.Second - 1).Truncate(time.Second)
	}
	if v.State == templates.StateDeclined && st.Until.Sub(s.Clock.Now()) > reportedAfter {
		v.State = templates.StateReported
	}
	switch v.State {
	case templates.StateWaiting:
		v.MatchCode, v.ExpiresAt = st.Match, st.Expires
		v.SecondsLeft = int(st.Expires.Sub(s.Clock.Now()).Seconds())
	case templates.StateDone:
		v.FinishURL = "/i/" + in.ID
	case templates.StateIdentify:
		if st.Trouble == fault.Invalid {
			v.BadName = true
		}
	}
	return v, nil
}

// mineByForm is mine for a POST: the form's token must be the page's.
func (s *Server) mineByForm(r *http.Request) (flows.Interaction, *provider.AuthorizeRequest, error) {
	if err := r.ParseForm(); err != nil {
		return flows.Interaction{}, nil, fault.Wrap(fault.Invalid, "the form cannot be read", err)
	}
	in, err := s.mine(r)
	if err != nil {
		return in, nil, err
	}
	if subtle.ConstantTimeCompare([]byte(r.PostForm.Get("csrf")), []byte(in.CSRF)) != 1 {
		return in, nil, fault.New(fault.Forbidden, "this form is from another page; please go back and try again")
	}
	req, err := s.resume(r, &in)
	return in, req, err
}

func (s *Server) identify(w http.ResponseWriter, r *http.Request) error {
	return s.ask(w, r, func(in *flows.Interaction) string {
		return strings.TrimSpace(r.PostForm.Get("identifier"))
	})
}

func (s *Server) retry(w http.ResponseWriter, r *http.Request) error {
	return s.ask(w, r, func(in *flows.Interaction) string {
		if r.PostForm.Get("change") == "1" && !in.Fixed {
			return ""
		}
		return in.Identifier
	})
}

// ask asks the phone of whom the form means, and goes back to the page.
func (s *Server) ask(w http.ResponseWriter, r *http.Request, who func(*flows.Interaction) string) error {
	in, req, err := s.mineByForm(r)
	if _, bad := errors.AsType[*provider.AuthorizeError](err); bad {
		return s.authorizeError(w, r, err)
	}
	if err != nil {
		return err
	}
	err = s.Flows.Identify(r.Context(), in, req.Client, who(&in))
	if err != nil && !fault.Is(err, fault.StateConflict) {
		return err
	}
	// In a conflict the page shows what came first: another tab, or the phone.
	http.Redirect(w, r, "/i/"+in.ID, http.StatusSeeOther)
	return nil
}

// cancelInteraction withdraws the request and tells the client access_denied.
func (s *Server) cancelInteraction(w http.ResponseWriter, r *http.Request) error {
	in, req, err := s.mineByForm(r)
	if _, bad := errors.AsType[*provider.AuthorizeError](err); bad {
		return s.authorizeError(w, r, err)
	}
	if err != nil {
		return err
	}
	if err := s.Flows.Cancel(r.Context(), in); fault.Is(err, fault.StateConflict) {
		http.Redirect(w, r, "/i/"+in.ID, http.StatusSeeOther)
		return nil
	} else if err != nil {
		return err
	}
	s.Provider.DenyAuthorize(w, r, req, "access_denied", "the user cancelled")
	return nil
}
