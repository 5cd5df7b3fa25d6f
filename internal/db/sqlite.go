package db

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"mobileid/internal/lite"
)

// checkpointPages is how long the write-ahead log gets before it is folded into
// the file: four times SQLite's own, as most of what is written is written to the
// same few pages again, and short enough for one block of the log's index.
const checkpointPages = "PRAGMA wal_autocheckpoint = 4000"

func openWriter(path string) (*lite.Conn, error) {
	return lite.Open(path, "PRAGMA busy_timeout = 5000", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON",
		"PRAGMA cache_size = -4000", checkpointPages)
}

// openReader: what a reader has in its cache is worth nothing after the next
// commit, so the cache is small.
func openReader(path string) (*lite.Conn, error) {
	return lite.Open(path, "PRAGMA busy_timeout = 5000", "PRAGMA query_only = ON", "PRAGMA cache_size = -1000")
}

// idleReaders is how many connections that read are kept while none is needed.
const idleReaders = 8

// readers are the connections of Views. The one that came back last goes out
// first, so that few of them are ever used.
type readers struct {
	path string

	mu     sync.Mutex
	idle   []*lite.Conn
	closed bool
}

func (r *readers) get() (*lite.Conn, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, ErrClosed
	}
	if n := len(r.idle); n > 0 {
		c := r.idle[n-1]
		r.idle = r.idle[:n-1]
		r.mu.Unlock()
		return c, nil
	}
	r.mu.Unlock()
	return openReader(r.path)
}

func (r *readers) put(c *lite.Conn) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || len(r.idle) == idleReaders {
		return c.Close()
	}
	r.idle = append(r.idle, c)
	return nil
}

func (r *readers) close() (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, c := range r.idle {
		err = errors.Join(err, c.Close())
	}
	r.idle = nil
	return err
}

// viewSQLite is View: all its statements use one connection.
func (d *DB) viewSQLite(ctx context.Context, fn func(tx *Tx) error) error {
	tx := &Tx{ctx: ctx, d: d, at: d.clk.Now()}
	defer func() {
		if tx.reader != nil {
			_ = d.readers.put(tx.reader) // closed behind a closed database: nothing is lost
		}
	}()
	return fn(tx)
}

// lite returns the connection to run a statement on, unless the time of the
// transaction is over. The statement then runs without its context: each is some
// microseconds on a file of our own, and the driver would start a goroutine for it
// to watch the context.
func (tx *Tx) lite() (*lite.Conn, error) {
	if err := tx.ctx.Err(); err != nil {
		return nil, err
	}
	if tx.writes {
		return tx.d.writeConn()
	}
	if tx.reader == nil {
		var err error
		if tx.reader, err = tx.d.readers.get(); err != nil {
			return nil, err
		}
	}
	return tx.reader, nil
}

// writeConn is the writer's connection, which it opens if an earlier reset could not.
func (d *DB) writeConn() (*lite.Conn, error) {
	if d.conn == nil {
		c, err := openWriter(d.path)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", d.path, err)
		}
		d.conn = c
	}
	return d.conn, nil
}

// reset gives the writer a new connection, with no transaction open on it. If
// none can be had the next transaction tries again.
func (d *DB) reset() {
	d.dropConn()
	d.next = nil // it may count what was undone
	_, _ = d.writeConn()
}

// dropConn closes the writer's connection; what was open on it is undone.
func (d *DB) dropConn() {
	if d.conn != nil {
		_ = d.conn.Close()
		d.conn = nil
	}
}

// exec runs one of the writer's own statements.
func (d *DB) exec(q string) error {
	c, err := d.writeConn()
	if err == nil {
		_, err = c.Exec(q)
	}
	return err
}
