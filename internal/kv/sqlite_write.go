package kv

import "sync"

// Statements of the embedded store. Each call is one statement, hence atomic.
// "?n" with n the position: key, now, then what the statement needs.
const (
	sqlGet    = `SELECT val FROM record WHERE key = ?1 AND exp > ?2`
	sqlCreate = `INSERT INTO record (key, val, exp) VALUES (?1, ?3, ?4)
ON CONFLICT (key) DO UPDATE SET val = excluded.val, exp = excluded.exp WHERE record.exp <= ?2`
	sqlSwap     = `UPDATE record SET val = ?4, exp = ?5 WHERE key = ?1 AND exp > ?2 AND val = ?3`
	sqlSwapKeep = `UPDATE record SET val = ?4 WHERE key = ?1 AND exp > ?2 AND val = ?3`
	sqlTake     = `DELETE FROM record WHERE key = ?1 AND exp > ?2 RETURNING val`
	sqlDelete   = `DELETE FROM record WHERE key = ?1`
	sqlSweep    = `DELETE FROM record WHERE rowid IN (SELECT rowid FROM record WHERE exp <= ?1 ORDER BY exp LIMIT ?2)`
)

type opKind int

const (
	opCreate opKind = iota
	opSwap
	opTake
	opDelete
	opSweep
)

// op is one write and, once run, its outcome.
type op struct {
	kind     opKind
	key      string
	old, val []byte
	ttl      int64 // milliseconds; 0 in opSwap keeps the record's life
	limit    int64 // opSweep

	out  []byte
	rows int64
	err  error
	turn chan bool // true: lead the next batch; false: the op has run
}

// maxBatch bounds how long one transaction keeps the others waiting.
const maxBatch = 256

// writer runs writes on the one connection that writes. A caller who finds it
// idle runs its own write at once, on its own goroutine. Those who come
// meanwhile queue up; the first of them then runs the whole queue as one
// transaction (group commit), so the cost of a commit is shared under load and
// nobody pays for a hand-over without it.
type writer struct {
	c   *conn
	now func() int64 // Unix milliseconds

	mu     sync.Mutex
	idle   *sync.Cond
	busy   bool
	closed bool
	queue  []*op
	spare  []*op
}

func newWriter(c *conn, now func() int64) *writer {
	w := &writer{c: c, now: now}
	w.idle = sync.NewCond(&w.mu)
	return w
}

// run performs o and returns its error. It does not give up early: once queued,
// a write's outcome is known to its caller.
func (w *writer) run(o *op) error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return errClosed
	}
	w.queue = append(w.queue, o)
	if w.busy {
		o.turn = make(chan bool, 1)
		w.mu.Unlock()
		if lead := <-o.turn; !lead {
			return o.err
		}
		w.mu.Lock()
	}
	w.busy = true
	// o heads the queue now, both as the first to come and as the next leader.
	batch := w.queue
	w.queue, w.spare = w.spare[:0], nil
	if len(batch) > maxBatch {
		w.queue = append(w.queue, batch[maxBatch:]...)
		clear(batch[maxBatch:])
		batch = batch[:maxBatch]
	}
	w.mu.Unlock()

	w.apply(batch)

	w.mu.Lock()
	if len(w.queue) > 0 {
		w.queue[0].turn <- true
	} else {
		w.busy = false
		w.idle.Broadcast()
	}
	w.mu.Unlock()
	for _, other := range batch[1:] {
		other.turn <- false
	}
	clear(batch)
	w.mu.Lock()
	if w.spare == nil {
		w.spare = batch[:0]
	}
	w.mu.Unlock()
	return o.err
}

// apply runs a batch. If a statement fails, the transaction is undone and each
// write runs by itself, so that every caller is told of its own fate only.
func (w *writer) apply(batch []*op) {
	now := w.now()
	if len(batch) > 1 {
		if _, err := w.c.exec("BEGIN IMMEDIATE"); err == nil {
			if w.all(batch, now) {
				_, err := w.c.exec("COMMIT")
				if err == nil {
					return
				}
			}
			w.c.exec("ROLLBACK") // fails if SQLite has rolled back by itself
		}
	}
	for _, o := range batch {
		w.exec(o, now)
	}
}

func (w *writer) all(batch []*op, now int64) bool {
	for _, o := range batch {
		if w.exec(o, now); o.err != nil && o.err != ErrNotFound {
			return false
		}
	}
	return true
}

func (w *writer) exec(o *op, now int64) {
	switch o.kind {
	case opCreate:
		o.rows, o.err = w.c.exec(sqlCreate, o.key, now, o.val, now+o.ttl)
	case opSwap:
		if o.ttl == 0 {
			o.rows, o.err = w.c.exec(sqlSwapKeep, o.key, now, o.old, o.val)
		} else {
			o.rows, o.err = w.c.exec(sqlSwap, o.key, now, o.old, o.val, now+o.ttl)
		}
	case opTake:
		o.out, o.err = w.c.bytes(sqlTake, o.key, now)
	case opDelete:
		o.rows, o.err = w.c.exec(sqlDelete, o.key)
	case opSweep:
		o.rows, o.err = w.c.exec(sqlSweep, now, o.limit)
	}
}

// close waits for the writes that were accepted and then closes the connection.
func (w *writer) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	for w.busy {
		w.idle.Wait()
	}
	return w.c.close()
}
