package story

import (
	"errors"
	"flag"
	"os"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	// Each check is a whole login on a real server.
	if err := flag.Set("rapid.checks", "12"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// model is what one operation should be: open until something decides it, then
// the same for ever.
type model struct {
	state   string // "" while open
	expires time.Time
}

// TestWhateverHappensAnOperationIsDecidedOnce lets two phones, the clock and a
// lock of the user do anything in any order to one operation, and holds every
// answer, the phones' lists, the database and the tokens against a model of four
// lines.
func TestWhateverHappensAnOperationIsDecidedOnce(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	rapid.Check(t, func(rt *rapid.T) {
		u := r.User()
		phones := []*sdk.Phone{r.Registered(u), r.Registered(u)}
		ack := r.Ask(r.Backend, u)
		// Each phone is shown the operation under a name of its own.
		shown := map[*sdk.Phone]*wire.Operation{phones[0]: r.Waiting(phones[0]), phones[1]: r.Waiting(phones[1])}
		op := shown[phones[0]]
		m := model{expires: r.Clock.Now().Add(180 * time.Second)}
		// due is the model's only rule of its own: time decides what nobody did.
		due := func() bool { return m.state == "" && !r.Clock.Now().Before(m.expires) }

		// answer is what a phone meets: want is the state it decides.
		answer := func(rt *rapid.T, want string, send func(*sdk.Phone) error) {
			err := send(rapid.SampledFrom(phones).Draw(rt, "phone"))
			if due() {
				m.state = "EXPIRED"
			}
			if m.state == "" {
				if err != nil {
					rt.Fatalf("an open operation refused %s: %v", want, err)
				}
				m.state = want
				return
			}
			e, ok := errors.AsType[*wire.Error](err)
			if !ok || e.Code != wire.OpGone || e.State != m.state {
				rt.Fatalf("decided as %s, a phone that wants %s was told %v", m.state, want, err)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"approve": func(rt *rapid.T) {
				answer(rt, "COMPLETED", func(p *sdk.Phone) error {
					_, err := p.Approve(rt.Context(), shown[p], rig.PIN, "")
					return err
				})
			},
			"decline": func(rt *rapid.T) {
				answer(rt, "DECLINED", func(p *sdk.Phone) error { _, err := p.Decline(rt.Context(), shown[p], false); return err })
			},
			"report": func(rt *rapid.T) {
				answer(rt, "REPORTED", func(p *sdk.Phone) error { _, err := p.Decline(rt.Context(), shown[p], true); return err })
			},
			"wait": func(rt *rapid.T) { r.Clock.Advance(time.Duration(rapid.IntRange(1, 50).Draw(rt, "s")) * time.Second) },
			"list": func(rt *rapid.T) {
				ops, err := rapid.SampledFrom(phones).Draw(rt, "phone").List(rt.Context())
				if open := m.state == "" && !due(); err != nil || (len(ops) == 1) != open {
					rt.Fatalf("open %v, listed %d, %v", open, len(ops), err)
				}
			},
			"": func(rt *rapid.T) {
				var got string
				r.SQL(func(tx *db.Tx) error {
					d, err := tx.Decision(op.Txn)
					if errors.Is(err, db.ErrNotFound) {
						return nil
					}
					got = d.State
					return err
				})
				if got != m.state {
					rt.Fatalf("the database says %q, the model %q", got, m.state)
				}
			},
		})
		// However it went, tokens come of an approval, in time, and of nothing else.
		if m.state == "" {
			r.Clock.Advance(200 * time.Second)
		}
		a := r.Poll(r.Backend, ack.Text("auth_req_id"))
		want := map[string]string{"": "expired_token", "EXPIRED": "expired_token", "COMPLETED": "", "DECLINED": "access_denied", "REPORTED": "access_denied"}[m.state]
		if m.state == "COMPLETED" && !r.Clock.Now().Before(m.expires) {
			want = "expired_token"
		}
		if a.Text("error") != want || (a.Text("access_token") != "") != (want == "") {
			rt.Fatalf("decided as %q, the token endpoint says %s", m.state, a)
		}
	})
}

// I13: after a stop nothing runs on.
func TestAStoppedServerLeavesNothingRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	r.Redeem(r.Login(r.Browser(), u, p).Get("code"))
	r.Stop()
	goleak.VerifyNone(t, before)
}
