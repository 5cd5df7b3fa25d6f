package operation

import (
	"time"

	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/sdk/wire"
)

// mostMatchFailures is how many wrong match codes an operation survives less one.
const mostMatchFailures = 3

// attemptsLeft is how many wrong proofs the device has before it is blocked, by
// its own counter or by its user's day, whichever is less: the user is warned
// before the last.
func (e *Engine) attemptsLeft(dev *db.Caller) int {
	left := dev.MaxFailures - dev.Failures
	if dev.FailDay == e.Clock.Now().Unix()/86400 {
		left = min(left, identity.DailyFailures-dev.FailCount)
	}
	return int(max(0, left))
}

// today is the day of failure counts: Unix days, UTC.
func today(tx *db.Tx) int64 { return tx.Now().Unix() / 86400 }

// tomorrow is when the next one begins.
func tomorrow(tx *db.Tx) time.Time { return time.Unix((today(tx)+1)*86400, 0) }

// KnowledgePurpose binds a sealed knowledge key to its device.
func KnowledgePurpose(deviceID string) string { return "kk " + deviceID }

func (e *Engine) matchFailed(tx *db.Tx, op *Operation, p *proof) (*Outcome, *wire.Error, error) {
	n, err := tx.CountMatchFailure(op.ID, op.Expires())
	if err != nil {
		return nil, nil, err
	}
	werr := wire.Failed(wire.MatchFailed, int(max(0, mostMatchFailures-n)), time.Time{})
	if n < mostMatchFailures {
		return nil, werr, nil
	}
	out, err := e.decide(tx, op, p, Lock, "the number was typed wrong too often")
	return &out, werr, err
}

// authFailed counts a wrong proof, and locks the operation once no device is left.
func (e *Engine) authFailed(tx *db.Tx, op *Operation, p *proof) (*Outcome, *wire.Error, error) {
	werr, blocked, day, err := e.countFailure(tx, p.device, p.policy)
	if !blocked || err != nil {
		return nil, werr, err
	}
	if err := e.recordBlock(tx, op, p); err != nil {
		return nil, nil, err
	}
	if op.DeviceID == "" && op.Initiation != FromApp && day < identity.DailyFailures {
		others, err := tx.DevicesOf(p.device.UserID)
		if err != nil {
			return nil, nil, err
		}
		for _, d := range others {
			if d.ID != p.device.ID && op.addresses(&d) && identity.MayAnswer(&d, tx.Now()) {
				return nil, werr, nil // another phone may still answer
			}
		}
	}
	out, err := e.decide(tx, op, p, Lock, "too many failed attempts")
	return &out, werr, err
}
