// Package program runs the real binary for tests: built once, started on free
// ports of loopback over a folder of the test's, stopped, killed, started again.
package program

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mobileid/test/freeport"
)

// Demo is what a running demo wrote to demo.json.
type Demo struct {
	Issuer   string `json:"issuer"`
	ShopURL  string `json:"shop_url"`
	AdminURL string `json:"admin_url"`
	UserID   string `json:"user_id"`
	UserRef  string `json:"user_ref"`
	Shop     Client `json:"shop"`
	Backend  Client `json:"backend"`
}

// Client is a client's credentials.
type Client struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

// Build builds the binary into dir and returns its path. A package's TestMain
// calls it once. Cgo is off, as in the product's own build.
func Build(dir string) (string, error) {
	bin := filepath.Join(dir, "mobileid")
	cmd := exec.Command("go", "build", "-o", bin, "mobileid/cmd/mobileid")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
}

// Server is a demo that can be killed and started again where it was.
type Server struct {
	Demo
	Bin, Dir string
	Env      []string // more of the environment, such as MOBILEID_KV__URL=…

	t     testing.TB
	addrs [3]string
	cmd   *exec.Cmd
	ended chan error
	log   lockedBuffer
}

// Start starts a demo over dir; the test's end stops it.
func Start(t testing.TB, bin, dir string, env ...string) *Server {
	t.Helper()
	return StartAt(t, bin, dir, "", env...)
}

// StartAt is Start with the address of the public listener; "" picks one.
func StartAt(t testing.TB, bin, dir, listen string, env ...string) *Server {
	t.Helper()
	s := &Server{Bin: bin, Dir: dir, Env: env, t: t, addrs: [3]string{listen}}
	for i, given := range s.addrs {
		if given != "" {
			continue
		}
		for s.addrs[i] == "" {
			port, err := freeport.Pick()
			if err != nil {
				t.Fatal(err)
			}
			// Nobody listens yet on one that was picked a moment ago.
			if addr := fmt.Sprintf("127.0.0.1:%d", port); !slices.Contains(s.addrs[:], addr) {
				s.addrs[i] = addr
			}
		}
	}
	t.Cleanup(func() {
		if s.cmd != nil {
			if err := s.Stop(); err != nil {
				t.Errorf("program: %v\n%s", err, s.log.String())
			}
		}
	})
	s.Start()
	return s
}

// Environ is the caller's environment without the settings of another server.
func Environ(more ...string) []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "MOBILEID_") {
			env = append(env, e)
		}
	}
	return append(env, more...)
}

// Start starts the process and waits until it is ready.
func (s *Server) Start() {
	s.t.Helper()
	s.cmd = exec.Command(s.Bin, "demo", "--listen", s.addrs[0], "--admin-listen", s.addrs[1], "--shop-listen", s.addrs[2], "--data-dir", s.Dir)
	s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = Environ(s.Env...), &s.log, &s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.ended = make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan error) { ended <- cmd.Wait() }(s.cmd, s.ended)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if res, err := http.Get("http://" + s.addrs[1] + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the server did not come up:\n%s", s.log.String())
		}
	}
	if s.Issuer != "" {
		return // started again: the same addresses, clients and user
	}
	raw, err := os.ReadFile(filepath.Join(s.Dir, "demo.json"))
	if err == nil {
		err = json.Unmarshal(raw, &s.Demo)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// Kill ends the process at once (SIGKILL) and waits until it is gone.
func (s *Server) Kill() {
	s.t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	<-s.ended
	s.cmd = nil
}

// Stop asks the process to end (SIGTERM); it must say 0 within 20 s.
func (s *Server) Stop() error {
	cmd := s.cmd
	s.cmd = nil
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-s.ended:
		return err
	case <-time.After(20 * time.Second):
		return errors.Join(errors.New("the server did not stop within 20 s"), cmd.Process.Kill())
	}
}

// PID is the process's id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Log is what the process wrote so far.
func (s *Server) Log() string { return s.log.String() }

// Run runs another command of the binary to its end.
func (s *Server) Run(env []string, args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	return Run(s.t, s.Bin, env, args...)
}

// Run runs a command of the binary to its end.
func Run(t testing.TB, bin string, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(bin, args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = Environ(env...), &out, &errs
	err := cmd.Run()
	if ee, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), errs.String(), ee.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), 0
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
