package provider

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/keys"
)

func TestA8_ACodeIsDeadAfterTheFirstWrongPresentation(t *testing.T) {
	h := newHouse(t)
	for _, setting := range append(pkceSettings(), "") {
		h.change("cli_web", func(s *db.ClientSettings) { s.PKCE = setting })
		for _, tc := range []struct {
			name   string
			change []string
		}{
			{"a verifier of one character", []string{"code_verifier", "x"}},
			{"another verifier", []string{"code_verifier", strings.Repeat("x", 43)}},
			{"a verifier too long", []string{"code_verifier", strings.Repeat("x", 129)}},
			{"the challenge as verifier", []string{"code_verifier", challenge()}},
			{"A6 A7 no verifier", []string{"-code_verifier", ""}},
			{"an empty verifier", []string{"code_verifier", ""}},
			{"no redirect_uri", []string{"-redirect_uri", ""}},
			{"another redirect_uri", []string{"redirect_uri", "https://shop.example.com/cb/"}},
		} {
			t.Run("pkce "+setting+", "+tc.name, func(t *testing.T) {
				code := h.code()
				h.redeem(code, tc.change...).refuses(t, 400, codeInvalidGrant)
				// 4.1: with fosite alone the same code without a verifier now gives tokens.
				h.redeem(code, "-code_verifier", "").refuses(t, 400, codeInvalidGrant)
				h.redeem(code).refuses(t, 400, codeInvalidGrant)
			})
		}
	}
	t.Run("a thousand guesses", func(t *testing.T) {
		code := h.code()
		for range 1000 {
			h.redeem(code, "code_verifier", strings.Repeat("y", 43)).refuses(t, 400, codeInvalidGrant)
		}
		h.redeem(code).refuses(t, 400, codeInvalidGrant)
	})
}

func TestA9_ACodeOfAnotherLoginNeedsItsVerifier(t *testing.T) {
	h := newHouse(t)
	stolen := h.code("code_challenge", strings.Repeat("A", 43))
	h.redeem(stolen).refuses(t, 400, codeInvalidGrant)
}

func TestA10_ACodeShownByAnotherClientIsRevoked(t *testing.T) {
	h := newHouse(t)
	v := func(code string) []string {
		return []string{"grant_type", grantCode, "code", code, "redirect_uri", "https://shop.example.com/cb", "code_verifier", verifier}
	}
	code := h.code()
	call(h.p.Token, h.as("cli_other", "/token", form(v(code)...))).refuses(t, 400, codeInvalidGrant)
	h.redeem(code).refuses(t, 400, codeInvalidGrant)
	t.Run("who names its owner in the body", func(t *testing.T) {
		code := h.code()
		call(h.p.Token, h.as("cli_other", "/token", form(append(v(code), "client_id", "cli_web")...))).refuses(t, 400, codeInvalidRequest)
		if res := h.redeem(code); res.StatusCode != 200 {
			t.Errorf("a request that never got to the code killed it: %s", res.text)
		}
	})
	t.Run("who is not authenticated leaves it alone", func(t *testing.T) {
		code := h.code()
		r := post("/token", form(v(code)...).Encode())
		r.SetBasicAuth("cli_web", "wrong")
		call(h.p.Token, r).refuses(t, 401, codeInvalidClient)
		if res := h.redeem(code); res.StatusCode != 200 {
			t.Errorf("%s", res.text)
		}
	})
}

func TestA11_AReplayedCodeEndsWhatItGave(t *testing.T) {
	for _, after := range []time.Duration{0, time.Second, 30 * time.Second, 2 * time.Minute} {
		t.Run(after.String(), func(t *testing.T) {
			h := newHouse(t)
			code := h.code()
			res := h.redeem(code)
			access := res.str("access_token")
			if !h.alive(access) {
				t.Fatal("no token to lose")
			}
			h.clk.Advance(after)
			h.redeem(code).refuses(t, 400, codeInvalidGrant)
			if h.alive(access) {
				t.Error("the access token lives on")
			}
			h.token("grant_type", grantToken, "refresh_token", res.str("refresh_token")).refuses(t, 400, codeInvalidGrant)
		})
	}
	t.Run("shown by another client", func(t *testing.T) {
		h := newHouse(t)
		code := h.code()
		access := h.redeem(code).str("access_token")
		call(h.p.Token, h.as("cli_other", "/token", form("grant_type", grantCode, "code", code, "code_verifier", verifier))).refuses(t, 400, codeInvalidGrant)
		if h.alive(access) {
			t.Error("the code leaked, and what it gave lives on")
		}
	})
	t.Run("the record is made once", func(t *testing.T) {
		h := newHouse(t)
		code := h.code()
		h.redeem(code)
		for range 3 {
			h.redeem(code).refuses(t, 400, codeInvalidGrant)
		}
		if n := records(t, h, "grant.revoked"); n != 1 {
			t.Errorf("%d records of the revocation", n)
		}
		if n := records(t, h, "grant.created"); n != 1 {
			t.Errorf("%d records of the grant", n)
		}
	})
}

// records counts the audit records of an act.
func records(t *testing.T, h *house, act string) (n int) {
	t.Helper()
	err := h.db.View(t.Context(), func(tx *db.Tx) error {
		return tx.AuditRecords(func(r db.AuditRecord) error {
			if strings.Contains(r.Body, `"`+act+`"`) {
				n++
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestA14_ACodeLivesSixtySeconds(t *testing.T) {
	h := newHouse(t)
	code := h.code()
	h.clk.Advance(61 * time.Second)
	h.redeem(code).refuses(t, 400, codeInvalidGrant)
	code = h.code()
	h.clk.Advance(59 * time.Second)
	if res := h.redeem(code); res.StatusCode != 200 {
		t.Errorf("at 59 s: %s", res.text)
	}
	t.Run("by the transaction's clock, whatever the store kept", func(t *testing.T) {
		code := h.code()
		val, err := h.kv.Get(t.Context(), codeKey(digest(code)))
		if err != nil {
			t.Fatal(err)
		}
		h.clk.Advance(61 * time.Second)
		if err := h.kv.Create(t.Context(), codeKey(digest(code)), val, time.Hour); err != nil {
			t.Fatal(err)
		}
		h.redeem(code).refuses(t, 400, codeInvalidGrant)
	})
}

func TestB12_OneKindOfValueIsNeverTakenForAnother(t *testing.T) {
	h := newHouse(t)
	id := h.ciba()
	h.approve(id)
	code := h.code()
	res := h.tokens()
	for _, v := range []string{id, res.str("access_token"), res.str("refresh_token"), res.str("id_token"), "code:" + code, "{" + code + "}", code + "}", "at/{" + digest(res.str("access_token")) + "}", digest(code), "../at", "'; drop table redeemed; --"} {
		h.redeem(v).refuses(t, 400, codeInvalidGrant)
	}
	for _, v := range []string{code, id, res.str("access_token"), res.str("id_token"), "..", ".1.", "fam_x.1.y"} {
		h.token("grant_type", grantToken, "refresh_token", v).refuses(t, 400, codeInvalidGrant)
	}
	for _, v := range []string{code, res.str("access_token"), res.str("refresh_token")} {
		h.token("grant_type", grantCIBA, "auth_req_id", v).refuses(t, 400, codeInvalidGrant)
	}
	for _, v := range []string{code, id, res.str("refresh_token"), res.str("id_token")} {
		if h.alive(v) {
			t.Errorf("%q is taken for an access token", v)
		}
	}
	t.Run("nothing of it was harmed", func(t *testing.T) {
		if !h.alive(res.str("access_token")) || h.redeem(code).StatusCode != 200 || h.token("grant_type", grantCIBA, "auth_req_id", id).StatusCode != 200 {
			t.Error("a confused presentation spent the value")
		}
	})
}

func TestB9_NothingIsIssuedOrValidOnceUserOrDeviceOrClientIsWithdrawn(t *testing.T) {
	for name, withdraw := range map[string]func(h *house, tx *db.Tx) error{
		"user locked":      func(h *house, tx *db.Tx) error { return tx.SetUserState(h.user, db.UserLocked) },
		"user deactivated": func(h *house, tx *db.Tx) error { return tx.SetUserState(h.user, db.UserDeactivated) },
		"user locked and unlocked": func(h *house, tx *db.Tx) error {
			return errors.Join(tx.SetUserState(h.user, db.UserLocked), tx.SetUserState(h.user, db.UserActive))
		},
		"device locked":   func(h *house, tx *db.Tx) error { return tx.SetDeviceState(h.device, db.DeviceLocked) },
		"client disabled": func(_ *house, tx *db.Tx) error { return tx.DisableClient("cli_web") },
		"client disabled and enabled": func(_ *house, tx *db.Tx) error {
			return errors.Join(tx.DisableClient("cli_web"), tx.EnableClient("cli_web"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			res, code, id := h.tokens(), h.code(), h.ciba()
			h.approve(id)
			h.clk.Advance(time.Second)
			if err := h.db.Update(t.Context(), func(tx *db.Tx) error { return withdraw(h, tx) }); err != nil {
				t.Fatal(err)
			}
			// The node's view of the client is still the old one: the transaction decides.
			if h.alive(res.str("access_token")) {
				t.Error("the access token lives on")
			}
			h.redeem(code).refuses(t, 400, codeInvalidGrant)
			h.token("grant_type", grantToken, "refresh_token", res.str("refresh_token")).refuses(t, 400, codeInvalidGrant)
			h.token("grant_type", grantCIBA, "auth_req_id", id).refuses(t, 400, codeInvalidGrant) // C16
		})
	}
}

func TestAFailingStoreIs503AndSpendsNothing(t *testing.T) {
	h := newHouse(t)
	code := h.code()
	good := h.kv
	h.p.kv = deaf{good}
	h.redeem(code).refuses(t, 503, codeUnavailable)
	h.token("grant_type", grantClient).refuses(t, 503, codeUnavailable)
	h.p.kv = good
	if res := h.redeem(code); res.StatusCode != 200 {
		t.Errorf("the code was lost: %s", res.text)
	}
	t.Run("nor does a signing key that cannot be read", func(t *testing.T) {
		code := h.code()
		closed, err := db.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "x.db"), h.clk)
		if err != nil {
			t.Fatal(err)
		}
		closed.Close()
		h.p.ring = keys.NewRing(closed, h.box, h.clk)
		h.redeem(code).refuses(t, 503, codeUnavailable)
		h.p.ring = h.ring
		if res := h.redeem(code); res.StatusCode != 200 {
			t.Errorf("the code was lost: %s", res.text)
		}
	})
}
