package provider

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"sync"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db"

	"github.com/go-jose/go-jose/v4"
	"github.com/ory/fosite"
)

// Authentication methods of clients (RFC 7591 section 2).
const (
	methodBasic = "client_secret_basic"
	methodPost  = "client_secret_post"
	methodJWT   = "private_key_jwt"
	methodNone  = "none"
)

// confidentialMethods are those of clients that can keep a secret.
func confidentialMethods() []string { return []string{methodBasic, methodPost, methodJWT} }

// client is a db.Client as fosite sees it. It is shared by all requests and
// never changed.
type client struct {
	*db.Client
	keys    []jose.JSONWebKey // of private_key_jwt
	checked time.Time         // when its version was last compared; under clientCache.mu
}

var _ interface {
	fosite.Client
	fosite.ResponseModeClient
} = (*client)(nil)

func (c *client) GetID() string                      { return c.ID }
func (c *client) GetHashedSecret() []byte            { return nil } // fosite never authenticates clients here
func (c *client) GetRedirectURIs() []string          { return c.Settings.RedirectURIs }
func (c *client) GetGrantTypes() fosite.Arguments    { return c.Settings.GrantTypes }
func (c *client) GetResponseTypes() fosite.Arguments { return fosite.Arguments{"code"} }
func (c *client) GetScopes() fosite.Arguments        { return c.Settings.Scopes }
func (c *client) IsPublic() bool                     { return c.Settings.AuthMethod == methodNone }
func (c *client) GetAudience() fosite.Arguments      { return nil }
func (c *client) GetResponseModes() []fosite.ResponseModeType {
	return []fosite.ResponseModeType{fosite.ResponseModeQuery, fosite.ResponseModeFormPost}
}

// mayUse reports whether the client is registered for the grant.
func (c *client) mayUse(grant string) bool { return contains(c.Settings.GrantTypes, grant) }

// contains is exact, unlike fosite.Arguments.Has, which ignores case.
func contains(list []string, s string) bool { return slices.Contains(list, s) }

// clientCache keeps parsed clients; an entry older than ClientFresh is compared
// with the database's version before it is used.
type clientCache struct {
	mu   sync.Mutex
	byID map[string]*client
}

// client returns the client with id, enabled or not; nil if there is none.
func (p *Provider) client(ctx context.Context, id string) (*client, error) {
	now := p.clk.Now()
	p.clients.mu.Lock()
	known := p.clients.byID[id]
	fresh := known != nil && now.Sub(known.checked) < ClientFresh && !now.Before(known.checked)
	p.clients.mu.Unlock()
	if fresh {
		return known, nil
	}
	var loaded *client
	err := p.db.View(ctx, func(tx *db.Tx) error {
		if known != nil {
			if v, err := tx.ClientVersion(id); err == nil && v == known.Version {
				return nil
			}
		}
		c, err := tx.Client(id)
		loaded = &client{Client: &c, checked: now}
		if err == nil && len(c.Settings.JWKS) > 0 {
			// Checked when it was stored; a set that is bad all the same is no key.
			loaded.keys, _ = readKeySet(c.Settings.JWKS)
		}
		return err
	})
	p.clients.mu.Lock()
	defer p.clients.mu.Unlock()
	switch {
	case errors.Is(err, db.ErrNotFound):
		delete(p.clients.byID, id)
		return nil, nil
	case err != nil:
		return nil, unavailable(err)
	case loaded == nil:
		known.checked = now
		return known, nil
	}
	p.clients.byID[id] = loaded
	return loaded, nil
}

// NewClientSecret makes a secret to show once and the record to keep: its
// SHA-256, which is enough for 256 random bits and costs no time at the token
// endpoint. The characters of base64url survive form-encoding unchanged.
func NewClientSecret(clk clock.Clock) (secret string, rec db.ClientSecret) {
	secret = randomToken()
	sum := sha256.Sum256([]byte(secret))
	return secret, db.ClientSecret{Hash: sum[:], CreatedAt: clk.Now()}
}

// randomToken returns 256 random bits in base64url.
func randomToken() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// digest is under which name a bearer value is known to the stores, which never
// hold the value itself.
func digest(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
