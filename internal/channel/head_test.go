package channel_test

import (
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
)

// A copy made two or more messages ago presents a head that is neither current
// nor the one spent last; it is known all the same.
func TestACopyFromLongAgoIsAFork(t *testing.T) {
	b := newBench(t)
	p := b.register()
	then := p.head
	for i := range 3 {
		p.call(wire.OpAnswer, number{i})
	}
	latest := p.head
	b.clk.Advance(time.Minute)
	p.head = then
	wantCode(t, p.call(wire.OpAnswer, number{9}), wire.Fork)
	if p.state() != db.DeviceSuspended || b.forks.Load() != 1 {
		t.Fatalf("state %s, %d alarms", p.state(), b.forks.Load())
	}
	p.head = latest
	wantCode(t, p.call(wire.OpAnswer, number{9}), wire.Fork)
}

// Right after the heads were spent an old head may be a replay, and replays
// raise no alarm.
func TestAnOldHeadThatMayBeAReplayIsResync(t *testing.T) {
	b := newBench(t)
	p := b.register()
	then := p.head
	for i := range 3 {
		p.call(wire.OpAnswer, number{i})
	}
	p.head = then
	wantCode(t, p.call(wire.OpAnswer, number{9}), wire.Resync)
	if p.state() != db.DeviceActive {
		t.Fatal("a replay suspended the device")
	}
}

// A database restored from a backup has not reached the phone's head yet.
func TestAHeadFromALostFutureIsResync(t *testing.T) {
	b := newBench(t)
	p := b.register()
	var backup db.Chain
	read := func(tx *db.Tx) error {
		d, err := tx.Device(p.device)
		backup = d.Chain
		return err
	}
	b.update(read)
	id := p.device
	for i := range 3 {
		p.call(wire.OpAnswer, number{i})
	}
	b.update(func(tx *db.Tx) error { return tx.SetChain(id, backup) })
	b.clk.Advance(time.Minute)
	wantCode(t, p.call(wire.OpAnswer, number{9}), wire.Resync)
	if p.state() != db.DeviceActive {
		t.Fatal("a restored backup suspended the device")
	}
}
