// Package clock is the one way to ask what time it is, so that tests decide.
package clock

import (
	"sync"
	"time"
)

// Clock tells the time.
type Clock interface {
	Now() time.Time
}

// System is the machine's clock.
type System struct{}

// Now returns the machine's time.
func (System) Now() time.Time { return time.Now() }

// Manual is a clock that moves only when told; safe for concurrent use.
type Manual struct {
	mu  sync.Mutex
	now time.Time
}

// NewManual returns a clock that stands at t.
func NewManual(t time.Time) *Manual { return &Manual{now: t} }

// Now returns the time set last.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Advance moves the clock forward by d.
func (m *Manual) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

// Shifter is a clock that also says what the database's time is to be taken for:
// a test's, never the machine's.
type Shifter interface {
	Shift(sql time.Time) time.Time
}

// Shift has a PostgreSQL whose own time runs on go by the manual clock.
func (m *Manual) Shift(time.Time) time.Time { return m.Now() }
