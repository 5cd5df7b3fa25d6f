package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"time"

	"mobileid/internal/clock"
)

const (
	// groupMost bounds how many transactions share one commit.
	groupMost = 64
	// yields is how often others may run before a commit that nobody else joins.
	yields = 2
	// waitMost bounds how long a commit waits for those who said that they will write,
	// and for as many as share one usually.
	waitMost = 2 * time.Millisecond
	// writeTimeout bounds one transaction once it has begun.
	writeTimeout = 10 * time.Second
)

type job struct {
	ctx    context.Context
	fn     func(tx *Tx) error
	alone  func() error // instead of fn: runs while the writer stands still
	result chan error
	after  []func()         // once fn is durable
	next   map[string]int64 // the next number of each line of audit, behind fn
	coming *Coming          // of its caller, if it said so
}

// Update runs fn in a write transaction and returns once it is durable. Once fn
// has started, the caller's cancellation no longer ends it: a decision outlives
// the client that hung up. If fn returns an error nothing of it is kept. fn may
// run more than once (ErrAgain, a deadlock, a connection that broke before the
// commit), so it begins by clearing what it leaves outside. A *fault.Error of
// kind Unavailable means that the database could not be asked or, rarely, that
// the reply to the commit was lost and could not be found out within 5 s.
func (d *DB) Update(ctx context.Context, fn func(tx *Tx) error) error {
	ctx, end := d.span(ctx, "db.update")
	var err error
	if d.pg != nil {
		err = d.pg.update(ctx, d, fn)
	} else {
		c, _ := ctx.Value(comingKey{}).(*Coming)
		err = d.submit(ctx, &job{ctx: ctx, fn: fn, result: make(chan error, 1), coming: c})
	}
	if end != nil {
		end(err)
	}
	return err
}

func (d *DB) submit(ctx context.Context, j *job) error {
	select {
	case d.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-d.stop:
		return ErrClosed
	}
	return <-j.result
}

// writer is the only goroutine that writes.
func (d *DB) writer() {
	defer close(d.done)
	for {
		select {
		case j := <-d.jobs:
			if j.alone != nil {
				j.result <- j.alone()
				continue
			}
			j.coming.End()
			d.group(j)
		case <-d.stop:
			d.dropConn()
			return
		}
	}
}

// group runs first and whatever is waiting behind it in one SQLite transaction.
// One that fails before it has changed anything needs no undoing, and those that
// fail mostly do. Else the whole transaction is undone and the others run again: a
// savepoint for each would copy every page that each of them changes. What begins,
// ends and undoes runs without a deadline of its own: a transaction that could not
// be ended would stand in the way of every one after it.
func (d *DB) group(first *job) {
	if err := d.exec("BEGIN IMMEDIATE"); err != nil {
		first.result <- fmt.Errorf("db: begin: %w", err)
		return
	}
	var kept []*job
	var lent *job
	numbers := d.next
	g := gathering{begun: clock.System{}.Now()}
	defer g.over()
	broken := error(nil)
	for next, ran := first, 1; next != nil; ran++ {
		left, err := d.run(next)
		if err == nil {
			kept = append(kept, next)
		} else {
			next.result <- err
		}
		if left { // nobody else joins, so that it is undone once
			kept, broken = d.again(kept, numbers)
			break
		}
		if errors.As(err, new(*lostError)) {
			broken = err
			break
		}
		next = nil
		if ran < groupMost {
			g.have = ran
			if next = d.waiting(&g); next != nil && next.alone != nil {
				lent, next = next, nil
			}
		}
	}
	d.usual = max(g.have, d.usual*3/4) // a small one among large ones is no new custom
	err := broken
	if err == nil {
		err = d.finish(len(kept))
	}
	if err != nil {
		d.reset()
	}
	for _, j := range kept {
		if err == nil {
			for _, fn := range j.after {
				fn()
			}
		}
		j.result <- err
	}
	if lent != nil {
		lent.result <- lent.alone()
	}
}

// waiting takes the next job that stands in line, or returns nil. Before it gives
// up it lets others come, who then share this commit instead of waiting for the
// next one, so that one wait for the disk serves them all: the goroutines that can
// run, those who said that they are about to write, and as many as wrote together
// lately, who have their answers by now and may be back. With nobody else about
// for some commits it costs nothing.
func (d *DB) waiting(g *gathering) *job {
	for range yields {
		select {
		case j := <-d.jobs:
			return d.joined(j)
		default:
			runtime.Gosched()
		}
	}
	for {
		wait := g.until(d)
		if wait <= 0 {
			break
		}
		g.timer.Reset(wait)
		select {
		case j := <-d.jobs:
			return d.joined(j)
		case <-d.nobody:
		case <-g.timer.C:
		}
	}
	select {
	case j := <-d.jobs:
		return d.joined(j)
	default:
		return nil
	}
}

func (d *DB) joined(j *job) *job {
	j.coming.End()
	return j
}

// lostError says that the transaction of the group is gone, and all that it held
// with it: SQLite ended it by itself, or it could not be undone.
type lostError struct{ cause error }

var errEnded = errors.New("db: SQLite has ended the transaction")

func (e *lostError) Error() string { return "db: the transaction was lost: " + e.cause.Error() }
func (e *lostError) Unwrap() error { return e.cause }

// run runs one job of the group. left says that it failed and left changes in the
// transaction.
func (d *DB) run(j *job) (left bool, err error) {
	c, err := d.writeConn()
	if err == nil {
		err = j.ctx.Err()
	}
	if err != nil {
		return false, err
	}
	before := c.Changes()
	err = d.call(j)
	if d.conn != c || !c.InTransaction() {
		return false, &lostError{errors.Join(err, errEnded)}
	}
	if err == nil {
		d.next = j.next
	}
	return err != nil && c.Changes() != before, err
}

// again undoes the transaction of the group and runs those kept once more; it
// returns those that are kept still. They have begun before, so that their callers
// no longer end them.
func (d *DB) again(kept []*job, numbers map[string]int64) (still []*job, broken error) {
	for {
		d.next = numbers
		if err := errors.Join(d.exec("ROLLBACK"), d.exec("BEGIN IMMEDIATE")); err != nil {
			return kept, &lostError{err}
		}
		left := false
		still = nil
		for i, j := range kept {
			j.ctx, j.after = context.WithoutCancel(j.ctx), nil
			var err error
			if left, err = d.run(j); err == nil {
				still = append(still, j)
				continue
			}
			j.result <- err
			if errors.As(err, new(*lostError)) {
				return append(still, kept[i+1:]...), err
			}
			if left {
				kept = append(still, kept[i+1:]...)
				break
			}
		}
		if !left {
			return still, nil
		}
	}
}

// call runs the job's function, bounded in time, whatever becomes of its caller.
func (d *DB) call(j *job) error {
	tx := &Tx{d: d, at: d.clk.Now(), writes: true, after: &j.after, next: maps.Clone(d.next), until: clock.System{}.Now().Add(writeTimeout)}
	err := guarded(tx, j.fn)
	j.next = tx.next
	return err
}

// guarded runs fn with its panics caught.
func guarded(tx *Tx, fn func(tx *Tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("db: transaction panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return fn(tx)
}

// finish commits the kept transactions, or undoes a group that kept none.
func (d *DB) finish(kept int) error {
	end := "ROLLBACK"
	if kept > 0 {
		end = "COMMIT"
	}
	begun := d.clk.Now()
	if err := d.exec(end); err != nil {
		return fmt.Errorf("db: %s: %w", end, err)
	}
	if kept > 0 {
		d.committed(kept, begun, nil)
	}
	return nil
}
