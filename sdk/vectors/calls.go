package vectors

import (
	"crypto"
	"crypto/ecdsa"
	"encoding/asn1"
	"math/big"
	"strings"
)

// es256 is r and s of 32 bytes each over bytes, and the same in ASN.1.
func es256(k *ecdsa.PrivateKey, input []byte) (plain, der []byte) {
	der = must(k.Sign(nil, sum(input), crypto.SHA256))
	var sig struct{ R, S *big.Int }
	must(asn1.Unmarshal(der, &sig))
	plain = make([]byte, 64)
	sig.R.FillBytes(plain[:32])
	sig.S.FillBytes(plain[32:])
	return plain, der
}

// calls holds the bodies of the calls outside operations, in one device's chain: good
// ones with what their proof covers, and bad ones with the error that each must give.
func calls() object {
	dsk, next, dbk, other := signingKey("dsk"), signingKey("next dsk"), signingKey("dbk"), signingKey("other")
	kk, fresh := bytesOf("kk", 32), bytesOf("fresh kk", 32)
	jti, head, ek := b64(bytesOf("jti", 16)), b64(bytesOf("head", 32)), tekKid()
	kid := b64(thumbprint(jwkOfSigner(dsk)))
	proof := func(op, unproven string) string {
		return b64(mac(kk, []byte("mid/kpf/1/"+op), sum([]byte(unproven)), []byte(jti), []byte(head)))
	}
	intro := func(k *ecdsa.PrivateKey, typ string) object {
		return object{{"alg", "ES256"}, {"typ", typ}, {"jwk", jwkOfSigner(k)}}
	}
	rotation := object{{"iss", deviceID}, {"old", kid}, {"jti", jti}}
	adding := object{{"iss", deviceID}, {"dsk", kid}, {"jti", jti}}
	bodies := map[string]object{
		"pin.change": {{"kk", b64(fresh)}},
		"dev.rotate": {{"new", jws(next, intro(next, "mid-rot+jwt"), rotation.text())}, {"kk", b64(fresh)}},
		"bio.add":    {{"new", jws(dbk, intro(dbk, "mid-bio+jwt"), adding.text())}},
	}
	attested := bodies["bio.add"].with("att", object{{"fmt", "android-key"}, {"x5c", []string{b64([]byte("a certificate")), b64([]byte("and its issuer's"))}}})
	good, bad := []object{}, []object{}
	add := func(op string, body object) {
		good = append(good, object{{"op", op}, {"unproven", body.text()}, {"body", body.with("kpf", proof(op, body.text())).text()}})
	}
	refuse := func(name, op, body, expect string) {
		bad = append(bad, object{{"name", name}, {"op", op}, {"body", body}, {"expect", expect}})
	}
	proven := func(name, op string, body object, expect string) {
		refuse(name, op, body.with("kpf", proof(op, body.text())).text(), expect)
	}
	for _, op := range []string{"pin.change", "dev.rotate", "bio.add"} {
		body := bodies[op]
		add(op, body)
		refuse("no proof", op, body.text(), "need")
		refuse("a proof under another knowledge key", op, body.with("kpf", b64(mac(fresh, []byte("mid/kpf/1/"+op), sum([]byte(body.text())), []byte(jti), []byte(head)))).text(), "auth_failed")
		refuse("a proof for another call", op, body.with("kpf", proof("dev.remove", body.text())).text(), "auth_failed")
		refuse("a proof over another body", op, body.with("kpf", proof(op, "{}")).text(), "auth_failed")
		refuse("a proof for another request", op, body.with("kpf", b64(mac(kk, []byte("mid/kpf/1/"+op), sum([]byte(body.text())), bytesOf("jti2", 16), []byte(head)))).text(), "auth_failed")
		refuse("a proof under another head", op, body.with("kpf", b64(mac(kk, []byte("mid/kpf/1/"+op), sum([]byte(body.text())), []byte(jti), bytesOf("head2", 32)))).text(), "auth_failed")
		said := b64([]byte(riskStatement().text()))
		risky := body.with("risk", said)
		add(op, risky)
		refuse("a statement taken out", op, body.with("kpf", proof(op, risky.text())).text(), "auth_failed")
		refuse("a statement put in", op, risky.with("kpf", proof(op, body.text())).text(), "auth_failed")
		refuse("another statement than was proven", op, body.with("risk", b64([]byte(riskStatement().with("findings", []string{}).text()))).with("kpf", proof(op, risky.text())).text(), "auth_failed")
		proven("a statement that is none", op, body.with("risk", b64([]byte("[]"))), "malformed")
		refuse("a member twice", op, `{"kpf":"AA",`+body.with("kpf", proof(op, body.text())).text()[1:], "malformed")
		refuse("an array", op, "[]", "malformed")
	}
	add("bio.add", attested)
	add("bio.add", attested.with("risk", b64([]byte(riskStatement().text()))))
	for _, op := range []string{"pin.change", "dev.rotate"} {
		proven("a short key", op, bodies[op].with("kk", b64(fresh[:31])), "malformed")
		proven("no key", op, bodies[op].without("kk"), "malformed")
	}
	for _, c := range []struct {
		op, typ, foreign, link string
		key                    *ecdsa.PrivateKey
		claims                 object
	}{{"dev.rotate", "mid-rot+jwt", "mid-bio+jwt", "old", next, rotation}, {"bio.add", "mid-bio+jwt", "mid-rot+jwt", "dsk", dbk, adding}} {
		change := func(name, token string) { proven(name, c.op, bodies[c.op].with("new", token), "malformed") }
		change("signed by another key", jws(other, intro(c.key, c.typ), c.claims.text()))
		change("signed by the key before", jws(dsk, intro(c.key, c.typ), c.claims.text()))
		change("typ of the other call", jws(c.key, intro(c.key, c.foreign), c.claims.text()))
		change("typ of a request", jws(c.key, intro(c.key, "mid-req+jwt"), c.claims.text()))
		change("alg none", jws(c.key, intro(c.key, c.typ).with("alg", "none"), c.claims.text()))
		change("kid instead of jwk", jws(c.key, intro(c.key, c.typ).without("jwk").with("kid", kid), c.claims.text()))
		change("crit", jws(c.key, intro(c.key, c.typ).with("crit", []string{}), c.claims.text()))
		change("a private key", jws(c.key, intro(c.key, c.typ).with("jwk", privateJWK(c.key)), c.claims.text()))
		change("for another device", jws(c.key, intro(c.key, c.typ), c.claims.with("iss", "dev_other").text()))
		change("beside another key", jws(c.key, intro(c.key, c.typ), c.claims.with(c.link, b64(bytesOf("kid", 32))).text()))
		change("of another request", jws(c.key, intro(c.key, c.typ), c.claims.with("jti", b64(bytesOf("jti2", 16))).text()))
		change("a signature cut off", strings.TrimRight(bodies[c.op].get("new").(string), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"))
	}
	proven("the signing key itself", "bio.add", bodies["bio.add"].with("new", jws(dsk, intro(dsk, "mid-bio+jwt"), adding.text())), "malformed")
	for _, op := range []string{"dev.remove", "bio.remove", "op.history"} {
		good = append(good, object{{"op", op}, {"body", "{}"}}, object{{"op", op}, {"body", `{"later":1}`}})
		refuse("an array", op, "[]", "malformed")
		refuse("a member twice", op, `{"later":1,"later":2}`, "malformed")
	}
	past := object{{"txn", "op_1"}, {"client_id", "cli_1"}, {"client", "Acme"}, {"kind", "authentication"}, {"state", "COMPLETED"}, {"at", moment}, {"by", "this"}}
	nobody := object{{"txn", "op_2"}, {"kind", "registration"}, {"state", "EXPIRED"}, {"at", moment - 60}}
	return object{
		{"device", deviceID}, {"dsk", privateJWK(dsk)}, {"next_dsk", privateJWK(next)}, {"jti", jti}, {"head", head}, {"ek", ek}, {"kk", b64(kk)},
		{"good", good}, {"bad", bad},
		{"history", object{{"reply", object{{"ops", []object{past, nobody}}}.text()}, {"states", []string{"COMPLETED", "EXPIRED"}}, {"by", []string{"this", ""}}}},
		{"bio", biometric(dbk, dsk, ek, jti)},
	}
}

// biometric holds bsig of an answer, and what is none.
func biometric(dbk, dsk *ecdsa.PrivateKey, ek, jti string) object {
	ans, chal := "a.b.c", bytesOf("chal", 32)
	message := lp([]byte("mid/bio/1"), sum([]byte(ans)))
	good, der := es256(dbk, message)
	flipped := append([]byte(nil), good...)
	flipped[40] ^= 1
	bad := []object{}
	add := func(name string, sig []byte) { bad = append(bad, object{{"name", name}, {"bsig", b64(sig)}}) }
	signed := func(name string, k *ecdsa.PrivateKey, input []byte) {
		sig, _ := es256(k, input)
		add(name, sig)
	}
	signed("of another answer", dbk, lp([]byte("mid/bio/1"), sum([]byte("a.b.d"))))
	signed("without its prefix", dbk, lp(sum([]byte(ans))))
	signed("without lengths", dbk, append([]byte("mid/bio/1"), sum([]byte(ans))...))
	signed("with the prefix of knowledge", dbk, lp([]byte("mid/kpf/1/answer"), sum([]byte(ans))))
	signed("over ans itself", dbk, lp([]byte("mid/bio/1"), []byte(ans)))
	signed("by the signing key", dsk, message)
	add("a flipped bit", flipped)
	add("in ASN.1", der)
	add("cut off", good[:63])
	add("with a byte behind it", append(append([]byte(nil), good...), 0))
	add("zeros", make([]byte, 64))
	add("empty", nil)
	add("a proof of knowledge", mac(bytesOf("kk", 32), []byte("mid/kpf/1/answer"), sum([]byte(ans)), chal))
	return object{{"dbk", privateJWK(dbk)}, {"ans", ans}, {"ans_hash", b64(sum([]byte(ans)))}, {"message", b64(message)}, {"bsig", b64(good)}, {"bad", bad},
		{"attestation_challenge", b64(sum(lp([]byte("mid/att-bio/1"), []byte(ek), []byte(jti))))},
		{"app_attest_hash", b64(sum(lp([]byte("mid/att-bio/1"), []byte(ek), []byte(jti), thumbprint(jwkOfSigner(dbk)))))}}
}
