package operation

import (
	"context"
	"errors"
	"strings"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/kv"
	"mobileid/sdk/wire"
)

const (
	// listedHalf bounds each half of what is kept for those who are about to list and
	// answer, listedMost the bytes that the person is shown of one operation.
	listedHalf = 512
	listedMost = 4 << 10
	// listedLife is how long an answer may come after its list without asking kv, and
	// recordMost the bytes of a user's record that is kept for it.
	listedLife = 30 * time.Second
	recordMost = 1 << 10
)

// listed keeps, for the answers that are about to come, the operations that this node
// has started or listed and what it read last of the users' records. An operation
// never changes, but one that kv had lost may be started anew under its id, with another
// end. Whether it is still open is for SQL to say; a user's record is only ever replaced
// where it still is what was read.
type listed struct {
	ops   recent[*Operation]
	asked recent[reading] // by user
}

// reading is a GetCall of a user's record that was carried out.
type reading struct {
	call *kv.Call
	at   time.Time
}

func newListed() *listed {
	return &listed{ops: recent[*Operation]{half: listedHalf}, asked: recent[reading]{half: listedHalf}}
}

func (k *listed) keep(op *Operation) {
	if len(op.View)+len(op.Data)+len(op.Post)+len(op.ClientData) <= listedMost {
		own := *op
		k.ops.keep(op.ID, &own)
	}
}

// op is the operation, if its time is not over.
func (k *listed) op(id string, now time.Time) (*Operation, bool) {
	op, ok := k.ops.find(id)
	if !ok || !op.Expires().After(now) {
		return nil, false
	}
	return op, true
}

// forget drops what nobody answers any more.
func (k *listed) forget(out Outcome) {
	k.ops.forget(out.OperationID)
	k.asked.forget(out.UserID)
}

// Kept is a pending operation as this node has started or listed it. kv may have lost
// it: it can be answered here for a moment still, and ended.
func (e *Engine) Kept(id string) (Outcome, bool) {
	op, ok := e.listed.op(id, e.Clock.Now())
	if !ok {
		return Outcome{}, false
	}
	return op.open(), true
}

// known is read, but what kv has lost is as it is kept: it could still be answered here.
func (e *Engine) known(ctx context.Context, id string) (Operation, error) {
	op, err := e.read(ctx, id)
	if kept, ok := e.listed.op(id, e.Clock.Now()); ok && errors.Is(err, kv.ErrNotFound) {
		return *kept, nil
	}
	return op, err
}

// answered is the operation that the user answers, and what was read of his record
// for settle: as they were listed, or with one call of kv. The error is kv's.
func (e *Engine) answered(ctx context.Context, claims *wire.AnswerClaims, userID string) (*Operation, *kv.Call, error) {
	now := e.Clock.Now()
	op, ok := e.listed.op(claims.Txn, now)
	ok = ok && wire.Encode(op.Challenge) == claims.Chal // else it was started anew elsewhere, and listed there
	if asked, too := e.listed.asked.find(userID); ok && too && now.Sub(asked.at) < listedLife {
		return op, asked.call, nil
	}
	read, asked := e.ops.GetCall(claims.Txn), e.pending.GetCall(promptsKey(userID))
	e.KV.Batch(ctx, read, asked)
	got, err := e.ops.Got(read)
	got.ID = strings.Clone(claims.Txn) // it may be kept, the message not
	return &got, asked, err
}

// offered returns the pending operations that name the user and may be
// answered by the device, oldest first.
func (e *Engine) offered(ctx context.Context, dev *db.Device) ([]*Operation, error) {
	asked := e.pending.GetCall(promptsKey(dev.UserID))
	e.KV.Batch(ctx, asked)
	p, err := e.pending.Got(asked)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	now := e.Clock.Now()
	p.prune(now.UnixMilli())
	ops := make([]*Operation, 0, len(p.Open))
	var unread []*kv.Call
	var at []int // where they belong
	for _, o := range p.Open {
		if o.Device != "" && o.Device != dev.ID {
			continue
		}
		op, ok := e.listed.op(o.Operation, now)
		if !ok || op.ExpiresAt != o.Exp { // or it was started anew, by the same key
			op = &Operation{ID: o.Operation}
			unread, at = append(unread, e.ops.GetCall(o.Operation)), append(at, len(ops))
		}
		ops = append(ops, op)
	}
	if len(unread) > 0 {
		e.KV.Batch(ctx, unread...)
	}
	for i, c := range unread {
		op, err := e.ops.Got(c)
		if absent(err) {
			ops[at[i]] = nil
			continue
		}
		if err != nil {
			return nil, err
		}
		op.ID = ops[at[i]].ID
		e.listed.keep(&op)
		ops[at[i]] = &op
	}
	here := ops[:0]
	for _, op := range ops {
		if op != nil && op.addresses(dev) { // or it is for phones of another App
			here = append(here, op)
		}
	}
	if len(here) > 0 && len(asked.Val) <= recordMost {
		e.listed.asked.keep(dev.UserID, reading{asked, now})
	}
	return here, nil
}
