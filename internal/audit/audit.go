// Package audit appends one record for each act, inside the transaction of the
// act: no record, no act. A record carries its writer's gap-free number and the
// hash of its content. A sealer links what has committed, of all writers, into
// one chain and anchors its head outside the database, so that Verify finds a
// record that was changed, removed, moved or cut off.
package audit

import (
	"fmt"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
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

// encode is what encoding/json makes of the record: every act stores one.
func (r *Record) encode() ([]byte, error) {
	o := wire.NewObject(512)
	o.Text("act", r.Act)
	o.TextIf("merchant", r.Merchant)
	o.TextIf("user", r.User)
	o.TextIf("device", r.Device)
	o.TextIf("client", r.Client)
	o.TextIf("operation", r.Operation)
	o.TextIf("session", r.Session)
	o.MapIf("details", r.Details)
	o.Number("at", r.At)
	return o.End()
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
	body, err := r.encode()
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
