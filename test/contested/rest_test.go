package contested

import (
	"context"
	"net/url"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// By REST on whichever node: a lock or deactivation beside the phone's yes and beside
// the redemption. Once its answer is there, no token is or becomes good, and
// everybody is told the same of the request.
func TestR3_ALockByRESTAgainstApprovalAndRedemption(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		seen := rig.Tally{}
		for round := range rounds {
			u, p := r.Person()
			token := r.Token() // good for five minutes of the rig's clock
			withdraw := []string{"/users/" + u.ID + "/lock", "/devices/" + r.State(p).Device + "/lock", "/users/" + u.ID + "/deactivate", "/devices/" + r.State(p).Device + "/deactivate"}[round%4]
			id := r.Ask(r.Backend, u).Text("auth_req_id")
			op := r.Waiting(p)
			var polled rig.Answer
			got := rig.Crowd(3, func(i int) string {
				switch i {
				case 0:
					reply, err := p.Approve(t.Context(), op, rig.PIN, "")
					return rig.Answered(reply, err)
				case 1:
					ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
					defer cancel()
					polled, _ = r.PollUntil(ctx, r.Backend, id)
				case 2:
					time.Sleep(time.Duration(5*(round/4)) * time.Millisecond)
					a, err := r.TryREST(token, "POST", withdraw, nil)
					return rig.Word(a, err)
				}
				return ""
			})
			seen[got[0]]++
			if got[2] != "200" {
				t.Fatalf("round %d: %s: %s", round, withdraw, got[2])
			}
			for range 4 { // each node, twice
				out, err := r.TryREST(token, "GET", "/authentications/"+op.Txn, nil)
				if err != nil || out.Status != 200 || out.Text("state") == "PENDING" || (out.Text("state") == "COMPLETED") != (got[0] == "COMPLETED") {
					t.Fatalf("round %d: the phone is told %s, the backend %s %v", round, got[0], out, err)
				}
			}
			r.Clock.Advance(6 * time.Second) // past the interval of polls
			for _, state := range []string{"withdrawn", "restored"} {
				if state == "restored" && round%4 < 2 {
					r.SetUser(u, db.UserActive)
					r.SetDevice(p, db.DeviceActive)
				}
				for _, name := range []string{"access_token", "refresh_token"} {
					if tok := polled.Text(name); tok != "" && r.Post("/introspect", r.Backend, url.Values{"token": {tok}}).JSON["active"] == true {
						t.Fatalf("round %d: %s: the %s is good", round, state, name)
					}
				}
				if a, err := r.TryPoll(r.Backend, id); err != nil || a.Status == 200 {
					t.Fatalf("round %d: %s: tokens are given: %s %v", round, state, a, err)
				}
				r.Clock.Advance(20 * time.Second)
			}
			switch got[0] {
			case "COMPLETED", wire.UserLocked, wire.OpGone, wire.DeviceBlocked, wire.DeviceRemoved:
			default:
				t.Fatalf("round %d: the phone is told %s", round, got[0])
			}
		}
		t.Log(seen)
	})
}
