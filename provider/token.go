package provider

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"mobileid/internal/limit"

	"github.com/ory/fosite"
)

// tokenBody is the answer of RFC 6749 section 5.1.
type tokenBody struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	Scope        string `json:"scope"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`

	Details  json.RawMessage `json:"authorization_details,omitempty"` // RFC 9396 section 7
	Evidence string          `json:"mobileid_evidence,omitempty"`     // of a signature
}

// Token is the token endpoint (RFC 6749 section 3.2).
func (p *Provider) Token(w http.ResponseWriter, r *http.Request) {
	body, err := p.token(w, r)
	if err != nil {
		p.writeError(r.Context(), w, err)
		return
	}
	writeJSON(w, http.StatusOK, body)
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) (*tokenBody, error) {
	form, err := readForm(w, r)
	if err != nil {
		return nil, err
	}
	if !form.Has("grant_type") {
		return nil, refuse(codeInvalidRequest, "grant_type is missing")
	}
	ctx := r.Context()
	c, err := p.authenticateClient(ctx, r, form)
	if err != nil {
		return nil, err
	}
	if err := p.countRequest(r, c); err != nil {
		return nil, err
	}
	g, err := p.grantFor(c, form)
	if err != nil {
		return nil, err
	}
	if form.Has(paramDetails) {
		return nil, refuse(codeInvalidDetails, paramDetails+" are approved by the user, and cannot be asked for or changed at the token endpoint")
	}
	form.Del("audience") // fosite's own; not spoken here
	u := &unit{p: p, client: c, grant: g, form: form}
	ctx = u.begin(ctx)
	if g.name == grantCode || g.name == grantToken {
		u.coming = p.db.Coming()
	}
	defer func() { u.coming.End() }()
	resp, err := p.grant(ctx, u)
	if err == nil {
		if err = u.commit(ctx); err == nil {
			if p.issued != nil {
				p.issued(form.Get("grant_type"))
			}
			body := bodyOf(resp)
			if u.from != nil && u.from.Details != "" {
				body.Details = json.RawMessage(u.from.Details)
			}
			if body.Evidence, err = p.evidence(ctx, u.from); err != nil {
				// The tokens are made, and the evidence can be had elsewhere.
				p.log.WarnContext(ctx, "tokens are given without their evidence", "operation", u.from.OperationID, "error", err)
			}
			return body, nil
		}
		return nil, err
	}
	if u.consumable && asProtocol(err).status < http.StatusInternalServerError {
		if burnt := u.burn(ctx); burnt != nil {
			return nil, burnt
		}
	}
	return nil, err
}

// countRequest counts a token request of a client that has proven itself, or of a
// public one from an address block: anybody can say its name, and must not use
// up what it may.
func (p *Provider) countRequest(r *http.Request, c *client) error {
	ip, id := p.clientIP(r), c.ID
	if c.IsPublic() {
		id += "/" + limit.Block(ip)
	}
	if over := p.tokens.Take(r.Context(), ip, id); over != nil {
		return tooMany(over)
	}
	return nil
}

// grantFor returns the grant that is asked for, if it is on and the client may
// use it.
func (p *Provider) grantFor(c *client, form url.Values) (*grantType, error) {
	name := form.Get("grant_type")
	g := p.grants[name]
	switch {
	case g == nil:
		return nil, refuse(codeUnsupportedGrant, "grant_type "+name+" is not supported")
	case !c.mayUse(name):
		return nil, refuse(codeUnauthorizedClient, "the client is not registered for grant_type "+name)
	case g.confidential && c.IsPublic():
		return nil, refuse(codeUnauthorizedClient, "a client without a secret cannot use grant_type "+name)
	case g.needs != "" && !form.Has(g.needs):
		return nil, refuse(codeInvalidRequest, g.needs+" is missing")
	}
	return g, nil
}

// grantRequest is fosite's request without what fosite makes of one for storing it.
type grantRequest struct{ *fosite.AccessRequest }

// Sanitize is asked for what may be stored. Our storage takes the session and the
// granted scopes, and no parameter.
func (r grantRequest) Sanitize([]string) fosite.Requester { return r }

// grant lets fosite's handlers for the grant work the request out: first all say
// whether it is good, then all add to the answer. This is what NewAccessRequest and
// NewAccessResponse do, less reading the form and authenticating the client, which
// is done, and the spans.
func (p *Provider) grant(ctx context.Context, u *unit) (fosite.AccessResponder, error) {
	req := grantRequest{fosite.NewAccessRequest(&session{})}
	req.Form, req.Client, req.GrantTypes = u.form, u.client, fosite.Arguments{u.grant.name}
	req.SetRequestedScopes(words(u.form.Get("scope")))
	handled := false
	for _, h := range u.grant.handlers {
		switch err := h.HandleTokenEndpointRequest(ctx, req); {
		case err == nil:
			handled = true
		case !errors.Is(err, fosite.ErrUnknownRequest):
			return nil, err
		}
	}
	if !handled {
		return nil, fosite.ErrInvalidRequest
	}
	resp := fosite.NewAccessResponse()
	for _, h := range u.grant.handlers {
		if err := h.PopulateTokenEndpointResponse(ctx, req, resp); err != nil && !errors.Is(err, fosite.ErrUnknownRequest) {
			return nil, err
		}
	}
	if resp.GetAccessToken() == "" || resp.GetTokenType() == "" {
		return nil, errors.New("provider: no handler made a token")
	}
	return resp, nil
}

func bodyOf(resp fosite.AccessResponder) *tokenBody {
	text := func(key string) string {
		s, _ := resp.GetExtra(key).(string)
		return s
	}
	life, _ := resp.GetExtra("expires_in").(int64)
	return &tokenBody{
		AccessToken: resp.GetAccessToken(), TokenType: "Bearer", ExpiresIn: life, Scope: text("scope"),
		RefreshToken: text("refresh_token"), IDToken: text("id_token"),
	}
}
