package chaos

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/internal/db/dbtest"
	"mobileid/internal/kv/kvtest"
)

// weather is what a line does to what is sent over it.
type weather int

const (
	fair    weather = iota
	stalled         // nothing arrives in either direction, and nobody is told; what was sent arrives late
	cut             // connections end, what was under way is lost, and new ones end at once
)

// line is the network between one node and one store.
type line struct {
	l      net.Listener
	target string
	all    sync.WaitGroup

	mu      sync.Mutex
	now     weather
	changed chan struct{} // closed when the weather changes
	conns   map[net.Conn]struct{}
}

// startLine is a line to the store at host:port; the test's end takes it down.
func startLine(t *testing.T, target string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &line{l: l, target: target, changed: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	n.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.all.Go(func() { n.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		n.set(cut)
		n.all.Wait()
	})
	return n
}

// through is the URL by way of the line.
func (n *line) through(url string) string {
	return strings.Replace(url, n.target, n.l.Addr().String(), 1)
}

func (n *line) set(w weather) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.now = w
	close(n.changed)
	n.changed = make(chan struct{})
	if w == cut {
		for c := range n.conns {
			c.Close()
		}
	}
}

// clear waits until the line is not stalled; false: it is cut.
func (n *line) clear() bool {
	for {
		n.mu.Lock()
		now, changed := n.now, n.changed
		n.mu.Unlock()
		if now != stalled {
			return now == fair
		}
		<-changed
	}
}

// keep has c end with the line; false: it has ended.
func (n *line) keep(c net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.now == cut {
		c.Close()
		return false
	}
	n.conns[c] = struct{}{}
	return true
}

func (n *line) end(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
	c.Close()
}

func (n *line) serve(c net.Conn) {
	defer n.end(c)
	if !n.keep(c) || !n.clear() {
		return
	}
	store, err := net.Dial("tcp", n.target)
	if err != nil {
		return
	}
	defer n.end(store)
	if !n.keep(store) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { n.carry(c, store) })
	n.carry(store, c)
	back.Wait()
}

// carry carries bytes one way until either end is closed.
func (n *line) carry(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		k, err := from.Read(buf)
		if !n.clear() {
			return
		}
		if k > 0 {
			if _, err := to.Write(buf[:k]); err != nil {
				from.Close()
				return
			}
		}
		if err != nil {
			to.Close()
			return
		}
	}
}

// TestANodeCutOffFromAStoreSplitsNothing takes PostgreSQL, then Redis, from one of
// two nodes, by silence and by cut connections, while logins go on by both. The
// node that is cut off says so, the other serves, what arrives late changes
// nothing, and after it all the database agrees with what everybody was told.
func TestANodeCutOffFromAStoreSplitsNothing(t *testing.T) {
	t.Parallel()
	dbURL, kvURL := dbtest.Postgres(t), kvtest.Redis(t)
	lines := map[string]*line{}
	for name, address := range map[string]string{"PostgreSQL": dbURL, "Redis": kvURL} {
		at, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		lines[name] = startLine(t, at.Host)
	}
	s := startStorm(t, dbURL, kvURL, "--db-url", lines["PostgreSQL"].through(dbURL), "--kv-url", lines["Redis"].through(kvURL))
	s.rounds = max(2, s.rounds)
	asked := s.clients[0].person(t.TempDir()) // by the probe alone
	for _, name := range []string{"PostgreSQL", "Redis"} {
		strike := 0
		s.during(name+" is away from one node", func() {
			away := lines[name]
			defer away.set(fair)
			strike++
			how := stalled
			if strike%2 == 0 {
				how = cut
			}
			away.set(how)
			for range 2 {
				if status, code, err := s.ask(s.nodes[1], asked); err != nil || status != http.StatusServiceUnavailable || code == "" {
					s.t.Errorf("without %s the node says %d %q, %v; want 503 with an error", name, status, code, err)
				}
			}
			if status, code, err := s.ask(s.nodes[0], asked); err != nil || status != http.StatusOK {
				s.t.Errorf("the other node says %d %q, %v", status, code, err)
			}
		})
	}
	s.settled(t)
}

// ask starts a request at one node, which has 20 s to say something.
func (s *storm) ask(n *node, of *someone) (status int, code string, err error) {
	c := s.clients[1]
	form := url.Values{"scope": {"openid"}, "login_hint": {of.ref}}
	req, err := http.NewRequest(http.MethodPost, "http://"+n.addr+"/bc-authorize", bytes.NewReader([]byte(form.Encode())))
	if err != nil {
		return 0, "", err
	}
	req.Host = strings.TrimPrefix(c.srv.Issuer, "http://")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(c.srv.Backend.ID, c.srv.Backend.Secret)
	res, err := (&http.Client{Timeout: 20 * time.Second}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return res.StatusCode, "", err
	}
	var body struct{ Error string }
	err = json.Unmarshal(text, &body)
	return res.StatusCode, body.Error, err
}
