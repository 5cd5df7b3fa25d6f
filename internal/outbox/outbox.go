// Package outbox delivers what must be told to someone after a commit: the item
// is written in the transaction of the act, a worker delivers it at least once.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"mobileid/internal/db"
)

const (
	poll       = time.Second
	lease      = 30 * time.Second
	batch      = 100
	atOnce     = 32
	backoffMin = 2 * time.Second
	backoffMax = 10 * time.Minute
)

// Deliverer tells one item; an error has it tried again later. It may be called
// more than once for the same item, and for several items at once.
type Deliverer func(ctx context.Context, it db.OutboxItem) error

// Worker delivers due items until its context ends.
type Worker struct {
	db         *db.DB
	log        *slog.Logger
	deliverers map[string]Deliverer
	kinds      db.OutboxKinds

	mu   sync.Mutex
	done []string
}

// New makes a worker of all kinds.
func New(d *db.DB, log *slog.Logger) *Worker {
	return &Worker{db: d, log: log, deliverers: map[string]Deliverer{}}
}

// Apart makes another worker, of the kinds that begin with the prefix, and leaves
// them to it: however slow they are, w's own do not wait for them. Each is Run, on
// every node. It must be called before Run, and once.
func (w *Worker) Apart(prefix string) *Worker {
	other := New(w.db, w.log)
	other.kinds = db.OutboxKinds{Prefix: prefix}
	w.kinds = db.OutboxKinds{Prefix: prefix, Others: true}
	return other
}

// Register names the deliverer of a kind. It must be called before Run.
func (w *Worker) Register(kind string, d Deliverer) { w.deliverers[kind] = d }

// Done says that an item was delivered by whoever wrote it, right after the
// commit. It is removed with others soon; lost in a crash, it is delivered again.
func (w *Worker) Done(id string) {
	w.mu.Lock()
	w.done = append(w.done, id)
	w.mu.Unlock()
}

// Run works until ctx ends, then removes what is done.
func (w *Worker) Run(ctx context.Context) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			w.flush(context.WithoutCancel(ctx))
			return
		case <-tick.C:
			w.flush(ctx)
			for w.deliver(ctx) == batch {
			}
		}
	}
}

func (w *Worker) flush(ctx context.Context) {
	w.mu.Lock()
	done := w.done
	w.done = nil
	w.mu.Unlock()
	for len(done) > 0 {
		n := min(len(done), batch)
		err := w.db.Update(ctx, func(tx *db.Tx) error { return tx.Delivered(done[:n]...) })
		if err != nil {
			if !errors.Is(err, db.ErrClosed) {
				w.log.WarnContext(ctx, "outbox items not removed yet", "error", err)
			}
			// Noted when the database is back; should this node end before, they are
			// delivered again.
			w.mu.Lock()
			w.done = append(w.done, done...)
			w.mu.Unlock()
			return
		}
		done = done[n:]
	}
}

// deliver works on one batch of due items and returns how many there were.
func (w *Worker) deliver(ctx context.Context) int {
	var waiting int64
	err := w.db.View(ctx, func(tx *db.Tx) (err error) {
		waiting, err = tx.OutboxDue(w.kinds)
		return err
	})
	if err != nil || waiting == 0 {
		return 0
	}
	var items []db.OutboxItem
	err = w.db.Update(ctx, func(tx *db.Tx) (err error) {
		items, err = tx.Lease(w.kinds, batch, lease)
		return err
	})
	if err != nil {
		w.log.WarnContext(ctx, "outbox not read", "error", err)
		return 0
	}
	// At once, so that one who answers slowly does not hold up the others, and the
	// whole batch is through before its lease is over.
	var all sync.WaitGroup
	free := make(chan struct{}, atOnce)
	for _, it := range items {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			if err := w.one(ctx, it); err != nil {
				w.log.WarnContext(ctx, "outbox item not delivered", "item", it.ID, "kind", it.Kind, "attempt", it.Attempts, "error", err)
			}
		})
	}
	all.Wait()
	return len(items)
}

func (w *Worker) one(ctx context.Context, it db.OutboxItem) error {
	d := w.deliverers[it.Kind]
	if d == nil {
		return fmt.Errorf("outbox: nobody delivers %q", it.Kind)
	}
	if err := d(ctx, it); err != nil {
		wait := min(backoffMin<<min(it.Attempts, 12), backoffMax)
		return errors.Join(err, w.db.Update(ctx, func(tx *db.Tx) error { return tx.Postpone(it.ID, wait) }))
	}
	w.Done(it.ID)
	return nil
}
