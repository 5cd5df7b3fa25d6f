package provider

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"mobileid/internal/db"

	"github.com/ory/fosite"
)

// formatJWT is the access_token_format of clients whose resource servers read
// their tokens themselves.
const formatJWT = "jwt"

// accessClaims is the payload of a JWT access token (RFC 9068 section 2.2). What
// begins with mobileid_ is for our own endpoints, which ask whether the grant
// still stands; nothing is stored for the token itself.
type accessClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience string   `json:"aud"`
	Expires  int64    `json:"exp"`
	IssuedAt int64    `json:"iat"`
	JTI      string   `json:"jti"`
	ClientID string   `json:"client_id"`
	Scope    string   `json:"scope,omitempty"`
	AuthTime int64    `json:"auth_time,omitempty"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
	SID      string   `json:"sid,omitempty"`

	Details json.RawMessage `json:"authorization_details,omitempty"` // RFC 9396 section 9.1

	Grant  string   `json:"mobileid_grant,omitempty"`
	Auth   int64    `json:"mobileid_auth,omitempty"` // auth_time in milliseconds
	Claims []string `json:"mobileid_claims,omitempty"`
}

// accessJWT makes an access token that says all about itself.
func (p *Provider) accessJWT(ctx context.Context, req fosite.Requester) (string, error) {
	sess := req.GetSession().(*session)
	c := unitOf(ctx).client
	now := p.clk.Now()
	a := accessClaims{
		Issuer: p.issuer, Subject: sess.UserID, Audience: p.issuer, Expires: now.Add(accessLife).Unix(), IssuedAt: now.Unix(), JTI: db.NewID(""),
		ClientID: c.ID, Scope: strings.Join(req.GetGrantedScopes(), " "), AuthTime: sess.AuthTime / 1000, ACR: sess.ACR, AMR: sess.AMR, SID: sess.SID,
		Grant: sess.GrantID, Auth: sess.AuthTime, Claims: sess.InfoClaims,
	}
	if sess.Details != "" {
		a.Details = json.RawMessage(sess.Details)
	}
	if a.Subject == "" {
		a.Subject = c.ID
	}
	payload, err := json.Marshal(a)
	if err != nil {
		return "", err
	}
	return p.sign(ctx, algOf(&c.Settings), typAccessToken, payload)
}

// readAccessJWT is readAccessToken for a JWT. It is withdrawn by its jti: the
// text of a signature can be changed and stay right.
func (p *Provider) readAccessJWT(ctx context.Context, token string) (*AccessToken, error) {
	payload, err := p.ownToken(ctx, token, typAccessToken)
	if err != nil {
		return nil, errUncheckedToken(err)
	}
	var a accessClaims
	if payload == nil || json.Unmarshal(payload, &a) != nil || a.Issuer != p.issuer || a.Audience != p.issuer || a.JTI == "" {
		return nil, errBadToken()
	}
	if !p.clk.Now().Before(time.Unix(a.Expires, 0)) {
		return nil, errBadToken()
	}
	r := &record{ClientID: a.ClientID, GrantID: a.Grant, Scopes: words(a.Scope), AuthTime: a.Auth, AMR: a.AMR, ACR: a.ACR, SID: a.SID,
		Details: string(a.Details), InfoClaims: a.Claims, IssuedAt: a.IssuedAt * 1000, Expires: a.Expires * 1000}
	if a.Grant != "" {
		r.UserID = a.Subject
	}
	return &AccessToken{record: r, revokedAs: digest("jti " + a.JTI), jti: a.JTI}, nil
}
