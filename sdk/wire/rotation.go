package wire

import (
	"crypto"
	"encoding/json"
)

// NewKeyClaims is what a device's new key signs, so that nobody can have a key of
// somebody else's taken for theirs: which device it is for, the key before it, and
// the request that brings it.
type NewKeyClaims struct {
	Iss string `json:"iss"` // device id
	Old string `json:"old"` // kid of the key before
	JTI string `json:"jti"` // of the request
}

// SignNewKey makes the JWS of a new key. Its header holds the key.
func SignNewKey(key crypto.Signer, c NewKeyClaims) (string, error) {
	jwk, err := PublicJWK(key)
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	return signCompact(key, `{"alg":"ES256","typ":"`+TypRotation+`","jwk":`+string(jwk.appendJSON(nil))+`}`, payload)
}

// VerifyNewKey returns the key that signed exactly these claims.
func VerifyNewKey(jws string, want NewKeyClaims) (JWK, error) {
	c, err := splitCompact(jws)
	if err != nil {
		return JWK{}, err
	}
	var jwk JWK
	if !c.head.only("alg", "typ", "jwk") || !c.head.is("alg", algES256) || !c.head.is("typ", TypRotation) || jwk.UnmarshalJSON(c.head.raw("jwk")) != nil {
		return JWK{}, errSignature
	}
	pub, err := jwk.ECDSA()
	if err != nil || !c.verify(pub) {
		return JWK{}, errSignature
	}
	var got NewKeyClaims
	if err := Unmarshal(c.payload, &got); err != nil || got != want {
		return JWK{}, errSignature
	}
	return jwk, nil
}
