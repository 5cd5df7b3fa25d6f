package db

import (
	"time"

	"mobileid/internal/clock"
)

// drift: a node's clock and the server's part by one in so many at most.
const drift = 1000

// Clock is SQL's time as this node knows it, without asking: on PostgreSQL the
// best reading so far, counted on by the machine's monotonic clock, so that a node
// whose own clock is wrong, or is set while it runs, still agrees with the others.
// It is never early, and late by what the reading took: some milliseconds. Every
// transaction is a reading, and a node that serves makes one a second at least. On
// SQLite it is the clock the database was opened with.
//
// What is decided goes by Tx.Now all the same.
func (d *DB) Clock() clock.Clock { return sqlClock{d} }

type sqlClock struct{ d *DB }

// Now implements clock.Clock.
func (c sqlClock) Now() time.Time {
	if c.d.pg == nil {
		return c.d.clk.Now()
	}
	return c.d.pg.now()
}

// Offset is how far SQL's time is ahead of the clock the database was opened with.
func (d *DB) Offset() time.Duration { return d.Clock().Now().Sub(d.clk.Now()) }

func (p *postgres) now() time.Time {
	at := p.best.Load()
	return p.shifted(at.at(p.mono.Now()))
}

// at is SQL's time at a later moment of the monotonic clock.
func (i *instant) at(mono time.Time) time.Time { return i.sql.Add(mono.Sub(i.mono)) }

// keep makes a reading the one to count on from, unless the one there is surer
// and does not contradict it. It does where the server's clock was set, or where
// another server took over.
func (p *postgres) keep(got *instant) {
	have := p.best.Load()
	if have != nil {
		aged := got.mono.Sub(have.mono) / drift
		told := have.at(got.mono)
		agrees := !told.Add(have.late+aged).Before(got.sql) && !told.After(got.sql.Add(got.late+aged))
		if agrees && have.late+aged < got.late {
			return
		}
	}
	p.best.Store(got)
}
