package kv

import (
	"bytes"
	"slices"
	"sync"
)

type opKind int

const (
	opCreate opKind = iota
	opSwap
	opTake
	opDelete
	opPing
	opParts // several calls that are made together
)

// op is one call that may write and, once run, its outcome.
type op struct {
	kind     opKind
	key      string
	old, val []byte
	ttl      int64 // milliseconds; 0 in opSwap keeps the record's life
	parts    []*op // of opParts

	out  []byte    // of opTake
	err  error     // the contract's outcomes as they are
	turn chan bool // true: lead the next batch; false: the op has run
}

// maxBatch bounds how long one batch keeps the others waiting.
const maxBatch = 64

// line makes the calls that may write, one after the other. A caller who finds it
// idle makes its own call at once, on its own goroutine. Those who come meanwhile
// queue up; the first of them then makes all their calls, with one write to the
// journal (group commit), so its cost is shared under load and nobody pays for a
// hand-over without it.
//
// Who leads the line is alone in changing what memory holds as written, so what it
// has found of a key stays true until it has made its change.
type line struct {
	now  func() int64 // Unix milliseconds
	file *file
	mem  *memory
	log  *journal
	wake chan struct{} // tells the keeper that the sealed table is wanted in the file

	changes []change // of the batch under way

	mu     sync.Mutex
	idle   *sync.Cond
	busy   bool
	closed bool
	queue  []*op
	spare  []*op
}

func newLine(f *file, log *journal) *line {
	l := &line{now: f.now, file: f, mem: f.mem, log: log, wake: make(chan struct{}, 1)}
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

	l.apply(flat(batch))

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

// apply makes the calls of a batch. Nobody reads a change before the journal has
// it; if that fails, no call has had an effect and each is told so, also those that
// would have changed nothing: their outcome may rest on a change that is not made.
func (l *line) apply(batch []*op) {
	err := l.room()
	if err == nil {
		now, ping := l.now(), false
		for _, o := range batch {
			l.judge(o, now)
			ping = ping || o.kind == opPing
		}
		if len(l.changes) > 0 || ping {
			err = l.log.append(l.changes)
		}
	}
	if err == nil {
		l.mem.apply(l.changes)
	} else {
		for _, o := range batch {
			o.out, o.err = nil, err
		}
	}
	clear(l.changes)
	l.changes = l.changes[:0]
}

// judge decides what becomes of o, after the changes of those before it.
func (l *line) judge(o *op, now int64) {
	if o.kind == opPing {
		return
	}
	cur, err := l.find(o.key)
	if err != nil {
		o.err = err
		return
	}
	live := cur.exp > now
	next := entry{inFile: cur.inFile}
	switch o.kind {
	case opCreate:
		if live {
			o.err = ErrExists
			return
		}
		next.val, next.exp = bytes.Clone(o.val), now+o.ttl
	case opSwap:
		if !live || !bytes.Equal(cur.val, o.old) {
			o.err = ErrConflict
			return
		}
		next.val, next.exp = bytes.Clone(o.val), cur.exp
		if o.ttl > 0 {
			next.exp = now + o.ttl
		}
	case opTake:
		if !live {
			o.err = ErrNotFound
			return
		}
		o.out = append(make([]byte, 0, len(cur.val)), cur.val...)
	case opDelete:
		if !live {
			return
		}
	}
	l.changes = append(l.changes, change{o.key, next})
}

// find is what the key holds after the batch so far.
func (l *line) find(key string) (entry, error) {
	for i := len(l.changes) - 1; i >= 0; i-- {
		if l.changes[i].key == key {
			return l.changes[i].entry, nil
		}
	}
	return l.file.find(key)
}

// room makes room for a batch. Once enough was written, the table is sealed and a new
// one and a new journal begin; the table that was sealed before goes into the file
// first. While the file is busy with it twice as much is taken, and then the line waits.
func (l *line) room() error {
	size, sealed := l.mem.load()
	if size < freshBytes && l.log.end < logBytes {
		return nil
	}
	if !l.mem.wants() && l.log.end < logBytes && l.mem.prune(l.now()) < freshBytes/2 {
		return nil
	}
	roomy := size < 2*freshBytes && l.log.end < 2*logBytes
	if sealed {
		l.fold()
		if roomy {
			return nil
		}
		if err := l.mem.settled(); err != nil {
			return err
		}
	}
	if err := l.turnOver(); err != nil && !roomy {
		return err
	}
	return nil
}

// fold has the keeper bring the sealed table into the file.
func (l *line) fold() {
	if l.mem.want() {
		select {
		case l.wake <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// turnOver seals the table and begins a new journal. There must be no sealed table.
func (l *line) turnOver() error {
	if err := l.log.rotate(); err != nil {
		return err
	}
	l.mem.seal()
	return nil
}

// shut refuses calls from now on and waits for those that were accepted.
func (l *line) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for l.busy {
		l.idle.Wait()
	}
}
