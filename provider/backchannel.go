package provider

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"mobileid/flows"
	"mobileid/internal/fault"
	"mobileid/internal/operation"
)

// maxExpiry is the longest a backchannel request may wait; a longer wish is cut.
const maxExpiry = 600 * time.Second

// backchannelBody acknowledges a request (CIBA Core section 7.3). MatchCode is
// an addition: the number that the merchant shows and the user types.
type backchannelBody struct {
	AuthReqID string `json:"auth_req_id"`
	ExpiresIn int64  `json:"expires_in"`
	Interval  int64  `json:"interval"`
	MatchCode string `json:"mobileid_match_code,omitempty"`
	// StartToken answers initiation=app: the merchant's app claims the request with it.
	StartToken string `json:"start_token,omitempty"`
}

// BackchannelAuthorize is the backchannel authentication endpoint (CIBA Core
// section 7).
func (p *Provider) BackchannelAuthorize(w http.ResponseWriter, r *http.Request) {
	body, err := p.backchannel(w, r)
	if err != nil {
		p.writeError(r.Context(), w, err)
		return
	}
	writeJSON(w, http.StatusOK, body)
}

func (p *Provider) backchannel(w http.ResponseWriter, r *http.Request) (*backchannelBody, error) {
	form, err := readForm(w, r)
	if err != nil {
		return nil, err
	}
	ctx := r.Context()
	c, err := p.authenticateClient(ctx, r, form)
	if err != nil {
		return nil, err
	}
	if err := p.requests.Take(ctx, p.clientIP(r), c.ID); err != nil {
		return nil, tooMany(err)
	}
	if c.IsPublic() || !c.mayUse(grantCIBA) {
		return nil, refuse(codeUnauthorizedClient, "the client is not registered for grant_type "+grantCIBA)
	}
	start, err := readBackchannel(c, form)
	if err != nil {
		return nil, err
	}
	if hint := form.Get("id_token_hint"); hint != "" {
		user, err := p.hintedUser(ctx, hint, c.ID)
		if err != nil {
			return nil, err
		}
		if user == "" {
			return nil, refuse(codeInvalidRequest, "id_token_hint is not an ID token of this server for this client")
		}
		start.Hint = "userId:" + user
	}
	if start.Details, err = p.clientDetails(ctx, c.Client, form.Get(paramDetails)); err != nil {
		return nil, err
	}
	start.Client = c.Client
	start.Initiator = operation.Initiator{IP: p.clientIP(r)}
	ack, err := p.flows.StartBackchannel(ctx, start)
	if err != nil {
		return nil, startError(err)
	}
	return &backchannelBody{
		AuthReqID: ack.AuthReqID, ExpiresIn: int64(ack.ExpiresIn / time.Second), Interval: int64(ack.Interval / time.Second), MatchCode: ack.MatchCode, StartToken: ack.StartToken,
	}, nil
}

// readBackchannel checks the form of the request (CIBA Core section 7.1).
func readBackchannel(c *client, form url.Values) (s flows.BackchannelStart, err error) {
	for _, u := range unsupported()[:2] {
		if form.Has(u[0]) {
			return s, refuse(u[1], u[0]+" is not supported")
		}
	}
	hints := 0
	for _, name := range []string{"login_hint", "login_hint_token", "id_token_hint"} {
		if form.Has(name) {
			hints++
		}
	}
	switch {
	case hints != 1:
		return s, refuse(codeInvalidRequest, "exactly one of login_hint, login_hint_token and id_token_hint must be given")
	case form.Has("login_hint_token"):
		return s, refuse(codeInvalidRequest, "login_hint_token is not supported; use login_hint or id_token_hint")
	case !form.Has("scope"):
		return s, refuse(codeInvalidRequest, "scope is missing")
	}
	s.Hint, s.Scopes = form.Get("login_hint"), words(form.Get("scope"))
	if !contains(s.Scopes, "openid") {
		return s, refuse(codeInvalidScope, "scope must contain openid")
	}
	for _, scope := range s.Scopes {
		if !contains(c.Settings.Scopes, scope) {
			return s, refuse(codeInvalidScope, "the client is not registered for scope "+scope)
		}
	}
	if s.ExpiresIn, err = requestedExpiry(form.Get("requested_expiry")); err != nil {
		return s, err
	}
	most := c.Settings.BindingMessageMax
	if most == 0 {
		most = 140
	}
	s.BindingMessage = form.Get("binding_message")
	if wrong := checkBindingMessage(s.BindingMessage, most); wrong != "" {
		return s, refuse(codeInvalidBinding, "binding_message "+wrong)
	}
	switch from := form.Get("initiation"); from {
	case "", operation.FromBackend:
	case operation.FromApp:
		s.App = true
	default:
		return s, refuse(codeInvalidRequest, "initiation is backend or app")
	}
	s.MinACR, s.Locales = leastACR(form.Get("acr_values")), localesOf(form.Get("ui_locales"))
	return s, nil
}

// requestedExpiry reads a positive number of seconds written in digits; zero if
// it was not given. More than the most allowed is cut to it, however long the
// number (CIBA Core section 7.1).
func requestedExpiry(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	digits := strings.TrimLeft(s, "0")
	switch {
	case strings.Trim(s, "0123456789") != "":
		return 0, refuse(codeInvalidRequest, "requested_expiry must be a whole number of seconds")
	case digits == "":
		return 0, refuse(codeInvalidRequest, "requested_expiry must be positive")
	case len(digits) > 3:
		return maxExpiry, nil
	}
	n := time.Duration(0)
	for _, d := range digits {
		n = n*10 + time.Duration(d-'0')
	}
	return min(n*time.Second, maxExpiry), nil
}

// startError maps a refusal of flows to an error of CIBA Core section 13. Caps
// and cool-downs have no code of their own there.
func startError(err error) error {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err
	}
	switch e.Kind {
	case fault.NotFound:
		return refuse(codeUnknownUser, "login_hint names no user of this client")
	case fault.Invalid:
		return refuse(codeInvalidRequest, e.Message)
	case fault.Unavailable, fault.Internal:
		return err
	}
	// Before anybody was asked this is 403 (CIBA Core section 13); at the token
	// endpoint the same code is 400.
	return &protocolError{status: http.StatusForbidden, code: codeAccessDenied, description: e.Message}
}
