package kv

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"mobileid/internal/clock"
)

const (
	sweepEvery = time.Second
	sweepRows  = 1000 // records looked at in one statement: a millisecond or two
	sweepMost  = 40   // statements in one go, then callers get a second to themselves
)

// sqlStore is the embedded backend: one file, one node, one connection. Every
// call is some microseconds on pages that are in memory, so a second connection
// would gain little and cost much: each write of one empties the page cache of
// the other, and each call then pays for locks between them.
type sqlStore struct {
	clk clock.Clock
	l   *line
	hub *hub

	closing  chan struct{}
	closer   sync.Once
	closeErr error
	swept    chan struct{} // closed when the sweep has ended
}

func openSQLite(ctx context.Context, path string, clk clock.Clock, boot string) (*sqlStore, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	wc, err := openFile(path, boot)
	if err != nil {
		return nil, fmt.Errorf("kv: open %s: %w", path, err)
	}
	s := &sqlStore{
		clk:     clk,
		hub:     newHub(),
		closing: make(chan struct{}),
		swept:   make(chan struct{}),
	}
	s.l = newLine(wc, s.now)
	go s.sweep()
	return s, nil
}

func (s *sqlStore) now() int64 { return s.clk.Now().UnixMilli() }

// blob makes nil an empty value, which SQLite keeps apart from NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func (s *sqlStore) run(ctx context.Context, name string, o *op) error {
	if err := ctx.Err(); err != nil {
		return opError(name, o.key, err)
	}
	if err := s.l.run(o); err != nil && err != ErrNotFound {
		return opError(name, o.key, err)
	}
	return o.err
}

func (s *sqlStore) Create(ctx context.Context, key string, val []byte, ttl time.Duration) error {
	if ttl <= 0 {
		return opError("create", key, errTTL)
	}
	o := op{kind: opCreate, key: key, val: blob(val), ttl: millis(ttl)}
	if err := s.run(ctx, "create", &o); err != nil {
		return err
	}
	if o.rows == 0 {
		return ErrExists
	}
	return nil
}

func (s *sqlStore) Get(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, opError("get", key, err)
	}
	if val, live, known := s.l.front.get(key, s.now()); known {
		if s.isClosed() {
			return nil, opError("get", key, errClosed)
		}
		if !live {
			return nil, ErrNotFound
		}
		return val, nil
	}
	o := op{kind: opGet, key: key}
	err := s.run(ctx, "get", &o)
	return o.out, err
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
	o := op{kind: opSwap, key: key, old: blob(old), val: blob(val), ttl: millis(ttl)}
	if err := s.run(ctx, "swap", &o); err != nil {
		return err
	}
	if o.rows == 0 {
		return ErrConflict
	}
	return nil
}

func (s *sqlStore) Take(ctx context.Context, key string) ([]byte, error) {
	o := op{kind: opTake, key: key}
	err := s.run(ctx, "take", &o)
	return o.out, err
}

func (s *sqlStore) Delete(ctx context.Context, key string) error {
	return s.run(ctx, "delete", &op{kind: opDelete, key: key})
}

// Batch makes the writes in one transaction, and then tells.
func (s *sqlStore) Batch(ctx context.Context, calls ...*Call) {
	all := op{kind: opParts}
	var done []*Call
	for _, c := range calls {
		switch {
		case c.Verb == Create && c.TTL > 0:
			all.parts = append(all.parts, &op{kind: opCreate, key: c.Key, val: blob(c.Val), ttl: millis(c.TTL)})
		case c.Verb == Swap && c.TTL >= 0:
			all.parts = append(all.parts, &op{kind: opSwap, key: c.Key, old: blob(c.Old), val: blob(c.Val), ttl: millis(c.TTL)})
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
		o := all.parts[i]
		switch {
		case err != nil:
			c.Err = opError("batch", c.Key, err)
		case o.err != nil:
			c.Err = opError("batch", c.Key, o.err)
		case c.Verb == Create && o.rows == 0:
			c.Err = ErrExists
		case c.Verb == Swap && o.rows == 0:
			c.Err = ErrConflict
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

func (s *sqlStore) Ping(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		err = s.l.run(&op{kind: opPing})
	}
	if err != nil {
		return fmt.Errorf("kv: ping: %w", err)
	}
	return nil
}

// sweep deletes records whose time is over. It only frees space: no call sees
// such a record, swept or not.
func (s *sqlStore) sweep() {
	defer close(s.swept)
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	at := "" // the key up to which the round has come
	for {
		select {
		case <-s.closing:
			return
		case <-tick.C:
		}
		// One slice a second costs next to nothing; where most of a slice was over,
		// the next one follows at once.
		for range sweepMost {
			o := op{kind: opSweep, key: at, limit: sweepRows}
			if err := s.l.run(&o); err != nil {
				break
			}
			if at = o.key; at == "" || o.rows < sweepRows/4 {
				break
			}
		}
	}
}

func (s *sqlStore) Close() error {
	s.closer.Do(func() {
		close(s.closing)
		<-s.swept
		// The last connection to close folds the log back into the file.
		s.closeErr = s.l.close()
	})
	return s.closeErr
}
