package wire

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"
)

// BenchmarkFloor is the bare cryptography of one call: agree, open, verify, seal.
func BenchmarkFloor(b *testing.B) {
	p := newParty(b)
	s := p.request(b)
	env, err := ParseEnvelope([]byte(s.JWE))
	if err != nil {
		b.Fatal(err)
	}
	key, _ := deriveECDH(p.tek, env.epk)
	plain, err := parts{env.head, env.iv, append([]byte(nil), env.ciphertext...)}.open(key)
	if err != nil {
		b.Fatal(err)
	}
	jws, _ := splitCompact(plain)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.tek.ECDH(env.epk); err != nil {
			b.Fatal(err)
		}
		if !jws.verify(&p.dsk.PublicKey) {
			b.Fatal("verify")
		}
		aead, _ := gcm(key)
		aead.Seal(nil, env.iv[:], plain, nil)
		sha256.Sum256(plain)
	}
}

// BenchmarkEnvelope is the same through this package, with a reply of 1 KiB.
func BenchmarkEnvelope(b *testing.B) {
	p := newParty(b)
	s := p.request(b)
	body, _ := json.Marshal(map[string]string{"x": strings.Repeat("x", 1024)})
	b.ReportAllocs()
	for b.Loop() {
		r, err := p.open(s.JWE)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := SealReply(r.RK, &Reply{Iss: "a", Aud: "b", Rto: r.JTI, Result: Result{St: StatusOK, Body: body}}, rand.Reader); err != nil {
			b.Fatal(err)
		}
	}
}
