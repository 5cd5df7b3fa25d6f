package operation

import (
	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/internal/risk"
	"mobileid/sdk/wire"
)

// riskBlocked ends the operation: somebody said yes on a phone that its App does not
// accept. No factor was looked at, so that malware on the phone cannot learn by it
// whether the PIN was right, and none is counted. The phone is not told which check
// it failed, for whoever would have it say something else the next time; the
// operation, its webhook and the audit record tell.
func (e *Engine) riskBlocked(tx *db.Tx, op *Operation, p *proof) (*Outcome, *wire.Error, error) {
	err := e.Audit.Append(tx, audit.Record{Act: "operation.risk_blocked", Merchant: op.MerchantID, User: op.UserID, Device: p.device.ID,
		Client: op.ClientID, Operation: op.ID, Details: map[string]string{"check": p.risk.Check, "detail": p.risk.Detail}})
	if err != nil {
		return nil, nil, err
	}
	out, err := e.decide(tx, op, p, Cancel, ReasonRisk)
	return &out, &wire.Error{Code: wire.Need, Need: []string{wire.NeedRisk}}, err
}

// riskRefused refuses a call outside operations of a phone that its App does not
// accept for what it says of itself, before the PIN is looked at. There is no operation
// to end: the next call may say something else, and the audit has each.
func (e *Engine) riskRefused(tx *db.Tx, dev *db.Device, policy identity.Policy, call string, said *wire.Risk) (*wire.Error, error) {
	judged := policy.Risk.Judge(said, tx.Now())
	if judged == nil || judged.Verdict != risk.Blocked {
		return nil, nil
	}
	return &wire.Error{Code: wire.Need, Need: []string{wire.NeedRisk}}, e.Audit.Append(tx, audit.Record{Act: "device.risk_blocked", Merchant: dev.MerchantID,
		User: dev.UserID, Device: dev.ID, Details: map[string]string{"call": call, "check": judged.Check, "detail": judged.Detail}})
}
