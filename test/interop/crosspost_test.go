package interop_test

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"
)

// A site elsewhere asks by a POST that is longer than an address may be. What a
// browser makes of our cookie then is for a real one to show.
func TestALongPOSTFromAnotherSiteKeepsTheLogin(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *tab, _ bool) {
		s := start(t)
		p := s.registered(s.User)
		back, answers := callback(t)
		c := s.client("--redirect-uri", back, "--allow-localhost-http", "--scope", "openid")
		ask := url.Values{"client_id": {c.ID}, "redirect_uri": {back}, "response_type": {"code"}, "scope": {"openid"}, "login_hint": {s.UserRef},
			"code_challenge": {oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier())}, "code_challenge_method": {"S256"}, "state": {"s"}}
		// 127.0.0.1 and localhost are two sites, whatever their ports.
		elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprintf(w, `<!DOCTYPE html><title>elsewhere</title><link rel="icon" href="data:,"><form method="post" action="%s/authorize">`, s.Issuer)
			for name := range ask {
				fmt.Fprintf(w, `<input type="hidden" name="%s" value="%s">`, name, html.EscapeString(ask.Get(name)))
			}
			for name := range r.URL.Query() {
				fmt.Fprintf(w, `<input type="hidden" name="%s" value="%s">`, name, html.EscapeString(r.URL.Query().Get(name)))
			}
			fmt.Fprint(w, `<button>Go</button></form>`)
		}))
		t.Cleanup(elsewhere.Close)

		b.visit(s.Issuer + "/authorize?" + ask.Encode())
		b.until(state("waiting"))
		p.approve(b.text(".match strong"))
		b.until(`document.title === "home"`)
		next(t, answers)

		ask.Set("claims", `{"userinfo":{"name":null},"id_token":{"`+strings.Repeat("x", 10<<10)+`":null}}`)
		for _, more := range []string{"", "?prompt=none"} {
			b.visit(elsewhere.URL + "/" + more)
			b.press("Go", `document.title === "home"`)
			if q := next(t, answers).URL.Query(); q.Get("code") == "" || q.Get("state") != "s" {
				t.Errorf("a POST from elsewhere %s: the client was answered %v", more, q)
			}
		}
		// And the browser is still logged in for everybody else.
		ask.Set("prompt", "none")
		ask.Del("claims")
		b.visit(s.Issuer + "/authorize?" + ask.Encode())
		if q := next(t, answers).URL.Query(); q.Get("code") == "" {
			t.Errorf("afterwards the client was answered %v", q)
		}
	})
}
