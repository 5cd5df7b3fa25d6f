// Package vectors makes the test vectors of mid/1, good and bad, from fixed
// keys and a fixed stream instead of randomness. It writes envelopes by itself,
// not with sdk/wire: so the vectors check that package too, and the bad ones can
// be made at all.
package vectors

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// bytesOf is n fixed bytes named by label: SHA-256(label, counter), cut.
func bytesOf(label string, n int) []byte {
	var out []byte
	for i := uint32(0); len(out) < n; i++ {
		sum := sha256.Sum256(binary.BigEndian.AppendUint32([]byte("mid/1 vectors "+label), i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // fixed input: only a mistake in this package
	}
	return v
}

// signingKey and sealKey are fixed P-256 keys.
func signingKey(label string) *ecdsa.PrivateKey {
	return must(ecdsa.ParseRawPrivateKey(elliptic.P256(), bytesOf(label, 32)))
}

func sealKey(label string) *ecdh.PrivateKey {
	return must(ecdh.P256().NewPrivateKey(bytesOf(label, 32)))
}

// member is one member of a JSON object whose order matters.
type member struct {
	name  string
	value any
}

type object []member

func (o object) MarshalJSON() ([]byte, error) {
	var sb strings.Builder
	for i, m := range o {
		sep := ","
		if i == 0 {
			sep = ""
		}
		raw, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&sb, "%s%q:%s", sep, m.name, raw)
	}
	return []byte("{" + sb.String() + "}"), nil
}

// with returns o with the member set (at its place, or at the end), and
// without returns it with the member gone.
func (o object) with(name string, value any) object {
	out := slices.Clone(o)
	for i := range out {
		if out[i].name == name {
			out[i].value = value
			return out
		}
	}
	return append(out, member{name, value})
}

func (o object) without(name string) object {
	return slices.DeleteFunc(slices.Clone(o), func(m member) bool { return m.name == name })
}

func (o object) get(name string) any {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

func (o object) text() string { return string(must(json.Marshal(o))) }

func jwkOf(point []byte) object {
	return object{{"kty", "EC"}, {"crv", "P-256"}, {"x", b64(point[1:33])}, {"y", b64(point[33:])}}
}

func jwkOfSigner(k *ecdsa.PrivateKey) object { return jwkOf(must(k.PublicKey.Bytes())) }

// thumbprint is RFC 7638 over the members in lexical order.
func thumbprint(jwk object) []byte {
	text := fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, jwk.get("x"), jwk.get("y"))
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// jws signs with RFC 6979, so that the same input gives the same bytes.
func jws(k *ecdsa.PrivateKey, head object, payload string) string {
	input := b64([]byte(head.text())) + "." + b64([]byte(payload))
	sum := sha256.Sum256([]byte(input))
	var sig struct{ R, S *big.Int }
	must(asn1.Unmarshal(must(k.Sign(nil, sum[:], crypto.SHA256)), &sig))
	var rs [64]byte
	sig.R.FillBytes(rs[:32])
	sig.S.FillBytes(rs[32:])
	return input + "." + b64(rs[:])
}

// jwe is a compact JWE with an empty encrypted key.
func jwe(head object, key, iv []byte, plain string) string {
	aead := must(cipher.NewGCM(must(aes.NewCipher(key))))
	h := b64([]byte(head.text()))
	sealed := aead.Seal(nil, iv, []byte(plain), []byte(h))
	cut := len(sealed) - 16
	return h + ".." + b64(iv) + "." + b64(sealed[:cut]) + "." + b64(sealed[cut:])
}

// agreed is the content key of ECDH-ES with A256GCM (RFC 7518 section 4.6).
func agreed(priv *ecdh.PrivateKey, pub *ecdh.PublicKey) []byte {
	in := append([]byte{0, 0, 0, 1}, must(priv.ECDH(pub))...)
	in = append(in, 0, 0, 0, 7)
	in = append(in, "A256GCM"...)
	in = append(in, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0)
	sum := sha256.Sum256(in)
	return sum[:]
}
