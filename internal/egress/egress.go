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

// Post sends body to the address and returns the answer's status and the first
// 64 KiB of what it says. A redirect is an answer like any other. The error never
// holds more of the address than its host.
func (c *Client) Post(ctx context.Context, address, contentType string, body []byte) (status int, reply []byte, err error) {
	return c.send(ctx, http.MethodPost, address, "Content-Type", contentType, bytes.NewReader(body))
}

// Get asks the address for a document of a media type, and else is as Post.
func (c *Client) Get(ctx context.Context, address, accept string) (status int, reply []byte, err error) {
	return c.send(ctx, http.MethodGet, address, "Accept", accept, nil)
}

func (c *Client) send(ctx context.Context, method, address, header, value string, body io.Reader) (status int, reply []byte, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		return 0, nil, errScheme
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return 0, nil, errScheme
	}
	req.Header.Set(header, value)
	req.Header.Set("User-Agent", "mobileid")
	res, err := c.http.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return 0, nil, fmt.Errorf("egress: %s: %w", u.Host, err)
	}
	defer res.Body.Close()
	reply, err = io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return 0, nil, fmt.Errorf("egress: %s: %w", u.Host, err)
	}
	return res.StatusCode, reply, nil
}
