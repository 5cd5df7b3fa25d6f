package lite

import (
	"database/sql/driver"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// stmt is a prepared statement. What is bound to it stands in values, in C memory
// of its own that is used again and again: SQLite reads it there while it runs.
type stmt struct {
	p       uintptr
	args    []int // for each parameter of SQLite, in its order, which argument it is
	values  uintptr
	size    int // of values, in bytes
	reading bool
}

const (
	smallest = 64      // bytes of C memory for what is bound to a statement, at least
	kept     = 1 << 15 // and at most, once it has run

	wordSize = unsafe.Sizeof(uintptr(0))
)

// begin returns the statement with the arguments bound, ready to be stepped through.
func (c *Conn) begin(sql string, args []any) (*stmt, error) {
	s, ok := c.stmt[sql]
	if !ok {
		text, err := c.text(sql)
		if err != nil {
			return nil, err
		}
		var rest uintptr
		s, rest, err = c.compile(text, sqlite3.SQLITE_PREPARE_PERSISTENT)
		more := err == nil && rest != text+uintptr(len(sql))
		c.free(text)
		switch {
		case err != nil:
			return nil, err
		case s == nil || more:
			c.drop(s)
			return nil, fmt.Errorf("lite: %q is not one statement", sql)
		}
		c.stmt[sql] = s
	}
	if s.reading {
		return nil, errInUse
	}
	if err := c.bind(s, args); err != nil {
		return nil, err
	}
	s.reading = true
	return s, nil
}

// compile prepares the first statement of the text at p and returns what follows
// it; no statement where there are only spaces or a comment.
func (c *Conn) compile(p uintptr, flags uint32) (s *stmt, rest uintptr, err error) {
	tail := c.out + wordSize
	if err := c.failed(sqlite3.Xsqlite3_prepare_v3(c.tls, c.db, p, -1, flags, c.out, tail)); err != nil {
		return nil, 0, err
	}
	rest = word(tail)
	prepared := word(c.out)
	if prepared == 0 {
		return nil, rest, nil
	}
	s = &stmt{p: prepared, args: make([]int, sqlite3.Xsqlite3_bind_parameter_count(c.tls, prepared))}
	for i := range s.args {
		s.args[i] = i
		name := libc.GoString(sqlite3.Xsqlite3_bind_parameter_name(c.tls, prepared, int32(i+1)))
		if name == "" { // a question mark alone
			continue
		}
		n, err := strconv.Atoi(name[1:])
		if err != nil || n < 1 {
			c.drop(s)
			return nil, 0, fmt.Errorf("lite: parameter %q is neither ? nor $1, $2 …", name)
		}
		s.args[i] = n - 1
	}
	return s, rest, nil
}

// bind has the arguments stand for the statement's parameters.
func (c *Conn) bind(s *stmt, args []any) error {
	need, own := smallest, false
	for i, a := range args {
		switch v := a.(type) {
		case string:
			need += len(v)
		case []byte:
			need += len(v)
		case int64, int, bool, nil:
		default: // a type made of one of these
			plain, err := driver.DefaultParameterConverter.ConvertValue(v)
			if err != nil {
				return err
			}
			if !own { // the caller's stay as they are
				args, own = slices.Clone(args), true
			}
			args[i] = plain
			if text, ok := plain.(string); ok {
				need += len(text)
			}
			if b, ok := plain.([]byte); ok {
				need += len(b)
			}
		}
	}
	if need > math.MaxInt32 {
		return c.failed(sqlite3.SQLITE_TOOBIG)
	}
	if err := c.room(s, need); err != nil {
		return err
	}
	to := memory(s.values, s.size)
	at := 0
	for i, n := range s.args {
		if n >= len(args) {
			return fmt.Errorf("lite: there is no argument for $%d", n+1)
		}
		par := int32(i + 1)
		var rc int32
		switch v := args[n].(type) {
		case string:
			rc = sqlite3.Xsqlite3_bind_text(c.tls, s.p, par, s.values+uintptr(at), int32(copy(to[at:], v)), sqlite3.SQLITE_STATIC)
			at += len(v)
		case []byte:
			if v == nil {
				rc = sqlite3.Xsqlite3_bind_null(c.tls, s.p, par)
				break
			}
			rc = sqlite3.Xsqlite3_bind_blob(c.tls, s.p, par, s.values+uintptr(at), int32(copy(to[at:], v)), sqlite3.SQLITE_STATIC)
			at += len(v)
		case int64:
			rc = sqlite3.Xsqlite3_bind_int64(c.tls, s.p, par, v)
		case int:
			rc = sqlite3.Xsqlite3_bind_int64(c.tls, s.p, par, int64(v))
		case bool:
			n := int64(0)
			if v {
				n = 1
			}
			rc = sqlite3.Xsqlite3_bind_int64(c.tls, s.p, par, n)
		case nil:
			rc = sqlite3.Xsqlite3_bind_null(c.tls, s.p, par)
		default:
			return fmt.Errorf("lite: argument $%d is %T", n+1, v)
		}
		if rc != sqlite3.SQLITE_OK {
			return c.failed(rc)
		}
	}
	return nil
}

// room makes the memory for what is bound at least need bytes long.
func (c *Conn) room(s *stmt, need int) error {
	if need <= s.size {
		return nil
	}
	c.free(s.values)
	s.size = 0
	if s.values = sqlite3.Xsqlite3_malloc(c.tls, int32(need)); s.values == 0 {
		return c.failed(sqlite3.SQLITE_NOMEM)
	}
	s.size = need
	return nil
}

// step runs the statement to its next row; false: it is at its end.
func (c *Conn) step(s *stmt) (row bool, err error) {
	switch rc := sqlite3.Xsqlite3_step(c.tls, s.p); rc {
	case sqlite3.SQLITE_ROW:
		return true, nil
	case sqlite3.SQLITE_DONE:
		return false, nil
	default:
		return false, c.failed(rc)
	}
}

// run runs the statement to its end.
func (c *Conn) run(s *stmt) error {
	for {
		if more, err := c.step(s); err != nil || !more {
			return err
		}
	}
}

// reset ends the statement's run, wherever it is. What it failed with, step said.
func (c *Conn) reset(s *stmt) {
	sqlite3.Xsqlite3_reset(c.tls, s.p)
	s.reading = false
	if s.size > kept {
		sqlite3.Xsqlite3_clear_bindings(c.tls, s.p)
		c.free(s.values)
		s.values, s.size = 0, 0
	}
}

// drop frees the statement; nil is none.
func (c *Conn) drop(s *stmt) {
	if s != nil {
		sqlite3.Xsqlite3_finalize(c.tls, s.p)
		c.free(s.values)
	}
}
