// Package limit says how often one address block or one client may ask: GCRA
// (the virtual scheduling form of the leaky bucket, ITU-T I.371), one record a
// key in kv, which all nodes share.
//
// Each node keeps what it last knew. A request that is over the limit by that is
// refused without asking kv, as the record only grows; any other costs at most
// one round trip, and none while one for the same key is under way. A node that
// finds another's write adds to it behind the request, so it may let some pass
// that it would have refused a moment later; without kv each node limits by
// itself. Nobody is refused because kv is away. A limit that is Alone is each
// node's own from the start, and costs no round trip.
package limit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/kv"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// remember bounds how many keys a node keeps, twice over.
	remember = 1 << 15
	// slack is how much longer than its meaning a record lives.
	slack = time.Second
	// patience bounds the round trip: limits must not make a slow store slower.
	patience = 500 * time.Millisecond
)

// Rate is so many requests in a time; they may come all at once. The zero Rate
// is no limit.
type Rate struct {
	Events int
	Per    time.Duration
}

// Exceeded refuses a request.
type Exceeded struct {
	Limit string
	Wait  time.Duration // until one would be let through
}

func (e *Exceeded) Error() string {
	return fmt.Sprintf("limit: %s: wait %s", e.Limit, e.Wait.Round(time.Millisecond))
}

// Limiter makes limits that share one memory.
type Limiter struct {
	kv     kv.KV
	clk    clock.Clock
	log    *slog.Logger
	exempt []netip.Prefix
	over   *prometheus.CounterVec

	mu         sync.Mutex
	young, old map[string]*entry // old is forgotten when young is full
}

// New makes a limiter; requests from exempt networks are never counted.
func New(store kv.KV, clk clock.Clock, log *slog.Logger, reg prometheus.Registerer, exempt []netip.Prefix) *Limiter {
	l := &Limiter{kv: store, clk: clk, log: log, exempt: exempt, young: map[string]*entry{},
		over: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mobileid_limited_total", Help: "Requests refused for coming too often, by limit."}, []string{"limit"})}
	reg.MustRegister(l.over)
	return l
}

// Limit is one rate over many keys. A nil Limit lets everything through.
type Limit struct {
	l       *Limiter
	name    string
	rate    Rate
	address bool // the address block is part of the key
	alone   bool // each node counts by itself
}

// PerAddress limits by address block, and by an id within it if one is given.
func (l *Limiter) PerAddress(name string, r Rate) *Limit { return l.limit(name, r, true) }

// PerID limits by id, wherever the requests come from.
func (l *Limiter) PerID(name string, r Rate) *Limit { return l.limit(name, r, false) }

func (l *Limiter) limit(name string, r Rate, address bool) *Limit {
	if r.Events <= 0 || r.Per <= 0 {
		return nil
	}
	l.over.WithLabelValues(name)
	return &Limit{l: l, name: name, rate: r, address: address}
}

// Alone makes the limit each node's own: for what is cheaper than asking kv, where
// the bound is for the node and not for what many nodes let through together.
func (x *Limit) Alone() *Limit {
	if x == nil {
		return nil
	}
	own := *x
	own.alone = true
	return &own
}

// Take counts one request of id (which the caller has verified, or "") from ip,
// or returns *Exceeded.
func (x *Limit) Take(ctx context.Context, ip, id string) error {
	key, ok := x.key(ip, id)
	if !ok {
		return nil
	}
	if x.alone {
		return x.told(x.l.takeHere(key, x.rate))
	}
	return x.told(x.l.take(ctx, key, x.rate))
}

// Full returns *Exceeded if Take would, as far as this node knows. It counts
// nothing and asks nobody: for what is counted only when it fails.
func (x *Limit) Full(ip, id string) error {
	key, ok := x.key(ip, id)
	if !ok {
		return nil
	}
	x.l.mu.Lock()
	defer x.l.mu.Unlock()
	_, wait := x.l.entry(key).next(x.l.clk.Now().UnixNano(), x.rate)
	return x.told(wait)
}

func (x *Limit) told(wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	x.l.over.WithLabelValues(x.name).Inc()
	return &Exceeded{x.name, wait}
}

func (x *Limit) key(ip, id string) (string, bool) {
	if x == nil {
		return "", false
	}
	if a, err := netip.ParseAddr(ip); err == nil {
		a = a.Unmap()
		for _, p := range x.l.exempt {
			if p.Contains(a) {
				return "", false
			}
		}
	}
	key := x.name + "/" + id
	if x.address {
		key += "/" + Block(ip)
	}
	return key, true
}

// Block names the network that an address belongs to: /24 or /48. One host has
// no more, and cannot get out of it by taking the next address.
func Block(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return "ip:unknown"
	}
	bits := 48
	if a = a.Unmap().WithZone(""); a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return "ip:unknown"
	}
	return "ip:" + p.String()
}

// entry is what this node knows of a key. Times are Unix nanoseconds.
type entry struct {
	tat     int64 // theoretical arrival time: when all that was let through is paid for
	raw     int64 // what kv held when last seen; 0: nothing
	pending int64 // what was let through here and is not in kv yet
	busy    bool  // a round trip is under way
}

// next is the arrival time with one more request, and how long that one has to wait.
func (e *entry) next(now int64, r Rate) (tat int64, wait time.Duration) {
	tat = max(e.tat, now) + int64(r.Per)/int64(r.Events)
	return tat, time.Duration(tat - now - int64(r.Per))
}

// entry returns the key's entry. The caller holds mu.
func (l *Limiter) entry(key string) *entry {
	if e := l.young[key]; e != nil {
		return e
	}
	e := l.old[key]
	if e == nil {
		e = &entry{}
	}
	if len(l.young) >= remember {
		l.old, l.young = l.young, map[string]*entry{}
	}
	l.young[key] = e
	return e
}

// takeHere is take that tells nobody.
func (l *Limiter) takeHere(key string, r Rate) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entry(key)
	tat, wait := e.next(l.clk.Now().UnixNano(), r)
	if wait <= 0 {
		e.tat = tat
	}
	return wait
}

func (l *Limiter) take(ctx context.Context, key string, r Rate) time.Duration {
	now, step := l.clk.Now().UnixNano(), int64(r.Per)/int64(r.Events)
	l.mu.Lock()
	e := l.entry(key)
	tat, wait := e.next(now, r)
	if wait > 0 {
		l.mu.Unlock()
		return wait
	}
	e.tat = tat
	e.pending = min(e.pending+step, int64(r.Per))
	if e.busy { // whoever is under way, or comes next, writes it
		l.mu.Unlock()
		return 0
	}
	e.busy = true
	raw, sent := e.raw, e.pending
	l.mu.Unlock()

	trip, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := l.write(trip, key, raw, tat, now)
	if errors.Is(err, kv.ErrConflict) || errors.Is(err, kv.ErrExists) {
		// Another node wrote. Adding to what it wrote is not this request's to wait for.
		go l.settle(context.WithoutCancel(ctx), key, e, r)
		return 0
	}
	l.wrote(ctx, e, tat, sent, err)
	return 0
}

// wrote notes what a write came to and ends the round trip.
func (l *Limiter) wrote(ctx context.Context, e *entry, tat, sent int64, err error) {
	if err != nil {
		l.log.WarnContext(ctx, "rate limits are this node's alone: the shared store does not answer", "error", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e.busy = false
	if err == nil {
		e.raw, e.pending = tat, e.pending-sent
	}
}

// settle adds what this node let through to what other nodes wrote.
func (l *Limiter) settle(ctx context.Context, key string, e *entry, r Rate) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		there, err := l.read(ctx, key)
		l.mu.Lock()
		now := l.clk.Now().UnixNano()
		sent := e.pending
		tat := min(max(there, now)+sent, now+int64(r.Per))
		e.raw, e.tat = there, max(e.tat, tat)
		l.mu.Unlock()
		if err == nil {
			err = l.write(ctx, key, there, tat, now)
		}
		if !errors.Is(err, kv.ErrConflict) && !errors.Is(err, kv.ErrExists) {
			l.wrote(ctx, e, tat, sent, err)
			return
		}
	}
}

func (l *Limiter) read(ctx context.Context, key string) (int64, error) {
	val, err := l.kv.Get(ctx, kvKey(key))
	if errors.Is(err, kv.ErrNotFound) || err == nil && len(val) != 8 {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(val)), nil
}

// write puts tat where raw was. A record whose time is over is gone by now.
func (l *Limiter) write(ctx context.Context, key string, raw, tat, now int64) error {
	life := time.Duration(tat-now) + slack
	if raw+int64(slack) <= now {
		return l.kv.Create(ctx, kvKey(key), encode(tat), life)
	}
	return l.kv.Swap(ctx, kvKey(key), encode(raw), encode(tat), life)
}

func encode(tat int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(tat)) }

func kvKey(key string) string { return "limit/{" + key + "}" }
