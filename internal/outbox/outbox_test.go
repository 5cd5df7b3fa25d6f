package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/db/dbtest"
)

// post is an outbox whose worker is driven by hand; a crash is a new worker on
// the same rows.
type post struct {
	mu sync.Mutex
	*Worker
	t    *testing.T
	clk  *clock.Manual
	fail error
	got  []db.OutboxItem
}

func newPost(t *testing.T) *post { return newPostOn(t, dbtest.SQLite(t)) }

func newPostOn(t *testing.T, url string) *post {
	t.Helper()
	p := &post{t: t, clk: clock.NewManual(time.Unix(1_800_000_000, 0))}
	d, err := db.Open(t.Context(), url, p.clk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.restart(d)
	return p
}

func (p *post) restart(d *db.DB) {
	p.Worker = New(d, slog.New(slog.DiscardHandler))
	p.Register("letter", func(_ context.Context, it db.OutboxItem) error {
		p.mu.Lock() // several are delivered at once
		defer p.mu.Unlock()
		p.got = append(p.got, it)
		return p.fail
	})
}

func (p *post) write(delay time.Duration, ids ...string) {
	p.t.Helper()
	p.writeOf("letter", delay, ids...)
}

func (p *post) writeOf(kind string, delay time.Duration, ids ...string) {
	p.t.Helper()
	err := p.db.Update(p.t.Context(), func(tx *db.Tx) error {
		for _, id := range ids {
			if err := tx.Enqueue(db.OutboxItem{ID: id, Kind: kind, Payload: "hello " + id}, delay); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// due is how many deliveries were tried by now.
func (p *post) due() int {
	p.t.Helper()
	p.got = nil
	p.deliver(p.t.Context())
	return len(p.got)
}

func TestAnItemIsDeliveredWhenItsTimeHasComeAndThenIsGone(t *testing.T) {
	p := newPost(t)
	p.write(5*time.Second, "a", "b")
	if n := p.due(); n != 0 {
		t.Fatalf("%d delivered before their time", n)
	}
	p.clk.Advance(5 * time.Second)
	if n := p.due(); n != 2 || p.got[0].Payload == "" || p.got[0].Attempts != 1 {
		t.Fatalf("%d delivered: %+v", n, p.got)
	}
	p.flush(t.Context())
	p.clk.Advance(time.Hour)
	if n := p.due(); n != 0 {
		t.Fatalf("%d delivered again", n)
	}
}

func TestWhatItsWriterHasDeliveredIsNotDeliveredAgain(t *testing.T) {
	p := newPost(t)
	p.write(5*time.Second, "a")
	p.Done("a")
	p.flush(t.Context())
	p.clk.Advance(time.Minute)
	if n := p.due(); n != 0 {
		t.Fatalf("%d delivered", n)
	}
}

func TestACrashBetweenDeliveryAndItsNoteDeliversAgainAfterTheLease(t *testing.T) {
	p := newPost(t)
	p.write(0, "a")
	if n := p.due(); n != 1 {
		t.Fatalf("%d delivered", n)
	}
	p.restart(p.db) // what was done is forgotten
	if n := p.due(); n != 0 {
		t.Fatal("another worker takes what is leased")
	}
	p.clk.Advance(lease)
	if n := p.due(); n != 1 || p.got[0].Attempts != 2 {
		t.Fatalf("after the lease: %+v", p.got)
	}
	p.flush(t.Context())
	p.clk.Advance(lease)
	if n := p.due(); n != 0 {
		t.Fatal("and again")
	}
}

func TestWhatWasDeliveredWhileTheDatabaseWasAwayIsNotedLater(t *testing.T) {
	p := newPost(t)
	p.write(0, "a", "b")
	if n := p.due(); n != 2 {
		t.Fatalf("%d delivered", n)
	}
	away, cancel := context.WithCancel(t.Context())
	cancel()
	p.flush(away)
	if n := p.left(); n != 2 {
		t.Fatalf("%d left: the database was not away", n)
	}
	p.flush(t.Context())
	if n := p.left(); n != 0 {
		t.Fatalf("%d items would be delivered again", n)
	}
}

// I6: a node dies while it delivers. The other takes over what was leased, once
// the lease is over, and what was not at once; nothing is lost, and nothing that
// was noted is told again.
func TestANodeThatDiesInTheMiddleOfADeliveryLosesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		p := newPostOn(t, url)
		var ids []string
		for i := range 2*batch + 50 {
			ids = append(ids, fmt.Sprint("item_", i))
		}
		p.write(0, ids...)
		told := map[string]int{}
		var mu sync.Mutex
		live := New(p.db, slog.New(slog.DiscardHandler))
		live.Register("letter", func(_ context.Context, it db.OutboxItem) error {
			mu.Lock()
			defer mu.Unlock()
			told[it.ID]++
			return nil
		})
		// The other one gets through some of its batch, and is never heard of again.
		dying, stuck, release := New(p.db, slog.New(slog.DiscardHandler)), make(chan struct{}), make(chan struct{})
		var begun atomic.Int64
		dying.Register("letter", func(_ context.Context, it db.OutboxItem) error {
			if n := begun.Add(1); n > 40 {
				if n == 40+atOnce {
					close(stuck)
				}
				<-release
				return errors.New("killed")
			}
			mu.Lock()
			defer mu.Unlock()
			told[it.ID]++
			return nil
		})
		dead := make(chan struct{})
		ctx, kill := context.WithCancel(t.Context())
		go func() { defer close(dead); dying.deliver(ctx) }()
		<-stuck
		for live.deliver(t.Context()) > 0 {
		}
		live.flush(t.Context())
		if n := len(told); n != len(ids)-batch+40 {
			t.Errorf("%d of %d told while the lease of the dead holds", n, len(ids))
		}
		p.clk.Advance(lease)
		for live.deliver(t.Context()) > 0 {
		}
		live.flush(t.Context())
		for _, id := range ids {
			if told[id] == 0 {
				t.Errorf("%s was never told", id)
			}
		}
		if n := p.left(); n != 0 {
			t.Errorf("%d items are left", n)
		}
		kill() // its statements fail from here on, as those of a dead node do not come
		close(release)
		<-dead
	})
}

// left counts the items that are still to be told.
func (p *post) left() (n int64) {
	p.t.Helper()
	err := p.db.View(p.t.Context(), func(tx *db.Tx) (err error) {
		n, _, err = tx.OutboxDepth()
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

func TestADeliveryThatFailsIsTriedLaterAndLater(t *testing.T) {
	p := newPost(t)
	p.fail = errors.New("nobody at home")
	p.write(0, "a")
	if n := p.due(); n != 1 {
		t.Fatalf("%d tried", n)
	}
	var waits []time.Duration
	for range 14 {
		wait := time.Duration(0)
		for p.due() == 0 {
			p.clk.Advance(time.Second)
			if wait += time.Second; wait > 2*backoffMax {
				t.Fatalf("never tried again after %v", waits)
			}
		}
		waits = append(waits, wait)
	}
	for i := 1; i < len(waits); i++ {
		if waits[i] < waits[i-1] || waits[i] > backoffMax {
			t.Fatalf("waits %v", waits)
		}
	}
	if waits[0] < backoffMin || waits[len(waits)-1] != backoffMax {
		t.Fatalf("waits %v", waits)
	}
	p.fail = nil
	p.clk.Advance(backoffMax)
	p.due()
	p.flush(t.Context())
	p.clk.Advance(24 * time.Hour)
	if n := p.due(); n != 0 {
		t.Fatal("delivered, and tried again")
	}
}

func TestAKindThatNobodyDeliversWaitsForSomebodyWhoDoes(t *testing.T) {
	p := newPost(t)
	p.write(0, "a")
	p.deliverers = map[string]Deliverer{}
	if n := p.deliver(t.Context()); n != 1 {
		t.Fatalf("%d due", n)
	}
	p.restart(p.db)
	p.clk.Advance(lease)
	if n := p.due(); n != 1 {
		t.Fatal("lost")
	}
}

func TestTheWorkerDeliversByItselfAndNotesItAtItsEnd(t *testing.T) {
	p := newPost(t)
	var mu sync.Mutex
	got := 0
	p.Register("letter", func(context.Context, db.OutboxItem) error {
		mu.Lock()
		got++
		mu.Unlock()
		return nil
	})
	p.write(0, "a")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { p.Run(ctx); close(ended) }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		mu.Lock()
		n := got
		mu.Unlock()
		if n == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("not delivered")
		}
	}
	stop()
	<-ended
	p.clk.Advance(time.Hour)
	p.restart(p.db)
	if n := p.due(); n != 0 {
		t.Fatal("what was delivered before the end is delivered again")
	}
}
