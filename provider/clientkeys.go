package provider

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"slices"

	"mobileid/internal/fault"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxKeys    = 20       // in a client's set
	maxKeySet  = 32 << 10 // bytes
	minModulus = 2048     // bits of an RSA key
	maxModulus = 8192     // likewise: a longer one is a way to burn our time
)

// signatureAlgs are the algorithms that are spoken, here and by clients.
func signatureAlgs() []string {
	return []string{string(jose.ES256), string(jose.PS256), string(jose.RS256)}
}

// readKeySet reads a client's public keys (RFC 7517) and reports the first
// fault: whatever is not a public key that can verify one of our algorithms is
// refused, so that no private key or shared secret is ever kept by accident.
func readKeySet(raw json.RawMessage) ([]jose.JSONWebKey, error) {
	bad := func(format string, args ...any) ([]jose.JSONWebKey, error) {
		return nil, fault.InField("/jwks", "invalid", "jwks "+fmt.Sprintf(format, args...))
	}
	if len(raw) > maxKeySet {
		return bad("may have %d bytes at most", maxKeySet)
	}
	var members struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &members); err != nil {
		return bad("must be a JSON Web Key Set: an object with a list keys")
	}
	if len(members.Keys) == 0 || len(members.Keys) > maxKeys {
		return bad("must hold 1 to %d keys", maxKeys)
	}
	out := make([]jose.JSONWebKey, len(members.Keys))
	seen := map[string]bool{}
	for i, text := range members.Keys {
		k := &out[i]
		if err := json.Unmarshal(text, k); err != nil || !k.Valid() {
			return bad("holds a key that is malformed or of an unknown kind (number %d)", i+1)
		}
		if wrong := checkKey(k); wrong != "" {
			return bad("holds a key that %s (number %d)", wrong, i+1)
		}
		if len(out) > 1 && k.KeyID == "" {
			return bad("must give every key a kid when there are several")
		}
		if seen[k.KeyID] {
			return bad("uses the kid %q twice", k.KeyID)
		}
		seen[k.KeyID] = true
	}
	return out, nil
}

// checkKey says what is wrong with a key.
func checkKey(k *jose.JSONWebKey) string {
	switch {
	case !k.IsPublic():
		return "is not public: send the public half only"
	case len(k.KeyID) > 255:
		return "has a kid of more than 255 bytes"
	case k.Use != "" && k.Use != "sig":
		return "is not for signatures"
	case k.Algorithm != "" && !slices.Contains(signatureAlgs(), k.Algorithm):
		return "is for an algorithm other than ES256, PS256 and RS256"
	case k.Algorithm != "" && !fits(k, k.Algorithm):
		return "is of another kind than its alg needs"
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < minModulus || n > maxModulus {
			return fmt.Sprintf("has %d bits: RSA keys have %d to %d", n, minModulus, maxModulus)
		}
		if key.E < 65537 || key.E%2 == 0 {
			return "has an exponent that is too small"
		}
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return "is on a curve other than P-256"
		}
	default:
		return "is of an unknown kind"
	}
	return ""
}

// fits reports whether a key can verify signatures of alg: the key decides, and
// never the sender alone.
func fits(k *jose.JSONWebKey, alg string) bool {
	if k.Algorithm != "" && k.Algorithm != alg {
		return false
	}
	_, ec := k.Key.(*ecdsa.PublicKey)
	return ec == (alg == string(jose.ES256))
}

// pickKey is the key of a set for a signature; nil if there is none. An alg must
// be the registered one, and RS256 must be registered by name.
func pickKey(set []jose.JSONWebKey, registered, alg, kid string) *jose.JSONWebKey {
	if registered != "" && alg != registered || registered == "" && alg == string(jose.RS256) {
		return nil
	}
	var found *jose.JSONWebKey
	for i := range set {
		k := &set[i]
		if !fits(k, alg) || kid != "" && k.KeyID != kid {
			continue
		}
		if found != nil {
			return nil // no kid, and several could be meant
		}
		found = k
	}
	return found
}
