package db

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// sizes notes how many transactions each commit holds.
func sizes(d *DB) func() []int {
	var mu sync.Mutex
	var all []int
	d.Observe(Observer{Commit: func(n int, _ time.Duration) {
		mu.Lock()
		all = append(all, n)
		mu.Unlock()
	}})
	return func() []int {
		mu.Lock()
		defer mu.Unlock()
		return append([]int(nil), all...)
	}
}

func TestACommitWaitsForThoseWhoSaidThatTheyWillWrite(t *testing.T) {
	d := open(t)
	got := sizes(d)
	shared := 0
	for try := range 20 { // it waits for a moment only: a busy machine may miss it
		a, b := d.Coming(), d.Coming()
		begun, second := make(chan struct{}), make(chan error, 1)
		go func() {
			<-begun
			time.Sleep(500 * time.Microsecond) // longer than a commit that waits for nobody takes to begin
			second <- d.Update(b.With(context.Background()), func(*Tx) error { return nil })
		}()
		err := d.Update(a.With(t.Context()), func(*Tx) error { close(begun); return nil })
		if err2 := <-second; err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if n := d.coming.Load(); n != 0 {
			t.Fatalf("%d are still said to come", n)
		}
		if all := got(); all[len(all)-1] == 2 {
			shared = try + 1
			break
		}
	}
	if shared == 0 {
		t.Fatalf("no commit was shared: %v", got())
	}
}

func TestWhoSaidSoAndNeverWritesHoldsNobodyUp(t *testing.T) {
	d := open(t)
	d.Coming() // never ended
	if err := add(d, "mer_1"); err != nil {
		t.Fatal(err)
	}
	gone := d.Coming()
	gone.End()
	gone.End() // the caller's deferred one, after its Update's
	if n := d.coming.Load(); n != 1 {
		t.Fatalf("%d are said to come, want the one that never ended", n)
	}
	var nobody *Coming
	nobody.End()
	if err := d.Update(nobody.With(t.Context()), func(*Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

func TestManyWhoSaidThatTheyWillWriteAllDoAndNoneIsCountedTwice(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		var failed atomic.Int64
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				c := d.Coming()
				defer c.End()
				if i%4 == 0 {
					return // changed its mind
				}
				if err := d.Update(c.With(t.Context()), func(tx *Tx) error { return tx.InsertMerchant(Merchant{ID: fmt.Sprint("mer_", i)}) }); err != nil {
					failed.Add(1)
				}
			})
		}
		all.Wait()
		if n := count(t, d); n != 48 || failed.Load() > 0 || d.coming.Load() != 0 {
			t.Fatalf("%d rows, want 48; %d failed; %d are said to come", n, failed.Load(), d.coming.Load())
		}
	})
}
