package node

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"mobileid/internal/clock"
)

// statEvery is how often, at most, a handshake looks whether the certificate's
// files have changed.
const statEvery = time.Second

// TLSConfig is what the server speaks over a certificate that get returns: TLS
// 1.2 with forward secrecy and authenticated encryption only, or 1.3. Sessions
// are resumed by tickets, whose keys the TLS library rotates daily: a phone that
// comes back saves the signature.
func TLSConfig(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		GetCertificate: get,
		MinVersion:     tls.VersionTLS12,
		// Of TLS 1.2; those of 1.3 are all good and cannot be chosen.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
}

// Certificate is the public listener's, read again when its files change.
// Safe for concurrent use.
type Certificate struct {
	certFile, keyFile string
	clk               clock.Clock
	log               *slog.Logger

	mu      sync.Mutex
	cert    *tls.Certificate
	read    stamp  // of the files that cert came from
	refused string // why the files cannot be used that came after; said once
	looked  time.Time
}

// stamp tells one state of the two files from another.
type stamp struct {
	cert, key         time.Time
	certSize, keySize int64
}

// LoadCertificate reads the files. That they cannot be used is an error now;
// later the old certificate stays and the log says so.
func LoadCertificate(certFile, keyFile string, clk clock.Clock, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, clk: clk, log: log}
	now, err := c.stat()
	if err != nil {
		return nil, err
	}
	if c.cert, err = c.load(); err != nil {
		return nil, err
	}
	c.read, c.looked = now, clk.Now()
	return c, nil
}

func (c *Certificate) stat() (s stamp, err error) {
	cert, cerr := os.Stat(c.certFile)
	key, kerr := os.Stat(c.keyFile)
	if err := errors.Join(cerr, kerr); err != nil {
		return s, fmt.Errorf("tls: %w", err)
	}
	if key.Mode().Perm()&0o007 != 0 {
		return s, fmt.Errorf("tls: %s can be read by everybody: make it mode 0600, or 0640 for a group", c.keyFile)
	}
	return stamp{cert.ModTime(), key.ModTime(), cert.Size(), key.Size()}, nil
}

func (c *Certificate) load() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return nil, fmt.Errorf("tls: %s and %s: %w", c.certFile, c.keyFile, err)
	}
	return &pair, nil
}

// Get is for tls.Config.GetCertificate.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.clk.Now(); now.Sub(c.looked) >= statEvery {
		c.looked = now
		c.refresh()
	}
	return c.cert, nil
}

// refresh takes new files up. Whoever renews writes one after the other: between
// the two they do not fit together, which the next look will find mended.
func (c *Certificate) refresh() {
	now, err := c.stat()
	if err == nil && now == c.read {
		return
	}
	var pair *tls.Certificate
	if err == nil {
		pair, err = c.load()
	}
	if err != nil {
		if why := err.Error(); why != c.refused {
			c.log.Warn("the new certificate cannot be used; the old one stays", "error", err)
			c.refused = why
		}
		return
	}
	c.cert, c.read, c.refused = pair, now, ""
	c.log.Info("new certificate", "subject", pair.Leaf.Subject.String(), "until", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
}

// NotAfter is when the certificate in use ends.
func (c *Certificate) NotAfter() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cert.Leaf.NotAfter
}
