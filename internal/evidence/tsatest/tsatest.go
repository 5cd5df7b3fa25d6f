// Package tsatest gives tests a real time-stamping authority.
package tsatest

import (
	"bytes"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Authority is a time-stamping authority (RFC 3161): openssl ts behind HTTP.
type Authority struct {
	*httptest.Server
	Roots    *x509.CertPool
	RootFile string // the same in PEM

	t   testing.TB
	dir string
	mu  sync.Mutex
}

const tsaConfig = `
[req]
distinguished_name = dn
prompt = no
[dn]
CN = Test TSA
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
[leaf]
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[tsa]
default_tsa = here
[here]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
`

func (a *Authority) openssl(args ...string) []byte {
	a.t.Helper()
	cmd := exec.CommandContext(a.t.Context(), "openssl", args...)
	cmd.Dir = a.dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		a.t.Fatalf("openssl %v: %v: %s", args, err, &errs)
	}
	return out
}

// Start starts an authority under a root of its own; the test's end stops it.
func Start(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t, dir: t.TempDir(), Roots: x509.NewCertPool()}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("tsa.cnf", tsaConfig)
	write("serial", "01\n")
	for _, k := range []string{"root", "leaf"} {
		a.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", k+".key")
	}
	a.openssl("req", "-new", "-x509", "-key", "root.key", "-config", "tsa.cnf", "-extensions", "root", "-subj", "/CN=Test Root", "-days", "2", "-out", "root.pem")
	a.openssl("req", "-new", "-key", "leaf.key", "-config", "tsa.cnf", "-out", "leaf.csr")
	a.openssl("x509", "-req", "-in", "leaf.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-extfile", "tsa.cnf", "-extensions", "leaf", "-days", "2", "-out", "leaf.pem")
	a.RootFile = filepath.Join(a.dir, "root.pem")
	root, err := os.ReadFile(a.RootFile)
	if err != nil || !a.Roots.AppendCertsFromPEM(root) {
		t.Fatal(err)
	}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock() // one file for all
		defer a.mu.Unlock()
		query, err := io.ReadAll(r.Body)
		if err == nil {
			err = os.WriteFile(filepath.Join(a.dir, "query"), query, 0o600)
		}
		if err != nil || r.Header.Get("Content-Type") != "application/timestamp-query" {
			http.Error(w, "no query", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/timestamp-reply")
		_, _ = w.Write(a.openssl("ts", "-reply", "-queryfile", "query", "-config", "tsa.cnf", "-section", "here", "-signer", "leaf.pem", "-inkey", "leaf.key", "-chain", "root.pem"))
	}))
	t.Cleanup(a.Close)
	return a
}
