package egress

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/egress/egresstest"

	"code.dny.dev/ssrf"
)

func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// at is a client that reaches loopback, as one that is under test has to.
func at(t *testing.T, more func(*settings)) *Client {
	t.Helper()
	s := settings{allow: loopback(), wait: 5 * time.Second, clk: clock.NewManual(time.Unix(1_800_000_000, 0))}
	if more != nil {
		more(&s)
	}
	c := build(s)
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// canary listens where nobody may come.
func canary(t *testing.T) (port uint16, visits *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", ":0") // every address of this machine
	if err != nil {
		t.Fatal(err)
	}
	visits = &atomic.Int32{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			visits.Add(1)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return uint16(l.Addr().(*net.TCPAddr).Port), visits
}

func TestF1_NothingButPublicAddressesIsReached(t *testing.T) {
	port, visits := canary(t)
	// Every name leads to the canary, and the canary's port is allowed: only the
	// filter of addresses stands in between.
	clk := clock.NewManual(time.Unix(1_800_000_000, 0))
	c := build(settings{ports: []uint16{443, 8443, port}, wait: 5 * time.Second, clk: clk,
		resolver: egresstest.Resolver(t, func(string) []string { return []string{"127.0.0.1", "::1"} })})
	targets := map[string][]string{
		"loopback":            {"127.0.0.1", "127.8.9.1", "[::1]", "localhost", "LOCALHOST", "localhost.", "a.localhost", "localhost.localdomain"},
		"unspecified":         {"0.0.0.0", "0.1.2.3", "[::]", "0", "0x0"},
		"mapped into IPv6":    {"[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:1]", "[::ffff:0:127.0.0.1]", "[::127.0.0.1]"},
		"translated (NAT64)":  {"[64:ff9b::7f00:1]", "[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]"},
		"cloud metadata":      {"169.254.169.254", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "metadata.google.internal", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376"},
		"link-local":          {"169.254.0.1", "[fe80::1]", "[fe80::1%25lo]"},
		"private":             {"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1"},
		"carrier's NAT":       {"100.64.0.1", "100.127.255.255"},
		"unique local":        {"[fc00::1]", "[fd12:3456::1]"},
		"multicast, reserved": {"224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "[ff02::1]", "198.18.0.1", "192.0.0.1"},
		"documentation":       {"192.0.2.1", "198.51.100.1", "203.0.113.1", "[2001:db8::1]"},
		"one number":          {"2130706433", "0x7f000001", "017700000001", "0x7F000001"},
		"old spellings":       {"127.1", "127.0.1", "0177.0.0.1", "0x7f.0.0.1", "0x7f.1", "127.0.0.1.", "127.0.0.01", "00127.0.0.1"},
		"names that lie":      {"127.0.0.1.nip.example", "public.example", "xn--lclhst-9yaa.example", "①②⑦.⓪.⓪.①", "127。0。0。1"},
	}
	for kind, hosts := range targets {
		for _, h := range hosts {
			for _, to := range []string{"https://" + h + "/", "https://" + h + ":8443/x?y", "http://" + h + portSuffix(port)} {
				_, err := c.Send(t.Context(), Request{Method: http.MethodPost, URL: to})
				switch {
				case err == nil:
					t.Errorf("%s: %s is reached", kind, to)
				case errors.Is(err, ErrUnreachable):
					t.Errorf("%s: %s: asked too often to mean anything", kind, to)
				}
				if _, literal := netip.ParseAddr(strings.Trim(h, "[]")); literal == nil && !strings.HasPrefix(to, "http:") && !errors.Is(err, ssrf.ErrProhibitedIP) {
					t.Errorf("%s: %s: %v, want the address refused", kind, to, err)
				}
			}
			clk.Advance(time.Minute)
		}
	}
	for _, p := range []string{":22", ":25", ":80", ":5432", ":6379", ":8080", ":9090", ":0"} {
		if _, err := c.Send(t.Context(), Request{URL: "https://192.0.78.1" + p}); !errors.Is(err, ssrf.ErrProhibitedPort) {
			t.Errorf("port %s: %v", p, err)
		}
	}
	for _, to := range []string{"file:///etc/passwd", "gopher://a/", "ftp://a/", "dict://a:11211/", "javascript:alert(1)", "data:,x", "unix:///run/x", "jar:https://a/", "h2c://a/",
		"//a/", "/a", "a", "https:a", "https:/a", "https:///x", "https://:443/", "", " https://a/",
		"https://user:pw@a.example/", "https://user@a.example/", "https://a.example@127.0.0.1/", "https://@a/", `https://a\@127.0.0.1/`, "https://a:b@c/",
		"http://a\r\nb/", "https://a%0d%0ab/", "https://a%00b/", "https://[::1/", "https://a:99999999/", "https://a b/"} {
		_, err := c.Send(t.Context(), Request{Method: http.MethodPost, URL: to})
		if err == nil || strings.Contains(err.Error(), "pw") {
			t.Errorf("%q: %v", to, err)
		}
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("the canary had %d visits", n)
	}
	// The canary sings if it may.
	open := build(settings{allow: loopback(), wait: 5 * time.Second, clk: clk})
	if _, err := open.Send(t.Context(), Request{URL: "http://127.0.0.1" + portSuffix(port)}); err == nil || visits.Load() != 1 {
		t.Errorf("what is allowed is not reached: %v, %d visits", err, visits.Load())
	}
}

func portSuffix(port uint16) string {
	return strings.TrimPrefix(netip.AddrPortFrom(netip.IPv4Unspecified(), port).String(), "0.0.0.0")
}

func TestF2_WhatANameSaidBeforeDoesNotCount(t *testing.T) {
	port, visits := canary(t)
	var asked atomic.Int32
	resolver := egresstest.Resolver(t, func(string) []string {
		if asked.Add(1) <= 2 { // A and AAAA of the check
			return []string{"192.0.78.1"}
		}
		return []string{"127.0.0.1", "10.0.0.1", "::1"}
	})
	c := build(settings{ports: []uint16{port}, wait: 5 * time.Second, clk: clock.System{}, resolver: resolver})
	first, err := resolver.LookupNetIP(t.Context(), "ip", "rebind.example")
	if err != nil || len(first) != 1 || !first[0].Unmap().IsGlobalUnicast() {
		t.Fatalf("at the check the name is %v, %v", first, err)
	}
	_, err = c.Send(t.Context(), Request{URL: "https://rebind.example" + portSuffix(port)})
	if !errors.Is(err, ssrf.ErrProhibitedIP) || visits.Load() != 0 {
		t.Errorf("at the call: %v, %d visits", err, visits.Load())
	}
}

func TestF3_ARedirectIsAnAnswer(t *testing.T) {
	port, visits := canary(t)
	var second atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/second" {
			second.Add(1)
		}
		code := map[string]int{"/301": 301, "/302": 302, "/303": 303, "/307": 307, "/308": 308}[r.URL.Path]
		to := "/second"
		if r.URL.RawQuery != "" {
			to = "http://127.0.0.1" + portSuffix(port)
		}
		http.Redirect(w, r, to, code)
	}))
	defer srv.Close()
	c := at(t, nil)
	for path, want := range map[string]int{"/301": 301, "/302": 302, "/303": 303, "/307": 307, "/308": 308} {
		for _, query := range []string{"", "?elsewhere"} {
			a, err := c.Send(t.Context(), Request{Method: http.MethodPost, URL: srv.URL + path + query, Body: []byte("x"), Header: http.Header{"Authorization": {"Bearer x"}}})
			if a.Status != want || err != nil || second.Load() != 0 || visits.Load() != 0 {
				t.Errorf("%s%s: %d, %v, followed: %d, %d", path, query, a.Status, err, second.Load(), visits.Load())
			}
		}
	}
}

func TestF5_NothingThatWouldBreakALineIsSent(t *testing.T) {
	var calls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		for name := range r.Header {
			if strings.HasPrefix(name, "Evil") {
				t.Errorf("%s was sent", name)
			}
		}
	}))
	defer srv.Close()
	c := at(t, nil)
	for name, r := range map[string]Request{
		"CRLF in a token":      {Header: http.Header{"Authorization": {"Bearer a\r\nEvil: b"}}},
		"LF in a token":        {Header: http.Header{"Authorization": {"Bearer a\nEvil: b"}}},
		"CR in a value":        {Header: http.Header{"X": {"a\rEvil: b"}}},
		"NUL in a value":       {Header: http.Header{"X": {"a\x00b"}}},
		"CRLF in a name":       {Header: http.Header{"X\r\nEvil": {"b"}}},
		"a space in a name":    {Header: http.Header{"Evil X": {"b"}}},
		"an empty name":        {Header: http.Header{"": {"b"}}},
		"CRLF in the method":   {Method: "GET / HTTP/1.1\r\nEvil: b\r\n"},
		"CRLF in the path":     {URL: srv.URL + "/\r\nEvil: b"},
		"LF in the query":      {URL: srv.URL + "/?a=\nEvil: b"},
		"a tab in the host":    {URL: strings.Replace(srv.URL, "127", "\t127", 1)},
		"CRLF behind the port": {URL: srv.URL + "\r\nEvil: b"},
	} {
		if r.URL == "" {
			r.URL = srv.URL
		}
		_, err := c.Send(t.Context(), r)
		if err == nil || strings.Contains(err.Error(), "Evil") || strings.Contains(err.Error(), "Bearer") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if calls.Load() != 0 {
		t.Errorf("%d were sent", calls.Load())
	}
	// Encoded they are letters like others.
	if a, err := c.Send(t.Context(), Request{URL: srv.URL + "/%0d%0aEvil:%20b"}); err != nil || a.Status != 200 {
		t.Errorf("encoded: %d, %v", a.Status, err)
	}
}

func TestF12_TheEnvironmentNamesNoProxy(t *testing.T) {
	port, visits := canary(t)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		t.Setenv(name, "http://127.0.0.1"+portSuffix(port))
	}
	t.Setenv("NO_PROXY", "")
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	// net/http itself never uses a proxy for loopback, so the name must be another.
	c := at(t, func(s *settings) {
		s.resolver = egresstest.Resolver(t, func(string) []string { return []string{"127.0.0.1"} })
	})
	a, err := c.Send(t.Context(), Request{URL: strings.Replace(srv.URL, "127.0.0.1", "merchant.example", 1)})
	if err != nil || a.Status != 200 || visits.Load() != 0 {
		t.Errorf("%d, %v; the proxy had %d visits", a.Status, err, visits.Load())
	}
	if tr := New(nil, clock.System{}).http.Transport.(*http.Transport); tr.Proxy != nil {
		t.Error("a proxy is asked")
	}
}
