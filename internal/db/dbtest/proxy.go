package dbtest

import (
	"bytes"
	"encoding/binary"
	"net"
	"strings"
	"sync"
	"testing"
)

// Fate is what a Proxy does to a statement.
type Fate int

// Fates.
const (
	Pass        Fate = iota
	LoseRequest      // cut the connection before PostgreSQL sees the statement
	LoseReply        // cut the connection once PostgreSQL has answered
)

// Proxy stands between a client and PostgreSQL and loses what it is told to.
type Proxy struct {
	l      net.Listener
	target string
	wg     sync.WaitGroup

	mu    sync.Mutex
	judge func(sql string) Fate
	known map[string]string // prepared statements by name
	seen  []string
	conns map[net.Conn]struct{}
}

// StartProxy starts a proxy before the server at target; the test's end stops it.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{l: l, target: target, known: map[string]string{}, conns: map[net.Conn]struct{}{}}
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

// Through is the URL of a database, by way of the proxy.
func (p *Proxy) Through(url string) string {
	return strings.Replace(url, p.target, p.l.Addr().String(), 1)
}

// Lose sets the fate of the next statement that begins with start; later ones pass.
func (p *Proxy) Lose(start string, f Fate) {
	done := false
	p.Rule(func(sql string) Fate {
		if done || !strings.HasPrefix(sql, start) {
			return Pass
		}
		done = true
		return f
	})
}

// Rule sets who decides, for each statement that is executed, and forgets what
// was seen. judge is called under a lock.
func (p *Proxy) Rule(judge func(sql string) Fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.judge, p.seen = judge, nil
}

// Count tells how many statements that begin with start were executed, lost ones too.
func (p *Proxy) Count(start string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, sql := range p.seen {
		if strings.HasPrefix(sql, start) {
			n++
		}
	}
	return n
}

// Cut breaks all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// decide reads the messages of one write: Parse names a statement, Bind runs it,
// Query is one without a name.
func (p *Proxy) decide(chunk []byte) (worst Fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(chunk) >= 5 {
		kind, n := chunk[0], int(binary.BigEndian.Uint32(chunk[1:5]))
		if n < 4 || len(chunk) < n+1 {
			return worst
		}
		fields := bytes.SplitN(chunk[5:n+1], []byte{0}, 3)
		chunk = chunk[n+1:]
		sql := ""
		switch {
		case kind == 'P' && len(fields) > 1:
			p.known[string(fields[0])] = string(fields[1])
		case kind == 'B' && len(fields) > 1:
			sql = p.known[string(fields[1])]
		case kind == 'Q':
			sql = string(fields[0])
		}
		if sql == "" {
			continue
		}
		p.seen = append(p.seen, sql)
		if p.judge != nil {
			worst = max(worst, p.judge(sql))
		}
	}
	return worst
}

func (p *Proxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = struct{}{}
}

func (p *Proxy) serve(client net.Conn) {
	p.keep(client)
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	p.keep(server)
	defer server.Close()
	var mu sync.Mutex
	next := Pass
	p.wg.Go(func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil {
				return
			}
			mu.Lock()
			f := next
			mu.Unlock()
			if f == LoseReply {
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	buf := make([]byte, 256<<10)
	for first := true; ; first = false {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		f := Pass
		if !first { // the startup message has another form
			f = p.decide(buf[:n])
		}
		if f == LoseRequest {
			return
		}
		mu.Lock()
		next = f
		mu.Unlock()
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}
