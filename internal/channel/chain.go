package channel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
)

// abandonedMost bounds the jtis a device row remembers as declared not seen.
// They matter while a late request would still pass its exp: a minute.
const abandonedMost = 8

// refusedBegin is the kind under which refused reg.begins are remembered while
// their bytes could be sent again.
const refusedBegin = "mid.reg.begin"

// verdict is what the chain says about a request before its handler acts.
type verdict int

const (
	current verdict = iota // the head is the one issued last: go on
	resend                 // the request that spent the head, once more
	forked                 // a spent head under another request: a copy is about
	stale                  // declared not seen by dev.sync, arrived late
	foreign                // a head that was never issued, as after a restored database
	retold                 // dev.sync names the request that spent the head
)

// judge compares a request with the device's chain; the row is locked. It is
// the whole rule of the head, free of side effects. old says that the head was
// issued to this device before the spent one, and that the request was made
// after all of those were spent: so it is no replay, but a copy that was made
// back then.
func judge(c *db.Chain, jti string, rh, headHash [32]byte, sync *wire.Sync, old bool) verdict {
	spentBy := func(jti string, rh []byte) bool { return c.LastJTI == jti && bytes.Equal(c.LastJWS, rh) }
	switch {
	case c.LastReply != nil && spentBy(jti, rh[:]):
		return resend
	case slices.Contains(strings.Fields(c.AbandonedJTI), jti):
		return stale
	case bytes.Equal(c.Head, headHash[:]):
		return current
	case !bytes.Equal(c.SpentHead, headHash[:]) && old:
		return forked
	case !bytes.Equal(c.SpentHead, headHash[:]):
		return foreign
	case sync == nil:
		return forked
	}
	for _, t := range append([]wire.Try{sync.Try}, sync.Syncs...) {
		if rh, err := wire.Decode32(t.RH); err == nil && spentBy(t.JTI, rh[:]) {
			return retold
		}
	}
	return forked
}

// commit runs the transaction of a state-changing call: lock, judge, act, move
// the head, store the reply. Nothing is told before it is durable.
func (x *exchange) commit(ctx context.Context, plan Plan) ([]byte, error) {
	var reply []byte
	acted := false
	err := x.DB.Update(ctx, func(tx *db.Tx) (err error) {
		acted = false
		if x.call.Op == wire.OpRegBegin {
			reply, acted, err = x.begin(tx, plan)
		} else {
			reply, acted, err = x.advance(tx, plan)
		}
		return err
	})
	if err != nil {
		x.Log.ErrorContext(ctx, "call failed", "op", x.call.Op, "err", err)
		return x.seal(x.req, refused(&wire.Error{Code: wire.Unavailable}), "")
	}
	if acted && plan.After != nil {
		plan.After(context.WithoutCancel(ctx))
	}
	return reply, nil
}

// advance carries out the call of a known device.
func (x *exchange) advance(tx *db.Tx, plan Plan) (reply []byte, acted bool, err error) {
	dev, err := x.lock(tx)
	if err != nil {
		return nil, false, err
	}
	var sync *wire.Sync
	if x.call.Op == wire.OpSync {
		if sync, err = decodeSync(x.call.Body); err != nil {
			reply, err = x.seal(x.req, refused(&wire.Error{Code: wire.Malformed}), "")
			return reply, false, err
		}
	}
	if dev.DSKThumb != x.call.KeyID { // another key since it was read, by these very bytes or by others
		x.callers.drop(x.call.KeyID)
		if bytes.Equal(dev.Chain.LastJWE, x.call.JWE[:]) {
			return dev.Chain.LastReply, false, nil
		}
		reply, err = x.seal(x.req, refused(&wire.Error{Code: wire.UnknownKey}), "")
		return reply, false, err
	}
	head, _ := wire.Decode32(x.call.Head) // checked before
	hash := sha256.Sum256(head[:])
	old := !bytes.Equal(dev.Chain.Head, hash[:]) && x.old(&dev, head)
	v := judge(&dev.Chain, x.call.JTI, x.call.RH, hash, sync, old)
	if v == resend {
		x.callers.drop(x.call.KeyID) // the next one costs a read
		return dev.Chain.LastReply, false, nil
	}
	if unblock(&dev, tx.Now()) {
		if err := tx.UnblockDevice(dev.ID); err != nil {
			return nil, false, err
		}
	}
	werr := stateError(&dev, x.h.AllowedStates)
	switch {
	case werr != nil:
	case v == stale:
		werr = &wire.Error{Code: wire.Stale}
	case v == foreign:
		werr = &wire.Error{Code: wire.Resync}
	case v == forked:
		werr = &wire.Error{Code: wire.Fork}
		if err := x.fork(tx, &dev); err != nil {
			return nil, false, err
		}
	}
	if werr != nil { // no head was spent, so none is issued and nothing is stored
		x.callers.drop(x.call.KeyID)
		reply, err = x.seal(x.req, refused(werr), "")
		return reply, false, err
	}
	var res wire.Result
	if sync != nil {
		res, err = settle(&dev.Chain, sync, v)
	} else {
		res, err = run(tx, &dev, plan)
	}
	if err != nil {
		return nil, false, err
	}
	if v == current { // after a retold request the head it spent stays the spent one
		dev.Chain.SpentHead = dev.Chain.Head
	}
	reply, err = x.store(tx, &dev, res)
	return reply, true, err
}

// lock is the device's row, locked; with what it did last only for dev.sync.
func (x *exchange) lock(tx *db.Tx) (db.Device, error) {
	if x.call.Op == wire.OpSync {
		return tx.LockDevice(x.call.Device.ID)
	}
	return tx.LockCaller(x.call.Device, x.call.JTI)
}

func run(tx *db.Tx, dev *db.Device, plan Plan) (wire.Result, error) {
	body, werr, err := plan.Commit(tx, dev)
	if err != nil {
		return wire.Result{}, err
	}
	if werr != nil {
		return refused(werr), nil
	}
	return accepted(body)
}

// begin carries out reg.begin, whose device row the handler makes.
func (x *exchange) begin(tx *db.Tx, plan Plan) (reply []byte, acted bool, err error) {
	// The same registration may have arrived twice at once.
	if have, err := tx.DeviceByKey(x.call.KeyID); err == nil && bytes.Equal(have.Chain.LastJWE, x.call.JWE[:]) {
		return have.Chain.LastReply, false, nil
	} else if err == nil {
		reply, err := x.seal(x.req, refused(&wire.Error{Code: wire.ActivationFailed}), "")
		return reply, false, err
	} else if !errors.Is(err, db.ErrNotFound) {
		return nil, false, err
	}
	// A refused one has no row. So that a resend does not count a second wrong
	// code, its hash is kept until it could not be accepted anyway.
	hash := wire.Encode(x.call.RH[:])
	if _, err := tx.RedeemedGrant(refusedBegin, hash); err == nil {
		reply, err := x.seal(x.req, refused(&wire.Error{Code: wire.ActivationFailed}), "")
		return reply, false, err
	} else if !errors.Is(err, db.ErrNotFound) {
		return nil, false, err
	}
	dsk, err := json.Marshal(x.call.DSK)
	if err != nil {
		return nil, false, err
	}
	dev := db.Device{DSK: string(dsk), DSKThumb: x.call.KeyID, Chain: db.Chain{Head: make([]byte, sha256.Size)}} // until store sets it
	res, err := run(tx, &dev, plan)
	if err != nil {
		return nil, false, err
	}
	if res.Err != nil {
		if dev.ID != "" {
			return nil, false, errors.New("channel: a refused reg.begin made a device")
		}
		// Carried out or refused beside this one: then its answer is this one's too.
		if have, err := tx.DeviceByKey(x.call.KeyID); err == nil && bytes.Equal(have.Chain.LastJWE, x.call.JWE[:]) {
			return have.Chain.LastReply, false, nil
		} else if err != nil && !errors.Is(err, db.ErrNotFound) {
			return nil, false, err
		}
		err := tx.Redeem(refusedBegin, hash, "", x.call.IssuedAt.Add(2*wire.RequestLife*time.Second))
		if errors.Is(err, db.ErrConflict) {
			err = errors.Join(db.ErrAgain, err)
		}
		if err != nil {
			return nil, false, err
		}
		reply, err = x.seal(x.req, res, "")
		return reply, true, err
	}
	reply, err = x.store(tx, &dev, res)
	return reply, true, err
}

// store issues the next head and keeps what a resend or dev.sync will need.
func (x *exchange) store(tx *db.Tx, dev *db.Device, res wire.Result) ([]byte, error) {
	c := &dev.Chain
	c.Seq++
	c.IssuedAt = tx.Now()
	next, err := x.head(dev.ID, c.Seq)
	if err != nil {
		return nil, err
	}
	reply, err := x.seal(x.req, res, wire.Encode(next[:]))
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(next[:])
	c.Head = hash[:]
	c.LastJTI, c.LastJWE, c.LastJWS = x.call.JTI, x.call.JWE[:], x.call.RH[:]
	c.LastReply = reply
	if c.LastResult, err = res.JSON(); err != nil {
		return nil, err
	}
	return reply, tx.SetChain(dev.ID, *c)
}

// fork suspends the device: somebody else spent its head, or it is the copy.
func (x *exchange) fork(tx *db.Tx, dev *db.Device) error {
	if err := tx.SetDeviceState(dev.ID, db.DeviceSuspended); err != nil {
		return err
	}
	if x.OnFork == nil {
		return nil
	}
	return x.OnFork(tx, dev)
}
