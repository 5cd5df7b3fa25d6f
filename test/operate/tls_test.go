package operate_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mobileid/test/program"
)

// secureDemo starts a demo that speaks https on host.
func secureDemo(t *testing.T, dir, host string) *program.Server {
	t.Helper()
	return program.Start(t, binary, dir, "MOBILEID_DEMO__TLS=true", "MOBILEID_DEMO__HOST="+host, "MOBILEID_DEMO__CA_LISTEN=127.0.0.1:0")
}

// root reads the demo's root certificate.
func root(t *testing.T, dir string) (text []byte, cert *x509.Certificate) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "demo-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	return text, cert
}

func TestTheDemoSpeaksHTTPSUnderItsOwnAuthority(t *testing.T) {
	dir := t.TempDir()
	s := secureDemo(t, dir, "127.0.0.1")
	if !strings.HasPrefix(s.Issuer, "https://127.0.0.1:") || !strings.HasPrefix(s.ShopURL, "https://127.0.0.1:") {
		t.Fatalf("issuer %s, shop %s", s.Issuer, s.ShopURL)
	}
	if out, errs, code := s.Run(nil, "smoke", "--data-dir", dir); code != 0 {
		t.Fatalf("smoke: %d\n%s%s\n%s", code, out, errs, s.Log())
	}
	text, ca := root(t, dir)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()

	t.Run("the root can be downloaded and its fingerprint is printed", func(t *testing.T) {
		link := regexp.MustCompile(`http://\S+/demo-ca\.crt`).FindString(s.Log())
		res, err := http.Get(link)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		got, err := io.ReadAll(res.Body)
		if err != nil || string(got) != string(text) || res.Header.Get("Content-Type") != "application/x-x509-ca-cert" {
			t.Errorf("%s gave %s, %q", link, res.Status, got)
		}
		sum := sha256.Sum256(ca.Raw)
		if want := strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":"); !strings.Contains(s.Log(), want) {
			t.Errorf("the fingerprint %s is not printed:\n%s", want, s.Log())
		}
	})
	t.Run("its key is its owner's alone", func(t *testing.T) {
		info, err := os.Stat(filepath.Join(dir, "demo-ca.key"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	})
	t.Run("the root vouches for no other name", func(t *testing.T) {
		if !ca.PermittedDNSDomainsCritical || strings.Join(ca.PermittedDNSDomains, " ") != "localhost" || !ca.MaxPathLenZero {
			t.Errorf("permitted: %v", ca.PermittedDNSDomains)
		}
	})
	t.Run("cookies are __Host- and the browser is told to stay on https", func(t *testing.T) {
		res, err := client.Get(s.Issuer + "/authorize?" + url.Values{"client_id": {s.Shop.ID}, "redirect_uri": {s.ShopURL + "/callback"}, "response_type": {"code"},
			"scope": {"openid"}, "state": {"st4te-st4te"}, "code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"}}.Encode())
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if hsts := res.Header.Get("Strict-Transport-Security"); !strings.HasPrefix(hsts, "max-age=63072000") {
			t.Errorf("HSTS is %q", hsts)
		}
		cookies := res.Cookies()
		if len(cookies) != 1 || cookies[0].Name != "__Host-mid" || !cookies[0].Secure || !cookies[0].HttpOnly || cookies[0].Path != "/" || cookies[0].Domain != "" {
			t.Errorf("%s gave cookies %v", res.Status, cookies)
		}
	})
	t.Run("H9 old versions of TLS are refused", func(t *testing.T) {
		for _, base := range []string{s.Issuer, s.ShopURL} {
			for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
				conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", strings.TrimPrefix(base, "https://"),
					&tls.Config{RootCAs: pool, MinVersion: v, MaxVersion: v})
				if err == nil {
					conn.Close()
					t.Errorf("%s speaks %s", base, tls.VersionName(v))
				}
			}
		}
	})
	t.Run("the command line's phone trusts it when told to, and only then", func(t *testing.T) {
		// A typed locator that nobody gave: the server answers, and refuses.
		args := []string{"phone", "--state", filepath.Join(t.TempDir(), "phone.json"), "register", "--issuer", s.Issuer, "abcdef", "000000", "--pin", "271828"}
		if _, errs, code := s.Run(nil, append(args, "--ca", filepath.Join(dir, "demo-ca.crt"))...); code != 3 {
			t.Errorf("with --ca: %d %s", code, errs)
		}
		if _, errs, code := s.Run(nil, args...); code != 4 || !strings.Contains(errs, "certificate") {
			t.Errorf("without: %d %s", code, errs)
		}
		if _, errs, code := s.Run(nil, append(args, "--ca", filepath.Join(dir, "demo.json"))...); code != 2 {
			t.Errorf("with a file that is no certificate: %d %s", code, errs)
		}
	})
	t.Run("a restart keeps the root, another name makes another", func(t *testing.T) {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		s.Start()
		if again, _ := root(t, dir); string(again) != string(text) {
			t.Error("the restart made another root")
		}
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		s.Env = append(s.Env, "MOBILEID_DEMO__HOST=laptop.test")
		s.Start()
		if again, _ := root(t, dir); string(again) == string(text) {
			t.Error("the old root vouches for another name")
		}
	})
}
