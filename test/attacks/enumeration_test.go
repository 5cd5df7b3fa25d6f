package attacks

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/db"
	"mobileid/test/rig"
)

// strangers are hints that no phone stands behind, and one that has a phone.
func strangers(r *rig.Rig) map[string]string {
	real, _ := r.Person()
	locked, _ := r.Person()
	r.SetUser(locked, db.UserLocked)
	other, _ := r.Person()
	gone, phone := r.Person()
	r.SetDevice(phone, db.DeviceDeactivated)
	return map[string]string{
		"a user with a phone": real.ExternalRef, "an unknown reference": "nobody@example.com", "an unknown id": "userId:usr_none",
		"a user without a phone": r.User().ExternalRef, "a locked user": locked.ExternalRef, "a user whose phone is gone": "userId:" + gone.ID,
		"a phone that is not theirs": "userId:" + other.ID + " deviceId:dev_none",
	}
}

func silent(r *rig.Rig, binding string) node.NewClient {
	return r.Client(node.ClientOptions{Name: "Silent", Binding: binding, Grants: []string{grantCIBA}, Scopes: []string{"openid"}})
}

// C4 for clients that may not learn who exists.
func TestC4_ABackchannelRequestTellsNothingOfItsUser(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	for _, binding := range []string{"match", "trusted"} {
		hints := strangers(r)
		acks := map[string]rig.Answer{}
		c := silent(r, binding)
		for name, hint := range hints {
			a := ask(r, c, url.Values{"login_hint": {hint}, "requested_expiry": {"60"}})
			if a.Status != 200 || len(a.Text("auth_req_id")) != 52 || a.JSON["expires_in"] != 60.0 || a.JSON["interval"] != 5.0 ||
				(len(a.Text("mobileid_match_code")) == 3) != (binding == "match") {
				t.Errorf("%s, %s: %s", binding, name, a)
			}
			if want := slices.Sorted(maps.Keys(acks["any"].JSON)); len(want) > 0 && !slices.Equal(want, slices.Sorted(maps.Keys(a.JSON))) {
				t.Errorf("%s, %s: members of another shape: %s", binding, name, a)
			}
			acks["any"], acks[name] = a, a
		}
		delete(acks, "any")
		for name, a := range acks {
			is(t, name+", another client's poll", r.Poll(r.Backend, a.Text("auth_req_id")), nil, "400 invalid_grant")
		}
		r.Clock.Advance(59 * time.Second)
		words := rig.Crowd(len(acks), func(i int) string {
			name := slices.Sorted(maps.Keys(acks))[i]
			return rig.Word(r.TryPoll(c, acks[name].Text("auth_req_id")))
		})
		if got := rig.Count(words); !got.Is(rig.Tally{"400 authorization_pending": len(acks)}) {
			t.Errorf("%s, before the end: %v", binding, got)
		}
		for name, a := range acks {
			is(t, name+", polled at once again", r.Poll(c, a.Text("auth_req_id")), nil, "400 slow_down")
		}
		r.Clock.Advance(time.Second)
		for name, a := range acks {
			is(t, name+", at the end", r.Poll(c, a.Text("auth_req_id")), nil, "400 expired_token")
		}
	}
}

// Two requests in a row: the first is superseded, whoever it was for.
func TestC4_NeitherDoTwoRequestsOrTheCaps(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	clients := []node.NewClient{silent(r, "trusted"), silent(r, "trusted"), silent(r, "trusted"), silent(r, "trusted")}
	for name, hint := range strangers(r) {
		first := ask(r, clients[0], url.Values{"login_hint": {hint}})
		ask(r, clients[0], url.Values{"login_hint": {hint}})
		is(t, name+", superseded", r.Poll(clients[0], first.Text("auth_req_id")), nil, "400 access_denied")
		for _, c := range clients[1:3] {
			is(t, name+", within the cap", ask(r, c, url.Values{"login_hint": {hint}}), nil, "200")
		}
		if a := ask(r, clients[3], url.Values{"login_hint": {hint}}); a.Text("error") != "access_denied" {
			t.Errorf("%s, over the cap: %s", name, a)
		}
		r.Clock.Advance(3 * time.Minute)
	}
}

func TestAClientThatMayKnowIsTold(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	for name, hint := range strangers(r) {
		a := ask(r, r.Backend, url.Values{"login_hint": {hint}})
		if (name == "a user with a phone") != (a.Status == 200) {
			t.Errorf("%s: %s", name, a)
		}
		if strings.HasPrefix(name, "an unknown") {
			is(t, name, a, nil, "400 unknown_user_id")
		}
	}
}

var (
	words  = regexp.MustCompile(`>[^<]+<`)
	values = regexp.MustCompile(`\s(id|content|href|src|action|value|datetime|style|data-[a-z]+)="[^"]*"`)
)

// shape is a page without what is written in it, but for its sentence.
func shape(page rig.Page) string {
	return values.ReplaceAllString(words.ReplaceAllString(page.Body, "><"), "") + sentence.FindString(page.Body)
}

// sentence is the headline of the page's state.
var sentence = regexp.MustCompile(`<h2[^>]*>[^<]*</h2>`)

func TestC4_ALoginPageTellsNothingOfItsUser(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	waiting, over := "", ""
	for name, hint := range strangers(r) {
		b := r.Browser()
		page := b.Open(r.AuthorizeURL("login_hint", hint))
		now := shape(page)
		if page.Status != 200 || len(page.Match()) != 3 || waiting != "" && now != waiting {
			t.Errorf("%s: another page (%d, number %q)\n%s\n%s", name, page.Status, page.Match(), now, waiting)
		}
		waiting = now
		r.Clock.Advance(180 * time.Second)
		page = b.Open(page.URL.String())
		now = shape(page)
		if over != "" && now != over || now == waiting {
			t.Errorf("%s: another page at the end\n%s\n%s", name, now, over)
		}
		over = now
		if got := b.Submit(page.URL.String()+"/cancel", url.Values{"csrf": {page.CSRF()}}); got.Left == nil || got.Left.Query().Get("error") != "access_denied" {
			t.Errorf("%s: cancelled: %s", name, got.Answer)
		}
	}
}

// Whose reference it is that somebody guesses for a sub is told by nothing: hints of two
// users are answered as those of one.
func TestC4_HintsDoNotTellWhetherTheyAreOfOneUser(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		anna, annas := r.Person()
		token := r.Redeem(r.Login(r.Browser(), anna, annas).Get("code")).Text("id_token")
		named := map[string][]string{"id_token_hint": {"id_token_hint", token}, "claims": {"claims", `{"id_token":{"sub":{"value":"` + anna.ID + `"}}}`}}
		berta, bertas := r.Person()
		locked, _ := r.Person()
		r.SetUser(locked, db.UserLocked)
		guesses := map[string]string{"right": anna.ExternalRef, "right, by id": "userId:" + anna.ID, "another's": berta.ExternalRef, "another's id": "userId:" + berta.ID,
			"nobody's": "nobody@example.com", "a locked user's": locked.ExternalRef}
		for by, name := range named {
			first, waiting, superseded, over := "", "", "", ""
			same := func(what, guess, now string, before *string) {
				t.Helper()
				if *before != "" && now != *before {
					t.Errorf("%s, %s: %s is another page\n%s\n%s", by, guess, what, now, *before)
				}
				*before = now
			}
			for guess, hint := range guesses {
				at := append([]string{"login_hint", hint}, name...)
				b := r.Browser()
				if got := silently(t, r, b, at...); got != "login_required" {
					t.Errorf("%s, %s, prompt=none: %s", by, guess, got)
				}
				// By login_hint alone, then with both: the older one is superseded, whosever it is.
				alone := b.Open(r.AuthorizeURL("login_hint", hint))
				same("the first", guess, shape(alone), &first)
				page := b.Open(r.AuthorizeURL(at...))
				same("the page", guess, shape(page), &waiting)
				if page.Status != 200 || len(page.Match()) != 3 {
					t.Errorf("%s, %s: %s", by, guess, page.Answer)
				}
				same("the superseded", guess, shape(b.Open(alone.URL.String())), &superseded)
				if ops, err := bertas.List(t.Context()); err != nil || len(ops) > 0 {
					t.Errorf("%s, %s: a phone was asked: %v %v", by, guess, ops, err)
				}
				// Nor does it being asked again.
				r.Clock.Advance(180 * time.Second)
				page = b.Open(page.URL.String())
				same("the end", guess, shape(page), &over)
				page = b.Submit(page.URL.String()+"/retry", url.Values{"csrf": {page.CSRF()}})
				same("the page after another try", guess, shape(page), &waiting)
				b.Submit(page.URL.String()+"/cancel", url.Values{"csrf": {page.CSRF()}})
			}
		}
	})
}
