// Package callbacks_test holds the real binary's webhooks against a merchant's
// server: one that verifies them by the npm library of the standard, and one that
// is there while the binary is killed.
package callbacks_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/test/program"
)

var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mobileid-callbacks-")
	if err == nil {
		defer os.RemoveAll(dir)
		bin, err = program.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// allow lets the server call this machine.
const allow = "MOBILEID_EGRESS__ALLOW=127.0.0.0/8"

type message struct {
	Secret  string            `json:"secret"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

func (m message) event(t *testing.T) (e struct{ ID, Type, MerchantID string }) {
	t.Helper()
	if err := json.Unmarshal([]byte(m.Body), &e); err != nil {
		t.Fatalf("%v: %s", err, m.Body)
	}
	return e
}

// shop is the merchant's server.
type shop struct {
	*httptest.Server
	mu   sync.Mutex
	got  []message
	hold chan struct{} // not nil: requests wait for it
}

func open(t *testing.T) *shop {
	s := &shop{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		m := message{Body: string(body), Headers: map[string]string{}}
		for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
			m.Headers[name] = r.Header.Get(name)
		}
		s.mu.Lock()
		s.got = append(s.got, m)
		hold := s.hold
		s.mu.Unlock()
		if hold != nil {
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.Close)
	return s
}

// wait returns the messages once there are n.
func (s *shop) wait(t *testing.T, n int, most time.Duration) []message {
	t.Helper()
	for deadline := time.Now().Add(most); ; time.Sleep(20 * time.Millisecond) {
		s.mu.Lock()
		got := append([]message(nil), s.got...)
		s.mu.Unlock()
		if len(got) >= n {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d messages within %s, want %d: %+v", len(got), most, n, got)
		}
	}
}

// told returns the message with the id, once it has come.
func (s *shop) told(t *testing.T, id string) message {
	t.Helper()
	for n := 1; ; n++ {
		for _, m := range s.wait(t, n, 20*time.Second) {
			if m.Headers["webhook-id"] == id {
				return m
			}
		}
	}
}

type webhook struct{ ID, Secret string }

func command(t *testing.T, s *program.Server, into any, args ...string) string {
	t.Helper()
	out, errs, code := s.Run([]string{allow}, append(args, "--data-dir", s.Dir)...)
	if code != 0 {
		t.Fatalf("mobileid %v: %d, %s", args, code, errs)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(out), into); err != nil {
			t.Fatalf("mobileid %v: %v: %s", args, err, out)
		}
	}
	return out
}

// verdicts are those of the npm library.
func verdicts(t *testing.T, all ...message) (out []string) {
	t.Helper()
	in, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "verify.mjs")
	cmd.Stdin = bytes.NewReader(in)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	text, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatalf("%v (run make deps): %s", err, &errs)
	}
	return out
}

func TestI6_TheWholeStoryIsToldAndTheStandardsLibraryTakesIt(t *testing.T) {
	t.Parallel()
	s := program.Start(t, bin, t.TempDir(), allow)
	merchant := open(t)
	var hook webhook
	command(t, s, &hook, "webhook", "create", merchant.URL+"/hook")
	command(t, s, nil, "smoke")
	got := merchant.wait(t, 3, 20*time.Second)
	seen := map[string]int{}
	for i := range got {
		got[i].Secret = hook.Secret
		e := got[i].event(t)
		if e.ID != got[i].Headers["webhook-id"] || e.MerchantID == "" {
			t.Errorf("%+v", got[i])
		}
		seen[e.Type]++
	}
	if seen["registration.finished"] == 0 || seen["authentication.finished"] < 2 {
		t.Errorf("told of %v", seen)
	}
	for i, v := range verdicts(t, got...) {
		if v != "ok" {
			t.Errorf("%s: %s", got[i].Body, v)
		}
	}

	good := got[0]
	change := func(fn func(m *message)) message {
		m := message{good.Secret, map[string]string{}, good.Body}
		for k, v := range good.Headers {
			m.Headers[k] = v
		}
		fn(&m)
		return m
	}
	old, err := strconv.ParseInt(good.Headers["webhook-timestamp"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range verdicts(t,
		change(func(m *message) { m.Body += " " }),
		change(func(m *message) { m.Headers["webhook-id"] = "evt_other" }),
		change(func(m *message) { m.Headers["webhook-timestamp"] = strconv.FormatInt(old-360, 10) }),
		change(func(m *message) { m.Secret = "whsec_" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=" }),
	) {
		if v == "ok" {
			t.Errorf("F7: change %d is taken", i)
		}
	}

	// A new secret: both sign while they overlap.
	var rotated webhook
	command(t, s, &rotated, "webhook", "rotate-secret", hook.ID, "--overlap", "1h")
	id := strings.TrimSpace(command(t, s, nil, "webhook", "test", hook.ID))
	last := merchant.told(t, id)
	with := func(secret string) message { m := last; m.Secret = secret; return m }
	if v := verdicts(t, with(hook.Secret), with(rotated.Secret)); v[0] != "ok" || v[1] != "ok" {
		t.Errorf("while both count: %v", v)
	}
	var log []struct{ State string }
	command(t, s, &log, "webhook", "deliveries", hook.ID)
	for _, d := range log {
		if d.State != "DELIVERED" {
			t.Errorf("%+v", log)
		}
	}
}

func TestF9_KilledWhileAMessageIsUnderWayItIsSentAgainTheSame(t *testing.T) {
	t.Parallel()
	s := program.Start(t, bin, t.TempDir(), allow)
	merchant := open(t)
	merchant.hold = make(chan struct{})
	var hook webhook
	command(t, s, &hook, "webhook", "create", merchant.URL)
	command(t, s, nil, "webhook", "test", hook.ID)
	merchant.wait(t, 1, 20*time.Second)
	s.Kill()
	merchant.mu.Lock()
	close(merchant.hold)
	merchant.hold = nil
	merchant.mu.Unlock()
	s.Start()
	got := merchant.wait(t, 2, 60*time.Second) // once the lease of the dead is over
	if got[0].Body != got[1].Body || got[0].Headers["webhook-id"] != got[1].Headers["webhook-id"] {
		t.Errorf("%+v", got)
	}
	got[1].Secret = hook.Secret
	if v := verdicts(t, got[1]); v[0] != "ok" {
		t.Error(v)
	}
}
