package channel_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
)

// listed is a device that the server has just read for a list, so that its answer
// is checked by what was read then.
func (b *bench) listed() *phone {
	b.t.Helper()
	p := b.register()
	wantCode(b.t, p.call(wire.OpList, wire.List{}), "ok")
	return p
}

// rotate gives the device another signing key.
func rotate(tx *db.Tx, id string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	jwk, err := wire.PublicJWK(key)
	if err != nil {
		return err
	}
	text, err := json.Marshal(jwk)
	return errors.Join(err, tx.SetDeviceState(id, db.DevicePending), tx.SetKnowledge(id, []byte("sealed")), tx.ActivateDevice(id),
		tx.RotateDevice(id, string(text), jwk.KeyID(), []byte("sealed")))
}

func TestD4_ADeviceThatWasReadAMomentAgoIsJudgedByWhatItsRowSaysNow(t *testing.T) {
	for want, set := range map[string]func(tx *db.Tx, id string) error{
		wire.DeviceBlocked: func(tx *db.Tx, id string) error { return tx.SetDeviceState(id, db.DeviceLocked) },
		wire.Fork:          func(tx *db.Tx, id string) error { return tx.SetDeviceState(id, db.DeviceSuspended) },
		wire.DeviceRemoved: func(tx *db.Tx, id string) error { return tx.SetDeviceState(id, db.DeviceDeactivated) },
		wire.UnknownKey:    rotate,
	} {
		t.Run(want, func(t *testing.T) {
			b := newBench(t)
			p := b.listed()
			b.update(func(tx *db.Tx) error { return set(tx, p.device) })
			before := p.head
			for range 2 {
				wantCode(t, p.call(wire.OpAnswer, number{1}), want)
			}
			if b.answers.Load() != 0 || b.woken.Load() != 0 || p.head != before {
				t.Fatal("a refused call was carried out")
			}
		})
	}
}

// D1: also when the device is known from before, the same bytes get the same reply,
// after their exp and whatever became of the device's key.
func TestD1_AResendToAServerThatHasReadTheDeviceGetsTheStoredReply(t *testing.T) {
	b := newBench(t)
	p := b.listed()
	sent := p.seal(wire.OpAnswer, number{7}, nil)
	_, same := b.resent(sent)
	b.kvDown.Store(true)
	same("while kv is away") // R11
	wantCode(t, p.mustSend(p.seal(wire.OpAnswer, number{8}, nil)), wire.Unavailable)
	b.kvDown.Store(false)
	same("at once")
	b.update(func(tx *db.Tx) error { return rotate(tx, p.device) })
	same("under a new key")
	same("under a new key, which is known by now")
	b.clk.Advance(5 * time.Minute)
	same("after its exp")
	if b.answers.Load() != 1 || b.woken.Load() != 1 {
		t.Fatalf("counted %d, woken %d", b.answers.Load(), b.woken.Load())
	}
}

func TestD3_AForgedMessageInTheNameOfADeviceThatWasReadAMomentAgoIsRefused(t *testing.T) {
	b := newBench(t)
	p := b.listed()
	forged := p.seal(wire.OpAnswer, number{1}, nil)
	mallory := &phone{b: b, device: p.device, head: p.head}
	mallory.dsk, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	wantCode(t, mallory.call(wire.OpAnswer, number{1}), wire.UnknownKey)
	mallory.dsk.PublicKey = p.dsk.PublicKey // it names the right key and is not signed by it
	wantCode(t, mallory.call(wire.OpAnswer, number{1}), wire.UnknownKey)
	wantCode(t, p.mustSend(p.seal(wire.OpAnswer, number{1}, func(c *wire.Claims) { c.Iss = "dev_other" })), wire.UnknownKey)
	b.clk.Advance(2 * time.Minute)
	wantCode(t, p.mustSend(forged), wire.ClockOff)
	if b.answers.Load() != 0 || p.state() != db.DeviceActive {
		t.Fatal("a refused call was carried out")
	}
	wantCode(t, p.call(wire.OpAnswer, number{2}), "ok")
}
