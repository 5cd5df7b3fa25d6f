package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// conn is one kept connection to a server. It writes ready bytes and reads the
// answer, without what net/http's client does beside: the generator shares the
// machine with what it measures.
type conn struct {
	c net.Conn
	r *bufio.Reader
}

func dial(addr string) (*conn, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &conn{c, bufio.NewReaderSize(c, 16<<10)}, nil
}

// answer is an HTTP response, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (c *conn) send(req []byte) (answer, error) {
	if err := c.c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return answer{}, err
	}
	if _, err := c.c.Write(req); err != nil {
		return answer{}, err
	}
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, body}, err
}

// want sends req and takes any other status than the wanted one as a failure:
// a server that refuses is fast, and no figure may come of it.
func (c *conn) want(status int, req []byte) (answer, error) {
	a, err := c.send(req)
	if err == nil && a.status != status {
		line, _, _ := bytes.Cut(req, []byte("\r\n"))
		err = fmt.Errorf("%s: status %d, want %d: %.300s", line, a.status, status, a.body)
	}
	return a, err
}

// request is the bytes of an HTTP request; headers are whole lines.
func request(method, host, path string, body []byte, headers ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	if body != nil {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

const formType = "Content-Type: application/x-www-form-urlencoded"

// form is a POST of an OAuth client to a protocol endpoint.
func form(host, path, authorization string, values url.Values) []byte {
	return request("POST", host, path, []byte(values.Encode()), formType, authorization)
}

// hostOf is the host and port of an origin.
func hostOf(origin string) string { return strings.TrimPrefix(origin, "http://") }

// pool is the connections of a closed loop: each has one request under way and
// sends the next when it has the answer.
type pool []*conn

func dialAll(addr string, n int) (pool, error) {
	p := make(pool, 0, n)
	for range n {
		c, err := dial(addr)
		if err != nil {
			p.close()
			return nil, err
		}
		p = append(p, c)
	}
	return p, nil
}

func (p pool) close() {
	for _, c := range p {
		c.c.Close()
	}
}

// each runs do for 0 … n-1 and returns how long each took.
func (p pool) each(ctx context.Context, n int, do func(c *conn, i int) error) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	var next atomic.Int64
	var once sync.Once
	var failed error
	var wg sync.WaitGroup
	for _, c := range p {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || ctx.Err() != nil {
					return
				}
				begun := time.Now()
				if err := do(c, i); err != nil {
					once.Do(func() { failed = err })
					next.Store(int64(n))
					return
				}
				took[i] = time.Since(begun)
			}
		})
	}
	wg.Wait()
	if failed == nil {
		failed = ctx.Err()
	}
	return took, failed
}

// percentile of durations, which it sorts.
func percentile(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(p*float64(len(d))))]
}
