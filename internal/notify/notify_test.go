package notify

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
)

func TestC18_TheCapIsExactHoweverManyAskAtOnce(t *testing.T) {
	for name, at := range map[string]func(t *testing.T) string{
		"embedded": func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "kv.db") },
		"redis":    func(t *testing.T) string { return kvtest.Redis(t) },
	} {
		t.Run(name, func(t *testing.T) {
			clk := clock.NewManual(time.Now())
			store, err := kv.Open(t.Context(), at(t), clk)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			n := New(Config{KV: store, Clock: clk})
			var woken, wrong atomic.Int64
			var all sync.WaitGroup
			for i := range 32 {
				all.Go(func() {
					// Each operation twice, as when a node dies after the first try.
					for range 2 {
						switch err := n.count(context.Background(), Wake{UserID: "usr_1", OperationID: fmt.Sprint("op_", i)}); {
						case err == nil:
							woken.Add(1)
						case !errors.Is(err, errEnough):
							wrong.Add(1)
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			if woken.Load() != 2*mostWakes || wrong.Load() != 0 {
				t.Errorf("woken for %d operations, %d errors; want %d", woken.Load()/2, wrong.Load(), mostWakes)
			}
			if err := n.count(t.Context(), Wake{UserID: "usr_2", OperationID: "op_0"}); err != nil {
				t.Errorf("another user: %v", err)
			}
			clk.Advance(wakesIn + time.Second)
			if err := n.count(t.Context(), Wake{UserID: "usr_1", OperationID: "op_99"}); err != nil {
				t.Errorf("ten minutes later: %v", err)
			}
		})
	}
}
