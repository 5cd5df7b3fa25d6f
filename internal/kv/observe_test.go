package kv_test

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
)

func TestAnObserverIsToldOfFailuresAndNotOfWhatIsExpected(t *testing.T) {
	failed, spans := map[string]int{}, map[string]int{}
	inner := kvtest.SQLite(t, clock.System{})
	s := kv.Observe(inner, kv.Observer{
		Failed: func(call string) { failed[call]++ },
		Span: func(ctx context.Context, name string) (context.Context, func(error)) {
			return ctx, func(err error) {
				if spans[name]++; err != nil {
					spans[name+" failed"]++
				}
			}
		},
	})
	ctx := t.Context()
	every := func() {
		_ = s.Create(ctx, "a/{1}", []byte("x"), time.Hour)
		_ = s.Create(ctx, "a/{1}", []byte("x"), time.Hour) // ErrExists
		_, _ = s.Get(ctx, "a/{2}")                         // ErrNotFound
		_ = s.Swap(ctx, "a/{1}", []byte("z"), nil, time.Hour)
		_, _ = s.Take(ctx, "a/{2}")
		_ = s.Delete(ctx, "a/{1}")
		_ = s.Notify(ctx, "a/{1}")
		_ = s.Ping(ctx)
	}
	every()
	if len(failed) > 0 {
		t.Errorf("told of %v", failed)
	}
	if want := map[string]int{"kv.create": 2, "kv.get": 1, "kv.swap": 1, "kv.take": 1, "kv.delete": 1, "kv.notify": 1}; !maps.Equal(spans, want) {
		t.Errorf("spans %v, want %v", spans, want)
	}
	if err := inner.Close(); err != nil {
		t.Fatal(err)
	}
	every()
	for _, call := range []string{"create", "get", "swap", "take", "delete", "ping"} {
		if failed[call] == 0 {
			t.Errorf("a failed %s is not told", call)
		}
		if call != "ping" && spans["kv."+call+" failed"] == 0 {
			t.Errorf("the span of a failed %s says nothing", call)
		}
	}
	clear(failed)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Get(gone, "a/{1}"); errors.Is(err, context.Canceled) && failed["get"] > 0 {
		t.Error("a caller who hung up counts as a failure of the store")
	}
}
