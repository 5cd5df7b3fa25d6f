package vectors

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// The fixed parties and moments of every vector.
const (
	server   = "https://id.example"
	deviceID = "dev_abcdefghijklmnopqrstuvwxyz"
	moment   = 1_800_000_000
)

// Files returns every vector file by name.
func Files() map[string][]byte {
	out := map[string][]byte{}
	for name, v := range map[string]any{
		"formulas.json": formulas(), "calls.json": calls(), "request.json": requests(), "reply.json": replies(),
		"keyset.json": keySets(), "answer.json": answers(), "evidence.json": evidence(), "view.json": views(), "link.json": links(), "risk.json": risks(),
	} {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		if err := enc.Encode(v); err != nil {
			panic(err)
		}
		out[name] = buf.Bytes()
	}
	return out
}

func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}

func lp(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(p))), p...)
	}
	return out
}

func mac(key []byte, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(lp(parts...))
	return m.Sum(nil)
}

// formulas holds one example of each formula, every intermediate value shown.
func formulas() object {
	dsk, ssk := jwkOfSigner(signingKey("dsk")), jwkOfSigner(signingKey("ssk"))
	dt, st := thumbprint(dsk), thumbprint(ssk)
	np, ns := bytesOf("np", 16), bytesOf("ns", 16)
	fc := sum(np)
	secret, code := bytesOf("ticket secret", 16), "123456"
	ek, jti := b64(thumbprint(jwkOf(sealKey("tek").PublicKey().Bytes()))), b64(bytesOf("jti", 16))
	commit := sum(lp([]byte("mid-fp/1"), np, ns, dt, st, []byte(deviceID)))
	kk, dhk, salt, pin := bytesOf("kk", 32), bytesOf("dhk", 32), bytesOf("salt", 16), "2580"
	wrap := func(pin string) (slow, m, mask []byte) {
		slow = must(pbkdf2.Key(sha256.New, pin, salt, 100_000, 32))
		h := hmac.New(sha256.New, dhk)
		h.Write(slow)
		m = h.Sum(nil)
		return slow, m, must(hkdf.Key(sha256.New, m, nil, "mid/kk/1", 32))
	}
	xor := func(a, b []byte) []byte {
		out := make([]byte, len(a))
		for i := range a {
			out[i] = a[i] ^ b[i]
		}
		return out
	}
	slow, m, mask := wrap(pin)
	_, _, wrong := wrap("2581")
	wrapped := xor(kk, mask)
	ans, chal := "a.b.c", bytesOf("chal", 32)
	v := bytesOf("v", 32)
	return object{
		{"fields", object{{"parts_hex", []string{"", "6d", "6d6964"}}, {"joined_hex", hex.EncodeToString(lp(nil, []byte("m"), []byte("mid")))}}},
		{"thumbprint", object{{"dsk", dsk}, {"dsk_thumbprint", b64(dt)}, {"ssk", ssk}, {"ssk_thumbprint", b64(st)},
			{"uri", "urn:ietf:params:oauth:jwk-thumbprint:sha-256:" + b64(dt)}}},
		{"registration", object{{"np", b64(np)}, {"fc", b64(fc)}, {"ek", ek}, {"jti", jti}, {"secret", b64(secret)}, {"code", code},
			{"tm_by_secret", b64(mac(secret, []byte(ek), []byte(jti), dt, fc))}, {"tm_by_code", b64(mac([]byte(code), []byte(ek), []byte(jti), dt, fc))},
			{"attestation_challenge", b64(sum(lp([]byte("mid/att/1"), []byte(ek), []byte("ticket"))))},
			{"app_attest_hash", b64(sum(lp([]byte("mid/att/1"), []byte(ek), []byte("ticket"), dt)))}, {"ticket", "ticket"}}},
		{"commit", object{{"np", b64(np)}, {"ns", b64(ns)}, {"device", deviceID}, {"hash", b64(commit)},
			{"digits", fmt.Sprintf("%08d", binary.BigEndian.Uint64(commit[:8])%100_000_000)}}},
		{"pin", object{{"pin", pin}, {"salt", b64(salt)}, {"dhk", b64(dhk)}, {"pbkdf2", b64(slow)}, {"hmac", b64(m)}, {"mask", b64(mask)},
			{"kk", b64(kk)}, {"wrapped", b64(wrapped)}, {"wrong_pin", "2581"}, {"kk_by_wrong_pin", b64(xor(wrapped, wrong))}}},
		{"knowledge", object{{"ans", ans}, {"chal", b64(chal)}, {"kk", b64(kk)}, {"ans_hash", b64(sum([]byte(ans)))},
			{"kpf", b64(mac(kk, []byte("mid/kpf/1/answer"), sum([]byte(ans)), chal))}}},
		{"call", object{{"op", "pin.change"}, {"body", `{"kk":"` + b64(kk) + `"}`}, {"jti", jti}, {"head", b64(bytesOf("head", 32))}, {"kk", b64(dhk)},
			{"kpf", b64(mac(dhk, []byte("mid/kpf/1/pin.change"), sum([]byte(`{"kk":"`+b64(kk)+`"}`)), []byte(jti), []byte(b64(bytesOf("head", 32)))))}}},
		{"same_device", object{{"v", b64(v)}, {"cv", b64(sum(v))}}},
	}
}

// keySets holds a good key set and what a phone must refuse.
func keySets() object {
	ssk, other := signingKey("ssk"), signingKey("other")
	pub := jwkOfSigner(ssk)
	tek := jwkOf(sealKey("tek").PublicKey().Bytes())
	c := b64(bytesOf("c", 16))
	payload := object{
		{"iss", server}, {"iat", moment}, {"exp", moment + 900}, {"c", c},
		{"keys", []object{{{"kid", b64(thumbprint(tek))}, {"suite", 1}, {"jwk", tek}}}}, {"chain", []string{}},
		{"sup", object{{"v", []int{1}}, {"ops", []string{"dev.sync", "op.answer", "op.list", "reg.begin", "reg.finish", "reg.status"}}}},
	}
	head := object{{"alg", "ES256"}, {"typ", "mid-keys+jwt"}, {"kid", b64(thumbprint(pub))}, {"jwk", pub}}
	good := jws(ssk, head, payload.text())
	bad := []object{}
	add := func(name, text string) { bad = append(bad, object{{"name", name}, {"jws", text}}) }
	add("signed by another key under this kid", jws(other, head, payload.text()))
	add("another key, its own kid", jws(other, head.with("jwk", jwkOfSigner(other)).with("kid", b64(thumbprint(jwkOfSigner(other)))), payload.text()))
	add("typ of a request", jws(ssk, head.with("typ", "mid-req+jwt"), payload.text()))
	add("alg none", jws(ssk, head.with("alg", "none"), payload.text()))
	add("no jwk", jws(ssk, head.without("jwk"), payload.text()))
	add("crit", jws(ssk, head.with("crit", []string{"x"}), payload.text()))
	add("another challenge", jws(ssk, head, payload.with("c", b64(bytesOf("c2", 16))).text()))
	add("another server", jws(ssk, head, payload.with("iss", "https://other.example").text()))
	add("exp before iat", jws(ssk, head, payload.with("exp", moment-1).text()))
	add("iss twice", jws(ssk, head, `{"iss":"`+server+`",`+payload.text()[1:]))
	return object{{"iss", server}, {"pin", b64(thumbprint(pub))}, {"c", c}, {"payload", payload}, {"good", good}, {"bad", bad}}
}

func privateJWK(k *ecdsa.PrivateKey) object { return jwkOfSigner(k).with("d", b64(must(k.Bytes()))) }
