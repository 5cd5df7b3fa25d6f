package db

import (
	"context"
	"time"
)

// Observer is told what the database does, for metrics and traces. Its functions
// may be nil; they run on hot paths and must not wait.
type Observer struct {
	// Commit is told of every durable group: how many transactions it held, and
	// how long the commit alone took.
	Commit func(transactions int, took time.Duration)
	// Span is called before a call, by its name, and the function it returns
	// after it; that may be nil. The context goes on to what the call does.
	Span func(ctx context.Context, name string) (context.Context, func(error))
}

// Observe sets the observer. Call it before the database is used by others.
func (d *DB) Observe(o Observer) { d.observer.Store(&o) }

func (d *DB) span(ctx context.Context, name string) (context.Context, func(error)) {
	if o := d.observer.Load(); o != nil && o.Span != nil {
		return o.Span(ctx, name)
	}
	return ctx, nil
}

// committed tells the observer of a commit that began at begun, and runs what
// waited for it.
func (d *DB) committed(transactions int, begun time.Time, after []func()) {
	if o := d.observer.Load(); o != nil && o.Commit != nil {
		o.Commit(transactions, d.clk.Now().Sub(begun))
	}
	for _, fn := range after {
		fn()
	}
}

// OnCommit has fn run once, when the transaction is durable, and never if it is
// not. fn must not wait: the writer stands behind it.
func (tx *Tx) OnCommit(fn func()) {
	if tx.after != nil {
		*tx.after = append(*tx.after, fn)
	}
}
