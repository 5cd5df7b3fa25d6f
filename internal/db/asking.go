package db

import (
	"encoding/json"
	"errors"
	"time"
)

// Reads that requests make all the time, with no more than they need, in one
// statement each.

// Caller returns the device whose signing key has the thumbprint, as a call of the
// phone is judged by before its transaction: without the last result, and with the
// last reply only if it answered the request whose hash is jwe.
func (tx *Tx) Caller(thumb string, jwe []byte) (d Device, err error) {
	var until, after, created, activated, issued int64
	c := &d.Chain
	err = tx.row(`SELECT id, merchant_id, user_id, app_id, operation_id, state, name, platform, dsk, commitment, kk, pos, enrol, epoch,
		failures, max_failures, blocked_until, handle_salt, head, head_seq, head_at, spent_head, abandoned_jti, last_jti, last_jwe, last_jws,
		CASE WHEN last_jwe = $2 THEN last_reply END, valid_after, created_at, activated_at FROM devices WHERE dsk_thumb = $1`, []any{thumb, jwe},
		&d.ID, &d.MerchantID, &d.UserID, &d.AppID, &d.OperationID, &d.State, &d.Name, &d.Platform, &d.DSK, &d.Commitment, &d.KK, &d.Pos, &d.Enrol, &d.Epoch,
		&d.Failures, &d.MaxFailures, &until, &d.HandleSalt, &c.Head, &c.Seq, &issued, &c.SpentHead, &c.AbandonedJTI, &c.LastJTI, &c.LastJWE, &c.LastJWS,
		&c.LastReply, &after, &created, &activated)
	d.DSKThumb, c.IssuedAt = thumb, fromMillis(issued)
	d.BlockedUntil, d.ValidAfter = fromMillis(until), fromMillis(after)
	d.CreatedAt, d.ActivatedAt = fromMillis(created), fromMillis(activated)
	return d, err
}

// Addressee is the user of a merchant that a hint means, by id or, if that is
// empty, by external reference, and the phones: of the user id, merchant, state
// and of each phone what PhonesOf tells. ErrNotFound if there is no such user of
// that merchant.
func (tx *Tx) Addressee(merchantID, id, ref string) (u User, phones []Device, err error) {
	by, key := "external_ref", ref
	if id != "" {
		by, key = "id", id
	}
	err = tx.rows(`SELECT u.id, u.state, COALESCE(d.id, ''), COALESCE(d.app_id, ''), COALESCE(d.pos, ''), COALESCE(d.state, ''), COALESCE(d.blocked_until, 0)
		FROM users u LEFT JOIN devices d ON d.user_id = u.id WHERE u.merchant_id = $1 AND u.`+by+` = $2 ORDER BY d.created_at, d.id`, []any{merchantID, key},
		func(scan func(...any) error) error {
			d := Device{}
			var until int64
			if err := scan(&u.ID, &u.State, &d.ID, &d.AppID, &d.Pos, &d.State, &until); err != nil {
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
	return u, phones, err
}

// UserFailures is the day of the user's last failed knowledge proof (Unix days,
// UTC) and how many there were on it.
func (tx *Tx) UserFailures(userID string) (day, count int64, err error) {
	err = tx.row(`SELECT fail_day, fail_count FROM users WHERE id = $1`, []any{userID}, &day, &count)
	return day, count, err
}

// Standing is what the transaction of an answer has to know of those behind the
// device that gave it.
type Standing struct {
	Decided            bool // the operation is: Decision tells how
	UserState          string
	FailDay, FailCount int64  // of the user
	Withdrawn          bool   // the client is disabled, or gone
	Policy             string // of the App: identity.Policy
}

// Standing reads it, with the user's row locked for what the answer may count and
// the client's against changes. ErrNotFound if there is no such user.
func (tx *Tx) Standing(operationID, userID, clientID, appID string) (s Standing, err error) {
	const decided, user = `SELECT EXISTS (SELECT 1 FROM decisions WHERE operation_id = $1), `, `u.state, u.fail_day, u.fail_count`
	err = tx.row(decided+user+`, c.disabled_at <> 0, COALESCE((SELECT a.policy FROM apps a WHERE a.id = $4), '')
		FROM users u, clients c WHERE u.id = $2 AND c.id = $3`+of(tx.forUpdate(), "u")+of(tx.forShare(), "c"), []any{operationID, userID, clientID, appID},
		&s.Decided, &s.UserState, &s.FailDay, &s.FailCount, &s.Withdrawn, &s.Policy)
	if errors.Is(err, ErrNotFound) {
		s.Withdrawn = true
		err = tx.row(decided+user+` FROM users u WHERE u.id = $2`+tx.forUpdate(), []any{operationID, userID}, &s.Decided, &s.UserState, &s.FailDay, &s.FailCount)
	}
	return s, err
}

// Outcome returns what the decision of the operation says, and whose operation it
// was; ErrNotFound while it is open.
func (tx *Tx) Outcome(operationID string) (merchantID string, outcome json.RawMessage, err error) {
	var text string
	err = tx.row(`SELECT merchant_id, outcome FROM decisions WHERE operation_id = $1`, []any{operationID}, &merchantID, &text)
	return merchantID, json.RawMessage(text), err
}

// TokenLive is GrantLive for an access token that may also have been withdrawn by
// itself, as kind and hash: both are asked in one statement, outside Update.
func (tx *Tx) TokenLive(grantID string, issued time.Time, kind, hash string) (live bool, err error) {
	err = tx.row(`SELECT g.revoked_at = 0 AND c.disabled_at = 0
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
