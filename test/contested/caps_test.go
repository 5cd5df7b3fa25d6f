package contested

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// backends are n trusted CIBA clients.
func backends(r *rig.Rig, n int) []node.NewClient {
	out := make([]node.NewClient, n)
	for i := range out {
		out[i] = r.Client(node.ClientOptions{Name: fmt.Sprint("Backend ", i), Binding: "trusted", RevealUnknownUser: true,
			Grants: []string{"urn:openid:params:grant-type:ciba"}, Scopes: []string{"openid"}})
	}
	return out
}

func start(r *rig.Rig, c node.NewClient, hint string) (rig.Answer, error) {
	return r.TryPost("/bc-authorize", c, url.Values{"scope": {"openid"}, "login_hint": {hint}})
}

// The cap is exact however the user is spelled: D10's alternating spellings.
func TestR5_C18_SixtyFourStartsOfManyClientsAreThreePrompts(t *testing.T) {
	t.Parallel()
	rig.Contested(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		hints := []string{u.ExternalRef, "userId:" + u.ID, "userId:" + u.ID + " deviceId:" + r.State(p).Device}
		clients := backends(r, 64)
		got := rig.Crowd(64, func(i int) string { return rig.Word(start(r, clients[i], hints[i%3])) })
		if words := rig.Count(got); words["200"] != 3 || words["403 access_denied"]+words["400 access_denied"] != 61 {
			t.Fatal(words)
		}
		ops, err := p.List(t.Context())
		if err != nil || len(ops) != 3 {
			t.Fatalf("%d prompts, %v", len(ops), err)
		}
		// An answer frees its place for exactly one more.
		if _, err := p.Approve(t.Context(), &ops[0], rig.PIN, ""); err != nil {
			t.Fatal(err)
		}
		var idle []node.NewClient
		for i, w := range got {
			if w != "200" {
				idle = append(idle, clients[i])
			}
		}
		got = rig.Crowd(len(idle), func(i int) string { return rig.Word(start(r, idle[i], hints[i%3])) })
		if words := rig.Count(got); words["200"] != 1 || words["403 access_denied"]+words["400 access_denied"] != len(idle)-1 {
			t.Fatal(words)
		}
	})
}

func TestC20_SixtyFourStartsOfOneClientLeaveOnePromptAndTellTheRest(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		got := rig.Crowd(64, func(i int) rig.Answer {
			a, err := start(r, r.Backend, u.ExternalRef)
			if err != nil {
				t.Error(err)
			}
			return a
		})
		if words := rig.Count(each(got, func(a rig.Answer) string { return rig.Word(a, nil) })); !words.Is(rig.Tally{"200": 64}) {
			t.Fatal(words)
		}
		op := r.Waiting(p)
		if _, err := p.Approve(t.Context(), op, rig.PIN, ""); err != nil {
			t.Fatal(err)
		}
		// All others are told at once that they are over; nobody waits for nothing.
		polled := rig.Crowd(64, func(i int) string { return rig.Word(r.TryPoll(r.Backend, got[i].Text("auth_req_id"))) })
		if words := rig.Count(polled); !words.Is(rig.Tally{"200": 1, "400 access_denied": 63}) {
			t.Fatal(words)
		}
	})
}

func wrong(t *testing.T, r *rig.Rig, p *sdk.Phone, op *wire.Operation) *wire.Error {
	t.Helper()
	_, err := p.Approve(t.Context(), op, rig.WrongPIN, "")
	return r.Refused(err, wire.AuthFailed)
}

func TestD10_WrongPINsInSequenceBlockAtTheAppsLimit(t *testing.T) {
	t.Parallel()
	for limit := int64(1); limit <= 5; limit++ {
		t.Run(fmt.Sprint("limit ", limit), func(t *testing.T) {
			r := rig.Start(t, rig.Options{Policy: identity.Policy{FailureLimit: limit, BlockFor: 10 * time.Minute}})
			u, p := r.Person()
			r.Ask(r.Backend, u, "requested_expiry", "600")
			op := r.Waiting(p)
			for left := int(limit); left > 0; left-- {
				if now := r.Waiting(p); now.Left != left {
					t.Fatalf("the list says %d left, want %d", now.Left, left)
				}
				e := wrong(t, r, p, op)
				if *e.Left != left-1 || (e.Until != 0) != (left == 1) {
					t.Fatalf("with %d left: told %d left, until %d", left, *e.Left, e.Until)
				}
			}
			_, err := p.Approve(t.Context(), op, rig.PIN, "")
			if e := r.Refused(err, wire.DeviceBlocked); e.Until != r.Clock.Now().Add(10*time.Minute).Unix() {
				t.Fatalf("blocked until %d", e.Until)
			}
			if d := r.Device(p); d.State != db.DeviceBlocked || d.Failures != limit {
				t.Fatalf("the device is %s with %d failures", d.State, d.Failures)
			}
			// It was the only phone, so nobody waits for it.
			if out, _ := r.Decision(op.Txn); out.State != "LOCKED" {
				t.Fatalf("the operation is %q", out.State)
			}
			r.Clock.Advance(10 * time.Minute)
			r.Ask(r.Backend, u)
			r.Approve(p, "")
			if d := r.Device(p); d.State != db.DeviceActive || d.Failures != 0 {
				t.Fatalf("after the block the device is %s with %d failures", d.State, d.Failures)
			}
		})
	}
}

func TestD10_OnlyAProvenPINResetsTheCounter(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	r.Ask(r.Backend, u)
	op := r.Waiting(p)
	wrong(t, r, p, op)
	wrong(t, r, p, op)
	if _, err := p.Decline(t.Context(), op, false); err != nil {
		t.Fatal(err)
	}
	r.Clock.Advance(time.Minute)
	r.Ask(r.Backend, u)
	if op := r.Waiting(p); op.Left != 1 {
		t.Fatalf("a decline reset the counter: %d left", op.Left)
	}
	r.Approve(p, "")
	if d := r.Device(p); d.Failures != 0 {
		t.Fatalf("%d failures after the right PIN", d.Failures)
	}
}

func TestD10_WrongPINsInParallelUnderOneHeadCountOnce(t *testing.T) {
	t.Parallel()
	rig.Everywhere(t, func(t *testing.T, r *rig.Rig) {
		u, p := r.Person()
		r.Ask(r.Backend, u)
		op := r.Waiting(p)
		clones := make([]*sdk.Phone, 8)
		for i := range clones {
			clones[i] = r.Copy(p)
		}
		got := rig.Crowd(len(clones), func(i int) string {
			_, err := clones[i].Approve(t.Context(), op, rig.WrongPIN, "")
			return rig.Sealed(err)
		})
		if words := rig.Count(got); !words.Is(rig.Tally{wire.AuthFailed: 1, wire.Fork: 7}) {
			t.Fatal(words)
		}
		if d := r.Device(p); d.Failures != 1 || d.State != db.DeviceSuspended {
			t.Fatalf("%d failures, %s", d.Failures, d.State)
		}
		if now := r.Reread(u); now.FailCount != 1 {
			t.Fatalf("%d failures of the user", now.FailCount)
		}
	})
}

// noon keeps a test's day whole, whenever it runs.
func noon(r *rig.Rig) {
	now := r.Clock.Now()
	r.Clock.Advance(time.Unix((now.Unix()/86400+1)*86400, 0).Add(12 * time.Hour).Sub(now))
}

func TestD10_AcrossAUsersPhonesTenWrongPINsADay(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	noon(r)
	u, first := r.Person()
	phones := []*sdk.Phone{first}
	for range 4 {
		phones = append(phones, r.Registered(u))
	}
	r.Ask(r.Backend, u, "requested_expiry", "600")
	op := func(p *sdk.Phone) *wire.Operation { return r.Waiting(p) }
	n := 0
	for _, p := range phones[:3] {
		for left := 2; left >= 0; left-- {
			n++
			if e := wrong(t, r, p, op(p)); *e.Left != min(left, 10-n) {
				t.Fatalf("failure %d: %d left", n, *e.Left)
			}
		}
	}
	// Nine are gone: whichever phone is next has one try, and is told so before.
	if got := op(phones[3]); got.Left != 1 {
		t.Fatalf("before the day's last try the phone is told %d left", got.Left)
	}
	last := op(phones[3])
	e := wrong(t, r, phones[3], last)
	midnight := time.Unix((r.Clock.Now().Unix()/86400+1)*86400, 0)
	if *e.Left != 0 || e.Until != midnight.Unix() {
		t.Fatalf("the tenth failure: %d left until %d", *e.Left, e.Until)
	}
	if out, _ := r.Decision(last.Txn); out.State != "LOCKED" {
		t.Fatalf("the operation is %q although no phone may answer today", out.State)
	}
	// The fifth phone is untouched, and yet: no eleventh try, not even a right one.
	r.Ask(r.Backend, u)
	if got := op(phones[4]); got.Left != 0 {
		t.Fatalf("%d left on the fifth phone", got.Left)
	}
	_, err := phones[4].Approve(t.Context(), op(phones[4]), rig.PIN, "")
	if e := r.Refused(err, wire.DeviceBlocked); e.Until != midnight.Unix() {
		t.Fatalf("the fifth phone is blocked until %d", e.Until)
	}
	if now := r.Reread(u); now.FailCount != 10 {
		t.Fatalf("%d failures counted", now.FailCount)
	}
	r.Clock.Advance(midnight.Sub(r.Clock.Now()))
	r.Ask(r.Backend, u)
	r.Approve(phones[4], "")
}

// In one day ten, however the blocks end in between.
func TestD10_BlocksThatEndDoNotGiveMoreThanTenADay(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{Policy: identity.Policy{FailureLimit: 3, BlockFor: time.Minute}})
	noon(r)
	u, p := r.Person()
	tries := 0
	for range 20 {
		a, err := start(r, r.Backend, "userId:"+u.ID)
		if rig.Word(a, err) != "200" {
			break
		}
		ops, err := p.List(t.Context())
		if err != nil || len(ops) != 1 {
			break
		}
		for {
			if _, err := p.Approve(t.Context(), &ops[0], rig.WrongPIN, ""); rig.Sealed(err) != wire.AuthFailed {
				break
			}
			tries++
		}
		r.Clock.Advance(time.Minute)
	}
	if tries != 10 {
		t.Fatalf("%d wrong PINs could be tried in a day", tries)
	}
}
