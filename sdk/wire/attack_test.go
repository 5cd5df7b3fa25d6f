package wire

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

type party struct {
	tek  *ecdh.PrivateKey
	dsk  *ecdsa.PrivateKey
	kid  string
	seal SealKey
}

func newParty(t testing.TB) *party {
	t.Helper()
	tek, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dsk, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk, _ := PublicJWK(dsk)
	pub := FromECDH(tek.PublicKey())
	return &party{tek, dsk, jwk.KeyID(), SealKey{Kid: pub.KeyID(), Suite: SuiteECDH, JWK: pub}}
}

func (p *party) claims() Claims {
	rk := make([]byte, 32)
	rand.Read(rk)
	return Claims{V: 1, Iss: "dev_a", Aud: "https://id.example", Op: OpList, JTI: "AAAAAAAAAAAAAAAAAAAAAA",
		Iat: 1_800_000_000, Exp: 1_800_000_060, RK: rk, Body: json.RawMessage("{}")}
}

func (p *party) request(t testing.TB) *Sent {
	t.Helper()
	s, err := SealRequest(p.claims(), p.dsk, p.seal, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open is what the server does up to the signature.
func (p *party) open(jwe string) (*Request, error) {
	env, err := ParseEnvelope([]byte(jwe))
	if err != nil {
		return nil, err
	}
	if env.Kid != p.seal.Kid {
		return nil, &Outer{Code: OuterUnknownKey}
	}
	r, err := env.Open(p.tek)
	if err != nil {
		return r, err
	}
	if !r.Verify(&p.dsk.PublicKey) {
		return r, &Error{Code: UnknownKey}
	}
	return r, nil
}

// outerCode is the code that the world sees, "" if the message was opened.
func outerCode(err error) string {
	if o, ok := errors.AsType[*Outer](err); ok {
		return o.Code
	}
	return ""
}

// withHeader seals an inner JWS to the party under any outer header text.
func (p *party) withHeader(t testing.TB, head func(epk string) string, inner string) string {
	t.Helper()
	eph, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := deriveECDH(eph, p.tek.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	out, err := seal(key, []byte(head(string(FromECDH(eph.PublicKey()).appendJSON(nil)))), []byte(inner), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func (p *party) plainHeader(epk string) string {
	return `{"alg":"ECDH-ES","enc":"A256GCM","typ":"mid+jwe","cty":"JWT","kid":"` + p.seal.Kid + `","epk":` + epk + `}`
}

// inner signs claims under any inner header text.
func (p *party) inner(t testing.TB, head string, c Claims) string {
	t.Helper()
	c.EK = p.seal.Kid
	raw, _ := json.Marshal(c)
	s, err := signCompact(p.dsk, head, raw)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p *party) innerHeader() string {
	return `{"alg":"ES256","typ":"mid-req+jwt","kid":"` + p.kid + `"}`
}

func TestD6_AnyFlippedByteGivesOneAndTheSameOuterError(t *testing.T) {
	p := newParty(t)
	jwe := p.request(t).JWE
	if _, err := p.open(jwe); err != nil {
		t.Fatal(err)
	}
	firstDot := strings.IndexByte(jwe, '.')
	want := (&Outer{Code: OuterMalformed}).Problem()
	for i := range len(jwe) {
		for _, c := range []byte{'A', 'B', jwe[i] ^ 1, '.', '\n'} {
			if c == jwe[i] {
				continue
			}
			bad := jwe[:i] + string(rune(c)) + jwe[i+1:]
			_, err := p.open(bad)
			code := outerCode(err)
			if i > firstDot && code != OuterMalformed {
				t.Fatalf("byte %d as %q: %v", i, c, err)
			}
			if code == "" {
				t.Fatalf("byte %d of the header as %q was accepted: %v", i, c, err)
			}
			if o, _ := errors.AsType[*Outer](err); o.Code == OuterMalformed && o.Problem() != want {
				t.Fatal("two spellings of one error")
			}
		}
	}
	for i := range len(jwe) {
		if _, err := p.open(jwe[:i]); outerCode(err) != OuterMalformed {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

func TestD6_AnotherEphemeralKeyDoesNotOpen(t *testing.T) {
	p := newParty(t)
	a, b := strings.Split(p.request(t).JWE, "."), strings.Split(p.request(t).JWE, ".")
	a[0] = b[0]
	if _, err := p.open(strings.Join(a, ".")); outerCode(err) != OuterMalformed {
		t.Fatal(err)
	}
}

func TestD8_OffCurvePointsAreRefused(t *testing.T) {
	p := newParty(t)
	enc := func(n *big.Int) string { var b [32]byte; return Encode(n.FillBytes(b[:])) }
	prime := elliptic.P256().Params().P
	good := p.seal.JWK
	coords := map[string][2]string{
		"not on the curve":     {Encode(good.X[:]), Encode(good.X[:])},
		"identity as zeroes":   {enc(big.NewInt(0)), enc(big.NewInt(0))},
		"x is the prime":       {enc(prime), Encode(good.Y[:])},
		"point of P-256 twist": {enc(big.NewInt(1)), enc(big.NewInt(1))},
		"short coordinate":     {Encode(good.X[1:]), Encode(good.Y[:])},
		"compressed point":     {Encode(append([]byte{2}, good.X[:]...)), ""},
		"hybrid point":         {Encode(append([]byte{6}, good.X[:]...)), Encode(good.Y[:])},
	}
	for name, c := range coords {
		epk := fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, c[0], c[1])
		jwe := p.withHeader(t, func(string) string { return p.plainHeader(epk) }, "x")
		if _, err := ParseEnvelope([]byte(jwe)); outerCode(err) != OuterMalformed {
			t.Errorf("%s as epk: %v", name, err)
		}
		var k JWK
		if k.UnmarshalJSON([]byte(epk)) == nil {
			t.Errorf("%s as a device key was accepted", name)
		}
	}
	for _, epk := range []string{
		`{"crv":"P-384","kty":"EC","x":"` + Encode(good.X[:]) + `","y":"` + Encode(good.Y[:]) + `"}`,
		`{"crv":"X25519","kty":"OKP","x":"` + Encode(good.X[:]) + `"}`,
		`{"crv":"P-256","kty":"EC","x":"` + Encode(good.X[:]) + `","y":"` + Encode(good.Y[:]) + `","d":"AA"}`,
		`null`, `"x"`, `[]`,
	} {
		jwe := p.withHeader(t, func(string) string { return p.plainHeader(epk) }, "x")
		if _, err := ParseEnvelope([]byte(jwe)); outerCode(err) != OuterMalformed {
			t.Errorf("%s: %v", epk, err)
		}
	}
}

func TestD9_AnotherVersionOrAlgorithmIsRefused(t *testing.T) {
	p := newParty(t)
	for _, v := range []int{0, 2, -1} {
		c := p.claims()
		c.V = v
		s, err := SealRequest(c, p.dsk, p.seal, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		r, err := p.open(s.JWE)
		werr, ok := errors.AsType[*Error](err)
		if !ok || werr.Code != Upgrade || werr.Min != 1 || len(r.RK) != 32 {
			t.Errorf("version %d: %v", v, err)
		}
	}
	inner := p.inner(t, p.innerHeader(), p.claims())
	for _, swap := range [][2]string{
		{`"alg":"ECDH-ES"`, `"alg":"ECDH-ES+A128KW"`}, {`"alg":"ECDH-ES"`, `"alg":"dir"`}, {`"alg":"ECDH-ES"`, `"alg":"RSA1_5"`},
		{`"enc":"A256GCM"`, `"enc":"A128GCM"`}, {`"enc":"A256GCM"`, `"enc":"A256CBC-HS512"`}, {`"alg":"ECDH-ES",`, ``},
	} {
		jwe := p.withHeader(t, func(epk string) string { return strings.Replace(p.plainHeader(epk), swap[0], swap[1], 1) }, inner)
		if _, err := p.open(jwe); outerCode(err) != OuterUnsupportedSuite {
			t.Errorf("%s: %v", swap[1], err)
		}
	}
}

func TestJ_TheOuterHeaderHasItsSixMembersAndNoOther(t *testing.T) {
	p := newParty(t)
	inner := p.inner(t, p.innerHeader(), p.claims())
	ok := p.withHeader(t, p.plainHeader, inner)
	if _, err := p.open(ok); err != nil {
		t.Fatal(err)
	}
	add := func(member string) func(string) string {
		return func(epk string) string { return strings.TrimSuffix(p.plainHeader(epk), "}") + "," + member + "}" }
	}
	swap := func(old, now string) func(string) string {
		return func(epk string) string { return strings.Replace(p.plainHeader(epk), old, now, 1) }
	}
	cases := map[string]func(string) string{
		"J3 kid twice":                   add(`"kid":"` + p.seal.Kid + `"`),
		"J3 long kid":                    swap(p.seal.Kid, strings.Repeat("k", 65)),
		"J3 empty kid":                   swap(p.seal.Kid, ""),
		"J3 no kid":                      swap(`"kid":"`+p.seal.Kid+`",`, ""),
		"J4 jku":                         add(`"jku":"https://evil.example"`),
		"J4 x5u":                         add(`"x5u":"https://evil.example"`),
		"J4 x5c":                         add(`"x5c":[]`),
		"J4 jwk":                         add(`"jwk":{}`),
		"J5 crit unknown":                add(`"crit":["exp"]`),
		"J5 crit empty":                  add(`"crit":[]`),
		"J5 b64":                         add(`"b64":false`),
		"J6 zip":                         add(`"zip":"DEF"`),
		"J7 p2c":                         add(`"p2c":2147483648`),
		"apu":                            add(`"apu":"AA"`),
		"typ of the other direction":     swap("mid+jwe", "mid-res+jwe"),
		"typ in capitals":                swap("mid+jwe", "MID+JWE"),
		"member in capitals":             swap(`"typ"`, `"Typ"`),
		"member escaped":                 swap(`"typ"`, `"\u0074yp"`),
		"cty missing":                    swap(`"cty":"JWT",`, ""),
		"J9 deep":                        add(`"a":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)),
		"bytes after the object":         func(epk string) string { return p.plainHeader(epk) + " {}" },
		"array":                          func(epk string) string { return "[" + p.plainHeader(epk) + "]" },
		"J12 JSON serialisation in text": func(string) string { return `{"protected":""}` },
	}
	for name, head := range cases {
		if _, err := p.open(p.withHeader(t, head, inner)); outerCode(err) == "" {
			t.Errorf("%s: accepted, %v", name, err)
		}
	}
}

func TestJ1_J2_TheInnerAlgorithmIsES256AndTheSignatureIsThere(t *testing.T) {
	p := newParty(t)
	good := p.inner(t, p.innerHeader(), p.claims())
	parts := strings.Split(good, ".")
	heads := map[string]string{
		"J1 none": "none", "J1 nOnE": "nOnE", "J2 HS256": "HS256", "J2 RS256": "RS256", "J2 EdDSA": "EdDSA", "J2 ES384": "ES384", "J1 empty": "",
	}
	for name, alg := range heads {
		in := p.inner(t, strings.Replace(p.innerHeader(), "ES256", alg, 1), p.claims())
		if _, err := p.open(p.withHeader(t, p.plainHeader, in)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, in := range map[string]string{
		"J1 empty signature": parts[0] + "." + parts[1] + ".",
		"J1 no signature":    parts[0] + "." + parts[1],
		"J8 empty parts":     "..",
		"J8 empty header":    "." + parts[1] + "." + parts[2],
		"J11 zero signature": parts[0] + "." + parts[1] + "." + Encode(make([]byte, 64)),
		"J11 short":          parts[0] + "." + parts[1] + "." + parts[2][:80],
		"four parts":         good + ".AA",
	} {
		if _, err := p.open(p.withHeader(t, p.plainHeader, in)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, head := range map[string]string{
		"J4 jwk beside op.list": `{"alg":"ES256","typ":"mid-req+jwt","jwk":` + string(p.seal.JWK.appendJSON(nil)) + `}`,
		"J4 jku":                strings.TrimSuffix(p.innerHeader(), "}") + `,"jku":"x"}`,
		"J5 crit":               strings.TrimSuffix(p.innerHeader(), "}") + `,"crit":["x"]}`,
		"J15 typ of an answer":  strings.Replace(p.innerHeader(), TypRequest, TypAnswer, 1),
		"no typ":                `{"alg":"ES256","kid":"` + p.kid + `"}`,
	} {
		r, err := p.open(p.withHeader(t, p.plainHeader, p.inner(t, head, p.claims())))
		if werr, ok := errors.AsType[*Error](err); !ok || werr.Code != Malformed || r == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJ6_J8_J9_HostileSizesAreRefused(t *testing.T) {
	p := newParty(t)
	many := `{"alg":"ECDH-ES"`
	for i := range 3000 {
		many += fmt.Sprintf(`,"m%d":1`, i)
	}
	for name, in := range map[string]string{
		"1 MB of dots": strings.Repeat(".", 1<<20), "32 KiB of dots": strings.Repeat(".", 32<<10), "nothing": "", "four dots": "....",
		"short parts": "e30..AAAA.AA.AA", "3000 members": Encode([]byte(many+"}")) + "..AAAAAAAAAAAAAAAA.AA.AAAAAAAAAAAAAAAAAAAAAA",
		"deep header": Encode([]byte(strings.Repeat(`{"a":`, 4000))) + "..AAAAAAAAAAAAAAAA.AA.AAAAAAAAAAAAAAAAAAAAAA",
		"JSON form":   `{"protected":"","recipients":[]}`,
		"wrapped key": "e30.AAAA.AAAAAAAAAAAAAAAA.AA.AAAAAAAAAAAAAAAAAAAAAA",
	} {
		if _, err := p.open(in); outerCode(err) != OuterMalformed && outerCode(err) != OuterUnsupportedSuite {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := p.claims()
	c.Body = json.RawMessage(`{"a":"` + strings.Repeat("x", 12<<10) + `"}`)
	s, err := SealRequest(c, p.dsk, p.seal, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.open(s.JWE); !errors.Is(err, &Error{Code: Malformed}) {
		t.Errorf("more than 16 KiB: %v", err)
	}
}

func TestJ9_DuplicateMembersInsideAreRefused(t *testing.T) {
	p := newParty(t)
	c := p.claims()
	c.EK = p.seal.Kid
	raw, _ := json.Marshal(c)
	for name, payload := range map[string]string{
		"twice":             strings.TrimSuffix(string(raw), "}") + `,"iss":"dev_b"}`,
		"twice by case":     strings.TrimSuffix(string(raw), "}") + `,"ISS":"dev_b"}`,
		"twice in the body": strings.Replace(string(raw), `"body":{}`, `"body":{"a":1,"a":2}`, 1),
		"J13 iat as text":   strings.Replace(string(raw), `1800000000`, `"1800000000"`, 1),
		"J13 exp 1e308":     strings.Replace(string(raw), `1800000060`, `1e308`, 1),
		"J14 aud as array":  strings.Replace(string(raw), `"https://id.example"`, `["https://id.example"]`, 1),
	} {
		in, err := signCompact(p.dsk, p.innerHeader(), []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.open(p.withHeader(t, p.plainHeader, in)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
