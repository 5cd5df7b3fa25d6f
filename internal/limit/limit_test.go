package limit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/kv"
	"mobileid/internal/limit"

	"github.com/prometheus/client_golang/prometheus"
)

// counted counts round trips and may be away.
type counted struct {
	kv.KV
	trips atomic.Int64
	away  atomic.Bool
}

var errAway = errors.New("away")

func (c *counted) trip() error {
	c.trips.Add(1)
	if c.away.Load() {
		return errAway
	}
	return nil
}

func (c *counted) Get(ctx context.Context, key string) ([]byte, error) {
	if err := c.trip(); err != nil {
		return nil, err
	}
	return c.KV.Get(ctx, key)
}

func (c *counted) Create(ctx context.Context, key string, val []byte, ttl time.Duration) error {
	if err := c.trip(); err != nil {
		return err
	}
	return c.KV.Create(ctx, key, val, ttl)
}

func (c *counted) Swap(ctx context.Context, key string, old, val []byte, ttl time.Duration) error {
	if err := c.trip(); err != nil {
		return err
	}
	return c.KV.Swap(ctx, key, old, val, ttl)
}

func store(t *testing.T) (*counted, *clock.Manual) {
	t.Helper()
	clk := clock.NewManual(time.UnixMilli(1_800_000_000_000))
	s, err := kv.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "kv.db"), clk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &counted{KV: s}, clk
}

func node(s kv.KV, clk clock.Clock, exempt ...netip.Prefix) *limit.Limiter {
	return limit.New(s, clk, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), exempt)
}

const ip = "203.0.113.7"

func through(t *testing.T, x *limit.Limit, n int, ip, id string) (ok int, last error) {
	t.Helper()
	for range n {
		if err := x.Take(t.Context(), ip, id); err == nil {
			ok++
		} else {
			last = err
		}
	}
	return ok, last
}

func TestABurstPassesThenTheRateThenNothing(t *testing.T) {
	s, clk := store(t)
	x := node(s, clk).PerAddress("x", limit.Rate{Events: 10, Per: 10 * time.Second})
	if n, _ := through(t, x, 10, ip, ""); n != 10 {
		t.Fatalf("%d of the burst passed", n)
	}
	before := s.trips.Load()
	n, err := through(t, x, 100, ip, "")
	e, ok := errors.AsType[*limit.Exceeded](err)
	if n != 0 || !ok || e.Wait != time.Second || e.Limit != "x" {
		t.Errorf("%d passed over the limit, %v", n, err)
	}
	if trips := s.trips.Load() - before; trips != 0 {
		t.Errorf("a flood cost %d round trips", trips)
	}
	if x.Full(ip, "") == nil {
		t.Error("Full says that there is room")
	}
	for range 5 {
		clk.Advance(time.Second)
		if n, _ := through(t, x, 3, ip, ""); n != 1 {
			t.Fatalf("%d passed after a second, want 1", n)
		}
	}
	clk.Advance(time.Hour) // the record is gone, and so is what was owed
	if n, _ := through(t, x, 20, ip, ""); n != 10 {
		t.Errorf("%d passed an hour later", n)
	}
}

func TestARequestCostsAtMostOneRoundTrip(t *testing.T) {
	s, clk := store(t)
	x := node(s, clk).PerID("x", limit.Rate{Events: 100, Per: time.Minute})
	for i := range 300 {
		before := s.trips.Load()
		x.Take(t.Context(), ip, "cli_1")
		if n := s.trips.Load() - before; n > 1 {
			t.Fatalf("request %d cost %d round trips", i, n)
		}
	}
}

func TestALimitAloneCostsNoRoundTripAndIsTheNodesOwn(t *testing.T) {
	s, clk := store(t)
	rate := limit.Rate{Events: 10, Per: 10 * time.Second}
	a, b := node(s, clk).PerID("x", rate).Alone(), node(s, clk).PerID("x", rate).Alone()
	for name, x := range map[string]*limit.Limit{"one": a, "the other": b} {
		if n, err := through(t, x, 30, ip, "cli_1"); n != 10 || err == nil {
			t.Errorf("%s let %d pass", name, n)
		}
		if x.Full(ip, "cli_1") == nil || x.Full(ip, "cli_2") != nil {
			t.Errorf("%s: what is full", name)
		}
	}
	clk.Advance(3 * time.Second)
	if n, _ := through(t, a, 30, ip, "cli_1"); n != 3 {
		t.Errorf("%d passed 3 s later", n)
	}
	if trips := s.trips.Load(); trips != 0 {
		t.Errorf("%d round trips", trips)
	}
	var none *limit.Limit
	if none.Alone().Take(t.Context(), ip, "") != nil {
		t.Error("no limit refuses")
	}
}

func TestNodesShareALimit(t *testing.T) {
	s, clk := store(t)
	rate := limit.Rate{Events: 100, Per: time.Minute}
	nodes := []*limit.Limit{node(s, clk).PerID("x", rate), node(s, clk).PerID("x", rate), node(s, clk).PerID("x", rate)}
	passed := 0
	for range 100 {
		for _, x := range nodes {
			if x.Take(t.Context(), ip, "cli_1") == nil {
				passed++
			}
		}
		time.Sleep(5 * time.Millisecond) // what is added behind the requests
	}
	if passed < 98 || passed > 106 {
		t.Errorf("three nodes in turn let %d pass, want 100 and a few more at most", passed)
	}
}

func TestManyAtOnceDoNotPassTheLimit(t *testing.T) {
	s, clk := store(t)
	var passed atomic.Int64
	var all sync.WaitGroup
	nodes := []*limit.Limit{node(s, clk).PerID("x", limit.Rate{Events: 50, Per: time.Minute}), node(s, clk).PerID("x", limit.Rate{Events: 50, Per: time.Minute})}
	for i := range 32 {
		all.Go(func() {
			for range 25 {
				if nodes[i%2].Take(t.Context(), ip, "cli_1") == nil {
					passed.Add(1)
				}
			}
		})
	}
	all.Wait()
	// While one round trip is under way a node goes by what it knows: at the very
	// worst both let their whole share pass.
	if n := passed.Load(); n < 50 || n > 100 {
		t.Errorf("%d passed", n)
	}
	for range 20 {
		nodes[0].Take(t.Context(), ip, "cli_1")
		nodes[1].Take(t.Context(), ip, "cli_1")
		time.Sleep(5 * time.Millisecond)
	}
	if nodes[0].Take(t.Context(), ip, "cli_1") == nil && nodes[1].Take(t.Context(), ip, "cli_1") == nil {
		t.Error("both nodes still let requests pass")
	}
}

func TestWithoutTheStoreEachNodeLimitsByItselfAndForgets(t *testing.T) {
	s, clk := store(t)
	x := node(s, clk).PerAddress("x", limit.Rate{Events: 10, Per: 10 * time.Second})
	s.away.Store(true)
	if n, _ := through(t, x, 50, ip, ""); n != 10 {
		t.Errorf("%d passed", n)
	}
	clk.Advance(5 * time.Second)
	if n, _ := through(t, x, 50, ip, ""); n != 5 {
		t.Errorf("%d passed 5 s later", n)
	}
	s.away.Store(false)
	clk.Advance(10 * time.Second)
	if n, _ := through(t, x, 50, ip, ""); n < 9 || n > 10 {
		t.Errorf("%d passed with the store back", n)
	}
}

func TestKeysAreApart(t *testing.T) {
	s, clk := store(t)
	l := node(s, clk, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	one := limit.Rate{Events: 1, Per: time.Minute}
	address, client := l.PerAddress("a", one), l.PerID("c", one)
	for i, tc := range []struct {
		x      *limit.Limit
		ip, id string
		pass   bool
	}{
		{address, "203.0.113.7", "", true},
		{address, "203.0.113.200", "", false}, // the same block
		{address, "::ffff:203.0.113.9", "", false},
		{address, "203.0.114.7", "", true},
		{address, "203.0.113.7", "cli_1", true}, // of one client in the block
		{address, "2001:db8:1:2::3", "", true},
		{address, "2001:db8:1:ffff::9", "", false},
		{address, "2001:db8:2::3", "", true},
		{address, "", "", true},
		{address, "nonsense", "", false}, // all unknown ones are one
		{client, "203.0.113.7", "cli_1", true},
		{client, "198.51.100.7", "cli_1", false},
		{client, "198.51.100.7", "cli_2", true},
		{client, "127.0.0.1", "cli_2", true}, // exempt
		{address, "::ffff:127.0.0.1", "", true},
		{address, "127.9.9.9", "", true},
		{address, "::1", "", true},
		{address, "::1", "", true},
		{l.PerID("off", limit.Rate{}), "203.0.113.7", "", true},
		{nil, "203.0.113.7", "", true},
	} {
		if err := tc.x.Take(t.Context(), tc.ip, tc.id); (err == nil) != tc.pass {
			t.Errorf("%d: %s %s: %v", i, tc.ip, tc.id, err)
		}
	}
}

func TestAFloodOfKeysDoesNotFillTheMemoryOrFreeAnyone(t *testing.T) {
	s, clk := store(t)
	s.away.Store(true) // only the memory is under test
	x := node(s, clk).PerID("x", limit.Rate{Events: 1, Per: time.Hour})
	x.Take(t.Context(), ip, "first")
	for i := range 20_000 {
		x.Full(ip, fmt.Sprint("k", i))
	}
	if x.Full(ip, "first") == nil {
		t.Error("20 000 other keys freed the first")
	}
}
