package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
)

// A floor message is a P-256 point, then AES-256-GCM over a text with one or two
// signatures of 72 bytes at its end: what a phone's message must hold, without
// the forms of JOSE around it.

const sigSpace = 72 // ASN.1, padded

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func encrypt(key, plain []byte) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	out := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	rand.Read(out)
	return aead.Seal(out, out, plain, nil), nil
}

func decrypt(key, sealed []byte) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil || len(sealed) < aead.NonceSize() {
		return nil, errFloor
	}
	return aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], nil)
}

func sealFloor(to *ecdh.PublicKey, dsk *ecdsa.PrivateKey, size, signatures int) ([]byte, error) {
	plain := make([]byte, size)
	rand.Read(plain)
	for range signatures {
		sum := sha256.Sum256(plain)
		sig, err := ecdsa.SignASN1(rand.Reader, dsk, sum[:])
		if err != nil {
			return nil, err
		}
		plain = append(plain, make([]byte, sigSpace-len(sig))...)
		plain = append(plain, sig...)
	}
	eph, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	z, err := eph.ECDH(to)
	if err != nil {
		return nil, err
	}
	key := sha256.Sum256(z)
	sealed, err := encrypt(key[:], plain)
	return append(eph.PublicKey().Bytes(), sealed...), err
}

func verifyFloor(device *ecdsa.PublicKey, plain []byte, signatures int) error {
	for range signatures {
		if len(plain) < sigSpace {
			return errFloor
		}
		sig := plain[len(plain)-sigSpace:]
		plain = plain[:len(plain)-sigSpace]
		for len(sig) > 0 && sig[0] == 0 {
			sig = sig[1:]
		}
		sum := sha256.Sum256(plain)
		if !ecdsa.VerifyASN1(device, sum[:], sig) {
			return errFloor
		}
	}
	return nil
}
