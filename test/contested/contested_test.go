// Package contested lets many do at once what only one may do, and counts.
package contested

import (
	"net/url"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

const crowd = 32

func TestA12_OfThirtyTwoRedemptionsOfACodeOneGetsTokens(t *testing.T) {
	t.Parallel()
	rig.Contested(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		code := r.Login(r.Browser(), u, p).Get("code")
		var won rig.Answer
		got := rig.Crowd(crowd, func(int) rig.Answer { a, _ := r.TryRedeem(code); return a })
		words := rig.Count(each(got, func(a rig.Answer) string {
			if a.Status == 200 {
				won = a
			}
			return rig.Word(a, nil)
		}))
		if !words.Is(rig.Tally{"200": 1, "400 invalid_grant": crowd - 1}) {
			t.Fatal(words)
		}
		// A11: whoever replays a code ends what it gave.
		if a := r.Get("/userinfo", "Authorization", "Bearer "+won.Text("access_token")); a.Status != 401 {
			t.Fatalf("the replayed code's token still works: %s", a)
		}
		if a, err := r.TryRefresh(won.Text("refresh_token")); rig.Word(a, err) != "400 invalid_grant" {
			t.Fatalf("the replayed code's refresh token: %s %v", a, err)
		}
	})
}

func TestC14_OfThirtyTwoRedemptionsOfAnAuthReqIDOneGetsTokens(t *testing.T) {
	t.Parallel()
	rig.Contested(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		id := r.Ask(r.Backend, u).Text("auth_req_id")
		r.Approve(p, "")
		var won rig.Answer
		got := rig.Crowd(crowd, func(int) rig.Answer { a, _ := r.TryPoll(r.Backend, id); return a })
		words := rig.Count(each(got, func(a rig.Answer) string {
			if a.Status == 200 {
				won = a
			}
			return rig.Word(a, nil)
		}))
		if !words.Is(rig.Tally{"200": 1, "400 invalid_grant": crowd - 1}) {
			t.Fatal(words)
		}
		if a := r.Get("/userinfo", "Authorization", "Bearer "+won.Text("access_token")); a.Status != 401 {
			t.Fatalf("the replayed auth_req_id's token still works: %s", a)
		}
	})
}

func TestB5_ThirtyTwoUsesOfARefreshTokenAreOneStep(t *testing.T) {
	t.Parallel()
	rig.Contested(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		first := r.Redeem(r.Login(r.Browser(), u, p).Get("code")).Text("refresh_token")
		use := func(token string) rig.Answer {
			a, err := r.TryRefresh(token)
			if err != nil {
				t.Error(err)
			}
			return a
		}
		got := rig.Crowd(crowd, func(int) rig.Answer { return use(first) })
		if words := rig.Count(each(got, func(a rig.Answer) string { return rig.Word(a, nil) })); !words.Is(rig.Tally{"200": crowd}) {
			t.Fatal(words)
		}
		successors := rig.Count(each(got, func(a rig.Answer) string { return a.Text("refresh_token") }))
		if len(successors) != 1 || successors[first] != 0 || successors[""] != 0 {
			t.Fatalf("%d different successors of one token", len(successors))
		}
		second := got[0].Text("refresh_token")
		third := use(second)
		if third.Status != 200 || third.Text("refresh_token") == second {
			t.Fatalf("the successor: %s", third)
		}
		// The successor was used, so the grace is over although ten seconds are not.
		if a := use(first); rig.Word(a, nil) != "400 invalid_grant" {
			t.Fatalf("a token two generations old: %s", a)
		}
		if a := use(third.Text("refresh_token")); rig.Word(a, nil) != "400 invalid_grant" {
			t.Fatalf("the family lives on after a reuse: %s", a)
		}
		if a := r.Get("/userinfo", "Authorization", "Bearer "+third.Text("access_token")); a.Status != 401 {
			t.Fatalf("an access token of the family still works: %s", a)
		}
	})
}

// Whoever was told 200 may rely on it: whatever a refresh beside the revocation gave
// is dead by then, and nothing is given after.
func TestB6_OnceARevocationHasReturnedNothingOfTheGrantWorks(t *testing.T) {
	t.Parallel()
	rig.Contested(t, func(t *testing.T, r *rig.Rig) {
		for round := range rounds {
			u, p := r.Person()
			first := r.Redeem(r.Login(r.Browser(), u, p).Get("code"))
			var after rig.Answer // a refresh when the revocation had returned
			got := rig.Crowd(9, func(i int) rig.Answer {
				if i > 0 {
					a, err := r.TryRefresh(first.Text("refresh_token"))
					if err != nil {
						t.Error(err)
					}
					return a
				}
				time.Sleep(time.Duration(round) * time.Millisecond)
				a, err := r.TryPost("/revoke", r.Web, url.Values{"token": {first.Text("refresh_token")}})
				if err != nil || a.Status != 200 {
					t.Errorf("the revocation: %s %v", a, err)
				}
				again, err := r.TryRefresh(first.Text("refresh_token"))
				if err != nil {
					t.Error(err)
				}
				after = again
				return a
			})
			if word := rig.Word(after, nil); word != "400 invalid_grant" {
				t.Fatalf("round %d: a refresh after it: %s", round, word)
			}
			for i, a := range append(got[1:], first) {
				switch word := rig.Word(a, nil); word {
				case "400 invalid_grant":
				case "200":
					if a := r.Get("/userinfo", "Authorization", "Bearer "+a.Text("access_token")); a.Status != 401 {
						t.Fatalf("round %d: access token %d works: %s", round, i, a)
					}
					if a, err := r.TryRefresh(a.Text("refresh_token")); rig.Word(a, err) != "400 invalid_grant" {
						t.Fatalf("round %d: refresh token %d: %s %v", round, i, a, err)
					}
				default:
					t.Fatalf("round %d: a refresh beside it is told %s", round, word)
				}
			}
		}
	})
}

func TestB5_TheGraceOfARefreshTokenIsTenSeconds(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{10 * time.Second, "200"}, {10*time.Second + time.Millisecond, "400 invalid_grant"}} {
		u, p := r.Person()
		first := r.Redeem(r.Login(r.Browser(), u, p).Get("code")).Text("refresh_token")
		second, _ := r.TryRefresh(first)
		r.Clock.Advance(c.after)
		if a, err := r.TryRefresh(first); rig.Word(a, err) != c.want {
			t.Errorf("%v after the step: %s, want %s", c.after, a, c.want)
		}
		if a, err := r.TryRefresh(second.Text("refresh_token")); rig.Word(a, err) != c.want {
			t.Errorf("%v after the step, its successor: %s, want %s", c.after, a, c.want)
		}
	}
}

func TestD12_OfThirtyTwoPhonesWithOneLinkOneRegisters(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		u := r.User()
		link := r.Link(u)
		phones := make([]*sdk.Phone, crowd)
		for i := range phones {
			phones[i] = r.Phone()
		}
		got := rig.Crowd(crowd, func(i int) string {
			_, err := phones[i].Register(t.Context(), link)
			return rig.Sealed(err)
		})
		oneDevice(t, r, u, got, phones)
	})
}

func TestD12_OfThirtyTwoPhonesWithOneTypedCodeOneRegisters(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		u := r.User()
		a := r.REST("POST", "/registrations", map[string]any{"userId": u.ID, "activationCode": true})
		phones := make([]*sdk.Phone, crowd)
		for i := range phones {
			phones[i] = r.Phone()
		}
		got := rig.Crowd(crowd, func(i int) string {
			_, err := phones[i].RegisterTyped(t.Context(), r.Issuer, a.Text("locator"), a.Text("activationCode"))
			return rig.Sealed(err)
		})
		oneDevice(t, r, u, got, phones)
	})
}

func oneDevice(t *testing.T, r *rig.Rig, u db.User, got []string, phones []*sdk.Phone) {
	t.Helper()
	if words := rig.Count(got); !words.Is(rig.Tally{"ok": 1, wire.ActivationFailed: crowd - 1}) {
		t.Fatal(words)
	}
	var devices []db.Device
	r.SQL(func(tx *db.Tx) (err error) {
		devices, err = tx.DevicesOf(u.ID)
		return err
	})
	if len(devices) != 1 {
		t.Fatalf("%d devices", len(devices))
	}
	for i, word := range got {
		if word != "ok" {
			continue
		}
		if _, err := phones[i].Finish(t.Context(), rig.PIN); err != nil {
			t.Fatal(err)
		}
		if d := r.Device(phones[i]); d.ID != devices[0].ID {
			t.Fatalf("the winner is %s, the device %s", d.ID, devices[0].ID)
		}
	}
}

func TestOneApprovalGivesOneAuthorizationResponse(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		b := r.Browser()
		page := b.Open(r.AuthorizeURL("login_hint", u.ExternalRef))
		r.Approve(p, page.Match())
		address, _ := url.Parse(r.Issuer)
		cookies := b.Jar.Cookies(address)
		got := rig.Crowd(16, func(int) string {
			tab := r.Browser()
			tab.Jar.SetCookies(address, cookies)
			if at := tab.Open(page.URL.String()); at.Left != nil && at.Left.Query().Get("code") != "" {
				return "code"
			} else if at.Status == 404 {
				return "over"
			} else {
				return at.String()
			}
		})
		if words := rig.Count(got); !words.Is(rig.Tally{"code": 1, "over": 15}) {
			t.Fatal(words)
		}
	})
}

func each[T any](in []T, word func(T) string) []string {
	out := make([]string, len(in))
	for i, v := range in {
		out[i] = word(v)
	}
	return out
}
