package egress

import (
	"errors"
	"sync"
	"time"

	"mobileid/internal/clock"
)

const (
	tripAfter = 5 // exchanges in a row without an answer
	openFor   = 30 * time.Second
	maxHosts  = 4096 // that the breaker remembers
)

// ErrUnreachable refuses a request to a host that has not answered of late;
// nothing was sent. Try again later.
var ErrUnreachable = errors.New("the host has not answered of late and is left alone for a moment")

// outcome is what an exchange said about its host.
type outcome int

const (
	answered outcome = iota
	silent           // no connection, no TLS, no whole answer in time
	unknown          // it never came to asking
)

// breaker keeps requests from hosts that do not answer, so that they hold nobody
// else up. For each host and port:
//
//	           answered                       silent
//	   ┌──────────────────────┐      ┌────────────────────┐
//	   ▼                      │      ▼                    │
//	closed ──tripAfter silent──▶ open ──openFor passed──▶ half-open
//
// Closed lets everything through, open nothing, half-open one request at a time.
// A host is in the table only between its first silence and its next answer.
type breaker struct {
	clk clock.Clock

	mu    sync.Mutex
	hosts map[string]*host
}

type host struct {
	silences int       // in a row
	last     time.Time // of the last one
	probing  bool      // half-open, and the one request is under way
}

func newBreaker(clk clock.Clock) *breaker { return &breaker{clk: clk, hosts: map[string]*host{}} }

// enter asks whether a request to HOST:PORT may start. The caller says by done how
// it ended.
func (b *breaker) enter(name string) (done func(outcome), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.hosts[name]
	probe := false
	if h != nil && h.silences >= tripAfter {
		if h.probing || b.clk.Now().Before(h.last.Add(openFor)) {
			return nil, ErrUnreachable
		}
		h.probing, probe = true, true
	}
	return func(o outcome) { b.leave(name, o, probe) }, nil
}

func (b *breaker) leave(name string, o outcome, probe bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.hosts[name]
	if probe && h != nil {
		h.probing = false
	}
	switch o {
	case answered:
		delete(b.hosts, name)
	case silent:
		if h == nil {
			b.makeRoom()
			h = &host{}
			b.hosts[name] = h
		}
		h.silences++
		h.last = b.clk.Now()
	}
}

// makeRoom forgets the host that fell silent longest ago, if the table is full.
func (b *breaker) makeRoom() {
	if len(b.hosts) < maxHosts {
		return
	}
	oldest := ""
	for name, h := range b.hosts {
		if oldest == "" || h.last.Before(b.hosts[oldest].last) {
			oldest = name
		}
	}
	delete(b.hosts, oldest)
}
