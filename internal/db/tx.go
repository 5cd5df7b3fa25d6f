package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"mobileid/internal/lite"
)

// Tx runs statements, in a write transaction (Update) or one by one (View). It
// is valid until the function it was given to returns.
type Tx struct {
	ctx    context.Context // of this transaction alone, which never outlives it; nil in an Update on SQLite
	d      *DB
	at     time.Time // Now, while nothing was waited for since
	writes bool
	after  *[]func() // of a write transaction: what OnCommit was given

	next map[string]int64 // the next number of the lines of audit that it wrote to

	// On SQLite only:
	until time.Time // of an Update: when it has taken too long, by the machine's clock

	// On PostgreSQL only:
	s      *session
	slot   *slot   // of an Update
	base   instant // when it began
	put    []putOff
	broken error // what could not be returned where it happened
}

// putOff is a statement that is sent with the next one, or with COMMIT.
type putOff struct {
	q    string
	args []any
}

// Now is the only clock for expiry, at the moment the transaction came to hold
// the last lock it waited for. On PostgreSQL it is the server's: read as the
// transaction begins and counted on from there, which makes it late by the time
// that the reading was under way (some 20 ms at most, or it is read again), never
// early.
func (tx *Tx) Now() time.Time {
	if tx.at.IsZero() {
		tx.at = tx.clock()
	}
	return tx.at
}

func (tx *Tx) clock() time.Time {
	p := tx.d.pg
	base := tx.base
	if !tx.writes {
		base = p.lately()
	}
	if base.late > latest {
		asked := p.mono.Now()
		var micros int64
		if err := tx.row(`SELECT `+sqlMicros, nil, &micros); err != nil {
			tx.broken = err
			return tx.d.clk.Now()
		}
		base = p.saw(micros, asked)
		base.late = 0 // it cannot be read better
		tx.base = base
	}
	return p.shifted(base.sql.Add(p.mono.Now().Sub(base.mono)))
}

// The row locks of PostgreSQL; SQLite's writer is alone anyway, and View locks
// nothing. forUpdate is for a row that the transaction may change, forShare for
// one that must stay as it is until the commit. Rows are locked in the order
// device, user, client; a transaction that cannot keep to it may be the victim
// of a deadlock and runs again.
func (tx *Tx) forUpdate() string { return tx.lock(" FOR NO KEY UPDATE") }
func (tx *Tx) forShare() string  { return tx.lock(" FOR SHARE") }

// of narrows a lock to tables of a join.
func of(lock, tables string) string {
	if lock == "" {
		return ""
	}
	return lock + " OF " + tables
}

// skipLocked is forUpdate that leaves out rows which another transaction holds.
func (tx *Tx) skipLocked() string { return tx.lock(" FOR NO KEY UPDATE SKIP LOCKED") }

func (tx *Tx) lock(clause string) string {
	if tx.d.pg == nil || !tx.writes {
		return ""
	}
	tx.at = time.Time{} // it may wait
	return clause
}

// hold waits for the row before a change that is dated, and dates it: by the
// server's clock, read with the lock held. Whoever held it before acted before.
func (tx *Tx) hold(table, id string) error {
	lock := tx.forUpdate()
	if lock == "" {
		return nil
	}
	var micros int64
	err := tx.row(`SELECT `+sqlMicros+` FROM (SELECT 1 FROM `+table+` WHERE id = $1`+lock+`) held`, []any{id}, &micros)
	if err == nil {
		tx.at = tx.d.pg.shifted(time.UnixMicro(micros))
	}
	return err
}

// Alone has transactions that name the same thing follow one another.
func (tx *Tx) Alone(thing string) error {
	if tx.lock("x") == "" {
		return nil
	}
	var none string
	return tx.row(`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))::text`, []any{thing}, &none)
}

// exec runs q and returns how many rows it touched.
func (tx *Tx) exec(q string, args ...any) (int64, error) {
	if !tx.writes {
		return 0, errors.New("db: a write outside Update")
	}
	if tx.d.pg != nil {
		return tx.execPG(q, args)
	}
	var n int64
	err := tx.lite(func(c *lite.Conn) (err error) {
		n, err = c.Exec(q, args...)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("db: %w", err)
	}
	return n, nil
}

// must is exec for a statement that has to touch exactly one row.
func (tx *Tx) must(q string, args ...any) error {
	n, err := tx.exec(q, args...)
	if err == nil && n != 1 {
		err = ErrNotFound
	}
	return err
}

// insert is exec for an INSERT … ON CONFLICT DO NOTHING: no row is ErrConflict.
func (tx *Tx) insert(q string, args ...any) error {
	n, err := tx.exec(q, args...)
	if err == nil && n != 1 {
		err = ErrConflict
	}
	return err
}

// row scans the one row of q; none is ErrNotFound.
func (tx *Tx) row(q string, args []any, into ...any) error {
	if tx.d.pg != nil {
		return tx.rowPG(q, args, into)
	}
	err := tx.lite(func(c *lite.Conn) error { return c.Row(q, args, into...) })
	if err == lite.ErrNone {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("db: %w", err)
	}
	return nil
}

// rows calls scan for each row of q.
func (tx *Tx) rows(q string, args []any, scan func(into func(...any) error) error) error {
	if tx.d.pg != nil {
		return tx.rowsPG(q, args, scan)
	}
	return tx.lite(func(c *lite.Conn) error { return c.Rows(q, args, scan) })
}

func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// later is exec for a statement of which nothing can be learned: it fails, or it
// does what it says. On PostgreSQL it travels with the next one.
func (tx *Tx) later(q string, args ...any) error {
	if tx.d.pg == nil || !tx.writes {
		_, err := tx.exec(q, args...)
		return err
	}
	if !text(args) {
		return errNotText
	}
	tx.put = append(tx.put, putOff{q, args})
	return nil
}
