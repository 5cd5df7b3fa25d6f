package provider

import (
	"strings"
	"testing"
	"time"

	"mobileid/internal/db"
)

// use presents a refresh token as cli_web.
func (h *house) use(token string, more ...string) reply {
	return h.token(append([]string{"grant_type", grantToken, "refresh_token", token}, more...)...)
}

func TestB5_AReusedRefreshTokenEndsTheGrant(t *testing.T) {
	ended := func(t *testing.T, h *house, tokens ...reply) {
		t.Helper()
		for i, r := range tokens {
			if h.alive(r.str("access_token")) {
				t.Errorf("access token %d lives on", i)
			}
			h.use(r.str("refresh_token")).refuses(t, 400, codeInvalidGrant)
		}
	}
	t.Run("an older generation in the same second", func(t *testing.T) {
		h := newHouse(t)
		r0 := h.tokens()
		r1 := h.use(r0.str("refresh_token"))
		r2 := h.use(r1.str("refresh_token"))
		if r2.StatusCode != 200 {
			t.Fatal(r2.text)
		}
		h.use(r0.str("refresh_token")).refuses(t, 400, codeInvalidGrant)
		ended(t, h, r0, r1, r2)
		if n := records(t, h, "grant.revoked"); n != 1 {
			t.Errorf("%d records", n)
		}
	})
	t.Run("the last one after the grace", func(t *testing.T) {
		h := newHouse(t)
		r0 := h.tokens()
		r1 := h.use(r0.str("refresh_token"))
		h.clk.Advance(grace + time.Millisecond)
		h.use(r0.str("refresh_token")).refuses(t, 400, codeInvalidGrant)
		ended(t, h, r0, r1)
	})
	t.Run("after a restart", func(t *testing.T) {
		h := newHouse(t)
		r0 := h.tokens()
		r1 := h.use(r0.str("refresh_token"))
		r2 := h.use(r1.str("refresh_token"))
		h.p = h.provider(h.clk)
		h.use(r0.str("refresh_token")).refuses(t, 400, codeInvalidGrant)
		h.p = h.provider(h.clk) // and the revocation is durable
		ended(t, h, r0, r1, r2)
	})
}

func TestALostReplyGivesTheSameSuccessor(t *testing.T) {
	h := newHouse(t)
	r0 := h.tokens()
	r1 := h.use(r0.str("refresh_token"))
	h.clk.Advance(grace)
	again := h.use(r0.str("refresh_token"))
	if again.StatusCode != 200 || again.str("refresh_token") != r1.str("refresh_token") || again.str("access_token") == r1.str("access_token") {
		t.Fatalf("again: %s, first: %s", again.text, r1.text)
	}
	if !h.alive(again.str("access_token")) || !h.alive(r1.str("access_token")) {
		t.Error("one of the answers does not work")
	}
	t.Run("only while the successor is unused", func(t *testing.T) {
		h := newHouse(t)
		r0 := h.tokens()
		r1 := h.use(r0.str("refresh_token"))
		h.use(r1.str("refresh_token"))
		h.use(r0.str("refresh_token")).refuses(t, 400, codeInvalidGrant)
	})
}

func TestB7_ARefreshTokenOfAnotherClientIsRefusedAndItsOwnerUnharmed(t *testing.T) {
	h := newHouse(t)
	r0 := h.tokens()
	r1 := h.use(r0.str("refresh_token"))
	for _, token := range []string{r0.str("refresh_token"), r1.str("refresh_token")} {
		res := call(h.p.Token, h.as("cli_other", "/token", form("grant_type", grantToken, "refresh_token", token)))
		res.refuses(t, 400, codeInvalidGrant)
		if !h.alive(r1.str("access_token")) {
			t.Fatal("another client ended the owner's grant")
		}
	}
	h.clk.Advance(time.Minute)
	call(h.p.Token, h.as("cli_other", "/token", form("grant_type", grantToken, "refresh_token", r0.str("refresh_token")))).refuses(t, 400, codeInvalidGrant)
	if res := h.use(r1.str("refresh_token")); res.StatusCode != 200 {
		t.Errorf("the owner's refresh: %s", res.text)
	}
}

func TestB8_ARefreshNarrowsTheScopeAndNeverGrowsIt(t *testing.T) {
	h := newHouse(t)
	r0 := h.tokens("scope", "openid email")
	r1 := h.use(r0.str("refresh_token"), "scope", "email")
	if r1.str("scope") != "email" || r1.json["id_token"] != nil {
		t.Errorf("narrowed: %s", r1.text)
	}
	tok, err := h.p.VerifyAccessToken(t.Context(), r1.str("access_token"))
	if err != nil || len(tok.Scopes) != 1 {
		t.Errorf("the access token has %v, %v", tok, err)
	}
	for _, scope := range []string{"openid email phone", "phone", "nope", "Email", "openid users:write"} {
		h.use(r1.str("refresh_token"), "scope", scope).refuses(t, 400, codeInvalidScope)
	}
	r2 := h.use(r1.str("refresh_token"))
	if r2.StatusCode != 200 || r2.str("scope") != "openid email" {
		t.Errorf("the refresh token's own scope changed: %s", r2.text)
	}
	t.Run("a scope that the client lost", func(t *testing.T) {
		if err := h.db.Update(t.Context(), func(tx *db.Tx) error {
			c, err := tx.Client("cli_web")
			if err != nil {
				return err
			}
			c.Settings.Scopes = []string{"openid"}
			return tx.SetClientSettings("cli_web", c.Settings)
		}); err != nil {
			t.Fatal(err)
		}
		h.clk.Advance(ClientFresh)
		h.use(r2.str("refresh_token")).refuses(t, 400, codeInvalidScope)
	})
}

func TestARefreshTokenLivesThirtyDaysFromItsLastUse(t *testing.T) {
	h := newHouse(t)
	r := h.tokens()
	for range 3 {
		h.clk.Advance(refreshLife - time.Second)
		if r = h.use(r.str("refresh_token")); r.StatusCode != 200 {
			t.Fatal(r.text)
		}
	}
	h.clk.Advance(refreshLife)
	h.use(r.str("refresh_token")).refuses(t, 400, codeInvalidGrant)
}

func TestARefreshTokenIsGoodByteForByte(t *testing.T) {
	h := newHouse(t)
	token := h.tokens().str("refresh_token")
	family, rest, _ := strings.Cut(token, ".")
	gen, mac, _ := strings.Cut(rest, ".")
	bad := []string{token[:len(token)-1], token + "A", token + "=", " " + token, strings.ToUpper(family) + "." + rest, family + ".0" + gen + "." + mac,
		family + ".2." + mac, family + ".-1." + mac, family + ".+1." + mac, family + "." + mac, "x" + token, family + ".1.", "fam_" + token}
	for i := range token {
		b := []byte(token)
		b[i] ^= 1
		bad = append(bad, string(b))
	}
	for _, v := range bad {
		h.use(v).refuses(t, 400, codeInvalidGrant)
	}
	if res := h.use(token); res.StatusCode != 200 {
		t.Errorf("the true one: %s", res.text)
	}
	t.Run("by another master key it is nothing", func(t *testing.T) {
		other := h.provider(h.clk)
		other.refreshKey = make([]byte, 32)
		if _, _, ok := other.readRefreshToken(token); ok {
			t.Error("accepted")
		}
	})
}

func TestNoRefreshTokenForAClientWithoutTheGrant(t *testing.T) {
	h := newHouse(t)
	if err := h.db.Update(t.Context(), func(tx *db.Tx) error {
		c, err := tx.Client("cli_web")
		if err != nil {
			return err
		}
		c.Settings.GrantTypes = []string{grantCode, grantCIBA}
		return tx.SetClientSettings("cli_web", c.Settings)
	}); err != nil {
		t.Fatal(err)
	}
	if res := h.tokens(); res.json["refresh_token"] != nil {
		t.Errorf("code: %s", res.text)
	}
	id := h.ciba()
	h.approve(id)
	if res := h.token("grant_type", grantCIBA, "auth_req_id", id); res.StatusCode != 200 || res.json["refresh_token"] != nil {
		t.Errorf("CIBA: %s", res.text)
	}
	h.use("x").refuses(t, 400, codeUnauthorizedClient) // B17
}
