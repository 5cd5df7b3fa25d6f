package chaos

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"mobileid/internal/kv/kvtest"
	"mobileid/sdk/wire"
	"mobileid/test/program"
)

// TestRedisWipedWhileLoginsWaitAsksToTryAgain empties Redis while a redirect
// login and backchannel requests wait: what nobody has answered ends in "start
// again", what was approved gives its tokens, and the next login works.
func TestRedisWipedWhileLoginsWaitAsksToTryAgain(t *testing.T) {
	redis := kvtest.StartRedis(t)
	dir := t.TempDir()
	srv := program.Start(t, bin, dir, "MOBILEID_KV__URL="+redis.URL())
	c := &client{t: t, srv: srv, c: http.Client{Timeout: 30 * time.Second}}
	s := c.person(dir)
	ref, p := s.ref, s.phone

	// A redirect login waits.
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := http.Client{Jar: jar, Timeout: 10 * time.Second}
	q := url.Values{"client_id": {srv.Shop.ID}, "redirect_uri": {srv.ShopURL + "/callback"}, "response_type": {"code"}, "scope": {"openid"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"}, "login_hint": {ref}}
	page, err := browser.Get(srv.Issuer + "/authorize?" + q.Encode())
	if err != nil || !strings.Contains(page.Request.URL.Path, "/i/") {
		t.Fatalf("no login page: %v %v", page, err)
	}
	page.Body.Close()
	// A backchannel request of another client waits, approved and not yet polled.
	approved := c.ask(url.Values{"scope": {"openid"}, "login_hint": {ref}})
	ops, err := p.List(t.Context())
	if err != nil || len(ops) != 2 {
		t.Fatalf("%d operations wait: %v", len(ops), err)
	}
	for i := range ops {
		if ops[i].Match == wire.MatchNone {
			if _, err := p.Approve(t.Context(), &ops[i], pin, ""); err != nil {
				t.Fatal(err)
			}
		}
	}

	pending := c.ask(url.Values{"scope": {"openid"}, "login_hint": {ref}})

	redis.CLI("FLUSHALL")

	after, err := browser.Get(page.Request.URL.String())
	if err != nil {
		t.Fatal(err)
	}
	after.Body.Close()
	if after.StatusCode != http.StatusNotFound {
		t.Errorf("the login page after the loss: %s, want 404 and a page that says to start again", after.Status)
	}
	a, err := c.form("/token", url.Values{"grant_type": {"urn:openid:params:grant-type:ciba"}, "auth_req_id": {pending}})
	if err != nil || a.status != http.StatusBadRequest || a.text("error") != "invalid_grant" {
		t.Errorf("the poll after the loss: %v %v, want invalid_grant", a, err)
	}
	a, err = c.form("/token", url.Values{"grant_type": {"urn:openid:params:grant-type:ciba"}, "auth_req_id": {approved}})
	if err != nil || a.status != http.StatusOK || a.text("id_token") == "" {
		t.Errorf("the poll of what was approved before the loss: %v %v, want tokens", a, err)
	}
	if ops, err := p.List(t.Context()); err != nil || len(ops) != 0 {
		t.Errorf("the phone after the loss sees %d operations, %v", len(ops), err)
	}
	if h := c.login(s, false); len(h.tokens) != 1 {
		t.Errorf("the next login: %+v", h)
	}
}

// ask starts a backchannel request and returns its auth_req_id.
func (c *client) ask(form url.Values) string {
	c.t.Helper()
	return c.insist(200, func() (answer, error) { return c.form("/bc-authorize", form) }).text("auth_req_id")
}
