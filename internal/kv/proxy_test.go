package kv_test

import (
	"bytes"
	"net"
	"sync"
	"testing"
)

// fate is what a lossyProxy does to a command.
type fate int

const (
	pass        fate = iota
	loseRequest      // cut the connection before Redis sees the command
	loseReply        // cut the connection after Redis answered
	holdReply        // let Redis answer and keep the answer, connection open
)

// lossyProxy stands between a client and Redis and loses what it is told to.
// It relies on the client to write one command at a time on a connection.
type lossyProxy struct {
	l      net.Listener
	target string
	wg     sync.WaitGroup

	mu    sync.Mutex
	judge func(verb string) fate
	seen  map[string]int // commands by verb, lost ones too
	conns map[net.Conn]struct{}
}

func startProxy(t *testing.T, target string) *lossyProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &lossyProxy{l: l, target: target, seen: make(map[string]int), conns: make(map[net.Conn]struct{})}
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

func (p *lossyProxy) url(query string) string { return "redis://" + p.l.Addr().String() + "/0" + query }

// lose sets the fate of the next command with this verb; later ones pass.
func (p *lossyProxy) lose(verb string, f fate) {
	done := false
	p.rule(func(v string) fate {
		if done || v != verb {
			return pass
		}
		done = true
		return f
	})
}

// rule sets who decides. judge is called under a lock.
func (p *lossyProxy) rule(judge func(verb string) fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.judge = judge
	clear(p.seen)
}

func (p *lossyProxy) count(verb string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[verb]
}

func (p *lossyProxy) decide(request []byte) fate {
	// *3\r\n$3\r\nset\r\n…
	parts := bytes.SplitN(request, []byte("\r\n"), 4)
	if len(parts) < 4 {
		return pass
	}
	verb := string(bytes.ToLower(parts[2]))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen[verb]++
	if p.judge == nil {
		return pass
	}
	return p.judge(verb)
}

func (p *lossyProxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = struct{}{}
}

func (p *lossyProxy) serve(client net.Conn) {
	p.keep(client)
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	p.keep(server)
	defer server.Close()

	var mu sync.Mutex
	next := pass
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
			switch f {
			case loseReply:
				return
			case holdReply:
				continue
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		f := p.decide(buf[:n])
		if f == loseRequest {
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
