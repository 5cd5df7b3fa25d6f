package attacks

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/db"
	"mobileid/test/rig"
)

// canary is a server that nobody may connect to; it counts those who do.
func canary(t *testing.T) (address string, connected *atomic.Int64) {
	t.Helper()
	connected = &atomic.Int64{}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			connected.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL, connected
}

// Of the addresses in a client's settings some are called, and those are tested in
// TestF1_F2_NoPrivateAddressIsCalled; the others are only where a browser is sent.
// A new one has to be put with one or the other.
func TestF1_EveryAddressOfAClientIsKnownToBeCalledOrNot(t *testing.T) {
	t.Parallel()
	called := map[string]bool{"redirect_uris": false, "post_logout_redirect_uris": false, "jwks_uri": true, "backchannel_logout_uri": true}
	settings := reflect.TypeFor[db.ClientSettings]()
	n := 0
	for i := range settings.NumField() {
		f := settings.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !strings.Contains(strings.ToLower(f.Name), "uri") && !strings.Contains(strings.ToLower(f.Name), "url") && !strings.Contains(strings.ToLower(f.Name), "endpoint") {
			continue
		}
		n++
		if _, known := called[name]; !known {
			t.Errorf("%s (%s) is in no test of addresses", f.Name, name)
		}
	}
	if n != len(called) {
		t.Errorf("%d addresses, %d are known", n, len(called))
	}
}

func TestF1_WhereABrowserIsSentIsNeverCalledByTheServer(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	address, connected := canary(t)
	at := address + "/cb"
	c := r.Client(node.ClientOptions{Name: "Inside", Grants: []string{"authorization_code"}, RedirectURIs: []string{at}, Scopes: []string{"openid"}, PostLogoutURIs: []string{address + "/bye"}})
	b := r.Browser()
	// The rig's browser follows what stays on the server and stops before all else.
	for _, mode := range []string{"query", "form_post"} {
		page := b.Open(r.AuthorizeURL("client_id", c.ClientID, "redirect_uri", at, "scope", "openid", "login_hint", u.ExternalRef, "response_mode", mode, "prompt", "login"))
		r.Approve(p, page.Match())
		page = b.Open(page.URL.String())
		code := ""
		if page.Left != nil {
			code = page.Left.Query().Get("code")
		} else if !strings.Contains(page.Body, `action="`+at+`"`) {
			t.Fatalf("%s: %s", mode, page.Answer)
		}
		if mode == "query" {
			hint := r.Post("/token", c, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {at}, "code_verifier": {rig.Verifier}}).Text("id_token")
			if hint == "" {
				t.Fatalf("no token for %s", code)
			}
			if bye := logout(r, b, "id_token_hint", hint, "post_logout_redirect_uri", address+"/bye"); bye.Left == nil && !strings.Contains(bye.Body, address+"/bye") {
				t.Fatalf("logout: %s", bye.Answer)
			}
		}
	}
	time.Sleep(1500 * time.Millisecond) // what the outbox would send by now
	if n := connected.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// The time-stamping authority is the operator's own choice, and goes by the same way
// out: one inside has to be in egress.allow.
func TestF1_AnAuthorityInsideThatIsNotAllowedIsNotCalled(t *testing.T) {
	t.Parallel()
	address, connected := canary(t)
	r := rig.Start(t, rig.Options{TSA: address})
	u, p := r.Person()
	a := r.REST("POST", "/signatures", map[string]any{"userId": u.ID, "preContext": map[string]any{"content": "I agree."}})
	r.Approve(p, "")
	time.Sleep(1500 * time.Millisecond)
	got := r.REST("GET", "/signatures/"+a.Text("id")+"/evidence", nil)
	if got.Status != http.StatusOK || got.Text("evidence") == "" || got.Text("timestamp") != "" {
		t.Errorf("%s", got)
	}
	if n := connected.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
}
