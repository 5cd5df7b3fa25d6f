package provider

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/db/dbtest"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"

	"github.com/go-jose/go-jose/v4"
)

// signer is a client with keys of its own.
type signer struct {
	h   *house
	id  string
	ec  *ecdsa.PrivateKey
	rsa *rsa.PrivateKey
	set json.RawMessage
}

func (h *house) signer(alg string) *signer {
	h.t.Helper()
	s := &signer{h: h, id: db.NewID("cli_")}
	var err error
	if s.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		h.t.Fatal(err)
	}
	if s.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		h.t.Fatal(err)
	}
	s.set, err = json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.ec.Public(), KeyID: "ec"}, {Key: s.rsa.Public(), KeyID: "rsa"}}})
	if err != nil {
		h.t.Fatal(err)
	}
	set := db.ClientSettings{AuthMethod: methodJWT, GrantTypes: []string{grantCode, grantToken, grantClient}, RedirectURIs: []string{"https://shop.example.com/cb"},
		Scopes: []string{"openid", "users:write"}, JWKS: s.set, AssertionAlg: alg}
	if err := CheckClient(&set); err != nil {
		h.t.Fatal(err)
	}
	h.insert(db.Client{ID: s.id, Settings: set})
	return s
}

// insert adds a client of the house's merchant.
func (h *house) insert(c db.Client) {
	h.t.Helper()
	c.MerchantID, c.AppID, c.CreatedAt = "mer_1", "app_1", h.clk.Now()
	if c.Name == "" {
		c.Name = c.ID
	}
	if err := h.db.Update(h.t.Context(), func(tx *db.Tx) error { return tx.InsertClient(c) }); err != nil {
		h.t.Fatal(err)
	}
}

// claims of a good assertion, changed; nil leaves a claim out.
func (s *signer) claims(changes map[string]any) []byte {
	now := s.h.p.clk.Now().Unix()
	c := map[string]any{"iss": s.id, "sub": s.id, "aud": issuer, "iat": now, "exp": now + 60, "jti": db.NewID("")}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	b, err := json.Marshal(c)
	if err != nil {
		s.h.t.Fatal(err)
	}
	return b
}

func (s *signer) sign(alg jose.SignatureAlgorithm, head map[jose.HeaderKey]any, payload []byte) string {
	s.h.t.Helper()
	var key any = s.rsa
	kid := "rsa"
	switch alg {
	case jose.ES256:
		key, kid = s.ec, "ec"
	case jose.HS256: // with what everybody knows
		key, kid = []byte(s.set), "ec"
	}
	o := (&jose.SignerOptions{}).WithHeader("kid", kid)
	for k, v := range head {
		o = o.WithHeader(k, v)
	}
	sig, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		s.h.t.Fatal(err)
	}
	jws, err := sig.Sign(payload)
	if err != nil {
		s.h.t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		s.h.t.Fatal(err)
	}
	return text
}

func (s *signer) good(changes map[string]any) string {
	return s.sign(jose.ES256, nil, s.claims(changes))
}

// ask asks a node for a token by client_credentials with an assertion.
func ask(p *Provider, assertion string, more ...string) reply {
	v := form(append([]string{"grant_type", grantClient, "client_assertion_type", assertionType, "client_assertion", assertion}, more...)...)
	return call(p.Token, post("/token", v.Encode()))
}

func TestB1_AnAssertionIsForUsNowAndOnce(t *testing.T) {
	h := newHouse(t)
	s := h.signer("")
	other := h.signer("")
	now := h.clk.Now().Unix()
	for _, tc := range []struct {
		name   string
		change map[string]any
		ok     bool
	}{
		{"right", nil, true},
		{"without iat", map[string]any{"iat": nil}, true},
		{"iat 8 s ahead", map[string]any{"iat": now + 8}, true},
		{"exp 10 min ahead", map[string]any{"exp": now + 600}, true},
		{"a fraction of a second", map[string]any{"exp": float64(now) + 60.5}, true},
		{"without jti", map[string]any{"jti": nil}, false},
		{"an empty jti", map[string]any{"jti": ""}, false},
		{"a jti that is a number", map[string]any{"jti": 7}, false},
		{"a jti of 256 bytes", map[string]any{"jti": strings.Repeat("j", 256)}, false},
		{"without exp", map[string]any{"exp": nil}, false},
		{"J13 exp as text", map[string]any{"exp": fmt.Sprint(now + 60)}, false},
		{"J13 exp beyond time", map[string]any{"exp": 1e308}, false},
		{"J13 exp below zero", map[string]any{"exp": -1}, false},
		{"without sub", map[string]any{"sub": nil}, false},
		{"without iss", map[string]any{"iss": nil}, false},
		{"iss of another", map[string]any{"iss": other.id}, false},
		{"expired", map[string]any{"exp": now}, false},
		{"exp 11 min ahead", map[string]any{"exp": now + 660}, false},
		{"iat 61 s ahead", map[string]any{"iat": now + 61}, false},
		{"nbf 61 s ahead", map[string]any{"nbf": now + 61}, false},
		{"without aud", map[string]any{"aud": nil}, false},
		{"for nobody", map[string]any{"aud": []string{}}, false},
		{"for another server", map[string]any{"aud": "https://other.example"}, false},
		{"for us and another server", map[string]any{"aud": []string{issuer, "https://other.example"}}, false},
		{"for the token endpoint", map[string]any{"aud": issuer + "/token"}, false},
		{"for another endpoint", map[string]any{"aud": issuer + "/introspect"}, false},
		{"for the issuer, in a list", map[string]any{"aud": []string{issuer}}, false},
		{"for issuer and endpoint, in a list", map[string]any{"aud": []string{issuer, issuer + "/token"}}, false},
		{"for null", map[string]any{"aud": json.RawMessage("null")}, false},
		{"J14 a slash behind the issuer", map[string]any{"aud": issuer + "/"}, false},
		{"J14 a part of the issuer", map[string]any{"aud": issuer[:12]}, false},
		{"J14 a list of mixed types", map[string]any{"aud": []any{issuer, 7}}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res := ask(h.p, s.good(tc.change))
			if tc.ok {
				if res.StatusCode != 200 {
					t.Errorf("%d %s", res.StatusCode, res.text)
				}
				return
			}
			res.refuses(t, 401, codeInvalidClient)
		})
	}
	t.Run("another client's key", func(t *testing.T) {
		ask(h.p, other.sign(jose.ES256, nil, s.claims(nil))).refuses(t, 401, codeInvalidClient)
	})
	t.Run("RS256 without being registered for it", func(t *testing.T) {
		ask(h.p, s.sign(jose.RS256, nil, s.claims(nil))).refuses(t, 401, codeInvalidClient)
	})
	t.Run("PS256", func(t *testing.T) {
		if res := ask(h.p, s.sign(jose.PS256, nil, s.claims(nil))); res.StatusCode != 200 {
			t.Error(res.text)
		}
	})
	t.Run("without kid, when one key fits", func(t *testing.T) {
		if res := ask(h.p, s.sign(jose.ES256, map[jose.HeaderKey]any{"kid": ""}, s.claims(nil))); res.StatusCode != 200 {
			t.Error(res.text)
		}
	})
	t.Run("RS256 when it is registered, and then nothing else", func(t *testing.T) {
		r := h.signer("RS256")
		if res := ask(h.p, r.sign(jose.RS256, nil, r.claims(nil))); res.StatusCode != 200 {
			t.Error(res.text)
		}
		ask(h.p, r.good(nil)).refuses(t, 401, codeInvalidClient)
	})
	t.Run("client_id of another client", func(t *testing.T) {
		ask(h.p, s.good(nil), "client_id", other.id).refuses(t, 401, codeInvalidClient)
	})
	t.Run("a member given twice", func(t *testing.T) {
		twice := strings.Replace(string(s.claims(nil)), `{`, `{"sub":"x",`, 1)
		ask(h.p, s.sign(jose.ES256, nil, []byte(twice))).refuses(t, 401, codeInvalidClient)
	})
	t.Run("at the other endpoints", func(t *testing.T) {
		introspect := func(aud string) reply {
			v := form("token", "x", "client_assertion_type", assertionType, "client_assertion", s.good(map[string]any{"aud": aud}))
			return call(h.p.Introspect, post("/introspect", v.Encode()))
		}
		introspect(issuer).inactive(t)
		introspect(issuer+"/introspect").refuses(t, 401, codeInvalidClient)
		h.change(s.id, func(c *db.ClientSettings) { c.AssertionAudience = audienceEndpoint })
		defer h.change(s.id, func(c *db.ClientSettings) { c.AssertionAudience = "" })
		introspect(issuer + "/introspect").inactive(t)
		introspect(issuer + "/token").inactive(t)
		introspect(issuer+"/revoke").refuses(t, 401, codeInvalidClient)
	})
	t.Run("for an endpoint, where the client is registered so", func(t *testing.T) {
		r := h.signer("")
		h.change(r.id, func(c *db.ClientSettings) { c.AssertionAudience = audienceEndpoint })
		for _, aud := range []any{issuer, issuer + "/token", []string{issuer}, []string{issuer, issuer + "/token"}, []string{issuer + "/token"}} {
			if res := ask(h.p, r.good(map[string]any{"aud": aud})); res.StatusCode != 200 {
				t.Errorf("%v: %s", aud, res.text)
			}
		}
		for _, aud := range []any{nil, json.RawMessage("null"), "", []string{}, []string{""}, []any{issuer, 7}, []any{issuer, nil}, issuer + "/", issuer + "/introspect", issuer + "/token/",
			"https://other.example/token", []string{issuer, "https://other.example"}, map[string]any{"aud": issuer}, 7} {
			ask(h.p, r.good(map[string]any{"aud": aud})).refuses(t, 401, codeInvalidClient)
		}
	})
	t.Run("the wrong type of assertion", func(t *testing.T) {
		v := form("grant_type", grantClient, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", "client_assertion", s.good(nil))
		call(h.p.Token, post("/token", v.Encode())).refuses(t, 401, codeInvalidClient)
	})
}

func TestB2_AnAssertionIsTakenOnceOnTwoNodes(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, h *house) kv.KV{
		"embedded": func(t *testing.T, h *house) kv.KV { return kvtest.SQLite(t, h.clk) },
		"postgres": func(t *testing.T, h *house) kv.KV { return kvtest.Open(t, dbtest.Postgres(t), h.clk) },
		"redis":    func(t *testing.T, h *house) kv.KV { return kvtest.Open(t, kvtest.Redis(t), h.clk) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.kv = open(t, h)
			nodes := []*Provider{h.provider(h.clk), h.provider(h.clk)}
			s := h.signer("")
			text := s.good(nil)
			var mu sync.Mutex
			var wg sync.WaitGroup
			got := map[int]int{}
			for i := range 32 {
				wg.Go(func() {
					res := ask(nodes[i%2], text)
					mu.Lock()
					defer mu.Unlock()
					got[res.StatusCode]++
				})
			}
			wg.Wait()
			if got[200] != 1 || got[401] != 31 {
				t.Errorf("answers by status: %v", got)
			}
			ask(nodes[0], text).refuses(t, 401, codeInvalidClient)
			jti := map[string]any{"jti": "same"}
			if a, b := ask(nodes[0], s.good(jti)), ask(nodes[1], h.signer("").good(jti)); a.StatusCode != 200 || b.StatusCode != 200 {
				t.Errorf("two clients may use one jti: %s %s", a.text, b.text)
			}
		})
	}
}

func TestB3_APublicKeyIsNoSharedSecret(t *testing.T) {
	h := newHouse(t)
	s := h.signer("")
	ask(h.p, s.sign(jose.HS256, nil, s.claims(nil))).refuses(t, 401, codeInvalidClient)
}

func TestB4_OneMethodAndTheRegisteredOne(t *testing.T) {
	h := newHouse(t)
	s := h.signer("")
	assertion := form("grant_type", grantClient, "client_assertion_type", assertionType, "client_assertion", s.good(nil))
	call(h.p.Token, h.as(s.id, "/token", assertion)).refuses(t, 400, codeInvalidRequest)
	ask(h.p, s.good(nil), "client_secret", "x").refuses(t, 400, codeInvalidRequest)
	call(h.p.Token, h.as(s.id, "/token", form("grant_type", grantClient))).refuses(t, 401, codeInvalidClient)
	call(h.p.Token, post("/token", form("grant_type", grantClient, "client_id", s.id).Encode())).refuses(t, 401, codeInvalidClient)
	call(h.p.Token, post("/token", form("grant_type", grantClient, "client_id", s.id, "client_secret", h.secret).Encode())).refuses(t, 401, codeInvalidClient)
	web := *s
	web.id = "cli_web" // registered for a secret
	ask(h.p, web.good(nil)).refuses(t, 401, codeInvalidClient)
}

func TestJ1_J2_J3_AHeaderDecidesNothing(t *testing.T) {
	h := newHouse(t)
	s := h.signer("")
	b64 := base64.RawURLEncoding.EncodeToString
	good := strings.Split(s.good(nil), ".")
	for name, head := range map[string]string{
		"J1 none": `{"alg":"none"}`, "J1 nOnE": `{"alg":"nOnE"}`, "J1 no alg": `{"kid":"ec"}`, "J1 null": `{"alg":null}`,
		"J2 RSA's alg for an EC key": `{"alg":"PS256","kid":"ec"}`, "J2 EdDSA": `{"alg":"EdDSA","kid":"ec"}`, "J2 ES384": `{"alg":"ES384","kid":"ec"}`,
		"J3 unknown kid": `{"alg":"ES256","kid":"../../etc/passwd"}`, "J3 kid of SQL": `{"alg":"ES256","kid":"' OR 1=1 --"}`,
		"J3 kid of a megabyte": `{"alg":"ES256","kid":"` + strings.Repeat("k", 1<<20) + `"}`, "J3 kid twice": `{"alg":"ES256","kid":"x","kid":"ec"}`,
		"J4 jku": `{"alg":"ES256","kid":"ec","jku":"https://evil.example"}`, "J4 jwk": `{"alg":"ES256","kid":"ec","jwk":{}}`, "J4 x5c": `{"alg":"ES256","kid":"ec","x5c":[]}`,
		"J5 crit": `{"alg":"ES256","kid":"ec","crit":["exp"]}`, "J5 empty crit": `{"alg":"ES256","kid":"ec","crit":[]}`, "J5 b64": `{"alg":"ES256","kid":"ec","b64":false}`,
		"J15 a request object": `{"alg":"ES256","kid":"ec","typ":"oauth-authz-req+jwt"}`, "no object": `[]`,
	} {
		for _, sig := range []string{good[2], ""} {
			res := ask(h.p, b64([]byte(head))+"."+good[1]+"."+sig)
			if res.StatusCode != 401 && res.StatusCode != 413 {
				t.Errorf("%s: %d %s", name, res.StatusCode, res.text)
			}
		}
	}
	// The same with signatures that are right for the header.
	for name, extra := range map[string]map[jose.HeaderKey]any{
		"J4 jku": {"jku": "https://evil.example"}, "J4 x5u": {"x5u": "https://evil.example"}, "J15": {"typ": "oauth-authz-req+jwt"}, "J5": {"b64x": false},
	} {
		if res := ask(h.p, s.sign(jose.ES256, extra, s.claims(nil))); res.StatusCode != 401 {
			t.Errorf("%s, signed: %d %s", name, res.StatusCode, res.text)
		}
	}
	for _, text := range []string{"", ".", "..", strings.Repeat(".", 10_000), "a.b.c", strings.Join(good[:2], "."), strings.Join(good, ".") + ".",
		`{"payload":"` + good[1] + `","protected":"` + good[0] + `","signature":"` + good[2] + `"}`} {
		ask(h.p, text).refuses(t, 401, codeInvalidClient)
	}
}

func TestR7_WhatAStoreForgotIsRefusedUntilItMustHaveExpired(t *testing.T) {
	h := newHouse(t)
	s := h.signer("")
	used := s.good(map[string]any{"exp": h.clk.Now().Unix() + 300})
	undated := s.good(map[string]any{"exp": h.clk.Now().Unix() + 300, "iat": nil})
	for _, text := range []string{used, undated} {
		if res := ask(h.p, text); res.StatusCode != 200 {
			t.Fatalf("the first store: %s", res.text)
		}
	}
	h.clk.Advance(20 * time.Second)
	h.p.kv = kvtest.SQLite(t, h.clk) // all is lost
	ask(h.p, used).refuses(t, 401, codeInvalidClient)
	ask(h.p, undated).refuses(t, 401, codeInvalidClient)
	h.clk.Advance(skew + time.Second)
	if res := ask(h.p, s.good(nil)); res.StatusCode != 200 {
		t.Errorf("a new one: %s", res.text)
	}
	ask(h.p, used).refuses(t, 401, codeInvalidClient)
	t.Run("a store that cannot be asked", func(t *testing.T) {
		h.p.kv = deaf{h.kv}
		ask(h.p, s.good(nil)).refuses(t, 503, codeUnavailable)
	})
}

func TestR7_OfManyFirstAssertionsOnTwoNodesNoneIsTakenForOneAfterALoss(t *testing.T) {
	for range 8 {
		h := newHouse(t)
		s := h.signer("")
		nodes := []*Provider{h.provider(h.clk), h.provider(h.clk)}
		var wg sync.WaitGroup
		for i := range 16 {
			text := s.good(nil)
			wg.Go(func() {
				if res := ask(nodes[i%2], text); res.StatusCode != 200 {
					t.Errorf("%d %s", res.StatusCode, res.text)
				}
			})
		}
		wg.Wait()
		old := s.good(nil)
		h.clk.Advance(20 * time.Second)
		nodes[0].kv = kvtest.SQLite(t, h.clk)
		ask(nodes[0], old).refuses(t, 401, codeInvalidClient) // a loss is one all the same
	}
}

func TestJ10_AKeyThatIsNoneIsRefusedAtRegistration(t *testing.T) {
	h := newHouse(t)
	s := h.signer("")
	set := func(keys ...any) json.RawMessage {
		b, err := json.Marshal(map[string]any{"keys": keys})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ec := func(kid string) jose.JSONWebKey { return jose.JSONWebKey{Key: s.ec.Public(), KeyID: kid} }
	bits := func(n int) jose.JSONWebKey {
		N := new(big.Int).Lsh(big.NewInt(1), uint(n-1))
		return jose.JSONWebKey{Key: &rsa.PublicKey{N: N.SetBit(N, 0, 1), E: 65537}, KeyID: "r"}
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small := s.rsa.PublicKey
	small.E = 1
	three := s.rsa.PublicKey
	three.E = 3
	x := make([]byte, 32)
	x[31] = 7
	off := map[string]any{"kty": "EC", "crv": "P-256", "kid": "a", "x": base64.RawURLEncoding.EncodeToString(x), "y": base64.RawURLEncoding.EncodeToString(x)}
	for name, raw := range map[string]json.RawMessage{
		"512 bits": set(bits(512)), "16384 bits": set(bits(16384)), "e=1": set(jose.JSONWebKey{Key: &small, KeyID: "r"}), "e=3": set(jose.JSONWebKey{Key: &three, KeyID: "r"}),
		"a point off the curve": set(off), "P-384": set(jose.JSONWebKey{Key: p384.Public(), KeyID: "p"}),
		"a private EC key": set(jose.JSONWebKey{Key: s.ec, KeyID: "d"}), "a private RSA key": set(jose.JSONWebKey{Key: s.rsa, KeyID: "d"}),
		"a shared secret": set(jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "o"}),
		"a kid twice":     set(ec("a"), ec("a")), "two keys, one without kid": set(ec("a"), ec("")),
		"for encryption": set(jose.JSONWebKey{Key: s.ec.Public(), KeyID: "a", Use: "enc"}), "for ES384": set(jose.JSONWebKey{Key: s.ec.Public(), KeyID: "a", Algorithm: "ES384"}),
		"an alg of another kind": set(jose.JSONWebKey{Key: s.ec.Public(), KeyID: "a", Algorithm: "PS256"}),
		"no keys":                set(), "no set": json.RawMessage(`[]`), "rubbish": json.RawMessage(`{`), "nothing": nil,
		"too many": set(func() (all []any) {
			for i := range maxKeys + 1 {
				all = append(all, ec(fmt.Sprint(i)))
			}
			return all
		}()...),
	} {
		c := db.ClientSettings{AuthMethod: methodJWT, GrantTypes: []string{grantClient}, JWKS: raw}
		if err := CheckClient(&c); err == nil {
			t.Errorf("%s is registered", name)
		}
		id := db.NewID("cli_")
		c.AuthMethod = methodJWT
		if name != "rubbish" && name != "a kid twice" && name != "two keys, one without kid" {
			h.insert(db.Client{ID: id, Settings: c})
			if loaded, err := h.p.client(t.Context(), id); err != nil || len(loaded.keys) > 0 {
				t.Errorf("%s is loaded: %v", name, err)
			}
		}
	}
	for name, c := range map[string]db.ClientSettings{
		"keys beside a secret":        {AuthMethod: methodBasic, GrantTypes: []string{grantClient}, JWKS: s.set},
		"an alg no key fits":          {AuthMethod: methodJWT, GrantTypes: []string{grantClient}, JWKS: set(ec("a")), AssertionAlg: "PS256"},
		"an unknown audience":         {AuthMethod: methodJWT, GrantTypes: []string{grantClient}, JWKS: s.set, AssertionAudience: "token"},
		"an audience beside a secret": {AuthMethod: methodBasic, GrantTypes: []string{grantClient}, AssertionAudience: audienceIssuer},
		"an unknown alg":              {AuthMethod: methodJWT, GrantTypes: []string{grantClient}, JWKS: s.set, AssertionAlg: "EdDSA"},
	} {
		if err := CheckClient(&c); err == nil {
			t.Errorf("%s is registered", name)
		}
	}
}
