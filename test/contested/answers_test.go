package contested

import (
	"net/url"
	"testing"
	"time"

	"mobileid/internal/operation"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// rounds is how often a race of two is run.
const rounds = 8

func TestD5_OfTwoPhonesThatAnswerAtOnceOneDecides(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		u, one := r.Person()
		phones := []*sdk.Phone{one, r.Registered(u)}
		for round := range rounds {
			decline := round%2 == 1
			id := r.Ask(r.Backend, u).Text("auth_req_id")
			ops := []*wire.Operation{r.Waiting(phones[0]), r.Waiting(phones[1])}
			errs := make([]error, 2)
			got := rig.Crowd(2, func(i int) string {
				var reply *wire.AnswerReply
				if decline && i == 1 {
					reply, errs[i] = phones[i].Decline(t.Context(), ops[i], false)
				} else {
					reply, errs[i] = phones[i].Approve(t.Context(), ops[i], rig.PIN, "")
				}
				return rig.Answered(reply, errs[i])
			})
			loser := 0
			if got[0] != wire.OpGone {
				loser = 1
			}
			won := got[1-loser]
			want := "COMPLETED"
			if decline && loser == 0 {
				want = "DECLINED"
			}
			if got[loser] != wire.OpGone || won != want {
				t.Fatalf("round %d: told %v", round, got)
			}
			if e := r.Refused(errs[loser], wire.OpGone); e.State != won || e.By != "other" {
				t.Fatalf("round %d: the loser is told %s by %q, decided is %s by the other", round, e.State, e.By, won)
			}
			out, _ := r.Decision(ops[0].Txn)
			if string(out.State) != won || out.DeviceID != r.Device(phones[1-loser]).ID {
				t.Fatalf("round %d: the row says %s by %s", round, out.State, out.DeviceID)
			}
			polled := map[string]string{"COMPLETED": "200", "DECLINED": "400 access_denied"}[won]
			if a := r.Poll(r.Backend, id); rig.Word(a, nil) != polled {
				t.Fatalf("round %d: the client is told %s", round, a)
			}
			// The one who lost asks again and hears the same; the winner, that it was itself.
			_, err := phones[1-loser].Decline(t.Context(), ops[1-loser], false)
			if e := r.Refused(err, wire.OpGone); e.State != won || e.By != "this" {
				t.Fatalf("round %d: the winner is told %s by %q", round, e.State, e.By)
			}
			r.Clock.Advance(31 * time.Second) // a decline cools the client down
		}
	})
}

func TestC24_AnswerAgainstExpiry(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		for round := range rounds {
			ack := r.Ask(r.Backend, u, "requested_expiry", "60")
			op := r.Waiting(p)
			r.Clock.Advance(60*time.Second - time.Millisecond)
			var e error
			got := rig.Crowd(2, func(i int) string {
				if i == 1 {
					r.Clock.Advance(time.Millisecond)
					return ""
				}
				reply, err := p.Approve(t.Context(), op, rig.PIN, "")
				e = err
				return rig.Answered(reply, err)
			})
			a := r.Poll(r.Backend, ack.Text("auth_req_id"))
			out, _ := r.Decision(op.Txn)
			switch got[0] {
			case "COMPLETED":
				if out.State != operation.Completed || !out.At.Before(time.Unix(op.Exp+1, 0)) {
					t.Fatalf("round %d: told COMPLETED, the row says %s at %s", round, out.State, out.At)
				}
				// Approved in the last millisecond, and polled after it: over.
				if w := rig.Word(a, nil); w != "200" && w != "400 invalid_grant" {
					t.Fatalf("round %d: approved, the client is told %s", round, a)
				}
			case wire.OpGone:
				if gone := r.Refused(e, wire.OpGone); gone.State != "EXPIRED" || out.State != operation.Expired || rig.Word(a, nil) != "400 expired_token" {
					t.Fatalf("round %d: told %+v, the row says %s, the client is told %s", round, gone, out.State, a)
				}
			default:
				t.Fatalf("round %d: told %s", round, got[0])
			}
		}
	})
}

func TestAnAnswerCountsUntilTheInstantOfExpiry(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	for _, c := range []struct {
		at   time.Duration
		want string
	}{{60*time.Second - time.Millisecond, "COMPLETED"}, {60 * time.Second, wire.OpGone}} {
		r.Ask(r.Backend, u, "requested_expiry", "60")
		op := r.Waiting(p)
		r.Clock.Advance(c.at)
		reply, err := p.Approve(t.Context(), op, rig.PIN, "")
		if got := rig.Answered(reply, err); got != c.want {
			t.Errorf("%v after the start: %s, want %s", c.at, got, c.want)
		}
	}
}

func TestC24_AnswerAgainstCancelInTheBrowser(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		seen := rig.Tally{}
		for round := range rounds {
			b := r.Browser()
			page := b.Open(r.AuthorizeURL("login_hint", u.ExternalRef))
			op := r.Waiting(p)
			var left *url.URL
			var e error
			got := rig.Crowd(2, func(i int) string {
				if i == 1 {
					left = b.Submit(page.URL.String()+"/cancel", url.Values{"csrf": {page.CSRF()}}).Left
					return ""
				}
				reply, err := p.Approve(t.Context(), op, rig.PIN, page.Match())
				e = err
				return rig.Answered(reply, err)
			})
			out, _ := r.Decision(op.Txn)
			seen[got[0]]++
			switch {
			case left == nil:
				t.Fatalf("round %d: the browser went nowhere", round)
			case got[0] == "COMPLETED" && out.State == operation.Completed && left.Query().Get("code") != "":
			case got[0] == wire.OpGone && r.Refused(e, wire.OpGone).State == "CANCELLED" && out.State == operation.Cancelled && left.Query().Get("error") == "access_denied":
			default:
				t.Fatalf("round %d: the phone is told %s, the row says %s, the client %s", round, got[0], out.State, left)
			}
		}
		t.Log(seen)
	})
}

func TestC20_AnswerAgainstSupersede(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		seen := rig.Tally{}
		for round := range rounds {
			first := r.Ask(r.Backend, u).Text("auth_req_id")
			op := r.Waiting(p)
			var second rig.Answer
			var e error
			got := rig.Crowd(2, func(i int) string {
				if i == 1 {
					second = r.Ask(r.Backend, u)
					return ""
				}
				reply, err := p.Approve(t.Context(), op, rig.PIN, "")
				e = err
				return rig.Answered(reply, err)
			})
			out, _ := r.Decision(op.Txn)
			polled := rig.Word(r.Poll(r.Backend, first), nil)
			seen[got[0]]++
			switch {
			case got[0] == "COMPLETED" && out.State == operation.Completed && polled == "200":
			case got[0] == wire.OpGone && r.Refused(e, wire.OpGone).State == "SUPERSEDED" && out.State == operation.Superseded && polled == "400 access_denied":
			default:
				t.Fatalf("round %d: the phone is told %s, the row says %s, the client %s", round, got[0], out.State, polled)
			}
			// Either way the new one waits, alone.
			r.Approve(p, "")
			if a := r.Poll(r.Backend, second.Text("auth_req_id")); a.Status != 200 {
				t.Fatalf("round %d: the newer request: %s", round, a)
			}
		}
		t.Log(seen)
	})
}
