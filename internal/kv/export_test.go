package kv

import (
	"context"
	"fmt"

	"mobileid/internal/clock"
	"mobileid/internal/lite"
)

// OpenBoot opens the embedded store as if on the machine's boot named boot.
func OpenBoot(ctx context.Context, path string, clk clock.Clock, boot string) (KV, error) {
	return openSQLite(ctx, path, clk, boot)
}

// use runs fn on the embedded store's connection while nobody else does.
func use(s KV, fn func(c *lite.Conn) error) error {
	l := s.(*sqlStore).l
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.busy {
		l.idle.Wait()
	}
	return fn(l.c)
}

// Rows counts the rows of the embedded store, swept or not.
func Rows(s KV) (n int64, err error) {
	err = use(s, func(c *lite.Conn) error {
		v, err := one(c, "SELECT count(*) FROM record")
		if err == nil {
			n = v.(int64)
		}
		return err
	})
	return n, err
}

// LimitPages lets the embedded store's file grow by no more than n pages.
func LimitPages(s KV, n int64) error {
	return use(s, func(c *lite.Conn) error {
		now, err := one(c, "PRAGMA page_count")
		if err != nil {
			return err
		}
		return c.Script(fmt.Sprintf("PRAGMA max_page_count = %d", now.(int64)+n))
	})
}

// Script runs SQL on the embedded store's connection.
func Script(s KV, sql string) error {
	return use(s, func(c *lite.Conn) error { return c.Script(sql) })
}
