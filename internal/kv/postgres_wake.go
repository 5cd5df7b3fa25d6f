package kv

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	pgChannel = "mobileid_kv"
	pgAll     = "*" // a payload: hint everybody
	// pgPayload bounds a payload; PostgreSQL takes 8000 bytes.
	pgPayload = 7000
	pgPending = 20_000 // names that wait for a connection; more become pgAll
)

// pgWakes carries hints between nodes by LISTEN and NOTIFY, each on a connection
// of its own. NOTIFY takes a lock of the whole server until its commit, so all
// that a node has to tell goes in batches, one at a time, whatever came up while
// the last one was under way; a watcher on the same node is not kept waiting.
//
// Keys travel as 64-bit hashes: two keys with one hash hint each other's
// watchers, which a hint may.
type pgWakes struct {
	config *pgx.ConnConfig
	hub    *hub // by the key's name
	cancel context.CancelFunc
	done   sync.WaitGroup
	own    atomic.Uint32 // the notifier's process on the server: its hints are told already

	poke    chan struct{} // capacity 1: there is something to tell
	mu      sync.Mutex
	closed  bool
	pending map[string]struct{}
	all     bool
}

func newPGWakes(config *pgx.ConnConfig) *pgWakes {
	ctx, cancel := context.WithCancel(context.Background())
	w := &pgWakes{config: config, hub: newHub(), cancel: cancel, poke: make(chan struct{}, 1), pending: map[string]struct{}{}}
	w.done.Add(2)
	go w.listen(ctx)
	go w.tell(ctx)
	return w
}

// keyName is what a key is called in a payload.
func keyName(key string) string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	h := fnv.New64a()
	h.Write([]byte(key))
	v := binary.BigEndian.Uint64(h.Sum(nil))
	var b [13]byte
	for i := range b {
		b[i] = letters[v&31]
		v >>= 5
	}
	return string(b[:])
}

// Watch implements KV. The node listens for everything, so nothing is to be
// confirmed; while it does not, everybody is hinted once it does again.
func (w *pgWakes) Watch(key string) (<-chan struct{}, func()) { return w.hub.watch(keyName(key), nil) }

// Notify implements KV. It does not wait for the other nodes to be told.
func (w *pgWakes) Notify(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return opError("notify", key, err)
	}
	name := keyName(key)
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return opError("notify", key, errClosed)
	}
	if len(w.pending) >= pgPending {
		w.all = true
	} else {
		w.pending[name] = struct{}{}
	}
	w.mu.Unlock()
	w.hub.hint(name)
	select {
	case w.poke <- struct{}{}:
	default:
	}
	return nil
}

// batch takes what is to be told, as payloads.
func (w *pgWakes) batch() (payloads []string, taken map[string]struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all {
		w.all = false
		clear(w.pending)
		return []string{pgAll}, nil
	}
	taken = w.pending
	w.pending = map[string]struct{}{}
	var b strings.Builder
	for name := range taken {
		if b.Len()+len(name)+1 > pgPayload {
			payloads = append(payloads, b.String())
			b.Reset()
		}
		b.WriteString(name)
		b.WriteByte(' ')
	}
	if b.Len() > 0 {
		payloads = append(payloads, b.String())
	}
	return payloads, taken
}

// untold puts back what could not be told.
func (w *pgWakes) untold(names map[string]struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = w.all || names == nil
	for name := range names {
		w.pending[name] = struct{}{}
	}
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// tell sends batches until ctx ends.
func (w *pgWakes) tell(ctx context.Context) {
	defer w.done.Done()
	var c *pgx.Conn
	defer func() { shut(c) }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.poke:
		}
		if c == nil {
			c = w.connect(ctx)
		}
		payloads, taken := w.batch()
		if len(payloads) == 0 {
			continue
		}
		err := context.Canceled
		if c != nil {
			w.own.Store(c.PgConn().PID())
			send, cancel := context.WithTimeout(ctx, ioTimeout)
			_, err = c.Exec(send, `SELECT pg_notify('`+pgChannel+`', p) FROM unnest($1::text[]) p`, payloads)
			cancel()
		}
		if err != nil {
			shut(c)
			c = nil
			w.untold(taken)
			idle(ctx, wakeBackoff)
		}
	}
}

// listen receives hints until ctx ends. Whatever happened while there was no
// connection is then seen by the read that follows the hint to everybody.
func (w *pgWakes) listen(ctx context.Context) {
	defer w.done.Done()
	for ctx.Err() == nil {
		c := w.connect(ctx)
		if c == nil {
			idle(ctx, wakeBackoff)
			continue
		}
		if _, err := c.Exec(ctx, "LISTEN "+pgChannel); err == nil {
			w.everybody()
			w.receive(ctx, c)
		}
		shut(c)
	}
}

// receive ends when the connection breaks, or is silent and does not answer.
func (w *pgWakes) receive(ctx context.Context, c *pgx.Conn) {
	for {
		wait, cancel := context.WithTimeout(ctx, wakeSilence)
		n, err := c.WaitForNotification(wait)
		silent := wait.Err() != nil
		cancel()
		switch {
		case err == nil && n.PID == w.own.Load():
		case err == nil && n.Payload == pgAll:
			w.everybody()
		case err == nil:
			for name := range strings.FieldsSeq(n.Payload) {
				w.hub.hint(name)
			}
		case ctx.Err() != nil || !silent || c.IsClosed():
			return
		default:
			ask, cancel := context.WithTimeout(ctx, ioTimeout)
			err := c.Ping(ask)
			cancel()
			if err != nil {
				return
			}
		}
	}
}

func (w *pgWakes) everybody() {
	for _, name := range w.hub.keys() {
		w.hub.hint(name)
	}
}

// connect dials, or returns nil.
func (w *pgWakes) connect(ctx context.Context) *pgx.Conn {
	c, err := pgx.ConnectConfig(ctx, w.config.Copy())
	if err != nil {
		return nil
	}
	return c
}

func shut(c *pgx.Conn) {
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx)
}

func idle(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (w *pgWakes) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	w.done.Wait()
}
