package operation

import (
	"context"
	"errors"
	"fmt"

	"mobileid/internal/db"
	"mobileid/internal/evidence"
)

// OutboxTimestamp is the outbox kind that has evidence stamped by an authority.
const OutboxTimestamp = "evidence.timestamp"

// stampTries is when evidence goes without: after about three days, at ten minutes
// between the later tries.
const stampTries = 440

// stampLater has the evidence of the operation stamped after the commit.
func (e *Engine) stampLater(tx *db.Tx, op *Operation) error {
	if e.Stamp == nil {
		return nil
	}
	return tx.Enqueue(db.OutboxItem{ID: "tsa_" + op.ID, Kind: OutboxTimestamp, Subject: op.ID, Payload: op.MerchantID}, 0)
}

// DeliverTimestamp asks the authority, for the outbox: an error has it tried again.
func (e *Engine) DeliverTimestamp(ctx context.Context, it db.OutboxItem) error {
	if e.Stamp == nil {
		return nil // there is none any more
	}
	err := e.stamp(ctx, it.Payload, it.Subject)
	if err != nil && it.Attempts >= stampTries {
		e.Log.WarnContext(ctx, "evidence stays without a time stamp", "operation", it.Subject, "error", err)
		return nil
	}
	return err
}

func (e *Engine) stamp(ctx context.Context, merchantID, id string) error {
	var token string
	var stamp []byte
	err := e.DB.View(ctx, func(tx *db.Tx) (err error) {
		token, stamp, err = tx.Evidence(merchantID, id)
		return err
	})
	if errors.Is(err, db.ErrNotFound) || err == nil && len(stamp) > 0 {
		return nil // gone, or stamped before the outbox was told
	}
	if err != nil {
		return err
	}
	q, err := evidence.NewQuery(token)
	if err != nil {
		return err
	}
	body, err := q.Body()
	if err != nil {
		return err
	}
	reply, err := e.Stamp(ctx, body)
	if err != nil {
		return fmt.Errorf("operation: time stamp: %w", err)
	}
	if stamp, err = q.Token(reply); err != nil {
		return err
	}
	return e.DB.Update(ctx, func(tx *db.Tx) error { return tx.StampEvidence(id, stamp) })
}
