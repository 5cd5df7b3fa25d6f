package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// keysFresh is how long keys of a jwks_uri are used before they are fetched anew.
	keysFresh = 5 * time.Minute
	// keysLife is how long they are used while they cannot be fetched: a key that
	// the client withdrew is dead by then, whatever became of its address.
	keysLife = time.Hour
	// keysPause is the least time between two fetches for a client on a node, so
	// that nobody who makes up a kid has us call its address at will.
	keysPause = 30 * time.Second
)

// remoteKeys are the keys that one client publishes at its jwks_uri.
type remoteKeys struct {
	uri string // when it changes, another remoteKeys takes over

	mu      sync.Mutex // held while the keys are fetched: all who ask wait for one answer
	set     []jose.JSONWebKey
	fetched time.Time // when set was; zero: never
	tried   time.Time // when a fetch began last
}

// remoteCache holds them by client id.
type remoteCache struct {
	mu   sync.Mutex
	byID map[string]*remoteKeys
}

// of returns what is known of a client's keys.
func (r *remoteCache) of(c *client) *remoteKeys {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.byID[c.ID]
	if k == nil || k.uri != c.Settings.JWKSURI {
		k = &remoteKeys{uri: c.Settings.JWKSURI}
		r.byID[c.ID] = k
	}
	return k
}

// keyOf is the client's key for a signature; nil if there is none. With jwks_uri
// an unknown kid, or one that fits no key, has the keys fetched, unless that was
// done a moment ago. Without keys, for whatever reason, nothing is verified.
func (p *Provider) keyOf(ctx context.Context, c *client, alg, kid string) (*jose.JSONWebKey, error) {
	registered := c.Settings.AssertionAlg
	if c.Settings.JWKSURI == "" {
		return pickKey(c.keys, registered, alg, kid), nil
	}
	r := p.remote.of(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := p.clk.Now()
	found := pickKey(r.set, registered, alg, kid)
	if (found == nil || now.Sub(r.fetched) >= keysFresh) && now.Sub(r.tried) >= keysPause {
		r.tried = now
		// One that hangs up must not end it for the others.
		if set, err := p.fetchKeys(context.WithoutCancel(ctx), r.uri); err != nil {
			p.log.WarnContext(ctx, "a client's keys cannot be fetched", "client", c.ID, "error", err)
		} else {
			r.set, r.fetched = set, now
		}
		found = pickKey(r.set, registered, alg, kid)
	}
	if now.Sub(r.fetched) >= keysLife {
		return nil, notAuthenticated("the client's keys cannot be read at its jwks_uri")
	}
	return found, nil
}

// fetchKeys reads the keys at a jwks_uri.
func (p *Provider) fetchKeys(ctx context.Context, uri string) ([]jose.JSONWebKey, error) {
	status, body, err := p.egress.Get(ctx, uri, "application/jwk-set+json, application/json")
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("it answered %d", status)
	}
	return usableKeys(body)
}

// usableKeys are those of a published set that verify our algorithms. A set may
// hold keys for other purposes and servers; those, private ones, and all that
// share a kid are left out, as if they were not there.
func usableKeys(body []byte) ([]jose.JSONWebKey, error) {
	var members struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, errors.New("it is not a JSON Web Key Set")
	}
	if len(members.Keys) > maxKeys {
		return nil, fmt.Errorf("it holds more than %d keys", maxKeys)
	}
	named := map[string]int{}
	var all []jose.JSONWebKey
	for _, text := range members.Keys {
		var k jose.JSONWebKey
		var head struct {
			KID string `json:"kid"`
		}
		if json.Unmarshal(text, &head) == nil {
			named[head.KID]++
		}
		if json.Unmarshal(text, &k) == nil && k.Valid() && checkKey(&k) == "" {
			all = append(all, k)
		}
	}
	var out []jose.JSONWebKey
	for _, k := range all {
		if k.KeyID == "" && len(members.Keys) == 1 || k.KeyID != "" && named[k.KeyID] == 1 {
			out = append(out, k)
		}
	}
	return out, nil // none: the client has withdrawn them
}
