package db

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db/dbtest"
	"mobileid/internal/fault"
)

// addr is the host and port of a database's URL.
func addr(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// proxied is a database behind a proxy, with its schema, and the same without.
func proxied(t *testing.T) (*DB, *DB, *dbtest.Proxy) {
	t.Helper()
	dsn := dbtest.Postgres(t)
	direct := openURL(t, dsn, clock.System{})
	p := dbtest.StartProxy(t, addr(t, dsn))
	d, err := Open(t.Context(), p.Through(dsn)+"&pool_max_conns=3", clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, direct, p
}

// R11: what is told of a transaction whose commit got no answer is the truth.
func TestR11ACommitWithALostReplyIsSettledByItsAttempt(t *testing.T) {
	for _, c := range []struct {
		name string
		fate dbtest.Fate
		runs int64
	}{
		{"the reply is lost", dbtest.LoseReply, 1},
		{"the request is lost, and it runs again", dbtest.LoseRequest, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, direct, p := proxied(t)
			if err := add(d, "mer_warm"); err != nil {
				t.Fatal(err)
			}
			p.Lose("COMMIT", c.fate)
			var runs atomic.Int64
			err := d.Update(t.Context(), func(tx *Tx) error {
				runs.Add(1)
				line, seq, err := tx.NextAudit("aw")
				if err != nil {
					return err
				}
				if err := tx.InsertAudit(line, seq, "{}", []byte{1}); err != nil {
					return err
				}
				return tx.InsertMerchant(Merchant{ID: "mer_lost"})
			})
			if err != nil || runs.Load() != c.runs {
				t.Fatalf("%v after %d runs, want %d", err, runs.Load(), c.runs)
			}
			if have := merchants(t, direct); !have["mer_lost"] {
				t.Fatal("told done, and it is not")
			}
			if err := add(d, "mer_after"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestACommitThatCannotBeSettledIsUnavailable(t *testing.T) {
	s := dbtest.StartPostgres(t, dbtest.Options{})
	direct := openURL(t, s.URL(), clock.System{})
	p := dbtest.StartProxy(t, s.Addr())
	d := openURL(t, p.Through(s.URL()), clock.System{})
	if err := add(d, "mer_warm"); err != nil {
		t.Fatal(err)
	}
	direct.Close()
	var once sync.Once
	p.Rule(func(sql string) dbtest.Fate {
		if sql != "COMMIT" {
			return dbtest.Pass
		}
		once.Do(s.Kill) // dead before anybody can learn what became of it
		return dbtest.LoseRequest
	})
	begun := time.Now()
	err := add(d, "mer_unknown")
	if !fault.Is(err, fault.Unavailable) || time.Since(begun) > 9*time.Second {
		t.Fatalf("%v after %v", err, time.Since(begun))
	}
	if err := add(d, "mer_down"); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("while it is down: %v", err)
	}
	if err := d.View(t.Context(), func(tx *Tx) error { _, err := tx.Merchants(); return err }); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("a read while it is down: %v", err)
	}
	p.Rule(nil)
	s.Start(t)
	if err := add(d, "mer_up"); err != nil {
		t.Fatalf("once it is up again: %v", err)
	}
	if have := merchants(t, d); have["mer_unknown"] || !have["mer_up"] {
		t.Fatal(have)
	}
}

func TestConnectionsThatDiedWhileIdleAreReplaced(t *testing.T) {
	d, _, p := proxied(t)
	if err := errors.Join(add(d, "mer_1"), add(d, "mer_2")); err != nil || count(t, d) != 2 {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // the pool asks after those that were idle for a second
	p.Cut()
	if err := errors.Join(add(d, "mer_3"), add(d, "mer_4")); err != nil {
		t.Fatal(err)
	}
	if n := count(t, d); n != 4 {
		t.Fatalf("%d rows", n)
	}
}

// PostgreSQL ends one of the two, which runs again; it may meet the other once more,
// since whoever comes first takes a row that a woken waiter has not taken yet.
func TestADeadlockIsRunAgain(t *testing.T) {
	d := openURL(t, dbtest.Postgres(t), clock.System{})
	seedUsers(t, d, "usr_a", "usr_b")
	var met sync.WaitGroup
	met.Add(2)
	var runs atomic.Int64
	order := [][2]string{{"usr_a", "usr_b"}, {"usr_b", "usr_a"}}
	errs := make([]error, 2)
	var all sync.WaitGroup
	for i, o := range order {
		all.Go(func() {
			first := true
			errs[i] = d.Update(t.Context(), func(tx *Tx) error {
				runs.Add(1)
				if _, err := tx.User(o[0]); err != nil {
					return err
				}
				if first {
					first = false
					met.Done()
					met.Wait()
				}
				_, err := tx.CountUserFailure(o[1])
				return err
			})
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil || runs.Load() < 3 {
		t.Fatalf("%v after %d runs", err, runs.Load())
	}
	view(t, d, func(tx *Tx) error {
		for _, o := range order {
			if u, err := tx.User(o[0]); err != nil || u.FailCount != 1 {
				t.Errorf("%s was counted %d times, %v", o[0], u.FailCount, err)
			}
		}
		return nil
	})
}

func TestATransactionThatIsAlwaysOvertakenGivesUp(t *testing.T) {
	d := openURL(t, dbtest.Postgres(t), clock.System{})
	runs := 0
	err := d.Update(t.Context(), func(tx *Tx) error { runs++; return fmt.Errorf("met another: %w", ErrAgain) })
	if !fault.Is(err, fault.Unavailable) || runs != mostTries {
		t.Fatalf("%v after %d runs", err, runs)
	}
}

func TestAStatementThatFailedUnseenFailsTheTransaction(t *testing.T) {
	d := openURL(t, dbtest.Postgres(t), clock.System{})
	err := d.Update(t.Context(), func(tx *Tx) error {
		if err := tx.InsertMerchant(Merchant{ID: "mer_1"}); err != nil {
			return err
		}
		_, _ = tx.exec(`INSERT INTO nothing VALUES (1)`)
		return nil
	})
	if err == nil || count(t, d) != 0 {
		t.Fatalf("%v, %d rows", err, count(t, d))
	}
	if err := add(d, "mer_2"); err != nil {
		t.Fatal(err)
	}
}

// The time is the database's whatever the node's clock says.
func TestTheTimeIsTheServersAndGoesOnAfterALock(t *testing.T) {
	dsn := dbtest.Postgres(t)
	ahead := fixed(time.Now().Add(90 * time.Second))
	d := openURL(t, dsn, ahead)
	seedUsers(t, d, "usr_a")
	near := func(what string, at time.Time) {
		t.Helper()
		if off := time.Since(at); off < -50*time.Millisecond || off > time.Second {
			t.Errorf("%s is %v off", what, off)
		}
	}
	if err := d.View(t.Context(), func(tx *Tx) error { near("a View's time", tx.Now()); return nil }); err != nil {
		t.Fatal(err)
	}
	held, release := make(chan struct{}), make(chan struct{})
	go func() {
		_ = d.Update(context.Background(), func(tx *Tx) error {
			_, err := tx.User("usr_a")
			close(held)
			<-release
			return err
		})
	}()
	<-held
	var once sync.Once
	err := d.Update(t.Context(), func(tx *Tx) error {
		before := tx.Now()
		once.Do(func() { time.AfterFunc(300*time.Millisecond, func() { close(release) }) })
		near("a transaction's time", before)
		if tx.Now() != before {
			t.Error("the time moves though nothing was waited for")
		}
		if _, err := tx.User("usr_a"); err != nil {
			return err
		}
		if waited := tx.Now().Sub(before); waited < 200*time.Millisecond {
			t.Errorf("after a lock of 300 ms the time is %v later", waited)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

type fixed time.Time

func (f fixed) Now() time.Time { return time.Time(f) }

func TestWhatPostgreSQLCannotStoreIsNotFound(t *testing.T) {
	d := openURL(t, dbtest.Postgres(t), clock.System{})
	for _, id := range []string{"cli_\x00", "cli_\xff"} {
		err := d.View(t.Context(), func(tx *Tx) error { _, err := tx.Client(id); return err })
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestAServerThatWouldLoseCommitsIsRefused(t *testing.T) {
	dsn := dbtest.Postgres(t)
	for params, says := range map[string]string{"synchronous_commit=off": "synchronous_commit", "pool_max_conns=none": "pool_max_conns"} {
		d, err := Open(t.Context(), dsn+"&"+params, clock.System{})
		if err == nil {
			d.Close()
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", params, err)
		}
	}
}

func seedUsers(t *testing.T, d *DB, ids ...string) {
	t.Helper()
	err := d.Update(t.Context(), func(tx *Tx) error {
		if err := tx.InsertMerchant(Merchant{ID: "mer_1"}); err != nil {
			return err
		}
		for _, id := range ids {
			if err := tx.InsertUser(User{ID: id, MerchantID: "mer_1", ExternalRef: id, State: UserActive, Attributes: map[string]string{}}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
