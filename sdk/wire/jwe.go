package wire

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

const (
	algECDH = "ECDH-ES"
	algDir  = "dir"
	encGCM  = "A256GCM"
)

// errSeal is the one answer to everything that does not open.
var errSeal = errors.New("does not open")

// parts of a compact JWE (RFC 7516 section 7.1) whose encrypted key is empty,
// as it is for ECDH-ES and dir.
type parts struct {
	head       []byte // as sent: also the additional data
	iv         [12]byte
	ciphertext []byte // with the tag at its end, as cipher.AEAD wants it
}

// The head is a piece of s.
func splitSealed(s []byte) (p parts, err error) {
	var seg [5][]byte
	rest, more := s, true
	for i := range seg {
		if !more {
			return p, errSeal
		}
		seg[i], rest, more = bytes.Cut(rest, []byte("."))
	}
	if more || len(seg[1]) != 0 || len(seg[2]) != 16 || len(seg[4]) != 22 || lineBreak(s) {
		return p, errSeal
	}
	p.head = seg[0]
	_, errIV := b64.Decode(p.iv[:], seg[2])
	p.ciphertext = make([]byte, 0, b64.DecodedLen(len(seg[3]))+16)
	p.ciphertext, err = b64.AppendDecode(p.ciphertext, seg[3])
	if err == nil {
		p.ciphertext, err = b64.AppendDecode(p.ciphertext, seg[4])
	}
	if errIV != nil || err != nil {
		return parts{}, errSeal
	}
	return p, nil
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (p parts) open(key []byte) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(p.ciphertext[:0], p.iv[:], p.ciphertext, p.head)
	if err != nil {
		return nil, errSeal
	}
	return plain, nil
}

// seal writes a compact JWE and overwrites plain. random gives the nonce: 96 random bits, and a key
// seals one message (RK) or is derived fresh for one message (ECDH-ES).
func seal(key []byte, head, plain []byte, random io.Reader) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	var iv [12]byte
	if _, err := io.ReadFull(random, iv[:]); err != nil {
		return nil, fmt.Errorf("nonce: %w", err)
	}
	out := make([]byte, 0, b64.EncodedLen(len(head))+b64.EncodedLen(len(plain))+48)
	out = b64.AppendEncode(out, head)
	aad := out
	sealed := aead.Seal(plain[:0], iv[:], plain, aad)
	cut := len(sealed) - 16
	out = append(out, '.', '.')
	out = b64.AppendEncode(out, iv[:])
	out = append(out, '.')
	out = b64.AppendEncode(out, sealed[:cut])
	out = append(out, '.')
	return b64.AppendEncode(out, sealed[cut:]), nil
}

// deriveECDH is the Concat KDF of RFC 7518 section 4.6.2 for direct agreement
// with A256GCM and empty apu and apv: a single round of SHA-256.
func deriveECDH(priv *ecdh.PrivateKey, pub *ecdh.PublicKey) ([]byte, error) {
	z, err := priv.ECDH(pub)
	if err != nil {
		return nil, errSeal
	}
	var room [64]byte
	in := append(append(room[:0], 0, 0, 0, 1), z...)
	in = append(in, "\x00\x00\x00\x07"+encGCM+"\x00\x00\x00\x00"+"\x00\x00\x00\x00"+"\x00\x00\x01\x00"...)
	sum := sha256.Sum256(in)
	return sum[:], nil
}

// newECDH draws a P-256 key from random; crypto/ecdh's own generator takes no
// reader, and the vectors need one.
func newECDH(random io.Reader) (*ecdh.PrivateKey, error) {
	var d [32]byte
	for range 64 {
		if _, err := io.ReadFull(random, d[:]); err != nil {
			return nil, fmt.Errorf("ephemeral key: %w", err)
		}
		if k, err := ecdh.P256().NewPrivateKey(d[:]); err == nil {
			return k, nil
		}
	}
	return nil, errors.New("random source gives no key")
}
