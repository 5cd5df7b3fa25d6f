package db

import (
	"context"
	"database/sql"
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
}

// Update runs fn in a write transaction and returns once it is durable. Once fn
// has started, the caller's cancellation no longer ends it: a decision outlives
// the client that hung up. If fn returns an error nothing of it is kept.
func (d *DB) Update(ctx context.Context, fn func(tx *Tx) error) error {
	return d.submit(ctx, &job{ctx: ctx, fn: fn, result: make(chan error, 1)})
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
			for _, s := range d.writeStmts {
				s.Close()
			}
			d.conn.Close()
			return
		}
	}
}

// group runs first and whatever is waiting behind it in one SQLite transaction.
// A transaction that fails is undone to its savepoint; the others commit.
func (d *DB) group(first *job) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(first.ctx), writeTimeout)
	defer cancel()
	if _, err := d.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		first.result <- fmt.Errorf("db: begin: %w", err)
		return
	}
	var kept []*job
	var lent *job
	for next := first; next != nil; {
		if err := d.run(ctx, next, len(kept) > 0); err != nil {
			next.result <- err
		} else {
			kept = append(kept, next)
		}
		next = nil
		if len(kept) < groupMost {
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
	err := d.finish(ctx, len(kept) > 0)
	for _, j := range kept {
		j.result <- err
	}
	if lent != nil {
		lent.result <- d.lend(lent)
	}
}

func (d *DB) run(ctx context.Context, j *job, shared bool) (err error) {
	if shared {
		if _, err := d.stmtExec(ctx, "SAVEPOINT job"); err != nil {
			return fmt.Errorf("db: savepoint: %w", err)
		}
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("db: transaction panicked: %v\n%s", p, debug.Stack())
		}
		if err == nil && !shared {
			return
		}
		undo := "RELEASE job"
		if err != nil && shared {
			undo = "ROLLBACK TO job"
		} else if err != nil {
			// The first of a group failed: nothing else is in it yet.
			undo = "ROLLBACK"
		}
		if _, uerr := d.stmtExec(ctx, undo); uerr != nil {
			err = errors.Join(err, uerr)
		}
		if err != nil && !shared {
			if _, berr := d.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); berr != nil {
				err = errors.Join(err, berr)
			}
		}
	}()
	if cerr := j.ctx.Err(); cerr != nil {
		return cerr
	}
	return j.fn(&Tx{ctx: ctx, d: d, now: d.clk.Now(), writes: true})
}

func (d *DB) finish(ctx context.Context, commit bool) error {
	end := "ROLLBACK"
	if commit {
		end = "COMMIT"
	}
	if _, err := d.conn.ExecContext(ctx, end); err != nil {
		_, rerr := d.conn.ExecContext(ctx, "ROLLBACK")
		return errors.Join(fmt.Errorf("db: %s: %w", end, err), rerr)
	}
	return nil
}

// lend gives the write connection back to the pool while j runs.
func (d *DB) lend(j *job) error {
	for q, s := range d.writeStmts {
		s.Close()
		delete(d.writeStmts, q)
	}
	if err := d.conn.Close(); err != nil {
		return err
	}
	err := j.alone()
	conn, cerr := d.write.Conn(context.WithoutCancel(j.ctx))
	if cerr == nil {
		d.conn = conn
	}
	return errors.Join(err, cerr)
}

func (d *DB) stmtExec(ctx context.Context, q string, args ...any) (sql.Result, error) {
	s, err := d.writeStmt(ctx, q)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

func (d *DB) writeStmt(ctx context.Context, q string) (*sql.Stmt, error) {
	if s := d.writeStmts[q]; s != nil {
		return s, nil
	}
	s, err := d.conn.PrepareContext(ctx, q)
	if err == nil {
		d.writeStmts[q] = s
	}
	return s, err
}
