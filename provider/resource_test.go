package provider

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/keys"
)

func TestB10_AnAccessTokenIsGoodByteForByteAndForFiveMinutes(t *testing.T) {
	h := newHouse(t)
	token := h.tokens().str("access_token")
	bad := []string{"", token[:42], token + "A", token + "=", strings.ToUpper(token), " " + token}
	for i := range token {
		b := []byte(token)
		b[i] ^= 1
		bad = append(bad, string(b))
	}
	for _, v := range bad {
		if _, err := h.p.VerifyAccessToken(t.Context(), v); !fault.Is(err, fault.Unauthorized) {
			t.Errorf("%q: %v", v, err)
		}
	}
	if !h.alive(token) {
		t.Fatal("the true one")
	}
	h.clk.Advance(accessLife)
	if h.alive(token) {
		t.Error("it outlives its life")
	}
	t.Run("a store that cannot be asked is not a bad token", func(t *testing.T) {
		h.p.kv = deaf{h.kv}
		if _, err := h.p.VerifyAccessToken(t.Context(), token); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%v", err)
		}
	})
}

func TestUserinfoSpeaksRFC6750(t *testing.T) {
	h := newHouse(t)
	token := h.tokens().str("access_token")
	cc := h.token("grant_type", grantClient).str("access_token")
	plain := h.redeem(h.code("scope", "email")).str("access_token")
	get := func(header ...string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, issuer+"/userinfo", nil)
		r.Header["Authorization"] = header
		return r
	}
	twice := post("/userinfo", "access_token="+token)
	twice.Header.Set("Authorization", "Bearer "+token)
	for _, tc := range []struct {
		name   string
		r      *http.Request
		status int
		want   string // in WWW-Authenticate
	}{
		{"nothing", get(), 401, `Bearer realm="` + issuer + `"`},
		{"basic", get("Basic x"), 401, `Bearer realm="` + issuer + `"`},
		{"an unknown token", get("Bearer x"), 401, `error="invalid_token"`},
		{"a token of client_credentials", get("Bearer " + cc), 403, `error="insufficient_scope"`},
		{"a token without openid", get("Bearer " + plain), 403, `scope="openid"`},
		{"two headers", get("Bearer "+token, "Bearer "+token), 400, `error="invalid_request"`},
		{"header and body", twice, 400, `error="invalid_request"`},
		{"twice in the body", post("/userinfo", "access_token="+token+"&access_token="+token), 400, `error="invalid_request"`},
		{"in the URL", httptest.NewRequest(http.MethodGet, issuer+"/userinfo?access_token="+token, nil), 400, `error="invalid_request"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res := call(h.p.Userinfo, tc.r)
			got := res.Header.Get("WWW-Authenticate")
			if res.StatusCode != tc.status || !strings.Contains(got, tc.want) || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %q %s", res.StatusCode, got, res.text)
			}
			if tc.name == "nothing" && strings.Contains(got, "error=") {
				t.Errorf("an error where nothing was tried: %q", got)
			}
		})
	}
	t.Run("method", func(t *testing.T) {
		r := get("Bearer " + token)
		r.Method = http.MethodDelete
		if res := call(h.p.Userinfo, r); res.StatusCode != 405 || res.Header.Get("Allow") == "" {
			t.Errorf("%d %v", res.StatusCode, res.Header)
		}
	})
	t.Run("only sub without further scopes", func(t *testing.T) {
		r := get("bearer " + h.redeem(h.code("scope", "openid")).str("access_token"))
		if res := call(h.p.Userinfo, r); res.text != `{"sub":"`+h.user+`"}` {
			t.Errorf("%s", res.text)
		}
	})
}

func TestDiscoverySaysWhatIsSo(t *testing.T) {
	h := newHouse(t)
	get := func(etag string) reply {
		r := httptest.NewRequest(http.MethodGet, issuer+"/.well-known/openid-configuration", nil)
		r.Header.Set("If-None-Match", etag)
		return call(h.p.Discovery, r)
	}
	res := get("")
	var pretty strings.Builder
	enc := json.NewEncoder(&pretty)
	enc.SetIndent("", "  ")
	if err := enc.Encode(res.json); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "discovery.golden.json")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(pretty.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != pretty.String() {
		t.Errorf("discovery changed (UPDATE_GOLDEN=1 to accept): %v\n%s", err, pretty.String())
	}
	etag := res.Header.Get("Etag")
	if !strings.Contains(res.Header.Get("Cache-Control"), "max-age") || etag == "" {
		t.Errorf("%v", res.Header)
	}
	for tag, status := range map[string]int{etag: 304, `"x", W/` + etag: 304, "*": 304, `"x"`: 200} {
		if got := get(tag); got.StatusCode != status || (status == 304) != (got.text == "") {
			t.Errorf("If-None-Match %s: %d", tag, got.StatusCode)
		}
	}
	for _, g := range res.json["grant_types_supported"].([]any) {
		if h.p.grants[g.(string)] == nil {
			t.Errorf("grant %s is advertised and not on", g)
		}
	}
	r := httptest.NewRequest(http.MethodPost, issuer+"/jwks", nil)
	if res := call(h.p.JWKS, r); res.StatusCode != 405 {
		t.Errorf("POST /jwks: %d", res.StatusCode)
	}
}

func TestAKeyIsPublishedBeforeItSigns(t *testing.T) {
	h := newHouse(t)
	old := h.tokens().str("id_token")
	verifyIDToken(t, h, old)
	kid, err := h.ring.Rotate(t.Context(), keys.OIDC, keys.Lead, func(*db.Tx, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	res := call(h.p.JWKS, httptest.NewRequest(http.MethodGet, issuer+"/jwks", nil))
	if !strings.Contains(res.text, kid) || res.Header.Get("Cache-Control") != "public, max-age=300" {
		t.Errorf("%v %s", res.Header, res.text)
	}
	verifyIDToken(t, h, h.tokens().str("id_token"))
	h.clk.Advance(keys.Lead + time.Second)
	fresh := h.tokens().str("id_token")
	verifyIDToken(t, h, fresh)
	verifyIDToken(t, h, old)
	if strings.Split(fresh, ".")[0] == strings.Split(old, ".")[0] {
		t.Error("the new key does not sign")
	}
}

func TestADescriptionHoldsNoCharacterItMayNot(t *testing.T) {
	h := newHouse(t)
	res := h.token("grant_type", "a\"\\\x01ü\r\nX: y"+strings.Repeat("z", 1000))
	res.refuses(t, 400, codeUnsupportedGrant)
	if d := res.str("error_description"); strings.ContainsAny(d, "\"\\\r\n") || strings.ContainsFunc(d, func(r rune) bool { return r < 0x20 || r > 0x7e }) || len(d) > 310 {
		t.Errorf("%q", d)
	}
}
