package provider

import (
	"context"
	"net/url"
	"sync"
	"time"

	"mobileid/internal/db"
)

// originCache are the origins of public clients, as browsers write them.
type originCache struct {
	mu   sync.Mutex
	at   time.Time // when they were read
	held map[string]bool
}

// AllowsOrigin reports whether scripts of an origin may read the answers of the
// endpoints for tokens: a public client, one that runs in a browser, has
// registered a redirect URI there. The list is read anew every 2 s at most.
func (p *Provider) AllowsOrigin(ctx context.Context, origin string) (bool, error) {
	o := &p.origins
	o.mu.Lock()
	defer o.mu.Unlock()
	old := p.clk.Now().Sub(o.at)
	if o.held == nil || old < 0 || old >= ClientFresh {
		at := p.clk.Now()
		held, err := p.readOrigins(ctx)
		if err != nil {
			return false, unavailable(err)
		}
		o.held, o.at = held, at
	}
	return o.held[origin], nil
}

func (p *Provider) readOrigins(ctx context.Context) (map[string]bool, error) {
	held := map[string]bool{}
	err := p.db.View(ctx, func(tx *db.Tx) error {
		return tx.PublicRedirects(func(uri string) {
			if origin := originOf(uri); origin != "" {
				held[origin] = true
			}
		})
	})
	return held, err
}

// originOf is a registered redirect URI's origin in the form of the Origin header
// (RFC 6454 section 6.2); "" for a scheme that has none.
func originOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	host := u.Host
	switch {
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80":
		host = host[:len(host)-len(u.Port())-1]
	case u.Scheme != "https" && u.Scheme != "http":
		return ""
	}
	return u.Scheme + "://" + host
}
