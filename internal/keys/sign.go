package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// Sign makes a compact JWS (RFC 7515) with this key, its algorithm and id, and
// the typ given, over payload.
func (k *Key) Sign(typ string, payload []byte) (string, error) {
	enc := base64.RawURLEncoding
	head := `{"alg":"` + string(k.Alg) + `","kid":"` + k.KID + `","typ":"` + typ + `"}`
	out := make([]byte, 0, enc.EncodedLen(len(head))+enc.EncodedLen(len(payload))+enc.EncodedLen(modulus/8)+2)
	out = enc.AppendEncode(out, []byte(head))
	out = append(out, '.')
	out = enc.AppendEncode(out, payload)
	sum := sha256.Sum256(out)
	sig, err := k.sign(sum[:])
	if err != nil {
		return "", fmt.Errorf("keys: sign: %w", err)
	}
	out = append(out, '.')
	return string(enc.AppendEncode(out, sig)), nil
}

// sign signs a SHA-256 in the form of RFC 7518 section 3.
func (k *Key) sign(sum []byte) ([]byte, error) {
	switch priv := k.Private.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, priv, sum)
		if err != nil {
			return nil, err
		}
		sig := make([]byte, 64)
		r.FillBytes(sig[:32])
		s.FillBytes(sig[32:])
		return sig, nil
	case *rsa.PrivateKey:
		if k.Alg == jose.PS256 {
			return rsa.SignPSS(rand.Reader, priv, crypto.SHA256, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(nil, priv, crypto.SHA256, sum)
	}
	return nil, fmt.Errorf("%T does not sign %s", k.Private, k.Alg)
}
