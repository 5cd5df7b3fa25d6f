package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

const (
	// groupMost bounds how many transactions share one commit.
	groupMost = 64
	// writeTimeout bounds one transaction once it has begun.
	writeTimeout = 10 * time.Second
)

type job struct {
	ctx    context.Context
	fn     func(tx *Tx) error
	alone  func() error // instead of fn: runs while the writer's connection is lent out
	result chan error
	after  []func() // once fn is durable
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
		err = d.submit(ctx, &job{ctx: ctx, fn: fn, result: make(chan error, 1)})
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
				j.result <- d.lend(j)
				continue
			}
			d.group(j)
		case <-d.stop:
			d.dropStmts()
			d.conn.Close()
			return
		}
	}
}

// group runs first and whatever is waiting behind it in one SQLite transaction.
// A transaction that fails is undone to its savepoint; the others commit. What
// begins, ends and undoes runs without a deadline of its own: a transaction that
// could not be ended would stand in the way of every one after it.
func (d *DB) group(first *job) {
	if err := d.exec("BEGIN IMMEDIATE"); err != nil {
		first.result <- fmt.Errorf("db: begin: %w", err)
		return
	}
	var kept []*job
	var lent *job
	broken := error(nil)
	for next, ran := first, 1; next != nil; ran++ {
		err := d.run(next, len(kept) > 0)
		if err == nil {
			kept = append(kept, next)
		} else {
			next.result <- err
		}
		var lost *lostError
		if errors.As(err, &lost) {
			broken = lost
			break
		}
		next = nil
		if ran < groupMost {
			select {
			case j := <-d.jobs:
				if j.alone != nil {
					lent = j
				} else {
					next = j
				}
			default:
			}
		}
	}
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
		lent.result <- d.lend(lent)
	}
}

// lostError says that the transaction of the group is gone, and all that it held
// with it: SQLite ended it by itself, or it could not be undone.
type lostError struct{ cause error }

func (e *lostError) Error() string { return "db: the transaction was lost: " + e.cause.Error() }
func (e *lostError) Unwrap() error { return e.cause }

// run runs one job of the group. shared says that others before it are kept, so
// that it must be undone alone.
func (d *DB) run(j *job, shared bool) error {
	if err := j.ctx.Err(); err != nil {
		return err
	}
	if shared {
		if err := d.exec("SAVEPOINT job"); err != nil {
			return &lostError{err}
		}
	}
	err := d.call(j)
	var uerr error
	switch {
	case err == nil && shared:
		uerr = d.exec("RELEASE job")
	case err != nil && shared:
		uerr = errors.Join(d.exec("ROLLBACK TO job"), d.exec("RELEASE job"))
	case err != nil:
		// The first of a group failed: nothing else is in it yet.
		uerr = errors.Join(d.exec("ROLLBACK"), d.exec("BEGIN IMMEDIATE"))
	}
	if uerr != nil {
		return &lostError{errors.Join(err, uerr)}
	}
	return err
}

// call runs the job's function, bounded in time.
func (d *DB) call(j *job) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(j.ctx), writeTimeout)
	defer cancel()
	return guarded(&Tx{ctx: ctx, d: d, at: d.clk.Now(), writes: true, after: &j.after}, j.fn)
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

// exec runs one of the writer's own statements.
func (d *DB) exec(q string) error {
	s, err := d.writeStmt(context.Background(), q)
	if err != nil {
		return err
	}
	_, err = s.ExecContext(context.Background())
	return err
}

// reset gives the writer a new connection, with no transaction open on it. If
// none can be had the next transaction tries again.
func (d *DB) reset() {
	d.dropStmts()
	// ErrBadConn makes the pool close the connection instead of keeping it.
	_ = d.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = d.conn.Close()
	if conn, err := d.write.Conn(context.Background()); err == nil {
		d.conn = conn
	}
}

func (d *DB) dropStmts() {
	for q, s := range d.writeStmts {
		s.Close()
		delete(d.writeStmts, q)
	}
}

// lend gives the write connection back to the pool while j runs.
func (d *DB) lend(j *job) error {
	d.dropStmts()
	if err := d.conn.Close(); err != nil && !errors.Is(err, sql.ErrConnDone) {
		return err
	}
	err := j.alone()
	conn, cerr := d.write.Conn(context.WithoutCancel(j.ctx))
	if cerr == nil {
		d.conn = conn
	}
	return errors.Join(err, cerr)
}

func (d *DB) writeStmt(ctx context.Context, q string) (*sql.Stmt, error) {
	if s := d.writeStmts[q]; s != nil {
		return s, nil
	}
	s, err := d.conn.PrepareContext(ctx, q)
	if errors.Is(err, sql.ErrConnDone) {
		// An earlier reset found no connection.
		conn, cerr := d.write.Conn(ctx)
		if cerr != nil {
			return nil, cerr
		}
		d.conn = conn
		s, err = d.conn.PrepareContext(ctx, q)
	}
	if err == nil {
		d.writeStmts[q] = s
	}
	return s, err
}
