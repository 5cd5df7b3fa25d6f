package attacks

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"mobileid/test/rig"
)

// lies are headers by which a client or a proxy says where it thinks it is.
var lies = []string{"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "ftp", "X-Forwarded-Port", "666", "X-Forwarded-Prefix", "/evil.example",
	"X-Forwarded-Server", "evil.example", "Forwarded", "for=203.0.113.9;host=evil.example;proto=ftp", "X-Original-Url", "/evil.example", "X-Rewrite-Url", "/evil.example",
	"X-Host", "evil.example", "X-Http-Method-Override", "DELETE", "Origin", "https://evil.example", "Referer", "https://evil.example/"}

func TestW12_NothingTheServerSaysOfItselfComesFromTheRequest(t *testing.T) {
	t.Parallel()
	for name, proxies := range map[string][]netip.Prefix{"a stranger": nil, "a trusted proxy": {netip.MustParsePrefix("127.0.0.0/8")}} {
		t.Run(name, func(t *testing.T) {
			r := rig.Start(t, rig.Options{Proxies: proxies})
			u, _ := r.Person()
			token := r.Post("/token", r.Backend, map[string][]string{"grant_type": {"client_credentials"}, "scope": {"mobileid.devices"}}).Text("access_token")
			try := func(method, path, body string, header ...string) rig.Answer {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), method, r.Issuer+path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				req.Host = "evil.example"
				for i := 0; i+1 < len(header); i += 2 {
					req.Header.Set(header[i], header[i+1])
				}
				a, err := r.Send(req)
				if err != nil {
					t.Fatal(err)
				}
				return a
			}
			for _, c := range []struct{ method, path, body, kind string }{
				{"GET", "/", "", ""}, {"GET", "/.well-known/openid-configuration", "", ""}, {"GET", "/.well-known/oauth-authorization-server", "", ""},
				{"GET", strings.TrimPrefix(r.AuthorizeURL("login_hint", u.ExternalRef), r.Issuer), "", ""}, {"GET", "/authorize?client_id=x", "", ""},
				{"GET", strings.TrimPrefix(r.AuthorizeURL("prompt", "none"), r.Issuer), "", ""}, {"GET", "/userinfo", "", ""}, {"GET", "/logout", "", ""}, {"GET", "/r", "", ""},
				{"POST", "/token", "grant_type=x", urlencoded}, {"GET", "/none", "", ""}, {"GET", "/i/x", "", ""},
				{"POST", "/api/v1/registrations", `{"userId":"` + u.ID + `","proofing":{"reference":"case-1"}}`, "application/json"},
			} {
				header := append([]string{"Content-Type", c.kind}, lies...)
				if strings.HasPrefix(c.path, "/api") {
					header = append(header, "Authorization", "Bearer "+token)
				}
				a := try(c.method, c.path, c.body, header...)
				if a.Status >= 500 || strings.HasPrefix(c.path, "/api") && a.Text("link") == "" {
					t.Errorf("%s %s: %s", c.method, c.path, a)
				}
				for k, v := range a.Header {
					if strings.Contains(strings.Join(v, " "), "evil.example") {
						t.Errorf("%s %s: %s is %s", c.method, c.path, k, v)
					}
				}
				if strings.Contains(a.Body, "evil.example") || strings.Contains(a.Body, "ftp:") {
					t.Errorf("%s %s: %s", c.method, c.path, a)
				}
			}
		})
	}
}

func TestW11_CookiesAreTheBrowsersAlone(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{true, false} {
		r := rig.Start(t, rig.Options{TLS: secure})
		u, p := r.Person()
		b := r.Browser()
		seen := 0
		under := b.Transport
		if under == nil {
			under = http.DefaultTransport
		}
		b.Transport = watched{under, func(res *http.Response) {
			for _, raw := range res.Header["Set-Cookie"] {
				seen++
				c, err := http.ParseSetCookie(raw)
				if err != nil {
					t.Fatal(err)
				}
				name := map[bool]string{true: "__Host-mid", false: "mid"}[secure]
				if c.Name != name || c.Secure != secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || len(raw) > 1024 {
					t.Errorf("%s sets %s", res.Request.URL.Path, raw)
				}
				if strings.Contains(raw, u.ID) || strings.Contains(raw, u.ExternalRef) {
					t.Errorf("the cookie tells who the user is: %s", raw)
				}
			}
		}}
		if got := r.Login(b, u, p); got.Get("code") == "" {
			t.Fatalf("no login: %v", got)
		}
		b.Open(r.Issuer + "/logout")
		if seen == 0 {
			t.Error("no cookie was set")
		}
	}
}

// watched shows every answer.
type watched struct {
	http.RoundTripper
	see func(*http.Response)
}

// RoundTrip implements http.RoundTripper.
func (w watched) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := w.RoundTripper.RoundTrip(req)
	if err == nil {
		w.see(res)
	}
	return res, err
}
