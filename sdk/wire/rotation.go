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

// SignNewKey makes the JWS of a new signing key. Its header holds the key.
func SignNewKey(key crypto.Signer, c NewKeyClaims) (string, error) {
	return introduce(key, TypRotation, c)
}

// VerifyNewKey returns the key that signed exactly these claims.
func VerifyNewKey(jws string, want NewKeyClaims) (JWK, error) {
	return introduced(jws, TypRotation, want)
}

// BioKeyClaims is what a device's biometric key signs for the same reason: which
// device it is for, that device's signing key, and the request that brings it.
type BioKeyClaims struct {
	Iss string `json:"iss"` // device id
	DSK string `json:"dsk"` // kid of the signing key
	JTI string `json:"jti"` // of the request
}

// SignBioKey makes the JWS of a biometric key. Its header holds the key.
func SignBioKey(key crypto.Signer, c BioKeyClaims) (string, error) { return introduce(key, TypBio, c) }

// VerifyBioKey returns the key that signed exactly these claims.
func VerifyBioKey(jws string, want BioKeyClaims) (JWK, error) { return introduced(jws, TypBio, want) }

// introduce has a key that the server does not know yet sign claims.
func introduce(key crypto.Signer, typ string, claims any) (string, error) {
	jwk, err := PublicJWK(key)
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return signCompact(key, `{"alg":"ES256","typ":"`+typ+`","jwk":`+string(jwk.appendJSON(nil))+`}`, payload)
}

func introduced[T comparable](jws, typ string, want T) (JWK, error) {
	c, err := splitCompact([]byte(jws))
	if err != nil {
		return JWK{}, err
	}
	var jwk JWK
	if !c.head.only("alg", "typ", "jwk") || !c.head.is("alg", algES256) || !c.head.is("typ", typ) || jwk.UnmarshalJSON(c.head.raw("jwk")) != nil {
		return JWK{}, errSignature
	}
	pub, err := jwk.ECDSA()
	if err != nil || !c.verify(pub) {
		return JWK{}, errSignature
	}
	var got T
	if err := Unmarshal(c.payload, &got); err != nil || got != want {
		return JWK{}, errSignature
	}
	return jwk, nil
}
