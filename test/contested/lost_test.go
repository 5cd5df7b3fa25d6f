package contested

import (
	"net/http"
	"sync/atomic"
	"testing"

	"mobileid/test/rig"
)

// cut loses replies while it is on: the server has done what it was asked.
type cut struct {
	under http.RoundTripper
	on    atomic.Bool
}

func (c *cut) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := c.under.RoundTrip(req)
	if err == nil && c.on.Load() {
		res.Body.Close()
		return nil, errLost
	}
	return res, err
}

// R11: the reply is lost after the commit. Whoever asks again, at the other node,
// is told what was done, and it is not done again.
func TestR11_AfterALostReplyTheTruthIsToldAgain(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		behind := func(at *rig.Rig) (*rig.Rig, *cut) {
			out, client := *at, *at.HTTP
			c := &cut{under: client.Transport}
			if c.under == nil {
				c.under = http.DefaultTransport
			}
			client.Transport = c
			out.HTTP = &client
			return &out, c
		}
		bad, line := behind(r.At(0))
		u, p := r.Person()
		id := r.Ask(r.Backend, u).Text("auth_req_id")
		op := r.Waiting(p)
		p.HTTP, p.Pause = bad.HTTP, func(int) {}
		line.on.Store(true)
		if _, err := p.Approve(t.Context(), op, rig.PIN, ""); err == nil {
			t.Fatal("the reply was not lost")
		}
		first, decided := r.Decision(op.Txn)
		if !decided {
			t.Fatal("the request was lost, not the reply")
		}
		p.HTTP = r.At(1).HTTP
		out, err := p.Resume(t.Context())
		if err != nil || out == nil || out.Txn != op.Txn || out.Err != nil {
			t.Fatalf("resumed: %+v, %v", out, err)
		}
		if again, _ := r.Decision(op.Txn); !again.At.Equal(first.At) {
			t.Fatal("decided again")
		}
		if a := r.Poll(r.Backend, id); a.Status != 200 {
			t.Fatalf("the client is told %s", a)
		}

		// A refresh whose reply is lost: the same successor, at the other node too.
		line.on.Store(false)
		p.HTTP = r.HTTP
		token := r.Redeem(r.Login(r.Browser(), u, p).Get("code")).Text("refresh_token")
		line.on.Store(true)
		if _, err := bad.TryRefresh(token); err == nil {
			t.Fatal("the reply was not lost")
		}
		one, two := refreshed(t, r.At(1), token), refreshed(t, r.At(0), token)
		if one == "" || one != two || one == token {
			t.Fatal("not the same successor")
		}

		// A code is good once, also if nobody heard what it gave; the grant ends.
		code := r.Login(r.Browser(), u, p).Get("code")
		if _, err := bad.TryRedeem(code); err == nil {
			t.Fatal("the reply was not lost")
		}
		if a, err := r.At(1).TryRedeem(code); rig.Word(a, err) != "400 invalid_grant" {
			t.Fatalf("the code again: %s %v", a, err)
		}
	})
}

func refreshed(t *testing.T, r *rig.Rig, token string) string {
	t.Helper()
	a, err := r.TryRefresh(token)
	if rig.Word(a, err) != "200" {
		t.Fatalf("the refresh again: %s %v", a, err)
	}
	return a.Text("refresh_token")
}
