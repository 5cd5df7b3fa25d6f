package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/fault"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// poolSize is how many connections a node keeps to PostgreSQL for durable
	// state, unless pool_max_conns in the URL says otherwise; three of five write.
	poolSize = 20
	poolWait = 3 * time.Second // for a free connection
	readTime = 5 * time.Second // all of one View
	// estimateAge bounds how long a View reckons SQL's time from the last one read.
	estimateAge = time.Second
	// latest is how late a reading of the clock may be before it is read again.
	latest = 20 * time.Millisecond

	sqlMicros = `(extract(epoch FROM clock_timestamp()) * 1000000)::bigint`
)

// serverSide bounds what a node that vanished leaves behind. A transaction whose
// node stands still for two seconds is ended by the server: that also bounds how
// far the time inside a transaction, which is counted on from its beginning, can
// lag behind the server's.
var serverSide = map[string]string{
	"application_name":                    "mobileid",
	"statement_timeout":                   "10000",
	"lock_timeout":                        "5000",
	"idle_in_transaction_session_timeout": "2000",
	"default_transaction_isolation":       "read committed",
}

// postgres is the engine for several nodes. Reads share a pool; each writing
// connection is a slot of its own, used by one transaction at a time.
type postgres struct {
	config *pgx.ConnConfig
	mono   clock.Clock               // for time that passes, never for what time it is
	shift  func(time.Time) time.Time // a test's idea of SQL's time; nil: SQL's
	write  *sql.DB                   // dials for the slots
	read   *sql.DB
	slots  chan *slot
	all    []*slot
	closed chan struct{}
	seen   atomic.Pointer[instant] // the last reading of SQL's clock
	best   atomic.Pointer[instant] // the one that the node's clock counts on from; never nil once opened
}

// instant is a time of SQL's clock, when by the machine's it was known here, and
// how much later that may have been.
type instant struct {
	sql, mono time.Time
	late      time.Duration
}

// openPostgres connects once to see that the server will do; later connections
// are made when they are needed.
func openPostgres(ctx context.Context, dsn string, clk clock.Clock) (*postgres, error) {
	cfg, size, err := postgresConfig(dsn)
	if err != nil {
		return nil, err
	}
	writers := max(1, size*3/5)
	p := &postgres{config: cfg, mono: clock.System{}, slots: make(chan *slot, writers), closed: make(chan struct{})}
	if s, ok := clk.(clock.Shifter); ok {
		p.shift = s.Shift
	}
	reads := cfg.Copy()
	reads.RuntimeParams["default_transaction_read_only"] = "on"
	p.write, p.read = stdlib.OpenDB(*cfg), stdlib.OpenDB(*reads)
	p.write.SetMaxOpenConns(2 * writers) // a slot may dial while what it lost is still open
	p.read.SetMaxOpenConns(max(1, size-writers))
	p.read.SetMaxIdleConns(max(1, size-writers))
	p.read.SetConnMaxIdleTime(5 * time.Minute)
	for range writers {
		s := &slot{p: p, id: NewID("w_")}
		p.all = append(p.all, s)
		p.slots <- s
	}
	if err := p.fit(ctx); err != nil {
		return nil, errors.Join(err, p.write.Close(), p.read.Close())
	}
	return p, nil
}

// postgresConfig reads the URL; errors do not quote it, as it may hold a password.
func postgresConfig(dsn string) (*pgx.ConnConfig, int, error) {
	size := poolSize
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, 0, errors.New("db: the PostgreSQL URL cannot be parsed")
	}
	q := u.Query()
	if v := q.Get("pool_max_conns"); v != "" {
		if size, err = strconv.Atoi(v); err != nil || size < 2 {
			return nil, 0, errors.New("db: pool_max_conns in the PostgreSQL URL must be a number from 2")
		}
		q.Del("pool_max_conns")
		u.RawQuery = q.Encode()
	}
	cfg, err := pgx.ParseConfig(u.String())
	if err != nil {
		return nil, 0, errors.New("db: the PostgreSQL URL cannot be used: postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full")
	}
	cfg.ConnectTimeout = 3 * time.Second
	for name, value := range serverSide {
		if _, given := cfg.RuntimeParams[name]; !given {
			cfg.RuntimeParams[name] = value
		}
	}
	return cfg, size, nil
}

// fit refuses a server that would lose acknowledged commits or bytes of text.
func (p *postgres) fit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*readTime)
	defer cancel()
	var version int
	var encoding, commit string
	err := p.read.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), current_setting('synchronous_commit')`).
		Scan(&version, &encoding, &commit)
	switch {
	case err != nil:
		return fmt.Errorf("db: PostgreSQL: %w", plain(err))
	case version < 130000:
		return errors.New("db: PostgreSQL 13 or later is needed")
	case encoding != "UTF8":
		return fmt.Errorf("db: the database must be encoded in UTF8, not %s", encoding)
	case commit == "off":
		return errors.New("db: synchronous_commit is off for this database or user; it would lose decisions that were acknowledged")
	}
	// On the connection that is open by now: a reading costs one round trip.
	var micros int64
	asked := p.mono.Now()
	if err := p.read.QueryRowContext(ctx, `SELECT `+sqlMicros).Scan(&micros); err != nil {
		return fmt.Errorf("db: PostgreSQL: %w", plain(err))
	}
	p.saw(micros, asked)
	return nil
}

// plain is a connect error without the user and the host that it quotes.
func plain(err error) error {
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

// forMigrations is a pool without the limits of a request's statements. The caller
// closes it.
func (p *postgres) forMigrations() *sql.DB {
	cfg := p.config.Copy()
	for name := range serverSide {
		if name != "application_name" {
			delete(cfg.RuntimeParams, name)
		}
	}
	return stdlib.OpenDB(*cfg)
}

// session is a connection while one goroutine uses it.
type session struct {
	conn *sql.Conn
	raw  *pgx.Conn
	bad  bool // whatever becomes of the statement that failed: not to be used again
}

// dial takes a connection from the pool for at most limit. Statements run without
// a context: the deadline stands on the socket, which costs no goroutine, and a
// caller that hangs up does not cost a connection.
func (p *postgres) dial(ctx context.Context, pool *sql.DB, limit time.Duration) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, poolWait)
	defer cancel()
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, plain(err)
	}
	s := &session{conn: conn}
	err = conn.Raw(func(dc any) error { s.raw = dc.(*stdlib.Conn).Conn(); return nil })
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s.within(p, limit)
	return s, nil
}

// within bounds what follows on the connection.
func (s *session) within(p *postgres, limit time.Duration) {
	if err := s.raw.PgConn().Conn().SetDeadline(p.mono.Now().Add(limit)); err != nil {
		s.bad = true
	}
}

// note marks the session bad if err is more than the server's refusal of a
// statement, and returns err.
func (s *session) note(err error) error {
	if err != nil && !errors.Is(err, sql.ErrNoRows) && !answered(err) {
		s.bad = true
	}
	return err
}

// answered reports whether err is the server's answer to a statement, after which
// the connection goes on.
func answered(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.SeverityUnlocalized != "FATAL" && pe.SeverityUnlocalized != "PANIC"
}

// end gives the connection back, or closes it.
func (s *session) end() {
	if !s.bad {
		s.bad = s.raw.PgConn().Conn().SetDeadline(time.Time{}) != nil
	}
	if s.bad {
		_ = s.raw.PgConn().Conn().Close() // no farewell that might have to wait
		// With this the pool lets it go instead of keeping it.
		_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	_ = s.conn.Close()
}

// view runs fn on statements of the read pool.
func (p *postgres) view(ctx context.Context, d *DB, fn func(tx *Tx) error) error {
	tx := &Tx{ctx: ctx, d: d}
	defer func() {
		if tx.s != nil {
			tx.s.end()
		}
	}()
	err := fn(tx)
	if err == nil {
		err = tx.broken
	}
	return told(err)
}

// lately is the last reading of SQL's clock; one that is long ago is of no use.
func (p *postgres) lately() instant {
	at := p.seen.Load()
	if at == nil || p.mono.Now().Sub(at.mono) > estimateAge {
		return instant{late: time.Hour}
	}
	return *at
}

// saw notes a reading of SQL's clock, in microseconds, that was asked for at the
// time given.
func (p *postgres) saw(micros int64, asked time.Time) instant {
	now := p.mono.Now()
	at := instant{time.UnixMicro(micros), now, now.Sub(asked)}
	p.seen.Store(&at)
	p.keep(&at)
	return at
}

// shifted is SQL's time, or what a test takes it for.
func (p *postgres) shifted(at time.Time) time.Time {
	if p.shift != nil {
		return p.shift(at)
	}
	return at
}

// told turns an error of the connection into one that callers outside answer
// with "unavailable"; what the server or fn said stays what it is.
func told(err error) error {
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrConflict) {
		return err
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if lost(err) {
		return fault.Wrap(fault.Unavailable, "the database cannot be reached; try again", err)
	}
	return err
}

// lost reports whether err came of the connection, or of a server that is too
// busy or about to stop, rather than of a statement.
func lost(err error) bool {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return strings.HasPrefix(pe.Code, "57") || strings.HasPrefix(pe.Code, "53") || strings.HasPrefix(pe.Code, "08") ||
			pe.Code == "25P03" || pe.Code == "55P03" || !answered(err)
	}
	_, ok := errors.AsType[*connError](err)
	return ok
}

// connError is a failure of the connection rather than of a statement on it.
type connError struct{ cause error }

func (e *connError) Error() string { return e.cause.Error() }
func (e *connError) Unwrap() error { return e.cause }

// close ends the slots as they come free, then the pools.
func (p *postgres) close() error {
	close(p.closed)
	for range p.all {
		if sl := <-p.slots; sl.s != nil {
			sl.s.end()
			sl.s = nil
		}
	}
	return errors.Join(p.read.Close(), p.write.Close())
}
