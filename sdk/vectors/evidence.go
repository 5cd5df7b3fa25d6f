package vectors

import (
	"crypto/ecdsa"
	"strings"
)

// consent is evidence in the making: the wrapper's claims and what the device
// signed, so that either can be changed before the signatures are made.
type consent struct {
	head, claims object // of the wrapper
	ansHead, ans object // of the device's answer
	key, dsk     *ecdsa.PrivateKey
}

// evidenceKeys are the server's: one that ended, one in use.
func evidenceKeys() (old, now *ecdsa.PrivateKey) {
	return signingKey("evidence 1"), signingKey("evidence 2")
}

func evidenceSet() object {
	old, now := evidenceKeys()
	published := func(k *ecdsa.PrivateKey, nbf, exp int) object {
		o := append(jwkOfSigner(k), object{{"alg", "ES256"}, {"use", "sig"}, {"kid", b64(thumbprint(jwkOfSigner(k)))}, {"nbf", nbf}}...)
		if exp != 0 {
			o = append(o, member{"exp", exp})
		}
		return o
	}
	return object{{"keys", []object{published(old, moment-2_000_000, moment-1_000_000), published(now, moment-1_000_060, 0)}}}
}

func goodConsent() consent {
	_, now := evidenceKeys()
	dsk := signingKey("dsk")
	view := `[{"t":"h","text":"Sign the lease"},{"t":"p","text":"I rent the flat Møllegata 4 for 9 500 a month."},{"t":"row","label":"Landlord","value":"Nordlys Eiendom AS"}]`
	content := `[{"type":"mobileid_signature","format":"text/markdown","text":"# Sign the lease\n\nI rent the flat Møllegata 4 for 9 500 a month."}]`
	hv, hd := b64(sum([]byte(view))), b64(sum([]byte(content)))
	jwk := jwkOfSigner(dsk)
	return consent{
		head: object{{"alg", "ES256"}, {"kid", b64(thumbprint(jwkOfSigner(now)))}, {"typ", "mobileid-consent+jwt"}},
		claims: object{
			{"iss", server}, {"aud", "cli_1"}, {"sub", "usr_abcdefghijklmnopqrstuvwxyz"}, {"iat", moment + 20}, {"jti", b64(bytesOf("evidence jti", 16))},
			{"txn", "op_1"}, {"merchant", "mer_1"}, {"user", "usr_abcdefghijklmnopqrstuvwxyz"}, {"device", deviceID}, {"handle", "hnd_1"},
			{"content", content}, {"view", view}, {"hv", hv}, {"hd", hd}, {"tpl", "signature/1"}, {"lang", "en"},
			{"authorization_details", []object{{{"type", "mobileid_signature"}, {"format", "text/markdown"}, {"text", "# Sign the lease\n\nI rent the flat Møllegata 4 for 9 500 a month."}}}},
			{"sca", object{{"pos", "swk"}, {"kno", "pin"}, {"inh", "none"}, {"uv", "none"}, {"dsp", "app"}, {"flow", "ciba"}, {"ui", "typed"},
				{"enrol", "qr"}, {"epoch", 1}, {"same_ip", false}}},
			{"cnf", object{{"jwk", jwk}}},
			{"enrolment", object{{"attestation", "none"}, {"epoch", 1}, {"record", object{{"writer", "aw_1"}, {"seq", 12}}}}},
		},
		ansHead: object{{"alg", "ES256"}, {"typ", "mid-ans+jwt"}, {"kid", b64(thumbprint(jwk))}},
		ans: object{{"iss", "hnd_1"}, {"aud", "cli_1"}, {"txn", "op_1"}, {"chal", b64(bytesOf("chal", 32))}, {"dec", "approve"},
			{"hv", hv}, {"hd", hd}, {"tpl", "signature/1"}, {"lang", "en"}, {"flow", "ciba"}, {"ui", "typed"}, {"iat", moment + 18}, {"jti", b64(bytesOf("answer jti", 16))}},
		key: now, dsk: dsk,
	}
}

func (c consent) token() string {
	return jws(c.key, c.head, c.claims.with("ans", jws(c.dsk, c.ansHead, c.ans.text())).text())
}

// another is a value of the same form as the claim's, but not it.
func another(name string, v any) any {
	switch v := v.(type) {
	case int:
		return v + 1
	case object:
		first := v[0]
		return v.with(first.name, another(first.name, first.value))
	case []object:
		return []object{v[0].with("text", "I rent nothing.")}
	}
	return b64(bytesOf("another "+name, 32))
}

// evidence holds a key set, good evidence, and bad evidence with the part that is
// wrong: "signature" where something was changed that the server had signed, the
// claim's name where the server signed what its own device's answer denies.
func evidence() object {
	good := goodConsent()
	bad := []object{}
	add := func(name, part, token string) {
		bad = append(bad, object{{"name", name}, {"part", part}, {"token", token}})
	}
	for _, m := range good.claims.with("ans", "") {
		changed := good
		if m.name == "ans" {
			changed.ans = good.ans.with("dec", "decline")
		} else {
			changed.claims = good.claims.with(m.name, another(m.name, m.value))
		}
		seg := strings.Split(good.token(), ".")
		seg[1] = strings.Split(changed.token(), ".")[1]
		add("changed after signing: "+m.name, "signature", strings.Join(seg, "."))
	}
	wrapper := func(name, part, claim string, v any) {
		c := good
		c.claims = c.claims.with(claim, v)
		add("signed by the server: "+name, part, c.token())
	}
	for _, name := range []string{"aud", "txn", "handle", "tpl", "lang", "hv", "hd", "authorization_details"} {
		wrapper("another "+name, name, name, another(name, good.claims.get(name)))
	}
	sca := good.claims.get("sca").(object)
	wrapper("another view", "hv", "view", strings.Replace(good.claims.get("view").(string), "9 500", "95 000", 1))
	wrapper("another content", "hd", "content", strings.Replace(good.claims.get("content").(string), "9 500", "95 000", 1))
	wrapper("a view that no phone shows", "hv", "view", `[{"t":"image"}]`)
	wrapper("another flow", "sca", "sca", sca.with("flow", "push"))
	wrapper("another ui", "sca", "sca", sca.with("ui", "qr"))
	wrapper("another epoch", "enrolment", "sca", sca.with("epoch", 2))
	wrapper("another device's key", "ans", "cnf", object{{"jwk", jwkOfSigner(signingKey("other"))}})
	wrapper("a time far from the answer", "iat", "iat", moment+2000)
	wrapper("a time before the key", "iat", "iat", moment-1_000_061)
	for _, m := range good.claims {
		if m.name == "authorization_details" || m.name == "content" {
			continue
		}
		c := good
		c.claims = c.claims.without(m.name)
		part := map[string]string{"device": "user", "cnf": "cnf"}[m.name]
		if part == "" {
			part = m.name
		}
		add("signed by the server: no "+m.name, part, c.token())
	}
	for _, name := range []string{"iss", "aud", "txn", "chal", "hv", "hd", "tpl", "lang", "flow", "ui", "jti"} {
		c := good
		c.ans = c.ans.with(name, another(name, good.ans.get(name)))
		part := map[string]string{"iss": "handle", "flow": "sca", "ui": "sca", "chal": "", "jti": ""}
		p, special := part[name]
		if !special {
			p = name
		}
		switch name {
		case "chal":
			c.ans, p = good.ans.with("chal", "AAAA"), "ans"
		case "jti":
			c.ans, p = good.ans.without("jti"), "ans"
		}
		add("signed by the device: another "+name, p, c.token())
	}
	answer := func(name, part string, change func(c *consent)) {
		c := good
		change(&c)
		add("answer: "+name, part, c.token())
	}
	answer("decline", "ans", func(c *consent) { c.ans = c.ans.with("dec", "decline") })
	answer("cv without a link", "ans", func(c *consent) { c.ans = c.ans.with("cv", b64(bytesOf("cv", 32))) })
	answer("twenty minutes apart", "iat", func(c *consent) { c.ans = c.ans.with("iat", moment-1200) })
	answer("typ of a request", "ans", func(c *consent) { c.ansHead = c.ansHead.with("typ", "mid-req+jwt") })
	answer("alg none", "ans", func(c *consent) { c.ansHead = c.ansHead.with("alg", "none") })
	answer("kid of another key", "ans", func(c *consent) { c.ansHead = c.ansHead.with("kid", b64(bytesOf("kid", 32))) })
	answer("jwk beside kid", "ans", func(c *consent) { c.ansHead = c.ansHead.with("jwk", jwkOfSigner(c.dsk)) })
	answer("signed by another key", "ans", func(c *consent) { c.dsk = signingKey("other") })

	head := func(name, part string, change func(c *consent)) {
		c := good
		change(&c)
		add("header: "+name, part, c.token())
	}
	old, _ := evidenceKeys()
	head("typ JWT", "typ", func(c *consent) { c.head = c.head.with("typ", "JWT") })
	head("typ in capitals", "typ", func(c *consent) { c.head = c.head.with("typ", "MOBILEID-CONSENT+JWT") })
	head("no typ", "typ", func(c *consent) { c.head = c.head.without("typ") })
	head("alg none", "alg", func(c *consent) { c.head = c.head.with("alg", "none") })
	head("alg HS256", "alg", func(c *consent) { c.head = c.head.with("alg", "HS256") })
	head("jku", "header", func(c *consent) { c.head = c.head.with("jku", "https://other.example") })
	head("kid of no key", "kid", func(c *consent) { c.head = c.head.with("kid", "none") })
	head("key that ended before", "iat", func(c *consent) {
		c.key, c.head = old, c.head.with("kid", b64(thumbprint(jwkOfSigner(old))))
	})
	head("signed by the key before", "signature", func(c *consent) { c.key = old })
	head("signed by the device", "signature", func(c *consent) { c.key = c.dsk })
	text := good.token()
	add("no signature", "signature", text[:strings.LastIndexByte(text, '.')+1])
	add("a flipped bit of the signature", "signature", flipped(text, 2))
	add("four parts", "token", text+".AAAA")
	add("JSON serialisation", "token", `{"payload":"","signatures":[]}`)
	add("empty", "token", "")

	before := goodConsent()
	before.key, before.head = old, before.head.with("kid", b64(thumbprint(jwkOfSigner(old))))
	before.claims, before.ans = before.claims.with("iat", moment-1_500_000), before.ans.with("iat", moment-1_500_002)
	pairwise := goodConsent()
	pairwise.claims = pairwise.claims.without("user").without("device").with("sub", b64(bytesOf("pairwise", 16)))
	bare := goodConsent() // a text only, in a view; from a link on the same device
	bare.claims = bare.claims.without("content").without("authorization_details").with("hd", b64(sum(nil))).with("sca", sca.with("ui", "link").with("flow", "redirect"))
	bare.ans = bare.ans.with("hd", b64(sum(nil))).with("ui", "link").with("flow", "redirect").with("cv", b64(bytesOf("cv", 32)))
	// With what the phone said of itself.
	spoke := func(said string, signed string) consent {
		c := goodConsent()
		c.claims, c.ans = c.claims.with("risk", said), c.ans.with("hr", b64(sum([]byte(signed))))
		return c
	}
	said := riskStatement().text()
	risky := spoke(said, said)
	silent := spoke(said, said)
	silent.claims = silent.claims.without("risk")
	add("risk: another than the device signed", "risk", spoke(riskStatement().with("findings", []string{}).text(), said).token())
	unsigned := spoke(said, said)
	unsigned.ans = unsigned.ans.without("hr")
	add("risk: the device signed none", "risk", unsigned.token())
	add("risk: no statement", "risk", spoke("[]", "[]").token())
	add("risk: without findings", "risk", spoke(riskStatement().without("findings").text(), riskStatement().without("findings").text()).token())
	ok := []object{}
	for _, g := range []struct {
		name string
		c    consent
	}{{"by CIBA, typed", good}, {"by a key that has ended since", before}, {"for a client with pairwise subjects", pairwise}, {"without content, from a link", bare},
		{"with what the phone said of itself", risky}, {"of a phone whose word was not kept", silent}} {
		ok = append(ok, object{{"name", g.name}, {"token", g.c.token()}, {"claims", g.c.claims}, {"answer", g.c.ans},
			{"hash", b64(sum([]byte(g.c.token())))}, {"device_key", b64(thumbprint(jwkOfSigner(g.c.dsk)))}})
	}
	return object{{"jwks", evidenceSet()}, {"good", ok}, {"bad", bad}}
}
