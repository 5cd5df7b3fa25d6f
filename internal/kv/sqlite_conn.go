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
