package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mobileid/internal/db/dbtest"
	"mobileid/internal/kv/kvtest"
	"mobileid/test/freeport"
	"mobileid/test/program"
)

// node is one of several processes behind one address.
type node struct {
	addr, admin string
	args        []string // its own, after those of both
	cmd         *exec.Cmd
	done        chan error
}

// cluster is two nodes on one PostgreSQL and one Redis, behind a proxy that
// gives each request to the next of them, and to the other if that one is gone.
type cluster struct {
	t     *testing.T
	proxy *httptest.Server
	nodes [2]*node
	turn  atomic.Int64
	args  []string
	dir   string
	log   *os.File // of both
}

func (c *cluster) RoundTrip(r *http.Request) (*http.Response, error) {
	first := c.turn.Add(1)
	var last error
	for i := range int64(len(c.nodes)) {
		n := c.nodes[(first+i)%int64(len(c.nodes))]
		r.URL.Scheme, r.URL.Host = "http", n.addr
		res, err := http.DefaultTransport.RoundTrip(r)
		if err == nil {
			return res, nil
		}
		last = err
		if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "dial" {
			break // it may have been carried out
		}
	}
	return nil, last
}

func freeAddr(t *testing.T) string {
	t.Helper()
	port, err := freeport.Pick()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// startCluster starts two nodes; second are more arguments of the second one.
func startCluster(t *testing.T, dbURL, kvURL string, second ...string) *cluster {
	t.Helper()
	dir := t.TempDir()
	c := &cluster{t: t, dir: dir}
	var err error
	if c.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.log.Close()
		if text, err := os.ReadFile(c.log.Name()); err == nil && t.Failed() { // a store that is away fills pages
			t.Logf("the nodes' last words:\n%s", text[max(0, len(text)-8<<10):])
		}
	})
	c.proxy = httptest.NewServer(&httputil.ReverseProxy{Transport: c, FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetXForwarded()
	}, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }})
	t.Cleanup(c.proxy.Close)
	issuer := strings.Replace(c.proxy.URL, "127.0.0.1", "localhost", 1)
	c.args = []string{"--issuer", issuer, "--db-url", dbURL, "--kv-url", kvURL, "--master-key-file", filepath.Join(dir, "master.key"), "--data-dir", dir}
	for i := range c.nodes {
		c.nodes[i] = &node{addr: freeAddr(t), admin: freeAddr(t), args: [][]string{nil, second}[i]}
		c.start(c.nodes[i])
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			if n.cmd != nil {
				c.stop(n)
			}
		}
	})
	return c
}

func (c *cluster) start(n *node) {
	c.t.Helper()
	n.cmd = exec.Command(bin, append([]string{"serve", "--listen", n.addr, "--admin-listen", n.admin, "--trusted-proxies", "127.0.0.0/8"}, slices.Concat(c.args, n.args)...)...)
	n.cmd.Env, n.cmd.Stderr = program.Environ("MOBILEID_EGRESS__ALLOW=127.0.0.0/8"), c.log
	if err := n.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	n.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan error) { done <- cmd.Wait() }(n.cmd, n.done)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if res, err := http.Get("http://" + n.admin + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			c.t.Fatal("a node did not come up")
		}
	}
}

// stop drains the node; it has to end by itself with status 0.
func (c *cluster) stop(n *node) {
	c.t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Error(err)
	}
	if err := <-n.done; err != nil {
		c.t.Errorf("a node ended with %v", err)
	}
	n.cmd = nil
}

// kill ends the node at once (SIGKILL).
func (c *cluster) kill(n *node) {
	c.t.Helper()
	if err := n.cmd.Process.Kill(); err != nil {
		c.t.Error(err)
	}
	<-n.done
	n.cmd = nil
}

// backends makes a merchant with two trusted clients by the program's own commands.
func (c *cluster) backends() (out [2]program.Client) {
	c.t.Helper()
	c.run(nil, "merchant", "create", "Acme")
	for i, name := range []string{"Acme Backend", "Acme Call Centre"} {
		c.run(&out[i], "client", "create", "--name", name, "--binding", "trusted", "--reveal-unknown-user",
			"--grant", "client_credentials,urn:openid:params:grant-type:ciba,refresh_token", "--scope", "openid,mobileid.users,mobileid.devices,mobileid.operations,mobileid.admin")
	}
	return out
}

// callback is where the merchant's shop is answered. Nobody listens there.
const callback = "https://rp.example/callback"

// shop is one more client, that logs people in by redirect.
func (c *cluster) shop() (out program.Client) {
	c.t.Helper()
	c.run(&out, "client", "create", "--name", "Acme Shop", "--redirect-uri", callback, "--scope", "openid,offline_access")
	return out
}

// run runs one of the program's commands on the stores of the nodes.
func (c *cluster) run(into any, args ...string) {
	c.t.Helper()
	cmd := exec.Command(bin, append(args, c.args[2:]...)...)
	cmd.Env = program.Environ()
	out, err := cmd.Output()
	if err == nil && into != nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		c.t.Fatalf("%v: %v %s", args, err, out)
	}
}

// client is one of the merchant's, that goes through the proxy.
func (c *cluster) client(id program.Client) *client {
	return &client{t: c.t, srv: &program.Server{Demo: program.Demo{Issuer: c.args[1], Backend: id}}, c: http.Client{Timeout: 40 * time.Second}}
}

// TestTwoNodesTellOneStory tells the whole story to two nodes at once: each step
// of it meets whichever node is next.
func TestTwoNodesTellOneStory(t *testing.T) {
	c := startCluster(t, dbtest.Postgres(t), kvtest.Redis(t))
	b := c.backends()[0]
	for range 3 {
		cmd := exec.Command(bin, "smoke", "--issuer", c.args[1], "--client-id", b.ID, "--client-secret", b.Secret)
		cmd.Env = program.Environ()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

// TestDrainingOneOfTwoNodesLosesNothing takes each node down and up again under
// load: every login that was begun ends in its tokens.
func TestDrainingOneOfTwoNodesLosesNothing(t *testing.T) {
	c := startCluster(t, dbtest.Postgres(t), kvtest.Redis(t))
	cl := c.client(c.backends()[0])
	dir := t.TempDir()
	var wg sync.WaitGroup
	var logins, tokens atomic.Int64
	done := make(chan struct{})
	for range 4 {
		s := cl.person(dir)
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				h := cl.login(s, false)
				logins.Add(1)
				if len(h.tokens) == 1 {
					tokens.Add(1)
				} else {
					t.Errorf("a login came to nothing: %+v", h)
				}
			}
		})
	}
	// A node goes down after so many logins, not after a time: however slow the
	// machine is, there is load before, between and after.
	reached := func(n int64) bool {
		for deadline := time.Now().Add(time.Minute); logins.Load() < n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				return false
			}
		}
		return true
	}
	for i := range 4 {
		if !reached(int64(5 * (i + 1))) {
			t.Errorf("only %d logins before drain %d", logins.Load(), i+1)
			break
		}
		n := c.nodes[i%2]
		c.stop(n)
		c.start(n)
	}
	if !reached(25) {
		t.Errorf("only %d logins", logins.Load())
	}
	close(done)
	wg.Wait()
	t.Logf("%d logins, %d with tokens", logins.Load(), tokens.Load())
}
