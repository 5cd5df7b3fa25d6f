package channel

import (
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"sync"

	"mobileid/sdk/wire"
)

// mostKeys bounds the keys that are kept: about three megabytes.
const mostKeys = 4096

// deviceKey is a device's key, parsed and proven to be a point on the curve.
type deviceKey struct {
	jwk wire.JWK
	pub *ecdsa.PublicKey
}

// deviceKeys keeps what was parsed, by the text as the row has it: an entry
// cannot grow old, and a row whose key is another finds no entry. The zero value
// is empty and ready.
type deviceKeys struct {
	mu sync.RWMutex
	by map[string]deviceKey
}

func (k *deviceKeys) parse(text string) (deviceKey, error) {
	k.mu.RLock()
	key, ok := k.by[text]
	k.mu.RUnlock()
	if ok {
		return key, nil
	}
	if err := json.Unmarshal([]byte(text), &key.jwk); err != nil {
		return key, fmt.Errorf("stored device key: %w", err)
	}
	var err error
	if key.pub, err = key.jwk.ECDSA(); err != nil {
		return key, fmt.Errorf("stored device key: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.by == nil || len(k.by) >= mostKeys {
		// Whoever is in use comes back at once; the rest was not worth its place.
		k.by = make(map[string]deviceKey)
	}
	k.by[text] = key
	return key, nil
}
