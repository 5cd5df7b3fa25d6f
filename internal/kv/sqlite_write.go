package kv

import (
	"slices"
	"sync"

	"mobileid/internal/lite"
)

// Statements of the embedded store. Each call is one statement, hence atomic.
// "?n" with n the position: key, now, then what the statement needs.
const (
	sqlGet    = `SELECT val, exp FROM record WHERE key = ?1 AND exp > ?2`
	sqlCreate = `INSERT INTO record (key, val, exp) VALUES (?1, ?3, ?4)
ON CONFLICT (key) DO UPDATE SET val = excluded.val, exp = excluded.exp WHERE record.exp <= ?2`
	sqlSwap     = `UPDATE record SET val = ?4, exp = ?5 WHERE key = ?1 AND exp > ?2 AND val = ?3`
	sqlSwapKeep = `UPDATE record SET val = ?4 WHERE key = ?1 AND exp > ?2 AND val = ?3`
	sqlTake     = `DELETE FROM record WHERE key = ?1 AND exp > ?2 RETURNING val`
	sqlDelete   = `DELETE FROM record WHERE key = ?1`
	// The sweep walks the records in the order of their keys, a slice at a time:
	// an index by expiry would be one more page to write for every record.
	sqlSlice = `SELECT max(key) FROM (SELECT key FROM record WHERE key > ?1 ORDER BY key LIMIT ?2)`
	sqlSweep = `DELETE FROM record WHERE key > ?1 AND key <= ?2 AND exp <= ?3`
)

type opKind int

const (
	opGet opKind = iota // reads stand before opCreate
	opPing
	opCreate
	opSwap
	opTake
	opDelete
	opSweep
	opParts // several calls that are made together
)

// op is one call and, once run, its outcome.
type op struct {
	kind     opKind
	key      string
	old, val []byte
	ttl      int64 // milliseconds; 0 in opSwap keeps the record's life
	limit    int64 // opSweep: records to look at after key
	parts    []*op // of opParts

	out  []byte
	exp  int64 // of what was read or written, Unix milliseconds; 0 where it was kept
	rows int64
	err  error
	turn chan bool // true: lead the next batch; false: the op has run
}

// maxBatch bounds how long one transaction keeps the others waiting.
const maxBatch = 256

// line runs calls on the one connection. A caller who finds it idle runs its own
// call at once, on its own goroutine. Those who come meanwhile queue up; the
// first of them then runs the whole queue, its writes as one transaction (group
// commit), so the cost of a commit is shared under load and nobody pays for a
// hand-over without it.
type line struct {
	c     *lite.Conn
	now   func() int64 // Unix milliseconds
	front *front

	mu     sync.Mutex
	idle   *sync.Cond
	busy   bool
	closed bool
	queue  []*op
	spare  []*op
}

func newLine(c *lite.Conn, now func() int64) *line {
	l := &line{c: c, now: now, front: newFront()}
	l.idle = sync.NewCond(&l.mu)
	return l
}

// run performs o and returns its error. It does not give up early: once queued,
// a write's outcome is known to its caller.
func (l *line) run(o *op) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errClosed
	}
	l.queue = append(l.queue, o)
	if l.busy {
		o.turn = make(chan bool, 1)
		l.mu.Unlock()
		if lead := <-o.turn; !lead {
			return o.err
		}
		l.mu.Lock()
	}
	l.busy = true
	// o heads the queue now, both as the first to come and as the next leader.
	batch := l.queue
	l.queue, l.spare = l.spare[:0], nil
	if len(batch) > maxBatch {
		l.queue = append(l.queue, batch[maxBatch:]...)
		clear(batch[maxBatch:])
		batch = batch[:maxBatch]
	}
	l.mu.Unlock()

	calls := flat(batch)
	l.apply(calls)
	for _, done := range calls {
		l.front.learn(done)
	}

	l.mu.Lock()
	if len(l.queue) > 0 {
		l.queue[0].turn <- true
	} else {
		l.busy = false
		l.idle.Broadcast()
	}
	l.mu.Unlock()
	for _, other := range batch[1:] {
		other.turn <- false
	}
	clear(batch)
	l.mu.Lock()
	if l.spare == nil {
		l.spare = batch[:0]
	}
	l.mu.Unlock()
	return o.err
}

// flat is the batch with the parts in place of what they are parts of.
func flat(batch []*op) []*op {
	if !slices.ContainsFunc(batch, func(o *op) bool { return o.kind == opParts }) {
		return batch
	}
	var all []*op
	for _, o := range batch {
		if o.kind == opParts {
			all = append(all, o.parts...)
		} else {
			all = append(all, o)
		}
	}
	return all
}

// writes counts the calls that change something.
func writes(batch []*op) (n int) {
	for _, o := range batch {
		if o.kind >= opCreate {
			n++
		}
	}
	return n
}

// apply runs a batch. If a statement fails, the transaction is undone and each
// write runs by itself, so that every caller is told of its own fate only.
func (l *line) apply(batch []*op) {
	now := l.now()
	if writes(batch) > 1 {
		if _, err := l.c.Exec("BEGIN IMMEDIATE"); err == nil {
			if l.all(batch, now) {
				_, err := l.c.Exec("COMMIT")
				if err == nil {
					return
				}
			}
			l.c.Exec("ROLLBACK") // fails if SQLite has rolled back by itself
		}
	}
	for _, o := range batch {
		l.exec(o, now)
	}
}

func (l *line) all(batch []*op, now int64) bool {
	for _, o := range batch {
		if l.exec(o, now); o.err != nil && o.err != ErrNotFound {
			return false
		}
	}
	return true
}

func (l *line) exec(o *op, now int64) {
	switch o.kind {
	case opGet:
		if o.err = l.c.Row(sqlGet, []any{o.key, now}, &o.out, &o.exp); o.err == lite.ErrNone {
			o.err = ErrNotFound
		}
	case opPing:
		_, o.err = one(l.c, "SELECT count(*) FROM boot")
	case opCreate:
		o.exp = now + o.ttl
		o.rows, o.err = l.c.Exec(sqlCreate, o.key, now, o.val, o.exp)
	case opSwap:
		if o.ttl == 0 {
			o.rows, o.err = l.c.Exec(sqlSwapKeep, o.key, now, o.old, o.val)
		} else {
			o.exp = now + o.ttl
			o.rows, o.err = l.c.Exec(sqlSwap, o.key, now, o.old, o.val, o.exp)
		}
	case opTake:
		o.out, o.err = bytesOf(l.c, sqlTake, o.key, now)
	case opDelete:
		o.rows, o.err = l.c.Exec(sqlDelete, o.key)
	case opSweep:
		o.err = l.sweep(o, now)
	}
}

// sweep deletes what is over among the limit records after o.key, and moves o.key
// to the last of them, or to "" at the end.
func (l *line) sweep(o *op, now int64) error {
	last, err := one(l.c, sqlSlice, o.key, o.limit)
	if err != nil {
		return err
	}
	to, more := last.(string)
	if more {
		o.rows, err = l.c.Exec(sqlSweep, o.key, to, now)
	}
	if err == nil {
		o.key = to
	}
	return err
}

// close waits for the writes that were accepted and then closes the connection.
func (l *line) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	for l.busy {
		l.idle.Wait()
	}
	return l.c.Close()
}
