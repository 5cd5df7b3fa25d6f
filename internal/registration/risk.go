package registration

import (
	"errors"

	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/internal/operation"
	"mobileid/internal/risk"
	"mobileid/sdk/wire"
)

// statement reads what the phone says of itself; nil if it says nothing.
func statement(body *wire.RegFinish) (*wire.Risk, error) {
	if len(body.Risk) == 0 {
		return nil, nil
	}
	return wire.ParseRisk(body.Risk)
}

// judge applies the App's rules to what the phone says of itself and notes the result
// in t. A phone that is not accepted ends the registration; as with an answer it is
// not told why.
func (r *Registrations) judge(tx *db.Tx, t *ticket, dev *db.Device, said *wire.Risk) (*wire.Error, error) {
	app, err := tx.App(dev.AppID)
	if err != nil {
		return nil, err
	}
	policy, err := identity.PolicyOf(app)
	if err != nil {
		return nil, err
	}
	t.Risk = policy.Risk.Judge(said, tx.Now())
	if t.Risk == nil || t.Risk.Verdict != risk.Blocked {
		return nil, nil
	}
	if _, err := r.decide(tx, t, operation.Cancel, operation.ReasonRisk); errors.Is(err, db.ErrConflict) {
		return refused, nil
	} else if err != nil {
		return nil, err
	}
	return &wire.Error{Code: wire.Need, Need: []string{wire.NeedRisk}}, r.Audit.Append(tx, audit.Record{Act: "registration.risk_blocked", Merchant: t.MerchantID,
		User: t.UserID, Device: dev.ID, Client: t.ClientID, Operation: t.ID, Details: map[string]string{"check": t.Risk.Check, "detail": t.Risk.Detail}})
}
