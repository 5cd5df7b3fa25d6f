package node

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mobileid/config"
	"mobileid/internal/clock"
)

// writePair writes a self-signed certificate of the name for key to dir.
func writePair(t *testing.T, dir, name string, key crypto.Signer) (certFile, keyFile string) {
	t.Helper()
	tpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, certFile, "CERTIFICATE", der)
	writePEM(t, keyFile, "PRIVATE KEY", pkcs8)
	return certFile, keyFile
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func ecKey(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// speak serves TLS as the public listener does, until the test ends.
func speak(t *testing.T, c *Certificate) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := (&Node{Log: slog.New(slog.DiscardHandler)}).server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto)
	}))
	s.TLSConfig = TLSConfig(c.Get)
	go s.ServeTLS(l, "", "")
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

func handshake(addr string, c *tls.Config) (tls.ConnectionState, error) {
	c.InsecureSkipVerify = true // the certificate is not what is tried here
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", addr, c)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	// The tickets of TLS 1.3 come behind the handshake.
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")); err != nil {
		return tls.ConnectionState{}, err
	}
	_, err = io.Copy(io.Discard, conn)
	return conn.ConnectionState(), err
}

func TestH9OldVersionsAndWeakSuitesAreRefused(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []struct {
		name string
		key  crypto.Signer
	}{{"ECDSA", ecKey(t)}, {"RSA", rsaKey}} {
		certFile, keyFile := writePair(t, t.TempDir(), "localhost", key.key)
		c, err := LoadCertificate(certFile, keyFile, clock.System{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		addr := speak(t, c)
		good := map[uint16]bool{}
		for _, id := range TLSConfig(nil).CipherSuites {
			good[id] = true
		}
		for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
			if s, err := handshake(addr, &tls.Config{MinVersion: v, MaxVersion: v}); err == nil {
				t.Errorf("%s: %s is spoken", key.name, tls.VersionName(s.Version))
			}
		}
		// Every suite of TLS 1.2 that the library has, one at a time.
		for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			if suite.SupportedVersions[0] == tls.VersionTLS13 {
				continue
			}
			want := good[suite.ID] && strings.Contains(suite.Name, key.name)
			_, err := handshake(addr, &tls.Config{MaxVersion: tls.VersionTLS12, MinVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}})
			if (err == nil) != want {
				t.Errorf("%s: %s: %v, want spoken %v", key.name, suite.Name, err, want)
			}
			if want && (!strings.Contains(suite.Name, "ECDHE") || !strings.Contains(suite.Name, "GCM") && !strings.Contains(suite.Name, "POLY1305")) {
				t.Errorf("%s is on the list", suite.Name)
			}
		}
		if s, err := handshake(addr, &tls.Config{}); err != nil || s.Version != tls.VersionTLS13 {
			t.Errorf("%s: TLS 1.3 is not spoken: %v", key.name, err)
		}
		conn, err := tls.Dial("tcp", addr, &tls.Config{NextProtos: []string{"h2"}, InsecureSkipVerify: true})
		if err != nil || conn.ConnectionState().NegotiatedProtocol != "h2" {
			t.Fatalf("%s: HTTP/2 is not spoken: %v", key.name, err)
		}
		conn.Close()
	}
}

func TestASessionIsResumed(t *testing.T) {
	certFile, keyFile := writePair(t, t.TempDir(), "localhost", ecKey(t))
	c, err := LoadCertificate(certFile, keyFile, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	addr := speak(t, c)
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := &tls.Config{MaxVersion: v, ClientSessionCache: tls.NewLRUClientSessionCache(1), ServerName: "localhost"}
		for i, want := range []bool{false, true} {
			if s, err := handshake(addr, client); err != nil || s.DidResume != want {
				t.Errorf("%s, connection %d: resumed %v, %v", tls.VersionName(v), i+1, s.DidResume, err)
			}
		}
	}
}

func TestANewCertificateIsTakenUpWithoutARestart(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := writePair(t, dir, "one", ecKey(t))
	clk := clock.NewManual(time.Now())
	var log strings.Builder
	c, err := LoadCertificate(certFile, keyFile, clk, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	serves := func() string {
		clk.Advance(statEvery)
		cert, err := c.Get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.Subject.CommonName
	}
	if got := serves(); got != "one" {
		t.Fatalf("serves %q", got)
	}
	old, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	writePair(t, dir, "two", ecKey(t))
	next, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	put := func(key []byte, mode os.FileMode) {
		if err := os.WriteFile(keyFile, key, 0o600); err != nil {
			t.Fatal(err)
		}
		later := time.Now().Add(time.Duration(len(log.String())+1) * time.Second) // another stamp, however fast this runs
		if err := os.Chmod(keyFile, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(keyFile, later, later); err != nil {
			t.Fatal(err)
		}
	}
	put(old, 0o600) // the renewal has written the certificate, not yet its key
	if got := serves(); got != "one" {
		t.Errorf("with files that do not fit together it serves %q", got)
	}
	serves()
	if n := strings.Count(log.String(), "the old one stays"); n != 1 {
		t.Errorf("the log says it %d times:\n%s", n, log.String())
	}
	put(next, 0o604)
	if got := serves(); got != "one" {
		t.Errorf("with a key that everybody can read it serves %q", got)
	}
	put(next, 0o600)
	if got := serves(); got != "two" {
		t.Errorf("with the new pair it serves %q\n%s", got, log.String())
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	if got := serves(); got != "two" {
		t.Errorf("without a file it serves %q", got)
	}
}

func TestACertificateThatCannotBeUsedStopsTheStart(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := writePair(t, dir, "one", ecKey(t))
	if err := os.Chmod(keyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, cert, key, want string }{
		{"a key that everybody can read", certFile, keyFile, "can be read by everybody"},
		{"no such file", filepath.Join(dir, "none.pem"), keyFile, "no such file"},
		{"no PEM", certFile, "tls.go", ""},
	} {
		if _, err := LoadCertificate(tc.cert, tc.key, clock.System{}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestCheckLooksAtTheCertificate(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := writePair(t, dir, "one", ecKey(t))
	cfg := &config.Config{DataDir: dir, TLS: config.TLS{Cert: certFile, Key: keyFile}}
	cfg.DB.URL = config.StoreURL("sqlite:" + filepath.Join(dir, "none.db"))
	if report, err := Check(t.Context(), cfg); err != nil || !strings.Contains(report, "certificate: ok until 20") {
		t.Errorf("%q, %v", report, err)
	}
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(t.Context(), cfg); err == nil {
		t.Error("a key that is not there is no fault")
	}
}
