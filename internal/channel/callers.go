package channel

import (
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"sync"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
)

// mostCallers bounds the callers that are kept: about four megabytes.
const mostCallers = 2048

// caller is a device as it was last read, with its key parsed and proven to be a
// point on the curve.
type caller struct {
	dev db.Caller // without its chain
	jwk wire.JWK
	pub *ecdsa.PublicKey
}

// callers keeps who called lately, by the thumbprint of the signing key: a phone
// that answers has listed a moment before. Names, App, user and salt of a device
// never change; everything else of a kept one may be out of date, its key included,
// and is judged again by the locked row. The zero value is empty and ready.
type callers struct {
	mu sync.RWMutex
	by map[string]*caller
}

func (k *callers) find(thumb string) *caller {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.by[thumb]
}

// keep returns the device with its key parsed, and keeps both if it is ACTIVE.
func (k *callers) keep(dev db.Caller) (*caller, error) {
	dev.Chain = db.Chain{}
	c := &caller{dev: dev}
	if had := k.find(dev.DSKThumb); had != nil && had.dev.DSK == dev.DSK {
		c.jwk, c.pub = had.jwk, had.pub
	} else if err := c.parse(); err != nil {
		return nil, fmt.Errorf("stored device key: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if dev.State != db.DeviceActive {
		delete(k.by, dev.DSKThumb)
		return c, nil
	}
	if k.by == nil || len(k.by) >= mostCallers {
		// Whoever is in use comes back at once; the rest was not worth its place.
		k.by = make(map[string]*caller)
	}
	k.by[dev.DSKThumb] = c
	return c, nil
}

func (k *callers) drop(thumb string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.by, thumb)
}

func (c *caller) parse() (err error) {
	if err = json.Unmarshal([]byte(c.dev.DSK), &c.jwk); err == nil {
		c.pub, err = c.jwk.ECDSA()
	}
	return err
}
