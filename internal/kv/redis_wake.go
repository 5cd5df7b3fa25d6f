package kv

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	wakeSilence = 5 * time.Second        // without a message, then ping; twice, then reconnect
	wakeBackoff = 100 * time.Millisecond // between attempts to connect
)

// wakes receives the hints of all watchers of this process on one connection.
// The channel's name is the record's key.
//
// Redis confirms every subscription. Each confirmation is passed on as a hint:
// whatever happened between Watch and the confirmation, or while the connection
// was broken, is then seen by the read that follows the hint.
type wakes struct {
	c   redis.UniversalClient
	hub *hub

	poke   chan struct{} // capacity 1: there are keys to look at
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	sub     *redis.PubSub
	touched map[string]struct{} // keys whose subscription may have to change
	active  map[string]struct{} // keys subscribed to on sub
}

func newWakes(c redis.UniversalClient) *wakes {
	ctx, cancel := context.WithCancel(context.Background())
	w := &wakes{
		c:       c,
		hub:     newHub(),
		poke:    make(chan struct{}, 1),
		cancel:  cancel,
		touched: make(map[string]struct{}),
	}
	w.connect(ctx)
	w.done.Add(2)
	go w.receive(ctx)
	go w.subscribe(ctx)
	return w
}

func (w *wakes) watch(key string) (<-chan struct{}, func()) { return w.hub.watch(key, w.touch) }

func (w *wakes) touch(key string) {
	w.mu.Lock()
	w.touched[key] = struct{}{}
	w.mu.Unlock()
	w.wake()
}

func (w *wakes) wake() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// connect starts a subscription without keys and has all watched ones looked at.
// The connection itself is made when it is first used.
func (w *wakes) connect(ctx context.Context) {
	w.mu.Lock()
	broken := w.sub
	if ctx.Err() == nil {
		w.sub = w.c.Subscribe(ctx)
		w.active = make(map[string]struct{})
		for _, key := range w.hub.keys() {
			w.touched[key] = struct{}{}
		}
		w.wake()
	}
	w.mu.Unlock()
	if broken != nil {
		broken.Close() // may wait for a dial; not under the lock that Watch takes
	}
}

// subscribe brings subscriptions in line with the watchers, many keys at a time.
// An error needs no answer here: receive meets it too and reconnects.
func (w *wakes) subscribe(ctx context.Context) {
	defer w.done.Done()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.poke:
		}
		w.mu.Lock()
		sub := w.sub
		var add, drop []string
		for key := range w.touched {
			_, active := w.active[key]
			switch watched := w.hub.watched(key); {
			case watched && !active:
				w.active[key] = struct{}{}
				add = append(add, key)
			case !watched && active:
				delete(w.active, key)
				drop = append(drop, key)
			}
		}
		clear(w.touched)
		w.mu.Unlock()
		if len(drop) > 0 {
			_ = sub.Unsubscribe(ctx, drop...)
		}
		if len(add) > 0 {
			_ = sub.Subscribe(ctx, add...)
		}
	}
}

func (w *wakes) receive(ctx context.Context) {
	defer w.done.Done()
	pinged := false
	for ctx.Err() == nil {
		w.mu.Lock()
		sub := w.sub
		w.mu.Unlock()
		msg, err := sub.ReceiveTimeout(ctx, wakeSilence)
		var wire net.Error
		switch {
		case err == nil:
			pinged = false
			w.deliver(msg)
		case errors.As(err, &wire) && wire.Timeout() && !pinged:
			pinged = true
			_ = sub.Ping(ctx)
		default:
			pinged = false
			t := time.NewTimer(wakeBackoff)
			select {
			case <-ctx.Done():
			case <-t.C:
			}
			t.Stop()
			w.connect(ctx)
		}
	}
}

func (w *wakes) deliver(msg any) {
	switch msg := msg.(type) {
	case *redis.Message:
		w.hub.hint(msg.Channel)
	case *redis.Subscription:
		if msg.Kind == "subscribe" {
			w.hub.hint(msg.Channel)
		}
	}
}

func (w *wakes) close() {
	w.cancel()
	w.mu.Lock()
	sub := w.sub
	w.mu.Unlock()
	sub.Close()
	w.done.Wait()
}
