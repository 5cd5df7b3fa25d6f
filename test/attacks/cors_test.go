package attacks

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/db"
	"mobileid/test/rig"
)

const (
	spa   = "https://spa.example" // a public client's origin
	other = "https://evil.example"
)

// preflight asks as a browser does before a script's request.
func preflight(t *testing.T, r *rig.Rig, path, origin string) rig.Answer {
	t.Helper()
	return send(t, r, "OPTIONS", path, "", "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")
}

// readable is the origin whose scripts may read an answer.
func readable(a rig.Answer) string { return a.Header.Get("Access-Control-Allow-Origin") }

// varies reports whether a cache keeps answers to several origins apart.
func varies(a rig.Answer) bool { return strings.Contains(a.Header.Get("Vary"), "Origin") }

func TestScriptsOfPublicClientsReadTokensAndNobodyElsesDo(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	app := r.Client(node.ClientOptions{Name: "SPA", AuthMethod: "none", Grants: []string{"authorization_code", "refresh_token"}, Scopes: []string{"openid"},
		RedirectURIs: []string{spa + "/callback?x=1", "com.example.app:/cb", "http://127.0.0.1:3000/cb"}})
	for _, path := range []string{"/token", "/userinfo", "/revoke"} {
		for _, origin := range []string{spa, "http://127.0.0.1:3000"} {
			a := preflight(t, r, path, origin)
			if a.Status != http.StatusNoContent || readable(a) != origin || !varies(a) || a.Body != "" {
				t.Errorf("%s from %s: %s %v", path, origin, a, a.Header)
			}
			if m := a.Header.Get("Access-Control-Allow-Methods"); !strings.Contains(m, "POST") || strings.Contains(m, "GET") != (path == "/userinfo") || strings.Contains(m, "*") {
				t.Errorf("%s allows %q", path, m)
			}
			if h := a.Header.Get("Access-Control-Allow-Headers"); !strings.Contains(h, "Authorization") || strings.Contains(h, "*") {
				t.Errorf("%s allows headers %q", path, h)
			}
			// Errors are read too, or a script could not tell what is wrong.
			if a := send(t, r, "POST", path, "", "Origin", origin, "Content-Type", urlencoded); a.Status < 400 || readable(a) != origin || !varies(a) {
				t.Errorf("%s from %s, an error: %s %v", path, origin, a, a.Header)
			}
		}
		for _, origin := range []string{other, spa + ".evil.example", "http://spa.example", spa + ":8443", "https://rp.example", "https://SPA.example", "null", "http://127.0.0.1", "http://127.0.0.1:3001", "com.example.app:", "*", ""} {
			for name, a := range map[string]rig.Answer{
				"preflight": preflight(t, r, path, origin), "POST": send(t, r, "POST", path, "", "Origin", origin, "Content-Type", urlencoded),
			} {
				if readable(a) != "" || !varies(a) || a.Status < 400 || a.Header.Get("Access-Control-Allow-Methods") != "" {
					t.Errorf("%s of %s from %q: %s %v", name, path, origin, a, a.Header)
				}
			}
		}
	}
	for path, a := range map[string]rig.Answer{"/token": preflight(t, r, "/token", spa), "/jwks": preflight(t, r, "/jwks", spa)} {
		if a.Header.Get("Access-Control-Allow-Credentials") != "" || a.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: credentials", path)
		}
	}
	t.Run("an OPTIONS that is no preflight is a wrong method", func(t *testing.T) {
		if a := send(t, r, "OPTIONS", "/token", ""); a.Status != http.StatusMethodNotAllowed {
			t.Errorf("%s", a)
		}
	})
	t.Run("everybody reads what is public", func(t *testing.T) {
		for _, path := range []string{"/jwks", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
			for _, origin := range []string{other, "null"} {
				if a := send(t, r, "GET", path, "", "Origin", origin); a.Status != 200 || readable(a) != "*" {
					t.Errorf("%s: %s", path, a)
				}
				if a := preflight(t, r, path, origin); a.Status != http.StatusNoContent || readable(a) != "*" || a.Header.Get("Access-Control-Allow-Methods") != "GET" {
					t.Errorf("preflight of %s: %s %v", path, a, a.Header)
				}
			}
		}
	})
	t.Run("nobody reads pages, the backchannel, introspection and REST", func(t *testing.T) {
		for _, path := range []string{"/", "/authorize", "/bc-authorize", "/introspect", "/logout", "/logout/confirm", "/i/x", "/i/x/cancel", "/consent/x", "/r", "/mid/v1/keys", "/mid/v1/rpc", "/api/v1/users", "/api/v1/registrations", "/none"} {
			for _, a := range []rig.Answer{preflight(t, r, path, spa), send(t, r, "GET", path, "", "Origin", spa), send(t, r, "POST", path, "", "Origin", spa, "Content-Type", urlencoded)} {
				for name := range a.Header {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("%s: %s: %s", path, name, a.Header.Get(name))
					}
				}
				if a.Status == http.StatusNoContent {
					t.Errorf("%s answers a preflight", path)
				}
			}
		}
	})
	t.Run("a client that is disabled is no reader", func(t *testing.T) {
		r.SQL(func(tx *db.Tx) error { return tx.DisableClient(app.ClientID) })
		r.Clock.Advance(time.Minute)
		if a := preflight(t, r, "/token", spa); readable(a) != "" || a.Status != http.StatusForbidden {
			t.Errorf("%s", a)
		}
	})
	t.Run("a new one is, within two seconds", func(t *testing.T) {
		r.Client(node.ClientOptions{Name: "SPA", AuthMethod: "none", Grants: []string{"authorization_code"}, Scopes: []string{"openid"}, RedirectURIs: []string{"https://new.example/"}})
		r.Clock.Advance(2 * time.Second)
		if a := preflight(t, r, "/token", "https://new.example"); readable(a) != "https://new.example" {
			t.Errorf("%s", a)
		}
	})
}
