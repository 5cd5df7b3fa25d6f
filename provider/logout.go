package provider

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/fault"
)

// LogoutRequest is a logout request that was checked (OpenID Connect
// RP-Initiated Logout section 2).
type LogoutRequest struct {
	Client *db.Client // who asks; nil: not known
	// Form is the request, normalised: what ResumeLogout takes.
	Form url.Values
	// Hinted: an ID token of ours says which login is meant.
	Hinted bool

	hint   *idToken
	target string // registered by the client; "": none
}

// Proves reports whether the request comes from a client that took part in the
// login: its ID token is of this session and user. Only then may a browser that
// was sent here be logged out without asking. That the token has expired since
// says nothing against it.
func (l *LogoutRequest) Proves(sid, userID string) bool {
	return l.hint != nil && sid != "" && l.hint.SID == sid && l.hint.Subject == userID
}

// Target is where the browser goes after the logout, with state as it was given;
// "" if nowhere.
func (l *LogoutRequest) Target() string {
	state := l.Form.Get("state")
	if l.target == "" || state == "" {
		return l.target
	}
	sep := "?"
	if strings.Contains(l.target, "?") {
		sep = "&"
	}
	return l.target + sep + url.Values{"state": {state}}.Encode()
}

// ParseLogout reads and checks a logout request, GET or POST. Every error is for
// a page: nothing is redirected that was not found to be registered.
func (p *Provider) ParseLogout(ctx context.Context, r *http.Request) (*LogoutRequest, error) {
	form, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(r.URL.RawQuery) > maxBody {
		return nil, fault.New(fault.Invalid, "the query is malformed")
	}
	if r.Method == http.MethodPost {
		body, err := readBody(r)
		if err != nil {
			return nil, fault.New(fault.Invalid, asProtocol(err).description)
		}
		for k, v := range body {
			form[k] = append(form[k], v...)
		}
	}
	return p.ResumeLogout(ctx, form)
}

// ResumeLogout checks a logout request by its parameters.
func (p *Provider) ResumeLogout(ctx context.Context, all url.Values) (*LogoutRequest, error) {
	bad := func(message string) (*LogoutRequest, error) { return nil, fault.New(fault.Invalid, message) }
	req := &LogoutRequest{Form: url.Values{}}
	for _, name := range []string{"id_token_hint", "client_id", "post_logout_redirect_uri", "state", "logout_hint", "ui_locales"} {
		if len(all[name]) > 1 {
			return bad(name + " is given more than once")
		}
		if v := all.Get(name); v != "" {
			req.Form.Set(name, v)
		}
	}
	id := req.Form.Get("client_id")
	if hint := req.Form.Get("id_token_hint"); hint != "" {
		t, err := p.ownIDToken(ctx, hint)
		if err != nil {
			return nil, fault.Wrap(fault.Unavailable, "the logout cannot be checked right now", err)
		}
		if t != nil { // anything else says nothing: the user is asked
			if id != "" && id != t.Audience {
				return bad("client_id names another client than id_token_hint")
			}
			id, req.hint, req.Hinted = t.Audience, t, true
		}
	}
	if id != "" {
		c, err := p.client(ctx, id)
		if err != nil {
			return nil, fault.Wrap(fault.Unavailable, "the logout cannot be checked right now", err)
		}
		if c == nil || !c.DisabledAt.IsZero() {
			return bad("client_id names no client of this server")
		}
		req.Client = c.Client
	}
	if uri := req.Form.Get("post_logout_redirect_uri"); uri != "" {
		if req.Client == nil {
			return bad("post_logout_redirect_uri needs an id_token_hint or a client_id beside it")
		}
		if !contains(req.Client.Settings.PostLogoutRedirectURIs, uri) {
			return bad("post_logout_redirect_uri is not one that the client registered")
		}
		req.target = uri
	}
	return req, nil
}

// OutboxLogout is the kind of outbox items that tell a client of a logout.
const OutboxLogout = "backchannel_logout"

// EndSession ends a login for good: nothing is issued for its sid any more, its
// grants end but for those of offline access, and the clients that took part are
// told. also runs in the same transaction.
func (p *Provider) EndSession(ctx context.Context, sid, userID string, also func(tx *db.Tx) error) error {
	err := p.db.Update(ctx, func(tx *db.Tx) error {
		if err := also(tx); err != nil {
			return err
		}
		// A code outlives its login by a minute at most.
		if err := tx.Revoke(RevokedSID, sid, tx.Now().Add(24*time.Hour)); err != nil {
			return err
		}
		grants, err := tx.SessionGrants(sid)
		if err != nil {
			return err
		}
		merchant := ""
		for _, g := range grants {
			merchant = g.MerchantID
			if err := p.tellLogout(tx, g); err != nil {
				return err
			}
		}
		if err := tx.EndSessionGrants(sid); err != nil {
			return err
		}
		return p.audit.Append(tx, audit.Record{Act: "session.ended", Merchant: merchant, User: userID, Session: sid})
	})
	if err != nil {
		return fault.Wrap(fault.Unavailable, "you cannot be logged out right now; please try again", err)
	}
	return nil
}

// tellLogout queues the back-channel logout of a client that wants it.
func (p *Provider) tellLogout(tx *db.Tx, g db.Grant) error {
	c, err := tx.Client(g.ClientID)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil || c.Settings.BackchannelLogoutURI == "" || !c.DisabledAt.IsZero() {
		return err
	}
	payload, err := marshalText(logoutItem{Client: g.ClientID, User: g.UserID, SID: g.SID})
	if err != nil {
		return err
	}
	return tx.Enqueue(db.OutboxItem{ID: db.NewID("evt_"), Kind: OutboxLogout, Subject: g.ClientID, Payload: payload}, 0)
}
