package contested

import (
	"math/rand/v2"
	"net/url"
	"testing"
	"time"

	"mobileid/internal/operation"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// rival is one of two who end the same login at once, each by its own node.
type rival struct {
	r     *rig.Rig
	phone *sdk.Phone
	op    *wire.Operation
	page  rig.Page
	b     *rig.Browser
}

// moves are what a rival may do: the state that it wants, and what it is told,
// "" where that is nothing.
var moves = []struct {
	want operation.State
	do   func(t *testing.T, v *rival) (told string)
}{
	{operation.Completed, func(t *testing.T, v *rival) string {
		return heard(v.phone.Approve(t.Context(), v.op, rig.PIN, v.page.Match()))
	}},
	{operation.Declined, func(t *testing.T, v *rival) string {
		return heard(v.phone.Decline(t.Context(), v.op, false))
	}},
	{operation.Cancelled, func(_ *testing.T, v *rival) string {
		return sent(v.b.Submit(v.page.URL.String()+"/cancel", url.Values{"csrf": {v.page.CSRF()}}))
	}},
	{operation.Expired, func(_ *testing.T, v *rival) string {
		v.r.Clock.Advance(time.Millisecond)
		return sent(v.b.Open(v.page.URL.String()))
	}},
}

// heard is the state that a phone is told, whether by its own doing or not.
func heard(reply *wire.AnswerReply, err error) string {
	if e, ok := err.(*wire.Error); ok && e.Code == wire.OpGone {
		return e.State
	}
	return rig.Answered(reply, err)
}

// sent is what a browser is told of the outcome, if it is sent away with one.
func sent(p rig.Page) string {
	switch {
	case p.Left == nil:
		return ""
	case p.Left.Query().Get("code") != "":
		return "COMPLETED"
	}
	return "not COMPLETED"
}

// However two end a login at once, on one node or on two, there is one end, and
// all are told of it.
func TestR2_OfEveryPairOfMovesOneDecides(t *testing.T) {
	t.Parallel()
	rig.Contested(t, func(t *testing.T, r *rig.Rig) {
		u, first := r.Person()
		phones := []*sdk.Phone{first, r.Registered(u)}
		seen := rig.Tally{}
		for i := range moves {
			for j := range moves[:i+1] {
				for turn := range 2 {
					pair := [2]int{i, j}
					b := r.Browser()
					page := b.Open(r.AuthorizeURL("login_hint", u.ExternalRef))
					rivals := make([]rival, 2)
					for k := range rivals {
						at := r.At(k + turn)
						phones[k].HTTP = at.HTTP
						rivals[k] = rival{r: at, phone: phones[k], op: at.Waiting(phones[k]), page: page, b: at.Browser()}
						rivals[k].b.Jar = b.Jar
					}
					op := rivals[0].op
					if moves[i].want == operation.Expired || moves[j].want == operation.Expired {
						r.Clock.Advance(operation.DefaultLife - time.Millisecond)
					}
					told := rig.Crowd(2, func(k int) string {
						time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond) // a click is sooner done than an answer
						return moves[pair[k]].do(t, &rivals[k])
					})
					b.Open(page.URL.String()) // whoever let it expire may have been too early to see it
					out, decided := r.Decision(op.Txn)
					if !decided || out.State != moves[i].want && out.State != moves[j].want {
						t.Fatalf("%s‖%s: decided %v, %s", moves[i].want, moves[j].want, decided, out.State)
					}
					for k, told := range told {
						state := string(out.State)
						if told != "" && told != state && (told != "not COMPLETED" || state == "COMPLETED") {
							t.Fatalf("%s‖%s: rival %d is told %s, the row says %s", moves[i].want, moves[j].want, k, told, state)
						}
						// Whoever asks again, at the other node, hears the same.
						if again := heard(rivals[1-k].phone.Decline(t.Context(), rivals[1-k].op, false)); again != state {
							t.Fatalf("%s‖%s: told %s afterwards, the row says %s", moves[i].want, moves[j].want, again, state)
						}
					}
					seen[string(moves[i].want)+"‖"+string(moves[j].want)+": "+string(out.State)]++
					r.Clock.Advance(31 * time.Second) // a decline cools the client down
				}
			}
		}
		t.Log(seen)
	})
}
