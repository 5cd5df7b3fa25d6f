package provider

import (
	"context"
	"errors"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/kv"
)

// AccessToken is what a valid access token says.
type AccessToken struct {
	Client     *db.Client // shared: do not change
	ClientID   string
	MerchantID string
	UserID     string // empty: client_credentials
	GrantID    string // likewise
	Scopes     []string
	IssuedAt   time.Time
	ExpiresAt  time.Time

	record *record
	// revokedAs is under which name the token is withdrawn alone.
	revokedAs string
	jti       string // of a JWT
	client    *client
}

// HasScope reports whether the token has exactly that scope.
func (t *AccessToken) HasScope(s string) bool { return contains(t.Scopes, s) }

// errBadToken is the one answer to every token that is not good.
func errBadToken() error {
	return fault.New(fault.Unauthorized, "the access token is unknown, has expired or was revoked")
}

func errUncheckedToken(cause error) error {
	return fault.Wrap(fault.Unavailable, "the access token cannot be checked right now", cause)
}

// VerifyAccessToken returns what a bearer token stands for. Its grant, user,
// device and client are asked each time: a token of something withdrawn is dead
// at once. The error is fault.Unauthorized for any token that is not good, and
// fault.Unavailable if that could not be found out.
func (p *Provider) VerifyAccessToken(ctx context.Context, token string) (*AccessToken, error) {
	t, err := p.readAccessToken(ctx, token)
	if err != nil {
		return nil, err
	}
	r := t.record
	if t.client, err = p.client(ctx, r.ClientID); err != nil {
		return nil, errUncheckedToken(err)
	}
	// A JWT's iat has seconds. No token is issued in the one in which a client is
	// enabled, but after that.
	if t.client == nil || !t.client.DisabledAt.IsZero() || t.client.ValidAfter.Truncate(time.Second).After(time.UnixMilli(r.IssuedAt)) {
		return nil, errBadToken()
	}
	var live bool
	err = p.db.View(ctx, func(tx *db.Tx) (err error) {
		if r.GrantID != "" {
			live, err = tx.TokenLive(r.GrantID, r.authTime(), revokedToken, t.revokedAs)
			return err
		}
		revoked, err := tx.IsRevoked(revokedToken, t.revokedAs)
		live = !revoked
		return err
	})
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return nil, errUncheckedToken(err)
	}
	if err != nil || !live {
		return nil, errBadToken()
	}
	t.Client, t.MerchantID = t.client.Client, t.client.MerchantID
	t.ClientID, t.UserID, t.GrantID, t.Scopes = r.ClientID, r.UserID, r.GrantID, r.Scopes
	t.IssuedAt, t.ExpiresAt = time.UnixMilli(r.IssuedAt), r.expires()
	return t, nil
}

// readAccessToken finds what a token says, if this server made it and its time
// is not over. Whether it still stands is for the caller to ask.
func (p *Provider) readAccessToken(ctx context.Context, token string) (*AccessToken, error) {
	if len(token) != tokenLength {
		return p.readAccessJWT(ctx, token)
	}
	hash := digest(token)
	val, err := p.kv.Get(ctx, accessKey(hash))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, errBadToken()
	}
	if err != nil {
		return nil, errUncheckedToken(err)
	}
	r, err := decodeRecord(val)
	if err != nil {
		return nil, err
	}
	if !p.clk.Now().Before(r.expires()) {
		return nil, errBadToken()
	}
	return &AccessToken{record: r, revokedAs: hash}, nil
}

// tokenLength is the length of 256 bits in base64url.
const tokenLength = 43

// revokedToken is the kind under which single access tokens are withdrawn.
const revokedToken = "access_token"
