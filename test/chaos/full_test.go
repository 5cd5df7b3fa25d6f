package chaos

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"mobileid/internal/kv/kvtest"
	"mobileid/test/rig"
)

// R8: a Redis without memory refuses writes. Whoever wants to begin is told 503 and
// that it is for the moment; what was begun is still there and is decided in SQL.
func TestR8_WithoutMemoryNewStartsAreUnavailableAndLiveOnesStay(t *testing.T) {
	redis := kvtest.StartRedis(t)
	r := rig.Start(t, rig.Options{KV: redis.URL(), Log: 12})
	u, p := r.Person()
	other, _ := r.Person()
	token := r.Token()
	id := r.Ask(r.Backend, u).Text("auth_req_id")
	redis.CLI("config", "set", "maxmemory", "1")
	for name, start := range map[string]func() (rig.Answer, error){
		"a backchannel request": func() (rig.Answer, error) {
			return r.TryPost("/bc-authorize", r.Backend, map[string][]string{"scope": {"openid"}, "login_hint": {other.ExternalRef}})
		},
		"an authentication by REST": func() (rig.Answer, error) {
			return r.TryREST(token, "POST", "/authentications", map[string]any{"userId": other.ID, "preContext": map[string]any{"content": "Log in"}})
		},
		"a login page": func() (rig.Answer, error) {
			return r.Browser().Open(r.AuthorizeURL("login_hint", other.ExternalRef)).Answer, nil
		},
		"tokens of a client's own": func() (rig.Answer, error) {
			return r.TryPost("/token", r.Backend, map[string][]string{"grant_type": {"client_credentials"}})
		},
	} {
		a, err := start()
		if err != nil || a.Status != http.StatusServiceUnavailable {
			t.Errorf("%s: %s %v, want 503", name, a, err)
		}
		if strings.Contains(a.Body, "OOM") || strings.Contains(a.Body, "maxmemory") {
			t.Errorf("%s tells what is wrong with the store: %s", name, a)
		}
	}
	op := r.Waiting(p)
	if reply, err := p.Approve(t.Context(), op, rig.PIN, ""); rig.Answered(reply, err) != "COMPLETED" {
		t.Errorf("the answer to what had begun: %+v %v", reply, err)
	}
	redis.CLI("config", "set", "maxmemory", "0")
	var got rig.Answer
	for deadline := time.Now().Add(10 * time.Second); got.Status != http.StatusOK && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		got = r.Poll(r.Backend, id)
	}
	if got.Text("id_token") == "" {
		t.Errorf("its tokens once there is memory: %s", got)
	}
	r.Ask(r.Backend, other)
}
