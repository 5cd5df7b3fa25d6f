package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"mobileid/internal/clock"
)

const (
	sweepEvery = time.Second
	sweepMost  = 40 // steps in one go, then callers get a second to themselves
)

// sqlStore is the embedded backend, for one node. What is written goes into memory
// and, before the caller is told so, with one system call into a journal beside the
// SQLite file; into that file goes, in the background, what has lived long enough
// for the journal to have filled. Most records never do.
//
//	line → journal, memory → (keeper) → file
//
// A read asks memory, and then the file unless memory knows that it has nothing.
type sqlStore struct {
	clk  clock.Clock
	l    *line
	file *file
	mem  *memory
	hub  *hub

	closing  chan struct{}
	closer   sync.Once
	closeErr error
	kept     chan struct{} // closed when the keeper has ended
}

func openSQLite(ctx context.Context, path string, clk clock.Clock, boot string) (*sqlStore, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &sqlStore{
		clk:     clk,
		mem:     newMemory(),
		hub:     newHub(),
		closing: make(chan struct{}),
		kept:    make(chan struct{}),
	}
	c, id, err := openFile(path, boot, s.now())
	if err != nil {
		return nil, fmt.Errorf("kv: open %s: %w", path, err)
	}
	s.file = &file{mem: s.mem, now: s.now, c: c, met: newFilter()}
	log, err := newJournal(path, id)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("kv: open %s: %w", path, err), c.Close())
	}
	s.l = newLine(s.file, log)
	go s.keep()
	return s, nil
}

func (s *sqlStore) now() int64 { return s.clk.Now().UnixMilli() }

func (s *sqlStore) run(ctx context.Context, name string, o *op) error {
	err := ctx.Err()
	if err == nil {
		err = s.l.run(o)
	}
	if expected(err) {
		return err
	}
	return opError(name, o.key, err)
}

func (s *sqlStore) Create(ctx context.Context, key string, val []byte, ttl time.Duration) error {
	if ttl <= 0 {
		return opError("create", key, errTTL)
	}
	return s.run(ctx, "create", &op{kind: opCreate, key: key, val: val, ttl: millis(ttl)})
}

func (s *sqlStore) Get(ctx context.Context, key string) ([]byte, error) {
	err := ctx.Err()
	if err == nil && s.isClosed() {
		err = errClosed
	}
	if err != nil {
		return nil, opError("get", key, err)
	}
	now := s.now() // before looking: what is over then stays so whatever is written meanwhile
	e, err := s.file.find(key)
	if err != nil {
		return nil, opError("get", key, err)
	}
	if e.exp <= now {
		return nil, ErrNotFound
	}
	return append(make([]byte, 0, len(e.val)), e.val...), nil
}

func (s *sqlStore) isClosed() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

func (s *sqlStore) Swap(ctx context.Context, key string, old, val []byte, ttl time.Duration) error {
	if ttl < 0 {
		return opError("swap", key, errTTL)
	}
	return s.run(ctx, "swap", &op{kind: opSwap, key: key, old: old, val: val, ttl: millis(ttl)})
}

func (s *sqlStore) Take(ctx context.Context, key string) ([]byte, error) {
	o := op{kind: opTake, key: key}
	err := s.run(ctx, "take", &o)
	return o.out, err
}

func (s *sqlStore) Delete(ctx context.Context, key string) error {
	return s.run(ctx, "delete", &op{kind: opDelete, key: key})
}

// Batch makes the writes in one go, of which a killed process leaves all or none,
// and then reads and tells.
func (s *sqlStore) Batch(ctx context.Context, calls ...*Call) {
	all := op{kind: opParts}
	var done []*Call
	for _, c := range calls {
		switch {
		case c.Verb == Create && c.TTL > 0:
			all.parts = append(all.parts, &op{kind: opCreate, key: c.Key, val: c.Val, ttl: millis(c.TTL)})
		case c.Verb == Swap && c.TTL >= 0:
			all.parts = append(all.parts, &op{kind: opSwap, key: c.Key, old: c.Old, val: c.Val, ttl: millis(c.TTL)})
		case c.Verb == Delete:
			all.parts = append(all.parts, &op{kind: opDelete, key: c.Key})
		default:
			continue
		}
		done = append(done, c)
	}
	err := ctx.Err()
	if err == nil && len(done) > 0 {
		err = s.l.run(&all)
	}
	for i, c := range done {
		if c.Err = all.parts[i].err; err != nil {
			c.Err = err
		}
		if !expected(c.Err) {
			c.Err = opError("batch", c.Key, c.Err)
		}
	}
	for _, c := range calls {
		if !slices.Contains(done, c) {
			each(ctx, s, []*Call{c})
		}
	}
}

func (s *sqlStore) Notify(_ context.Context, key string) error {
	s.hub.hint(key)
	return nil
}

func (s *sqlStore) Watch(key string) (<-chan struct{}, func()) { return s.hub.watch(key, nil) }

// Ping writes to the journal, asks the file, and tells if that does not take up what
// was written.
func (s *sqlStore) Ping(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		err = s.l.run(&op{kind: opPing})
	}
	if err == nil {
		err = s.file.ping()
	}
	if err == nil {
		err = s.mem.trouble()
	}
	if err != nil {
		return fmt.Errorf("kv: ping: %w", err)
	}
	return nil
}

// keep brings the sealed table into the file when that is wanted, and sweeps it.
func (s *sqlStore) keep() {
	defer close(s.kept)
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	s.sweep() // for memory to know what is in the file
	for {
		select {
		case <-s.closing:
			return
		case <-s.l.wake:
			s.fold()
		case <-tick.C:
			if s.mem.trouble() != nil {
				s.fold()
			}
			s.sweep()
		}
	}
}

// fold brings the sealed table into the file, after which its journal is not needed.
func (s *sqlStore) fold() {
	if !s.mem.wants() {
		return
	}
	err := s.file.fold()
	if err == nil {
		s.l.log.removeOlder()
	}
	s.mem.done(err)
}

// sweep makes one step of the sweep, and more where memory does not know the file or
// most of what it has looked at was over, until the sealed table is wanted in the file.
func (s *sqlStore) sweep() {
	for range sweepMost {
		over, round, err := s.file.sweep()
		if err != nil || round || over < sweepRows/4 && s.mem.knows() || s.mem.wants() {
			return
		}
	}
}

// Close brings all that was written into the file. If that fails the journals stay,
// for the next start.
func (s *sqlStore) Close() error {
	s.closer.Do(func() {
		s.l.shut()
		close(s.closing)
		<-s.kept
		err := s.file.fold()
		if err == nil {
			s.mem.seal()
			err = s.file.fold()
		}
		s.closeErr = errors.Join(s.l.log.close(err == nil), err, s.file.close())
	})
	return s.closeErr
}
