// Package chaos breaks the real program under load and checks from the outside,
// and in its database, that nothing acknowledged is lost and nothing undecided
// gives a token.
package chaos

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/operation"
	"mobileid/sdk"
	"mobileid/sdk/wire"
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

// person registers a phone for a new user.
func (c *client) person(dir string) (ref string, p *sdk.Phone) {
	ref = "chaos-" + rand.Text()[:12]
	user := c.rest("/users", map[string]any{"externalRef": ref})
	file := &sdk.File{Path: filepath.Join(dir, ref+".json")}
	p = &sdk.Phone{Store: file, Keys: file, HTTP: &c.c, Now: time.Now, Rand: rand.Reader, Platform: "cli", Model: "Chaos",
		Pause: func(int) { time.Sleep(30 * time.Millisecond) }}
	reg := c.rest("/registrations", map[string]any{"userId": user.text("id")})
	if _, err := p.Register(context.Background(), reg.text("link")); err != nil {
		c.t.Errorf("register: %v", err)
	}
	if st, err := p.Finish(context.Background(), pin); err != nil || st.State != wire.RegActive {
		c.t.Errorf("finish: %v %v", st, err)
	}
	return ref, p
}

// history is what one login's client and phone saw.
type history struct {
	authReqID string
	txn       string
	acked     string   // state that the phone was told, "" if never
	tokens    []string // the txn of every token set that was issued
	last      string   // the last word of the token endpoint
}

// login asks, answers and polls through whatever happens to the server.
func (c *client) login(ref string, p *sdk.Phone, decline bool) history {
	var h history
	ack := c.insist(200, func() (answer, error) {
		return c.form("/bc-authorize", url.Values{"scope": {"openid"}, "login_hint": {ref}, "requested_expiry": {"120"}})
	})
	h.authReqID = ack.text("auth_req_id")
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for h.acked == "" && ctx.Err() == nil {
		ops, err := p.List(ctx)
		if errors.Is(err, sdk.ErrUnanswered) {
			_, err = p.Resume(ctx)
		}
		if err != nil || len(ops) == 0 {
			// An operation that only a lost acknowledgement knows of may have been
			// superseded; ours, whose acknowledgement came, has to be there.
			time.Sleep(20 * time.Millisecond)
			continue
		}
		op := &ops[len(ops)-1]
		h.txn = op.Txn
		var reply *wire.AnswerReply
		if decline {
			reply, err = p.Decline(ctx, op, false)
		} else {
			reply, err = p.Approve(ctx, op, pin, "")
		}
		if err == nil {
			h.acked = reply.State
		} else if out, rerr := p.Resume(ctx); rerr == nil && out != nil && out.Err == nil {
			h.acked = "resumed"
		} else if errors.Is(err, &wire.Error{Code: wire.OpGone}) {
			h.acked = "gone"
		}
	}
	for range 200 {
		a, err := c.form("/token", url.Values{"grant_type": {"urn:openid:params:grant-type:ciba"}, "auth_req_id": {h.authReqID}})
		if err != nil || a.status == 503 || a.text("error") == "authorization_pending" || a.text("error") == "slow_down" {
			time.Sleep(25 * time.Millisecond)
			continue
		}
		h.last = a.text("error")
		if a.status == 200 {
			h.tokens = append(h.tokens, txnOf(c.t, a.text("id_token")))
		}
		break
	}
	return h
}

func txnOf(t *testing.T, idToken string) string {
	parts := strings.Split(idToken, ".")
	if len(parts) != 3 {
		t.Errorf("not an ID token: %q", idToken)
		return ""
	}
	raw, err := wire.Decode(parts[1])
	var c struct{ Txn string }
	if err = errors.Join(err, json.Unmarshal(raw, &c)); err != nil {
		t.Error(err)
	}
	return c.Txn
}

// TestKillsUnderLoadLoseNothingAcknowledged kills the server at random points of
// 100 logins and starts it again each time.
func TestKillsUnderLoadLoseNothingAcknowledged(t *testing.T) {
	const workers, each = 10, 10
	dir := t.TempDir()
	srv := program.Start(t, bin, dir)
	c := &client{t: t, srv: srv, c: http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	type someone struct {
		ref string
		p   *sdk.Phone
	}
	people := make([]someone, workers)
	for i := range people {
		people[i].ref, people[i].p = c.person(dir)
	}
	var mu sync.Mutex
	var all []history
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				h := c.login(people[w].ref, people[w].p, i%10 == 9)
				mu.Lock()
				all = append(all, h)
				mu.Unlock()
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
			if kills < 20 {
				srv.Kill()
				kills++
				srv.Start()
			}
		}
	}
	if err := srv.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	got := reconcile(t, dir, all)
	t.Logf("%d kills, %d logins: %v", kills, len(all), got)
	if kills < 5 {
		t.Errorf("only %d kills: the load was over too soon to prove anything", kills)
	}
	if got["token"] < len(all)/2 {
		t.Errorf("only %d of %d logins came to tokens", got["token"], len(all))
	}
}

// reconcile holds every history against the database.
func reconcile(t *testing.T, dir string, all []history) map[string]int {
	t.Helper()
	d, err := db.Open(t.Context(), "sqlite:"+filepath.Join(dir, "mobileid.db"), clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got := map[string]int{}
	err = d.View(t.Context(), func(tx *db.Tx) error {
		issued := map[string]int{}
		for _, h := range all {
			switch h.acked {
			case string(operation.Completed), string(operation.Declined):
				dec, err := tx.Decision(h.txn)
				if err != nil || dec.State != h.acked {
					t.Errorf("the phone was told %s of %s, the database says %q (%v)", h.acked, h.txn, dec.State, err)
				}
			case "":
				t.Errorf("a login was never answered: %+v", h)
			}
			got[h.acked]++
			for _, txn := range h.tokens {
				issued[txn]++
				dec, err := tx.Decision(txn)
				if err != nil || dec.State != string(operation.Completed) {
					t.Errorf("tokens for %s, which the database says is %q (%v)", txn, dec.State, err)
				}
				got["token"]++
			}
			if len(h.tokens) == 0 {
				got["no token: "+h.last]++
			}
		}
		for txn, n := range issued {
			if n > 1 {
				t.Errorf("%s gave %d token sets", txn, n)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	anchors, err := audit.ReadAnchors(filepath.Join(dir, "audit-anchors.log"))
	if err != nil {
		t.Error(err)
	}
	rep, err := audit.Verify(t.Context(), d, anchors.Anchors)
	if err != nil || rep.Anchors == 0 || rep.Unsealed > 0 {
		t.Errorf("the audit chain after it all: %+v, %v", rep, err)
	}
	return got
}
