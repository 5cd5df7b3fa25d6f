package kv

import "mobileid/internal/lite"

// one runs a statement and returns the single column of its first row, or
// ErrNotFound.
func one(c *lite.Conn, sql string, args ...any) (v any, err error) {
	if err = c.Row(sql, args, &v); err == lite.ErrNone {
		err = ErrNotFound
	}
	return v, err
}

// bytesOf is one for a column that holds a BLOB.
func bytesOf(c *lite.Conn, sql string, args ...any) (val []byte, err error) {
	if err = c.Row(sql, args, &val); err == lite.ErrNone {
		err = ErrNotFound
	}
	return val, err
}
