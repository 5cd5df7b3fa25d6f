package wire

import (
	"crypto"
	"encoding/json"
	"errors"
)

// SealKey is a server key that requests are sealed to.
type SealKey struct {
	Kid   string `json:"kid"`
	Suite int    `json:"suite"`
	JWK   JWK    `json:"jwk"`
}

// KeySet is the payload of GET /mid/v1/keys.
type KeySet struct {
	Iss   string    `json:"iss"`
	Iat   int64     `json:"iat"`
	Exp   int64     `json:"exp"` // use no key of the set after this
	C     string    `json:"c"`   // the phone's challenge again
	Keys  []SealKey `json:"keys"`
	Chain []string  `json:"chain"` // successors of the signing key, none yet
	Sup   Supported `json:"sup"`
}

// Supported says what the server serves.
type Supported struct {
	V   []int    `json:"v"`   // protocol versions
	Ops []string `json:"ops"` // calls
}

var errKeySet = errors.New("key set refused")

// ValidRandom reports whether c may stand as a random value that the phone
// chose, the challenge of a key set or a jti: 16 to 64 characters of base64url.
func ValidRandom(c string) bool {
	if len(c) < 16 || len(c) > 64 {
		return false
	}
	for i := range len(c) {
		ch := c[i]
		if (ch < 'A' || ch > 'Z') && (ch < 'a' || ch > 'z') && (ch < '0' || ch > '9') && ch != '-' && ch != '_' {
			return false
		}
	}
	return true
}

// SignKeySet makes the JWS. Its header carries the signing key itself: the
// phone knows no more than the thumbprint it was given at registration.
func SignKeySet(ssk crypto.Signer, ks *KeySet) (string, error) {
	jwk, err := PublicJWK(ssk)
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(ks)
	if err != nil {
		return "", err
	}
	head := `{"alg":"ES256","typ":"` + TypKeys + `","kid":"` + jwk.KeyID() + `","jwk":` + string(jwk.appendJSON(nil)) + `}`
	return signCompact(ssk, head, payload)
}

// OpenKeySet verifies a key set for the server iss under the pinned thumbprint
// (base64url) and the challenge that was sent. An empty pin accepts the key
// that comes: only for typed registration, where the TLS origin vouches and
// the commit digits are compulsory. It returns the thumbprint to pin.
func OpenKeySet(jws, iss, pin, c string) (*KeySet, string, error) {
	p, err := splitCompact([]byte(jws))
	if err != nil {
		return nil, "", errKeySet
	}
	var ssk JWK
	if !p.head.only("alg", "typ", "kid", "jwk") || !p.head.is("alg", algES256) ||
		!p.head.is("typ", TypKeys) || ssk.UnmarshalJSON(p.head.raw("jwk")) != nil {
		return nil, "", errKeySet
	}
	kid := ssk.KeyID()
	if !p.head.is("kid", kid) || (pin != "" && pin != kid) {
		return nil, "", errKeySet
	}
	pub, err := ssk.ECDSA()
	if err != nil || !p.verify(pub) {
		return nil, "", errKeySet
	}
	var ks KeySet
	if err := Unmarshal(p.payload, &ks); err != nil {
		return nil, "", errKeySet
	}
	if ks.Iss != iss || ks.C != c || ks.Iat <= 0 || ks.Exp <= ks.Iat {
		return nil, "", errKeySet
	}
	return &ks, kid, nil
}

// Pick returns the first key of the suite that this package speaks.
func (ks *KeySet) Pick() (SealKey, error) {
	for _, k := range ks.Keys {
		if k.Suite == SuiteECDH && k.Kid != "" {
			return k, nil
		}
	}
	return SealKey{}, errors.New("server offers no suite we know")
}
