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
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mobileid/internal/clock"

	_ "modernc.org/sqlite" // the driver "sqlite"
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

	read  *sql.DB
	write *sql.DB
	conn  *sql.Conn // the writer's, used by its goroutine only

	readStmts  sync.Map // query → *sql.Stmt
	writeStmts map[string]*sql.Stmt

	observer atomic.Pointer[Observer]

	jobs chan *job
	stop chan struct{}
	done chan struct{}
	once sync.Once
}

// NewID returns prefix and 26 base32 characters (130 bits of randomness).
func NewID(prefix string) string { return prefix + strings.ToLower(rand.Text()) }

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
	q := url.Values{}
	q.Add("_pragma", "busy_timeout(5000)")
	q.Add("_pragma", "journal_mode(WAL)")
	q.Add("_pragma", "synchronous(FULL)")
	q.Add("_pragma", "foreign_keys(ON)")
	if err := private(path); err != nil {
		return nil, err
	}
	file := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
	w, err := sql.Open("sqlite", file+"&_pragma=cache_size(-8000)")
	if err != nil {
		return nil, fmt.Errorf("db: open: %w", err)
	}
	w.SetMaxOpenConns(1)
	conn, err := w.Conn(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("db: open %s: %w", path, err), w.Close())
	}
	// A reader's cache is worth nothing after the next commit: keep it small.
	r, err := sql.Open("sqlite", file+"&_pragma=query_only(ON)&_pragma=cache_size(-2000)")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("db: open: %w", err), conn.Close(), w.Close())
	}
	r.SetMaxOpenConns(8)
	r.SetMaxIdleConns(8)
	d := &DB{
		clk: clk, read: r, write: w, conn: conn,
		writeStmts: map[string]*sql.Stmt{},
		jobs:       make(chan *job),
		stop:       make(chan struct{}), done: make(chan struct{}),
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
		d.readStmts.Range(func(_, s any) bool { err = errors.Join(err, s.(*sql.Stmt).Close()); return true })
		err = errors.Join(err, d.read.Close(), d.write.Close())
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
