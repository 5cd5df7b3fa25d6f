package kv

import (
	"slices"
	"sync"

	"mobileid/internal/lite"
)

const (
	sqlGet    = `SELECT val, exp FROM record WHERE key = ?1`
	sqlPut    = `INSERT INTO record (key, val, exp) VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE SET val = excluded.val, exp = excluded.exp`
	sqlDelete = `DELETE FROM record WHERE key = ?1`
	// The sweep walks the records in the order of their keys, a slice at a time:
	// an index by expiry would be one more page to write for every record.
	sqlSlice = `SELECT key, exp FROM record WHERE key >= ?1 ORDER BY key LIMIT ?2`
	sqlSweep = `DELETE FROM record WHERE key >= ?1 AND key <= ?2 AND exp <= ?3`
)

const (
	foldRows  = 128  // written in one transaction: a millisecond or two
	sweepRows = 1000 // looked at by one step of the sweep: the same
)

// file is the SQLite file with its one connection. A second connection would gain
// little and cost much: each write of one empties the page cache of the other, and
// each call then pays for locks between them.
type file struct {
	mem *memory
	now func() int64 // Unix milliseconds

	mu     sync.Mutex // before mem's
	c      *lite.Conn
	closed bool

	// The round of the sweep: the key from which it goes on, and the keys it has met
	// or that were written meanwhile, which in the end are all.
	at  string
	met *filter
}

// find returns what the key holds. Asked by who leads the line, that stays so until
// it changes it.
func (f *file) find(key string) (entry, error) {
	if e, known := f.mem.find(key); known {
		return e, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return entry{}, errClosed
	}
	// What was on its way into the file when memory was asked may have come into it
	// since then; now nothing moves.
	if e, known := f.mem.find(key); known {
		return e, nil
	}
	var e entry
	switch err := f.c.Row(sqlGet, []any{key}, &e.val, &e.exp); err {
	case nil:
		e.inFile = true
		f.mem.read(key, e)
		return e, nil
	case lite.ErrNone:
		return entry{}, nil
	default:
		return entry{}, err
	}
}

// ping asks the file something.
func (f *file) ping() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errClosed
	}
	_, err := one(f.c, "SELECT count(*) FROM boot")
	return err
}

// fold brings the sealed table into the file, in transactions that each keep
// readers of the file waiting for a moment only.
func (f *file) fold() error {
	for keys := range slices.Chunk(f.mem.due(), foldRows) {
		if err := f.put(keys); err != nil {
			return err
		}
	}
	return nil
}

func (f *file) put(keys []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	changes := f.mem.pick(keys, now)
	if err := putRows(f.c, changes, now); err != nil {
		return err
	}
	f.mem.filed(changes, now)
	for _, c := range changes {
		f.met.add(c.key)
	}
	return nil
}

// putRows makes changes in one transaction. What is over at the time now is deleted:
// the row that is there may live longer.
func putRows(c *lite.Conn, changes []change, now int64) (err error) {
	if len(changes) == 0 {
		return nil
	}
	if _, err := c.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			c.Exec("ROLLBACK") // fails if SQLite has rolled back by itself
		}
	}()
	for _, ch := range changes {
		if ch.exp > now {
			_, err = c.Exec(sqlPut, ch.key, blob(ch.val), ch.exp)
		} else {
			_, err = c.Exec(sqlDelete, ch.key)
		}
		if err != nil {
			return err
		}
	}
	_, err = c.Exec("COMMIT")
	return err
}

// sweep looks at the next slice of rows and deletes those whose time is over. It
// only frees space: no call sees such a record, swept or not, and what memory holds
// under its key stays. over is how many were deleted, round that this was the last
// slice: from then on memory knows which keys there are.
func (f *file) sweep() (over int, round bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, seen, last := f.now(), 0, ""
	err = f.c.Rows(sqlSlice, []any{f.at, sweepRows}, func(scan func(...any) error) error {
		var exp int64
		if err := scan(&last, &exp); err != nil {
			return err
		}
		if seen++; exp <= now {
			over++
		} else {
			f.met.add(last)
		}
		return nil
	})
	if err == nil && over > 0 {
		_, err = f.c.Exec(sqlSweep, f.at, last, now)
	}
	if err != nil {
		return 0, false, err
	}
	if seen == sweepRows {
		f.at = last + "\x00" // the next key there can be
		return over, false, nil
	}
	f.at, f.met = "", f.mem.holds(f.met)
	return over, true, nil
}

// close closes the connection, which folds SQLite's own log back into the file.
func (f *file) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return f.c.Close()
}
