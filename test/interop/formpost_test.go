package interop_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// callback is a client's site: it is answered at /callback and sends the
// browser on to another host of the same business, as many do.
func callback(t *testing.T) (address string, answers <-chan *http.Request) {
	t.Helper()
	got := make(chan *http.Request, 4)
	page := func(w http.ResponseWriter, title string) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!DOCTYPE html><title>%s</title><link rel="icon" href="data:,"><p>%[1]s</p>`, title)
	}
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { page(w, "home") }))
	t.Cleanup(home.Close)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		select {
		case got <- r:
		default: // pressed again and again: the test fails elsewhere
		}
		http.Redirect(w, r, home.URL+"/welcome", http.StatusSeeOther)
	}))
	t.Cleanup(site.Close)
	_, port, err := net.SplitHostPort(site.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "http://localhost:" + port + "/callback", got
}

// next is the client's next visitor.
func next(t *testing.T, answers <-chan *http.Request) *http.Request {
	t.Helper()
	select {
	case r := <-answers:
		return r
	case <-time.After(20 * time.Second):
		t.Fatal("the client was not answered within 20 s")
		return nil
	}
}

func TestFormPostBringsTheAnswerToTheClient(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *tab, scripts bool) {
		s := start(t)
		p := s.registered(s.User)
		back, answers := callback(t)
		c := s.client("--redirect-uri", back, "--allow-localhost-http", "--scope", "openid")
		provider, err := oidc.NewProvider(t.Context(), s.Issuer)
		if err != nil {
			t.Fatal(err)
		}
		rp := oauth2.Config{ClientID: c.ID, ClientSecret: c.Secret, Endpoint: provider.Endpoint(), RedirectURL: back, Scopes: []string{oidc.ScopeOpenID}}
		verifier := oauth2.GenerateVerifier()
		state5 := `5 <b>"'&+%` // comes back to the letter
		ask := func(more ...oauth2.AuthCodeOption) string {
			return rp.AuthCodeURL(state5, append(more, oauth2.S256ChallengeOption(verifier), oidc.Nonce("n"), oauth2.SetAuthURLParam("response_mode", "form_post"))...)
		}
		const atHome = `document.title === "home"`
		arrive := func() url.Values {
			t.Helper()
			if scripts {
				b.until(atHome)
			} else {
				b.press("Continue", atHome)
			}
			r := next(t, answers)
			if r.Method != http.MethodPost || r.URL.RawQuery != "" || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
				t.Fatalf("the client was answered by %s %s", r.Method, r.URL)
			}
			if got := r.PostForm.Get("state"); got != state5 {
				t.Errorf("state %q", got)
			}
			if got := r.PostForm.Get("iss"); got != s.Issuer {
				t.Errorf("iss %q", got)
			}
			return r.PostForm
		}

		b.visit(ask(oauth2.SetAuthURLParam("login_hint", s.UserRef)))
		b.until(state("waiting"))
		p.approve(b.text(".match strong"))
		form := arrive()
		tokens, err := rp.Exchange(t.Context(), form.Get("code"), oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatal(err)
		}
		if id := verified(t, t.Context(), provider, c.ID, tokens); id.Subject != s.User || id.Nonce != "n" {
			t.Errorf("the ID token is of %s with nonce %q", id.Subject, id.Nonce)
		}

		b.visit(ask()) // silent now
		if form := arrive(); form.Get("code") == "" {
			t.Errorf("the silent login: %v", form)
		}
		b.visit(ask(oauth2.SetAuthURLParam("prompt", "login")))
		b.press("Cancel", atFormPostOr(atHome))
		if form := arrive(); form.Get("error") != "access_denied" || form.Get("code") != "" {
			t.Errorf("cancelled: %v", form)
		}
	})
}

// The client sends the browser on to a host that the login page does not know;
// the page's policy must not stop a cancel on its way there.
func TestACancelReachesAClientThatSendsTheBrowserOn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b *tab, scripts bool) {
		s := start(t)
		back, answers := callback(t)
		c := s.client("--redirect-uri", back, "--allow-localhost-http", "--scope", "openid")
		b.visit(s.Issuer + "/authorize?" + url.Values{"client_id": {c.ID}, "redirect_uri": {back}, "response_type": {"code"}, "scope": {"openid"},
			"code_challenge": {oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier())}, "code_challenge_method": {"S256"}}.Encode())
		b.press("Cancel", `document.title === "home"`)
		if q := next(t, answers).URL.Query(); q.Get("error") != "access_denied" || q.Get("iss") != s.Issuer {
			t.Errorf("the client was answered %v", q)
		}
	})
}

func atFormPostOr(expression string) string {
	return expression + ` || !!document.getElementById("formpost")`
}
