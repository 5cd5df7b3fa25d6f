package kv

import (
	"context"
	"fmt"

	"mobileid/internal/clock"
)

// OpenBoot opens the embedded store as if on the machine's boot named boot.
func OpenBoot(ctx context.Context, path string, clk clock.Clock, boot string) (KV, error) {
	return openSQLite(ctx, path, clk, boot)
}

// Rows counts the rows of the embedded store, swept or not.
func Rows(s KV) (int64, error) {
	store := s.(*sqlStore)
	c, err := store.reader(context.Background())
	if err != nil {
		return 0, err
	}
	defer func() { store.readers <- c }()
	n, err := c.one("SELECT count(*) FROM record")
	if err != nil {
		return 0, err
	}
	return n.(int64), nil
}

// LimitPages lets the embedded store's file grow by no more than n pages.
func LimitPages(s KV, n int64) error {
	w := s.(*sqlStore).w
	w.mu.Lock()
	defer w.mu.Unlock()
	now, err := w.c.one("PRAGMA page_count")
	if err != nil {
		return err
	}
	return w.c.script(fmt.Sprintf("PRAGMA max_page_count = %d", now.(int64)+n))
}

// Script runs SQL on the embedded store's writing connection.
func Script(s KV, sql string) error {
	w := s.(*sqlStore).w
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.c.script(sql)
}
