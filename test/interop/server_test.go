package interop_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	pin      = "271828"
	wrongPIN = "314159"
)

type credentials struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

// server is a running `mobileid demo` in a folder of its own.
type server struct {
	t       *testing.T
	dir     string // working directory: bin/mobileid is there as the pages say
	data    string
	Issuer  string      `json:"issuer"`
	ShopURL string      `json:"shop_url"`
	Admin   string      `json:"admin_url"`
	User    string      `json:"user_id"`
	UserRef string      `json:"user_ref"`
	Shop    credentials `json:"shop"`
	Backend credentials `json:"backend"`
}

// start starts the program on free ports and stops it by SIGTERM at the test's
// end: it must then exit with 0 and have logged no error. env are settings more.
func start(t *testing.T, env ...string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir()}
	s.data = filepath.Join(s.dir, "data")
	if err := os.Mkdir(filepath.Join(s.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(s.dir, "bin", "mobileid")); err != nil {
		t.Fatal(err)
	}
	log := &logged{}
	cmd := exec.Command(binary, "demo", "--listen", "127.0.0.1:0", "--shop-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir", s.data)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = s.dir, log, log, append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		err := cmd.Process.Signal(syscall.SIGTERM)
		select {
		case werr := <-ended:
			err = errors.Join(err, werr)
		case <-time.After(20 * time.Second):
			err = errors.Join(errors.New("still there 20 s after SIGTERM"), cmd.Process.Kill(), <-ended)
		}
		if err != nil {
			t.Errorf("the server did not stop well: %v", err)
		}
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "level=ERROR") || strings.Contains(line, `"level":"ERROR"`) {
				t.Errorf("the server logged: %s", strings.TrimSpace(line))
			}
		}
		if t.Failed() {
			t.Logf("the server's words:\n%s", log)
		}
	})
	eventually(t, "the demo writes demo.json", func() error {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the server ended: %v\n%s", err, log)
		default:
		}
		text, err := os.ReadFile(filepath.Join(s.data, "demo.json"))
		if err != nil {
			return err
		}
		return json.Unmarshal(text, s)
	})
	return s
}

// logged collects what a process writes from more than one stream.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// eventually asks until there is no error, for 20 s.
func eventually(t *testing.T, what string, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// try runs a command of the program and returns what it printed.
func (s *server) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "MOBILEID_PHONE_PIN="+pin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("mobileid %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), err
}

func (s *server) run(args ...string) string {
	s.t.Helper()
	out, err := s.try(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// client adds a client by the command line, beside the running server.
func (s *server) client(args ...string) credentials {
	s.t.Helper()
	var c credentials
	out := s.run(append([]string{"client", "create", "--data-dir", s.data}, args...)...)
	if err := json.Unmarshal([]byte(out), &c); err != nil || c.ID == "" {
		s.t.Fatalf("client create printed %q: %v", out, err)
	}
	return c
}

// phone is a phone of the command line, whose whole self is a file.
type phone struct {
	s    *server
	file string
}

// registered registers a phone for a user by a link from the REST API.
func (s *server) registered(userID string) phone {
	s.t.Helper()
	p := phone{s, filepath.Join(s.t.TempDir(), "phone.json")}
	s.run("phone", "--state", p.file, "register", s.link(userID))
	return p
}

func (s *server) link(userID string) string {
	s.t.Helper()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	form := strings.NewReader("grant_type=client_credentials&scope=mobileid.devices")
	req, err := http.NewRequest(http.MethodPost, s.Issuer+"/token", form)
	if err != nil {
		s.t.Fatal(err)
	}
	req.SetBasicAuth(s.Backend.ID, s.Backend.Secret)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	s.send(req, http.StatusOK, &token)
	req, err = http.NewRequest(http.MethodPost, s.Issuer+"/api/v1/registrations", strings.NewReader(`{"userId":"`+userID+`","proofing":{"reference":"`+rand.Text()+`"}}`))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	req.Header.Set("Content-Type", "application/json")
	var reg struct{ Link string }
	s.send(req, http.StatusCreated, &reg)
	return reg.Link
}

func (s *server) send(req *http.Request, want int, into any) {
	s.t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil {
		s.t.Fatal(err)
	}
	if res.StatusCode != want {
		s.t.Fatalf("%s %s: %s, want %d: %s", req.Method, req.URL.Path, res.Status, want, &body)
	}
	if err := json.Unmarshal(body.Bytes(), into); err != nil {
		s.t.Fatalf("%s %s: %v: %s", req.Method, req.URL.Path, err, &body)
	}
}

// approve answers the one operation that waits, typing the number if there is one.
func (p phone) approve(number string) {
	p.s.t.Helper()
	args := []string{"phone", "--state", p.file, "answer"}
	if number != "" {
		args = append(args, "--match", number)
	}
	if out := p.s.run(args...); !strings.Contains(out, "COMPLETED") {
		p.s.t.Fatalf("the phone's answer: %s", out)
	}
}

func (p phone) decline(args ...string) {
	p.s.t.Helper()
	p.s.run(append([]string{"phone", "--state", p.file, "decline"}, args...)...)
}
