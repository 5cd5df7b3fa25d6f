package db

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"mobileid/internal/clock"
	"mobileid/internal/lite"
)

// checkpointPages is how long the write-ahead log gets before it is folded into
// the file: four times SQLite's own, as most of what is written is written to the
// same few pages again, and short enough for one block of the log's index.
const checkpointPages = "PRAGMA wal_autocheckpoint = 4000"

func openWriter(path string) (*lite.Conn, error) {
	return lite.Open(path, "PRAGMA busy_timeout = 5000", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON", checkpointPages)
}

func openReader(path string) (*lite.Conn, error) {
	return lite.Open(path, "PRAGMA busy_timeout = 5000", "PRAGMA query_only = ON")
}

// mostReaders is how many connections read at once: one a processor, two to eight.
// More would only wait for one another, and each costs its opening and its cache.
func mostReaders() int { return min(max(runtime.GOMAXPROCS(0), 2), 8) }

// readers are the connections of Views. The one that came back last goes out
// first, so that few of them are ever used.
type readers struct {
	path   string
	places chan struct{} // of the connections that are out, mostReaders() at the most

	mu     sync.Mutex
	idle   []*lite.Conn
	closed bool
}

func newReaders(path string) *readers {
	return &readers{path: path, places: make(chan struct{}, mostReaders())}
}

// get waits for a place while ctx lasts.
func (r *readers) get(ctx context.Context) (*lite.Conn, error) {
	select {
	case r.places <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.mu.Lock()
	var c *lite.Conn
	if n := len(r.idle); n > 0 {
		c, r.idle = r.idle[n-1], r.idle[:n-1]
	}
	closed := r.closed
	r.mu.Unlock()
	var err error
	switch {
	case c != nil:
		return c, nil
	case closed:
		err = ErrClosed
	default:
		if c, err = openReader(r.path); err == nil {
			return c, nil
		}
	}
	<-r.places
	return nil, err
}

func (r *readers) put(c *lite.Conn) {
	r.mu.Lock()
	closed := r.closed
	if !closed {
		r.idle = append(r.idle, c)
	}
	r.mu.Unlock()
	if closed {
		_ = c.Close() // behind a closed database: nothing is lost
	}
	<-r.places
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

// lite runs one statement on the connection that is for it, unless the time of the
// transaction is over: the writer's, or a reader that is nobody else's while it
// runs. The statement then runs without a context: each is some microseconds on
// a file of our own, and the driver would start a goroutine for it to watch the
// context.
func (tx *Tx) lite(statement func(*lite.Conn) error) error {
	if tx.writes {
		if !(clock.System{}).Now().Before(tx.until) {
			return context.DeadlineExceeded
		}
		c, err := tx.d.writeConn()
		if err != nil {
			return err
		}
		if !c.InTransaction() { // SQLite ended it, and what came now would be kept by itself
			return errEnded
		}
		return statement(c)
	}
	if err := tx.ctx.Err(); err != nil {
		return err
	}
	c, err := tx.d.readers.get(tx.ctx)
	if err != nil {
		return err
	}
	defer tx.d.readers.put(c)
	return statement(c)
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
