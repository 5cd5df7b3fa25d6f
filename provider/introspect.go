package provider

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/operation"
)

// introspection is the answer of RFC 7662 section 2.2.
type introspection struct {
	Active    bool     `json:"active"`
	Issuer    string   `json:"iss,omitempty"`
	Subject   string   `json:"sub,omitempty"`
	ClientID  string   `json:"client_id,omitempty"`
	Scope     string   `json:"scope,omitempty"`
	TokenType string   `json:"token_type,omitempty"`
	Expires   int64    `json:"exp,omitempty"`
	IssuedAt  int64    `json:"iat,omitempty"`
	JTI       string   `json:"jti,omitempty"`
	AuthTime  int64    `json:"auth_time,omitempty"`
	ACR       string   `json:"acr,omitempty"`
	AMR       []string `json:"amr,omitempty"`
	SID       string   `json:"sid,omitempty"`

	Details  json.RawMessage        `json:"authorization_details,omitempty"` // RFC 9396 section 9.2
	Evidence *operation.EvidenceRef `json:"mobileid_evidence,omitempty"`     // of a signature
}

// Introspect is the introspection endpoint (RFC 7662). A client is told about
// its own tokens only; any other value, whatever it is, is just not active. The
// hint about the token's type is not needed: the types cannot be mistaken.
func (p *Provider) Introspect(w http.ResponseWriter, r *http.Request) {
	c, token, err := p.aboutToken(w, r)
	if err == nil && c.IsPublic() {
		err = refuse(codeUnauthorizedClient, "a client without a secret cannot introspect tokens")
	}
	var body *introspection
	if err == nil {
		body, err = p.introspect(r.Context(), c, token)
	}
	if err != nil {
		p.writeError(r.Context(), w, err)
		return
	}
	writeJSON(w, http.StatusOK, body)
}

// aboutToken reads a request of a client about a token.
func (p *Provider) aboutToken(w http.ResponseWriter, r *http.Request) (*client, string, error) {
	form, err := readForm(w, r)
	if err != nil {
		return nil, "", err
	}
	c, err := p.authenticateClient(r.Context(), r, form)
	if err != nil {
		return nil, "", err
	}
	if !form.Has("token") {
		return nil, "", refuse(codeInvalidRequest, "token is missing")
	}
	return c, form.Get("token"), nil
}

func (p *Provider) introspect(ctx context.Context, c *client, token string) (*introspection, error) {
	t, err := p.VerifyAccessToken(ctx, token)
	switch {
	case fault.Is(err, fault.Unauthorized):
		return p.introspectRefresh(ctx, c, token)
	case err != nil:
		return nil, err
	case t.ClientID != c.ID:
		return &introspection{}, nil
	}
	out, err := p.tells(ctx, t.record)
	if err != nil {
		return nil, err
	}
	out.TokenType = "Bearer"
	out.IssuedAt, out.Expires = t.IssuedAt.Unix(), t.ExpiresAt.Unix()
	out.JTI = t.jti
	return out, nil
}

// tells is what a record says about an active token.
func (p *Provider) tells(ctx context.Context, r *record) (out *introspection, err error) {
	out = &introspection{Active: true, Issuer: p.issuer, Subject: r.UserID, ClientID: r.ClientID, Scope: strings.Join(r.Scopes, " "),
		ACR: r.ACR, AMR: r.AMR, AuthTime: r.AuthTime / 1000, SID: r.SID}
	if r.Details != "" {
		out.Details = json.RawMessage(r.Details)
	}
	if r.UserID == "" { // RFC 9068 section 2.2: without a user the client is the subject
		out.Subject = r.ClientID
	}
	out.Evidence, err = p.evidenceRef(ctx, r)
	return out, err
}

// introspectRefresh tells about a refresh token: active while it is the newest
// of its family, which the token endpoint would take.
func (p *Provider) introspectRefresh(ctx context.Context, c *client, token string) (*introspection, error) {
	f, generation, err := p.familyOf(ctx, token)
	if err != nil || f == nil || f.ClientID != c.ID || f.Generation != generation || !p.clk.Now().Before(f.ExpiresAt) {
		return &introspection{}, err
	}
	r, err := decodeRecord(f.Record)
	if err != nil {
		return nil, err
	}
	var live bool
	err = p.db.View(ctx, func(tx *db.Tx) (err error) {
		live, err = tx.GrantLive(f.GrantID, r.authTime())
		return err
	})
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return nil, unavailable(err)
	}
	if !live {
		return &introspection{}, nil
	}
	out, err := p.tells(ctx, r)
	if err != nil {
		return nil, err
	}
	out.Expires = f.ExpiresAt.Unix()
	return out, nil
}

// familyOf returns the family that a refresh token of this server belongs to,
// and which generation the token is; nil if there is none.
func (p *Provider) familyOf(ctx context.Context, token string) (*db.Family, int64, error) {
	id, generation, ok := p.readRefreshToken(token)
	if !ok {
		return nil, 0, nil
	}
	var f db.Family
	err := p.db.View(ctx, func(tx *db.Tx) (err error) {
		f, err = tx.Family(id)
		return err
	})
	if errors.Is(err, db.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, unavailable(err)
	}
	return &f, generation, nil
}
