package db

import (
	"encoding/json"
	"errors"
	"time"
)

// Reads that requests make all the time, with no more than they need, in one
// statement each.

// Caller is the device that a call comes from, with what the call is judged by
// before its transaction and no more: of the Device what CallerOf fills.
type Caller struct {
	Device
	FailDay, FailCount int64 // of the device's user: User's
}

// CallerOf returns the device whose signing key has the thumbprint: its names,
// state, keys, place among its user's devices, counter and salt. Of the chain only
// LastReply is filled, and only if it answered the request whose hash is jwe.
func (tx *Tx) CallerOf(thumb string, jwe []byte) (c Caller, err error) {
	c.DSKThumb = thumb
	var until, after int64
	err = tx.row(`SELECT d.id, d.merchant_id, d.user_id, d.app_id, d.operation_id, d.state, d.dsk, d.dbk, d.inh, d.pos, d.enrol, d.epoch, d.failures, d.max_failures, d.blocked_until,
		d.handle_salt, d.valid_after, CASE WHEN d.last_jwe = $2 THEN d.last_reply END, u.fail_day, u.fail_count
		FROM devices d JOIN users u ON u.id = d.user_id WHERE d.dsk_thumb = $1`, []any{thumb, jwe},
		&c.ID, &c.MerchantID, &c.UserID, &c.AppID, &c.OperationID, &c.State, &c.DSK, &c.DBK, &c.Inh, &c.Pos, &c.Enrol, &c.Epoch, &c.Failures, &c.MaxFailures, &until,
		&c.HandleSalt, &after, &c.Chain.LastReply, &c.FailDay, &c.FailCount)
	c.BlockedUntil, c.ValidAfter = fromMillis(until), fromMillis(after)
	return c, err
}

// LockCaller is LockDevice for a device that CallerOf has read before, of which is
// taken over what never changes: its ids and the salt. Of the chain LastResult is left
// out, and LastReply is filled only if it answered the request with that jti: what is
// here of it is not all that SetChain stores.
func (tx *Tx) LockCaller(known *Device, jti string) (Device, error) {
	d := Device{ID: known.ID, MerchantID: known.MerchantID, UserID: known.UserID, AppID: known.AppID, OperationID: known.OperationID, HandleSalt: known.HandleSalt}
	var until, after, created, activated, issued int64
	c := &d.Chain
	err := tx.row(`SELECT state, name, platform, dsk, dsk_thumb, commitment, kk, dbk, inh, pos, attestation, enrol, epoch, failures, max_failures, blocked_until, head, head_seq, head_at, spent_head, abandoned_jti,
		last_jti, last_jwe, last_jws, CASE WHEN last_jti = $2 THEN last_reply END, valid_after, created_at, activated_at FROM devices WHERE id = $1`+tx.forUpdate(), []any{known.ID, jti},
		&d.State, &d.Name, &d.Platform, &d.DSK, &d.DSKThumb, &d.Commitment, &d.KK, &d.DBK, &d.Inh, &d.Pos, &d.Attestation, &d.Enrol, &d.Epoch, &d.Failures, &d.MaxFailures, &until, &c.Head, &c.Seq, &issued, &c.SpentHead, &c.AbandonedJTI,
		&c.LastJTI, &c.LastJWE, &c.LastJWS, &c.LastReply, &after, &created, &activated)
	c.IssuedAt = fromMillis(issued)
	d.BlockedUntil, d.ValidAfter = fromMillis(until), fromMillis(after)
	d.CreatedAt, d.ActivatedAt = fromMillis(created), fromMillis(activated)
	return d, err
}

// Addressee is the user of a merchant that a hint means, by id or, if that is
// empty, by external reference, and the phones: of the user id, merchant, state and
// attributes, and of each phone, oldest first, id, App, Pos, Inh, state and
// BlockedUntil. ErrNotFound if there is no such user of that merchant.
func (tx *Tx) Addressee(merchantID, id, ref string) (u User, phones []Device, err error) {
	by, key := "external_ref", ref
	if id != "" {
		by, key = "id", id
	}
	var attributes string
	err = tx.rows(`SELECT u.id, u.state, u.attributes, COALESCE(d.id, ''), COALESCE(d.app_id, ''), COALESCE(d.pos, ''), COALESCE(d.inh, ''), COALESCE(d.state, ''), COALESCE(d.blocked_until, 0)
		FROM users u LEFT JOIN devices d ON d.user_id = u.id WHERE u.merchant_id = $1 AND u.`+by+` = $2 ORDER BY d.created_at, d.id`, []any{merchantID, key},
		func(scan func(...any) error) error {
			d := Device{}
			var until int64
			if err := scan(&u.ID, &u.State, &attributes, &d.ID, &d.AppID, &d.Pos, &d.Inh, &d.State, &until); err != nil {
				return err
			}
			if d.ID != "" {
				d.UserID, d.BlockedUntil = u.ID, fromMillis(until)
				phones = append(phones, d)
			}
			return nil
		})
	u.MerchantID = merchantID
	if err == nil && u.ID == "" {
		err = ErrNotFound
	}
	if err != nil {
		return u, nil, err
	}
	return u, phones, json.Unmarshal([]byte(attributes), &u.Attributes)
}

// Standing is what the transaction of an answer has to know of those behind the
// device that gave it.
type Standing struct {
	Decided            bool // the operation is: Decision tells how
	UserState          string
	UserLeft           bool   // was not ACTIVE at some time since the client asked
	FailDay, FailCount int64  // of the user
	Withdrawn          bool   // the client is disabled, or was since it asked, or is gone
	Policy             string // of the App: identity.Policy
}

// Standing reads it for an operation that the client asked for at asked, with the user's row locked for what the answer may count and
// the client's against changes. ErrNotFound if there is no such user.
func (tx *Tx) Standing(operationID, userID, clientID, appID string, asked time.Time) (s Standing, err error) {
	const decided, user = `SELECT EXISTS (SELECT 1 FROM decisions WHERE operation_id = $1), `, `u.state, u.valid_after > $3, u.fail_day, u.fail_count`
	err = tx.row(decided+user+`, c.disabled_at <> 0 OR c.valid_after > $3, COALESCE((SELECT a.policy FROM apps a WHERE a.id = $5), '')
		FROM users u, clients c WHERE u.id = $2 AND c.id = $4`+of(tx.forUpdate(), "u")+of(tx.forShare(), "c"), []any{operationID, userID, millis(asked), clientID, appID},
		&s.Decided, &s.UserState, &s.UserLeft, &s.FailDay, &s.FailCount, &s.Withdrawn, &s.Policy)
	if errors.Is(err, ErrNotFound) {
		s.Withdrawn = true
		err = tx.row(decided+user+` FROM users u WHERE u.id = $2`+tx.forUpdate(), []any{operationID, userID, millis(asked)}, &s.Decided, &s.UserState, &s.UserLeft, &s.FailDay, &s.FailCount)
	}
	return s, err
}

// OutcomeOf is Decision with what is told of it alone: merchant, outcome and data;
// ErrNotFound while the operation is open.
func (tx *Tx) OutcomeOf(operationID string) (Decision, error) {
	d := Decision{OperationID: operationID}
	var outcome string
	err := tx.row(`SELECT merchant_id, outcome, data FROM decisions WHERE operation_id = $1`, []any{operationID}, &d.MerchantID, &outcome, &d.Data)
	d.Outcome = json.RawMessage(outcome)
	return d, err
}

// TokenLive is GrantLive for an access token that may also have been withdrawn by
// itself, as kind and hash: both are asked in one statement, outside Update.
func (tx *Tx) TokenLive(grantID string, issued time.Time, kind, hash string) (live bool, err error) {
	err = tx.row(`SELECT g.revoked_at = 0 AND c.disabled_at = 0 AND c.valid_after <= g.created_at
		AND u.state = 'ACTIVE' AND u.valid_after <= $2
		AND d.state IN ('ACTIVE', 'BLOCKED') AND d.valid_after <= $2
		AND NOT EXISTS (SELECT 1 FROM revoked WHERE kind = $3 AND hash = $4)
		FROM grants g JOIN devices d ON d.id = g.device_id JOIN users u ON u.id = g.user_id JOIN clients c ON c.id = g.client_id
		WHERE g.id = $1`, []any{grantID, millis(issued), kind, hash}, &live)
	return live, err
}

// EitherRevoked is IsRevoked of two values.
func (tx *Tx) EitherRevoked(kind, hash, otherKind, otherHash string) (gone bool, err error) {
	err = tx.row(`SELECT EXISTS (SELECT 1 FROM revoked WHERE kind = $1 AND hash = $2) OR EXISTS (SELECT 1 FROM revoked WHERE kind = $3 AND hash = $4)`,
		[]any{kind, hash, otherKind, otherHash}, &gone)
	return gone, err
}
