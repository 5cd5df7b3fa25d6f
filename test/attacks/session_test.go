package attacks

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/test/rig"
)

// cookie is the value of the browser's session cookie.
func cookie(t *testing.T, r *rig.Rig, b *rig.Browser) string {
	t.Helper()
	at, err := url.Parse(r.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range b.Jar.Cookies(at) {
		if c.Name == "mid" {
			return c.Value
		}
	}
	return ""
}

func plant(t *testing.T, r *rig.Rig, b *rig.Browser, value string) {
	t.Helper()
	at, err := url.Parse(r.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	b.Jar.SetCookies(at, []*http.Cookie{{Name: "mid", Value: value, Path: "/"}})
}

// silently is what prompt=none gives: "code", or the error.
func silently(t *testing.T, r *rig.Rig, b *rig.Browser, more ...string) string {
	t.Helper()
	page := b.Open(r.AuthorizeURL(append([]string{"prompt", "none"}, more...)...))
	switch {
	case page.Left == nil:
		return page.Answer.String()
	case page.Left.Query().Get("code") != "":
		return "code"
	}
	return page.Left.Query().Get("error")
}

// asks reports whether an authorize request ends at the login page.
func asks(t *testing.T, r *rig.Rig, b *rig.Browser, more ...string) bool {
	t.Helper()
	return strings.HasPrefix(b.Open(r.AuthorizeURL(more...)).URL.Path, "/i/")
}

func idToken(t *testing.T, r *rig.Rig, code string) map[string]any {
	t.Helper()
	return payload(t, r.Redeem(code).Text("id_token"))
}

// payload is that of an ID token, whose signature is not looked at.
func payload(t *testing.T, token string) (claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatal("no id_token")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestA22_TheSessionIDChangesAtLoginAndAtStepUp(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	b := r.Browser()
	page := b.Open(r.AuthorizeURL("login_hint", u.ExternalRef))
	before := cookie(t, r, b)
	r.Approve(p, page.Match())
	b.Open(page.URL.String())
	after := cookie(t, r, b)
	if before == "" || after == "" || before == after {
		t.Fatalf("%q before the login, %q after it", before, after)
	}
	r.Login(b, u, p, "prompt", "login")
	stepped := cookie(t, r, b)
	if stepped == after {
		t.Fatal("the id survived a step-up")
	}
	if got := silently(t, r, b); got != "code" {
		t.Fatalf("the new session: %s", got)
	}
	for name, old := range map[string]string{"before the login": before, "before the step-up": after} {
		thief := r.Browser()
		plant(t, r, thief, old)
		if got := silently(t, r, thief); got != "login_required" {
			t.Errorf("the id of %s: %s", name, got)
		}
	}
}

func TestA22_APlantedIDIsNeverTakenUp(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	// An attacker's own session, and one that never was.
	attacker := r.Browser()
	attacker.Open(r.AuthorizeURL())
	for name, planted := range map[string]string{
		"one of the attacker's": cookie(t, r, attacker),
		"a made-up one":         base64.RawURLEncoding.EncodeToString(make([]byte, 32)),
		"no id at all":          "x",
		"a very long one":       strings.Repeat("A", 3000),
	} {
		victim := r.Browser()
		plant(t, r, victim, planted)
		if code := r.Login(victim, u, p).Get("code"); code == "" {
			t.Fatalf("%s: no login", name)
		}
		if cookie(t, r, victim) == planted {
			t.Errorf("%s became the victim's session", name)
		}
		thief := r.Browser()
		plant(t, r, thief, planted)
		if got := silently(t, r, thief); got != "login_required" {
			t.Errorf("%s: the attacker gets %s", name, got)
		}
	}
}

func TestA22_ALoginPageBelongsToItsBrowser(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	victim := r.Browser()
	page := victim.Open(r.AuthorizeURL("login_hint", u.ExternalRef))
	at := page.URL.String()
	for name, other := range map[string]*rig.Browser{"no cookie": r.Browser(), "a cookie of its own": r.Browser()} {
		if name != "no cookie" {
			other.Open(r.AuthorizeURL())
		}
		if got := other.Open(at); got.Status != 404 || got.Match() != "" || strings.Contains(got.Body, u.ExternalRef) {
			t.Errorf("%s: %s", name, got.Answer)
		}
		if got := other.Open(at + "/events"); got.Status != 404 {
			t.Errorf("%s, events: %s", name, got.Answer)
		}
		for _, form := range []string{"/cancel", "/retry", "/identify"} {
			if got := other.Submit(at+form, url.Values{"csrf": {page.CSRF()}, "identifier": {"x"}}); got.Status != 404 {
				t.Errorf("%s, %s: %s", name, form, got.Answer)
			}
		}
	}
	r.Approve(p, page.Match())
	if got := r.Browser().Open(at); got.Left != nil || got.Status != 404 {
		t.Fatalf("another browser finishes the login: %s", got.Answer)
	}
	if got := victim.Open(at); got.Left == nil || got.Left.Query().Get("code") == "" {
		t.Fatalf("its own browser: %s", got.Answer)
	}
	if got := victim.Open(at); got.Status != 404 {
		t.Fatalf("finished twice: %s", got.Answer)
	}
}

func TestSessionCookiesAreNotForScriptsOrOtherSites(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	a := send(t, r, "GET", strings.TrimPrefix(r.AuthorizeURL(), r.Issuer), "")
	c := a.Header.Get("Set-Cookie")
	for _, part := range []string{"mid=", "Path=/", "HttpOnly", "SameSite=Lax"} {
		if !strings.Contains(c, part) {
			t.Errorf("%q lacks %s", c, part)
		}
	}
	if strings.Contains(c, "Domain") || strings.Contains(c, "Expires") || strings.Contains(c, "Max-Age") {
		t.Errorf("%q", c)
	}
}

// W16: idle 30 minutes, absolute 12 hours.
func TestW16_ASessionEndsAfterThirtyIdleMinutes(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		b := r.Browser()
		r.Login(b, u, p)
		r.Clock.Advance(30*time.Minute - time.Second)
		if asks(t, r, b) {
			t.Fatal("asked again before half an hour was over")
		}
		r.Clock.Advance(30*time.Minute - time.Second)
		if asks(t, r, b) {
			t.Fatal("the use did not keep the session")
		}
		r.Clock.Advance(20 * time.Minute)
		if got := silently(t, r, b); got != "code" {
			t.Fatalf("twenty minutes later: %s", got)
		}
		r.Clock.Advance(10 * time.Minute)
		if got := silently(t, r, b); got != "login_required" {
			t.Fatalf("a client that asks silently kept the session: %s", got)
		}
		if !asks(t, r, b) {
			t.Fatal("the idle session was taken")
		}
	})
}

func TestW16_ASessionEndsAfterTwelveHoursHoweverBusy(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	b := r.Browser()
	r.Login(b, u, p)
	for range 47 {
		r.Clock.Advance(15 * time.Minute)
		if asks(t, r, b) {
			t.Fatal("asked again within twelve hours")
		}
	}
	r.Clock.Advance(15*time.Minute - time.Millisecond)
	if got := silently(t, r, b); got != "code" {
		t.Fatalf("just before twelve hours: %s", got)
	}
	r.Clock.Advance(time.Millisecond)
	if got := silently(t, r, b); got != "login_required" {
		t.Fatalf("after twelve hours: %s", got)
	}
}

func TestPromptAndMaxAge(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	other, _ := r.Person()
	b := r.Browser()
	if got := silently(t, r, b); got != "login_required" {
		t.Fatalf("prompt=none before any login: %s", got)
	}
	first := idToken(t, r, r.Login(b, u, p).Get("code"))
	r.Clock.Advance(20 * time.Second)

	page := b.Open(r.AuthorizeURL())
	if page.Left == nil {
		t.Fatalf("silent SSO: %s", page.Answer)
	}
	sso := idToken(t, r, page.Left.Query().Get("code"))
	for _, claim := range []string{"auth_time", "sid", "txn", "acr", "sub"} {
		if sso[claim] != first[claim] || sso[claim] == nil {
			t.Errorf("silent SSO: %s is %v, was %v", claim, sso[claim], first[claim])
		}
	}
	for name, c := range map[string]struct {
		more []string
		asks bool
	}{
		"max_age that is not over":    {[]string{"max_age", "60"}, false},
		"max_age that is just over":   {[]string{"max_age", "20"}, true},
		"max_age=0":                   {[]string{"max_age", "0"}, true},
		"prompt=login":                {[]string{"prompt", "login"}, true},
		"prompt=select_account":       {[]string{"prompt", "select_account"}, true},
		"another user is hinted":      {[]string{"login_hint", other.ExternalRef}, true},
		"the same user is hinted":     {[]string{"login_hint", "userId:" + u.ID}, false},
		"a stronger acr is asked for": {[]string{"acr_values", "urn:mobileid:acr:app-hw"}, true},
		"the same acr is asked for":   {[]string{"acr_values", "urn:mobileid:acr:web"}, false},
	} {
		if got := asks(t, r, b, c.more...); got != c.asks {
			t.Errorf("%s: asks %v", name, got)
		}
		want := "code"
		if c.asks {
			want = "login_required"
		}
		if c.more[0] != "prompt" {
			if got := silently(t, r, b, c.more...); got != want {
				t.Errorf("%s with prompt=none: %s", name, got)
			}
		}
	}
	r.Clock.Advance(time.Minute)
	for _, more := range [][]string{{"prompt", "login"}, {"max_age", "0"}} {
		again := idToken(t, r, r.Login(b, u, p, more...).Get("code"))
		if again["auth_time"].(float64) <= first["auth_time"].(float64) || again["txn"] == first["txn"] {
			t.Errorf("%v: not a new login: %v", more, again)
		}
		if again["sid"] != first["sid"] { // or a logout would forget the clients of before
			t.Errorf("%v: the same person in the same browser, and another session", more)
		}
		first = again
		r.Clock.Advance(time.Minute)
	}
}

func TestASilentLoginEndsWithTheUserThePhoneAndTheClient(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	for name, withdraw := range map[string]func(u db.User, b *rig.Browser){
		"the user is locked":      func(u db.User, _ *rig.Browser) { r.SetUser(u, db.UserLocked) },
		"the user was locked":     func(u db.User, _ *rig.Browser) { r.SetUser(u, db.UserLocked); r.SetUser(u, db.UserActive) },
		"the user is deactivated": func(u db.User, _ *rig.Browser) { r.SetUser(u, db.UserDeactivated) },
	} {
		u, p := r.Person()
		b := r.Browser()
		r.Login(b, u, p)
		r.Clock.Advance(time.Second)
		withdraw(u, b)
		if got := silently(t, r, b); got != "login_required" {
			t.Errorf("%s: %s", name, got)
		}
	}
	for name, state := range map[string]string{"the phone is suspended": db.DeviceSuspended, "the phone is removed": db.DeviceDeactivated, "the phone is locked": db.DeviceLocked} {
		u, p := r.Person()
		b := r.Browser()
		r.Login(b, u, p)
		r.Clock.Advance(time.Second)
		r.SetDevice(p, state)
		if got := silently(t, r, b); got != "login_required" {
			t.Errorf("%s: %s", name, got)
		}
	}
}
