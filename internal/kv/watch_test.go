package kv_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
)

const soon = 5 * time.Second

// hinted fails unless a hint comes soon.
func hinted(t *testing.T, hint <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-hint:
	case <-time.After(soon):
		t.Fatalf("no hint: %s", what)
	}
}

// quiet waits until hints already under way have come, and fails if they do
// not end.
func quiet(t *testing.T, hint <-chan struct{}) {
	t.Helper()
	for range 20 {
		select {
		case <-hint:
		case <-time.After(100 * time.Millisecond):
			return
		}
	}
	t.Fatal("hints without end")
}

func still(t *testing.T, hint <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-hint:
		t.Fatalf("a hint: %s", what)
	case <-time.After(100 * time.Millisecond):
	}
}

func TestNotifyHintsTheWatchersOfTheKey(t *testing.T) { kvtest.Each(t, notifyHintsTheWatchers) }

func notifyHintsTheWatchers(t *testing.T, s kv.KV) {
	ctx := context.Background()
	b := kv.NewBucket[counter](s, "op")
	one, stopOne := b.Watch("1")
	defer stopOne()
	two, stopTwo := b.Watch("1")
	other, stopOther := b.Watch("2")
	defer stopOther()
	for _, h := range []<-chan struct{}{one, two, other} {
		quiet(t, h)
	}

	ok(t, b.Notify(ctx, "1"))
	hinted(t, one, "first watcher")
	hinted(t, two, "second watcher")
	still(t, other, "the other key's watcher")

	for range 50 {
		ok(t, b.Notify(ctx, "1"))
	}
	time.Sleep(50 * time.Millisecond)
	hinted(t, one, "after many notifications")
	still(t, one, "hints do not coalesce")

	quiet(t, two)
	stopTwo()
	stopTwo()
	ok(t, b.Notify(ctx, "1"))
	hinted(t, one, "the watcher that stayed")
	still(t, two, "the watcher that stopped")
	ok(t, b.Notify(ctx, "nobody watches"))
}

// A waiter that reads on hints alone must see a write made at any moment after
// Watch, though a subscription may not be in place when Watch returns.
func TestNoWriteFallsBetweenWatchAndTheFirstHint(t *testing.T) { kvtest.Each(t, noWriteIsMissed) }

func noWriteIsMissed(t *testing.T, s kv.KV) {
	ctx := context.Background()
	for i := range 50 {
		key := fmt.Sprintf("op/{%d}", i)
		hint, stop := s.Watch(key)
		ok(t, s.Create(ctx, key, []byte("x"), time.Minute))
		ok(t, s.Notify(ctx, key))
		for deadline := time.Now().Add(soon); ; {
			hinted(t, hint, key)
			if _, err := s.Get(ctx, key); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the write was never seen")
			}
		}
		stop()
	}
}

func TestWatchersOfAllNodesAreHintedOnOneConnectionEach(t *testing.T) {
	ctx := context.Background()
	server := kvtest.StartRedis(t)
	a := kvtest.Open(t, server.URL(), clock.System{})
	b := kvtest.Open(t, server.URL(), clock.System{})
	var stops []func()
	for i := range 40 {
		hint, stop := b.Watch(fmt.Sprintf("op/{%d}", i))
		stops = append(stops, stop)
		hinted(t, hint, "the subscription is confirmed")
		ok(t, a.Notify(ctx, fmt.Sprintf("op/{%d}", i)))
		hinted(t, hint, "from the other node")
	}
	if n := len(strings.Split(server.CLI("client", "list", "type", "pubsub"), "\n")); n > 2 {
		t.Errorf("%d connections are subscribed; want one for each node that watches", n)
	}
	for _, stop := range stops {
		stop()
	}
	for deadline := time.Now().Add(soon); server.CLI("pubsub", "channels") != ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("channels stay subscribed after their watchers stopped")
		}
	}
}

func TestWatchersAreHintedAfterRedisCameBack(t *testing.T) {
	ctx := context.Background()
	server := kvtest.StartRedis(t)
	s := kvtest.Open(t, server.URL(), clock.System{})
	one, stopOne := s.Watch("op/{1}")
	defer stopOne()
	two, stopTwo := s.Watch("op/{2}")
	defer stopTwo()
	quiet(t, one)
	quiet(t, two)

	server.Kill()
	late, stopLate := s.Watch("op/{late}")
	defer stopLate()
	time.Sleep(300 * time.Millisecond)
	server.Start()
	for _, h := range []<-chan struct{}{one, two, late} {
		hinted(t, h, "after the reconnect")
		quiet(t, h)
	}
	for deadline := time.Now().Add(soon); s.Notify(ctx, "op/{2}") != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the store does not recover")
		}
	}
	hinted(t, two, "a notification after the reconnect")
	ok(t, s.Create(ctx, "op/{2}", nil, time.Minute))
}

func TestASubscriptionCutOffIsMadeAgain(t *testing.T) {
	server := kvtest.StartRedis(t)
	s := kvtest.Open(t, server.URL(), clock.System{})
	hint, stop := s.Watch("op/{1}")
	defer stop()
	quiet(t, hint)
	server.CLI("client", "kill", "type", "pubsub")
	hinted(t, hint, "after the reconnect")
	quiet(t, hint)
	ok(t, s.Notify(context.Background(), "op/{1}"))
	hinted(t, hint, "a notification after the reconnect")
}
