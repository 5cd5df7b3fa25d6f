package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/db/dbtest"
)

// More of the slow kind are due than a worker takes at once, and none of them ends:
// a letter is delivered all the same.
func TestWhatIsDeliveredApartHoldsUpNothingElse(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		p := newPostOn(t, url)
		told := make(chan string, 1)
		p.Register("letter", func(_ context.Context, it db.OutboxItem) error {
			told <- it.ID
			return nil
		})
		slow := p.Apart("slow.")
		begun, release := make(chan struct{}, batch), make(chan struct{})
		slow.Register("slow.parcel", func(context.Context, db.OutboxItem) error {
			begun <- struct{}{}
			<-release
			return nil
		})
		var parcels []string
		for i := range 2 * batch {
			parcels = append(parcels, fmt.Sprint("parcel_", i))
		}
		p.writeOf("slow.parcel", 0, parcels...)
		ctx, stop := context.WithCancel(t.Context())
		var ended sync.WaitGroup
		for _, w := range []*Worker{p.Worker, slow} {
			ended.Go(func() { w.Run(ctx) })
		}
		for range atOnce {
			<-begun
		}
		p.write(0, "a")
		select {
		case <-told:
		case <-time.After(20 * time.Second):
			t.Error("the letter waits for the parcels")
		}
		go func() {
			for range begun { // whoever begins from here on
			}
		}()
		close(release)
		stop()
		ended.Wait()
		close(begun)
	})
}

// The two share the items out: each takes its own and leaves the other's alone,
// also what nobody delivers yet, and also where several nodes ask at once.
func TestEachWorkerTakesItsOwnKinds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		p := newPostOn(t, url)
		var mu sync.Mutex
		told := map[string]int{}
		count := func(w *Worker, kind string) {
			w.Register(kind, func(_ context.Context, it db.OutboxItem) error {
				mu.Lock()
				defer mu.Unlock()
				told[it.ID]++
				if it.Kind != kind {
					t.Errorf("%s is a %s, not a %s", it.ID, it.Kind, kind)
				}
				return nil
			})
		}
		var workers []*Worker
		for range 2 { // nodes
			w := New(p.db, slog.New(slog.DiscardHandler))
			slow := w.Apart("slow.")
			count(w, "letter")
			count(w, "slowly")
			count(slow, "slow.parcel")
			workers = append(workers, w, slow)
		}
		var letters, parcels []string
		for i := range batch + batch/2 {
			letters, parcels = append(letters, fmt.Sprint("letter_", i)), append(parcels, fmt.Sprint("parcel_", i))
		}
		p.write(0, letters...)
		p.writeOf("slow.parcel", 0, parcels...)
		p.writeOf("slowly", 0, "no parcel")
		p.clk.Advance(time.Millisecond)

		// One kind at a time: the other's items stay due.
		for workers[1].deliver(t.Context()) > 0 {
		}
		if len(told) != len(parcels) {
			t.Errorf("%d told, want the %d parcels", len(told), len(parcels))
		}
		var all sync.WaitGroup
		for _, w := range workers {
			all.Go(func() {
				for w.deliver(t.Context()) > 0 {
				}
				w.flush(t.Context())
			})
		}
		all.Wait()
		for _, id := range append(append(letters, parcels...), "no parcel") {
			if told[id] != 1 {
				t.Errorf("%s was told %d times", id, told[id])
			}
		}
		if n := p.left(); n != 0 {
			t.Errorf("%d items are left", n)
		}
	})
}
