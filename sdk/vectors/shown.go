package vectors

import "strings"

// answers holds a good answer to one operation, and bad ones: "refused" when
// ans itself does not verify, "differs" when it verifies but does not say what
// the device was shown.
func answers() object {
	dsk, other := signingKey("dsk"), signingKey("other")
	kid := b64(thumbprint(jwkOfSigner(dsk)))
	view := `[{"t":"h","text":"Log in"},{"t":"row","label":"Shop","value":"Example"}]`
	data, chal := `{"amount":"12.50"}`, bytesOf("chal", 32)
	op := object{{"txn", "op_1"}, {"client_id", "cli_1"}, {"client", "Example"}, {"handle", "hnd_1"}, {"kind", "authentication"},
		{"view", b64([]byte(view))}, {"data", b64([]byte(data))}, {"tpl", "login/1"}, {"lang", "en"}, {"flow", "ciba"}, {"ui", "typed"},
		{"chal", b64(chal)}, {"need", []string{"pin"}}, {"initiator", object{}}, {"match", "none"}, {"left", 3}, {"exp", moment + 180}}
	claims := object{{"iss", "hnd_1"}, {"aud", "cli_1"}, {"txn", "op_1"}, {"chal", b64(chal)}, {"dec", "approve"},
		{"hv", b64(sum([]byte(view)))}, {"hd", b64(sum([]byte(data)))}, {"tpl", "login/1"}, {"lang", "en"}, {"flow", "ciba"}, {"ui", "typed"},
		{"iat", moment}, {"jti", b64(bytesOf("answer jti", 16))}}
	head := object{{"alg", "ES256"}, {"typ", "mid-ans+jwt"}, {"kid", kid}}
	good := jws(dsk, head, claims.text())
	bad := []object{}
	add := func(name, expect, text string) {
		bad = append(bad, object{{"name", name}, {"expect", expect}, {"ans", text}})
	}
	for _, name := range []string{"iss", "aud", "txn", "chal", "hv", "hd", "tpl", "lang", "flow", "ui"} {
		changed := claims.with(name, b64(bytesOf("another "+name, 32)))
		add("signed change of "+name, "differs", jws(dsk, head, changed.text()))
		seg := strings.Split(good, ".")
		seg[1] = b64([]byte(changed.text()))
		add("unsigned change of "+name, "refused", strings.Join(seg, "."))
	}
	add("dec unknown", "refused", jws(dsk, head, claims.with("dec", "yes").text()))
	add("dec twice", "refused", jws(dsk, head, `{"dec":"decline",`+claims.text()[1:]))
	add("typ of a request", "refused", jws(dsk, head.with("typ", "mid-req+jwt"), claims.text()))
	add("alg none", "refused", jws(dsk, head.with("alg", "none"), claims.text()))
	add("kid of another key", "refused", jws(dsk, head.with("kid", b64(bytesOf("kid", 32))), claims.text()))
	add("crit", "refused", jws(dsk, head.with("crit", []string{}), claims.text()))
	add("another key", "refused", jws(other, head, claims.text()))
	add("no signature", "refused", good[:strings.LastIndexByte(good, '.')+1])
	kk := bytesOf("kk", 32)
	// The same operation as a merchant's app began it: only flow and ui differ.
	inApp := claims.with("flow", "app").with("ui", "app")
	// The same with what the phone says of itself, whose hash is signed.
	said := riskStatement().text()
	risky := claims.with("hr", b64(sum([]byte(said))))
	add("a hash of a statement that is not there", "differs", jws(dsk, head, risky.text()))
	return object{{"dsk", privateJWK(dsk)}, {"kid", kid}, {"operation", op}, {"claims", claims}, {"ans", good}, {"claims_in_app", inApp}, {"ans_in_app", jws(dsk, head, inApp.text())},
		{"risk", b64([]byte(said))}, {"claims_with_risk", risky}, {"ans_with_risk", jws(dsk, head, risky.text())}, {"kk", b64(kk)},
		{"kpf", b64(mac(kk, []byte("mid/kpf/1/answer"), sum([]byte(good)), chal))},
		{"kpf_of_another_challenge", b64(mac(kk, []byte("mid/kpf/1/answer"), sum([]byte(good)), bytesOf("chal2", 32)))},
		{"kpf_without_its_prefix", b64(mac(kk, sum([]byte(good)), chal))}, {"bad", bad}}
}

func riskStatement() object {
	return object{{"platform", "android"}, {"os", "16"}, {"app", "4.2.0"}, {"model", "Møller 7"}, {"findings", []string{"vpn", "developer_mode"}},
		{"country", "NO"}, {"country_source", "network"}, {"at", moment - 1}}
}

// risks holds what phones say of themselves, with its hash, and what no server reads.
func risks() object {
	full := riskStatement()
	good, bad := []object{}, []object{}
	add := func(name, text string) { bad = append(bad, object{{"name", name}, {"statement", text}}) }
	for _, s := range []object{full, full.with("findings", []string{}).with("country_source", "position"), {{"findings", []string{}}, {"at", moment}}} {
		good = append(good, object{{"statement", s.text()}, {"claims", s}, {"hr", b64(sum([]byte(s.text())))}})
	}
	for _, c := range []struct {
		name   string
		member string
		value  any
	}{
		{"an unknown finding", "findings", []string{"haunted"}}, {"a finding in capitals", "findings", []string{"VPN"}},
		{"a finding twice", "findings", []string{"vpn", "vpn"}}, {"a finding as text", "findings", "vpn"}, {"findings null", "findings", nil},
		{"a country that is not assigned", "country", "XX"}, {"a country in small letters", "country", "no"}, {"a country by three letters", "country", "NOR"},
		{"a country without its source", "country_source", ""}, {"a source that is not known", "country_source", "guess"},
		{"at as text", "at", "1800000000"}, {"at of zero", "at", 0}, {"at with a fraction", "at", 1800000000.5},
		{"a line break", "model", "a\nb"}, {"a right-to-left override", "os", "a\u202eb"}, {"a label that is too long", "platform", strings.Repeat("a", 33)},
		{"a number for a label", "os", 16}, {"an unknown member", "imei", "490154203237518"},
	} {
		add(c.name, full.with(c.member, c.value).text())
	}
	add("no findings", full.without("findings").text())
	add("no at", full.without("at").text())
	add("a source without a country", full.without("country").text())
	add("at twice", `{"at":1,`+full.text()[1:])
	add("a list", "["+full.text()+"]")
	add("bytes behind it", full.text()+" {}")
	add("more than 2048 bytes", full.text()+strings.Repeat(" ", 2048))
	add("nothing", "")
	return object{{"good", good}, {"bad", bad}}
}

// views holds views with their rendering, and what no phone may show.
func views() object {
	// Words that are spelled with the zero-width joiner and non-joiner.
	joined := "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \U0001f469\u200d\U0001f4bb"
	return object{
		{"good", []object{
			{{"view", `[{"t":"p","text":"Log in to Example?"}]`}, {"text", "Log in to Example?\n"}},
			{{"view", `[{"t":"h","text":"Zahlung <1> & mehr"},{"t":"row","label":"Betrag","value":"12,50 €"},{"t":"row","label":"An","value":"Bäckerei"},{"t":"b","text":"Sofort"},{"t":"list","items":["eins","zwei"]}]`},
				{"text", "# Zahlung <1> & mehr\nBetrag: 12,50 €\nAn: Bäckerei\n**Sofort**\n- eins\n- zwei\n"}},
			{{"view", `[{"t":"p","text":"` + joined + `"}]`}, {"text", joined + "\n"}},
		}},
		{"bad", []object{
			{{"name", "no blocks"}, {"view", `[]`}},
			{{"name", "unknown kind"}, {"view", `[{"t":"image","text":"x"}]`}},
			{{"name", "unknown member"}, {"view", `[{"t":"p","text":"x","href":"https://other.example"}]`}},
			{{"name", "member of another kind"}, {"view", `[{"t":"p","text":"x","label":"y"}]`}},
			{{"name", "text twice"}, {"view", `[{"t":"p","text":"x","text":"y"}]`}},
			{{"name", "empty text"}, {"view", `[{"t":"p","text":""}]`}},
			{{"name", "line break"}, {"view", `[{"t":"p","text":"a\nb"}]`}},
			{{"name", "escape"}, {"view", `[{"t":"p","text":"a\u001b[2Jb"}]`}},
			{{"name", "right-to-left override"}, {"view", `[{"t":"p","text":"a\u202eb"}]`}},
			{{"name", "isolate"}, {"view", `[{"t":"p","text":"a\u2066b"}]`}},
			{{"name", "zero-width space"}, {"view", `[{"t":"row","label":"a\u200b","value":"b"}]`}},
			{{"name", "lone surrogate"}, {"view", `[{"t":"p","text":"a\ud800b"}]`}},
			{{"name", "empty list"}, {"view", `[{"t":"list","items":[]}]`}},
			{{"name", "bytes after it"}, {"view", `[{"t":"p","text":"x"}] []`}},
		}},
	}
}

// links holds a registration link and what a phone must refuse.
func links() object {
	ssk := b64(thumbprint(jwkOfSigner(signingKey("ssk"))))
	secret := b64(bytesOf("ticket secret", 16))
	good := server + "/r#u=" + server + "&t=tkt_1&s=" + secret + "&k=" + ssk
	return object{
		{"good", object{{"link", good}, {"origin", server}, {"ticket", "tkt_1"}, {"secret", secret}, {"pin", ssk}}},
		{"bad", []string{
			strings.Replace(good, "&t=tkt_1", "", 1), good + "&t=tkt_2", strings.Replace(good, "#u="+server, "#u=https://other.example", 1),
			strings.ReplaceAll(good, "https://id.example", "http://id.example"), strings.Replace(good, "/r#", "/x#", 1),
			strings.Replace(good, secret, secret[:20], 1), strings.Replace(good, ssk, "AAAA", 1), strings.Replace(good, "#", "?", 1),
		}},
		{"locators", []object{{{"typed", "abc-234"}, {"locator", "ABC234"}}, {{"typed", " AB C23 4"}, {"locator", "ABC234"}}}},
		{"bad_locators", []string{"ABC23", "ABC2345", "ABC018", "ÄBC234"}},
		{"start_tokens", []object{{{"token", "op_1." + b64(bytesOf("start secret", 32))}, {"txn", "op_1"}, {"app", b64(bytesOf("start secret", 32))}}}},
		{"bad_start_tokens", []string{"op_1", "op_1.", "op_1." + secret, "op_1." + b64(bytesOf("start secret", 32)) + "=", "usr_1." + b64(bytesOf("start secret", 32)),
			"." + b64(bytesOf("start secret", 32)), "op_1." + b64(bytesOf("start secret", 33))}},
	}
}
