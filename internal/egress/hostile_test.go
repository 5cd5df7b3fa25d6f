package egress

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mobileid/internal/egress/egresstest"
)

// raw is a server that does what it likes with each request until the other
// side goes away; it counts the bytes it could send.
func raw(t *testing.T, serve func(c net.Conn)) (url string, sent *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	sent = &atomic.Int64{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil { // an answer before it would be none
					serve(counted{c, sent})
				}
			}()
		}
	}()
	return "http://" + l.Addr().String(), sent
}

type counted struct {
	net.Conn
	sent *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// forever writes text until the connection ends, each time after a pause.
func forever(c net.Conn, text string, pause time.Duration) {
	for {
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
		time.Sleep(pause)
	}
}

func TestF4_AnAnswerIsCutInSizeAndTime(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	zeros := make([]byte, 1<<20)
	for range 64 {
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	z.Close()
	const ok = "HTTP/1.1 200 OK\r\n"
	drip := 20 * time.Millisecond
	type want struct {
		bytes int  // of the body that is returned
		slow  bool // ended by the time limit
		fails bool
	}
	for name, tc := range map[string]struct {
		serve func(net.Conn)
		want  want
	}{
		"10 GB, announced": {func(c net.Conn) {
			io.WriteString(c, ok+"Content-Length: 10737418240\r\n\r\n")
			forever(c, strings.Repeat("x", 64<<10), 0)
		}, want{bytes: maxReply}},
		"10 GB, in chunks": {func(c net.Conn) {
			io.WriteString(c, ok+"Transfer-Encoding: chunked\r\n\r\n")
			forever(c, "10000\r\n"+strings.Repeat("x", 1<<16)+"\r\n", 0)
		}, want{bytes: maxReply}},
		"10 GB, until the end": {func(c net.Conn) {
			io.WriteString(c, ok+"\r\n")
			forever(c, strings.Repeat("x", 64<<10), 0)
		}, want{bytes: maxReply}},
		"a gzip bomb stays packed": {func(c net.Conn) {
			fmt.Fprintf(c, "%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", ok, bomb.Len(), bomb.String())
		}, want{bytes: min(bomb.Len(), maxReply)}},
		"a byte at a time": {func(c net.Conn) {
			io.WriteString(c, ok+"Content-Length: 60000\r\n\r\n")
			forever(c, "x", drip)
		}, want{slow: true}},
		"a header a byte at a time": {func(c net.Conn) {
			io.WriteString(c, ok+"X: ")
			forever(c, "x", drip)
		}, want{slow: true}},
		"interim answers without end": {func(c net.Conn) { forever(c, "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", 0) }, want{fails: true}},
		"nothing at all":              {func(c net.Conn) { io.Copy(io.Discard, c) }, want{slow: true}},
		"10 000 headers": {func(c net.Conn) {
			io.WriteString(c, ok)
			for i := range 10_000 {
				fmt.Fprintf(c, "X-%d: y\r\n", i)
			}
			io.WriteString(c, "Content-Length: 0\r\n\r\n")
		}, want{fails: true}},
		"a header without end":   {func(c net.Conn) { io.WriteString(c, ok+"X: "); forever(c, strings.Repeat("x", 4096), 0) }, want{fails: true}},
		"a chunk size that lies": {func(c net.Conn) { io.WriteString(c, ok+"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n") }, want{fails: true}},
		"an extension to a chunk": {func(c net.Conn) {
			io.WriteString(c, ok+"Transfer-Encoding: chunked\r\n\r\n1;")
			forever(c, "xxxxxxxx", 0)
		}, want{fails: true}},
		"not HTTP": {func(c net.Conn) { io.WriteString(c, "SSH-2.0-x\r\n"); forever(c, "x", drip) }, want{fails: true}},
		"hangs up": {func(net.Conn) {}, want{fails: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to, sent := raw(t, tc.serve)
			c := at(t, func(s *settings) {
				if tc.want.slow {
					s.wait = time.Second
				}
			})
			a, err := c.Send(t.Context(), Request{URL: to})
			switch {
			case (tc.want.slow || tc.want.fails) && err == nil:
				t.Errorf("taken as %d with %d bytes", a.Status, len(a.Body))
			case !tc.want.slow && !tc.want.fails && (err != nil || len(a.Body) != tc.want.bytes):
				t.Errorf("%d bytes, %v; want %d", len(a.Body), err, tc.want.bytes)
			}
			// What is beyond the limit was in the machine's buffers.
			if n := sent.Load(); n > 32<<20 {
				t.Errorf("%d bytes were taken from it", n)
			}
		})
	}
	t.Run("the limits are those of the production client", func(t *testing.T) {
		if c := New(nil, nil); c.http.Timeout != 5*time.Second || maxReply != 64<<10 {
			t.Errorf("%s, %d", c.http.Timeout, maxReply)
		}
	})
}

func TestF4_ATLSHandshakeAndANameHaveNoLonger(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes the connection, and nobody reads it
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	short := func(s *settings) { s.wait = 300 * time.Millisecond }
	_, err = at(t, short).Send(t.Context(), Request{URL: "https://" + l.Addr().String()})
	if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
		t.Errorf("a handshake that does not begin: %v", err)
	}
	hang := make(chan struct{})
	defer close(hang)
	c := at(t, func(s *settings) {
		short(s)
		s.resolver = egresstest.Resolver(t, func(string) []string { <-hang; return nil })
	})
	_, err = c.Send(t.Context(), Request{URL: "https://slow.example/"})
	if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
		t.Errorf("a name that is not looked up: %v", err)
	}
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, cert: &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test Root"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}}
	pair := a.issue(a.cert)
	a.key = pair.PrivateKey.(*ecdsa.PrivateKey)
	a.cert = pair.Leaf
	return a
}

// issue signs the template; the first one signs itself.
func (a *authority) issue(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	by := a.key
	if by == nil {
		by = key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: leaf}
}

func TestF6_NothingIsSentUnderABadCertificate(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	server := func(change func(*x509.Certificate)) *x509.Certificate {
		c := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"merchant.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		if change != nil {
			change(c)
		}
		return c
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	var calls atomic.Int32
	try := func(conf *tls.Config) error {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
		srv.TLS, srv.Config.ErrorLog = conf, log.New(io.Discard, "", 0)
		srv.StartTLS()
		defer srv.Close()
		c := at(t, func(s *settings) {
			s.roots = roots
			s.resolver = egresstest.Resolver(t, func(string) []string { return []string{"127.0.0.1"} })
		})
		_, err := c.Send(t.Context(), Request{Method: http.MethodPost, URL: strings.Replace(srv.URL, "127.0.0.1", "merchant.example", 1), Body: []byte("secret")})
		return err
	}
	with := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	for name, conf := range map[string]*tls.Config{
		"expired":          with(ca.issue(server(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }))),
		"of tomorrow":      with(ca.issue(server(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }))),
		"for another host": with(ca.issue(server(func(c *x509.Certificate) { c.DNSNames = []string{"evil.example", "example", "*.merchant.example"} }))),
		"for no host but in its common name": with(ca.issue(server(func(c *x509.Certificate) {
			c.DNSNames, c.Subject = nil, pkix.Name{CommonName: "merchant.example"}
		}))),
		"for clients": with(ca.issue(server(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}))),
		"of an unknown authority": with(stranger.issue(server(nil))),
		"self-signed":             with((&authority{t: t, cert: server(nil)}).issue(server(nil))),
		"TLS 1.0":                 {Certificates: []tls.Certificate{ca.issue(server(nil))}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10},
		"TLS 1.1":                 {Certificates: []tls.Certificate{ca.issue(server(nil))}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
	} {
		if err := try(conf); err == nil || calls.Load() != 0 {
			t.Errorf("%s: %v, %d requests were sent", name, err, calls.Load())
		}
	}
	if err := try(with(ca.issue(server(nil)))); err != nil || calls.Load() != 1 {
		t.Errorf("a good one: %v, %d requests", err, calls.Load())
	}
}

func TestF4_TheLimitsHoldForHTTP2(t *testing.T) {
	ca := newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("%s", r.Proto)
		}
		if r.URL.Path == "/headers" {
			for i := range 10_000 {
				w.Header().Set(fmt.Sprint("X-", i), "y")
			}
			return
		}
		for range 10_000 {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
		t.Error("640 MB were taken")
	}))
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(&x509.Certificate{SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour)})}}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	c := at(t, func(s *settings) { s.roots = roots })
	if a, err := c.Send(t.Context(), Request{URL: srv.URL + "/big"}); err != nil || len(a.Body) != maxReply {
		t.Errorf("%d bytes, %v", len(a.Body), err)
	}
	if a, err := c.Send(t.Context(), Request{URL: srv.URL + "/headers"}); err == nil {
		t.Errorf("%d headers are taken", len(a.Header))
	}
}
