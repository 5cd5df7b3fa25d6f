package operation

import (
	"mobileid/internal/audit"
	"mobileid/internal/db"
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
