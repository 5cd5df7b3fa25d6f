package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/egress/egresstest"
)

// merchant is a host that hangs up on whoever comes, until it is well.
type merchant struct {
	*httptest.Server
	well  atomic.Bool
	asked atomic.Int32
}

func newMerchant(t *testing.T) *merchant {
	m := &merchant{}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.asked.Add(1)
		if r.URL.Path == "/500" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		if !m.well.Load() {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(m.Close)
	return m
}

// named reaches every name at loopback, on a clock of the test's.
func named(t *testing.T) (*Client, *clock.Manual, func(host, url string) string) {
	clk := clock.NewManual(time.Unix(1_800_000_000, 0))
	c := at(t, func(s *settings) {
		s.clk = clk
		s.resolver = egresstest.Resolver(t, func(string) []string { return []string{"127.0.0.1"} })
	})
	return c, clk, func(host, url string) string { return strings.Replace(url, "127.0.0.1", host, 1) }
}

func TestF8_AHostThatDoesNotAnswerIsLeftAloneForAWhile(t *testing.T) {
	m := newMerchant(t)
	c, clk, to := named(t)
	get := func(url string) error { _, err := c.Send(t.Context(), Request{URL: url}); return err }
	for i := range tripAfter {
		// Another path each time: what is away is the host.
		if err := get(to("shop.example", m.URL) + fmt.Sprint("/", i)); err == nil || errors.Is(err, ErrUnreachable) {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	for _, host := range []string{"shop.example", "SHOP.example", "shop.example."} {
		if err := get(to(host, m.URL)); !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if n := m.asked.Load(); n != tripAfter {
		t.Errorf("asked %d times, want %d", n, tripAfter)
	}
	// The neighbour on the same address, and the same host once its time is over.
	if err := get(to("neighbour.example", m.URL)); errors.Is(err, ErrUnreachable) {
		t.Errorf("another host: %v", err)
	}
	clk.Advance(openFor)
	if err := get(to("shop.example", m.URL)); err == nil || errors.Is(err, ErrUnreachable) {
		t.Errorf("the probe: %v", err)
	}
	if err := get(to("shop.example", m.URL)); !errors.Is(err, ErrUnreachable) {
		t.Errorf("behind a probe that failed: %v", err)
	}
	clk.Advance(openFor)
	m.well.Store(true)
	for i := range 3 {
		if err := get(to("shop.example", m.URL)); err != nil {
			t.Errorf("well again, request %d: %v", i, err)
		}
	}
	m.well.Store(false)
	for i := range tripAfter { // it counts from the start
		if err := get(to("shop.example", m.URL)); errors.Is(err, ErrUnreachable) {
			t.Errorf("failure %d after it was well: %v", i, err)
		}
	}
}

// Whoever may name one port of a host must not be able to shut the others.
func TestF8_SilenceAtOnePortShutsNoOther(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := "http://" + l.Addr().String()
	l.Close()
	m := newMerchant(t)
	m.well.Store(true)
	c, _, to := named(t)
	get := func(url string) error { _, err := c.Send(t.Context(), Request{URL: url}); return err }
	for range tripAfter {
		if err := get(to("shop.example", silent)); err == nil || errors.Is(err, ErrUnreachable) {
			t.Fatal(err)
		}
	}
	if err := get(to("shop.example", silent)); !errors.Is(err, ErrUnreachable) {
		t.Errorf("the silent port: %v", err)
	}
	if err := get(to("shop.example", m.URL)); err != nil {
		t.Errorf("another port of the host: %v", err)
	}
	for address, place := range map[string]string{"https://A.example./x": "a.example:443", "https://a.example:443/": "a.example:443", "http://a.example": "a.example:80", "https://[2001:DB8::1]:8443/": "[2001:db8::1]:8443"} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if got := placeOf(u); got != place {
			t.Errorf("%s is %s, want %s", address, got, place)
		}
	}
}

func TestF8_OneRequestAtATimeProbesAHost(t *testing.T) {
	c, clk, _ := named(t)
	for range tripAfter {
		done, err := c.breaker.enter("a.example")
		if err != nil {
			t.Fatal(err)
		}
		done(silent)
	}
	for range 3 {
		clk.Advance(openFor)
		var let atomic.Int32
		var probe func(outcome)
		var all sync.WaitGroup
		for range 32 {
			all.Go(func() {
				if done, err := c.breaker.enter("a.example"); err == nil {
					let.Add(1)
					probe = done
				}
			})
		}
		all.Wait()
		if let.Load() != 1 {
			t.Fatalf("%d probes at once", let.Load())
		}
		probe(silent)
	}
	clk.Advance(openFor)
	done, err := c.breaker.enter("a.example")
	if err != nil {
		t.Fatal(err)
	}
	done(unknown) // the caller gave up: the next may probe
	if done, err = c.breaker.enter("a.example"); err != nil {
		t.Fatal(err)
	}
	done(answered)
	if len(c.breaker.hosts) != 0 {
		t.Errorf("%d hosts are remembered", len(c.breaker.hosts))
	}
}

func TestF8_OnlySilenceCounts(t *testing.T) {
	m := newMerchant(t)
	c, _, to := named(t)
	send := func(ctx context.Context, url string) error { _, err := c.Send(ctx, Request{URL: url}); return err }
	for range 3 * tripAfter {
		if err := send(t.Context(), to("500.example", m.URL)+"/500"); err != nil {
			t.Fatalf("a host that answers 500 is there: %v", err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := send(gone, to("left.example", m.URL)); errors.Is(err, ErrUnreachable) {
			t.Fatalf("a caller that left: %v", err)
		}
		if err := send(t.Context(), "https://10.0.0.1/"); errors.Is(err, ErrUnreachable) {
			t.Fatalf("an address that is never asked: %v", err)
		}
		if err := send(t.Context(), to("user:pw@left.example", m.URL)); errors.Is(err, ErrUnreachable) {
			t.Fatal(err)
		}
	}
	if len(c.breaker.hosts) != 0 {
		t.Errorf("%d hosts are remembered", len(c.breaker.hosts))
	}
	// One that answers now and then is not shut.
	for range tripAfter {
		for range tripAfter - 1 {
			_ = send(t.Context(), to("ill.example", m.URL))
		}
		if err := send(t.Context(), to("ill.example", m.URL)+"/500"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestF8_TheTableIsBounded(t *testing.T) {
	c, clk, _ := named(t)
	fall := func(name string, times int) {
		for range times {
			if done, err := c.breaker.enter(name); err == nil {
				done(silent)
			}
		}
	}
	for i := range maxHosts + 100 {
		clk.Advance(time.Millisecond)
		fall(fmt.Sprintf("h%d.example", i), 1)
		if i == 150 {
			fall("recent.example", tripAfter)
		}
	}
	if n := len(c.breaker.hosts); n != maxHosts {
		t.Errorf("%d hosts are remembered, want %d", n, maxHosts)
	}
	if _, err := c.breaker.enter("recent.example"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("a host that fell silent lately was forgotten before older ones: %v", err)
	}
}

// Many at once, with -race: the table agrees with what happened.
func TestF8_TheBreakerUnderACrowd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + l.Addr().String()
	l.Close()
	m := newMerchant(t)
	m.well.Store(true)
	c, _, to := named(t)
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			if _, err := c.Send(t.Context(), Request{URL: to("gone.example", gone)}); err == nil {
				t.Error("nobody listens there")
			}
			if _, err := c.Send(t.Context(), Request{URL: to(fmt.Sprintf("well%d.example", i%4), m.URL)}); err != nil {
				t.Errorf("a neighbour: %v", err)
			}
		})
	}
	all.Wait()
	if _, err := c.breaker.enter(strings.Replace(l.Addr().String(), "127.0.0.1", "gone.example", 1)); !errors.Is(err, ErrUnreachable) || len(c.breaker.hosts) != 1 {
		t.Errorf("%v, %d hosts", err, len(c.breaker.hosts))
	}
}
