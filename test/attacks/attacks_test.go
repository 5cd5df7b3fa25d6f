// Package attacks attacks the whole server by the front door. Each test carries
// the id of the attack that it refuses. Tests run side by side, each with a server of
// its own, but for those that watch how much time or memory of the process is used.
package attacks

import (
	"flag"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"mobileid/test/rig"
)

// Some of these tests wait for half a minute, and would keep one of as many places as
// there are processors all that while. -parallel says otherwise.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// send is a request with headers in pairs.
func send(t *testing.T, r *rig.Rig, method, path, body string, header ...string) rig.Answer {
	t.Helper()
	req, err := http.NewRequest(method, r.Issuer+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	a, err := r.Send(req)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const urlencoded = "application/x-www-form-urlencoded"

// everyAnswer is one answer of every route, good and bad, and of none.
func everyAnswer(t *testing.T, r *rig.Rig) map[string]rig.Answer {
	t.Helper()
	u, _ := r.Person()
	b := r.Browser()
	page := b.Open(r.AuthorizeURL("login_hint", u.ExternalRef))
	path := page.URL.Path
	out := map[string]rig.Answer{"the login page": page.Answer}
	add := func(method, path string, header ...string) {
		out[method+" "+path] = send(t, r, method, path, "", header...)
	}
	for _, p := range []string{"/", "/r", "/authorize", "/jwks", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server",
		"/userinfo", "/token", "/bc-authorize", path, path + "/events", "/mid/v1/keys", "/mid/v1/keys?c=" + rig.Challenge22, "/mid/v1/rpc",
		"/api/v1/users", "/api/v1/registrations/op_x", "/api/v1/none", "/robots.txt", "/static/none.css", "/none", "/..%2f", "/i/"} {
		add("GET", p)
	}
	for _, p := range []string{"/authorize", "/token", "/bc-authorize", "/userinfo", path + "/identify", path + "/retry", path + "/cancel",
		"/mid/v1/rpc", "/api/v1/users", "/api/v1/registrations", "/api/v1/registrations/op_x/cancel", "/api/v1/registrations/op_x/confirm", "/none"} {
		add("POST", p, "Content-Type", urlencoded)
	}
	add("POST", path+"/cancel", "Sec-Fetch-Site", "cross-site")
	add("PUT", "/token")
	add("DELETE", "/r")
	add("OPTIONS", "/authorize")
	out["an authorize request"] = send(t, r, "GET", strings.TrimPrefix(r.AuthorizeURL(), r.Issuer), "")
	out["an authorize error by redirect"] = send(t, r, "GET", strings.TrimPrefix(r.AuthorizeURL("prompt", "none"), r.Issuer), "")
	out["a form post"] = send(t, r, "GET", strings.TrimPrefix(r.AuthorizeURL("prompt", "none", "response_mode", "form_post"), r.Issuer), "")
	return out
}

// forMachines reports whether a request, such as "GET /jwks", is answered with what no
// browser shows: such an answer has no headers that say how to show it.
func forMachines(request string) bool {
	_, path, _ := strings.Cut(request, " ")
	switch path {
	case "/token", "/bc-authorize", "/introspect", "/revoke", "/userinfo", "/jwks", "/evidence/jwks", "/robots.txt":
		return true
	}
	return slices.ContainsFunc([]string{"/.well-known/", "/mid/", "/api/"}, func(of string) bool { return strings.HasPrefix(path, of) })
}

func TestA20_NoAnswerMayBeFramed(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	for name, a := range everyAnswer(t, r) {
		if csp := a.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%s (%d): Content-Security-Policy %q", name, a.Status, csp)
		}
		if got := a.Header.Get("X-Frame-Options"); got != "DENY" && !forMachines(name) {
			t.Errorf("%s (%d): X-Frame-Options %q", name, a.Status, got)
		}
		if a.Status >= 500 {
			t.Errorf("%s: %s", name, a)
		}
	}
}

func TestWhatOnlyMachinesReadIsNeverAPage(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	for _, path := range []string{"/evidence/jwks", "/api/v1/openapi.yaml", "/robots.txt"} {
		a := send(t, r, "GET", path, "", "Content-Encoding", "gzip")
		if a.Status != http.StatusUnsupportedMediaType || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s as %s", path, a, a.Header.Get("Content-Type"))
		}
	}
}

func TestA19_NoAnswerLoadsFromElsewhereOrTellsWhereItWas(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	for name, a := range everyAnswer(t, r) {
		if got := a.Header.Get("Referrer-Policy"); got != "no-referrer" && !forMachines(name) {
			t.Errorf("%s (%d): Referrer-Policy %q", name, a.Status, got)
		}
		if a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s (%d): may be sniffed", name, a.Status)
		}
		csp := a.Header.Get("Content-Security-Policy")
		if forMachines(name) {
			if csp != "default-src 'none'; frame-ancestors 'none'" {
				t.Errorf("%s (%d): Content-Security-Policy %q", name, a.Status, csp)
			}
			continue
		}
		if !strings.HasPrefix(csp, "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self';") {
			t.Errorf("%s (%d): Content-Security-Policy %q", name, a.Status, csp)
		}
		for _, src := range strings.Split(csp, "; ") {
			if strings.Contains(src, "unsafe") || strings.Contains(src, "*") {
				t.Errorf("%s (%d): %s", name, a.Status, src)
			}
		}
	}
}

// What travels to the client by the browser's address must not be kept.
func TestA19_AnswersWithSecretsAreNotStored(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	for name, a := range everyAnswer(t, r) {
		if strings.Contains(name, "/static/") || strings.Contains(name, ".well-known") || strings.Contains(name, "/jwks") || strings.Contains(name, "robots") {
			continue
		}
		if cc := a.Header.Get("Cache-Control"); a.Status != 404 && a.Status != 405 && !strings.Contains(cc, "no-store") {
			t.Errorf("%s (%d): Cache-Control %q", name, a.Status, cc)
		}
	}
}

func TestA18_AFormIsAnsweredWith303(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	b := r.Browser()
	b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	is303 := func(name string, got rig.Page) rig.Page {
		t.Helper()
		if got.Status != http.StatusSeeOther || got.Left == nil {
			t.Fatalf("%s: %s", name, got.Answer)
		}
		return got
	}
	q, err := url.Parse(r.AuthorizeURL())
	if err != nil {
		t.Fatal(err)
	}
	is303("POST /authorize", b.Submit(r.Issuer+"/authorize", q.Query()))
	to := is303("GET /authorize", b.Open(r.AuthorizeURL())).Left.String()
	csrf := b.Open(to).CSRF()
	is303("identify", b.Submit(to+"/identify", url.Values{"csrf": {csrf}, "identifier": {u.ExternalRef}}))
	is303("retry", b.Submit(to+"/retry", url.Values{"csrf": {csrf}}))
	r.Approve(p, b.Open(to).Match())
	if done := is303("the answer to the client", b.Open(to)); done.Left.Query().Get("code") == "" {
		t.Fatalf("no code: %s", done.Left)
	}
	to = is303("prompt=login", b.Open(r.AuthorizeURL("prompt", "login"))).Left.String()
	if done := is303("cancel", b.Submit(to+"/cancel", url.Values{"csrf": {b.Open(to).CSRF()}})); done.Left.Query().Get("error") != "access_denied" {
		t.Fatalf("cancelled: %s", done.Left)
	}
}

func TestA21_FormsOfOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	b := r.Browser()
	page := b.Open(r.AuthorizeURL("login_hint", u.ExternalRef))
	post := func(csrf string, header ...string) int {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, page.URL.String()+"/cancel", strings.NewReader(url.Values{"csrf": {csrf}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", urlencoded)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := b.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	for name, code := range map[string]int{
		"cross-site":                    post(page.CSRF(), "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"),
		"same-site":                     post(page.CSRF(), "Sec-Fetch-Site", "same-site", "Origin", "https://evil.example"),
		"an old browser with an Origin": post(page.CSRF(), "Origin", "https://evil.example"),
		"Origin null":                   post(page.CSRF(), "Origin", "null"),
		"our origin, another token":     post("x", "Sec-Fetch-Site", "same-origin", "Origin", r.Issuer),
		"our origin, no token":          post("", "Sec-Fetch-Site", "same-origin", "Origin", r.Issuer),
	} {
		if code != http.StatusForbidden {
			t.Errorf("%s: %d", name, code)
		}
	}
	r.Approve(p, page.Match()) // nothing was cancelled
}

// Login CSRF: a page of the attacker's has the victim's browser log in as somebody
// whom the attacker names.
func TestA21_AnotherSiteCannotSayWhoLogsIn(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	b := r.Browser()
	page := b.Open(r.AuthorizeURL())
	form := url.Values{"csrf": {page.CSRF()}, "identifier": {u.ExternalRef}}
	for name, header := range map[string][]string{
		"cross-site":                    {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"},
		"same-site":                     {"Sec-Fetch-Site", "same-site", "Origin", "https://evil.example"},
		"an old browser with an Origin": {"Origin", "https://evil.example"},
		"Origin null":                   {"Origin", "null"},
		"our origin, another token":     {"Sec-Fetch-Site", "same-origin", "Origin", r.Issuer, "csrf", "x"},
	} {
		sent := url.Values{"csrf": form["csrf"], "identifier": form["identifier"]}
		req, err := http.NewRequest(http.MethodPost, page.URL.String()+"/identify", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", urlencoded)
		for i := 0; i < len(header); i += 2 {
			if header[i] == "csrf" {
				sent.Set("csrf", header[i+1])
			} else {
				req.Header.Set(header[i], header[i+1])
			}
		}
		req.Body = io.NopCloser(strings.NewReader(sent.Encode()))
		res, err := b.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if ops, err := p.List(t.Context()); res.StatusCode != http.StatusForbidden || err != nil || len(ops) != 0 {
			t.Errorf("%s: %d, and the phone is asked %d times (%v)", name, res.StatusCode, len(ops), err)
		}
	}
	if own := b.Submit(page.URL.String()+"/identify", form); own.Match() == "" { // the form itself works
		t.Errorf("from our own page: %s", own.Answer)
	}
}
