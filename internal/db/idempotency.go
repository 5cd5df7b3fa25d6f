package db

import (
	"errors"
	"time"
)

// Idempotent is a request that came under a key of its client's choice.
type Idempotent struct {
	ClientID, Name string // who sent it; the hash of its key
	Request        string // hash of what was asked
	ResourceID     string // id of what it makes, chosen before it is made
	Answer         []byte // sealed; nil while it is under way
}

// BeginIdempotent makes the caller the one who serves the request (mine), until
// lease has passed, unless somebody else is serving it or it was answered. What
// stands is returned: its Request may be another's, its ResourceID is to be used
// in place of the caller's, since who served it before may have come so far.
func (tx *Tx) BeginIdempotent(in Idempotent, lease, life time.Duration) (now Idempotent, mine bool, err error) {
	tx.lock("") // it may wait for another who begins it
	err = tx.insert(`INSERT INTO idempotency (client_id, name, request, resource_id, lease_until, exp) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (client_id, name) DO UPDATE SET request = $3, resource_id = $4, lease_until = $5, answer = NULL, exp = $6 WHERE idempotency.exp <= $7`,
		in.ClientID, in.Name, in.Request, in.ResourceID, millis(tx.Now().Add(lease)), millis(tx.Now().Add(life)), millis(tx.Now()))
	if err == nil {
		return in, true, nil
	}
	if !errors.Is(err, ErrConflict) {
		return in, false, err
	}
	now = Idempotent{ClientID: in.ClientID, Name: in.Name}
	var until int64
	err = tx.row(`SELECT request, resource_id, lease_until, answer FROM idempotency WHERE client_id = $1 AND name = $2`+tx.forUpdate(),
		[]any{in.ClientID, in.Name}, &now.Request, &now.ResourceID, &until, &now.Answer)
	if err != nil || now.Request != in.Request || now.Answer != nil || until > millis(tx.Now()) {
		return now, false, err
	}
	return now, true, tx.must(`UPDATE idempotency SET lease_until = $3 WHERE client_id = $1 AND name = $2`, in.ClientID, in.Name, millis(tx.Now().Add(lease)))
}

// AnswerIdempotent stores the answer of a request that has none; ErrConflict if
// it was answered, or its key went to another request, meanwhile.
func (tx *Tx) AnswerIdempotent(in Idempotent) error {
	return tx.insert(`UPDATE idempotency SET answer = $4 WHERE client_id = $1 AND name = $2 AND resource_id = $3 AND answer IS NULL`,
		in.ClientID, in.Name, in.ResourceID, in.Answer)
}

// LeaveIdempotent ends the caller's lease without an answer: the next to come
// serves the request again, for the same resource.
func (tx *Tx) LeaveIdempotent(in Idempotent) error {
	_, err := tx.exec(`UPDATE idempotency SET lease_until = 0 WHERE client_id = $1 AND name = $2 AND resource_id = $3 AND answer IS NULL`, in.ClientID, in.Name, in.ResourceID)
	return err
}

// ForgetIdempotent frees the key of a request that had no effect.
func (tx *Tx) ForgetIdempotent(in Idempotent) error {
	_, err := tx.exec(`DELETE FROM idempotency WHERE client_id = $1 AND name = $2 AND resource_id = $3 AND answer IS NULL`, in.ClientID, in.Name, in.ResourceID)
	return err
}
