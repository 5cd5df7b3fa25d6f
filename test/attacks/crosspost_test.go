package attacks

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/test/rig"
)

// fromElsewhere posts a form of another site's page, as browsers do by the rules of
// SameSite=Lax (RFC 6265bis section 5.5): the POST is sent without the cookie; a cookie that comes
// with its answer is kept, since it is the whole page that moves; and the GET that
// follows has the cookie.
func fromElsewhere(t *testing.T, b *rig.Browser, address string, form url.Values) rig.Page {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Content-Type": urlencoded, "Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site",
		"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"} {
		req.Header.Set(name, value)
	}
	bare := http.Client{Transport: b.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := bare.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.Header.Get("Set-Cookie") != "" {
		t.Errorf("a POST of another site gets a cookie: %v", res.Header)
	}
	b.Jar.SetCookies(req.URL, res.Cookies())
	to, err := res.Location()
	if err != nil || res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%s %d: %v", address, res.StatusCode, err)
	}
	if len(to.String()) > 8<<10 {
		t.Errorf("the browser is sent to an address of %d bytes", len(to.String()))
	}
	return b.Open(to.String())
}

// query is that of an address.
func query(t *testing.T, address string) url.Values {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

func TestAPOSTOfAnotherSiteKeepsTheLoginHoweverLongItIs(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		b := r.Browser()
		r.Login(b, u, p)
		held := cookie(t, r, b)
		for name, state := range map[string]string{"short": "s", "7 KiB": strings.Repeat("s", 7<<10), "60 KiB": strings.Repeat("s", 60<<10)} {
			for _, more := range [][]string{nil, {"prompt", "none"}} {
				got := fromElsewhere(t, b, r.Issuer+"/authorize", query(t, r.AuthorizeURL(append(more, "state", state)...)))
				if got.Left == nil || got.Left.Query().Get("code") == "" || got.Left.Query().Get("state") != state {
					t.Errorf("%s %v: %.200v %.200s", name, more, got.Left, got.Answer)
				}
				if cookie(t, r, b) != held {
					t.Fatalf("%s %v: the browser has another session", name, more)
				}
			}
		}
		if got := silently(t, r, b); got != "code" {
			t.Errorf("the login is gone: %s", got)
		}
	})
}

func TestALongPOSTOfAnotherSiteLogsInABrowserThatIsNew(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	b := r.Browser()
	state := strings.Repeat("s", 20<<10)
	page := fromElsewhere(t, b, r.Issuer+"/authorize", query(t, r.AuthorizeURL("login_hint", u.ExternalRef, "state", state)))
	r.Approve(p, page.Match())
	if got := b.Open(page.URL.String()); got.Left == nil || got.Left.Query().Get("code") == "" || got.Left.Query().Get("state") != state {
		t.Errorf("%.200s", got.Answer)
	}
	t.Run("and an error goes back by the POST", func(t *testing.T) {
		form := query(t, r.AuthorizeURL("scope", "x", "state", state))
		if got := r.Post("/authorize", node.NewClient{}, form); got.Status != http.StatusSeeOther || !strings.Contains(got.Header.Get("Location"), "error=invalid_scope") {
			t.Errorf("%.300s", got)
		}
	})
}

func TestALongRequestIsKeptForMinutesAndForItsOwnEndpoint(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	b := r.Browser()
	r.Login(b, u, p)
	at := func(path string, form url.Values) string {
		t.Helper()
		res := r.Post(path, node.NewClient{}, form)
		to := res.Header.Get("Location")
		if res.Status != http.StatusSeeOther || !strings.HasPrefix(to, path+"?parked=") {
			t.Fatalf("%.300s", res)
		}
		return r.Issuer + to
	}
	long := strings.Repeat("s", 10<<10)
	asked := at("/authorize", query(t, r.AuthorizeURL("state", long)))
	for range 2 { // loaded again
		if got := b.Open(asked); got.Left == nil || got.Left.Query().Get("state") != long {
			t.Errorf("%.200s", got.Answer)
		}
	}
	out := at("/logout", url.Values{"state": {long}})
	for name, address := range map[string]string{"a name that is none": r.Issuer + "/authorize?parked=x", "a logout": strings.Replace(out, "/logout", "/authorize", 1),
		"an authorize request at /logout": strings.Replace(asked, "/authorize", "/logout", 1)} {
		if got := b.Open(address); got.Status != 404 || got.Left != nil || got.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %.200s", name, got.Answer)
		}
	}
	if got := b.Open(asked + "&client_id=x"); got.Status != 400 {
		t.Errorf("parked as a parameter that is not known: %.200s", got.Answer)
	}
	r.Clock.Advance(5 * time.Minute)
	if got := b.Open(asked); got.Status != 404 {
		t.Errorf("after five minutes: %.200s", got.Answer)
	}
}

func TestALongLogoutByPOSTOfAnotherSiteLogsOut(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	b := r.Browser()
	hint := r.Redeem(r.Login(b, u, p).Get("code")).Text("id_token")
	got := fromElsewhere(t, b, r.Issuer+"/logout", url.Values{"id_token_hint": {hint}, "ui_locales": {strings.Repeat("en ", 4<<10)}})
	if got.Status != 200 {
		t.Errorf("%.300s", got.Answer)
	}
	if got := silently(t, r, b); got != "login_required" {
		t.Errorf("told that it is logged out, the browser gets %s", got)
	}
}
