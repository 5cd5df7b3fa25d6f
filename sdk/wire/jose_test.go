package wire

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
)

func TestOurMessagesAreJOSEToGoJose(t *testing.T) {
	p := newParty(t)
	s := p.request(t)
	jwe, err := jose.ParseEncryptedCompact(s.JWE, []jose.KeyAlgorithm{jose.ECDH_ES}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		t.Fatal(err)
	}
	d := new(ecdsa.PrivateKey)
	if d, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), p.tek.Bytes()); err != nil {
		t.Fatal(err)
	}
	plain, err := jwe.Decrypt(d)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(string(plain), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jws.Verify(&p.dsk.PublicKey); err != nil {
		t.Fatal(err)
	}
	reply, err := SealReply(s.RK, &Reply{Iss: s.Aud, Aud: s.Iss, Rto: s.JTI, RH: s.RH, Result: Result{St: StatusOK, Body: json.RawMessage("{}")}}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jose.ParseEncryptedCompact(string(reply), []jose.KeyAlgorithm{jose.DIRECT}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Decrypt([]byte(s.RK)); err != nil {
		t.Fatal(err)
	}
}

func TestGoJosesMessagesOpenHere(t *testing.T) {
	p := newParty(t)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.dsk, KeyID: p.kid}},
		(&jose.SignerOptions{}).WithType(TypRequest))
	if err != nil {
		t.Fatal(err)
	}
	c := p.claims()
	c.EK = p.seal.Kid
	raw, _ := json.Marshal(c)
	jws, err := signer.Sign(raw)
	if err != nil {
		t.Fatal(err)
	}
	inner, _ := jws.CompactSerialize()
	to, _ := p.seal.JWK.ECDSA()
	enc, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.ECDH_ES, Key: to, KeyID: p.seal.Kid},
		(&jose.EncrypterOptions{}).WithType("mid+jwe").WithContentType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	jwe, err := enc.Encrypt([]byte(inner))
	if err != nil {
		t.Fatal(err)
	}
	text, _ := jwe.CompactSerialize()
	if _, err := p.open(text); err != nil {
		t.Fatal(err)
	}
	tp, _ := (&jose.JSONWebKey{Key: &p.dsk.PublicKey}).Thumbprint(5) // crypto.SHA256
	if Encode(tp) != p.kid {
		t.Fatal("another thumbprint than go-jose's")
	}
}

func TestASignatureIsTheSameInBothForms(t *testing.T) {
	numbers := [][]byte{{1}, {0x7f}, {0x80}, {0xff}, {1, 0}, {0x80, 0}, bytes.Repeat([]byte{0x7f}, 31), bytes.Repeat([]byte{0x80}, 31), bytes.Repeat([]byte{0x7f}, 32), bytes.Repeat([]byte{0xff}, 32)}
	for _, r := range numbers {
		for _, s := range numbers {
			var sig [64]byte
			copy(sig[32-len(r):], r)
			copy(sig[64-len(s):], s)
			want, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)})
			if err != nil {
				t.Fatal(err)
			}
			der := appendDER(nil, sig)
			if back, err := plainSignature(der); !bytes.Equal(der, want) || err != nil || back != sig {
				t.Errorf("%x: %x, encoding/asn1 %x; back %x, %v", sig, der, want, back, err)
			}
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("x"))
	der, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	right, err := plainSignature(der)
	if err != nil || !verifyPlain(&key.PublicKey, digest, right) {
		t.Fatal(err)
	}
	for name, sig := range map[string][64]byte{"nothing": {}, "no r": [64]byte(append(make([]byte, 32), right[32:]...)), "no s": [64]byte(append(right[:32:32], make([]byte, 32)...))} {
		if verifyPlain(&key.PublicKey, digest, sig) {
			t.Errorf("%s is taken for a signature", name)
		}
	}
}
