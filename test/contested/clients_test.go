package contested

import (
	"context"
	"fmt"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// A client is disabled beside the phone's yes, the poll for it and the redemption of
// a code. Nodes go by what they know of a client for 2 s, and the clock stands still
// meanwhile: what refuses is the transaction. Once the change has returned no token
// is given or good, for the code and the approval that nobody has redeemed either,
// not even after the client is enabled again.
func TestR3_DisablingAClientAgainstApprovalAndRedemption(t *testing.T) {
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
