package wire

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
)

// errSignature says nothing about why.
var errSignature = errors.New("signature or header refused")

// JOSE types, one per kind of message and direction.
const (
	TypRequest  = "mid-req+jwt"
	TypAnswer   = "mid-ans+jwt"
	TypKeys     = "mid-keys+jwt"
	TypRotation = "mid-rot+jwt"
	TypBio      = "mid-bio+jwt"
	typSealed   = "mid+jwe"
	typResponse = "mid-res+jwe"
	algES256    = "ES256"
)

// PublicJWK is the public half of a signer; it must be P-256.
func PublicJWK(s crypto.Signer) (JWK, error) {
	pub, ok := s.Public().(*ecdsa.PublicKey)
	if !ok {
		return JWK{}, errors.New("not an ECDSA key")
	}
	return FromECDSA(pub)
}

// plainSignature is r and s of 32 bytes each, as JOSE wants them (RFC 7518 section
// 3.4), of a signature in ASN.1, as crypto.Signer, key stores and HSMs give it.
func plainSignature(der []byte) (out [64]byte, err error) {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(rest) != 0 || sig.R.Sign() <= 0 || sig.S.Sign() <= 0 || sig.R.BitLen() > 256 || sig.S.BitLen() > 256 {
		return out, errors.New("signer did not answer in ASN.1")
	}
	sig.R.FillBytes(out[:32])
	sig.S.FillBytes(out[32:])
	return out, nil
}

func verifyPlain(pub *ecdsa.PublicKey, digest [32]byte, sig [64]byte) bool {
	var room [72]byte
	return ecdsa.VerifyASN1(pub, digest[:], appendDER(room[:0], sig))
}

// appendDER is plainSignature's reverse: a SEQUENCE of two INTEGERs in DER (X.690
// section 8.3), each as short as may be, with a zero before a highest bit that is set.
func appendDER(b []byte, sig [64]byte) []byte {
	b = append(b, 0x30, 0)
	for _, n := range [...][]byte{sig[:32], sig[32:]} {
		for len(n) > 1 && n[0] == 0 {
			n = n[1:]
		}
		if n[0]&0x80 == 0 {
			b = append(b, 0x02, byte(len(n)))
		} else {
			b = append(b, 0x02, byte(len(n)+1), 0)
		}
		b = append(b, n...)
	}
	b[1] = byte(len(b) - 2)
	return b
}

// signCompact makes a compact JWS with ES256.
func signCompact(s crypto.Signer, head string, payload []byte) (string, error) {
	input := make([]byte, 0, b64.EncodedLen(len(head))+b64.EncodedLen(len(payload))+88)
	input = b64.AppendEncode(input, []byte(head))
	input = append(input, '.')
	input = b64.AppendEncode(input, payload)
	digest := sha256.Sum256(input)
	der, err := s.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	rs, err := plainSignature(der)
	if err != nil {
		return "", err
	}
	input = append(input, '.')
	return string(b64.AppendEncode(input, rs[:])), nil
}

// compact is a JWS taken apart, not yet verified.
type compact struct {
	head    header
	payload []byte
	input   []byte // what was signed
	sig     [64]byte
}

// splitCompact takes a JWS apart by strict rules; the JSON serialisation, an
// empty signature and any length but 64 bytes are refused. The input is a piece of s.
func splitCompact(s []byte) (c compact, err error) {
	first := bytes.IndexByte(s, '.')
	last := bytes.LastIndexByte(s, '.')
	if first <= 0 || last == first || bytes.IndexByte(s[first+1:], '.') != last-first-1 {
		return c, errSignature
	}
	if len(s)-last-1 != b64.EncodedLen(len(c.sig)) {
		return c, errSignature
	}
	if _, err = decodeInto(c.sig[:], s[last+1:]); err != nil {
		return c, errSignature
	}
	if c.payload, err = decode(s[first+1 : last]); err != nil {
		return c, errSignature
	}
	if c.head, err = parseHeader(s[:first]); err != nil {
		return c, errSignature
	}
	c.input = s[:last]
	return c, nil
}

// verify checks the signature only; the caller has checked alg and typ.
func (c *compact) verify(pub *ecdsa.PublicKey) bool {
	return verifyPlain(pub, sha256.Sum256(c.input), c.sig)
}
