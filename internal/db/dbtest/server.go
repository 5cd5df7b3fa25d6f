package dbtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"mobileid/test/freeport"
)

// Options change how a server runs.
type Options struct {
	Fsync    bool     // writes reach the disk before a commit is acknowledged, as they must in earnest
	Settings []string // more settings, as NAME=VALUE
}

// Server is a PostgreSQL of its own. It is for one test goroutine.
type Server struct {
	dir  string
	port int
	args []string
	cmd  *exec.Cmd
	life *os.File // closed: the server is stopped at once, or when this process dies
	who  *syscall.Credential
}

// StartPostgres starts a server; the test's end stops it and removes its data.
func StartPostgres(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// Program finds a program of PostgreSQL: in PATH, or where Debian keeps it.
func Program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return "", errors.New(name + " of PostgreSQL is not installed; run `make deps`")
	}
	slices.Sort(found)
	return found[len(found)-1], nil
}

func start(o Options) (*Server, error) {
	initdb, err := Program("initdb")
	if err != nil {
		return nil, err
	}
	s := &Server{}
	if s.dir, err = os.MkdirTemp("", "mobileid-pg-"); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 { // it refuses to run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		s.who = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.dir, int(uid), int(gid)); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(initdb, "-D", s.data(), "-U", "mobileid", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	cmd.Dir, cmd.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: s.who}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w: %s", err, out), os.RemoveAll(s.dir))
	}
	settings := append([]string{
		"listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", "shared_buffers=32MB",
		"autovacuum_naptime=10s", "log_min_messages=warning", "max_wal_size=256MB", "deadlock_timeout=100ms",
	}, o.Settings...)
	if !o.Fsync {
		settings = append(settings, "fsync=off", "full_page_writes=off")
	}
	for _, v := range settings {
		s.args = append(s.args, "-c", v)
	}
	// Another process may take the port between the look and the start.
	for range 5 {
		if s.port, err = freeport.Pick(); err != nil {
			break
		}
		if err = s.start(); err == nil {
			return s, nil
		}
	}
	return nil, errors.Join(err, os.RemoveAll(s.dir))
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// URL names the server's first database.
func (s *Server) URL() string { return s.url("postgres") }

func (s *Server) url(name string) string {
	return fmt.Sprintf("postgres://mobileid@127.0.0.1:%d/%s?sslmode=disable", s.port, name)
}

// Addr is host:port.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// keeper runs the server until its standard input ends, which is when whoever
// holds the other end lets go or dies.
const keeper = `dir=$1; shift; "$@" </dev/null & pid=$!; cat >/dev/null; kill -QUIT $pid 2>/dev/null; wait $pid; [ -e "$dir/keep" ] || rm -rf "$dir"`

func (s *Server) start() error {
	program, err := Program("postgres")
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	s.cmd = exec.Command("/bin/sh", append([]string{"-c", keeper, "keeper", s.dir, program, "-D", s.data(), "-p", strconv.Itoa(s.port)}, s.args...)...)
	s.cmd.Dir, s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = "/", r, log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.who, Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return errors.Join(err, w.Close())
	}
	s.life = w
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if s.answers() {
			return nil
		}
		if _, err := os.Stat(filepath.Join(s.data(), "postmaster.pid")); err != nil && time.Now().After(deadline.Add(-19*time.Second)) {
			break // it has ended already
		}
	}
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	s.halt()
	return fmt.Errorf("postgres does not start:\n%s", text)
}

func (s *Server) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return false
	}
	return c.Close(ctx) == nil
}

// Stop stops the server at once, without a checkpoint, as `pg_ctl stop -m
// immediate` does: connections break, and the next start recovers.
func (s *Server) Stop() {
	_ = os.WriteFile(filepath.Join(s.dir, "keep"), nil, 0o600)
	s.halt()
}

// halt stops the server and waits for its keeper.
func (s *Server) halt() {
	if s.life != nil {
		_ = s.life.Close()
		s.life = nil
		_ = s.cmd.Wait()
	}
}

// Kill ends the server and all its processes at once (SIGKILL).
func (s *Server) Kill() {
	_ = os.WriteFile(filepath.Join(s.dir, "keep"), nil, 0o600)
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err == nil {
		line, _, _ := strings.Cut(string(text), "\n")
		if pid, err := strconv.Atoi(line); err == nil && pid > 1 {
			// Stopped first, so that it starts no process that the list misses: one
			// that lives on keeps the next server from starting.
			_ = syscall.Kill(pid, syscall.SIGSTOP)
			for _, p := range append(childrenOf(pid), pid) {
				_ = syscall.Kill(p, syscall.SIGKILL)
			}
		}
	}
	s.halt()
}

// childrenOf lists the processes whose parent is pid.
func childrenOf(pid int) (out []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range all {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(pid) {
			if p, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// Start starts the server again on its data and port, after Stop or Kill.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

// SQL runs a statement as the superuser and returns the first column as text.
func (s *Server) SQL(t testing.TB, sql string) []string {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	rows, err := c.Query(ctx, sql)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *Server) close() {
	_ = os.Remove(filepath.Join(s.dir, "keep"))
	s.halt()
	_ = os.RemoveAll(s.dir)
}
