// Package audit appends one record for each act, inside the transaction of the
// act: no record, no act. A record carries its writer's gap-free number and the
// hash of its content. A sealer links what has committed, of all writers, into
// one chain and anchors its head outside the database, so that Verify finds a
// record that was changed, removed, moved or cut off.
package audit

import (
	"encoding/json"
	"fmt"

	"mobileid/internal/db"
)

// Record says who did what to what.
type Record struct {
	Act       string            `json:"act"` // e.g. operation.decided, device.suspended
	Merchant  string            `json:"merchant,omitempty"`
	User      string            `json:"user,omitempty"`
	Device    string            `json:"device,omitempty"`
	Client    string            `json:"client,omitempty"`
	Operation string            `json:"operation,omitempty"`
	Session   string            `json:"session,omitempty"`
	Details   map[string]string `json:"details,omitempty"`
	At        int64             `json:"at"` // Unix milliseconds of the transaction
}

// Writer is one process's line of records.
type Writer struct {
	id string
}

// NewWriter returns a writer with an id of its own.
func NewWriter() *Writer { return &Writer{db.NewID("aw_")} }

// Append stores r in the transaction.
func (w *Writer) Append(tx *db.Tx, r Record) error {
	_, _, err := w.AppendAt(tx, r)
	return err
}

// AppendAt is Append that says where the record is: whose line, and its number there.
func (w *Writer) AppendAt(tx *db.Tx, r Record) (line string, seq int64, err error) {
	r.At = tx.Now().UnixMilli()
	body, err := json.Marshal(r)
	if err != nil {
		return "", 0, fmt.Errorf("audit: %w", err)
	}
	if line, seq, err = tx.NextAudit(w.id); err != nil {
		return "", 0, fmt.Errorf("audit: %w", err)
	}
	if err := tx.InsertAudit(line, seq, string(body), Hash(line, seq, body)); err != nil {
		return "", 0, fmt.Errorf("audit: %w", err)
	}
	return line, seq, nil
}
