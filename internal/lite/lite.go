// Package lite is one SQLite connection with its prepared statements, for one
// user at a time. It calls the C interface of the library that modernc.org/sqlite
// is made from, without that module's driver and without database/sql: a row is
// read in some microseconds, of which the pool, the goroutine per call, the names
// and types of the columns and a piece of C memory for each value would be the
// greater part. Calls take no context for that reason; callers look at theirs before.
package lite

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"modernc.org/libc"
	_ "modernc.org/sqlite" // sets the library up where a platform needs it
	sqlite3 "modernc.org/sqlite/lib"
)

// ErrNone says that a statement which was to return a row returned none.
var ErrNone = errors.New("lite: no row")

// errInUse says that a statement was run from within its own rows.
var errInUse = errors.New("lite: the statement is being read from")

// Error is what SQLite refused.
type Error struct {
	text string
	code int
}

func (e *Error) Error() string { return e.text }

// Code is SQLite's extended result code; its low byte is the primary one.
func (e *Error) Code() int { return e.code }

// Conn is the connection. It is not safe for concurrent use.
type Conn struct {
	tls  *libc.TLS
	db   uintptr
	out  uintptr // two words of C memory, for what a call returns by pointer
	stmt map[string]*stmt
}

// Open opens the file at path, which it makes, and runs the pragmas.
func Open(path string, pragmas ...string) (*Conn, error) {
	if keepPages() {
		pragmas = append(slices.Clip(pragmas), fmt.Sprintf("PRAGMA cache_size = %d", pages))
	}
	c := &Conn{tls: libc.NewTLS(), stmt: make(map[string]*stmt)}
	if err := c.open(path); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	for _, p := range pragmas {
		if err := c.Script(p); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", p, err), c.Close())
		}
	}
	return c, nil
}

func (c *Conn) open(path string) error {
	name, err := c.text(path)
	if err != nil {
		return err
	}
	defer c.free(name)
	if c.out = sqlite3.Xsqlite3_malloc(c.tls, 2*int32(wordSize)); c.out == 0 {
		return c.failed(sqlite3.SQLITE_NOMEM)
	}
	clear(memory(c.out, 2*int(wordSize)))
	const flags = sqlite3.SQLITE_OPEN_READWRITE | sqlite3.SQLITE_OPEN_CREATE | sqlite3.SQLITE_OPEN_NOMUTEX | sqlite3.SQLITE_OPEN_EXRESCODE
	rc := sqlite3.Xsqlite3_open_v2(c.tls, name, c.out, flags, 0)
	c.db = word(c.out) // there is one even beside an error
	return c.failed(rc)
}

// Close closes the statements and the connection, also one that was not opened.
func (c *Conn) Close() error {
	for _, s := range c.stmt {
		c.drop(s)
	}
	c.stmt = nil
	rc := sqlite3.Xsqlite3_close_v2(c.tls, c.db)
	c.db = 0
	err := c.failed(rc)
	c.free(c.out)
	c.out = 0
	c.tls.Close()
	return err
}

// InTransaction reports whether one is open: begun, and neither ended nor, as
// SQLite may do by itself when a statement fails, undone.
func (c *Conn) InTransaction() bool { return sqlite3.Xsqlite3_get_autocommit(c.tls, c.db) == 0 }

// Changes counts the rows that statements inserted, changed or deleted since Open;
// it wraps around.
func (c *Conn) Changes() int32 { return sqlite3.Xsqlite3_total_changes(c.tls, c.db) }

// Script runs one or more statements without keeping them prepared.
func (c *Conn) Script(sql string) error {
	text, err := c.text(sql)
	if err != nil {
		return err
	}
	defer c.free(text)
	for at := text; memory(at, 1)[0] != 0; {
		s, rest, err := c.compile(at, 0)
		if err != nil {
			return err
		}
		at = rest
		if s == nil { // a comment
			continue
		}
		err = c.run(s)
		c.drop(s)
		if err != nil {
			return err
		}
	}
	return nil
}

// Exec runs a statement and returns how many rows it changed.
func (c *Conn) Exec(sql string, args ...any) (int64, error) {
	s, err := c.begin(sql, args)
	if err != nil {
		return 0, err
	}
	err = c.run(s)
	c.reset(s)
	if err != nil {
		return 0, err
	}
	return int64(sqlite3.Xsqlite3_changes(c.tls, c.db)), nil
}

// Rows calls each for every row of a statement, with scan to read its columns:
// see Row. An error of each ends it and is returned as it is.
func (c *Conn) Rows(sql string, args []any, each func(scan func(into ...any) error) error) error {
	s, err := c.begin(sql, args)
	if err != nil {
		return err
	}
	defer c.reset(s)
	scan := func(into ...any) error { return c.scan(s, into) }
	for {
		if more, err := c.step(s); err != nil || !more {
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
	s, err := c.begin(sql, args)
	if err != nil {
		return err
	}
	defer c.reset(s)
	found, err := c.step(s)
	if err != nil {
		return err
	}
	if !found {
		return ErrNone
	}
	if err := c.scan(s, into); err != nil {
		return err
	}
	return c.run(s)
}

// failed is the error of a result code: nil for SQLITE_OK.
func (c *Conn) failed(rc int32) error {
	if rc == sqlite3.SQLITE_OK {
		return nil
	}
	text := libc.GoString(sqlite3.Xsqlite3_errstr(c.tls, rc))
	if c.db != 0 {
		if more := libc.GoString(sqlite3.Xsqlite3_errmsg(c.tls, c.db)); more != text {
			text += ": " + more
		}
	}
	return &Error{text: fmt.Sprintf("%s (%d)", text, rc), code: int(rc)}
}

func (c *Conn) free(p uintptr) { sqlite3.Xsqlite3_free(c.tls, p) }

// text is s in C memory, ended by a NUL, until it is freed.
func (c *Conn) text(s string) (uintptr, error) {
	p := sqlite3.Xsqlite3_malloc(c.tls, int32(len(s)+1))
	if p == 0 {
		return 0, c.failed(sqlite3.SQLITE_NOMEM)
	}
	m := memory(p, len(s)+1)
	m[copy(m, s)] = 0
	return p, nil
}

// memory is n bytes of C memory at p, which is none of Go's: they are there until
// they are freed, whoever refers to them.
func memory(p uintptr, n int) []byte { return unsafe.Slice(*(**byte)(unsafe.Pointer(&p)), n) }

// word is the machine word of C memory at p.
func word(p uintptr) uintptr { return **(**uintptr)(unsafe.Pointer(&p)) }
