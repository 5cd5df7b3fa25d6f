package operation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"mobileid/internal/attestation"
	"mobileid/internal/db"
	"mobileid/internal/evidence"
	"mobileid/internal/fault"
	"mobileid/internal/keys"
	"mobileid/sdk/wire"
)

// EvidenceRef points to the evidence of a signature.
type EvidenceRef struct {
	ID   string `json:"id"`     // its jti
	Hash string `json:"sha256"` // of its compact form, base64url; also in the audit record
}

// clockWrong refuses a signature whose phone says another time than ours by so much
// that no verifier would believe both.
func clockWrong(claims *wire.AnswerClaims, now time.Time) *wire.Error {
	const most = evidence.MaxApart / 2 // the commit may be a while later
	if apart := claims.Iat - now.Unix(); apart > most || apart < -most {
		return &wire.Error{Code: wire.ClockOff, Now: now.Unix()}
	}
	return nil
}

// prove makes the evidence of a signature that p approves, in the transaction that
// is about to decide it, and has out point to it.
func (e *Engine) prove(tx *db.Tx, op *Operation, p *proof, out *Outcome) (token string, err error) {
	key := keys.Newest(p.evidenceKeys, tx.Now())
	if key == nil {
		return "", errors.New("operation: no evidence key is active")
	}
	var jwk wire.JWK
	if err := json.Unmarshal([]byte(p.device.DSK), &jwk); err != nil {
		return "", err
	}
	c := evidence.Claims{
		Iss: e.Issuer, Aud: op.ClientID, Sub: op.UserID, Iat: tx.Now().Unix(), JTI: db.NewID("evd_"), Txn: op.ID, Merchant: op.MerchantID,
		User: op.UserID, Device: p.device.ID, Handle: p.claims.Iss, Content: string(op.Data), View: string(op.View), Tpl: op.Tpl, Lang: op.Lang,
		SCA: evidence.SCA(*out.SCA), CNF: evidence.CNF{JWK: jwk}, Ans: p.answer,
		Enrolment: evidence.Enrolment{Attestation: attested(p.device), Epoch: p.device.Epoch},
	}
	if p.risk != nil {
		c.Risk = string(p.statement)
	}
	if data := bytes.TrimSpace(op.Data); len(data) > 0 && data[0] == '[' {
		c.AuthorizationDetails = json.RawMessage(op.Data)
	}
	writer, seq, err := tx.Enrolment(p.device.ID)
	switch {
	case err == nil:
		c.Enrolment.Record = &evidence.Record{Writer: writer, Seq: seq}
	case !errors.Is(err, db.ErrNotFound):
		return "", err
	}
	token, err = evidence.Make(key, c)
	if err != nil {
		return "", err
	}
	out.Evidence = &EvidenceRef{ID: c.JTI, Hash: evidence.Hash(token)}
	return token, nil
}

// keep stores the evidence of an operation that this transaction has decided.
func (e *Engine) keep(tx *db.Tx, op *Operation, token string) error {
	return errors.Join(tx.InsertEvidence(op.ID, op.MerchantID, token), e.stampLater(tx, op))
}

// attested is the format in which the device's key, or the build that uses it, was
// attested.
func attested(dev *db.Device) string {
	var res attestation.Result
	if dev.Pos == "swk" || json.Unmarshal([]byte(dev.Attestation), &res) != nil || res.Format == "" {
		return "none"
	}
	return res.Format
}

// Proof is the evidence of a signature, and what an authority says of its time.
type Proof struct {
	Token     string // the JWT
	Timestamp []byte // RFC 3161 token in DER; nil: none, or not yet
}

// Evidence returns the evidence of a merchant's signature; not_found if the
// operation is none, is not theirs, or was not approved.
func (e *Engine) Evidence(ctx context.Context, merchantID, id string) (p Proof, err error) {
	err = e.DB.View(ctx, func(tx *db.Tx) (err error) {
		p.Token, p.Timestamp, err = tx.Evidence(merchantID, id)
		return err
	})
	if errors.Is(err, db.ErrNotFound) {
		err = fault.New(fault.NotFound, "there is no evidence of this operation")
	}
	return p, err
}
