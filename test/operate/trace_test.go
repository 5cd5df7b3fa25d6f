package operate_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/test/rig"
)

// collector takes what an OpenTelemetry collector takes, and keeps the bytes.
type collector struct {
	*httptest.Server
	mu   sync.Mutex
	path string
	got  bytes.Buffer
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.path = r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type")
		c.got.Write(body)
	}))
	t.Cleanup(c.Close)
	return c
}

func TestTracesTellWhatWasDoneAndNothingOfWhatWasSaid(t *testing.T) {
	c := newCollector(t)
	r := rig.Start(t, rig.Options{Trace: c.URL})
	u, p := r.Person()
	ask := r.Ask(r.Backend, u, "binding_message", "Order c4nary")
	op := r.Waiting(p)
	r.Approve(p, "")
	tokens := r.Poll(r.Backend, ask.Text("auth_req_id"))
	if tokens.Status != http.StatusOK {
		t.Fatal(tokens.Body)
	}
	b := r.Browser()
	params := r.Login(b, u, p, "state", "st4te-c4nary", "nonce", "n0nce-c4nary")
	r.Redeem(params.Get("code"))
	r.Get("/userinfo", "Authorization", "Bearer "+tokens.Text("access_token"), "User-Agent", "c4nary-agent",
		"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	state := r.State(p)
	r.Stop() // sends what is left

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.path != "POST /v1/traces application/x-protobuf" {
		t.Errorf("the collector was sent %q", c.path)
	}
	sent := c.got.String()
	for _, span := range []string{"service.name", "mobileid", "/bc-authorize", "POST /mid/v1/rpc", "mid.op.answer", "db.update", "db.view", "kv.get", "kv.create", "/token", "/userinfo"} {
		if !strings.Contains(sent, span) {
			t.Errorf("no %s in the traces", span)
		}
	}
	for name, secret := range map[string]string{
		"auth_req_id": ask.Text("auth_req_id"), "access token": tokens.Text("access_token"), "ID token": tokens.Text("id_token"),
		"code": params.Get("code"), "operation": op.Txn, "user": u.ID, "externalRef": u.ExternalRef, "client": r.Web.ClientID, "secret": r.Web.ClientSecret,
		"canary": "c4nary", "PIN": rig.PIN, "device": state.Device, "address": "127.0.0.1", "query": "client_id=",
	} {
		if secret == "" || strings.Contains(sent, secret) {
			t.Errorf("the traces hold the %s %q", name, secret)
		}
	}
}

func TestACollectorThatIsAwayHoldsNothingUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := rig.Start(t, rig.Options{Trace: "http://" + l.Addr().String()})
	busy(t, r)
	begun := time.Now()
	r.Stop()
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("the end took %s", took)
	}
}
