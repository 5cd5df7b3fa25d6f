package lite

import (
	"fmt"

	sqlite3 "modernc.org/sqlite/lib"
)

// scan copies the columns of the row that the statement stands on.
func (c *Conn) scan(s *stmt, into []any) error {
	if n := int(sqlite3.Xsqlite3_data_count(c.tls, s.p)); n != len(into) {
		return fmt.Errorf("lite: %d columns for %d variables", n, len(into))
	}
	for i, to := range into {
		col := int32(i)
		kind := sqlite3.Xsqlite3_column_type(c.tls, s.p, col)
		bytes, number := kind == sqlite3.SQLITE_TEXT || kind == sqlite3.SQLITE_BLOB, kind == sqlite3.SQLITE_INTEGER
		ok := false
		switch to := to.(type) {
		case *string:
			if ok = bytes; ok {
				*to = c.stringOf(s, col)
			}
		case *[]byte:
			if ok = bytes || kind == sqlite3.SQLITE_NULL; ok {
				*to = c.bytesOf(s, col)
			}
		case *int64:
			if ok = number; ok {
				*to = sqlite3.Xsqlite3_column_int64(c.tls, s.p, col)
			}
		case *int:
			if ok = number; ok {
				*to = int(sqlite3.Xsqlite3_column_int64(c.tls, s.p, col))
			}
		case *bool:
			if ok = number; ok {
				*to = sqlite3.Xsqlite3_column_int64(c.tls, s.p, col) != 0
			}
		case *any:
			*to, ok = c.anyOf(s, col, kind), true
		}
		if !ok {
			return fmt.Errorf("lite: column %d, of SQLite's type %d, is not for %T", i+1, kind, to)
		}
	}
	return nil
}

// columnBytes is what a column of text or bytes holds, in SQLite's memory, until
// the statement goes on.
func (c *Conn) columnBytes(s *stmt, col int32) []byte {
	p := sqlite3.Xsqlite3_column_blob(c.tls, s.p, col) // of text: as it is stored, in UTF-8
	n := int(sqlite3.Xsqlite3_column_bytes(c.tls, s.p, col))
	if p == 0 || n == 0 {
		return nil
	}
	return memory(p, n)
}

func (c *Conn) stringOf(s *stmt, col int32) string { return string(c.columnBytes(s, col)) }

// bytesOf is nil for NULL, and only then.
func (c *Conn) bytesOf(s *stmt, col int32) []byte {
	if sqlite3.Xsqlite3_column_type(c.tls, s.p, col) == sqlite3.SQLITE_NULL {
		return nil
	}
	return append([]byte{}, c.columnBytes(s, col)...)
}

func (c *Conn) anyOf(s *stmt, col, kind int32) any {
	switch kind {
	case sqlite3.SQLITE_INTEGER:
		return sqlite3.Xsqlite3_column_int64(c.tls, s.p, col)
	case sqlite3.SQLITE_FLOAT:
		return sqlite3.Xsqlite3_column_double(c.tls, s.p, col)
	case sqlite3.SQLITE_TEXT:
		return c.stringOf(s, col)
	case sqlite3.SQLITE_BLOB:
		return c.bytesOf(s, col)
	}
	return nil
}
