package attacks

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/view"
	"mobileid/test/rig"
)

// authTime is auth_time in the ID token of a client's code.
func authTime(t *testing.T, tokens rig.Answer) time.Time {
	t.Helper()
	at, _ := payload(t, tokens.Text("id_token"))["auth_time"].(float64)
	return time.Unix(int64(at), 0)
}

// A client refuses an ID token whose login is older than its max_age: whoever took that
// long over the consent logs in once more, and is not asked for consent again.
func TestMaxAgeHoldsWhenTheUserTakesTimeOverTheConsent(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	for name, c := range map[string]struct {
		maxAge string
		waits  time.Duration
		again  bool
	}{
		"within max_age":          {"60", 59 * time.Second, false},
		"at max_age":              {"60", 60 * time.Second, true},
		"nine minutes":            {"60", 9 * time.Minute, true},
		"no max_age":              {"", 9 * time.Minute, false},
		"max_age=0, promptly":     {"0", 29 * time.Second, false},
		"max_age=1, promptly":     {"1", 29 * time.Second, false},
		"max_age=0, not promptly": {"0", 30 * time.Second, true},
		"max_age=1, not promptly": {"1", time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			u, p := r.Person()
			client, b := third(r), r.Browser()
			at := []string{"client_id", client.ClientID, "scope", "openid", "max_age", c.maxAge}
			page := approved(r, b, u, p, at...)
			asksConsent(t, page)
			r.Clock.Advance(c.waits)
			page = decide(b, page, "allow")
			if again := page.Left == nil && strings.HasPrefix(page.URL.Path, "/i/"); again != c.again {
				t.Fatalf("asks the phone again: %v, %v %s", again, page.Left, page.Answer)
			}
			if c.again {
				r.Approve(p, page.Match())
				if page = b.Open(page.URL.String()); page.Left == nil {
					t.Fatalf("after another login: %s", page.Answer)
				}
			}
			age := r.Clock.Now().Sub(authTime(t, as(r, client, page.Left.Query().Get("code"))))
			if c.again && age > time.Second || !c.again && age.Truncate(time.Second) != c.waits {
				t.Errorf("the login is %s old", age)
			}
		})
	}
	t.Run("a no needs no other login", func(t *testing.T) {
		u, p := r.Person()
		b := r.Browser()
		page := approved(r, b, u, p, "client_id", third(r).ClientID, "scope", "openid", "max_age", "60")
		r.Clock.Advance(2 * time.Minute)
		if page = decide(b, page, "deny"); page.Left == nil || page.Left.Query().Get("error") != "access_denied" {
			t.Errorf("%v %s", page.Left, page.Answer)
		}
	})
}

func TestMaxAgeHoldsWhenTheBrowserSleptAfterTheApproval(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	b := r.Browser()
	page := b.Open(r.AuthorizeURL("login_hint", u.ExternalRef, "max_age", "60"))
	r.Approve(p, page.Match())
	r.Clock.Advance(5 * time.Minute)
	page = b.Open(page.URL.String())
	if page.Left != nil || page.Match() == "" {
		t.Fatalf("no other login: %v %s", page.Left, page.Answer)
	}
	r.Approve(p, page.Match())
	if page = b.Open(page.URL.String()); page.Left == nil {
		t.Fatalf("after it: %s", page.Answer)
	}
	if age := r.Clock.Now().Sub(authTime(t, r.Redeem(page.Left.Query().Get("code")))); age > time.Second {
		t.Errorf("the login is %s old", age)
	}
}

// Whoever takes long over the consent each time is asked for it once, and only the one
// who gave it may log in then.
func TestAConsentIsNotAskedForAgainWhenTheLoginIs(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	for name, prompt := range map[string]string{"consent": "consent", "consent and login": "login consent"} {
		for whose, client := range map[string]string{"our own": r.Web.ClientID, "a third party's": third(r).ClientID} {
			for hint, named := range map[string]bool{"hinted": true, "not hinted": false} {
				t.Run(name+", "+whose+", "+hint, func(t *testing.T) {
					u, p := r.Person()
					berta, bertas := r.Person()
					b := r.Browser()
					at := []string{"client_id", client, "scope", "openid", "max_age", "0", "prompt", prompt}
					if named {
						at = append(at, "login_hint", u.ExternalRef)
					}
					page := b.Open(r.AuthorizeURL(at...))
					if !named {
						page = b.Submit(page.URL.String()+"/identify", url.Values{"csrf": {page.CSRF()}, "identifier": {u.ExternalRef}})
					}
					r.Approve(p, page.Match())
					page = b.Open(page.URL.String())
					asksConsent(t, page)
					r.Clock.Advance(time.Minute)
					page = decide(b, page, "allow")
					if page.Left != nil || page.Match() == "" {
						t.Fatalf("no other login: %v %s", page.Left, page.Answer)
					}
					b.Submit(page.URL.String()+"/identify", url.Values{"csrf": {page.CSRF()}, "identifier": {berta.ExternalRef}})
					if ops, err := bertas.List(t.Context()); err != nil || len(ops) > 0 {
						t.Errorf("somebody else is asked, who has not consented: %v %v", ops, err)
					}
					r.Approve(p, page.Match())
					if page = b.Open(page.URL.String()); page.Left == nil || page.Left.Query().Get("code") == "" {
						t.Errorf("after it: %v %s", page.Left, page.Answer)
					}
				})
			}
		}
	}
}

func TestAnApprovedPaymentIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	bank := r.Client(node.ClientOptions{Name: "Bank", Grants: []string{"authorization_code"}, RedirectURIs: []string{rig.Callback}, Scopes: []string{"openid"},
		DetailsTypes: view.Types()})
	at := []string{"client_id", bank.ClientID, "scope", "openid", "authorization_details", aPayment}
	for name, c := range map[string]struct {
		more []string
		then func(b *rig.Browser, page rig.Page) rig.Page
		want string // an error, or code
	}{
		"the browser slept": {[]string{"max_age", "60"}, func(b *rig.Browser, page rig.Page) rig.Page {
			r.Clock.Advance(2 * time.Minute)
			return b.Open(page.URL.String())
		}, "login_required"},
		"the browser slept, and nobody minds": {nil, func(b *rig.Browser, page rig.Page) rig.Page {
			r.Clock.Advance(2 * time.Minute)
			return b.Open(page.URL.String())
		}, "code"},
		"the consent took long": {[]string{"max_age", "0", "prompt", "consent"}, func(b *rig.Browser, page rig.Page) rig.Page {
			page = b.Open(page.URL.String())
			asksConsent(t, page)
			r.Clock.Advance(time.Minute)
			return decide(b, page, "allow")
		}, "login_required"},
		"another logged in before the consent is shown": {[]string{"prompt", "consent"}, func(b *rig.Browser, page rig.Page) rig.Page {
			page = b.Open(page.URL.String())
			asksConsent(t, page)
			other, phone := r.Person()
			r.Login(b, other, phone)
			return b.Open(page.URL.String())
		}, "login_required"},
		"another logged in before the consent is given": {[]string{"prompt", "consent"}, func(b *rig.Browser, page rig.Page) rig.Page {
			page = b.Open(page.URL.String())
			asksConsent(t, page)
			other, phone := r.Person()
			r.Login(b, other, phone)
			return decide(b, page, "allow")
		}, "login_required"},
		"promptly": {[]string{"max_age", "0", "prompt", "consent"}, func(b *rig.Browser, page rig.Page) rig.Page {
			page = b.Open(page.URL.String())
			asksConsent(t, page)
			return decide(b, page, "allow")
		}, "code"},
	} {
		t.Run(name, func(t *testing.T) {
			u, p := r.Person()
			b := r.Browser()
			page := b.Open(r.AuthorizeURL(append(append([]string{"login_hint", u.ExternalRef}, at...), c.more...)...))
			r.Approve(p, page.Match())
			page = c.then(b, page)
			if ops, err := p.List(t.Context()); err != nil || len(ops) > 0 {
				t.Errorf("the phone is asked again: %v %v", ops, err)
			}
			if page.Left == nil || page.Left.Query().Get("state") != "st4te" {
				t.Fatalf("the client is not answered: %v %s", page.Left, page.Answer)
			}
			if q := page.Left.Query(); q.Get("error") != c.want && !(c.want == "code" && q.Get("code") != "") {
				t.Errorf("%v", q)
			}
		})
	}
}

func TestHintsOfDifferentUsersAreRefusedForClientsThatMayKnow(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		r.Web = r.Client(node.ClientOptions{Name: "Acme Desk", Grants: []string{"authorization_code"}, RedirectURIs: []string{rig.Callback}, Scopes: []string{"openid"},
			RevealUnknownUser: true})
		anna, annas := r.Person()
		berta, bertas := r.Person()
		b := r.Browser()
		hint := r.Redeem(r.Login(b, anna, annas, "scope", "openid").Get("code")).Text("id_token")
		other := r.Browser()
		for name, more := range map[string][]string{
			"id_token_hint":            {"login_hint", berta.ExternalRef, "id_token_hint", hint},
			"id_token_hint, by id":     {"login_hint", "userId:" + berta.ID, "id_token_hint", hint},
			"claims":                   {"login_hint", berta.ExternalRef, "claims", `{"id_token":{"sub":{"value":"` + anna.ID + `"}}}`},
			"nobody":                   {"login_hint", "nobody", "id_token_hint", hint},
			"no reference at all":      {"login_hint", "userId:", "id_token_hint", hint},
			"prompt=login":             {"login_hint", berta.ExternalRef, "id_token_hint", hint, "prompt", "login"},
			"prompt=none":              {"login_hint", berta.ExternalRef, "id_token_hint", hint, "prompt", "none"},
			"the same, a wrong device": {"login_hint", "userId:" + berta.ID + " deviceId:x", "id_token_hint", hint},
		} {
			for _, browser := range []*rig.Browser{b, other} {
				got := browser.Open(r.AuthorizeURL(append(more, "scope", "openid")...))
				if got.Left == nil || got.Left.Query().Get("error") != "invalid_request" || got.Left.Query().Get("state") != "st4te" {
					t.Errorf("%s: %v %s", name, got.Left, got.Answer)
				}
			}
		}
		if ops, err := bertas.List(t.Context()); err != nil || len(ops) > 0 {
			t.Errorf("a phone was asked: %v %v", ops, err)
		}
	})
}

func TestAUserWhomTheClientNamesIsNotChangedOnThePage(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	anna, annas := r.Person()
	berta, bertas := r.Person()
	b, other := r.Browser(), r.Browser()
	hint := r.Redeem(r.Login(b, anna, annas).Get("code")).Text("id_token")
	if got := b.Open(r.AuthorizeURL("login_hint", anna.ExternalRef, "id_token_hint", hint)); got.Left == nil || got.Left.Query().Get("code") == "" {
		t.Errorf("both hints of one user: %v %s", got.Left, got.Answer)
	}
	page := other.Open(r.AuthorizeURL("id_token_hint", hint))
	if page.Match() == "" || strings.Contains(page.Body, `name="change"`) {
		t.Errorf("the page: %s", page.Answer)
	}
	other.Submit(page.URL.String()+"/identify", url.Values{"csrf": {page.CSRF()}, "identifier": {berta.ExternalRef}})
	if ops, err := bertas.List(t.Context()); err != nil || len(ops) > 0 {
		t.Errorf("another phone was asked: %v %v", ops, err)
	}
	r.Approve(annas, page.Match())
}
