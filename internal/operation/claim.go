package operation

import (
	"context"
	"errors"

	"mobileid/internal/audit"
	"mobileid/internal/channel"
	"mobileid/internal/db"
	"mobileid/sdk/wire"
)

// StartToken is what a merchant's app claims the operation with. It is made of the
// operation's id and a key that no store holds, so it can be told again, and
// nothing that is stored leads to it.
func (e *Engine) StartToken(id string) string { return wire.StartToken(id, e.claimSecret(id)) }

func (e *Engine) claimSecret(id string) []byte {
	m := wire.MAC(e.claims, []byte(id))
	return m[:]
}

// claimable reports whether dev, showing secret, may take op over.
func (e *Engine) claimable(op *Operation, dev *db.Device, secret []byte) bool {
	return op.Initiation == FromApp && wire.Equal(e.claimSecret(op.ID), secret) && op.addresses(dev)
}

// prepareClaim binds an operation that is not addressed by name to the first
// phone that shows its secret. The claim is a row in SQL, so that it is one phone's
// whatever becomes of kv.
func (e *Engine) prepareClaim(ctx context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	var body wire.Claim
	if werr := c.Decode(&body); werr != nil {
		return channel.Plan{}, werr, nil
	}
	op, err := e.read(ctx, body.Txn)
	if absent(err) {
		return e.gone(ctx, c.Device, body.Txn)
	}
	if err != nil {
		return channel.Plan{}, nil, err
	}
	if !e.claimable(&op, c.Device, body.App) {
		return channel.Plan{}, &wire.Error{Code: wire.OpNotHere}, nil
	}
	can, err := e.provable(ctx, c.Device)
	if err != nil {
		return channel.Plan{}, nil, err
	}
	shown := op.shown(c.Device)
	shown.Need, shown.Left = op.need(can), e.attemptsLeft(c.Caller)
	var after func(context.Context)
	return channel.Plan{
		Commit: func(tx *db.Tx, dev *db.Device) (any, *wire.Error, error) {
			after = nil
			ended, werr, err := e.commitClaim(tx, &op, dev)
			if errors.Is(err, db.ErrConflict) {
				err = errors.Join(db.ErrAgain, err) // decided by another since it was read
			}
			switch {
			case ended != nil && err == nil:
				after = func(ctx context.Context) { e.settle(ctx, &op, *ended, nil) }
			case werr == nil && err == nil:
				after = func(ctx context.Context) { e.claimed(ctx, &op, dev.ID) }
			}
			if werr != nil || err != nil {
				return nil, werr, err
			}
			return wire.ClaimReply{Op: shown}, nil, nil
		},
		After: func(ctx context.Context) {
			if after != nil {
				after(ctx)
			}
		},
	}, nil, nil
}

// commitClaim runs with the device's row locked. It returns an outcome if it found
// the operation over.
func (e *Engine) commitClaim(tx *db.Tx, op *Operation, dev *db.Device) (*Outcome, *wire.Error, error) {
	if _, ended, werr, err := e.stillOpen(tx, op, dev); ended != nil || werr != nil || err != nil {
		return ended, werr, err
	}
	owner, err := tx.ClaimOperation(op.ID, dev.ID, dev.UserID, op.Expires())
	if err != nil {
		return nil, nil, err
	}
	if owner != dev.ID {
		return nil, wire.Gone(string(Claimed), "other"), nil
	}
	return nil, nil, e.Audit.Append(tx, audit.Record{Act: "operation.claimed", Merchant: op.MerchantID, User: dev.UserID, Device: dev.ID,
		Client: op.ClientID, Operation: op.ID})
}

// claimed has the operation count and be listed as the phone's.
func (e *Engine) claimed(ctx context.Context, op *Operation, deviceID string) {
	ctx = context.WithoutCancel(ctx)
	_, err := e.pending.Upsert(ctx, promptsKey(op.UserID), promptsLife, func(p prompts, _ bool) (prompts, error) {
		p.prune(e.Clock.Now().UnixMilli())
		for _, o := range p.Open {
			if o.Operation == op.ID {
				return p, nil
			}
		}
		p.Open = append(p.Open, prompt{op.ID, op.ClientID, deviceID, op.ExpiresAt})
		return p, nil
	})
	if err == nil {
		err = e.ops.Notify(ctx, op.ID)
	}
	if err != nil {
		e.Log.WarnContext(ctx, "a claimed operation is not listed", "operation", op.ID, "error", err)
	}
}

// claimedBy is claimant in a transaction of its own.
func (e *Engine) claimedBy(ctx context.Context, id string) (owner string, err error) {
	err = e.DB.View(ctx, func(tx *db.Tx) (err error) {
		owner, err = claimant(tx, id)
		return err
	})
	return owner, err
}

// claimant is the device that claimed the operation; "" if none has.
func claimant(tx *db.Tx, id string) (string, error) {
	owner, err := tx.Claimant(id)
	if errors.Is(err, db.ErrNotFound) {
		return "", nil
	}
	return owner, err
}
