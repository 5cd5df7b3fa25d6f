package interop_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// spa serves a single-page application and the library that it is made with.
func spa(t *testing.T, config func() object) string {
	t.Helper()
	mux := http.NewServeMux()
	file := func(path, name string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) })
	}
	file("/oidc-client-ts.min.js", "node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js")
	file("/spa.js", "spa/spa.js")
	for _, path := range []string{"/{$}", "/callback", "/bye"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "spa/page.html") })
	}
	mux.HandleFunc("GET /config.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(config()); err != nil {
			t.Error(err)
		}
	})
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)
	return site.URL
}

// A script in a browser, which reads discovery, keys, tokens and userinfo across
// origins: oidc-client-ts in Chromium.
func TestOIDCClientTSLogsInFromABrowser(t *testing.T) {
	t.Parallel()
	s := start(t)
	phone := s.registered(s.User)
	var c credentials
	site := spa(t, func() object { return object{"authority": s.Issuer, "clientId": c.ID, "loginHint": s.UserRef} })
	c = s.client("--name", "Single Page", "--auth-method", "none", "--redirect-uri", site+"/callback", "--post-logout-redirect-uri", site+"/bye", "--scope", "openid,profile")
	b := open(t, true)
	says := func(what string) string { return `document.getElementById("told")?.dataset.what === ` + quoted(what) }
	told := func() (o object) {
		t.Helper()
		if err := json.Unmarshal([]byte(b.text("#told")), &o); err != nil {
			t.Fatal(err)
		}
		return o
	}
	b.visit(site)
	b.until(says("ready"))
	b.press("Log in silently", says("failed"))
	if no := told(); no["error"] != "login_required" {
		t.Errorf("prompt=none before a login: %v", no)
	}
	b.press("Log in", state("waiting"))
	phone.approve(b.text(".match strong"))
	b.until(says("in"))
	first := told()
	if text(first, "profile", "sub") != s.User || text(first, "profile", "name") != "Alice Example" || text(first, "profile", "iss") != s.Issuer || text(first, "refreshToken") == "" {
		t.Errorf("the script knows %v", first)
	}
	b.press("Refresh", says("refreshed"))
	if second := told(); text(second, "profile", "sub") != s.User || text(second, "accessToken") == text(first, "accessToken") || text(second, "refreshToken") == text(first, "refreshToken") {
		t.Errorf("the refresh gave %v", second)
	}
	b.press("Log in silently", says("in"))
	if again := told(); text(again, "profile", "txn") != text(first, "profile", "txn") {
		t.Errorf("not the same login: %v", again)
	}
	b.press("Revoke", says("revoked"))
	b.press("Log out", says("out"))
	if out := told(); out["in"] != false || !strings.HasPrefix(b.eval("location.href"), site+"/bye?state=") {
		t.Errorf("%v at %s", out, b.eval("location.href"))
	}
	b.press("Log in silently", says("failed"))
	if no := told(); no["error"] != "login_required" {
		t.Errorf("prompt=none after the logout: %v", no)
	}
}
