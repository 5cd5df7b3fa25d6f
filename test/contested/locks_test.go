package contested

import (
	"context"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// Whatever comes first: once the lock has returned nothing that was approved
// beside it is good for anything, not even after the user is unlocked.
func TestR3_LockOfAUserOrPhoneAgainstApprovalAndRedemption(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		seen := rig.Tally{}
		for round := range rounds {
			u, p := r.Person()
			id := r.Ask(r.Backend, u).Text("auth_req_id")
			op := r.Waiting(p)
			var polled rig.Answer
			got := rig.Crowd(3, func(i int) string {
				switch i {
				case 0:
					reply, err := p.Approve(t.Context(), op, rig.PIN, "")
					return rig.Answered(reply, err)
				case 1:
					time.Sleep(time.Duration(round) * time.Millisecond)
					ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // a poll is held while nothing is decided
					defer cancel()
					polled, _ = r.PollUntil(ctx, r.Backend, id)
				case 2:
					time.Sleep(time.Duration(6*round) * time.Millisecond)
					if round%2 == 0 {
						r.SetUser(u, db.UserLocked)
					} else {
						r.SetDevice(p, db.DeviceLocked)
					}
				}
				return ""
			})
			out, decided := r.Decision(op.Txn)
			seen[got[0]]++
			switch got[0] {
			case "COMPLETED":
				if out.State != "COMPLETED" {
					t.Fatalf("round %d: told COMPLETED, the row says %q", round, out.State)
				}
			case wire.UserLocked, wire.DeviceBlocked:
				if decided && out.State == "COMPLETED" {
					t.Fatalf("round %d: told %s, the row says %s", round, got[0], out.State)
				}
			default:
				t.Fatalf("round %d: the phone is told %s", round, got[0])
			}
			r.Clock.Advance(181 * time.Second) // over for the request; tokens would live on
			for _, state := range []string{"locked", "unlocked"} {
				if state == "unlocked" {
					r.SetUser(u, db.UserActive)
					r.SetDevice(p, db.DeviceActive)
				}
				if token := polled.Text("access_token"); token != "" {
					if a := r.Get("/userinfo", "Authorization", "Bearer "+token); a.Status != 401 {
						t.Fatalf("round %d: %s, the token works: %s", round, state, a)
					}
				}
				if a, err := r.TryPoll(r.Backend, id); err != nil || a.Status == 200 {
					t.Fatalf("round %d: %s, tokens are given: %s %v", round, state, a, err)
				}
			}
		}
		t.Log(seen)
	})
}
