package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	caCertName = "demo-ca.crt"
	caKeyName  = "demo-ca.key"
	caPath     = "/" + caCertName
	caLife     = 3 * 365 * 24 * time.Hour
	leafLife   = 397 * 24 * time.Hour // phones refuse longer ones
)

// demoCA is the certificate authority of a demo on the local network. Whoever
// wants to use a phone installs its root there; so the root can vouch for this
// machine's name and for private addresses only, and its key stays in the data
// folder, mode 0600.
type demoCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	file string // of the root, for --ca
}

// openCA loads the authority from dir. It makes one if there is none that can
// vouch for host.
func openCA(dir, host string) (*demoCA, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	ca, err := loadCA(dir)
	if err == nil {
		if leaf, lerr := ca.leaf(host); lerr == nil && ca.vouches(leaf.Leaf, host) {
			return ca, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return makeCA(dir, host)
}

func loadCA(dir string) (*demoCA, error) {
	certFile, keyFile := filepath.Join(dir, caCertName), filepath.Join(dir, caKeyName)
	for _, f := range []string{certFile, keyFile} {
		if _, err := os.Stat(f); err != nil {
			return nil, err
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (delete both files to have new ones made)", certFile, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: not a key of the demo's", keyFile)
	}
	text, err := os.ReadFile(certFile)
	return &demoCA{cert: pair.Leaf, key: key, pem: text, file: certFile}, err
}

func makeCA(dir, host string) (*demoCA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tpl := template("MobileID demo on "+host, caLife)
	tpl.IsCA, tpl.BasicConstraintsValid, tpl.MaxPathLenZero = true, true, true
	tpl.KeyUsage = x509.KeyUsageCertSign
	tpl.PermittedDNSDomainsCritical = true
	tpl.PermittedDNSDomains = []string{"localhost"}
	for _, n := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "fc00::/7", "fe80::/10", "::1/128"} {
		_, network, err := net.ParseCIDR(n)
		if err != nil {
			return nil, err
		}
		tpl.PermittedIPRanges = append(tpl.PermittedIPRanges, network)
	}
	if ip := net.ParseIP(host); ip == nil {
		tpl.PermittedDNSDomains = append(tpl.PermittedDNSDomains, host)
	} else if !local(ip) {
		bits := 8 * len(short(ip))
		tpl.PermittedIPRanges = append(tpl.PermittedIPRanges, &net.IPNet{IP: short(ip), Mask: net.CIDRMask(bits, bits)})
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	ca := &demoCA{key: key, file: filepath.Join(dir, caCertName), pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	// The key first: a certificate without its key would be in the way.
	err = replace(filepath.Join(dir, caKeyName), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	if err == nil {
		err = replace(ca.file, ca.pem)
	}
	return ca, err
}

// local reports whether every demo's authority may vouch for ip.
func local(ip net.IP) bool {
	addr, ok := netip.AddrFromSlice(short(ip))
	return ok && (addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast())
}

func short(ip net.IP) net.IP {
	if v4 := ip.To4(); v4 != nil {
		return v4
	}
	return ip
}

func template(name string, life time.Duration) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // the system's randomness never fails
	}
	now := time.Now()
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(life)}
}

// leaf makes a certificate for host and for every address of this machine on
// its own network. It lives in memory: each start makes another.
func (ca *demoCA) leaf(host string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tpl := template(host, leafLife)
	tpl.KeyUsage, tpl.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	tpl.DNSNames = []string{"localhost"}
	if ip := net.ParseIP(host); ip != nil {
		tpl.IPAddresses = append(tpl.IPAddresses, ip)
	} else if host != "localhost" {
		tpl.DNSNames = append(tpl.DNSNames, host)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && local(n.IP) {
			tpl.IPAddresses = append(tpl.IPAddresses, n.IP)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: parsed}, err
}

// vouches reports whether who trusts the root, now and for the leaf's life,
// believes that leaf is host.
func (ca *demoCA) vouches(leaf *x509.Certificate, host string) bool {
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	if net.ParseIP(host) != nil {
		host = "[" + host + "]"
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: leaf.NotAfter})
	return err == nil
}

// fingerprint is what phones and browsers show of the root.
func (ca *demoCA) fingerprint() string {
	sum := sha256.Sum256(ca.cert.Raw)
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}

// ServeHTTP gives the root away. Plain http can be read and changed on the way:
// the fingerprint, which the demo prints, tells.
func (ca *demoCA) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != caPath || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "the certificate is at "+caPath, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/x-x509-ca-cert")
	w.Header().Set("Content-Disposition", `attachment; filename="`+caCertName+`"`)
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(ca.pem) // who hung up does not want it
}
