package kv

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// shards receives the hints of all watchers of this process from a Cluster, on
// one connection to each master that has watched keys. The channel's name is
// the record's key, so that it lives on the record's slot.
//
// A connection is never mended (the client would subscribe to all channels in
// one command, which a Cluster refuses for keys on two slots): whatever happens to it (it breaks, a slot moves
// away) it is given up, all its keys are subscribed to anew where they are now,
// and each confirmation is passed on as a hint, as wakes does.
type shards struct {
	c      *redis.ClusterClient
	hub    *hub
	poke   chan struct{} // capacity 1: there are keys to look at
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	touched map[string]struct{} // keys whose subscription may have to change
	at      map[string]*shard   // where each key is subscribed to
	live    map[string]*shard   // by the master's address
}

// shard is the subscription on one master. Its fields are guarded by shards.mu.
type shard struct {
	addr    string
	c       *redis.Client // has this one connection
	sub     *redis.PubSub
	leaving map[string]int // unsubscriptions that Redis has yet to confirm
}

func newShards(c *redis.ClusterClient) *shards {
	ctx, cancel := context.WithCancel(context.Background())
	w := &shards{
		c: c, hub: newHub(), poke: make(chan struct{}, 1), cancel: cancel,
		touched: make(map[string]struct{}), at: make(map[string]*shard), live: make(map[string]*shard),
	}
	w.done.Go(func() { w.subscribe(ctx) })
	return w
}

func (w *shards) watch(key string) (<-chan struct{}, func()) { return w.hub.watch(key, w.touch) }

func (w *shards) touch(key string) {
	w.mu.Lock()
	w.touched[key] = struct{}{}
	w.mu.Unlock()
	w.wake()
}

func (w *shards) wake() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// subscribe brings subscriptions in line with the watchers. Each key has a
// command of its own: channels of two slots in one would be refused.
func (w *shards) subscribe(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.poke:
		}
		w.mu.Lock()
		keys := w.touched
		w.touched = make(map[string]struct{})
		w.mu.Unlock()
		again := false
		for key := range keys {
			if !w.align(ctx, key) {
				w.mu.Lock()
				w.touched[key] = struct{}{}
				w.mu.Unlock()
				again = true
			}
		}
		if again && sleepFor(ctx, wakeBackoff) {
			w.wake()
		}
	}
}

// align subscribes to key or leaves it, and reports false if the Cluster does
// not say which master has it. An error of the connection needs no answer here:
// receive meets it too.
func (w *shards) align(ctx context.Context, key string) bool {
	watched := w.hub.watched(key)
	w.mu.Lock()
	sh := w.at[key]
	if !watched && sh != nil {
		delete(w.at, key)
		sh.leaving[key]++
	}
	w.mu.Unlock()
	switch {
	case watched == (sh != nil):
		return true
	case sh != nil:
		_ = sh.sub.SUnsubscribe(ctx, key)
		return true
	}
	node, err := w.c.MasterForKey(ctx, key)
	if err != nil {
		return ctx.Err() != nil
	}
	if sh = w.join(ctx, node, key); sh != nil {
		_ = sh.sub.SSubscribe(ctx, key)
	}
	return true
}

// join enters key at the node's shard, which it starts if there is none.
func (w *shards) join(ctx context.Context, node *redis.Client, key string) *shard {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	addr := node.Options().Addr
	sh := w.live[addr]
	if sh == nil {
		c := dialOnce(node)
		sh = &shard{addr: addr, c: c, sub: c.SSubscribe(ctx), leaving: make(map[string]int)}
		w.live[addr] = sh
		w.done.Go(func() { w.receive(ctx, sh) })
	}
	w.at[key] = sh
	return sh
}

// dialOnce returns a client of the same node that makes one connection and no
// other.
func dialOnce(node *redis.Client) *redis.Client {
	opt := *node.Options()
	dial := opt.Dialer
	var used atomic.Bool
	opt.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if used.Swap(true) {
			return nil, errors.New("kv: the connection for hints is gone")
		}
		return dial(ctx, network, addr)
	}
	opt.MinIdleConns, opt.PipelinePoolSize = 0, -1
	return redis.NewClient(&opt)
}

func (w *shards) receive(ctx context.Context, sh *shard) {
	pinged := false
	for {
		msg, err := sh.sub.ReceiveTimeout(ctx, wakeSilence)
		var wire net.Error
		switch {
		case err == nil && w.deliver(sh, msg):
			pinged = false
		case err != nil && errors.As(err, &wire) && wire.Timeout() && !pinged:
			pinged = true
			_ = sh.sub.Ping(ctx)
		default:
			w.giveUp(ctx, sh)
			return
		}
	}
}

// deliver passes on what a message means, and reports false if a slot has left
// the node: Redis then ends the subscriptions to its channels unasked.
func (w *shards) deliver(sh *shard, msg any) bool {
	switch msg := msg.(type) {
	case *redis.Message:
		w.hub.hint(msg.Channel)
	case *redis.Subscription:
		if msg.Kind == "ssubscribe" {
			w.hub.hint(msg.Channel)
		} else if msg.Kind == "sunsubscribe" {
			w.mu.Lock()
			defer w.mu.Unlock()
			if sh.leaving[msg.Channel] == 0 {
				return false
			}
			if sh.leaving[msg.Channel]--; sh.leaving[msg.Channel] == 0 {
				delete(sh.leaving, msg.Channel)
			}
		}
	}
	return true
}

// giveUp closes the connection and has all its keys subscribed to again, once
// there was time to learn where they are.
func (w *shards) giveUp(ctx context.Context, sh *shard) {
	w.c.ReloadState(ctx)
	sh.sub.Close() // may wait for a dial; not under the lock that Watch takes
	sh.c.Close()
	sleepFor(ctx, wakeBackoff)
	w.mu.Lock()
	delete(w.live, sh.addr)
	for key, at := range w.at {
		if at == sh {
			delete(w.at, key)
			w.touched[key] = struct{}{}
		}
	}
	w.mu.Unlock()
	w.wake()
}

// sleepFor waits and reports false if ctx ended first.
func sleepFor(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (w *shards) close() {
	w.cancel()
	w.mu.Lock()
	w.closed = true
	var subs []*redis.PubSub
	for _, sh := range w.live {
		subs = append(subs, sh.sub)
	}
	w.mu.Unlock()
	for _, sub := range subs {
		sub.Close()
	}
	w.done.Wait()
}
