package provider

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/kv"
)

// deaf is a store that cannot be asked.
type deaf struct{ kv.KV }

var errDeaf = errors.New("no answer")

func (deaf) Get(context.Context, string) ([]byte, error)                 { return nil, errDeaf }
func (deaf) Create(context.Context, string, []byte, time.Duration) error { return errDeaf }

func TestAClientProvesItselfByTheMethodItIsRegisteredFor(t *testing.T) {
	h := newHouse(t)
	basic := func(id, secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
	}
	for _, tc := range []struct {
		name   string
		header []string
		body   []string
		status int
		code   string
	}{
		{"basic", []string{basic("cli_web", h.secret)}, nil, 200, ""},
		{"basic, the scheme in other case", []string{"bAsIC " + strings.TrimPrefix(basic("cli_web", h.secret), "Basic ")}, nil, 200, ""},
		{"basic with the same client_id in the body", []string{basic("cli_web", h.secret)}, []string{"client_id", "cli_web"}, 200, ""},
		{"4.22 basic, form-encoded", []string{basic("cli%5Fweb", url.QueryEscape(h.secret))}, nil, 200, ""},
		{"4.22 basic, each character encoded", []string{basic("cli_web", percent(h.secret))}, nil, 200, ""},
		{"post", nil, []string{"client_id", "cli_post", "client_secret", h.secret}, 200, ""},
		{"wrong secret", []string{basic("cli_web", h.secret+"x")}, nil, 401, codeInvalidClient},
		{"no secret", []string{basic("cli_web", "")}, nil, 401, codeInvalidClient},
		{"unknown client", []string{basic("cli_none", h.secret)}, nil, 401, codeInvalidClient},
		{"post by a client of basic", nil, []string{"client_id", "cli_web", "client_secret", h.secret}, 401, codeInvalidClient},
		{"basic by a client of post", []string{basic("cli_post", h.secret)}, nil, 401, codeInvalidClient},
		{"none by a client of basic", nil, []string{"client_id", "cli_web"}, 401, codeInvalidClient},
		{"a secret of a client that has none", nil, []string{"client_id", "cli_app", "client_secret", "x"}, 401, codeInvalidClient},
		{"nobody", nil, nil, 401, codeInvalidClient},
		{"bearer", []string{"Bearer x"}, nil, 401, codeInvalidClient},
		{"basic without colon", []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("cli_web"))}, nil, 401, codeInvalidClient},
		{"basic that is no base64", []string{"Basic ***"}, nil, 401, codeInvalidClient},
		{"basic with a broken escape", []string{basic("cli_web", "%zz")}, nil, 401, codeInvalidClient},
		{"client assertion", nil, []string{"client_id", "cli_web", "client_assertion", "a.b.c", "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, 401, codeInvalidClient},
		{"B4 two methods", []string{basic("cli_web", h.secret)}, []string{"client_id", "cli_web", "client_secret", h.secret}, 400, codeInvalidRequest},
		{"two headers", []string{basic("cli_web", h.secret), basic("cli_web", h.secret)}, nil, 400, codeInvalidRequest},
		{"4.2 another client_id in the body", []string{basic("cli_other", h.secret)}, []string{"client_id", "cli_web"}, 400, codeInvalidRequest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := post("/token", form(append(tc.body, "grant_type", grantClient)...).Encode())
			r.Header["Authorization"] = tc.header
			res := call(h.p.Token, r)
			if tc.status != 200 {
				res.refuses(t, tc.status, tc.code)
			} else if res.StatusCode != 200 {
				t.Errorf("%d %s", res.StatusCode, res.text)
			}
			if strings.Contains(res.text, h.secret) {
				t.Error("the answer repeats the secret")
			}
		})
	}
}

func TestSecretsRotateWithAnOverlapAndExpire(t *testing.T) {
	h := newHouse(t)
	fresh, rec := NewClientSecret(h.clk)
	try := func(secret string) int {
		r := post("/token", form("grant_type", grantClient).Encode())
		r.SetBasicAuth("cli_web", secret)
		return call(h.p.Token, r).StatusCode
	}
	if try(h.secret) != 200 || try(fresh) != 401 {
		t.Fatal("before")
	}
	if err := h.db.Update(t.Context(), func(tx *db.Tx) error {
		c, err := tx.Client("cli_web")
		if err != nil {
			return err
		}
		c.Secrets[0].ExpiresAt = h.clk.Now().Add(time.Hour)
		return tx.SetClientSecrets("cli_web", append(c.Secrets, rec))
	}); err != nil {
		t.Fatal(err)
	}
	h.clk.Advance(ClientFresh)
	if try(h.secret) != 200 || try(fresh) != 200 {
		t.Error("both must work for the overlap")
	}
	h.clk.Advance(time.Hour)
	if try(h.secret) != 401 || try(fresh) != 200 {
		t.Error("the old one must end")
	}
	t.Run("a disabled client is told nothing more", func(t *testing.T) {
		if err := h.db.Update(t.Context(), func(tx *db.Tx) error { return tx.DisableClient("cli_web") }); err != nil {
			t.Fatal(err)
		}
		if try(fresh) != 200 {
			t.Error("the node's view should be at most 2 s old, and is renewed too often")
		}
		h.clk.Advance(ClientFresh)
		if try(fresh) != 401 {
			t.Error("disabled, and still served after 2 s")
		}
	})
}

func TestRequestsOfTheWrongShapeAreRefused(t *testing.T) {
	h := newHouse(t)
	good := form("grant_type", grantClient).Encode()
	with := func(change func(*http.Request)) *http.Request {
		r := h.as("cli_web", "/token", form("grant_type", grantClient))
		change(r)
		return r
	}
	kind := func(s string) *http.Request { return with(func(r *http.Request) { r.Header.Set("Content-Type", s) }) }
	for _, tc := range []struct {
		name   string
		r      *http.Request
		status int
		code   string
	}{
		{"4.12 GET", httptest.NewRequest(http.MethodGet, issuer+"/token?"+good, nil), 405, codeInvalidRequest},
		{"PUT", with(func(r *http.Request) { r.Method = http.MethodPut }), 405, codeInvalidRequest},
		{"JSON", kind("application/json"), 400, codeInvalidRequest},
		{"multipart", kind("multipart/form-data; boundary=x"), 400, codeInvalidRequest},
		{"no type", kind(""), 400, codeInvalidRequest},
		{"gzip", with(func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }), 415, codeInvalidRequest},
		{"64 KiB and one", post("/token", "a="+strings.Repeat("x", maxBody-1)), 413, codeInvalidRequest},
		{"64 KiB and one in chunks", chunked(post("/token", "a="+strings.Repeat("x", maxBody-1))), 413, codeInvalidRequest},
		{"a broken escape", post("/token", "grant_type=%zz"), 400, codeInvalidRequest},
		{"a semicolon", post("/token", "grant_type=a;b=c"), 400, codeInvalidRequest},
		{"empty", h.as("cli_web", "/token", nil), 400, codeInvalidRequest},
		{"grant_type without a value", h.as("cli_web", "/token", form("grant_type", "")), 400, codeInvalidRequest},
		{"4.10 unknown grant", h.as("cli_web", "/token", form("grant_type", "password", "username", "a", "password", "b")), 400, codeUnsupportedGrant},
		{"4.10 two grants", h.as("cli_web", "/token", form("grant_type", "client_credentials authorization_code")), 400, codeUnsupportedGrant},
		{"4.21 a grant in other case", h.as("cli_web", "/token", form("grant_type", "Client_Credentials")), 400, codeUnsupportedGrant},
		{"4.10 unknown grant of nobody", post("/token", "grant_type=password"), 401, codeInvalidClient},
		{"no code", h.as("cli_web", "/token", form("grant_type", grantCode)), 400, codeInvalidRequest},
		{"no refresh_token", h.as("cli_web", "/token", form("grant_type", grantToken)), 400, codeInvalidRequest},
		{"no auth_req_id", h.as("cli_web", "/token", form("grant_type", grantCIBA)), 400, codeInvalidRequest},
		{"B17 not registered for the grant", post("/token", form("client_id", "cli_post", "client_secret", h.secret, "grant_type", grantCode, "code", "x").Encode()), 400, codeUnauthorizedClient},
		{"B17 C10 client_credentials without a secret", post("/token", form("client_id", "cli_app", "grant_type", grantClient).Encode()), 400, codeUnauthorizedClient},
		{"B17 C10 CIBA without a secret", post("/token", form("client_id", "cli_app", "grant_type", grantCIBA, "auth_req_id", "x").Encode()), 400, codeUnauthorizedClient},
	} {
		t.Run(tc.name, func(t *testing.T) {
			res := call(h.p.Token, tc.r)
			res.refuses(t, tc.status, tc.code)
			if tc.status == 405 && res.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
	t.Run("what is not known is ignored", func(t *testing.T) {
		r := kind("Application/x-www-form-urlencoded; charset=UTF-8")
		if res := call(h.p.Token, r); res.StatusCode != 200 {
			t.Errorf("%s", res.text)
		}
		if res := h.token("grant_type", grantClient, "audience", "https://x", "resource", "https://x", "foo", "bar"); res.StatusCode != 200 {
			t.Errorf("%s", res.text)
		}
	})
}

// percent encodes every character, as RFC 6749 section 2.3.1 allows.
func percent(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

// chunked sends the body without saying how long it is.
func chunked(r *http.Request) *http.Request {
	r.ContentLength = -1
	return r
}

func TestAPublicClientLogsInWithPKCEAlone(t *testing.T) {
	h := newHouse(t)
	to, err := h.authorize(get(request("client_id", "cli_app", "redirect_uri", "http://127.0.0.1:5000/cb"))).Location()
	if err != nil {
		t.Fatal(err)
	}
	res := call(h.p.Token, post("/token", form("client_id", "cli_app", "grant_type", grantCode, "code", to.Query().Get("code"), "redirect_uri", "http://127.0.0.1:5000/cb", "code_verifier", verifier).Encode()))
	if res.StatusCode != 200 || !h.alive(res.str("access_token")) {
		t.Fatalf("%d %s", res.StatusCode, res.text)
	}
	res = call(h.p.Token, post("/token", form("client_id", "cli_app", "grant_type", grantToken, "refresh_token", res.str("refresh_token")).Encode()))
	if res.StatusCode != 200 {
		t.Errorf("refresh: %s", res.text)
	}
}

func TestB16_NoTokenAnswerMayBeStored(t *testing.T) {
	h := newHouse(t)
	for name, res := range map[string]reply{"code": h.tokens(), "refresh": h.use(h.tokens().str("refresh_token")), "client_credentials": h.token("grant_type", grantClient),
		"bc-authorize": call(h.p.BackchannelAuthorize, h.as("cli_web", "/bc-authorize", form("scope", "openid", "login_hint", "anna")))} {
		if res.StatusCode != 200 || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Pragma") != "no-cache" || res.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v", name, res.StatusCode, res.Header)
		}
	}
}
