package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"

	"mobileid/sdk"
)

// newPhone is the phone whose whole self is the file at path.
func newPhone(path string, transport http.RoundTripper) *sdk.Phone {
	file := &sdk.File{Path: path}
	return &sdk.Phone{Store: file, Keys: file, HTTP: &http.Client{Timeout: 30 * time.Second, Transport: transport}, Now: time.Now, Rand: rand.Reader,
		Platform: "cli", Model: "Command line phone", Pause: func(try int) { time.Sleep(time.Duration(try) * time.Second) }}
}

// phone is the one that the flags name.
func (f *phoneFlags) phone() (*sdk.Phone, error) {
	transport, err := trusting(f.ca)
	if err != nil {
		return nil, err
	}
	p := newPhone(f.state, transport)
	if err := f.says.check(); err != nil {
		return nil, err
	}
	if f.says.anything() {
		p.Risk = &f.says
	}
	return p, nil
}

// trusting returns a transport that trusts the roots in caFile and no others; ""
// trusts what the system does.
func trusting(caFile string) (http.RoundTripper, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	if caFile == "" {
		return t, nil
	}
	text, err := os.ReadFile(caFile)
	if err != nil {
		return nil, &exit{exitUsage, fmt.Errorf("the certificate authority's file: %w", err)}
	}
	t.TLSClientConfig.RootCAs = x509.NewCertPool()
	if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(text) {
		return nil, &exit{exitUsage, fmt.Errorf("%s holds no certificate in PEM", caFile)}
	}
	return t, nil
}
