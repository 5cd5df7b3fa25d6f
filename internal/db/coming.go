package db

import (
	"context"
	"sync/atomic"
	"time"

	"mobileid/internal/clock"
)

// Coming is a caller who said that it will write soon. nil is one who did not.
type Coming struct {
	d    *DB
	over atomic.Bool
}

type comingKey struct{}

// Coming says that the caller will probably write soon, so that a commit may wait
// for it, for two milliseconds at most. Its Update, made with a context of With,
// ends it, and so does End, which must be called as soon as the caller knows that
// it will not write, or has to wait itself.
func (d *DB) Coming() *Coming {
	if d.pg != nil {
		return nil
	}
	d.coming.Add(1)
	return &Coming{d: d}
}

// With is ctx for the caller's Update.
func (c *Coming) With(ctx context.Context) context.Context {
	if c == nil {
		return ctx
	}
	return context.WithValue(ctx, comingKey{}, c)
}

// End says that the caller has written, or will not.
func (c *Coming) End() {
	if c == nil || c.over.Swap(true) {
		return
	}
	if c.d.coming.Add(-1) == 0 {
		select {
		case c.d.nobody <- struct{}{}:
		default:
		}
	}
}

// gathering is a group that has not committed yet.
type gathering struct {
	begun time.Time
	have  int
	timer *time.Timer
}

// until is how long to wait for others, at most; 0 is not at all.
func (g *gathering) until(d *DB) time.Duration {
	if d.coming.Load() == 0 && g.have >= d.usual {
		return 0
	}
	left := waitMost - clock.System{}.Now().Sub(g.begun)
	if left > 0 && g.timer == nil {
		g.timer = time.NewTimer(left)
	}
	return left
}

func (g *gathering) over() {
	if g.timer != nil {
		g.timer.Stop()
	}
}
