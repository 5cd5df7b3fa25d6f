package attacks

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/db"
	"mobileid/sdk"
	"mobileid/test/rig"
)

// third is a client that is not the merchant's own.
func third(r *rig.Rig) node.NewClient {
	return r.Client(node.ClientOptions{Name: "Other Company", Grants: []string{"authorization_code", "refresh_token"}, ThirdParty: true,
		RedirectURIs: []string{rig.Callback}, Scopes: []string{"openid", "profile", "email"}})
}

// approved logs the user in and returns the page that comes then.
func approved(r *rig.Rig, b *rig.Browser, u db.User, p *sdk.Phone, more ...string) rig.Page {
	page := b.Open(r.AuthorizeURL(append([]string{"login_hint", u.ExternalRef}, more...)...))
	r.Approve(p, page.Match())
	return b.Open(page.URL.String())
}

// asksConsent fails unless the page is the one that asks for consent.
func asksConsent(t *testing.T, page rig.Page) {
	t.Helper()
	if page.Left != nil || !strings.HasPrefix(page.URL.Path, "/consent/") || page.Status != http.StatusOK {
		t.Fatalf("no consent page but %s %v %s", page.URL, page.Left, page.Answer)
	}
}

func decide(b *rig.Browser, page rig.Page, decision string) rig.Page {
	return b.Submit(page.URL.String(), url.Values{"csrf": {page.CSRF()}, "decision": {decision}})
}

// as redeems a code for a client.
func as(r *rig.Rig, c node.NewClient, code string) rig.Answer {
	return r.Post("/token", c, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {rig.Callback}, "code_verifier": {rig.Verifier}})
}

func TestA23_ConsentIsForWhatWasAllowedAndNoMore(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	c, b := third(r), r.Browser()
	at := func(scope string, more ...string) []string {
		return append([]string{"client_id", c.ClientID, "scope", scope}, more...)
	}
	page := approved(r, b, u, p, at("openid profile")...)
	asksConsent(t, page)
	if !strings.Contains(page.Body, "See your name and profile") || strings.Contains(page.Body, "e-mail") {
		t.Errorf("the page says something else than is asked: %s", page.Body)
	}
	if got := silently(t, r, b, at("openid profile")...); got != "consent_required" {
		t.Errorf("prompt=none before: %s", got)
	}
	page = decide(b, page, "allow")
	if page.Left == nil || page.Left.Query().Get("code") == "" {
		t.Fatalf("allowed, and no code: %s", page.Answer)
	}
	tokens := as(r, c, page.Left.Query().Get("code"))
	if tokens.Status != http.StatusOK {
		t.Fatal(tokens)
	}
	// Remembered, for the same or less.
	for _, scope := range []string{"openid profile", "openid"} {
		if got := silently(t, r, b, at(scope)...); got != "code" {
			t.Errorf("%s, silently: %s", scope, got)
		}
	}
	// More is asked for again, by scope or by name.
	if got := silently(t, r, b, at("openid email")...); got != "consent_required" {
		t.Errorf("more scope, silently: %s", got)
	}
	if got := silently(t, r, b, at("openid", "claims", `{"userinfo":{"email":null}}`)...); got != "consent_required" {
		t.Errorf("a claim of another scope, silently: %s", got)
	}
	page = b.Open(r.AuthorizeURL(at("openid email")...))
	asksConsent(t, page)
	page = decide(b, page, "deny")
	if page.Left == nil || page.Left.Query().Get("error") != "access_denied" {
		t.Fatalf("denied: %v %s", page.Left, page.Answer)
	}
	if got := silently(t, r, b, at("openid email")...); got != "consent_required" {
		t.Errorf("after the no, silently: %s", got)
	}
	asksConsent(t, b.Open(r.AuthorizeURL(at("openid", "prompt", "consent")...)))
	// Another person, another client: nothing is shared.
	if got := silently(t, r, b, "client_id", third(r).ClientID, "scope", "openid"); got != "consent_required" {
		t.Errorf("another client, silently: %s", got)
	}

	t.Run("a code whose consent was withdrawn gives nothing, nor do tokens", func(t *testing.T) {
		page := b.Open(r.AuthorizeURL(at("openid")...))
		if err := r.Node.RevokeConsent(t.Context(), u.ID, c.ClientID); err != nil {
			t.Fatal(err)
		}
		if a := as(r, c, page.Left.Query().Get("code")); a.Status != 400 || a.Text("error") != "invalid_grant" {
			t.Errorf("the code: %s", a)
		}
		if a := r.Get("/userinfo", "Authorization", "Bearer "+tokens.Text("access_token")); a.Status != 401 {
			t.Errorf("the access token: %s", a)
		}
		if a := r.Post("/token", c, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.Text("refresh_token")}}); a.Text("error") != "invalid_grant" {
			t.Errorf("the refresh token: %s", a)
		}
		if got := silently(t, r, b, at("openid")...); got != "consent_required" {
			t.Errorf("silently: %s", got)
		}
	})
	t.Run("a client of the merchant's own asks only with prompt=consent", func(t *testing.T) {
		if got := silently(t, r, b); got != "code" {
			t.Errorf("silently: %s", got)
		}
		page := b.Open(r.AuthorizeURL("prompt", "consent"))
		asksConsent(t, page)
		if page = decide(b, page, "allow"); page.Left == nil || page.Left.Query().Get("code") == "" {
			t.Errorf("allowed: %s", page.Answer)
		}
	})
}

func TestA24_AHintAndMaxAgeAreHonoured(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	other, phone := r.Person()
	b, hers := r.Browser(), r.Browser()
	mine := r.Redeem(r.Login(b, u, p).Get("code")).Text("id_token")
	theirs := r.Redeem(r.Login(hers, other, phone).Get("code")).Text("id_token")
	if got := silently(t, r, b, "id_token_hint", mine); got != "code" {
		t.Errorf("the own hint: %s", got)
	}
	if got := silently(t, r, b, "id_token_hint", theirs); got != "login_required" {
		t.Errorf("another user's hint: %s", got)
	}
	if got := silently(t, r, b, "claims", `{"id_token":{"sub":{"value":"`+other.ID+`"}}}`); got != "login_required" {
		t.Errorf("another user by claims: %s", got)
	}
	before := idToken(t, r, b.Open(r.AuthorizeURL()).Left.Query().Get("code"))["auth_time"].(float64)
	r.Clock.Advance(2 * time.Second)
	if got := silently(t, r, b, "max_age", "1"); got != "login_required" {
		t.Errorf("max_age=1 after 2 s: %s", got)
	}
	after := idToken(t, r, r.Login(b, u, p, "max_age", "1").Get("code"))["auth_time"].(float64)
	if after < before+2 {
		t.Errorf("auth_time %v after %v", after, before)
	}
}

func TestA25_NoStepCanBeSkipped(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	c, b := third(r), r.Browser()
	page := approved(r, b, u, p, "client_id", c.ClientID, "scope", "openid")
	asksConsent(t, page)
	address, good := page.URL.String(), url.Values{"csrf": {page.CSRF()}, "decision": {"allow"}}

	stranger := r.Browser()
	if got := stranger.Open(address); got.Status != http.StatusNotFound || strings.Contains(got.Body, good.Get("csrf")) {
		t.Errorf("another browser opens it: %s", got.Answer)
	}
	if got := stranger.Submit(address, good); got.Status != http.StatusNotFound {
		t.Errorf("another browser allows it: %s", got.Answer)
	}
	if got := b.Submit(address, url.Values{"decision": {"allow"}}); got.Status != http.StatusForbidden {
		t.Errorf("without the form's token: %s", got.Answer)
	}
	if got := b.Submit(address, url.Values{"csrf": good["csrf"], "decision": {"perhaps"}}); got.Status != http.StatusBadRequest {
		t.Errorf("an answer that is none: %s", got.Answer)
	}
	// Another login in the same browser: the request starts over.
	other, phone := r.Person()
	r.Login(b, other, phone)
	if got := b.Submit(address, good); got.Left != nil && got.Left.Query().Get("code") != "" {
		t.Errorf("consent of a login that is over gave a code: %v", got.Left)
	}
	// Its own page is asked and answered once.
	page = b.Open(r.AuthorizeURL("client_id", c.ClientID, "scope", "openid"))
	asksConsent(t, page)
	if got := decide(b, page, "allow"); got.Left == nil || got.Left.Query().Get("code") == "" {
		t.Fatalf("allowed: %s", got.Answer)
	}
	if got := decide(b, page, "allow"); got.Status != http.StatusNotFound {
		t.Errorf("answered twice: %s", got.Answer)
	}
}

func TestA21_AnotherSiteCannotSendOurForms(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	b := r.Browser()
	page := approved(r, b, u, p, "prompt", "consent login")
	asksConsent(t, page)
	for _, path := range []string{page.URL.Path, "/logout/confirm"} {
		form := url.Values{"csrf": {page.CSRF()}, "decision": {"allow"}}
		req, err := http.NewRequest(http.MethodPost, r.Issuer+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", "https://evil.example")
		req.Header.Set("Sec-Fetch-Site", "cross-site")
		res, err := b.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}
