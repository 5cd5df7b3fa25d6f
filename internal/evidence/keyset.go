package evidence

import (
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"

	"mobileid/sdk/wire"
)

// PublicKey is one evidence key with the time in which it signed: from NotBefore
// until before NotAfter, seconds since 1970; NotAfter 0 means that it still does.
type PublicKey struct {
	KID       string
	NotBefore int64
	NotAfter  int64
	key       *ecdsa.PublicKey
}

// KeySet is what /evidence/jwks publishes.
type KeySet []PublicKey

// maxKeys bounds a key set: a century of monthly rotations.
const maxKeys = 1200

// publishedKey is one member of the published set: a JWK (RFC 7517) with nbf and
// exp beside it.
type publishedKey struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`
	Alg string `json:"alg"`
	Use string `json:"use"`
	KID string `json:"kid"`
	Nbf int64  `json:"nbf"`
	Exp int64  `json:"exp,omitempty"`
}

// Publish writes the key set as /evidence/jwks shows it.
func Publish(set []Published) ([]byte, error) {
	out := struct {
		Keys []publishedKey `json:"keys"`
	}{make([]publishedKey, 0, len(set))}
	for _, p := range set {
		jwk, err := wire.FromECDSA(p.Key)
		if err != nil {
			return nil, fmt.Errorf("evidence: key %s: %w", p.KID, err)
		}
		out.Keys = append(out.Keys, publishedKey{"EC", "P-256", wire.Encode(jwk.X[:]), wire.Encode(jwk.Y[:]), "ES256", "sig", p.KID, p.NotBefore, p.NotAfter})
	}
	return json.Marshal(out)
}

// Published is a key to publish.
type Published struct {
	KID                 string
	Key                 *ecdsa.PublicKey
	NotBefore, NotAfter int64
}

// ParseKeys reads a published key set. A set with a key that is not a public
// P-256 key with an id of its own and the time it signed in is refused as a whole.
func ParseKeys(data []byte) (KeySet, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := strict(data, &set); err != nil {
		return nil, fmt.Errorf("evidence: key set: %w", err)
	}
	if len(set.Keys) == 0 || len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("evidence: the key set has %d keys", len(set.Keys))
	}
	out := make(KeySet, 0, len(set.Keys))
	seen := map[string]bool{}
	for i, raw := range set.Keys {
		k, err := parseKey(raw)
		if err != nil {
			return nil, fmt.Errorf("evidence: key %d of the set: %w", i, err)
		}
		if seen[k.KID] {
			return nil, fmt.Errorf("evidence: key %d of the set: its kid is there twice", i)
		}
		seen[k.KID] = true
		out = append(out, k)
	}
	return out, nil
}

func parseKey(raw json.RawMessage) (PublicKey, error) {
	var k struct {
		publishedKey
		D *json.RawMessage `json:"d"`
	}
	if err := strict(raw, &k); err != nil {
		return PublicKey{}, err
	}
	if k.D != nil {
		return PublicKey{}, errors.New("it is a private key")
	}
	if k.Kty != "EC" || k.Crv != "P-256" || k.Alg != "ES256" || k.Use != "sig" {
		return PublicKey{}, errors.New("it is not an ES256 signing key")
	}
	if k.KID == "" || len(k.KID) > 128 || k.Nbf <= 0 || k.Exp < 0 || k.Exp != 0 && k.Exp <= k.Nbf {
		return PublicKey{}, errors.New("its kid, nbf or exp is missing or impossible")
	}
	x, errX := wire.Decode32(k.X)
	y, errY := wire.Decode32(k.Y)
	if err := errors.Join(errX, errY); err != nil {
		return PublicKey{}, err
	}
	pub, err := wire.JWK{X: x, Y: y}.ECDSA()
	if err != nil {
		return PublicKey{}, err
	}
	return PublicKey{KID: k.KID, NotBefore: k.Nbf, NotAfter: k.Exp, key: pub}, nil
}

// find returns the key with the id.
func (s KeySet) find(kid string) (PublicKey, bool) {
	for _, k := range s {
		if k.KID == kid {
			return k, true
		}
	}
	return PublicKey{}, false
}

// signedAt reports whether the key was in use at the time.
func (k PublicKey) signedAt(at int64) bool {
	return at >= k.NotBefore && (k.NotAfter == 0 || at < k.NotAfter)
}
