package kv

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"time"

	"mobileid/internal/clock"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// pgPoolSize is how many connections serve calls, unless pool_max_conns in the
// URL says otherwise; wake-ups take two more.
const pgPoolSize = 12

// The table is UNLOGGED: it costs no write-ahead log, and PostgreSQL empties it
// after a crash, which is what may happen to a store of this kind. wid is the
// random mark of the write that made the row's value, by which a writer whose
// reply was lost recognises its own.
const pgSchema = `
CREATE UNLOGGED TABLE IF NOT EXISTS mobileid_kv (
    key BYTEA PRIMARY KEY,
    val BYTEA NOT NULL,
    wid BIGINT NOT NULL,
    exp TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.2);
CREATE INDEX IF NOT EXISTS mobileid_kv_exp ON mobileid_kv (exp);`

// Each call is one statement, a transaction of its own, hence atomic: a statement
// that waited for another writer looks at the row again before it changes it.
const (
	pgGet    = `SELECT val FROM mobileid_kv WHERE key = $1 AND exp > clock_timestamp()`
	pgRead   = `SELECT val, wid FROM mobileid_kv WHERE key = $1 AND exp > clock_timestamp()`
	pgCreate = `INSERT INTO mobileid_kv (key, val, wid, exp) VALUES ($1, $2, $3, clock_timestamp() + $4 * interval '1 millisecond')
ON CONFLICT (key) DO UPDATE SET val = excluded.val, wid = excluded.wid, exp = excluded.exp WHERE mobileid_kv.exp <= clock_timestamp()`
	pgSwap = `UPDATE mobileid_kv SET val = $3, wid = $4, exp = clock_timestamp() + $5 * interval '1 millisecond'
WHERE key = $1 AND val = $2 AND exp > clock_timestamp()`
	pgSwapKeep = `UPDATE mobileid_kv SET val = $3, wid = $4 WHERE key = $1 AND val = $2 AND exp > clock_timestamp()`
	pgTake     = `DELETE FROM mobileid_kv WHERE key = $1 AND exp > clock_timestamp() RETURNING val`
	pgDelete   = `DELETE FROM mobileid_kv WHERE key = $1`
	pgSweep    = `DELETE FROM mobileid_kv WHERE key IN (SELECT key FROM mobileid_kv WHERE exp <= now() ORDER BY exp LIMIT $1 FOR UPDATE SKIP LOCKED) AND exp <= now()`
)

// pgStore is the backend on PostgreSQL 13 or later, shared by several nodes.
type pgStore struct {
	pool *pgxpool.Pool
	mono clock.Clock // for deadlines; records expire by PostgreSQL's
	*pgWakes

	closing chan struct{}
	closer  sync.Once
	swept   chan struct{}
}

// pgOptions reads the URL; errors do not quote it.
func pgOptions(rawURL string) (*pgxpool.Config, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("kv: the PostgreSQL URL cannot be parsed")
	}
	q := u.Query()
	if q.Get("pool_max_conns") == "" {
		q.Set("pool_max_conns", strconv.Itoa(pgPoolSize))
	}
	u.RawQuery = q.Encode()
	cfg, err := pgxpool.ParseConfig(u.String())
	if err != nil {
		return nil, errors.New("kv: the PostgreSQL URL cannot be used: postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full")
	}
	cfg.ConnConfig.ConnectTimeout = dialTimeout
	for name, value := range map[string]string{
		"application_name": "mobileid kv", "synchronous_commit": "off", "statement_timeout": "5000",
		"default_transaction_isolation": "read committed",
	} {
		cfg.ConnConfig.RuntimeParams[name] = value
	}
	return cfg, nil
}

func openPostgres(ctx context.Context, rawURL string) (*pgStore, error) {
	cfg, err := pgOptions(rawURL)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("kv: PostgreSQL: %w", pgPlain(err))
	}
	if err := pgPrepare(ctx, pool); err != nil {
		pool.Close()
		return nil, fmt.Errorf("kv: PostgreSQL: %w", pgPlain(err))
	}
	s := &pgStore{
		pool: pool, mono: clock.System{}, pgWakes: newPGWakes(cfg.ConnConfig),
		closing: make(chan struct{}), swept: make(chan struct{}),
	}
	go s.sweep()
	return s, nil
}

// pgPrepare makes the table; nodes that start together wait for one another.
func pgPrepare(ctx context.Context, pool *pgxpool.Pool) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		for _, q := range []string{
			`SET LOCAL synchronous_commit TO on`, // records may be lost in a crash, the table may not
			`SELECT pg_advisory_xact_lock(hashtextextended('mobileid_kv', 0))`,
			pgSchema,
		} {
			if _, err := tx.Exec(ctx, q); err != nil {
				return err
			}
		}
		return nil
	})
}

// pgPlain is a connect error without the user and the host that it quotes.
func pgPlain(err error) error {
	if ce, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		if pe, ok := errors.AsType[*pgconn.PgError](ce); ok {
			return pe
		}
		if inner := errors.Unwrap(ce); inner != nil {
			return inner
		}
	}
	return err
}

// errUnsent marks an error of a call that never reached PostgreSQL.
type errUnsent struct{ cause error }

func (e *errUnsent) Error() string { return e.cause.Error() }
func (e *errUnsent) Unwrap() error { return e.cause }

// on runs fn on a connection. Statements run without a context: the deadline
// stands on the socket, and a caller that hangs up costs no connection.
func (s *pgStore) on(ctx context.Context, fn func(c *pgx.Conn) error) error {
	if err := ctx.Err(); err != nil {
		return &errUnsent{err}
	}
	wait, cancel := context.WithTimeout(ctx, dialTimeout) // opening one falls into it
	defer cancel()
	conn, err := s.pool.Acquire(wait)
	if err != nil {
		return &errUnsent{pgPlain(err)}
	}
	defer conn.Release() // one that broke is closed
	socket := conn.Conn().PgConn().Conn()
	if err := socket.SetDeadline(s.mono.Now().Add(ioTimeout)); err != nil {
		return &errUnsent{err}
	}
	err = fn(conn.Conn())
	if err != nil && !errors.Is(err, pgx.ErrNoRows) && !pgAnswered(err) || socket.SetDeadline(time.Time{}) != nil {
		_ = socket.Close()
		_ = conn.Conn().Close(wait)
	}
	return err
}

// pgAnswered reports whether err is the server's refusal of the statement, which
// then had no effect.
func pgAnswered(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.SeverityUnlocalized != "FATAL" && pe.SeverityUnlocalized != "PANIC"
}

func pgUnsent(err error) bool {
	_, unsent := errors.AsType[*errUnsent](err)
	return unsent || pgAnswered(err) || pgconn.SafeToRetry(err)
}

// write runs a statement that changes at most one record and returns how many.
func (s *pgStore) write(ctx context.Context, name, key string, wid int64, q string, args ...any) (n int64, err error) {
	err = s.on(ctx, func(c *pgx.Conn) error {
		tag, err := c.Exec(context.Background(), q, args...)
		n = tag.RowsAffected()
		return err
	})
	if err == nil {
		return n, nil
	}
	return 1, s.settle(ctx, name, key, err, wid)
}

// writeMark is random, and never 0.
func writeMark() int64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return int64(binary.LittleEndian.Uint64(b[:]) | 1)
}

func (s *pgStore) Create(ctx context.Context, key string, val []byte, ttl time.Duration) error {
	if ttl <= 0 {
		return opError("create", key, errTTL)
	}
	wid := writeMark()
	n, err := s.write(ctx, "create", key, wid, pgCreate, []byte(key), blob(val), wid, millis(ttl))
	if err == nil && n == 0 {
		return ErrExists
	}
	return err
}

func (s *pgStore) Get(ctx context.Context, key string) ([]byte, error) {
	val, _, err := s.read(ctx, key, pgGet)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, opError("get", key, err)
	}
	return val, nil
}

// read reads the record, a second time if the connection broke: after a restart
// of PostgreSQL the pool holds connections that are dead already.
func (s *pgStore) read(ctx context.Context, key, q string) (val []byte, wid int64, err error) {
	into := []any{&val, &wid}
	if q == pgGet {
		into = into[:1]
	}
	one := func(c *pgx.Conn) error { return c.QueryRow(context.Background(), q, []byte(key)).Scan(into...) }
	err = s.on(ctx, one)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) && !pgUnsent(err) && ctx.Err() == nil {
		err = s.on(ctx, one)
	}
	return val, wid, err
}

func (s *pgStore) Swap(ctx context.Context, key string, old, val []byte, ttl time.Duration) (err error) {
	if ttl < 0 {
		return opError("swap", key, errTTL)
	}
	wid := writeMark()
	var n int64
	if ttl == KeepTTL {
		n, err = s.write(ctx, "swap", key, wid, pgSwapKeep, []byte(key), blob(old), blob(val), wid)
	} else {
		n, err = s.write(ctx, "swap", key, wid, pgSwap, []byte(key), blob(old), blob(val), wid, millis(ttl))
	}
	if err == nil && n == 0 {
		return ErrConflict
	}
	return err
}

func (s *pgStore) Take(ctx context.Context, key string) (val []byte, err error) {
	err = s.on(ctx, func(c *pgx.Conn) error {
		return c.QueryRow(context.Background(), pgTake, []byte(key)).Scan(&val)
	})
	switch {
	case err == nil:
		return val, nil
	case errors.Is(err, pgx.ErrNoRows):
		return nil, ErrNotFound
	case pgUnsent(err):
		return nil, opError("take", key, err)
	}
	// Were the record gone, nothing would tell who took it; were it there, the
	// statement could still be under way.
	return nil, opError("take", key, fmt.Errorf("%w: %w", ErrUnknown, err))
}

func (s *pgStore) Delete(ctx context.Context, key string) error {
	_, err := s.write(ctx, "delete", key, 0, pgDelete, []byte(key))
	return err
}

// Batch makes the calls one by one: the statements of a pipeline are one
// transaction, and the calls are not.
func (s *pgStore) Batch(ctx context.Context, calls ...*Call) { each(ctx, s, calls) }

// settle turns a write's error into what is known about the write, as the Redis
// backend does: finding its own mark proves that it took place, finding nothing
// proves a deletion (wid 0); anything else proves nothing.
func (s *pgStore) settle(ctx context.Context, name, key string, err error, wid int64) error {
	if pgUnsent(err) {
		return opError(name, key, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	_, found, readErr := s.read(ctx, key, pgRead)
	if wid == 0 && errors.Is(readErr, pgx.ErrNoRows) || wid != 0 && readErr == nil && found == wid {
		return nil
	}
	return opError(name, key, fmt.Errorf("%w: %w", ErrUnknown, err))
}

func (s *pgStore) Ping(ctx context.Context) error {
	err := s.on(ctx, func(c *pgx.Conn) error {
		_, err := c.Exec(context.Background(), "SELECT FROM mobileid_kv LIMIT 1")
		return err
	})
	if err != nil {
		return fmt.Errorf("kv: ping: %w", err)
	}
	return nil
}

// sweep deletes records whose time is over. It only frees space: no call sees
// such a record, swept or not. Nodes that sweep at once share the work.
func (s *pgStore) sweep() {
	defer close(s.swept)
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-tick.C:
		}
		for range sweepMost {
			var n int64
			err := s.on(context.Background(), func(c *pgx.Conn) error {
				tag, err := c.Exec(context.Background(), pgSweep, sweepRows)
				n = tag.RowsAffected()
				return err
			})
			if err != nil || n < sweepRows {
				break
			}
		}
	}
}

func (s *pgStore) Close() error {
	s.closer.Do(func() {
		close(s.closing)
		<-s.swept
		s.pgWakes.close()
		s.pool.Close()
	})
	return nil
}
