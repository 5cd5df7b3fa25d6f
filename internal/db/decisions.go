package db

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Decision is the terminal state of an operation. Its INSERT is the moment the
// operation is decided; what anyone is told is what this row says.
type Decision struct {
	OperationID, Kind, State               string
	MerchantID, UserID, DeviceID, ClientID string
	ViewHash                               string
	Outcome                                json.RawMessage // operation.Outcome
	View                                   []byte          // what the device was shown, byte for byte; nil where there was none
	Data                                   []byte          // typed data as shown and signed; nil where there was none
	Answer                                 string          // the device's signed answer (JWS); "": it gave none
	At                                     time.Time
}

// Decide inserts the decision; ErrConflict if the operation is decided already.
func (tx *Tx) Decide(d Decision) error {
	return tx.insert(`INSERT INTO decisions (operation_id, kind, state, merchant_id, user_id, device_id, client_id, view_hash, outcome, view, data, answer, at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING`,
		d.OperationID, d.Kind, d.State, d.MerchantID, d.UserID, d.DeviceID, d.ClientID, d.ViewHash, string(d.Outcome), d.View, d.Data, d.Answer, millis(tx.Now()))
}

// Decision returns the decision of the operation; ErrNotFound while it is open.
func (tx *Tx) Decision(operationID string) (Decision, error) {
	d := Decision{OperationID: operationID}
	var outcome string
	var at int64
	err := tx.row(`SELECT kind, state, merchant_id, user_id, device_id, client_id, view_hash, outcome, view, data, answer, at FROM decisions WHERE operation_id = $1`, []any{operationID},
		&d.Kind, &d.State, &d.MerchantID, &d.UserID, &d.DeviceID, &d.ClientID, &d.ViewHash, &outcome, &d.View, &d.Data, &d.Answer, &at)
	d.Outcome, d.At = json.RawMessage(outcome), fromMillis(at)
	return d, err
}

// CountMatchFailure adds one wrong match code to the operation and returns the
// count over all its devices.
func (tx *Tx) CountMatchFailure(operationID string, exp time.Time) (n int64, err error) {
	err = tx.row(`INSERT INTO operation_attempts (operation_id, match_failed, exp) VALUES ($1, 1, $2)
		ON CONFLICT (operation_id) DO UPDATE SET match_failed = operation_attempts.match_failed + 1 RETURNING match_failed`, []any{operationID, millis(exp)}, &n)
	return n, err
}

// MatchFailures returns how often a wrong match code was typed for the operation.
func (tx *Tx) MatchFailures(operationID string) (n int64, err error) {
	err = tx.row(`SELECT match_failed FROM operation_attempts WHERE operation_id = $1`, []any{operationID}, &n)
	if err == ErrNotFound {
		err = nil
	}
	return n, err
}

// ClaimOperation binds an operation to the device unless another has it, and
// returns whose it is.
func (tx *Tx) ClaimOperation(id, deviceID, userID string, exp time.Time) (owner string, err error) {
	err = tx.row(`INSERT INTO operation_claims (operation_id, device_id, user_id, exp) VALUES ($1, $2, $3, $4)
		ON CONFLICT (operation_id) DO UPDATE SET exp = operation_claims.exp RETURNING device_id`, []any{id, deviceID, userID, millis(exp)}, &owner)
	return owner, err
}

// Claimant returns the device that claimed the operation; ErrNotFound if none has.
func (tx *Tx) Claimant(id string) (deviceID string, err error) {
	err = tx.row(`SELECT device_id FROM operation_claims WHERE operation_id = $1`, []any{id}, &deviceID)
	return deviceID, err
}

// OutboxItem is something that must be told to someone after the commit.
type OutboxItem struct {
	ID, Kind, Subject, Payload string
	DueAt                      time.Time
	Attempts                   int64
}

// Enqueue adds an item that is first due after delay. Its id is new.
func (tx *Tx) Enqueue(it OutboxItem, delay time.Duration) error {
	return tx.later(`INSERT INTO outbox (id, kind, subject, payload, due_at, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		it.ID, it.Kind, it.Subject, it.Payload, millis(tx.Now().Add(delay)), millis(tx.Now()))
}

// OutboxKinds says which items are meant, by their kind; the zero value: all.
type OutboxKinds struct {
	Prefix string // letters, digits and dots
	Others bool   // all kinds but those that begin with Prefix
}

// and is the condition as one more of a statement whose last argument is there already.
func (k OutboxKinds) and(args ...any) (condition string, all []any) {
	if k.Prefix == "" {
		return "", args
	}
	op := "LIKE"
	if k.Others {
		op = "NOT LIKE"
	}
	return fmt.Sprintf(" AND kind %s $%d", op, len(args)+1), append(args, k.Prefix+"%")
}

// Lease takes up to most due items of the kinds and makes them due again after lease, so
// that another worker takes over should this one die. What another node is just
// leasing is left to it.
func (tx *Tx) Lease(kinds OutboxKinds, most int, lease time.Duration) ([]OutboxItem, error) {
	var out []OutboxItem
	and, args := kinds.and(millis(tx.Now()), millis(tx.Now().Add(lease)), most)
	err := tx.rows(`UPDATE outbox SET due_at = $2, attempts = attempts + 1 WHERE id IN (SELECT id FROM outbox WHERE due_at <= $1`+and+` ORDER BY due_at LIMIT $3`+tx.skipLocked()+`)
		RETURNING id, kind, subject, payload, attempts`, args,
		func(scan func(...any) error) error {
			var it OutboxItem
			err := scan(&it.ID, &it.Kind, &it.Subject, &it.Payload, &it.Attempts)
			out = append(out, it)
			return err
		})
	return out, err
}

// OutboxDepth counts the items that are still to be told, and says how long the
// oldest of them has been due.
func (tx *Tx) OutboxDepth() (items int64, overdue time.Duration, err error) {
	var due int64
	err = tx.row(`SELECT count(*), coalesce(min(due_at), 0) FROM outbox`, nil, &items, &due)
	if items > 0 {
		overdue = max(0, tx.Now().Sub(fromMillis(due)))
	}
	return items, overdue, err
}

// Delivered removes items.
func (tx *Tx) Delivered(ids ...string) error {
	for len(ids) > 0 {
		n := min(len(ids), several)
		args := make([]any, several)
		for i := range args { // what is missing at the end is the last one again
			args[i] = ids[min(i, n-1)]
		}
		if _, err := tx.exec(deleteSeveral, args...); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// several is how many rows one statement takes where there are many.
const several = 16

const deleteSeveral = `DELETE FROM outbox WHERE id IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`

// Postpone makes an item due again after delay.
func (tx *Tx) Postpone(id string, delay time.Duration) error {
	_, err := tx.exec(`UPDATE outbox SET due_at = $2 WHERE id = $1`, id, millis(tx.Now().Add(delay)))
	return err
}

// OutboxDue reports how many items of the kinds are due.
func (tx *Tx) OutboxDue(kinds OutboxKinds) (n int64, err error) {
	and, args := kinds.and(millis(tx.Now()))
	err = tx.row(`SELECT count(*) FROM outbox WHERE due_at <= $1`+and, args, &n)
	return n, err
}

// NextAudit returns the line that the writer's next record belongs to and its
// gap-free number there. The number holds until the transaction ends; one taken by
// a transaction that failed is free again. (A counter in a row of its own would be
// one more page to write for every act; the number after the last that was stored
// is remembered with the connection that stored it.)
//
// SQLite has one writer, whose one line has the writer's own name. On PostgreSQL
// each writing connection has a line of its own, WRITER.CONNECTION: counted in one
// line, every act would wait for the commit of the one before.
func (tx *Tx) NextAudit(writer string) (line string, seq int64, err error) {
	if !tx.writes {
		return "", 0, errors.New("db: a number for a record outside Update")
	}
	line = writer
	if tx.slot != nil {
		line += "." + tx.slot.id
	}
	if seq = tx.next[line]; seq != 0 {
		return line, seq, nil
	}
	err = tx.row(`SELECT coalesce(max(seq), 0) + 1 FROM audit_records WHERE writer = $1`, []any{line}, &seq)
	return line, seq, err
}

// InsertAudit stores one record under the line and number of NextAudit.
func (tx *Tx) InsertAudit(line string, seq int64, body string, hash []byte) error {
	err := tx.later(`INSERT INTO audit_records (writer, seq, at, body, hash) VALUES ($1, $2, $3, $4, $5)`, line, seq, millis(tx.Now()), body, hash)
	if err == nil {
		if tx.next == nil {
			tx.next = map[string]int64{}
		}
		tx.next[line] = seq + 1
	}
	return err
}

// AuditRecord is one stored record.
type AuditRecord struct {
	Writer string
	Seq    int64
	At     int64 // Unix milliseconds, as in the body
	Body   string
	Hash   []byte
}

// AuditRecords calls fn for each record, in order by writer and number.
func (tx *Tx) AuditRecords(fn func(AuditRecord) error) error {
	return tx.rows(`SELECT writer, seq, at, body, hash FROM audit_records ORDER BY writer, seq`, nil, func(scan func(...any) error) error {
		var r AuditRecord
		if err := scan(&r.Writer, &r.Seq, &r.At, &r.Body, &r.Hash); err != nil {
			return err
		}
		return fn(r)
	})
}

// SigningKey is a sealed private key and its public half.
type SigningKey struct {
	KID, Purpose, Public          string
	Sealed                        []byte
	CreatedAt, ActiveAt, RetireAt time.Time // RetireAt zero: still in use
}

// InsertSigningKey adds k.
func (tx *Tx) InsertSigningKey(k SigningKey) error {
	return tx.insert(`INSERT INTO signing_keys (kid, purpose, public, sealed, created_at, active_at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
		k.KID, k.Purpose, k.Public, k.Sealed, millis(k.CreatedAt), millis(k.ActiveAt))
}

// SigningKeys lists the keys of a purpose that are not past retirement, oldest first.
func (tx *Tx) SigningKeys(purpose string) ([]SigningKey, error) {
	return tx.signingKeys(purpose, `AND (retire_at = 0 OR retire_at > $2)`, millis(tx.Now()))
}

// AllSigningKeys lists every key that the purpose ever had, oldest first.
func (tx *Tx) AllSigningKeys(purpose string) ([]SigningKey, error) {
	return tx.signingKeys(purpose, ``)
}

func (tx *Tx) signingKeys(purpose, which string, args ...any) ([]SigningKey, error) {
	var out []SigningKey
	err := tx.rows(`SELECT kid, public, sealed, created_at, active_at, retire_at FROM signing_keys WHERE purpose = $1 `+which+` ORDER BY active_at, kid`,
		append([]any{purpose}, args...), func(scan func(...any) error) error {
			k := SigningKey{Purpose: purpose}
			var created, active, retire int64
			err := scan(&k.KID, &k.Public, &k.Sealed, &created, &active, &retire)
			k.CreatedAt, k.ActiveAt, k.RetireAt = fromMillis(created), fromMillis(active), fromMillis(retire)
			out = append(out, k)
			return err
		})
	return out, err
}

// RetireSigningKeys ends the other keys of the purpose at the time given.
func (tx *Tx) RetireSigningKeys(purpose, except string, at time.Time) error {
	_, err := tx.exec(`UPDATE signing_keys SET retire_at = $3 WHERE purpose = $1 AND kid <> $2 AND retire_at = 0`, purpose, except, millis(at))
	return err
}

// DestroyRetiredKeys wipes the private halves of the purpose's keys that are past
// retirement; what they signed can be verified, nothing can be signed with them.
func (tx *Tx) DestroyRetiredKeys(purpose string) error {
	_, err := tx.exec(`UPDATE signing_keys SET sealed = $2 WHERE purpose = $1 AND retire_at <> 0 AND retire_at <= $3`, purpose, []byte{}, millis(tx.Now()))
	return err
}
