package kvtest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/test/freeport"
)

// Redis starts a redis-server for this test and returns its URL.
func Redis(t testing.TB) string {
	t.Helper()
	return StartRedis(t).URL()
}

// RedisServer is a redis-server process on 127.0.0.1 with nothing persistent.
// It is for one test goroutine.
type RedisServer struct {
	t    testing.TB
	port int
	dir  string
	args []string
	cmd  *exec.Cmd
	// command is the whole command line, if not a plain redis-server's.
	command []string
	log     lockedBuffer
	gone    chan struct{} // closed when the process has ended
}

// StartRedis starts a redis-server with the given further arguments, such as
// "--maxmemory-policy", "allkeys-lru". It is killed when the test ends.
func StartRedis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("redis-server is not in PATH; run `make deps` to install it")
	}
	s := &RedisServer{t: t, dir: t.TempDir(), args: args}
	t.Cleanup(s.Kill)
	s.first()
	return s
}

// first starts the server on a port of its own.
func (s *RedisServer) first() {
	s.t.Helper()
	// Another process may take the port between the look and the start.
	for try := range 5 {
		s.port = freePort(s.t)
		err := s.start()
		if err == nil {
			return
		}
		if try == 4 {
			s.t.Fatalf("redis-server does not start: %v\n%s", err, s.log.String())
		}
	}
}

// Addr is host:port.
func (s *RedisServer) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// URL is the address in the form that kv.Open takes.
func (s *RedisServer) URL() string { return "redis://" + s.Addr() + "/0" }

// Start starts the server again on its port, after Kill; its records are gone.
func (s *RedisServer) Start() {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatalf("redis-server does not start again: %v\n%s", err, s.log.String())
	}
}

// Snapshot is an RDB of what the server holds now.
func (s *RedisServer) Snapshot() []byte {
	s.t.Helper()
	if out := s.CLI("save"); out != "OK" {
		s.t.Fatalf("save: %s", out)
	}
	// Gone again, or the next start would take it up.
	path := filepath.Join(s.dir, "dump.rdb")
	rdb, err := os.ReadFile(path)
	if err := errors.Join(err, os.Remove(path)); err != nil {
		s.t.Fatal(err)
	}
	return rdb
}

// Restore kills the server and starts it with a snapshot.
func (s *RedisServer) Restore(rdb []byte) {
	s.t.Helper()
	s.Kill()
	path := filepath.Join(s.dir, "dump.rdb")
	if err := os.WriteFile(path, rdb, 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.Start()
	if err := os.Remove(path); err != nil {
		s.t.Fatal(err)
	}
}

// Kill ends the server at once (SIGKILL). It may be called again.
func (s *RedisServer) Kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		<-s.gone
		s.cmd = nil
	}
}

// CLI runs redis-cli against the server and returns what it prints. A Sentinel ends
// the connections of a server whose role it changes: a command that this happens to is
// given again, so it must be one that may be given twice.
func (s *RedisServer) CLI(args ...string) string {
	s.t.Helper()
	for try := 1; ; try++ {
		out, err := exec.Command("redis-cli", append([]string{"-p", fmt.Sprint(s.port)}, args...)...).CombinedOutput()
		if err == nil {
			return strings.TrimSpace(string(out))
		}
		if try == 5 || !strings.Contains(string(out), "Server closed the connection") {
			s.t.Fatalf("redis-cli %v: %v\n%s", args, err, out)
		}
	}
}

func (s *RedisServer) start() error {
	args := append([]string{
		"--port", fmt.Sprint(s.port), "--bind", "127.0.0.1", "--dir", s.dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no",
	}, s.args...)
	if s.command != nil {
		args = s.command
	}
	cmd := exec.Command("redis-server", args...)
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.gone = cmd, make(chan struct{})
	go func() {
		defer close(s.gone)
		_ = cmd.Wait()
	}()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if answers(s.Addr()) {
			return nil
		}
		select {
		case <-s.gone:
			s.cmd = nil
			return errors.New("it ended at once")
		case <-time.After(5 * time.Millisecond):
		}
	}
	s.Kill()
	return errors.New("it does not answer within 10 s")
}

func answers(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	buf := make([]byte, 64)
	n, _ := c.Read(buf)
	// With a password set the answer is -NOAUTH, which is an answer.
	return bytes.HasPrefix(buf[:n], []byte("+PONG")) || bytes.HasPrefix(buf[:n], []byte("-NOAUTH"))
}

func freePort(t testing.TB) int {
	t.Helper()
	port, err := freeport.Pick()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// lockedBuffer holds the server's log; the process writes while a test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
