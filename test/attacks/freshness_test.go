package attacks

import (
	"strings"
	"testing"
	"time"

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

func TestHintsOfDifferentUsersAreRefusedBeforeAPhoneIsAsked(t *testing.T) {
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		anna, annas := r.Person()
		berta, bertas := r.Person()
		b := r.Browser()
		hint := r.Redeem(r.Login(b, anna, annas).Get("code")).Text("id_token")
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
				if got := browser.Open(r.AuthorizeURL(more...)); got.Left == nil || got.Left.Query().Get("error") != "invalid_request" || got.Left.Query().Get("state") != "st4te" {
					t.Errorf("%s: %v %s", name, got.Left, got.Answer)
				}
			}
		}
		if ops, err := bertas.List(t.Context()); err != nil || len(ops) > 0 {
			t.Errorf("a phone was asked: %v %v", ops, err)
		}
		// Both of one user are fine.
		if got := b.Open(r.AuthorizeURL("login_hint", anna.ExternalRef, "id_token_hint", hint)); got.Left == nil || got.Left.Query().Get("code") == "" {
			t.Errorf("the same user: %v %s", got.Left, got.Answer)
		}
		// And a user whom the client names by either is not changed on the page.
		page := other.Open(r.AuthorizeURL("id_token_hint", hint))
		if page.Match() == "" || strings.Contains(page.Body, `name="change"`) {
			t.Errorf("the page: %s", page.Answer)
		}
		other.Submit(page.URL.String()+"/identify", map[string][]string{"csrf": {page.CSRF()}, "identifier": {berta.ExternalRef}})
		if ops, err := bertas.List(t.Context()); err != nil || len(ops) > 0 {
			t.Errorf("another phone was asked: %v %v", ops, err)
		}
		r.Approve(annas, page.Match())
	})
}
