package audit

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"time"

	"mobileid/internal/db"
)

// Exported is one line of an export: the record with its place in the chain.
// What is not linked yet comes last and has none. Record holds the bytes that
// RecordHash was made of, so that the lines can be verified without the database.
type Exported struct {
	Seq        int64           `json:"seq,omitempty"`
	Prev       string          `json:"prev,omitempty"`
	Hash       string          `json:"hash,omitempty"`
	Writer     string          `json:"writer"`
	RecordSeq  int64           `json:"recordSeq"`
	RecordHash string          `json:"recordHash"`
	Record     json.RawMessage `json:"record"`
}

// Export writes the records made since since and before until as JSON lines; a zero
// time is no bound. It changes and checks nothing.
func Export(ctx context.Context, d *db.DB, to io.Writer, since, until time.Time) error {
	out := bufio.NewWriter(to)
	enc := json.NewEncoder(out)
	write := func(e Exported, r db.AuditRecord) error {
		at := time.UnixMilli(r.At)
		if !since.IsZero() && at.Before(since) || !until.IsZero() && !at.Before(until) {
			return nil
		}
		e.Writer, e.RecordSeq, e.RecordHash, e.Record = r.Writer, r.Seq, hex.EncodeToString(r.Hash), json.RawMessage(r.Body)
		if !json.Valid(e.Record) { // changed by hand, or gone: Verify says so
			e.Record = json.RawMessage("null")
		}
		return enc.Encode(e)
	}
	sealed := map[string]int64{}
	err := d.View(ctx, func(tx *db.Tx) error {
		err := tx.AuditChained(func(l db.AuditLink, r db.AuditRecord) error {
			sealed[l.Writer] = max(sealed[l.Writer], l.RecordSeq)
			return write(Exported{Seq: l.Seq, Prev: hex.EncodeToString(l.Prev), Hash: hex.EncodeToString(l.Hash)}, r)
		})
		if err != nil {
			return err
		}
		return tx.AuditRecords(func(r db.AuditRecord) error {
			if r.Seq <= sealed[r.Writer] {
				return nil
			}
			return write(Exported{}, r)
		})
	})
	if err != nil {
		return err
	}
	return out.Flush()
}
