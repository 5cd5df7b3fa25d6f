package db

import (
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db/dbtest"
)

// off is a machine's clock that is wrong by so much.
type off time.Duration

func (o off) Now() time.Time { return time.Now().Add(time.Duration(o)) }

// X8: nodes whose clocks are wrong go by PostgreSQL's, never ahead of it.
func TestX8_NodesWhoseClocksDifferCountOnFromTheServers(t *testing.T) {
	dsn := dbtest.Postgres(t)
	server := func(d *DB) time.Time {
		var micros int64
		if err := d.View(t.Context(), func(tx *Tx) error { return tx.row(`SELECT `+sqlMicros, nil, &micros) }); err != nil {
			t.Fatal(err)
		}
		return time.UnixMicro(micros)
	}
	for _, wrong := range []time.Duration{0, 90 * time.Second, -90 * time.Second, 10 * time.Minute} {
		d := openURL(t, dsn, off(wrong))
		for range 50 {
			before := server(d)
			now := d.Clock().Now()
			after := server(d)
			if now.After(after) || before.Sub(now) > time.Second {
				t.Fatalf("a clock off by %v: %v between %v and %v", wrong, now, before, after)
			}
		}
		if o := d.Offset() + wrong; o.Abs() > time.Second {
			t.Errorf("a clock off by %v: the offset is said to be %v", wrong, d.Offset())
		}
	}
}

func TestAReadingIsKeptWhileItIsTheSurestThatFits(t *testing.T) {
	begin := time.Unix(1_800_000_000, 0)
	at := func(mono, sql, late time.Duration) *instant {
		return &instant{sql: begin.Add(sql), mono: begin.Add(mono), late: late}
	}
	first := at(0, 0, 10*time.Millisecond)
	for _, c := range []struct {
		name string
		next *instant
		kept bool
	}{
		{"a surer one is taken", at(time.Second, time.Second, time.Millisecond), false},
		{"one that took long is not", at(time.Second, 800*time.Millisecond, 300*time.Millisecond), true},
		{"unless the old one may have drifted by as much", at(10*time.Minute, 10*time.Minute-200*time.Millisecond, 300*time.Millisecond), false},
		{"the server's clock was set forward", at(time.Second, time.Minute, 300*time.Millisecond), false},
		{"the server's clock was set back", at(time.Second, -time.Minute, 300*time.Millisecond), false},
	} {
		p := &postgres{}
		p.keep(first)
		p.keep(c.next)
		if kept := p.best.Load() == first; kept != c.kept {
			t.Errorf("%s: the old one is kept: %v", c.name, kept)
		}
	}
}

func TestOnSQLiteTheClockIsTheOneItWasOpenedWith(t *testing.T) {
	clk := clock.NewManual(time.Unix(1_800_000_000, 0))
	d := openURL(t, dbtest.SQLite(t), clk)
	clk.Advance(time.Hour)
	if got := d.Clock().Now(); !got.Equal(clk.Now()) || d.Offset() != 0 {
		t.Errorf("%v, want %v; offset %v", got, clk.Now(), d.Offset())
	}
}
