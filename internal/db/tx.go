package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Tx runs statements, in a write transaction (Update) or one by one (View). It
// is valid until the function it was given to returns.
type Tx struct {
	ctx    context.Context // of this transaction alone; Tx never outlives it
	d      *DB
	now    time.Time
	writes bool
	job    *job // of a write transaction
}

// Now is the only clock for expiry: read after the transaction holds its locks.
func (tx *Tx) Now() time.Time { return tx.now }

// stmt returns q prepared, unless the time of the transaction is over. The
// statement then runs without its context: each is some microseconds on a file of
// our own, and the driver would start a goroutine for it to watch the context.
func (tx *Tx) stmt(q string) (*sql.Stmt, error) {
	if err := tx.ctx.Err(); err != nil {
		return nil, err
	}
	if tx.writes {
		return tx.d.writeStmt(tx.ctx, q)
	}
	if s, ok := tx.d.readStmts.Load(q); ok {
		return s.(*sql.Stmt), nil
	}
	s, err := tx.d.read.PrepareContext(context.WithoutCancel(tx.ctx), q)
	if err != nil {
		return nil, err
	}
	if old, loaded := tx.d.readStmts.LoadOrStore(q, s); loaded {
		s.Close()
		return old.(*sql.Stmt), nil
	}
	return s, nil
}

// exec runs q and returns how many rows it touched.
func (tx *Tx) exec(q string, args ...any) (int64, error) {
	if !tx.writes {
		return 0, errors.New("db: a write outside Update")
	}
	s, err := tx.stmt(q)
	if err != nil {
		return 0, fmt.Errorf("db: %w", err)
	}
	res, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, fmt.Errorf("db: %w", err)
	}
	return res.RowsAffected()
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
	s, err := tx.stmt(q)
	if err != nil {
		return fmt.Errorf("db: %w", err)
	}
	err = s.QueryRowContext(context.Background(), args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("db: %w", err)
	}
	return nil
}

// rows calls scan for each row of q.
func (tx *Tx) rows(q string, args []any, scan func(into func(...any) error) error) error {
	s, err := tx.stmt(q)
	if err != nil {
		return fmt.Errorf("db: %w", err)
	}
	rs, err := s.QueryContext(context.Background(), args...)
	if err != nil {
		return fmt.Errorf("db: %w", err)
	}
	defer rs.Close()
	for rs.Next() {
		if err := scan(rs.Scan); err != nil {
			return err
		}
	}
	return rs.Err()
}

func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}
