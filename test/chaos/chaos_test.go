// Package chaos breaks the real program under load and checks from the outside,
// and in its database, that nothing acknowledged is lost and nothing undecided
// gives a token.
package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"mobileid/test/program"
)

var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if bin, err = program.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

const pin = "271828"

// client talks to the server as a merchant's backend that does not give up
// while the server is away.
type client struct {
	t   *testing.T
	srv *program.Server
	c   http.Client
	sky *sky // nil: nothing breaks
}

type answer struct {
	status int
	json   map[string]any
}

func (a answer) text(name string) string { s, _ := a.json[name].(string); return s }

// once sends one request; an error means that its fate is unknown.
func (c *client) once(method, path, token, contentType string, body []byte) (answer, error) {
	req, err := http.NewRequest(method, c.srv.Issuer+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", contentType)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	} else {
		req.SetBasicAuth(c.srv.Backend.ID, c.srv.Backend.Secret)
	}
	res, err := c.c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode}
	return a, json.Unmarshal(raw, &a.json)
}

func (c *client) form(path string, form url.Values) (answer, error) {
	return c.once(http.MethodPost, path, "", "application/x-www-form-urlencoded", []byte(form.Encode()))
}

// insist repeats what may be repeated until it is answered with the status.
func (c *client) insist(want int, send func() (answer, error)) answer {
	c.t.Helper()
	var last string
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		a, err := send()
		if err == nil && a.status == want {
			return a
		}
		last = fmt.Sprint(a.status, a.json, err)
	}
	c.t.Errorf("no answer %d: %s", want, last)
	return answer{}
}

func (c *client) token() string {
	return c.insist(200, func() (answer, error) {
		return c.form("/token", url.Values{"grant_type": {"client_credentials"}, "scope": {"mobileid.users mobileid.devices mobileid.admin"}})
	}).text("access_token")
}

func (c *client) rest(path string, body any) answer {
	raw, err := json.Marshal(body)
	if err != nil {
		c.t.Error(err)
	}
	return c.asClient(201, path, raw)
}

// change is rest of what answers 200.
func (c *client) change(path string) { c.asClient(200, path, nil) }

// asClient posts to the API until it answers with the status, each time with a new
// token: a store that comes back empty has lost the others.
func (c *client) asClient(want int, path string, raw []byte) answer {
	return c.insist(want, func() (answer, error) {
		return c.once(http.MethodPost, "/api/v1"+path, c.token(), "application/json", raw)
	})
}

// sky knows when something is broken. The zero value is a clear one.
type sky struct {
	mu     sync.Mutex
	faults int // so far
	now    int // under way
}

// during lets a fault strike.
func (s *sky) during(fault func()) {
	s.add(1, 1)
	defer s.add(0, -1)
	fault()
}

func (s *sky) add(faults, now int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults += faults
	s.now += now
}

// look is the number of faults so far, -1 while there is one.
func (s *sky) look() int {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now > 0 {
		return -1
	}
	return s.faults
}

// still reports whether nothing was broken when look said begun, nor since.
func (s *sky) still(begun int) bool { return begun >= 0 && s.look() == begun }
