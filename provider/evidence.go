package provider

import (
	"context"
	"errors"

	"mobileid/internal/db"
	"mobileid/internal/operation"
)

// evidence returns the evidence of the signature that the record stands for; "" if
// it stands for none.
func (p *Provider) evidence(ctx context.Context, r *record) (token string, err error) {
	if r == nil || r.Details == "" {
		return "", nil
	}
	err = p.db.View(ctx, func(tx *db.Tx) (err error) {
		token, _, err = tx.Evidence(r.MerchantID, r.OperationID)
		return err
	})
	if errors.Is(err, db.ErrNotFound) {
		return "", nil // authorised, not signed
	}
	return token, err
}

// evidenceRef points to that evidence, for what is too short to carry it; nil if
// there is none.
func (p *Provider) evidenceRef(ctx context.Context, r *record) (*operation.EvidenceRef, error) {
	if r.Details == "" {
		return nil, nil
	}
	var out operation.Outcome
	err := p.db.View(ctx, func(tx *db.Tx) (err error) {
		id := r.OperationID
		if id == "" { // an access token knows its grant only
			if id, err = tx.GrantOperation(r.GrantID); err != nil {
				return err
			}
		}
		out, err = operation.OutcomeOf(tx, id)
		return err
	})
	if errors.Is(err, db.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return out.Evidence, nil
}
