package audit

import (
	"context"
	"math"

	"mobileid/internal/db"
)

// page is how much one View reads. All records in one would hold a connection for
// as long as whoever reads the export takes, and PostgreSQL's ends after 5 s.
// Pages need not be of one moment: what is behind the last one is only appended to.
const page = 500

// eachEntry calls fn for each entry of the chain in order.
func eachEntry(ctx context.Context, d *db.DB, fn func(db.AuditEntry) error) error {
	for after, full := int64(math.MinInt64), true; full; {
		var entries []db.AuditEntry
		err := d.View(ctx, func(tx *db.Tx) (err error) {
			entries, err = tx.AuditChainAfter(after, page)
			return err
		})
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := fn(e); err != nil {
				return err
			}
			after = e.Seq
		}
		full = len(entries) == page
	}
	return nil
}

// eachRecord calls fn for each record, in order by writer and number.
func eachRecord(ctx context.Context, d *db.DB, fn func(db.AuditRecord) error) error {
	writer, seq := "", int64(math.MinInt64)
	for full := true; full; {
		var records []db.AuditRecord
		err := d.View(ctx, func(tx *db.Tx) (err error) {
			records, err = tx.AuditRecordsBehind(writer, seq, page)
			return err
		})
		if err != nil {
			return err
		}
		for _, r := range records {
			if err := fn(r); err != nil {
				return err
			}
			writer, seq = r.Writer, r.Seq
		}
		full = len(records) == page
	}
	return nil
}
