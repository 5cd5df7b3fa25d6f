package contested

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/db"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// A client is disabled beside the phone's yes, the poll for it and the redemption of
// a code. Nodes go by what they know of a client for 2 s, and the clock stands still
// meanwhile: what refuses is the transaction. Once the change has returned no token
// is given or good, for the code and the approval that nobody has redeemed either,
// not even after the client is enabled again.
func TestR3_DisablingAClientAgainstApprovalAndRedemption(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		seen := rig.Tally{}
		for round := range rounds {
			c := r.Client(node.ClientOptions{Name: "Contested", Binding: "trusted", RedirectURIs: []string{rig.Callback}, Scopes: []string{"openid", "offline_access"},
				Grants: []string{"authorization_code", "refresh_token", "client_credentials", "urn:openid:params:grant-type:ciba"}})
			side := *r
			side.Web = c
			u, p := r.Person()
			b := side.Browser()
			code := side.Login(b, u, p).Get("code")
			spareCode := b.Open(side.AuthorizeURL()).Left.Query().Get("code")
			spareID := r.Ask(c, u).Text("auth_req_id")
			r.Approve(p, "")
			id := r.Ask(c, u).Text("auth_req_id")
			op := r.Waiting(p)
			var polled, redeemed rig.Answer
			got := rig.Crowd(4, func(i int) string {
				switch i {
				case 0:
					reply, err := p.Approve(t.Context(), op, rig.PIN, "")
					return rig.Answered(reply, err)
				case 1:
					ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
					defer cancel()
					polled, _ = r.PollUntil(ctx, c, id)
				case 2:
					time.Sleep(time.Duration(round%3) * 3 * time.Millisecond)
					redeemed, _ = side.TryRedeem(code)
				case 3:
					time.Sleep(time.Duration(4*round) * time.Millisecond)
					if err := r.Node.DisableClient(t.Context(), c.ClientID); err != nil {
						return err.Error()
					}
				}
				return ""
			})
			if got[3] != "" {
				t.Fatal(got[3])
			}
			seen[fmt.Sprint(got[0], ", code ", redeemed.Status)]++
			out, decided := r.Decision(op.Txn)
			switch got[0] {
			case "COMPLETED":
				if out.State != "COMPLETED" {
					t.Fatalf("round %d: told COMPLETED, the row says %q", round, out.State)
				}
			case wire.OpGone:
				if !decided || out.State != "CANCELLED" {
					t.Fatalf("round %d: told gone, the row says %q", round, out.State)
				}
			default:
				t.Fatalf("round %d: the phone is told %s", round, got[0])
			}
			dead := func(when string) {
				for _, a := range []rig.Answer{polled, redeemed} {
					if token := a.Text("access_token"); token != "" {
						if a := r.Get("/userinfo", "Authorization", "Bearer "+token); a.Status != 401 {
							t.Fatalf("round %d: %s, the token works: %s", round, when, a)
						}
					}
					if token := a.Text("refresh_token"); token != "" {
						if a, err := side.TryRefresh(token); err != nil || a.Status == 200 {
							t.Fatalf("round %d: %s, the refresh token gives more: %s %v", round, when, a, err)
						}
					}
				}
				for _, code := range []string{spareCode, code} {
					if a, err := side.TryRedeem(code); err != nil || a.Status == 200 {
						t.Fatalf("round %d: %s, the code gives tokens: %s %v", round, when, a, err)
					}
				}
				for _, id := range []string{spareID, id} {
					if a, err := r.TryPoll(c, id); err != nil || a.Status == 200 {
						t.Fatalf("round %d: %s, the auth_req_id gives tokens: %s %v", round, when, a, err)
					}
				}
			}
			dead("disabled a moment ago")
			r.Clock.Advance(6 * time.Second)
			dead("disabled")
			if err := r.Node.EnableClient(t.Context(), c.ClientID); err != nil {
				t.Fatal(err)
			}
			r.Clock.Advance(6 * time.Second)
			dead("enabled again")
		}
		t.Log(seen)
	})
}

// A client is disabled beside the beginning, the end and the confirmation of a
// registration that it started: a phone that is not its user's when the change has
// returned never will be, and the decision says the same as the phone's row.
func TestR3_B9_DisablingAClientAgainstItsRegistrations(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		seen := rig.Tally{}
		for round := range 2 * rounds {
			c := r.Client(node.ClientOptions{Name: "Contested", Grants: []string{"client_credentials"}, Scopes: []string{"mobileid.devices"}})
			with, ours := r.Post("/token", c, url.Values{"grant_type": {"client_credentials"}}).Text("access_token"), r.Token()
			u, p, compare := r.User(), r.Phone(), []string{"none", "digits"}[round%2]
			started, err := r.TryREST(with, "POST", "/registrations", map[string]any{"userId": u.ID, "confirmation": compare})
			if err != nil || started.Status != 201 {
				t.Fatalf("start: %s, %v", started, err)
			}
			id := started.Text("id")
			if _, err := p.Register(t.Context(), started.Text("link")); err != nil {
				t.Fatal(err)
			}
			if compare == "digits" {
				if _, err := p.Finish(t.Context(), rig.PIN); err != nil {
					t.Fatal(err)
				}
			}
			digits, device, then := r.State(p).Digits, r.State(p).Device, ""
			got := rig.Crowd(2, func(i int) string {
				if i == 1 {
					wait := round * round / 3
					if compare == "none" { // the phone stretches its PIN first
						wait *= 4
					}
					time.Sleep(time.Duration(wait) * time.Millisecond)
					err := r.Node.DisableClient(t.Context(), c.ClientID)
					if err == nil {
						err = r.Node.DB.View(t.Context(), func(tx *db.Tx) error {
							d, err := tx.Device(device)
							then = d.State
							return err
						})
					}
					return fmt.Sprint(err)
				}
				if compare == "digits" {
					return rig.Word(r.TryREST(ours, "POST", "/registrations/"+id+"/confirm", map[string]any{"digits": digits}))
				}
				reg, err := p.Finish(t.Context(), rig.PIN)
				if err != nil {
					return err.Error()
				}
				return reg.State
			})
			if got[1] != "<nil>" {
				t.Fatal(got[1])
			}
			now := r.Device(p).State
			seen[fmt.Sprint(compare, " ", then, " ", now)]++
			out, decided := r.Decision(id)
			switch {
			case now == db.DeviceActive && then == now && out.State == "COMPLETED":
			case now == db.DeviceDeactivated && decided && out.State == "CANCELLED":
			default:
				t.Fatalf("round %d: %s then, %s now, decided %q, told %s", round, then, now, out.State, got[0])
			}
			r.Clock.Advance(time.Second)
			if err := r.Node.EnableClient(t.Context(), c.ClientID); err != nil {
				t.Fatal(err)
			}
			if still := r.Device(p).State; still != now {
				t.Fatalf("round %d: enabled again, %s is %s", round, now, still)
			}
		}
		t.Log(seen)
	})
}
