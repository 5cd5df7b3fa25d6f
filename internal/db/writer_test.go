package db

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db/dbtest"
)

func open(t *testing.T) *DB {
	t.Helper()
	return openURL(t, dbtest.SQLite(t), clock.System{})
}

// both runs fn on a database of each engine.
func both(t *testing.T, fn func(t *testing.T, d *DB)) {
	dbtest.Each(t, func(t *testing.T, url string) { fn(t, openURL(t, url, clock.System{})) })
}

func openURL(t testing.TB, url string, clk clock.Clock) *DB {
	t.Helper()
	d, err := Open(t.Context(), url, clk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

func add(d *DB, id string) error {
	return d.Update(context.Background(), func(tx *Tx) error { return tx.InsertMerchant(Merchant{ID: id}) })
}

func count(t *testing.T, d *DB) int {
	t.Helper()
	var n int
	err := d.View(t.Context(), func(tx *Tx) error {
		all, err := tx.Merchants()
		n = len(all)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// hold keeps the writer busy until many jobs wait behind one another, so that
// they share a commit.
func hold(d *DB, release chan struct{}) {
	go d.Update(context.Background(), func(*Tx) error { <-release; return nil })
	time.Sleep(10 * time.Millisecond)
}

func TestATransactionThatFailsAmongOthersIsUndoneAlone(t *testing.T) {
	d := open(t)
	release := make(chan struct{})
	hold(d, release)
	boom := errors.New("boom")
	var wg sync.WaitGroup
	var errs [40]error
	for i := range errs {
		wg.Go(func() {
			errs[i] = d.Update(context.Background(), func(tx *Tx) error {
				if err := tx.InsertMerchant(Merchant{ID: NewID("mer_")}); err != nil {
					return err
				}
				switch i % 4 {
				case 1:
					return boom
				case 2:
					panic("ouch")
				}
				return nil
			})
		})
	}
	close(release)
	wg.Wait()
	for i, err := range errs {
		switch i % 4 {
		case 1:
			if !errors.Is(err, boom) {
				t.Errorf("job %d: %v", i, err)
			}
		case 2:
			if err == nil || !strings.Contains(err.Error(), "panicked") {
				t.Errorf("job %d: %v", i, err)
			}
		default:
			if err != nil {
				t.Errorf("job %d: %v", i, err)
			}
		}
	}
	if n := count(t, d); n != 20 {
		t.Errorf("%d rows, want 20", n)
	}
}

// Who shared the transaction of one that was undone runs again: with the numbers and
// the callbacks of that run alone, and although its caller has gone meanwhile.
func TestThoseWhoSharedAnUndoneTransactionRunAgainAndCountOnce(t *testing.T) {
	d := open(t)
	release := make(chan struct{})
	hold(d, release)
	boom := errors.New("boom")
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	var runs, told int
	act := func(fail error) {
		defer all.Done()
		err := d.Update(ctx, func(tx *Tx) error {
			line, seq, err := tx.NextAudit("aw_1")
			if err != nil {
				return err
			}
			if err := tx.InsertAudit(line, seq, "{}", []byte("hash")); err != nil {
				return err
			}
			tx.OnCommit(func() { told++ })
			if fail != nil {
				cancel()
				return fail
			}
			runs++
			return nil
		})
		if !errors.Is(err, fail) {
			t.Errorf("%v, want %v", err, fail)
		}
	}
	for _, fail := range []error{nil, nil, boom} {
		all.Add(1)
		go act(fail)
		time.Sleep(10 * time.Millisecond) // so that they stand in this order
	}
	close(release)
	all.Wait()
	if runs != 4 || told != 2 {
		t.Errorf("two ran %d times and were told of %d commits", runs, told)
	}
	var numbers []int64
	err := d.View(t.Context(), func(tx *Tx) error {
		return tx.AuditRecords(func(r AuditRecord) error { numbers = append(numbers, r.Seq); return nil })
	})
	if err != nil || !slices.Equal(numbers, []int64{1, 2}) {
		t.Error(numbers, err)
	}
}

// A transaction that fails before it has changed anything is no reason for anybody
// to run again.
func TestATransactionThatChangedNothingFailsAlone(t *testing.T) {
	d := open(t)
	if err := add(d, "mer_there"); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	hold(d, release)
	runs := 0
	first, second := make(chan error, 1), make(chan error, 1)
	go func() {
		first <- d.Update(context.Background(), func(tx *Tx) error { runs++; return tx.InsertMerchant(Merchant{ID: "mer_new"}) })
	}()
	time.Sleep(10 * time.Millisecond)
	go func() { second <- add(d, "mer_there") }()
	time.Sleep(10 * time.Millisecond)
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if err := <-second; !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	if runs != 1 || count(t, d) != 2 {
		t.Errorf("ran %d times; %d rows", runs, count(t, d))
	}
}

// SQLite may end a transaction by itself (disk full, I/O error). Whoever was in
// it is told, and the next transaction works.
func TestATransactionThatSQLiteEndedIsToldToAllInItAndTheNextOneWorks(t *testing.T) {
	d := open(t)
	release := make(chan struct{})
	hold(d, release)
	kept, lost, behind := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() { kept <- add(d, "mer_before") }()
	time.Sleep(10 * time.Millisecond)
	go func() {
		lost <- d.Update(context.Background(), func(tx *Tx) error {
			// What comes behind it would be kept by itself.
			return errors.Join(d.exec("ROLLBACK"), tx.InsertMerchant(Merchant{ID: "mer_lost"}))
		})
	}()
	time.Sleep(10 * time.Millisecond)
	go func() { behind <- add(d, "mer_behind") }()
	time.Sleep(10 * time.Millisecond)
	close(release)
	if err := <-lost; err == nil {
		t.Error("the job whose transaction is gone was told it is durable")
	}
	if err := <-kept; err == nil {
		t.Error("a job that shared the lost transaction was told it is durable")
	}
	if err := <-behind; err != nil {
		t.Errorf("who came after the loss: %v", err)
	}
	if err := add(d, "mer_after"); err != nil {
		t.Fatalf("the next transaction: %v", err)
	}
	if n := count(t, d); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

// The next number is remembered, so it has to be forgotten with what it counted.
func TestTheLineOfAuditHasNoGapBehindWhatWasUndoneOrLost(t *testing.T) {
	d := open(t)
	act := func(after func() error) error {
		return d.Update(context.Background(), func(tx *Tx) error {
			for range 2 {
				line, seq, err := tx.NextAudit("aw_1")
				if err == nil {
					err = tx.InsertAudit(line, seq, "{}", []byte("hash"))
				}
				if err != nil {
					return err
				}
			}
			return after()
		})
	}
	fine := func() error { return nil }
	undone := func() error { return errors.New("boom") }
	lost := func() error { return d.exec("ROLLBACK") }
	for i, after := range []func() error{fine, undone, fine, lost, fine, undone, lost, fine} {
		if err := act(after); (err == nil) != (i == 0 || i == 2 || i == 4 || i == 7) {
			t.Fatalf("act %d: %v", i, err)
		}
	}
	var numbers []int64
	err := d.View(t.Context(), func(tx *Tx) error {
		return tx.AuditRecords(func(r AuditRecord) error { numbers = append(numbers, r.Seq); return nil })
	})
	if err != nil || !slices.Equal(numbers, []int64{1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Fatal(numbers, err)
	}
}

// Another process may hold the lock for longer than we wait: that fails what
// waited, and nothing after it.
func TestAfterALockHeldByAnotherProcessWritesGoOn(t *testing.T) {
	d := open(t)
	other, err := openReader(d.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"PRAGMA query_only(OFF)", "BEGIN IMMEDIATE"} {
		if _, err := other.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	if err := add(d, "mer_locked"); err == nil {
		t.Error("written beside another writer")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := d.Ping(ctx); err == nil {
		t.Error("Ping is content with a database that cannot be written to")
	}
	if _, err := other.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	other.Close()
	if err := add(d, "mer_after"); err != nil {
		t.Errorf("after the lock: %v", err)
	}
}

func TestTheDatabaseFileIsForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.db")
	d, err := Open(t.Context(), "sqlite:"+path, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := add(d, "mer_1"); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(path + suffix); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", suffix, info.Mode(), err)
		}
	}
}

func TestAClosedDatabaseSaysSo(t *testing.T) {
	d := open(t)
	d.Close()
	if err := add(d, "mer_x"); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestATransactionThatTakesTooLongIsUndone(t *testing.T) {
	d := open(t)
	err := d.Update(t.Context(), func(tx *Tx) error {
		if err := tx.InsertMerchant(Merchant{ID: "mer_late"}); err != nil {
			return err
		}
		if left := time.Until(tx.until); left <= writeTimeout/2 || left > writeTimeout {
			t.Errorf("%v are left", left)
		}
		tx.until = time.Now()
		return tx.InsertMerchant(Merchant{ID: "mer_later"})
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	view(t, d, func(tx *Tx) error {
		if _, err := tx.Merchant("mer_late"); !errors.Is(err, ErrNotFound) {
			t.Errorf("what was written before the time was over: %v", err)
		}
		return nil
	})
	update(t, d, func(tx *Tx) error { return tx.InsertMerchant(Merchant{ID: "mer_next"}) })
}
