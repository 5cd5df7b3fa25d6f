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
	err := eachEntry(ctx, d, func(e db.AuditEntry) error {
		sealed[e.Writer] = max(sealed[e.Writer], e.RecordSeq)
		return write(Exported{Seq: e.Seq, Prev: hex.EncodeToString(e.Prev), Hash: hex.EncodeToString(e.Hash)}, e.Record)
	})
	if err == nil {
		err = eachRecord(ctx, d, func(r db.AuditRecord) error {
			if r.Seq <= sealed[r.Writer] {
				return nil
			}
			return write(Exported{}, r)
		})
	}
	if err != nil {
		return err
	}
	return out.Flush()
}
