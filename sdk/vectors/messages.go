package vectors

import (
	"strconv"
	"strings"
)

func tekJWK() object { return jwkOf(sealKey("tek").PublicKey().Bytes()) }

func tekKid() string { return b64(thumbprint(tekJWK())) }

// sealed wraps a JWS for the fixed TEK; change alters the header.
func sealed(inner string, change func(object) object) string {
	eph := sealKey("ephemeral")
	head := object{{"alg", "ECDH-ES"}, {"enc", "A256GCM"}, {"typ", "mid+jwe"}, {"cty", "JWT"}, {"kid", tekKid()},
		{"epk", jwkOf(eph.PublicKey().Bytes())}}
	if change != nil {
		head = change(head)
	}
	return jwe(head, agreed(eph, sealKey("tek").PublicKey()), bytesOf("request iv", 12), inner)
}

func requestClaims() object {
	return object{{"v", 1}, {"iss", deviceID}, {"aud", server}, {"op", "op.answer"}, {"jti", b64(bytesOf("jti", 16))},
		{"iat", moment}, {"exp", moment + 60}, {"ek", tekKid()}, {"rk", b64(bytesOf("rk", 32))}, {"head", b64(bytesOf("head", 32))},
		{"body", object{{"ans", "a.b.c"}}}}
}

func requestHead() object {
	return object{{"alg", "ES256"}, {"typ", "mid-req+jwt"}, {"kid", b64(thumbprint(jwkOfSigner(signingKey("dsk"))))}}
}

// flipped changes one character in the middle of a compact part.
func flipped(compact string, part int) string {
	seg := strings.Split(compact, ".")
	s := []byte(seg[part])
	i := len(s) / 2
	if s[i] == 'A' {
		s[i] = 'B'
	} else {
		s[i] = 'A'
	}
	seg[part] = string(s)
	return strings.Join(seg, ".")
}

// requests holds good requests and bad ones with the error each must give: an
// outer code, or the code of a sealed error.
func requests() object {
	dsk, other := signingKey("dsk"), signingKey("other")
	good := jws(dsk, requestHead(), requestClaims().text())
	begin := requestClaims().without("head").with("op", "reg.begin").
		with("iss", "urn:ietf:params:oauth:jwk-thumbprint:sha-256:"+b64(thumbprint(jwkOfSigner(dsk))))
	beginHead := requestHead().without("kid").with("jwk", jwkOfSigner(dsk))
	bad := []object{}
	outer := func(name, code, text string) {
		bad = append(bad, object{{"name", name}, {"outer", code}, {"jwe", text}})
	}
	inside := func(name, code, inner string) {
		bad = append(bad, object{{"name", name}, {"sealed", code}, {"jwe", sealed(inner, nil)}})
	}
	header := func(name, code, m string, v any) {
		outer("header: "+name, code, sealed(good, func(h object) object { return h.with(m, v) }))
	}
	for _, f := range []struct {
		part int
		name string
	}{{2, "iv"}, {3, "ciphertext"}, {4, "tag"}} {
		outer("flipped: "+f.name, "malformed", flipped(sealed(good, nil), f.part))
	}
	outer("flipped: encrypted key", "malformed", strings.Replace(sealed(good, nil), "..", ".AAAA.", 1))
	header("alg none", "unsupported-suite", "alg", "none")
	header("alg dir", "unsupported-suite", "alg", "dir")
	header("alg PBES2", "unsupported-suite", "alg", "PBES2-HS256+A128KW")
	header("enc A128GCM", "unsupported-suite", "enc", "A128GCM")
	header("typ of a reply", "malformed", "typ", "mid-res+jwe")
	header("cty", "malformed", "cty", "JSON")
	header("kid of another key", "unknown-key", "kid", b64(bytesOf("kid", 32)))
	header("epk of another sender", "malformed", "epk", jwkOf(sealKey("other ephemeral").PublicKey().Bytes()))
	x := b64(sealKey("ephemeral").PublicKey().Bytes()[1:33])
	header("epk off the curve", "malformed", "epk", object{{"kty", "EC"}, {"crv", "P-256"}, {"x", x}, {"y", x}})
	header("epk all zero", "malformed", "epk", object{{"kty", "EC"}, {"crv", "P-256"}, {"x", b64(make([]byte, 32))}, {"y", b64(make([]byte, 32))}})
	header("zip", "malformed", "zip", "DEF")
	header("crit", "malformed", "crit", []string{})
	header("jku", "malformed", "jku", "https://other.example")
	header("x5u", "malformed", "x5u", "https://other.example")
	outer("header: kid twice", "malformed", sealed(good, func(h object) object { return append(h, member{"kid", tekKid()}) }))
	outer("header: no kid", "malformed", sealed(good, func(h object) object { return h.without("kid") }))
	outer("JSON serialisation", "malformed", `{"protected":"","recipients":[]}`)
	outer("empty", "malformed", "")
	outer("inner is no JWS", "malformed", sealed("hello", nil))
	outer("inner without rk", "malformed", sealed(jws(dsk, requestHead(), requestClaims().without("rk").text()), nil))
	outer("iss twice", "malformed", sealed(jws(dsk, requestHead(), `{"iss":"x",`+requestClaims().text()[1:]), nil))
	outer("iat as text", "malformed", sealed(jws(dsk, requestHead(), requestClaims().with("iat", strconv.Itoa(moment)).text()), nil))
	outer("aud as array", "malformed", sealed(jws(dsk, requestHead(), requestClaims().with("aud", []string{server}).text()), nil))

	inside("signed by another key", "unknown_key", jws(other, requestHead(), requestClaims().text()))
	for _, f := range []struct {
		name  string
		value any
		code  string
	}{
		{"v", 2, "upgrade"}, {"aud", "https://other.example", "malformed"}, {"op", "op.steal", "malformed"}, {"jti", "short", "malformed"},
		{"ek", b64(bytesOf("kid", 32)), "malformed"}, {"iss", "dev_other", "unknown_key"}, {"iat", moment + 600, "clock"},
		{"exp", moment - 1, "clock"}, {"exp", moment + 61, "clock"}, {"head", "AAAA", "malformed"}, {"body", []int{}, "malformed"},
	} {
		inside("claim "+f.name, f.code, jws(dsk, requestHead(), requestClaims().with(f.name, f.value).text()))
	}
	// The same claims changed after signing: the payload of one, the rest of another.
	for _, name := range []string{"iss", "aud", "op", "jti", "iat", "exp", "head", "body"} {
		changed := requestClaims().with(name, map[string]any{"iat": moment + 1, "exp": moment + 59, "body": object{{"ans", "x.y.z"}},
			"op": "dev.sync", "iss": "dev_other", "aud": "https://other.example", "jti": b64(bytesOf("jti2", 16)), "head": b64(bytesOf("head2", 32))}[name])
		seg := strings.Split(good, ".")
		seg[1] = b64([]byte(changed.text()))
		inside("unsigned change of "+name, "unknown_key", strings.Join(seg, "."))
	}
	for _, f := range []struct{ name, member, value string }{
		{"alg none", "alg", "none"}, {"alg HS256", "alg", "HS256"}, {"typ of an answer", "typ", "mid-ans+jwt"}, {"kid short", "kid", "x"}, {"jku", "jku", "https://other.example"},
	} {
		inside("inner header: "+f.name, "malformed", jws(dsk, requestHead().with(f.member, f.value), requestClaims().text()))
	}
	inside("inner header: jwk instead of kid", "malformed", jws(dsk, beginHead, requestClaims().text()))
	inside("reg.begin under a kid", "malformed", jws(dsk, requestHead(), begin.text()))
	inside("reg.begin with another iss", "malformed", jws(dsk, beginHead, begin.with("iss", deviceID).text()))
	return object{
		{"server", server}, {"device", deviceID}, {"now", moment + 1},
		{"tek", tekJWK().with("d", b64(sealKey("tek").Bytes()))}, {"dsk", privateJWK(dsk)},
		{"good", []object{
			{{"name", "op.answer"}, {"jwe", sealed(good, nil)}, {"jws", good}, {"rh", b64(sum([]byte(good)))}, {"claims", requestClaims()}},
			{{"name", "reg.begin"}, {"jwe", sealed(jws(dsk, beginHead, begin.text()), nil)}, {"jws", jws(dsk, beginHead, begin.text())},
				{"rh", b64(sum([]byte(jws(dsk, beginHead, begin.text()))))}, {"claims", begin}},
		}},
		{"bad", bad},
	}
}

// replies holds good replies to the first request and what a phone must refuse.
func replies() object {
	rk, rh := bytesOf("rk", 32), b64(sum([]byte(jws(signingKey("dsk"), requestHead(), requestClaims().text()))))
	head := object{{"alg", "dir"}, {"enc", "A256GCM"}, {"typ", "mid-res+jwe"}}
	ok := object{{"iss", server}, {"aud", deviceID}, {"iat", moment}, {"exp", moment + 60}, {"rto", b64(bytesOf("jti", 16))}, {"rh", rh},
		{"head", b64(bytesOf("next head", 32))}, {"st", "ok"}, {"body", object{{"txn", "op_1"}, {"state", "COMPLETED"}}}}
	failed := ok.without("body").with("st", "err").with("err", object{{"code", "auth_failed"}, {"left", 0}, {"until", moment + 300}})
	iv := bytesOf("reply iv", 12)
	seal := func(h, p object) string { return jwe(h, rk, iv, p.text()) }
	bad := []object{}
	add := func(name, text string) { bad = append(bad, object{{"name", name}, {"jwe", text}}) }
	for _, f := range []struct {
		part int
		name string
	}{{0, "header"}, {2, "iv"}, {3, "ciphertext"}, {4, "tag"}} {
		add("flipped: "+f.name, flipped(seal(head, ok), f.part))
	}
	add("another key", jwe(head, bytesOf("rk2", 32), iv, ok.text()))
	for _, f := range []struct{ member, value string }{{"alg", "none"}, {"enc", "A128GCM"}, {"typ", "mid+jwe"}, {"zip", "DEF"}, {"crit", "x"}} {
		add("header "+f.member, seal(head.with(f.member, f.value), ok))
	}
	for _, f := range []struct {
		member string
		value  any
	}{{"iss", "https://other.example"}, {"aud", "dev_other"}, {"rto", b64(bytesOf("jti2", 16))}, {"rh", b64(bytesOf("rh", 32))}, {"st", "maybe"}, {"head", "AAAA"}} {
		add("claim "+f.member, seal(head, ok.with(f.member, f.value)))
	}
	add("ok with an error", seal(head, ok.with("err", object{{"code", "fork"}})))
	add("err without one", seal(head, ok.with("st", "err")))
	return object{{"rk", b64(rk)}, {"server", server}, {"device", deviceID}, {"jti", b64(bytesOf("jti", 16))}, {"rh", rh},
		{"good", []object{{{"jwe", seal(head, ok)}, {"payload", ok}}, {{"jwe", seal(head, failed)}, {"payload", failed}}}}, {"bad", bad}}
}
