package wire

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
)

// thumbprintURI is the prefix of RFC 9278.
const thumbprintURI = "urn:ietf:params:oauth:jwk-thumbprint:sha-256:"

// JWK is a public P-256 key (RFC 7517), the only kind mid/1 knows. A JWK that
// came through UnmarshalJSON or FromECDSA is a point on the curve.
type JWK struct {
	X, Y [32]byte
}

// FromECDSA takes over a public key.
func FromECDSA(pub *ecdsa.PublicKey) (JWK, error) {
	if pub == nil || pub.Curve != elliptic.P256() {
		return JWK{}, errors.New("not a P-256 key")
	}
	point, err := pub.Bytes()
	if err != nil {
		return JWK{}, err
	}
	return fromPoint(point), nil
}

// FromECDH takes over a public key.
func FromECDH(pub *ecdh.PublicKey) JWK { return fromPoint(pub.Bytes()) }

func fromPoint(point []byte) JWK {
	var k JWK
	copy(k.X[:], point[1:33])
	copy(k.Y[:], point[33:65])
	return k
}

func (k JWK) point() []byte {
	p := make([]byte, 65)
	p[0] = 4
	copy(p[1:], k.X[:])
	copy(p[33:], k.Y[:])
	return p
}

// ECDSA returns the key for verifying signatures.
func (k JWK) ECDSA() (*ecdsa.PublicKey, error) {
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), k.point())
}

// ECDH returns the key for key agreement.
func (k JWK) ECDH() (*ecdh.PublicKey, error) { return ecdh.P256().NewPublicKey(k.point()) }

// appendJSON writes the members in the order of RFC 7638 section 3.2, so the
// JSON form of a JWK is also the input of its thumbprint.
func (k JWK) appendJSON(b []byte) []byte {
	b = append(b, `{"crv":"P-256","kty":"EC","x":"`...)
	b = b64.AppendEncode(b, k.X[:])
	b = append(b, `","y":"`...)
	b = b64.AppendEncode(b, k.Y[:])
	return append(b, `"}`...)
}

// MarshalJSON writes kty, crv, x and y only.
func (k JWK) MarshalJSON() ([]byte, error) { return k.appendJSON(nil), nil }

// UnmarshalJSON accepts exactly kty, crv, x and y, so neither a private part
// nor a certificate slips in, and refuses what is not a point on the curve:
// compressed or hybrid forms cannot be written in a JWK, the identity and
// points of a twist fail here.
func (k *JWK) UnmarshalJSON(data []byte) error {
	parsed, err := parseJWK(data)
	if err != nil {
		return err
	}
	if _, err := parsed.ECDH(); err != nil {
		return err
	}
	*k = parsed
	return nil
}

// parseJWK leaves the curve to be checked by the caller's ECDH or ECDSA.
func parseJWK(data []byte) (JWK, error) {
	h, err := parseMembers(data)
	if err != nil {
		return JWK{}, err
	}
	if !h.only("kty", "crv", "x", "y") || !h.is("kty", "EC") || !h.is("crv", "P-256") {
		return JWK{}, errors.New("not a public P-256 JWK")
	}
	x, errX := decode32(h.bytes("x"))
	y, errY := decode32(h.bytes("y"))
	return JWK{x, y}, errors.Join(errX, errY)
}

// Thumbprint is the raw RFC 7638 thumbprint with SHA-256.
func (k JWK) Thumbprint() [32]byte {
	var buf [160]byte
	return sha256.Sum256(k.appendJSON(buf[:0]))
}

// KeyID is the thumbprint as base64url, the kid of DSK, SSK and TEK.
func (k JWK) KeyID() string {
	t := k.Thumbprint()
	return Encode(t[:])
}

// ThumbprintURI names a key before it has a device id (RFC 9278).
func (k JWK) ThumbprintURI() string { return thumbprintURI + k.KeyID() }
