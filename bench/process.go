package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	startWithin = 20 * time.Second
	stopWithin  = 15 * time.Second
)

// process is a server that this program started.
type process struct {
	cmd  *exec.Cmd
	log  tail
	gone chan struct{}
}

// tail keeps the last of what a process says, to be shown when it fails.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if n := len(t.b) - 8<<10; n > 0 {
		t.b = append([]byte(nil), t.b[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}

// start runs a program that sees cores CPUs at most and dies with this one.
func start(cores int, env []string, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), gone: make(chan struct{})}
	p.cmd.Env = append(env, fmt.Sprintf("GOMAXPROCS=%d", cores))
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = dieWithParent()
	started := make(chan error)
	go func() {
		// The death signal comes when the starting thread ends, so it must not.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended does not matter once it was asked to
			close(p.gone)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// await calls ready until it reports true.
func (p *process) await(ctx context.Context, what string, ready func() bool) error {
	deadline := time.Now().Add(startWithin)
	for !ready() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.gone:
			return fmt.Errorf("%s ended at once:\n%s", what, p.log.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %s:\n%s", what, startWithin, p.log.String())
		}
	}
	return nil
}

// stop asks the process to end and kills it if it does not.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.gone:
	case <-time.After(stopWithin):
		_ = p.cmd.Process.Kill()
		<-p.gone
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// plainEnv is the environment without what configures another server.
func plainEnv() []string {
	var out []string
	for _, v := range os.Environ() {
		if len(v) < 9 || v[:9] != "MOBILEID_" {
			out = append(out, v)
		}
	}
	return out
}

// startRedis starts a redis-server that keeps nothing on disk.
func startRedis(ctx context.Context, dir string) (*process, string, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, "", errors.New("redis-server is not installed")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	addr := ln.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	if err := ln.Close(); err != nil {
		return nil, "", err
	}
	p, err := start(1, plainEnv(), "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir)
	if err != nil {
		return nil, "", err
	}
	err = p.await(ctx, "redis-server", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	if err != nil {
		p.stop()
		return nil, "", err
	}
	return p, addr, nil
}

// buildServer compiles the program under test from this module.
func buildServer(ctx context.Context, dir string) (string, error) {
	bin := filepath.Join(dir, "mobileid")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin, "mobileid/cmd/mobileid")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
}

// demo is what the server wrote about itself.
type demo struct {
	Issuer  string      `json:"issuer"`
	ShopURL string      `json:"shop_url"`
	Shop    credentials `json:"shop"`
	Backend credentials `json:"backend"`

	JWT credentials `json:"-"` // of a client whose access tokens are JWTs
}

type credentials struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

// startServer starts the server with its seeded merchant and clients on free
// ports of the loopback interface, or starts it again in the same folder.
func startServer(ctx context.Context, cores int, bin, dir, redis string) (*process, demo, error) {
	var d demo
	env := plainEnv()
	if redis != "" {
		env = append(env, "MOBILEID_KV__URL=redis://"+redis)
	}
	file := filepath.Join(dir, "demo.json")
	before, err := os.ReadFile(file) // the last start's: another port, so another text
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, d, err
	}
	p, err := start(cores, env, bin, "demo", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--shop-listen", "127.0.0.1:0", "--data-dir", dir)
	if err != nil {
		return nil, d, err
	}
	err = p.await(ctx, "the server", func() bool {
		text, err := os.ReadFile(file)
		return err == nil && !bytes.Equal(text, before) && json.Unmarshal(text, &d) == nil
	})
	if err != nil {
		p.stop()
		return nil, d, err
	}
	if d.JWT, err = createClient(ctx, env, bin, dir, "--grant", "client_credentials", "--scope", "mobileid.users", "--access-token-format", "jwt"); err != nil {
		p.stop()
		return nil, d, err
	}
	return p, d, nil
}

// createClient adds a client of the demo's merchant.
func createClient(ctx context.Context, env []string, bin, dir string, options ...string) (c credentials, err error) {
	cmd := exec.CommandContext(ctx, bin, append([]string{"client", "create", "--data-dir", dir}, options...)...)
	cmd.Env = env
	out, err := cmd.Output()
	if err != nil {
		return c, fmt.Errorf("client create: %w", err)
	}
	return c, json.Unmarshal(out, &c)
}
