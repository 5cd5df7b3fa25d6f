// Package lite is one SQLite connection with its prepared statements, for one
// user at a time. It talks to the driver without database/sql: a row is read in
// some microseconds, of which the pool, the conversions and the goroutine per call
// of database/sql would be a good part. Calls take no context for that reason;
// callers look at theirs before.
package lite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"

	"modernc.org/sqlite"
)

// ErrNone says that a statement which was to return a row returned none.
var ErrNone = errors.New("lite: no row")

// errInUse says that a statement was run from within its own rows.
var errInUse = errors.New("lite: the statement is being read from")

// Conn is the connection. It is not safe for concurrent use.
type Conn struct {
	dc   driver.Conn
	args []driver.NamedValue
	row  []driver.Value // nil while rows are read into it
	stmt map[string]*stmt
}

type stmt struct {
	driver.Stmt
	reading bool
}

// Open opens the file at path, which it makes, and runs the pragmas.
func Open(path string, pragmas ...string) (*Conn, error) {
	dc, err := new(sqlite.Driver).Open("file:" + (&url.URL{Path: path}).EscapedPath())
	if err != nil {
		return nil, err
	}
	c := &Conn{dc: dc, stmt: make(map[string]*stmt)}
	for _, p := range pragmas {
		if err := c.Script(p); err != nil {
			c.Close()
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	}
	return c, nil
}

// Close closes the statements and the connection.
func (c *Conn) Close() error {
	var errs []error
	for _, s := range c.stmt {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.dc.Close())...)
}

// Script runs one or more statements without keeping them prepared.
func (c *Conn) Script(sql string) error {
	_, err := c.dc.(driver.ExecerContext).ExecContext(context.Background(), sql, nil)
	return err
}

func (c *Conn) prepare(sql string) (*stmt, error) {
	if s, ok := c.stmt[sql]; ok {
		if s.reading {
			return nil, errInUse
		}
		return s, nil
	}
	p, err := c.dc.(driver.ConnPrepareContext).PrepareContext(context.Background(), sql)
	if err != nil {
		return nil, err
	}
	s := &stmt{Stmt: p}
	c.stmt[sql] = s
	return s, nil
}

// bind returns args as the driver takes them, good until the statement was begun.
func (c *Conn) bind(args []any) ([]driver.NamedValue, error) {
	if cap(c.args) < len(args) {
		c.args = make([]driver.NamedValue, len(args)+8)
	}
	bound := c.args[:len(args)]
	for i, a := range args {
		switch v := a.(type) {
		case string, int64, []byte, nil:
		case int:
			a = int64(v)
		default:
			var err error
			if a, err = driver.DefaultParameterConverter.ConvertValue(v); err != nil {
				return nil, err
			}
		}
		bound[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return bound, nil
}

// Exec runs a statement and returns how many rows it changed.
func (c *Conn) Exec(sql string, args ...any) (int64, error) {
	s, err := c.prepare(sql)
	if err != nil {
		return 0, err
	}
	bound, err := c.bind(args)
	if err != nil {
		return 0, err
	}
	res, err := s.Stmt.(driver.StmtExecContext).ExecContext(context.Background(), bound)
	clear(bound)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// Rows calls each for every row of a statement, with scan to read its columns:
// see Row. An error of each ends it and is returned as it is.
func (c *Conn) Rows(sql string, args []any, each func(scan func(into ...any) error) error) (err error) {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	bound, err := c.bind(args)
	if err != nil {
		return err
	}
	rows, err := s.Stmt.(driver.StmtQueryContext).QueryContext(context.Background(), bound)
	clear(bound)
	if err != nil {
		return err
	}
	s.reading = true
	row := c.row
	c.row = nil
	n := len(rows.Columns())
	if cap(row) < n {
		row = make([]driver.Value, n)
	}
	row = row[:n]
	defer func() {
		clear(row)
		c.row, s.reading = row, false
		if cerr := rows.Close(); err == nil {
			err = cerr
		}
	}()
	scan := func(into ...any) error { return assign(row, into) }
	for {
		if err := rows.Next(row); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := each(scan); err != nil {
			return err
		}
	}
}

// Row reads the first row of a statement into variables, which are *string,
// *int64, *int, *bool, *[]byte or *any; ErrNone if there is none. The statement
// runs to its end.
func (c *Conn) Row(sql string, args []any, into ...any) error {
	found := false
	err := c.Rows(sql, args, func(scan func(...any) error) error {
		if found {
			return nil
		}
		found = true
		return scan(into...)
	})
	if err == nil && !found {
		return ErrNone
	}
	return err
}

func assign(row []driver.Value, into []any) error {
	if len(row) != len(into) {
		return fmt.Errorf("lite: %d columns for %d variables", len(row), len(into))
	}
	for i, v := range row {
		ok := false
		switch to := into[i].(type) {
		case *string:
			if *to, ok = v.(string); !ok {
				var b []byte
				b, ok = v.([]byte)
				*to = string(b)
			}
		case *int64:
			*to, ok = v.(int64)
		case *int:
			var n int64
			n, ok = v.(int64)
			*to = int(n)
		case *bool:
			var n int64
			n, ok = v.(int64)
			*to = n != 0
		case *[]byte:
			if *to, ok = v.([]byte); !ok { // else the driver's copy
				var text string
				if text, ok = v.(string); ok {
					*to = []byte(text)
				}
				ok = ok || v == nil
			}
		case *any:
			*to, ok = v, true
		}
		if !ok {
			return fmt.Errorf("lite: column %d is %T, not for %T", i+1, v, into[i])
		}
	}
	return nil
}
