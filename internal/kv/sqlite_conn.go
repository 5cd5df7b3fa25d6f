package kv

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"

	"modernc.org/sqlite"
)

// conn is one SQLite connection with its prepared statements, for one user at a
// time. It talks to the driver without database/sql: a record is read in some
// microseconds, of which the pool, the conversions and the per-call goroutine
// of database/sql would be a good part. Calls take no context for that reason;
// callers check theirs before.
type conn struct {
	dc   driver.Conn
	args [5]driver.NamedValue
	row  [1]driver.Value
	stmt map[string]driver.Stmt
}

func dial(path string, pragmas ...string) (*conn, error) {
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath()
	dc, err := new(sqlite.Driver).Open(dsn)
	if err != nil {
		return nil, err
	}
	c := &conn{dc: dc, stmt: make(map[string]driver.Stmt)}
	for _, p := range pragmas {
		if err := c.script(p); err != nil {
			c.close()
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	}
	return c, nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmt {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.dc.Close())...)
}

// script runs one or more statements without keeping them prepared.
func (c *conn) script(sql string) error {
	_, err := c.dc.(driver.ExecerContext).ExecContext(context.Background(), sql, nil)
	return err
}

func (c *conn) prepare(sql string) (driver.Stmt, error) {
	if s, ok := c.stmt[sql]; ok {
		return s, nil
	}
	s, err := c.dc.(driver.ConnPrepareContext).PrepareContext(context.Background(), sql)
	if err != nil {
		return nil, err
	}
	c.stmt[sql] = s
	return s, nil
}

func (c *conn) bind(args []any) []driver.NamedValue {
	for i, a := range args {
		c.args[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return c.args[:len(args)]
}

// exec runs a statement and returns how many rows it changed.
func (c *conn) exec(sql string, args ...any) (int64, error) {
	s, err := c.prepare(sql)
	if err != nil {
		return 0, err
	}
	res, err := s.(driver.StmtExecContext).ExecContext(context.Background(), c.bind(args))
	clear(c.args[:])
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// one runs a statement and returns the single column of its first row, or
// ErrNotFound. It reads to the end, so that a DELETE with RETURNING completes.
func (c *conn) one(sql string, args ...any) (driver.Value, error) {
	s, err := c.prepare(sql)
	if err != nil {
		return nil, err
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(context.Background(), c.bind(args))
	clear(c.args[:])
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	if err := rows.Next(c.row[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, ErrNotFound
		}
		return nil, err
	}
	first := c.row[0]
	for {
		if err := rows.Next(c.row[:]); err != nil {
			c.row[0] = nil
			if errors.Is(err, io.EOF) {
				return first, nil
			}
			return nil, err
		}
	}
}

// bytes is one for a column that holds a BLOB.
func (c *conn) bytes(sql string, args ...any) ([]byte, error) {
	v, err := c.one(sql, args...)
	if err != nil {
		return nil, err
	}
	b, ok := v.([]byte)
	if !ok && v != nil {
		return nil, fmt.Errorf("column holds %T, not bytes", v)
	}
	return b, nil
}
