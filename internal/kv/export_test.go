package kv

import (
	"context"
	"fmt"
	"os"

	"mobileid/internal/clock"
	"mobileid/internal/lite"
)

// OpenBoot opens the embedded store as if on the machine's boot named boot.
func OpenBoot(ctx context.Context, path string, clk clock.Clock, boot string) (KV, error) {
	return openSQLite(ctx, path, clk, boot)
}

// use runs fn on the embedded store's connection while nobody else does.
func use(s KV, fn func(c *lite.Conn) error) error {
	f := s.(*sqlStore).file
	f.mu.Lock()
	defer f.mu.Unlock()
	return fn(f.c)
}

// lead runs fn while no call that writes is under way.
func lead(s KV, fn func(l *line) error) error {
	l := s.(*sqlStore).l
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.busy {
		l.idle.Wait()
	}
	return fn(l)
}

// Seal puts what was written aside for the embedded store's file.
func Seal(s KV) error {
	return lead(s, func(l *line) error {
		l.fold()
		if err := l.mem.settled(); err != nil {
			return err
		}
		return l.turnOver()
	})
}

// Want has what is sealed brought into the file, and does not wait for it.
func Want(s KV) {
	_ = lead(s, func(l *line) error { l.fold(); return nil })
}

// Fold brings all that was written into the embedded store's file.
func Fold(s KV) error {
	if err := Seal(s); err != nil {
		return err
	}
	Want(s)
	return s.(*sqlStore).mem.settled()
}

// Still runs fn while nothing of the embedded store moves.
func Still(s KV, fn func()) error {
	return lead(s, func(*line) error {
		return use(s, func(*lite.Conn) error { fn(); return nil })
	})
}

// Rows counts the rows of the embedded store's file, swept or not.
func Rows(s KV) (n int64, err error) {
	err = use(s, func(c *lite.Conn) error { return c.Row("SELECT count(*) FROM record", nil, &n) })
	return n, err
}

// LimitPages lets the embedded store's file grow by no more than n pages.
func LimitPages(s KV, n int64) error {
	return use(s, func(c *lite.Conn) error {
		var now int64
		if err := c.Row("PRAGMA page_count", nil, &now); err != nil {
			return err
		}
		return c.Script(fmt.Sprintf("PRAGMA max_page_count = %d", now+n))
	})
}

// Script runs SQL on the embedded store's connection.
func Script(s KV, sql string) error {
	return use(s, func(c *lite.Conn) error { return c.Script(sql) })
}

// LogTo has the embedded store's journal go on in another file; it returns the one
// so far.
func LogTo(s KV, f *os.File) (before *os.File) {
	_ = lead(s, func(l *line) error {
		before, l.log.f = l.log.f, f
		return nil
	})
	return before
}

// Held is what the embedded store's tables hold in bytes: written since the last
// turn, on its way into the file, kept of the file.
func Held(s KV) (fresh, sealed, kept int) {
	m := s.(*sqlStore).mem
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.fresh.size, m.sealed.size, m.young.size + m.old.size
}

// Bounds of memory and journal, in bytes.
const (
	FreshBytes = freshBytes
	FrontBytes = frontBytes
	LogBytes   = logBytes
)

// The names of the journals behind that of the file.
const (
	LogSuffix = logSuffix
	OldSuffix = oldSuffix
)

// Jam keeps written records from the embedded store's file until it is told
// otherwise: SQLite refuses the key and every transaction with it. Reads go on.
func Jam(s KV, key string) error {
	return Script(s, fmt.Sprintf(`CREATE TEMP TRIGGER jam BEFORE INSERT ON record WHEN new.key = '%s'
BEGIN SELECT raise(ABORT, 'jammed'); END`, key))
}

// Unjam ends a Jam and has the keeper try again at once.
func Unjam(s KV) error {
	if err := Script(s, "DROP TRIGGER jam"); err != nil {
		return err
	}
	// A try that was under way may still fail.
	var err error
	for range 10 {
		if err = Retry(s); err == nil {
			break
		}
	}
	return err
}

// Retry has the keeper try again at once to bring what is sealed into the file.
func Retry(s KV) error {
	return lead(s, func(l *line) error {
		l.mem.mu.Lock()
		l.mem.failed = nil
		l.mem.wanted = l.mem.sealed.m != nil
		l.mem.mu.Unlock()
		select {
		case l.wake <- struct{}{}:
		default:
		}
		return l.mem.settled()
	})
}

// Busy runs fn while the embedded store's file is in use.
func Busy(s KV, fn func()) error {
	return use(s, func(*lite.Conn) error { fn(); return nil })
}

// Sweep makes a round of the sweep, or what is left of one.
func Sweep(s KV) error {
	for {
		if round, err := SweepStep(s); err != nil || round {
			return err
		}
	}
}

// SweepStep makes one step of the sweep, and says if it was the last of a round.
func SweepStep(s KV) (round bool, err error) {
	_, round, err = s.(*sqlStore).file.sweep()
	return round, err
}

// Prune has memory forget what is over.
func Prune(s KV) {
	_ = lead(s, func(l *line) error { l.mem.prune(l.now()); return nil })
}

// Forget has memory forget what it has kept of the embedded store's file.
func Forget(s KV) {
	m := s.(*sqlStore).mem
	_ = use(s, func(*lite.Conn) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.young, m.old = newTable(0), table{}
		return nil
	})
}
