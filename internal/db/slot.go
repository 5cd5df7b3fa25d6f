package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"mobileid/internal/fault"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// mostTries bounds how often a transaction runs that others stood in the way of.
	mostTries = 8
	// settleTime is how long a lost reply to COMMIT is looked for.
	settleTime = 5 * time.Second
)

// ErrAgain, returned by a transaction's function, undoes it and runs it again: it
// acted on what it had read and met what another had written since. It happens on
// PostgreSQL only, where transactions run side by side.
var ErrAgain = errors.New("db: overtaken by another transaction")

// slot is one writing connection and its row in writers. Its transactions follow
// one another, so what they count (their attempts, the records of their line of
// audit) needs no lock and nobody else's commit is waited for.
type slot struct {
	p       *postgres
	id      string
	s       *session         // nil: to be dialled
	attempt int64            // of the transaction under way, or the last
	next    map[string]int64 // number of the next record of each line of audit, once known
}

// update is Update on PostgreSQL.
func (p *postgres) update(ctx context.Context, d *DB, fn func(tx *Tx) error) error {
	sl, err := p.take(ctx)
	if err != nil {
		return err
	}
	defer func() { p.slots <- sl }()
	reconnected := false
	for try := 1; ; try++ {
		err, again := sl.run(ctx, d, fn)
		switch {
		case err == nil:
			return nil
		case again && lost(err) && !reconnected:
			reconnected = true // once: the server may have been restarted
		case again && !lost(err) && try < mostTries:
			time.Sleep(time.Duration(try) * 3 * time.Millisecond)
		case overtaken(err):
			return fault.Wrap(fault.Unavailable, "too many did the same at once; try again", err)
		default:
			return told(err)
		}
	}
}

// take waits for a free slot.
func (p *postgres) take(ctx context.Context) (*slot, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-p.closed:
		return nil, ErrClosed
	default:
	}
	select {
	case sl := <-p.slots:
		return sl, nil
	default:
	}
	t := time.NewTimer(poolWait)
	defer t.Stop()
	select {
	case sl := <-p.slots:
		return sl, nil
	case <-p.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.C:
		return nil, fault.New(fault.Unavailable, "the database is busy; try again")
	}
}

// run runs the transaction once. again says that nothing of it was kept and that
// it may be run again.
func (sl *slot) run(ctx context.Context, d *DB, fn func(tx *Tx) error) (err error, again bool) {
	began, err := sl.begin(ctx)
	if err != nil {
		return err, true
	}
	var after []func()
	tx := &Tx{ctx: context.WithoutCancel(ctx), d: d, s: sl.s, slot: sl, base: began, writes: true, next: maps.Clone(sl.next), after: &after}
	if err = guarded(tx, fn); err == nil {
		err = tx.broken
	}
	if err != nil {
		sl.undo()
		return err, overtaken(err) || lost(err)
	}
	begun := d.clk.Now()
	err, unknown := sl.commit(tx)
	switch {
	case unknown:
		err, again = sl.settle(err)
	case err == nil:
		sl.next = tx.next
	default:
		again = overtaken(err) || lost(err)
	}
	if err == nil {
		d.committed(1, begun, after)
	}
	return err, again
}

// overtaken reports whether err is a deadlock or another's doing, so that the
// transaction may succeed when it runs again.
func overtaken(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pe.Code == "40001" || pe.Code == "40P01") || errors.Is(err, ErrAgain)
}

const (
	sqlWriter = `INSERT INTO writers (id, attempt, at) VALUES ($1, 0, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) ON CONFLICT DO NOTHING`
	// sqlAttempt also reads the clock that the transaction goes by.
	sqlAttempt = `UPDATE writers SET attempt = $2, at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint WHERE id = $1
		RETURNING ` + sqlMicros
)

// begin opens the transaction and writes its attempt number, in one round trip. A
// connection that died while it was idle is replaced; nothing was sent on it that
// could have been carried out.
func (sl *slot) begin(ctx context.Context) (instant, error) {
	sl.attempt++
	fresh := sl.s == nil
	for {
		if sl.s == nil {
			if err := sl.dial(ctx); err != nil {
				return instant{}, &connError{fmt.Errorf("db: connect: %w", err)}
			}
		}
		sl.s.within(sl.p, writeTimeout)
		var micros int64
		asked := sl.p.mono.Now()
		b := &pgx.Batch{}
		b.Queue("BEGIN")
		b.Queue(sqlAttempt, sl.id, sl.attempt)
		res := sl.s.raw.SendBatch(context.Background(), b)
		_, err := res.Exec()
		if err == nil {
			err = res.QueryRow().Scan(&micros)
		}
		err = errors.Join(err, res.Close())
		if err == nil {
			return sl.p.saw(micros, asked), nil
		}
		sl.drop() // also when the row was swept: dialling makes it again
		if fresh {
			return instant{}, &connError{fmt.Errorf("db: begin: %w", err)}
		}
		fresh = true
	}
}

func (sl *slot) dial(ctx context.Context) error {
	s, err := sl.p.dial(ctx, sl.p.write, writeTimeout)
	if err != nil {
		return err
	}
	if _, err := s.raw.Exec(context.Background(), sqlWriter, sl.id); err != nil {
		s.bad = true
		s.end()
		return err
	}
	sl.s = s
	return nil
}

// drop closes the connection.
func (sl *slot) drop() {
	if sl.s != nil {
		sl.s.bad = true
		sl.s.end()
		sl.s = nil
	}
}

func (sl *slot) undo() {
	if sl.s.bad {
		sl.drop()
		return
	}
	sl.s.within(sl.p, readTime)
	if _, err := sl.s.raw.Exec(context.Background(), "ROLLBACK"); err != nil {
		sl.drop()
	}
}

// commit sends what the transaction has put off together with COMMIT. unknown
// says that the server may have carried it out.
func (sl *slot) commit(tx *Tx) (err error, unknown bool) {
	b := &pgx.Batch{}
	for _, l := range tx.put {
		b.Queue(l.q, l.args...)
	}
	b.Queue("COMMIT")
	res := sl.s.raw.SendBatch(context.Background(), b)
	for range tx.put {
		if _, err = res.Exec(); err != nil {
			break
		}
	}
	var tag pgconn.CommandTag
	if err == nil {
		tag, err = res.Exec()
	}
	if cerr := res.Close(); err == nil {
		err = cerr
	}
	switch {
	case err == nil && tag.String() == "COMMIT":
		return nil, false
	case err == nil:
		return errors.New("db: a statement of the transaction had failed, and so did the transaction"), false
	case answered(err):
		sl.undo()
		return fmt.Errorf("db: commit: %w", err), false
	case pgconn.SafeToRetry(err):
		sl.drop()
		return &connError{fmt.Errorf("db: commit: %w", err)}, false
	}
	sl.drop()
	return &connError{fmt.Errorf("db: commit: %w", err)}, true
}

// settle finds out what became of a commit whose reply was lost. The transaction
// holds its writer's row while it lives, so whoever gets to lock the row reads
// what there is to know: its attempt number, or an older one.
func (sl *slot) settle(cause error) (err error, again bool) {
	sl.next = nil
	deadline := sl.p.mono.Now().Add(settleTime)
	for {
		attempt, rerr := sl.reread(deadline.Sub(sl.p.mono.Now()))
		switch {
		case rerr == nil && attempt == sl.attempt:
			return nil, false
		case rerr == nil:
			return cause, true
		}
		cause = errors.Join(cause, rerr)
		left := deadline.Sub(sl.p.mono.Now())
		if left <= 0 {
			return fault.Wrap(fault.Unavailable, "it is not known whether this was done; ask again", cause), false
		}
		time.Sleep(min(left, 100*time.Millisecond))
	}
}

func (sl *slot) reread(limit time.Duration) (attempt int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s, err := sl.p.dial(ctx, sl.p.write, limit)
	if err != nil {
		return 0, err
	}
	defer s.end()
	err = s.raw.QueryRow(context.Background(), `SELECT attempt FROM writers WHERE id = $1 FOR UPDATE`, sl.id).Scan(&attempt)
	if errors.Is(err, pgx.ErrNoRows) {
		return -1, nil // a server that never had it
	}
	return attempt, s.note(err)
}
