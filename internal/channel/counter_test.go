package channel_test

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
)

// D14: the head is the device's counter. One that goes back is a copy; ones that run
// ahead, however many, are refused by themselves, without a search and without a trace.
func TestD14_ACounterThatGoesBackIsFlaggedAndAFloodAheadChangesNothing(t *testing.T) {
	b := newBench(t)
	p := b.register()
	first := p.head
	for i := range 2 {
		p.call(wire.OpAnswer, number{i})
	}
	row := func() (d db.Device) {
		b.update(func(tx *db.Tx) (err error) { d, err = tx.Device(p.device); return err })
		return d
	}
	before, current := row(), p.head
	for ahead := range int64(300) {
		h, err := wire.Decode32(current)
		if err != nil {
			t.Fatal(err)
		}
		binary.BigEndian.PutUint64(h[24:], binary.BigEndian.Uint64(h[24:])+1<<uint(ahead%60)+uint64(ahead)) // a number to come, under the MAC of now
		p.head = wire.Encode(h[:])
		wantCode(t, p.mustSend(p.seal(wire.OpAnswer, number{9}, nil)), wire.Resync)
	}
	if now := row(); !reflect.DeepEqual(now, before) || b.answers.Load() != 2 {
		t.Fatalf("the flood left %+v", now)
	}
	p.head = current
	wantCode(t, p.call(wire.OpAnswer, number{2}), "ok")
	b.clk.Advance(time.Minute)
	p.head = first
	wantCode(t, p.call(wire.OpAnswer, number{5}), wire.Fork)
	if p.state() != db.DeviceSuspended || b.forks.Load() != 1 {
		t.Fatalf("state %s, %d alarms", p.state(), b.forks.Load())
	}
}

// D7: one request that is sent often has one key for its replies; no two of them share a
// nonce, and a server that was started again has no key to open it with.
func TestD7_RepliesUnderOneKeyShareNoNonce(t *testing.T) {
	b := newBench(t)
	p := b.register()
	sent := p.seal(wire.OpList, wire.List{}, nil)
	seen := map[string]bool{}
	for range 500 {
		out, err := b.srv.RPC(t.Context(), []byte(sent.JWE), "")
		if err != nil {
			t.Fatal(err)
		}
		seen[strings.Split(string(out), ".")[2]] = true
	}
	if len(seen) != 500 {
		t.Fatal(fmt.Sprint(len(seen), " nonces of 500 replies"))
	}
	b.srv = b.newServer()
	if _, err := b.srv.RPC(t.Context(), []byte(sent.JWE), ""); !isOuter(err, wire.OuterUnknownKey) {
		t.Fatal(err)
	}
}
