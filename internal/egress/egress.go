// Package egress is the one way out: every request to an address that somebody
// else chose goes through its client, which reaches public addresses only,
// follows no redirect, and reads and waits no longer than it must.
package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

const (
	wait     = 5 * time.Second // for everything, from the name's look-up to the last byte
	maxReply = 64 << 10
	maxHead  = 16 << 10
)

// Client sends requests out. Safe for concurrent use.
type Client struct {
	http *http.Client
}

// New makes a client. It connects to public addresses at the ports of https
// (443, 8443), and to whatever is in allow: the operator's own networks. What
// counts is the address at the moment of dialling, whatever its name said before.
func New(allow []netip.Prefix) *Client {
	public := ssrf.New(ssrf.WithPorts(443, 8443))
	check := func(network, address string, c syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("egress: %w", err)
		}
		for _, p := range allow {
			if p.Contains(to.Addr().Unmap().WithZone("")) {
				return nil
			}
		}
		return public.Safe(network, address, c)
	}
	dialer := &net.Dialer{Timeout: wait, Control: check}
	return &Client{&http.Client{
		Timeout: wait,
		Transport: &http.Transport{ // no Proxy: the environment does not decide where we go
			DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: wait,
			MaxResponseHeaderBytes: maxHead, DisableCompression: true, ForceAttemptHTTP2: true,
			MaxIdleConns: 64, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// errScheme refuses what is neither https nor http.
var errScheme = errors.New("egress: the address must be https or http")

// Request is what Send sends.
type Request struct {
	Method string
	URL    string
	Header http.Header
	Body   []byte
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // the first 64 KiB
}

// Send sends the request and returns what came back; a redirect or an error status
// is an answer like any other. The error never holds more of the address than its
// host, and nothing of the header.
func (c *Client) Send(ctx context.Context, r Request) (Answer, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		return Answer{}, errScheme
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return Answer{}, errScheme
	}
	req.Header = r.Header.Clone()
	req.Header.Set("User-Agent", "mobileid")
	res, err := c.http.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return Answer{}, fmt.Errorf("egress: %s: %w", u.Host, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return Answer{}, fmt.Errorf("egress: %s: %w", u.Host, err)
	}
	return Answer{res.StatusCode, res.Header, body}, nil
}

// Post sends body to the address.
func (c *Client) Post(ctx context.Context, address, contentType string, body []byte) (status int, reply []byte, err error) {
	a, err := c.Send(ctx, Request{Method: http.MethodPost, URL: address, Header: http.Header{"Content-Type": {contentType}}, Body: body})
	return a.Status, a.Body, err
}

// Get asks the address for a document of a media type.
func (c *Client) Get(ctx context.Context, address, accept string) (status int, reply []byte, err error) {
	a, err := c.Send(ctx, Request{Method: http.MethodGet, URL: address, Header: http.Header{"Accept": {accept}}})
	return a.Status, a.Body, err
}
