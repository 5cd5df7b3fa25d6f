package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// errNotText says that PostgreSQL cannot store a string: it has a NUL in it, or
// is not UTF-8.
var errNotText = errors.New("db: not text that can be stored")

// text reports whether all strings among args can be sent. What cannot be stored
// cannot be found either; asking would be an error and end the transaction.
func text(args []any) bool {
	for _, a := range args {
		if s, ok := a.(string); ok && (strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s)) {
			return false
		}
	}
	return true
}

// ready returns the session to run a statement on, after what was put off.
func (tx *Tx) ready() (*session, error) {
	if tx.broken != nil {
		return nil, tx.broken
	}
	if tx.s == nil {
		if err := tx.ctx.Err(); err != nil {
			return nil, err
		}
		s, err := tx.d.pg.dial(tx.ctx, tx.d.pg.read, readTime)
		if err != nil {
			if tx.ctx.Err() == nil {
				err = &connError{err}
			}
			return nil, err
		}
		tx.s = s
	}
	if len(tx.put) == 0 {
		return tx.s, nil
	}
	b := &pgx.Batch{}
	for _, l := range tx.put {
		b.Queue(l.q, l.args...)
	}
	tx.put = nil
	return tx.s, tx.noted(tx.s.raw.SendBatch(context.Background(), b).Close())
}

// noted is err, seen by the session, and told apart from a statement's if the
// connection is at fault.
func (tx *Tx) noted(err error) error {
	if err == nil || tx.s == nil {
		return err
	}
	if tx.s.note(err); tx.s.bad && !errors.Is(err, sql.ErrNoRows) {
		return &connError{err}
	}
	return err
}

func (tx *Tx) execPG(q string, args []any) (int64, error) {
	if !text(args) {
		return 0, errNotText
	}
	s, err := tx.ready()
	if err != nil {
		return 0, fmt.Errorf("db: %w", err)
	}
	res, err := s.conn.ExecContext(context.Background(), q, args...)
	if err != nil {
		return 0, fmt.Errorf("db: %w", tx.noted(err))
	}
	return res.RowsAffected()
}

func (tx *Tx) rowPG(q string, args []any, into []any) error {
	if !text(args) {
		return ErrNotFound
	}
	s, err := tx.ready()
	if err != nil {
		return fmt.Errorf("db: %w", err)
	}
	err = s.conn.QueryRowContext(context.Background(), q, args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("db: %w", tx.noted(err))
	}
	return nil
}

func (tx *Tx) rowsPG(q string, args []any, scan func(into func(...any) error) error) error {
	if !text(args) {
		return fmt.Errorf("db: %w", errNotText)
	}
	s, err := tx.ready()
	if err != nil {
		return fmt.Errorf("db: %w", err)
	}
	rs, err := s.conn.QueryContext(context.Background(), q, args...)
	if err != nil {
		return fmt.Errorf("db: %w", tx.noted(err))
	}
	defer rs.Close()
	for rs.Next() {
		if err := scan(rs.Scan); err != nil {
			return err
		}
	}
	return tx.noted(rs.Err())
}
