package channel_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"strconv"
	"sync"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
)

type number struct {
	N int `json:"n"`
}

func TestEachReplyCarriesTheHeadOfTheNextCall(t *testing.T) {
	b := newBench(t)
	p := b.register()
	for n := range 3 {
		before := p.head
		r := p.call(wire.OpAnswer, number{n})
		if code(r) != "ok" || string(r.Body) != `{"n":`+strconv.Itoa(n)+`}` || r.Head == before {
			t.Fatalf("call %d: %+v", n, r)
		}
	}
	if b.woken.Load() != 3 {
		t.Fatalf("woken %d times", b.woken.Load())
	}
}

func TestD1_TheSameBytesGetTheSameReplyAndCountOnce(t *testing.T) {
	b := newBench(t)
	p := b.register()
	sent := p.seal(wire.OpAnswer, number{7}, nil)
	first, same := b.resent(sent)
	same("at once")
	b.clk.Advance(5 * time.Minute)
	same("after its exp")
	b.srv = b.newServer()
	same("after a restart, when its key is gone")
	if b.answers.Load() != 1 || b.woken.Load() != 1 {
		t.Fatalf("counted %d, woken %d", b.answers.Load(), b.woken.Load())
	}
	r, _ := wire.OpenReply(sent, first)
	p.head = r.Head
	p.call(wire.OpAnswer, number{8})
	if _, err := b.srv.RPC(t.Context(), []byte(sent.JWE), ""); !isOuter(err, wire.OuterUnknownKey) {
		t.Fatalf("after the next head was spent: %v", err)
	}
	if p.state() != db.DeviceActive {
		t.Fatal("a replay suspended the device")
	}
}

func TestD1_AReplayAfterTheNextCallDoesNothing(t *testing.T) {
	b := newBench(t)
	p := b.register()
	old := p.seal(wire.OpAnswer, number{1}, nil)
	p.head = p.mustSend(old).Head
	p.call(wire.OpAnswer, number{2})
	wantCode(t, p.mustSend(old), wire.Resync)
	wantCode(t, p.call(wire.OpList, wire.List{}), "ok")
	if b.answers.Load() != 2 {
		t.Fatalf("counted %d", b.answers.Load())
	}
}

func TestD10_ThirtyTwoParallelSendsOfOneHeadCountOnceAndFork(t *testing.T) {
	b := newBench(t)
	p := b.register()
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	for n := range 32 {
		sent := p.seal(wire.OpAnswer, map[string]any{"n": n, "fail": true}, nil)
		wg.Go(func() {
			r, err := p.send(sent)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			got[code(r)]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if got[wire.AuthFailed] != 1 || got[wire.Fork] != 31 || b.answers.Load() != 1 {
		t.Fatalf("replies %v, counted %d", got, b.answers.Load())
	}
	if p.state() != db.DeviceSuspended || b.forks.Load() != 1 {
		t.Fatalf("state %s, %d alerts", p.state(), b.forks.Load())
	}
}

func TestTheSameBytesInParallelActOnce(t *testing.T) {
	b := newBench(t)
	p := b.register()
	sent := p.seal(wire.OpAnswer, number{1}, nil)
	replies := make([]string, 32)
	var wg sync.WaitGroup
	for i := range replies {
		wg.Go(func() {
			out, err := b.srv.RPC(context.Background(), []byte(sent.JWE), "")
			if err != nil {
				t.Error(err)
			}
			replies[i] = string(out)
		})
	}
	wg.Wait()
	for _, r := range replies {
		if r != replies[0] {
			t.Fatal("two different replies")
		}
	}
	if b.answers.Load() != 1 || b.woken.Load() != 1 {
		t.Fatalf("counted %d, woken %d", b.answers.Load(), b.woken.Load())
	}
}

func TestSyncTellsTheResultOfALostReply(t *testing.T) {
	for _, fail := range []bool{false, true} {
		b := newBench(t)
		p := b.register()
		lost := p.seal(wire.OpAnswer, map[string]any{"n": 9, "fail": fail}, nil)
		p.mustSend(lost)
		r := p.call(wire.OpSync, sync1(lost))
		var res wire.Result
		if code(r) != "ok" || wire.Unmarshal(r.Body, &res) != nil {
			t.Fatalf("sync: %+v", r.Result)
		}
		if fail && (res.Err == nil || res.Err.Code != wire.AuthFailed || *res.Err.Left != 2) {
			t.Fatalf("result %+v", res)
		}
		if !fail && string(res.Body) != `{"n":9}` {
			t.Fatalf("result %+v", res)
		}
		wantCode(t, p.mustSend(lost), wire.Stale) // a copy of it still on the way
		wantCode(t, p.call(wire.OpAnswer, number{1}), "ok")
		if p.state() != db.DeviceActive || b.answers.Load() != 2 {
			t.Fatalf("state %s, counted %d", p.state(), b.answers.Load())
		}
	}
}

func TestSyncDeclaresAnUnseenRequestOver(t *testing.T) {
	b := newBench(t)
	p := b.register()
	late := p.seal(wire.OpAnswer, number{1}, nil)
	wantCode(t, p.call(wire.OpSync, sync1(late)), wire.NotSeen)
	wantCode(t, p.mustSend(late), wire.Stale)
	wantCode(t, p.call(wire.OpAnswer, number{2}), "ok")
	wantCode(t, p.mustSend(late), wire.Stale)
	if p.state() != db.DeviceActive || b.answers.Load() != 1 {
		t.Fatalf("state %s, counted %d", p.state(), b.answers.Load())
	}
}

func TestASyncWhoseReplyIsLostIsAskedAgain(t *testing.T) {
	for _, seen := range []bool{false, true} {
		b := newBench(t)
		p := b.register()
		call := p.seal(wire.OpAnswer, number{3}, nil)
		want := wire.NotSeen
		if seen {
			p.mustSend(call)
			want = "ok"
		}
		s1 := p.seal(wire.OpSync, sync1(call), nil)
		p.mustSend(s1)
		s2 := p.seal(wire.OpSync, sync1(call, s1), nil)
		r := p.mustSend(s2)
		wantCode(t, r, want)
		p.head = r.Head
		wantCode(t, p.mustSend(s1), wire.Stale)
		wantCode(t, p.mustSend(call), wire.Stale)
		wantCode(t, p.call(wire.OpAnswer, number{4}), "ok")
	}
}

func TestASpentHeadUnderAnotherRequestIsAFork(t *testing.T) {
	for _, op := range []string{wire.OpAnswer, wire.OpSync} {
		b := newBench(t)
		p := b.register()
		copied := *p
		p.call(wire.OpAnswer, number{1})
		never := p.seal(wire.OpAnswer, number{5}, nil)
		var body any = number{2}
		if op == wire.OpSync {
			body = sync1(never)
		}
		wantCode(t, copied.call(op, body), wire.Fork)
		if p.state() != db.DeviceSuspended || b.forks.Load() != 1 {
			t.Fatalf("%s: state %s", op, p.state())
		}
		wantCode(t, p.call(wire.OpAnswer, number{3}), wire.Fork)
		wantCode(t, p.call(wire.OpList, wire.List{}), wire.Fork)
	}
}

func TestAHeadNeverIssuedIsResync(t *testing.T) {
	b := newBench(t)
	p := b.register()
	good := p.head
	p.head = wire.Encode(make([]byte, 32))
	wantCode(t, p.call(wire.OpAnswer, number{1}), wire.Resync)
	p.head = good
	wantCode(t, p.call(wire.OpAnswer, number{1}), "ok")
}

func TestAResendOfRegBeginGetsTheSameDevice(t *testing.T) {
	b := newBench(t)
	for _, ticket := range []string{"good", "bad"} {
		p := &phone{b: b}
		p.dsk, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		sent := p.seal(wire.OpRegBegin, wire.RegBegin{Ticket: ticket}, nil)
		one, two := p.mustSend(sent), p.mustSend(sent)
		if code(one) != code(two) || one.Head != two.Head || string(one.Body) != string(two.Body) {
			t.Fatalf("%+v then %+v", one, two)
		}
	}
	if b.answers.Load() != 1 {
		t.Fatalf("a wrong code counted %d times", b.answers.Load())
	}
}

func TestD4_ADeviceInAnotherStateIsRefused(t *testing.T) {
	until := time.Unix(1_800_000_000, 0).Add(time.Hour)
	cases := []struct {
		state, want string
		set         func(tx *db.Tx, id string) error
	}{
		{db.DeviceLocked, wire.DeviceBlocked, func(tx *db.Tx, id string) error { return tx.SetDeviceState(id, db.DeviceLocked) }},
		{db.DeviceBlocked, wire.DeviceBlocked, func(tx *db.Tx, id string) error { return tx.BlockDevice(id, until) }},
		{db.DeviceSuspended, wire.Fork, func(tx *db.Tx, id string) error { return tx.SetDeviceState(id, db.DeviceSuspended) }},
		{db.DeviceDeactivated, wire.DeviceRemoved, func(tx *db.Tx, id string) error { return tx.SetDeviceState(id, db.DeviceDeactivated) }},
	}
	for _, c := range cases {
		t.Run(c.state, func(t *testing.T) {
			b := newBench(t)
			p := b.register()
			b.update(func(tx *db.Tx) error { return c.set(tx, p.device) })
			for _, op := range []string{wire.OpList, wire.OpAnswer} {
				r := p.call(op, number{1})
				wantCode(t, r, c.want)
				if c.state == db.DeviceBlocked && r.Err.Until != until.Unix() {
					t.Fatalf("until %d", r.Err.Until)
				}
			}
			if b.answers.Load() != 0 {
				t.Fatal("a refused call was counted")
			}
			if c.state == db.DeviceBlocked {
				b.clk.Advance(2 * time.Hour)
				wantCode(t, p.call(wire.OpAnswer, number{1}), "ok")
				if p.state() != db.DeviceActive {
					t.Fatalf("state %s after the block", p.state())
				}
			}
		})
	}
}

func TestAKeySetIsSignedForItsChallenge(t *testing.T) {
	b := newBench(t)
	c := wire.Encode(make([]byte, 16))
	jws, err := b.srv.Keys(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	jwk, _ := wire.PublicJWK(b.ssk)
	pin := jwk.KeyID()
	other := sha256.Sum256(nil)
	for name, open := range map[string]func() error{
		"another challenge": func() error { _, _, err := wire.OpenKeySet(jws, issuer, pin, c+"A"); return err },
		"another pin":       func() error { _, _, err := wire.OpenKeySet(jws, issuer, wire.Encode(other[:]), c); return err },
		"another server":    func() error { _, _, err := wire.OpenKeySet(jws, issuer+"/", pin, c); return err },
		"cut":               func() error { _, _, err := wire.OpenKeySet(jws[:len(jws)-1], issuer, pin, c); return err },
	} {
		if open() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	ks, _, err := wire.OpenKeySet(jws, issuer, pin, c)
	if err != nil || len(ks.Sup.Ops) == 0 || ks.Exp-ks.Iat != 900 {
		t.Fatalf("%+v %v", ks, err)
	}
	if _, err := b.srv.Keys(t.Context(), "short"); !isOuter(err, wire.OuterMalformed) {
		t.Fatalf("short challenge: %v", err)
	}
}
