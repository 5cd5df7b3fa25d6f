package outbox

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db"
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

func newPost(t *testing.T) *post {
	t.Helper()
	p := &post{t: t, clk: clock.NewManual(time.Unix(1_800_000_000, 0))}
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "t.db"), p.clk)
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
	err := p.db.Update(p.t.Context(), func(tx *db.Tx) error {
		for _, id := range ids {
			if err := tx.Enqueue(db.OutboxItem{ID: id, Kind: "letter", Payload: "hello " + id}, delay); err != nil {
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
