// Package egress is the one way out: every request to an address that somebody
// else chose goes through its client, which reaches public addresses only,
// follows no redirect, reads and waits no longer than it must, and leaves a host
// alone for a while that does not answer.
package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"mobileid/internal/clock"

	"code.dny.dev/ssrf"
	"golang.org/x/net/http/httpguts"
)

const (
	wait     = 5 * time.Second // for everything, from the name's look-up to the last byte
	maxReply = 64 << 10
	maxHead  = 16 << 10
)

// Client sends requests out. Safe for concurrent use.
type Client struct {
	http    *http.Client
	breaker *breaker
}

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

// New makes a client. It connects to public addresses at the ports of https
// (443, 8443), and to whatever is in allow: the operator's own networks. What
// counts is the address at the moment of dialling, whatever its name said before.
func New(allow []netip.Prefix, clk clock.Clock) *Client { return NewVia(nil, allow, clk) }

// NewVia is New with names looked up by the resolver; nil: the system's.
func NewVia(resolver *net.Resolver, allow []netip.Prefix, clk clock.Clock) *Client {
	return build(settings{allow: allow, ports: []uint16{443, 8443}, wait: wait, clk: clk, resolver: resolver})
}

// settings are what a test may want otherwise.
type settings struct {
	allow    []netip.Prefix
	ports    []uint16
	wait     time.Duration
	clk      clock.Clock
	roots    *x509.CertPool // nil: the system's
	resolver *net.Resolver  // nil: the system's
}

func build(s settings) *Client {
	public := ssrf.New(ssrf.WithPorts(s.ports...))
	check := func(network, address string, c syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err == nil && !inside(s.allow, to.Addr()) {
			err = public.Safe(network, address, c)
		}
		if err != nil {
			return &refused{err}
		}
		return nil
	}
	dialer := &net.Dialer{Timeout: s.wait, Control: check, Resolver: s.resolver}
	return &Client{breaker: newBreaker(s.clk), http: &http.Client{
		Timeout: s.wait,
		Transport: &http.Transport{ // no Proxy: the environment does not decide where we go
			DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.roots}, TLSHandshakeTimeout: s.wait,
			MaxResponseHeaderBytes: maxHead, DisableCompression: true, ForceAttemptHTTP2: true,
			MaxIdleConns: 64, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func inside(networks []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range networks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// refused marks an address that is not to be dialled.
type refused struct{ error }

func (r *refused) Unwrap() error { return r.error }

var (
	// errScheme refuses what is neither https nor http.
	errScheme = errors.New("egress: the address must be https or http")
	// errMalformed refuses a method or header that would not be one line.
	errMalformed = errors.New("egress: the request is malformed")
)

// Send sends the request and returns what came back; a redirect or an error
// status is an answer like any other. Nothing is sent to a host whose breaker is
// open (ErrUnreachable). The error never holds more of the address than its host,
// and nothing of the header.
func (c *Client) Send(ctx context.Context, r Request) (Answer, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		return Answer{}, errScheme
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return Answer{}, errMalformed
	}
	for name, values := range r.Header {
		for _, v := range values {
			if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(v) {
				return Answer{}, errMalformed
			}
			req.Header.Add(name, v)
		}
	}
	req.Header.Set("User-Agent", "mobileid")
	done, err := c.breaker.enter(placeOf(u))
	if err != nil {
		return Answer{}, fmt.Errorf("egress: %s: %w", u.Host, err)
	}
	a, err := c.exchange(req)
	done(outcomeOf(ctx, err))
	if err != nil {
		return Answer{}, fmt.Errorf("egress: %s: %w", u.Host, err)
	}
	return a, nil
}

// Get asks the address for a document of a media type.
func (c *Client) Get(ctx context.Context, address, accept string) (status int, reply []byte, err error) {
	a, err := c.Send(ctx, Request{Method: http.MethodGet, URL: address, Header: http.Header{"Accept": {accept}}})
	return a.Status, a.Body, err
}

// Post sends body to the address.
func (c *Client) Post(ctx context.Context, address, contentType string, body []byte) (status int, reply []byte, err error) {
	a, err := c.Send(ctx, Request{Method: http.MethodPost, URL: address, Header: http.Header{"Content-Type": {contentType}}, Body: body})
	return a.Status, a.Body, err
}

func (c *Client) exchange(req *http.Request) (Answer, error) {
	res, err := c.http.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the outer one quotes the address
		}
		return Answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	return Answer{res.StatusCode, res.Header, body}, err
}

// hostOf is the name or address of a host in one form.
func hostOf(u *url.URL) string { return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".") }

// placeOf is HOST:PORT, by which the breaker knows a host: one port's silence says
// nothing about what answers at another.
func placeOf(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(hostOf(u), port)
}

// outcomeOf is what an exchange says about the host. An answer of any status says
// that it is there: a 500 costs us nothing, and on a host that several merchants
// share, one of them must not be able to shut it for the others by answering so.
func outcomeOf(ctx context.Context, err error) outcome {
	_, ours := errors.AsType[*refused](err)
	switch {
	case err == nil:
		return answered
	case ours || ctx.Err() != nil:
		return unknown
	}
	return silent
}
