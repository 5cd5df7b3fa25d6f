// Package chaos breaks the real program under load and checks from the outside,
// and in its database, that nothing acknowledged is lost and nothing undecided
// gives a token.
package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db"
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
		return c.form("/token", url.Values{"grant_type": {"client_credentials"}, "scope": {"mobileid.users mobileid.devices"}})
	}).text("access_token")
}

func (c *client) rest(path string, body any) answer {
	raw, err := json.Marshal(body)
	if err != nil {
		c.t.Error(err)
	}
	token := c.token()
	return c.insist(201, func() (answer, error) {
		return c.once(http.MethodPost, "/api/v1"+path, token, "application/json", raw)
	})
}

// TestKillsUnderLoadLoseNothingAcknowledged kills the server at random points of
// 30 logins a round and starts it again each time.
func TestKillsUnderLoadLoseNothingAcknowledged(t *testing.T) {
	const workers = 10
	each := 3 * rounds(t)
	dir := t.TempDir()
	srv := program.Start(t, bin, dir)
	c := &client{t: t, srv: srv, c: http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	people := make([]*someone, workers)
	for i := range people {
		people[i] = c.person(dir)
	}
	var all diary
	var wg sync.WaitGroup
	for _, s := range people {
		wg.Go(func() {
			for i := range each {
				all.add(c.login(s, i%6 == 5))
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	kills := 0
	for running := true; running; {
		select {
		case <-finished:
			running = false
		case <-time.After(time.Duration(50+mathrand.IntN(300)) * time.Millisecond):
			if kills < 10*rounds(t) {
				srv.Kill()
				kills++
				srv.Start()
			}
		}
	}
	if err := srv.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(dir, "mobileid.db"), clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got := reconcile(t, d, all.lines, people)
	sealed(t, d, dir, all.lines)
	t.Logf("%d kills, %d logins: %v", kills, len(all.lines), got)
	if kills < 5 {
		t.Errorf("only %d kills: the load was over too soon to prove anything", kills)
	}
	if got["token"] < len(all.lines)/2 {
		t.Errorf("only %d of %d logins came to tokens", got["token"], len(all.lines))
	}
}
