package provider

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/keys"
	"mobileid/internal/operation"

	"github.com/go-jose/go-jose/v4"
)

// client adds a client of client_secret_basic like cli_web, changed.
func (h *house) client(id string, change func(*db.ClientSettings)) {
	h.t.Helper()
	set := db.ClientSettings{AuthMethod: methodBasic, GrantTypes: []string{grantCode, grantToken, grantClient}, RedirectURIs: []string{"https://shop.example.com/cb"},
		Scopes: []string{"openid", "profile", "email", "address", "phone", "offline_access", "users:write"}}
	change(&set)
	if err := CheckClient(&set); err != nil {
		h.t.Fatal(err)
	}
	c := db.Client{ID: id, Settings: set}
	web, err := h.p.client(h.t.Context(), "cli_web")
	if err != nil {
		h.t.Fatal(err)
	}
	c.Secrets = web.Secrets
	h.insert(c)
}

// login gets tokens for a client by a code.
func (h *house) tokensOf(client string, changes ...string) reply {
	h.t.Helper()
	code := h.code(append([]string{"client_id", client}, changes...)...)
	return call(h.p.Token, h.as(client, "/token", form("grant_type", grantCode, "code", code, "redirect_uri", "https://shop.example.com/cb", "code_verifier", verifier)))
}

func (h *house) userinfo(token string) reply {
	r := httptest.NewRequest(http.MethodGet, issuer+"/userinfo", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return call(h.p.Userinfo, r)
}

// refusal is the error that an authorize request is answered with.
func (h *house) refusal(changes ...string) string {
	h.t.Helper()
	to, err := h.authorize(get(request(changes...))).Location()
	if err != nil {
		return "page"
	}
	return to.Query().Get("error")
}

func TestStandardClaimsComeByScopeAndByName(t *testing.T) {
	h := newHouse(t)
	h.client("cli_all", func(*db.ClientSettings) {})
	attributes := map[string]string{"name": "Anna Smith", "email": "anna@example.com", "email_verified": "true", "phone_number": "+44",
		"address.locality": "Oslo", "address.country": "NO", "updated_at": "1700000000", "nickname": "", "secret": "x"}
	anna := db.User{ID: db.NewID("usr_"), MerchantID: "mer_1", ExternalRef: "anna2", State: db.UserActive, Attributes: attributes, CreatedAt: h.clk.Now()}
	err := h.db.Update(t.Context(), func(tx *db.Tx) error { return tx.InsertUser(anna) })
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.p.aboutClaims(t.Context(), anna.ID, append(claimsOf("profile"), "address", "email", "email_verified", "phone_number", "phone_number_verified"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"name": "Anna Smith", "email": "anna@example.com", "email_verified": true, "phone_number": "+44",
		"address": map[string]string{"locality": "Oslo", "country": "NO"}, "updated_at": int64(1700000000)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}

	asked := `{"userinfo":{"name":{"essential":true},"secret":null},"id_token":{"email":null,"email_verified":{"value":true},"auth_time":{"essential":true}}}`
	tokens := h.tokensOf("cli_all", "scope", "openid", "claims", asked)
	if c := claims(t, tokens.str("id_token")); c["email"] != "anna@example.com" || c["email_verified"] != true || c["name"] != nil || c["auth_time"] == nil {
		t.Errorf("ID token: %v", c)
	}
	if info := h.userinfo(tokens.str("access_token")); info.str("name") != "Anna Smith" || info.json["email"] != nil || info.json["secret"] != nil || info.str("sub") != h.user {
		t.Errorf("userinfo: %s", info.text)
	}
	next := call(h.p.Token, h.as("cli_all", "/token", form("grant_type", grantToken, "refresh_token", tokens.str("refresh_token"))))
	if c := claims(t, next.str("id_token")); c["email"] != "anna@example.com" {
		t.Errorf("the ID token of a refresh: %v", c)
	}
	// By scope they are at userinfo, and not in the ID token.
	tokens = h.tokensOf("cli_all", "scope", "openid email")
	if c := claims(t, tokens.str("id_token")); c["email"] != nil {
		t.Errorf("ID token: %v", c)
	}
	// A claim whose scope the client may not have stays unknown.
	h.client("cli_few", func(s *db.ClientSettings) { s.Scopes = []string{"openid"} })
	tokens = h.tokensOf("cli_few", "scope", "openid", "claims", asked)
	if info := h.userinfo(tokens.str("access_token")); len(info.json) != 1 || claims(t, tokens.str("id_token"))["email"] != nil {
		t.Errorf("%s", info.text)
	}
}

func TestTheClaimsParameterDecidesWhoAnswersAndHow(t *testing.T) {
	h := newHouse(t)
	for _, tc := range []struct{ name, param, want, acr string }{
		{"an acr that is reached", `{"id_token":{"acr":{"essential":true,"value":"urn:mobileid:acr:web"}}}`, "", operation.ACRWeb},
		{"one of several", `{"id_token":{"acr":{"essential":true,"values":["urn:mobileid:acr:app","urn:mobileid:acr:web"]}}}`, "", operation.ACRWeb},
		{"an essential acr that is not reached", `{"id_token":{"acr":{"essential":true,"value":"urn:mobileid:acr:app"}}}`, codeUnmet, ""},
		{"an essential acr that nobody knows", `{"id_token":{"acr":{"essential":true,"value":"urn:x"}}}`, codeUnmet, ""},
		{"a wish that nobody knows", `{"id_token":{"acr":{"values":["urn:x"]}}}`, "", operation.ACRWeb},
		{"just acr", `{"id_token":{"acr":null}}`, "", operation.ACRWeb},
		{"just acr, essential", `{"id_token":{"acr":{"essential":true}}}`, "", operation.ACRWeb},
		{"this user", `{"id_token":{"sub":{"value":"` + h.user + `"}}}`, "", operation.ACRWeb},
		{"another user", `{"id_token":{"sub":{"value":"usr_other"}}}`, codeLoginRequired, ""},
		{"another user at userinfo", `{"userinfo":{"sub":{"values":["usr_other"]}}}`, codeLoginRequired, ""},
		{"two users", `{"id_token":{"sub":{"values":["usr_a","usr_b"]}}}`, codeInvalidRequest, ""},
		{"an acr that is no text", `{"id_token":{"acr":{"value":7}}}`, codeInvalidRequest, ""},
		{"no JSON", `{`, codeInvalidRequest, ""},
		{"no object", `[]`, codeInvalidRequest, ""},
		{"a member given twice", `{"id_token":{},"id_token":{}}`, codeInvalidRequest, ""},
		{"what nobody knows", `{"verified_claims":{},"userinfo":{"https://x":null}}`, "", operation.ACRWeb},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.want != "" {
				if got := h.refusal("claims", tc.param); got != tc.want {
					t.Errorf("%q, want %q", got, tc.want)
				}
				return
			}
			if c := claims(t, h.tokens("claims", tc.param).str("id_token")); c["acr"] != tc.acr {
				t.Errorf("acr %v", c["acr"])
			}
		})
	}
	t.Run("an insisting client is told the value it asked for", func(t *testing.T) {
		c := claimsRequest{acr: []string{operation.ACRWeb}, essential: true}
		if got := c.asAsked(operation.ACRApp); got != operation.ACRWeb {
			t.Error(got)
		}
	})
}

func TestAClientsTokensAreSignedAsItAsked(t *testing.T) {
	h := newHouse(t)
	for _, alg := range signatureAlgs() {
		t.Run(alg, func(t *testing.T) {
			id := "cli_" + strings.ToLower(alg)
			h.client(id, func(s *db.ClientSettings) { s.IDTokenAlg, s.UserinfoAlg = alg, alg })
			tokens := h.tokensOf(id)
			idClaims := h.verified(t, tokens.str("id_token"), alg, "JWT")
			if idClaims["aud"] != id || idClaims["at_hash"] == nil {
				t.Errorf("%v", idClaims)
			}
			info := h.userinfo(tokens.str("access_token"))
			if info.Header.Get("Content-Type") != "application/jwt" || info.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%v", info.Header)
			}
			if c := h.verified(t, info.text, alg, typUserinfo); c["sub"] != h.user || c["iss"] != issuer || c["aud"] != id || c["email"] != "anna@example.com" {
				t.Errorf("%v", c)
			}
			// As a hint it is known again, after a rotation too.
			if _, err := h.ring.Rotate(t.Context(), keys.ForAlg(alg), 0, func(*db.Tx, string) error { return nil }); err != nil {
				t.Fatal(err)
			}
			if user, err := h.p.hintedUser(t.Context(), tokens.str("id_token"), id); user != h.user || err != nil {
				t.Errorf("as a hint: %q, %v", user, err)
			}
			if user, _ := h.p.hintedUser(t.Context(), info.text, id); user != "" {
				t.Error("a userinfo answer is taken for an ID token")
			}
			h.verified(t, h.tokensOf(id).str("id_token"), alg, "JWT")
		})
	}
	if err := CheckClient(&db.ClientSettings{GrantTypes: []string{grantClient}, IDTokenAlg: "HS256"}); err == nil {
		t.Error("HS256 is registered")
	}
}

// verified checks a JWT by the published keys, as a relying party does.
func (h *house) verified(t *testing.T, token, alg, typ string) map[string]any {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(call(h.p.JWKS, httptest.NewRequest(http.MethodGet, issuer+"/jwks", nil)).text), &set); err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err != nil {
		t.Fatal(err)
	}
	head := jws.Signatures[0].Protected
	if head.ExtraHeaders[jose.HeaderType] != typ {
		t.Errorf("typ %v, want %s", head.ExtraHeaders[jose.HeaderType], typ)
	}
	found := set.Key(head.KeyID)
	if len(found) != 1 || found[0].Algorithm != alg {
		t.Fatalf("kid %s: %d keys", head.KeyID, len(found))
	}
	if _, err := jws.Verify(found[0]); err != nil {
		t.Fatal(err)
	}
	return claims(t, token)
}

func TestAKeyIsMadeWhenAClientFirstAsksForItsAlgorithm(t *testing.T) {
	h := newHouse(t)
	count := func() int {
		var set jose.JSONWebKeySet
		if err := json.Unmarshal([]byte(call(h.p.JWKS, httptest.NewRequest(http.MethodGet, issuer+"/jwks", nil)).text), &set); err != nil {
			t.Fatal(err)
		}
		return len(set.Keys)
	}
	if count() != 1 {
		t.Error("keys nobody asked for are published")
	}
	h.client("cli_rs", func(s *db.ClientSettings) { s.IDTokenAlg = "RS256" })
	h.tokensOf("cli_rs")
	h.clk.Advance(3 * time.Second)
	if count() != 2 {
		t.Errorf("%d keys", count())
	}
}

func TestAJWTAccessTokenSaysAllAndDiesWithItsGrant(t *testing.T) {
	h := newHouse(t)
	h.client("cli_jwt", func(s *db.ClientSettings) { s.TokenFormat = formatJWT })
	tokens := h.tokensOf("cli_jwt", "scope", "openid email", "claims", `{"userinfo":{"name":null}}`)
	token := tokens.str("access_token")
	c := h.verified(t, token, "ES256", "at+jwt")
	now := float64(h.clk.Now().Unix())
	for name, want := range map[string]any{"iss": issuer, "sub": h.user, "aud": issuer, "client_id": "cli_jwt", "scope": "openid email", "iat": now, "exp": now + 300,
		"auth_time": now, "acr": operation.ACRWeb, "sid": "sid_1"} {
		if c[name] != want {
			t.Errorf("%s is %v, want %v", name, c[name], want)
		}
	}
	if c["jti"] == "" || c["amr"] == nil {
		t.Errorf("%v", c)
	}
	if info := h.userinfo(token); info.str("email") != "anna@example.com" || info.str("name") != "Anna Smith" {
		t.Errorf("userinfo: %s", info.text)
	}
	told := h.introspect("cli_jwt", token)
	if told.json["active"] != true || told.str("jti") != c["jti"] || told.str("sub") != h.user {
		t.Errorf("introspection: %s", told.text)
	}
	h.introspect("cli_web", token).inactive(t)

	machine := call(h.p.Token, h.as("cli_jwt", "/token", form("grant_type", grantClient)))
	if c := h.verified(t, machine.str("access_token"), "ES256", "at+jwt"); c["sub"] != "cli_jwt" || c["auth_time"] != nil || c["scope"] != "users:write" {
		t.Errorf("client_credentials: %v", c)
	}
	if at, err := h.p.VerifyAccessToken(t.Context(), machine.str("access_token")); err != nil || at.MerchantID != "mer_1" || at.UserID != "" || !at.HasScope("users:write") {
		t.Errorf("%+v, %v", at, err)
	}

	t.Run("revoked alone, by its jti", func(t *testing.T) {
		one := h.tokensOf("cli_jwt")
		if res := h.revoke("cli_jwt", one.str("access_token")); res.StatusCode != 200 {
			t.Fatal(res.text)
		}
		if h.alive(one.str("access_token")) || !h.alive(token) {
			t.Error("the wrong token is dead")
		}
	})
	t.Run("dead with its grant", func(t *testing.T) {
		one := h.tokensOf("cli_jwt")
		h.revoke("cli_jwt", one.str("refresh_token"))
		if h.alive(one.str("access_token")) {
			t.Error("it outlives its grant")
		}
	})
	t.Run("dead after five minutes", func(t *testing.T) {
		h.clk.Advance(accessLife)
		if h.alive(token) {
			t.Error("it outlives its life")
		}
	})
}

func TestB11_NoTokenIsTakenForAnother(t *testing.T) {
	h := newHouse(t)
	h.client("cli_jwt", func(s *db.ClientSettings) { s.TokenFormat, s.UserinfoAlg = formatJWT, "ES256" })
	tokens := h.tokensOf("cli_jwt")
	access, refresh, id := tokens.str("access_token"), tokens.str("refresh_token"), tokens.str("id_token")
	info := h.userinfo(access).text
	logout, err := h.p.sign(t.Context(), "ES256", typLogoutToken, []byte(`{"iss":"`+issuer+`","aud":"cli_jwt","sub":"`+h.user+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"an ID token": id, "a refresh token": refresh, "a userinfo answer": info, "a logout token": logout} {
		if res := h.userinfo(token); res.StatusCode != 401 {
			t.Errorf("%s as an access token: %d", name, res.StatusCode)
		}
		if name != "a refresh token" {
			h.introspect("cli_jwt", token).inactive(t)
		}
	}
	for name, token := range map[string]string{"an access token": access, "a userinfo answer": info, "a logout token": logout} {
		if user, _ := h.p.hintedUser(t.Context(), token, "cli_jwt"); user != "" {
			t.Errorf("%s as an ID token", name)
		}
	}
	for _, token := range []string{access, id, refresh} {
		call(h.p.Token, h.as("cli_jwt", "/token", form("grant_type", grantCode, "code", token, "redirect_uri", "https://shop.example.com/cb", "code_verifier", verifier))).refuses(t, 400, codeInvalidGrant)
	}
	for _, token := range []string{access, id} {
		call(h.p.Token, h.as("cli_jwt", "/token", form("grant_type", grantToken, "refresh_token", token))).refuses(t, 400, codeInvalidGrant)
	}
}

func TestB8_ScopeDoesNotGrow(t *testing.T) {
	h := newHouse(t)
	tokens := h.tokens("scope", "openid")
	h.token("grant_type", grantToken, "refresh_token", tokens.str("refresh_token"), "scope", "openid email").refuses(t, 400, codeInvalidScope)
	h.token("grant_type", grantClient, "scope", "unheard:of").refuses(t, 400, codeInvalidScope)
	if got := h.refusal("scope", "openid unheard:of"); got != codeInvalidScope {
		t.Error(got)
	}
}
