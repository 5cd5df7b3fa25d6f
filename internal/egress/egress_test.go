package egress

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"code.dny.dev/ssrf"
)

func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

func TestF1_NothingButPublicAddressesIsReached(t *testing.T) {
	var calls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer srv.Close()
	port := srv.URL[strings.LastIndex(srv.URL, ":"):]
	c := New(nil)
	for _, to := range []string{
		srv.URL, "http://localhost" + port, "http://0.0.0.0" + port, "http://[::1]" + port, "http://[::ffff:127.0.0.1]" + port, "http://[::]" + port,
		"https://169.254.169.254/", "https://10.0.0.1/", "https://192.168.1.1/", "https://172.16.0.1/", "https://100.64.0.1/", "https://[fc00::1]/", "https://[fe80::1]/",
		"https://127.0.0.1/", "https://[64:ff9b::7f00:1]/", "https://224.0.0.1/",
	} {
		status, _, err := c.Post(t.Context(), to, "text/plain", nil)
		if !errors.Is(err, ssrf.ErrProhibitedIP) && !errors.Is(err, ssrf.ErrProhibitedPort) {
			t.Errorf("%s: %d, %v", to, status, err)
		}
	}
	for _, to := range []string{"file:///etc/passwd", "gopher://a/", "//a/", "a", "https://user:pw@a.example/", "https:///x", "http://a\r\nb/", ""} {
		if _, _, err := c.Post(t.Context(), to, "text/plain", nil); !errors.Is(err, errScheme) {
			t.Errorf("%q: %v", to, err)
		}
	}
	for _, port := range []string{":22", ":80", ":5432", ":6379"} {
		if _, _, err := c.Post(t.Context(), "https://192.0.78.1"+port, "text/plain", nil); !errors.Is(err, ssrf.ErrProhibitedPort) {
			t.Errorf("port %s: %v", port, err)
		}
	}
	if calls.Load() != 0 {
		t.Error("the canary was called")
	}
	if status, _, err := New(loopback()).Post(t.Context(), srv.URL, "text/plain", nil); status != 200 || err != nil || calls.Load() != 1 {
		t.Errorf("what is allowed: %d, %v", status, err)
	}
}

func TestF3_ARedirectIsAnAnswer(t *testing.T) {
	var second atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/second" {
			second.Store(true)
		}
		http.Redirect(w, r, "/second", http.StatusTemporaryRedirect)
	}))
	defer srv.Close()
	if status, _, err := New(loopback()).Post(t.Context(), srv.URL, "text/plain", []byte("x")); status != 307 || err != nil || second.Load() {
		t.Errorf("%d, %v, followed: %t", status, err, second.Load())
	}
}

func TestF4_AnAnswerIsCutInSizeAndTime(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/big":
			for range 100 {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 10_000)); err != nil {
					return
				}
			}
		case "/headers":
			w.Header().Set("X", strings.Repeat("x", 64<<10))
		case "/slow":
			w.WriteHeader(200)
			for range 100 {
				if _, err := w.Write([]byte("x")); err != nil || http.NewResponseController(w).Flush() != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
	}))
	defer srv.Close()
	c := New(loopback())
	if _, reply, err := c.Post(t.Context(), srv.URL+"/big", "text/plain", nil); len(reply) != maxReply || err != nil {
		t.Errorf("%d bytes, %v", len(reply), err)
	}
	if _, _, err := c.Post(t.Context(), srv.URL+"/headers", "text/plain", nil); err == nil {
		t.Error("headers without end are read")
	}
	if testing.Short() {
		return
	}
	start := time.Now()
	if _, _, err := c.Post(t.Context(), srv.URL+"/slow", "text/plain", nil); err == nil || time.Since(start) > wait+time.Second {
		t.Errorf("waited %s, %v", time.Since(start), err)
	}
}

func TestTheEnvironmentNamesNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	if tr := New(nil).http.Transport.(*http.Transport); tr.Proxy != nil {
		t.Error("a proxy is asked")
	}
}

func TestF6_ACertificateMustBeGood(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("called") }))
	defer srv.Close()
	if _, _, err := New(loopback()).Post(t.Context(), srv.URL, "text/plain", []byte("secret")); err == nil {
		t.Error("a self-signed certificate is taken")
	}
}
