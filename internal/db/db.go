// Package db holds what must not be lost: the durable state in SQL, one method
// a statement, one text for SQLite and PostgreSQL. Nothing above it writes SQL.
//
// A transaction is a function; it must only run statements and compute, never
// wait for anything else (no kv, no network), and it must leave nothing behind
// when it fails: it may be run again.
//
// Writes on SQLite go through one goroutine that groups waiting transactions
// into one commit, so that one fsync serves many answers: all other writers wait
// behind a transaction. On PostgreSQL transactions run side by side, at READ
// COMMITTED: what a decision rests on is read with its row locked (the methods
// say so), and who meets a newer state returns ErrAgain.
package db

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/lite"
)

// ErrNotFound says that no row has the key.
var ErrNotFound = errors.New("db: no such row")

// ErrConflict says that a row with the key, or a newer state, is already there.
var ErrConflict = errors.New("db: conflict")

// ErrClosed says that the database was closed.
var ErrClosed = errors.New("db: closed")

// DB is the durable store; safe for concurrent use.
type DB struct {
	clk clock.Clock
	pg  *postgres // nil: SQLite, and the rest is its

	path    string
	conn    *lite.Conn       // the writer's, used by its goroutine only; nil: to be opened
	next    map[string]int64 // and its: the next number of each line of audit, once known
	readers *readers

	observer atomic.Pointer[Observer]

	usual  int           // how many share a commit
	coming atomic.Int64  // callers who said that they will write
	nobody chan struct{} // a hint that coming fell to none

	jobs chan *job
	stop chan struct{}
	done chan struct{}
	once sync.Once
}

// NewID returns prefix and 26 base32 characters (130 bits of randomness).
func NewID(prefix string) string { return prefix + strings.ToLower(rand.Text()) }

// NewSerialID is NewID for rows that come by the thousand and are read by their
// id: it begins with the time, to the millisecond, and sorts by it, so that the
// rows of one commit stand on the same pages of an index instead of one each. 85
// bits of it are random.
func NewSerialID(prefix string) string {
	const sorted = "234567abcdefghijklmnopqrstuvwxyz" // the characters of NewID, in the order of their bytes
	var id [26]byte
	at := clock.System{}.Now().UnixMilli()
	for i := 8; i >= 0; i-- {
		id[i] = sorted[at&31]
		at >>= 5
	}
	copy(id[9:], strings.ToLower(rand.Text()))
	return prefix + string(id[:])
}

// IsPostgres reports whether a store's URL names a PostgreSQL database.
func IsPostgres(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// Open opens "sqlite:<path>" or "postgres://…". It does not migrate. clk tells
// the time on SQLite; PostgreSQL goes by its own. Errors do not quote the URL.
func Open(ctx context.Context, dsn string, clk clock.Clock) (*DB, error) {
	if IsPostgres(dsn) {
		p, err := openPostgres(ctx, dsn, clk)
		if err != nil {
			return nil, err
		}
		return &DB{clk: clk, pg: p}, nil
	}
	path, ok := strings.CutPrefix(dsn, "sqlite:")
	if !ok || path == "" {
		return nil, errors.New("db: the URL must be sqlite:<path> or postgres://…")
	}
	return openSQLite(ctx, path, clk)
}

// openSQLite opens the file and starts its writer.
func openSQLite(ctx context.Context, path string, clk clock.Clock) (*DB, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := private(path); err != nil {
		return nil, err
	}
	d := &DB{
		clk: clk, path: path, readers: newReaders(path),
		jobs: make(chan *job), nobody: make(chan struct{}, 1),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	var err error
	if d.conn, err = openWriter(path); err != nil {
		return nil, fmt.Errorf("db: open %s: %w", path, err)
	}
	go d.writer()
	return d, nil
}

// private makes the file before SQLite would: others may not read it. The
// journal files take over its mode.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("db: open %s: %w", path, err)
	}
	return f.Close()
}

// Ping reports whether the database answers and can be written to: on PostgreSQL
// by a commit of its own.
func (d *DB) Ping(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- d.Update(ctx, func(*Tx) error { return nil }) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the writers after the transactions under way, then the pools.
func (d *DB) Close() error {
	var err error
	d.once.Do(func() {
		if d.pg != nil {
			err = d.pg.close()
			return
		}
		close(d.stop)
		<-d.done
		err = d.readers.close()
	})
	return err
}

// View runs fn with read access. Each statement sees what is committed when it
// starts; there is no snapshot across statements.
func (d *DB) View(ctx context.Context, fn func(tx *Tx) error) error {
	ctx, end := d.span(ctx, "db.view")
	var err error
	if d.pg != nil {
		err = d.pg.view(ctx, d, fn)
	} else {
		err = fn(&Tx{ctx: ctx, d: d, at: d.clk.Now()})
	}
	if end != nil {
		end(err)
	}
	return err
}

// millis and fromMillis turn times into the stored form and back; the zero
// time is 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
