package provider

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

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

	Details json.RawMessage `json:"authorization_details,omitempty"` // RFC 9396 section 7
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

// grant lets fosite work the request out. It gets a request of our making, with
// the form that was checked and nothing else.
func (p *Provider) grant(ctx context.Context, u *unit) (fosite.AccessResponder, error) {
	req, err := p.fosite.NewAccessRequest(ctx, &http.Request{Method: http.MethodPost, Form: u.form, PostForm: u.form}, &session{})
	if err != nil {
		return nil, err
	}
	return p.fosite.NewAccessResponse(ctx, req)
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
