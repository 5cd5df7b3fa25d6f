package provider

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/kv/kvtest"
)

// blank takes an answer and keeps its status.
type blank struct {
	header http.Header
	status int
}

func (b *blank) Header() http.Header         { return b.header }
func (b *blank) Write(p []byte) (int, error) { return len(p), nil }
func (b *blank) WriteHeader(status int)      { b.status = status }

func benchHouse(b *testing.B) *house {
	h := &house{t: b}
	h.open(kvtest.SQLite(b, clock.System{}), clock.System{})
	return h
}

func serve(b *testing.B, handler http.HandlerFunc, r *http.Request) {
	w := &blank{header: http.Header{}}
	handler(w, r)
	if w.status != 0 && w.status != http.StatusOK {
		b.Errorf("status %d", w.status)
	}
}

// measure sends b.N requests, made beforehand, from 16 connections, and reports the whole process's CPU time for one: its stores included.
func measure(b *testing.B, handler http.HandlerFunc, request func() *http.Request) {
	all := make([]*http.Request, b.N)
	for i := range all {
		all[i] = request()
	}
	b.ReportAllocs()
	before := cpu(b)
	b.ResetTimer()
	var next atomic.Int64
	var connections sync.WaitGroup
	for range 16 {
		connections.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				serve(b, handler, all[i-1])
			}
		})
	}
	connections.Wait()
	b.StopTimer()
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/1000/float64(b.N), "cpu-us/op")
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkClientCredentials is one token request in process, with its write to
// the embedded store.
func BenchmarkClientCredentials(b *testing.B) {
	h := benchHouse(b)
	v := form("grant_type", grantClient)
	measure(b, h.p.Token, func() *http.Request { return h.as("cli_web", "/token", v) })
}

// BenchmarkCode is one redemption: the code read, the grant made durable, the
// ID token signed, the access token stored.
func BenchmarkCode(b *testing.B) {
	h := benchHouse(b)
	measure(b, h.p.Token, func() *http.Request {
		return h.as("cli_web", "/token", form("grant_type", grantCode, "code", h.code(), "redirect_uri", "https://shop.example.com/cb", "code_verifier", verifier))
	})
}

// BenchmarkAuthorize is one authorize request that is answered at once.
func BenchmarkAuthorize(b *testing.B) {
	h := benchHouse(b)
	q := request().Encode()
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodGet, issuer+"/authorize?"+q, nil)
		req, err := h.p.ParseAuthorize(r.Context(), r)
		if err == nil {
			err = h.p.FinishAuthorize(&blank{header: http.Header{}}, r, req, h.login())
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUserinfo is one userinfo request for openid alone.
func BenchmarkUserinfo(b *testing.B) {
	h := benchHouse(b)
	token := h.redeem(h.code("scope", "openid")).str("access_token")
	measure(b, h.p.Userinfo, func() *http.Request {
		r := httptest.NewRequest(http.MethodGet, issuer+"/userinfo", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		return r
	})
}

// BenchmarkRefresh is one rotation.
func BenchmarkRefresh(b *testing.B) {
	h := benchHouse(b)
	token := h.tokens().str("refresh_token")
	b.ReportAllocs()
	for b.Loop() {
		res := h.use(token)
		if token = res.str("refresh_token"); token == "" {
			b.Fatal(res.text)
		}
	}
}
