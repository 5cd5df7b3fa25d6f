package attacks

import (
	"encoding/json"
	"testing"

	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// The seal of a reply hides all but its length, so equal lengths are equal replies
// to whoever listens; inside, one code stands for every way a proof can be wrong.
func TestD11_EveryWrongProofIsTheSameReply(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	lengths := map[int]bool{}
	for name, change := range map[string]func(*wire.Answer){
		"another PIN":       nil,
		"zeros":             func(a *wire.Answer) { a.KPF = make([]byte, 32) },
		"a proof too short": func(a *wire.Answer) { a.KPF = a.KPF[:16] },
		"a proof too long":  func(a *wire.Answer) { a.KPF = append(a.KPF, 0) },
		"one bit":           func(a *wire.Answer) { a.KPF[31] ^= 1 },
	} {
		u, p := r.Person()
		r.Ask(r.Backend, u)
		op := r.Waiting(p)
		var body wire.Answer
		pin := rig.PIN
		if change == nil {
			pin = rig.WrongPIN
		}
		if err := json.Unmarshal(answer(t, r, p, op, pin, nil), &body); err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(&body)
		}
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		sent := r.Seal(p, wire.OpAnswer, text, nil)
		a := r.RPC(sent.JWE)
		reply, err := wire.OpenReply(sent, []byte(a.Body))
		if err != nil {
			t.Fatal(err)
		}
		if told(reply) != wire.AuthFailed || *reply.Err.Left != 2 || reply.Err.Need != nil || reply.Err.State != "" || reply.Body != nil {
			t.Errorf("%s: %+v", name, reply.Err)
		}
		lengths[len(a.Body)] = true
		if d := r.Device(p); d.Failures != 1 {
			t.Errorf("%s: %d failures", name, d.Failures)
		}
	}
	if len(lengths) != 1 {
		t.Errorf("replies of different lengths: %v", lengths)
	}
}

func TestAnApprovalWithoutAProofIsNoFailureAndNoApproval(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	r.Ask(r.Backend, u)
	op := r.Waiting(p)
	var body wire.Answer
	if err := json.Unmarshal(answer(t, r, p, op, rig.PIN, nil), &body); err != nil {
		t.Fatal(err)
	}
	body.KPF = nil
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	if reply := r.Call(p, wire.OpAnswer, text, nil); told(reply) != wire.Need || reply.Err.Need[0] != wire.FactorPIN {
		t.Fatalf("%+v", reply.Err)
	}
	if _, decided := r.Decision(op.Txn); decided || r.Device(p).Failures != 0 {
		t.Fatal("something was decided or counted")
	}
}

func TestC19_WithoutTheNumberOnTheScreenNothingIsApproved(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	ack := r.Ask(r.Match, u)
	op := r.Waiting(p)
	for n, typed := range []string{"", "000", "abc"} {
		_, err := p.Approve(t.Context(), op, rig.PIN, typed)
		if e := r.Refused(err, wire.MatchFailed); *e.Left != 2-n {
			t.Fatalf("%q: %d left", typed, *e.Left)
		}
	}
	_, err := p.Approve(t.Context(), op, rig.PIN, ack.Text("mobileid_match_code"))
	if e := r.Refused(err, wire.OpGone); e.State != "LOCKED" {
		t.Fatalf("the fourth try: %+v", e)
	}
	is(t, "the client", r.Poll(r.Match, ack.Text("auth_req_id")), nil, "400 access_denied")
	// Numbers are no PINs: nothing was counted on the phone.
	if d := r.Device(p); d.Failures != 0 || r.Reread(u).FailCount != 0 {
		t.Fatalf("%d failures", d.Failures)
	}
	ack = r.Ask(r.Match, u)
	r.Approve(p, ack.Text("mobileid_match_code"))
	is(t, "the next", r.Poll(r.Match, ack.Text("auth_req_id")), nil, "200")
}

// Wrong numbers of several phones are three together, not three each.
func TestC19_WrongNumbersCountPerOperation(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, one := r.Person()
	two := r.Registered(u)
	r.Ask(r.Match, u)
	a, b := r.Waiting(one), r.Waiting(two)
	_, err := one.Approve(t.Context(), a, rig.PIN, "1")
	r.Refused(err, wire.MatchFailed)
	_, err = two.Approve(t.Context(), b, rig.PIN, "1")
	if e := r.Refused(err, wire.MatchFailed); *e.Left != 1 {
		t.Fatalf("%d left", *e.Left)
	}
	_, err = one.Approve(t.Context(), a, rig.PIN, "1")
	r.Refused(err, wire.MatchFailed)
	_, err = two.Approve(t.Context(), b, rig.PIN, "1")
	r.Refused(err, wire.OpGone)
}

// With the wrong number and the wrong PIN the number is told first: it is not
// the secret, and a stolen phone learns nothing of the PIN by it.
func TestC19_AWrongNumberIsToldBeforeThePINIsLookedAt(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	r.Ask(r.Match, u)
	_, err := p.Approve(t.Context(), r.Waiting(p), rig.WrongPIN, "000")
	r.Refused(err, wire.MatchFailed)
	if d := r.Device(p); d.Failures != 0 {
		t.Fatalf("%d failures", d.Failures)
	}
}
