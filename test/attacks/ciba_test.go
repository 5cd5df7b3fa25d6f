package attacks

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/db"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

const grantCIBA = "urn:openid:params:grant-type:ciba"

func is(t *testing.T, what string, a rig.Answer, err error, want string) {
	t.Helper()
	if got := rig.Word(a, err); got != want {
		t.Errorf("%s: %s, want %s (%s)", what, got, want, a)
	}
}

func ask(r *rig.Rig, c node.NewClient, form url.Values) rig.Answer {
	r.T.Helper()
	if !form.Has("scope") {
		form.Set("scope", "openid")
	}
	return r.Post("/bc-authorize", c, form)
}

func TestC6_WhatTheClientSaysIsShownAsItStandsOrRefused(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	for name, message := range map[string]string{
		"plain":       "Order 4711",
		"accents":     "Überweisung an Łukasz – 12,50 €",
		"other words": "注文 4711 を確認",
		"marks":       `"quotes" & 'marks' #1 100%`,
		"140 letters": strings.Repeat("é", 140),
	} {
		is(t, name, ask(r, r.Backend, url.Values{"login_hint": {u.ExternalRef}, "binding_message": {message}}), nil, "200")
		blocks, err := wire.ParseView(r.Waiting(p).View)
		if err != nil {
			t.Fatal(err)
		}
		if blocks[1].T != wire.Bold || blocks[1].Text != message {
			t.Errorf("%s: the phone shows %+v", name, blocks)
		}
	}
	before := string(r.Waiting(p).View)
	for name, message := range map[string]string{
		"a line break":       "Pay\nnow",
		"a tab":              "Pay\tnow",
		"NUL":                "Pay\x00",
		"an escape":          "\x1b[2J",
		"C1":                 "Pay\u0085now",
		"RTL override":       "abc\u202etxt.exe",
		"isolates":           "a\u2066b\u2069",
		"zero width":         "Pay\u200bPal",
		"a line separator":   "Pay\u2028now",
		"private use":        "\ue000",
		"HTML":               "<b>pay</b>",
		"a script":           "<script>alert(1)</script>",
		"an address":         "see https://evil.example/x",
		"a bare address":     "see www.evil.example",
		"a host":             "go to evil.com now",
		"a javascript link":  "javascript:alert(1)",
		"141 letters":        strings.Repeat("é", 141),
		"10 kB":              strings.Repeat("a", 10_000),
		"not UTF-8":          "\xff\xfe",
		"half a surrogate":   "\xed\xa0\x80",
		"an overlong letter": "\xc0\x80",
	} {
		is(t, name, ask(r, r.Backend, url.Values{"login_hint": {u.ExternalRef}, "binding_message": {message}}), nil, "400 invalid_binding_message")
	}
	if now := string(r.Waiting(p).View); now != before {
		t.Error("a refused message reached the phone")
	}
}

func TestC6_NamesInTheViewCannotBreakOut(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	c := r.Client(node.ClientOptions{Name: `<img src=x> "Bank"`, Binding: "trusted", Grants: []string{grantCIBA}, Scopes: []string{"openid"}})
	r.Ask(c, u)
	blocks, err := wire.ParseView(r.Waiting(p).View)
	if err != nil || blocks[0].Text != `Request of <img src=x> "Bank"` {
		t.Fatalf("%+v, %v", blocks, err)
	}
}

func TestC8_RequestedExpiryIsAWholePositiveNumberAndCapped(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, _ := r.Person()
	for given, want := range map[string]any{
		"0": nil, "-1": nil, "1.5": nil, "1e3": nil, "0x10": nil, " 5": nil, "abc": nil, "+5": nil, "٣": nil, "000": nil,
		"10": 10.0, "010": 10.0, "600": 600.0, "601": 600.0, "1000000000000000000": 600.0, strings.Repeat("9", 400): 600.0, "": 180.0,
	} {
		a := ask(r, r.Backend, url.Values{"login_hint": {u.ExternalRef}, "requested_expiry": {given}})
		if want == nil {
			is(t, "requested_expiry "+given, a, nil, "400 invalid_request")
		} else if a.JSON["expires_in"] != want {
			t.Errorf("requested_expiry %.20s: %s, want %v", given, a, want)
		}
	}
	a := ask(r, r.Backend, url.Values{"login_hint": {u.ExternalRef}, "requested_expiry": {"10", "20"}})
	is(t, "twice", a, nil, "400 invalid_request")
}

func TestC3_ExactlyOneHint(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, _ := r.Person()
	for name, form := range map[string]url.Values{
		"none":                  {},
		"an empty one":          {"login_hint": {""}},
		"two kinds":             {"login_hint": {u.ExternalRef}, "id_token_hint": {"x"}},
		"three kinds":           {"login_hint": {u.ExternalRef}, "id_token_hint": {"x"}, "login_hint_token": {"y"}},
		"the same twice":        {"login_hint": {u.ExternalRef, u.ExternalRef}},
		"a hint that is broken": {"login_hint": {"userId:"}},
		"control characters":    {"login_hint": {"a\x00b"}},
	} {
		is(t, name, ask(r, r.Backend, form), nil, "400 invalid_request")
	}
}

func TestC11_PollsThatAreTooFastOrOverlapAreToldToSlowDown(t *testing.T) {
	t.Parallel()
	rig.Each(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		id := r.Ask(r.Backend, u).Text("auth_req_id")
		ctx, hangUp := context.WithCancel(t.Context())
		held := make(chan string, 1)
		go func() { held <- rig.Word(r.PollUntil(ctx, r.Backend, id)) }()
		// Until the first poll is held, the second may be the first.
		time.Sleep(300 * time.Millisecond)
		r.Clock.Advance(6 * time.Second) // the interval is over, the poll is not
		got := rig.Crowd(4, func(int) string { return rig.Word(r.TryPoll(r.Backend, id)) })
		if words := rig.Count(got); !words.Is(rig.Tally{"400 slow_down": 4}) {
			t.Fatal(words)
		}
		// The first is held still and is told as soon as the phone has answered.
		r.Approve(p, "")
		if got := <-held; got != "200" {
			t.Fatalf("the held poll: %s", got)
		}
		hangUp()

		// A poll is never held past the request's life: here one second is left.
		late := r.Ask(r.Backend, u, "requested_expiry", "30").Text("auth_req_id")
		r.Clock.Advance(29 * time.Second)
		is(t, "the first poll", r.Poll(r.Backend, late), nil, "400 authorization_pending")
		is(t, "the second at once", r.Poll(r.Backend, late), nil, "400 slow_down")
		r.Clock.Advance(time.Second)
		is(t, "after its time", r.Poll(r.Backend, late), nil, "400 expired_token")
	})
}

func TestC12_AnotherClientsRequestIsUnknownAndUntouched(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	other := r.Client(node.ClientOptions{Name: "Other", Binding: "trusted", Grants: []string{grantCIBA}, Scopes: []string{"openid"}})
	id := r.Ask(r.Backend, u).Text("auth_req_id")
	for range 5 { // and no interval of the owner's grows by it
		is(t, "pending", r.Poll(other, id), nil, "400 invalid_grant")
	}
	r.Approve(p, "")
	is(t, "approved", r.Poll(other, id), nil, "400 invalid_grant")
	tokens := r.Poll(r.Backend, id)
	is(t, "its own client", tokens, nil, "200")
	is(t, "redeemed", r.Poll(other, id), nil, "400 invalid_grant")
	if a := r.Get("/userinfo", "Authorization", "Bearer "+tokens.Text("access_token")); a.Status != 200 {
		t.Errorf("a stranger's poll revoked the tokens: %s", a)
	}
	for _, made := range []string{"x", id + "x", id[:len(id)-1], strings.ToUpper(id), "", strings.Repeat("A", 5000)} {
		if a := r.Poll(r.Backend, made); a.Status != 400 || a.Text("error") != "invalid_grant" && a.Text("error") != "invalid_request" {
			t.Errorf("%.20q: %s", made, a)
		}
	}
}

func TestC13_EachOutcomeHasItsError(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	id := r.Ask(r.Backend, u, "requested_expiry", "20").Text("auth_req_id")
	r.Clock.Advance(19 * time.Second)
	is(t, "pending", r.Poll(r.Backend, id), nil, "400 authorization_pending")
	r.Clock.Advance(time.Second)
	is(t, "expired", r.Poll(r.Backend, id), nil, "400 expired_token")
	is(t, "expired, again", r.Poll(r.Backend, id), nil, "400 expired_token")

	id = r.Ask(r.Backend, u).Text("auth_req_id")
	if _, err := p.Decline(t.Context(), r.Waiting(p), false); err != nil {
		t.Fatal(err)
	}
	is(t, "declined", r.Poll(r.Backend, id), nil, "400 access_denied")
	a := ask(r, r.Backend, url.Values{"login_hint": {u.ExternalRef}})
	if a.Text("error") != "access_denied" || a.Text("auth_req_id") != "" {
		t.Errorf("at once after a decline: %s", a)
	}
	r.Clock.Advance(30 * time.Second)
	id = r.Ask(r.Backend, u).Text("auth_req_id")
	if _, err := p.Decline(t.Context(), r.Waiting(p), true); err != nil {
		t.Fatal(err)
	}
	is(t, "reported", r.Poll(r.Backend, id), nil, "400 access_denied")
	r.Clock.Advance(24*time.Hour - time.Second)
	if a := ask(r, r.Backend, url.Values{"login_hint": {"userId:" + u.ID}}); a.Text("error") != "access_denied" {
		t.Errorf("within a day of a report: %s", a)
	}
	r.Clock.Advance(time.Second)
	r.Ask(r.Backend, u)
}

func TestC14_AnAuthReqIDUsedTwiceEndsWhatItGave(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	id := r.Ask(r.Backend, u).Text("auth_req_id")
	r.Approve(p, "")
	tokens := r.Poll(r.Backend, id)
	is(t, "once", tokens, nil, "200")
	is(t, "twice", r.Poll(r.Backend, id), nil, "400 invalid_grant")
	if a := r.Get("/userinfo", "Authorization", "Bearer "+tokens.Text("access_token")); a.Status != 401 {
		t.Errorf("the tokens live on: %s", a)
	}
}

func TestC17_EachRequestIsAPromptOfItsOwn(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	seen := map[string]bool{}
	for range 3 {
		ack := r.Ask(r.Backend, u)
		op := r.Waiting(p)
		if key := fmt.Sprint(op.Txn, op.Chal); seen[key] {
			t.Fatal("the same operation twice")
		} else {
			seen[key] = true
		}
		r.Approve(p, "")
		is(t, "poll", r.Poll(r.Backend, ack.Text("auth_req_id")), nil, "200")
	}
}

func TestC16_AUserLockedOnTheWayGetsNoToken(t *testing.T) {
	t.Parallel()
	for _, state := range []string{db.UserLocked, db.UserDeactivated} {
		t.Run(state, func(t *testing.T) {
			r := rig.Start(t, rig.Options{})
			u, p := r.Person()
			id := r.Ask(r.Backend, u).Text("auth_req_id")
			r.Approve(p, "")
			r.Clock.Advance(time.Second)
			r.SetUser(u, state)
			is(t, "between approve and redeem", r.Poll(r.Backend, id), nil, "400 invalid_grant")
			if state == db.UserLocked { // the other is final
				r.SetUser(u, db.UserActive)
			}
			if a := r.Poll(r.Backend, id); a.Status == 200 {
				t.Error("an approval from before the lock gave tokens after it")
			}
			u, p = r.Person()
			r.Ask(r.Backend, u)
			op := r.Waiting(p)
			r.SetUser(u, state)
			_, err := p.Approve(t.Context(), op, rig.PIN, "")
			r.Refused(err, wire.UserLocked)
			if a := ask(r, r.Backend, url.Values{"login_hint": {u.ExternalRef}}); a.Status == 200 {
				t.Errorf("started for a locked user: %s", a)
			}
		})
	}
}

func TestC16_ARedirectLoginOfAUserLockedOnTheWayEnds(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	b := r.Browser()
	page := b.Open(r.AuthorizeURL("login_hint", u.ExternalRef))
	r.Approve(p, page.Match())
	r.Clock.Advance(time.Second)
	r.SetUser(u, db.UserLocked)
	if got := b.Open(page.URL.String()); got.Left == nil || got.Left.Query().Get("error") != "access_denied" {
		t.Fatalf("locked between approval and page: %s %s", got.Answer, got.Left)
	}
	if got := silently(t, r, b); got != "login_required" {
		t.Fatalf("and yet a session: %s", got)
	}
	r.SetUser(u, db.UserActive)
	code := r.Login(r.Browser(), u, p).Get("code")
	r.Clock.Advance(time.Second)
	r.SetUser(u, db.UserLocked)
	is(t, "locked between code and token", r.Redeem(code), nil, "400 invalid_grant")
}
