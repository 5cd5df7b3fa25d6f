package provider

import (
	"context"
	"database/sql"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/kv"
)

// introspect asks about a token as the client.
func (h *house) introspect(client, token string) reply {
	return call(h.p.Introspect, h.as(client, "/introspect", form("token", token)))
}

func (h *house) revoke(client, token string) reply {
	return call(h.p.Revoke, h.as(client, "/revoke", form("token", token)))
}

// inactive checks that an answer tells nothing at all.
func (r reply) inactive(t testing.TB) {
	t.Helper()
	if r.StatusCode != http.StatusOK || strings.TrimSpace(r.text) != `{"active":false}` {
		t.Errorf("got %d %s, want only active: false", r.StatusCode, r.text)
	}
}

func TestIntrospectionTellsAClientAboutItsTokens(t *testing.T) {
	h := newHouse(t)
	got := h.tokens()
	access := h.introspect("cli_web", got.str("access_token"))
	now := float64(h.clk.Now().Unix())
	for name, want := range map[string]any{
		"active": true, "iss": issuer, "sub": h.user, "client_id": "cli_web", "scope": "openid email", "token_type": "Bearer",
		"iat": now, "exp": now + 300, "acr": "urn:mobileid:acr:web", "auth_time": now, "sid": "sid_1",
	} {
		if access.json[name] != want {
			t.Errorf("%s is %v, want %v", name, access.json[name], want)
		}
	}
	if access.Header.Get("Cache-Control") != "no-store" {
		t.Error("the answer may be stored")
	}
	refresh := h.introspect("cli_web", got.str("refresh_token"))
	if refresh.json["active"] != true || refresh.json["token_type"] != nil || refresh.str("sub") != h.user {
		t.Errorf("refresh token: %s", refresh.text)
	}
	h.token("grant_type", grantToken, "refresh_token", got.str("refresh_token"))
	h.introspect("cli_web", got.str("refresh_token")).inactive(t)

	machine := h.introspect("cli_web", h.token("grant_type", grantClient).str("access_token"))
	if machine.json["active"] != true || machine.str("sub") != "cli_web" || machine.str("scope") != "users:write" {
		t.Errorf("client_credentials: %s", machine.text)
	}
	call(h.p.Introspect, h.as("cli_web", "/introspect", form("token_type_hint", "access_token"))).refuses(t, 400, codeInvalidRequest)
	call(h.p.Introspect, post("/introspect", form("token", "x").Encode())).refuses(t, 401, codeInvalidClient)
	call(h.p.Introspect, post("/introspect", form("token", "x", "client_id", "cli_app").Encode())).refuses(t, 400, codeUnauthorizedClient)
}

func TestB10_ATokenThatWasTouchedIsNotActive(t *testing.T) {
	h := newHouse(t)
	got := h.tokens()
	for _, name := range []string{"access_token", "refresh_token"} {
		token := got.str(name)
		for _, v := range []string{token[:len(token)-1], token + "A", token + "=", strings.ToUpper(token), flip(token)} {
			h.introspect("cli_web", v).inactive(t)
		}
		if h.introspect("cli_web", token).json["active"] != true {
			t.Errorf("the true %s is not active", name)
		}
	}
}

// flip changes one bit in the middle.
func flip(token string) string {
	b := []byte(token)
	b[len(b)/2] ^= 1
	return string(b)
}

func TestB9_NothingIsActiveOnceUserDeviceOrClientIsWithdrawn(t *testing.T) {
	for name, withdraw := range map[string]func(h *house, tx *db.Tx) error{
		"user":   func(h *house, tx *db.Tx) error { return tx.SetUserState(h.user, db.UserLocked) },
		"device": func(h *house, tx *db.Tx) error { return tx.SetDeviceState(h.device, db.DeviceDeactivated) },
		"client": func(_ *house, tx *db.Tx) error { return tx.DisableClient("cli_web") },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			got := h.tokens()
			h.clk.Advance(time.Second)
			if err := h.db.Update(t.Context(), func(tx *db.Tx) error { return withdraw(h, tx) }); err != nil {
				t.Fatal(err)
			}
			h.clk.Advance(ClientFresh)
			if name != "client" {
				h.introspect("cli_web", got.str("access_token")).inactive(t)
				h.introspect("cli_web", got.str("refresh_token")).inactive(t)
			} else {
				h.introspect("cli_web", got.str("access_token")).refuses(t, 401, codeInvalidClient)
			}
			if h.alive(got.str("access_token")) {
				t.Error("userinfo still answers")
			}
		})
	}
}

// What a disabled client was given comes back to life by nothing: not by enabling
// it, whatever the token is and whoever gave it last.
func TestB9_WhatAClientWasGivenStaysDeadWhenItIsEnabledAgain(t *testing.T) {
	h := newHouse(t)
	h.client("cli_jwt", func(s *db.ClientSettings) { s.TokenFormat = formatJWT })
	given := func(id string) reply {
		return call(h.p.Token, h.as(id, "/token", form("grant_type", grantClient)))
	}
	alive := func(token string) bool {
		_, err := h.p.VerifyAccessToken(t.Context(), token)
		return err == nil
	}
	dead := map[string]string{"user's": h.tokens().str("access_token")}
	for _, id := range []string{"cli_web", "cli_jwt"} {
		dead[id] = given(id).str("access_token")
		if err := h.db.Update(t.Context(), func(tx *db.Tx) error { return tx.DisableClient(id) }); err != nil {
			t.Fatal(err)
		}
	}
	h.clk.Advance(ClientFresh / 2)
	for _, id := range []string{"cli_web", "cli_jwt"} { // the node has not followed yet
		if dead[id+", late"] = given(id).str("access_token"); dead[id+", late"] == "" {
			t.Fatalf("%s was refused sooner than this test wants it", id)
		}
	}
	h.clk.Advance(ClientFresh)
	for name, token := range dead {
		if alive(token) {
			t.Errorf("disabled: the token is good: %s", name)
		}
	}
	for _, id := range []string{"cli_web", "cli_jwt"} {
		if err := h.db.Update(t.Context(), func(tx *db.Tx) error { return tx.EnableClient(id) }); err != nil {
			t.Fatal(err)
		}
	}
	h.clk.Advance(ClientFresh)
	for name, token := range dead {
		if alive(token) {
			t.Errorf("enabled again: the token is good: %s", name)
		}
	}
	for name, token := range map[string]string{"user's": h.tokens().str("access_token"), "cli_web": given("cli_web").str("access_token"), "cli_jwt": given("cli_jwt").str("access_token")} {
		if !alive(token) {
			t.Errorf("a new token is dead: %s", name)
		}
	}
}

func TestB13_AnotherClientsTokenIsNeitherToldAboutNorRevoked(t *testing.T) {
	h := newHouse(t)
	got := h.tokens()
	for _, name := range []string{"access_token", "refresh_token"} {
		h.introspect("cli_other", got.str(name)).inactive(t)
		if res := h.revoke("cli_other", got.str(name)); res.StatusCode != 200 || res.text != "" {
			t.Errorf("%d %s", res.StatusCode, res.text)
		}
		if h.introspect("cli_web", got.str(name)).json["active"] != true {
			t.Errorf("another client revoked the %s", name)
		}
	}
	if !h.alive(got.str("access_token")) {
		t.Error("the access token is dead")
	}
}

func TestRevocationEndsAnAccessTokenAloneAndAGrantByItsRefreshToken(t *testing.T) {
	h := newHouse(t)
	got := h.tokens()
	if res := h.revoke("cli_web", got.str("access_token")); res.StatusCode != 200 {
		t.Fatalf("%d %s", res.StatusCode, res.text)
	}
	h.introspect("cli_web", got.str("access_token")).inactive(t)
	next := h.token("grant_type", grantToken, "refresh_token", got.str("refresh_token"))
	if next.StatusCode != 200 || !h.alive(next.str("access_token")) {
		t.Fatalf("the grant ended with its access token: %s", next.text)
	}
	// Even one that was used before ends the grant, and all it gave.
	if res := h.revoke("cli_web", got.str("refresh_token")); res.StatusCode != 200 {
		t.Fatalf("%d %s", res.StatusCode, res.text)
	}
	if h.alive(next.str("access_token")) {
		t.Error("an access token outlives its grant")
	}
	h.token("grant_type", grantToken, "refresh_token", next.str("refresh_token")).refuses(t, 400, codeInvalidGrant)
	for _, unknown := range []string{"x", got.str("id_token"), got.str("access_token")} {
		if res := h.revoke("cli_web", unknown); res.StatusCode != 200 {
			t.Errorf("%d %s", res.StatusCode, res.text)
		}
	}
	public := call(h.p.Revoke, post("/revoke", form("client_id", "cli_app", "token", "x").Encode()))
	if public.StatusCode != 200 {
		t.Errorf("a public client: %s", public.text)
	}
	if _, err := audit.Verify(t.Context(), h.db, nil); err != nil {
		t.Error(err)
	}
}

func TestARevokedAccessTokenStaysDeadWhenAnOldStoreComesBack(t *testing.T) {
	h := newHouse(t)
	token := h.tokens().str("access_token")
	val, err := h.kv.Get(t.Context(), accessKey(digest(token)))
	if err != nil {
		t.Fatal(err)
	}
	h.revoke("cli_web", token)
	if err := h.kv.Create(t.Context(), accessKey(digest(token)), val, time.Hour); err != nil {
		t.Fatal(err)
	}
	h.introspect("cli_web", token).inactive(t)
}

func TestB14_ARevocationThatCannotBeWrittenIs503(t *testing.T) {
	h := newHouse(t)
	got := h.tokens()
	t.Run("kv does not answer", func(t *testing.T) {
		was := h.p.kv
		h.p.kv = deaf{h.kv}
		defer func() { h.p.kv = was }()
		h.revoke("cli_web", got.str("access_token")).refuses(t, 503, codeUnavailable)
	})
	t.Run("SQL reads and does not write", func(t *testing.T) {
		d, err := sql.Open("sqlite", "file:"+h.file+"?_pragma=busy_timeout(10000)")
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		do := func(text string) {
			t.Helper()
			if _, err := d.ExecContext(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
		do(`CREATE TRIGGER full BEFORE INSERT ON audit_records BEGIN SELECT RAISE(ABORT, 'disk full'); END`)
		for _, name := range []string{"access_token", "refresh_token"} {
			h.revoke("cli_web", got.str(name)).refuses(t, 503, codeUnavailable)
			// And nothing half done: the token is as good as before.
			if h.introspect("cli_web", got.str(name)).json["active"] != true {
				t.Errorf("the %s is dead, and the client was told that it is not", name)
			}
		}
		do(`DROP TRIGGER full`)
		one := h.tokens()
		for _, name := range []string{"access_token", "refresh_token"} {
			if res := h.revoke("cli_web", one.str(name)); res.StatusCode != 200 {
				t.Errorf("again: %d %s", res.StatusCode, res.text)
			}
			h.introspect("cli_web", one.str(name)).inactive(t)
		}
	})
	t.Run("kv forgets nothing that SQL knows", func(t *testing.T) {
		one := h.tokens().str("access_token")
		was := h.p.kv
		h.p.kv = undeletable{h.kv}
		defer func() { h.p.kv = was }()
		if res := h.revoke("cli_web", one); res.StatusCode != 200 {
			t.Errorf("%d %s", res.StatusCode, res.text)
		}
		h.introspect("cli_web", one).inactive(t)
	})
	t.Run("SQL does not answer", func(t *testing.T) {
		if err := h.db.Close(); err != nil {
			t.Fatal(err)
		}
		h.revoke("cli_web", got.str("access_token")).refuses(t, 503, codeUnavailable)
		h.revoke("cli_web", got.str("refresh_token")).refuses(t, 503, codeUnavailable)
	})
}

// undeletable is a store that loses the reply to every deletion.
type undeletable struct{ kv.KV }

func (undeletable) Delete(context.Context, string) error { return errDeaf }

func TestB6_AfterARevocationReturnedNothingThatARaceGaveWorks(t *testing.T) {
	h := newHouse(t)
	for range 8 {
		got := h.tokens()
		var wg sync.WaitGroup
		answers := make([]reply, 6)
		for i := range answers {
			wg.Go(func() { answers[i] = h.token("grant_type", grantToken, "refresh_token", got.str("refresh_token")) })
		}
		revoked := h.revoke("cli_web", got.str("refresh_token"))
		wg.Wait()
		if revoked.StatusCode != 200 {
			t.Fatalf("%d %s", revoked.StatusCode, revoked.text)
		}
		for _, a := range append(answers, got) {
			if a.StatusCode != 200 {
				continue
			}
			if h.alive(a.str("access_token")) {
				t.Error("an access token works after the revocation")
			}
			h.token("grant_type", grantToken, "refresh_token", a.str("refresh_token")).refuses(t, 400, codeInvalidGrant)
		}
	}
}
