package contested

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/db/dbtest/schema"
	"mobileid/internal/kv/kvtest"
	"mobileid/internal/operation"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// off is a machine's clock that is wrong by so much.
type off time.Duration

func (o off) Now() time.Time { return time.Now().Add(time.Duration(o)) }

// wrongClocks runs fn on two nodes that disagree by three minutes.
func wrongClocks(t *testing.T, fn func(t *testing.T, r *rig.Rig)) {
	for name, kv := range map[string]func(testing.TB) string{
		"postgres":           func(testing.TB) string { return "" },
		"postgres and redis": func(t testing.TB) string { return kvtest.Redis(t) },
	} {
		t.Run(name, func(t *testing.T) {
			fn(t, rig.Start(t, rig.Options{DB: schema.Postgres(t), KV: kv(t), Nodes: 2, Clocks: []clock.Clock{off(90 * time.Second), off(-90 * time.Second)}}))
		})
	}
}

// at has the phone speak to one node only.
func at(r *rig.Rig, i int, p *sdk.Phone) *sdk.Phone {
	p.HTTP = r.At(i).HTTP
	return p
}

// I5 and X8: an operation ends when it should by SQL's clock, whichever node
// started it and whichever is asked.
func TestX8_NoOperationEndsEarlyOrLivesOnWhereClocksDiffer(t *testing.T) {
	t.Parallel()
	wrongClocks(t, func(t *testing.T, r *rig.Rig) {
		type life struct {
			id  string
			p   *sdk.Phone
			op  *wire.Operation
			end time.Time
		}
		lives := make([]life, 4)
		users := make([]db.User, len(lives))
		for i := range lives {
			users[i], lives[i].p = r.Person()
		}
		for i := range lives {
			l := &lives[i]
			l.id = r.At(i%2).Ask(r.Backend, users[i], "requested_expiry", "4").Text("auth_req_id")
			// The machine of the test is PostgreSQL's, so its clock is SQL's.
			l.end = time.Now().Add(4 * time.Second)
			l.op = r.Waiting(at(r, i/2, l.p))
			if early := l.end.Sub(time.Unix(l.op.Exp, 0)); early > 3*time.Second || early < -time.Second {
				t.Errorf("started on node %d: the phone is told the end %v early", i%2, early)
			}
		}
		got := rig.Crowd(len(lives), func(i int) rig.Answer { a, _ := r.At(i/2).TryPoll(r.Backend, lives[i].id); return a })
		for i, l := range lives {
			if w := rig.Word(got[i], nil); w != "400 expired_token" {
				t.Errorf("started on node %d, polled on %d: told %s", i%2, i/2, w)
			}
			out, _ := r.Decision(l.op.Txn)
			if out.State != operation.Expired || out.At.Before(l.end.Add(-2*time.Second)) || out.At.After(l.end.Add(5*time.Second)) {
				t.Errorf("started on node %d, polled on %d: %s at %v, want EXPIRED at %v", i%2, i/2, out.State, out.At, l.end)
			}
			_, err := l.p.Approve(t.Context(), l.op, rig.PIN, "")
			if e := r.Refused(err, wire.OpGone); e.State != "EXPIRED" {
				t.Errorf("an answer after the end is told %s", e.State)
			}
		}
	})
}

// Codes, requests and tokens that one node gives are good on the other, and say
// when they were given by the clock that both go by.
func TestX8_CodesAndTokensAreGoodOnBothNodesWhereClocksDiffer(t *testing.T) {
	t.Parallel()
	wrongClocks(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		fresh := func(what string, a rig.Answer) {
			t.Helper()
			if a.Status != 200 {
				t.Fatalf("%s: %s", what, a)
			}
			var claims struct{ Iat, Exp, Auth_time int64 }
			raw, err := wire.Decode(strings.Split(a.Text("id_token"), ".")[1])
			if err == nil {
				err = json.Unmarshal(raw, &claims)
			}
			now := time.Now().Unix()
			if err != nil || claims.Iat < now-20 || claims.Iat > now+1 || claims.Exp <= now || claims.Auth_time > claims.Iat {
				t.Errorf("%s: at %d the ID token says %+v, %v", what, now, claims, err)
			}
		}
		for i := range 8 {
			start, answer, redeem := r.At(i&1), i>>1&1, r.At(i>>2&1)
			id := start.Ask(r.Backend, u).Text("auth_req_id")
			r.Approve(at(r, answer, p), "")
			fresh("backchannel", redeem.Poll(r.Backend, id))

			code := start.Login(start.Browser(), u, at(r, answer, p)).Get("code")
			a := redeem.Redeem(code)
			fresh("redirect", a)
			for _, n := range []*rig.Rig{start, r.At(answer)} {
				if b := n.Get("/userinfo", "Authorization", "Bearer "+a.Text("access_token")); b.Status != 200 {
					t.Fatalf("the token on the other node: %s", b)
				}
				if a, _ = n.TryRefresh(a.Text("refresh_token")); a.Status != 200 {
					t.Fatalf("the refresh on the other node: %s", a)
				}
			}
		}
	})
}
