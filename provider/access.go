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
}

// HasScope reports whether the token has exactly that scope.
func (t *AccessToken) HasScope(s string) bool { return contains(t.Scopes, s) }

// VerifyAccessToken returns what a bearer token stands for. Its grant, user,
// device and client are asked each time: a token of something withdrawn is dead
// at once. The error is fault.Unauthorized for any token that is not good, and
// fault.Unavailable if that could not be found out.
func (p *Provider) VerifyAccessToken(ctx context.Context, token string) (*AccessToken, error) {
	bad := fault.New(fault.Unauthorized, "the access token is unknown, has expired or was revoked")
	if len(token) != tokenLength {
		return nil, bad
	}
	val, err := p.kv.Get(ctx, accessKey(digest(token)))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, bad
	}
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "the access token cannot be checked right now", err)
	}
	r, err := decodeRecord(val)
	if err != nil {
		return nil, err
	}
	if !p.clk.Now().Before(r.expires()) {
		return nil, bad
	}
	c, err := p.client(ctx, r.ClientID)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "the access token cannot be checked right now", err)
	}
	if c == nil || !c.DisabledAt.IsZero() {
		return nil, bad
	}
	if r.GrantID != "" {
		var live bool
		err := p.db.View(ctx, func(tx *db.Tx) (err error) {
			live, err = tx.GrantLive(r.GrantID, r.authTime())
			return err
		})
		if err != nil && !errors.Is(err, db.ErrNotFound) {
			return nil, fault.Wrap(fault.Unavailable, "the access token cannot be checked right now", err)
		}
		if !live {
			return nil, bad
		}
	}
	return &AccessToken{
		Client: c.Client, ClientID: r.ClientID, MerchantID: r.MerchantID, UserID: r.UserID, GrantID: r.GrantID, Scopes: r.Scopes,
		IssuedAt: time.UnixMilli(r.IssuedAt), ExpiresAt: r.expires(),
	}, nil
}

// tokenLength is the length of 256 bits in base64url.
const tokenLength = 43
