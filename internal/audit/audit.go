// Package audit appends one record for each act, inside the transaction of the
// act: no record, no act. A record carries its writer's gap-free number and the
// hash of its content, so that a missing or changed one shows.
package audit

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"

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
	r.At = tx.Now().UnixMilli()
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	seq, err := tx.NextAudit(w.id)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if err := tx.InsertAudit(w.id, seq, string(body), Hash(w.id, seq, body)); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

// Hash is SHA-256 over writer, number and body, each with its length in front.
func Hash(writer string, seq int64, body []byte) []byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(writer), strconv.AppendInt(nil, seq, 10), body} {
		n := len(part)
		h.Write([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		h.Write(part)
	}
	return h.Sum(nil)
}

// Check walks all records and returns the first one that is missing or changed,
// as an error that names it.
func Check(tx *db.Tx) error {
	next := map[string]int64{}
	return tx.AuditRecords(func(r db.AuditRecord) error {
		if want := next[r.Writer] + 1; r.Seq != want {
			return fmt.Errorf("audit: record %d of %s is missing", want, r.Writer)
		}
		next[r.Writer] = r.Seq
		if string(Hash(r.Writer, r.Seq, []byte(r.Body))) != string(r.Hash) {
			return fmt.Errorf("audit: record %d of %s was changed", r.Seq, r.Writer)
		}
		return nil
	})
}
