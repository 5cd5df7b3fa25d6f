package db

import (
	"errors"
	"time"
)

// AuditLag says how far a writer's records are in the chain.
type AuditLag struct {
	Writer  string
	Through int64 // the last record in the chain
}

// AuditLags lists the writers with records that are not in the chain yet. It
// skips from writer to writer in the index, so it costs a few look-ups a writer
// however many records there are.
func (tx *Tx) AuditLags() ([]AuditLag, error) {
	var out []AuditLag
	err := tx.rows(`WITH RECURSIVE w(id) AS (
			SELECT min(writer) FROM audit_records
			UNION ALL SELECT (SELECT min(writer) FROM audit_records WHERE writer > w.id) FROM w WHERE w.id IS NOT NULL)
		SELECT w.id, COALESCE(s.through, 0) FROM w LEFT JOIN audit_sealed s ON s.writer = w.id
		WHERE w.id IS NOT NULL AND EXISTS (SELECT 1 FROM audit_records r WHERE r.writer = w.id AND r.seq > COALESCE(s.through, 0)) ORDER BY w.id`, nil,
		func(scan func(...any) error) error {
			var l AuditLag
			err := scan(&l.Writer, &l.Through)
			out = append(out, l)
			return err
		})
	return out, err
}

// AuditRecordsAfter returns up to most records of the writer behind number after.
func (tx *Tx) AuditRecordsAfter(writer string, after int64, most int) ([]AuditRecord, error) {
	var out []AuditRecord
	err := tx.rows(`SELECT seq, at, body, hash FROM audit_records WHERE writer = $1 AND seq > $2 ORDER BY seq LIMIT $3`, []any{writer, after, most},
		func(scan func(...any) error) error {
			r := AuditRecord{Writer: writer}
			err := scan(&r.Seq, &r.At, &r.Body, &r.Hash)
			out = append(out, r)
			return err
		})
	return out, err
}

// AuditLink is one entry of the chain.
type AuditLink struct {
	Seq        int64
	Writer     string
	RecordSeq  int64
	Prev, Hash []byte
}

// AuditHead returns the last entry of the chain; ErrNotFound while it is empty.
func (tx *Tx) AuditHead() (AuditLink, error) { return tx.auditLink(`ORDER BY seq DESC LIMIT 1`) }

// AuditLinkAt returns the entry with the number.
func (tx *Tx) AuditLinkAt(seq int64) (AuditLink, error) {
	return tx.auditLink(`WHERE seq = $1`, seq)
}

func (tx *Tx) auditLink(which string, args ...any) (l AuditLink, err error) {
	err = tx.row(`SELECT seq, writer, record_seq, prev, hash FROM audit_chain `+which, args, &l.Seq, &l.Writer, &l.RecordSeq, &l.Prev, &l.Hash)
	return l, err
}

// AppendAuditLinks adds the next entries; ErrConflict if another node was first
// with one of them.
func (tx *Tx) AppendAuditLinks(links []AuditLink) error {
	for len(links) > 0 {
		q, n := insertLink, 1
		if len(links) >= several {
			q, n = insertLinks, several
		}
		args := make([]any, 0, 5*several)
		for _, l := range links[:n] {
			args = append(args, l.Seq, l.Writer, l.RecordSeq, l.Prev, l.Hash)
		}
		if added, err := tx.exec(q, args...); err != nil {
			return err
		} else if added != int64(n) {
			return ErrConflict
		}
		links = links[n:]
	}
	return nil
}

const (
	insertLink  = `INSERT INTO audit_chain (seq, writer, record_seq, prev, hash) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`
	insertLinks = `INSERT INTO audit_chain (seq, writer, record_seq, prev, hash) VALUES ($1, $2, $3, $4, $5),
		($6, $7, $8, $9, $10), ($11, $12, $13, $14, $15), ($16, $17, $18, $19, $20), ($21, $22, $23, $24, $25),
		($26, $27, $28, $29, $30), ($31, $32, $33, $34, $35), ($36, $37, $38, $39, $40), ($41, $42, $43, $44, $45),
		($46, $47, $48, $49, $50), ($51, $52, $53, $54, $55), ($56, $57, $58, $59, $60), ($61, $62, $63, $64, $65),
		($66, $67, $68, $69, $70), ($71, $72, $73, $74, $75), ($76, $77, $78, $79, $80) ON CONFLICT DO NOTHING`
)

// SealedThrough moves the mark of a writer from one number to the next;
// ErrConflict if it is elsewhere.
func (tx *Tx) SealedThrough(writer string, from, to int64) error {
	return tx.insert(`INSERT INTO audit_sealed (writer, through) VALUES ($1, $3)
		ON CONFLICT (writer) DO UPDATE SET through = $3 WHERE audit_sealed.through = $2`, writer, from, to)
}

// AuditEntry is an entry of the chain with its record; a record that is gone has
// no hash.
type AuditEntry struct {
	AuditLink
	Record AuditRecord
}

// AuditChainAfter returns up to most entries of the chain behind number after.
func (tx *Tx) AuditChainAfter(after int64, most int) ([]AuditEntry, error) {
	var out []AuditEntry
	err := tx.rows(`SELECT c.seq, c.writer, c.record_seq, c.prev, c.hash, COALESCE(r.at, 0), COALESCE(r.body, ''), r.hash
		FROM audit_chain c LEFT JOIN audit_records r ON r.writer = c.writer AND r.seq = c.record_seq WHERE c.seq > $1 ORDER BY c.seq LIMIT $2`, []any{after, most},
		func(scan func(...any) error) error {
			var e AuditEntry
			err := scan(&e.Seq, &e.Writer, &e.RecordSeq, &e.Prev, &e.Hash, &e.Record.At, &e.Record.Body, &e.Record.Hash)
			e.Record.Writer, e.Record.Seq = e.Writer, e.RecordSeq
			out = append(out, e)
			return err
		})
	return out, err
}

// AuditRecordsBehind returns up to most records of all writers, in order by writer
// and number, behind the one given.
func (tx *Tx) AuditRecordsBehind(writer string, seq int64, most int) ([]AuditRecord, error) {
	var out []AuditRecord
	err := tx.rows(`SELECT writer, seq, at, body, hash FROM audit_records WHERE (writer, seq) > ($1, $2) ORDER BY writer, seq LIMIT $3`, []any{writer, seq, most},
		func(scan func(...any) error) error {
			var r AuditRecord
			err := scan(&r.Writer, &r.Seq, &r.At, &r.Body, &r.Hash)
			out = append(out, r)
			return err
		})
	return out, err
}

// TakeLease makes holder the one who does the work called name for the time
// given, again if it is it already; ErrConflict while somebody else is.
func (tx *Tx) TakeLease(name, holder string, life time.Duration) error {
	return tx.insert(`INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET holder = $2, until = $3 WHERE leases.holder = $2 OR leases.until <= $4`,
		name, holder, millis(tx.Now().Add(life)), millis(tx.Now()))
}

// LeaseFree reports whether TakeLease would succeed now.
func (tx *Tx) LeaseFree(name, holder string) (bool, error) {
	var other string
	var until int64
	err := tx.row(`SELECT holder, until FROM leases WHERE name = $1`, []any{name}, &other, &until)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	return other == holder || until <= millis(tx.Now()), err
}

// DropLease gives the work up, if holder has it.
func (tx *Tx) DropLease(name, holder string) error {
	_, err := tx.exec(`DELETE FROM leases WHERE name = $1 AND holder = $2`, name, holder)
	return err
}
