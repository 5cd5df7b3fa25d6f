package rig

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"sync"

	"mobileid/sdk/wire"
)

// StretchOnce stretches each PIN of a phone once: a test of thirty answers does not
// have the time to do it for each.
func StretchOnce() func(pin string, salt []byte) ([]byte, error) {
	var mu sync.Mutex
	known := map[string][]byte{}
	return func(pin string, salt []byte) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		key := pin + string(salt)
		if known[key] == nil {
			known[key] = stretch(pin, salt)
		}
		return slices.Clone(known[key]), nil
	}
}

// stretch gives the bytes of wire.Stretch (RFC 8018 section 5.2, one block). Of
// crypto/pbkdf2, which is generic, each package that calls it has a copy of its own
// that the race detector watches, byte by byte of each of the 100 000 rounds: with it
// a phone took five times as long.
func stretch(pin string, salt []byte) []byte {
	m := hmac.New(sha256.New, []byte(pin))
	m.Write(salt)
	m.Write([]byte{0, 0, 0, 1})
	u := m.Sum(nil)
	out := slices.Clone(u)
	for range wire.Rounds - 1 {
		m.Reset()
		m.Write(u)
		u = m.Sum(u[:0])
		subtle.XORBytes(out, out, u)
	}
	return out
}
