package provider

import (
	"strings"
	"testing"
	"time"

	"mobileid/flows"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/operation"
)

// start asks for a backchannel request of anna with parameters changed.
func (h *house) start(changes ...string) reply {
	v := form("scope", "openid", "login_hint", "anna")
	for i := 0; i < len(changes); i += 2 {
		if name, ok := strings.CutPrefix(changes[i], "-"); ok {
			v.Del(name)
		} else {
			v.Set(changes[i], changes[i+1])
		}
	}
	return call(h.p.BackchannelAuthorize, h.as("cli_web", "/bc-authorize", v))
}

func TestC3_ExactlyOneHint(t *testing.T) {
	h := newHouse(t)
	for name, change := range map[string][]string{
		"none": {"-login_hint", ""}, "an empty one": {"login_hint", ""}, "two": {"login_hint_token", "x"}, "two of another kind": {"id_token_hint", "x"},
		"one that is not supported": {"-login_hint", "", "login_hint_token", "x"}, "another": {"-login_hint", "", "id_token_hint", "x"},
	} {
		t.Run(name, func(t *testing.T) { h.start(change...).refuses(t, 400, codeInvalidRequest) })
	}
	if len(h.flows.starts) != 0 {
		t.Error("something was started")
	}
}

func TestC6_ABindingMessageIsOneLineOfPlainText(t *testing.T) {
	h := newHouse(t)
	for name, msg := range map[string]string{
		"control": "a\x07b", "newline": "a\nb", "tab": "a\tb", "NUL": "a\x00b", "RTL override": "pay \u202e01", "isolate": "a\u2066b", "mark": "a\u200fb", "zero width": "a\u200bb", "line separator": "a\u2028b",
		"no-break space": "a\u00a0b", "BOM": "\ufeffa", "private use": "\ue000", "not UTF-8": "a\xffb", "HTML": "<b>x</b>", "angle": "1 > 2", "URL": "see https://evil.com", "URL in capitals": "HTTPS://EVIL.COM",
		"host": "go to evil.com now", "host with path": "go to evil.example/x", "www": "www.evil.example", "mailto": "mailto:x@evil.example", "script": "javascript:alert(1)",
		"long": strings.Repeat("x", 141), "10 kB": strings.Repeat("x", 10<<10),
	} {
		t.Run(name, func(t *testing.T) { h.start("binding_message", msg).refuses(t, 400, codeInvalidBinding) })
	}
	for _, msg := range []string{"", "W4SCT", "Pay 10.50 EUR to Müller & Söhne?", strings.Repeat("ü", 140), "転送 1234", "Nr. 12/2026: 3.5 kg", "50 % off, e.g. tea", "Überweisung 1.234,56 € an A. Weber"} {
		if res := h.start("binding_message", msg); res.StatusCode != 200 || h.flows.starts[len(h.flows.starts)-1].BindingMessage != msg {
			t.Errorf("%q: %s", msg, res.text)
		}
	}
}

func TestC8_RequestedExpiryIsAPositiveNumberOfSeconds(t *testing.T) {
	h := newHouse(t)
	for _, v := range []string{"0", "000", "-1", "+1", "1.5", "1e18", "1e2", "0x10", "ten", " 10", "10 ", "١٠"} {
		h.start("requested_expiry", v).refuses(t, 400, codeInvalidRequest)
	}
	for v, want := range map[string]time.Duration{"": 0, "10": 10 * time.Second, "0010": 10 * time.Second, "600": 600 * time.Second, "601": 600 * time.Second, "1000": 600 * time.Second, "1000000000000000000": 600 * time.Second, strings.Repeat("9", 100): 600 * time.Second} {
		if res := h.start("requested_expiry", v); res.StatusCode != 200 || h.flows.starts[len(h.flows.starts)-1].ExpiresIn != want {
			t.Errorf("%q: %s, asked flows for %v", v, res.text, h.flows.starts[len(h.flows.starts)-1].ExpiresIn)
		}
	}
}

func TestWhatABackchannelRequestMayHold(t *testing.T) {
	h := newHouse(t)
	for _, tc := range []struct {
		name   string
		change []string
		code   string
	}{
		{"no scope", []string{"-scope", ""}, codeInvalidRequest},
		{"a scope without openid", []string{"scope", "email"}, codeInvalidScope},
		{"a scope that is not the client's", []string{"scope", "openid admin"}, codeInvalidScope},
		{"a signed request", []string{"request", "a.b.c"}, "request_not_supported"},
		{"request_uri", []string{"request_uri", "https://x"}, "request_uri_not_supported"},
	} {
		t.Run(tc.name, func(t *testing.T) { h.start(tc.change...).refuses(t, 400, tc.code) })
	}
	if res := h.start("acr_values", operation.ACRApp, "user_code", "1", "client_notification_token", "x"); res.StatusCode != 200 {
		t.Fatal(res.text)
	}
	s := h.flows.starts[0]
	if s.Client.ID != "cli_web" || s.Hint != "anna" || s.MinACR != operation.ACRApp || s.Initiator.IP != "192.0.2.1" || len(s.Scopes) != 1 {
		t.Errorf("%+v", s)
	}
	t.Run("C10 a client without the grant or without a secret", func(t *testing.T) {
		call(h.p.BackchannelAuthorize, post("/bc-authorize", form("client_id", "cli_post", "client_secret", h.secret, "scope", "openid", "login_hint", "anna").Encode())).refuses(t, 400, codeUnauthorizedClient)
		call(h.p.BackchannelAuthorize, post("/bc-authorize", form("client_id", "cli_app", "scope", "openid", "login_hint", "anna").Encode())).refuses(t, 400, codeUnauthorizedClient)
		call(h.p.BackchannelAuthorize, post("/bc-authorize", form("scope", "openid", "login_hint", "anna").Encode())).refuses(t, 401, codeInvalidClient)
	})
	t.Run("refusals of flows", func(t *testing.T) {
		for kind, want := range map[fault.Kind]struct {
			status int
			code   string
		}{
			fault.NotFound: {400, codeUnknownUser}, fault.Invalid: {400, codeInvalidRequest}, fault.LimitReached: {403, codeAccessDenied}, fault.RateLimited: {403, codeAccessDenied}, fault.Forbidden: {403, codeAccessDenied},
			fault.UserLocked: {403, codeAccessDenied}, fault.NoDevice: {403, codeAccessDenied}, fault.Unavailable: {503, codeUnavailable}, fault.Internal: {500, codeServerError},
		} {
			h.flows.fail = fault.New(kind, "because")
			h.start().refuses(t, want.status, want.code)
		}
	})
}

func TestC12_AnotherClientsRequestIsUntouched(t *testing.T) {
	h := newHouse(t)
	id := h.ciba()
	h.approve(id)
	poll := func() reply {
		return call(h.p.Token, h.as("cli_other", "/token", form("grant_type", grantCIBA, "auth_req_id", id)))
	}
	poll().refuses(t, 400, codeInvalidGrant)
	res := h.token("grant_type", grantCIBA, "auth_req_id", id)
	if res.StatusCode != 200 {
		t.Fatal(res.text)
	}
	poll().refuses(t, 400, codeInvalidGrant)
	if !h.alive(res.str("access_token")) {
		t.Error("another client ended the grant")
	}
}

func TestC13_WhatAPollIsTold(t *testing.T) {
	h := newHouse(t)
	id := h.ciba()
	for status, code := range map[flows.Status]string{
		flows.StatusPending: "authorization_pending", flows.StatusSlowDown: "slow_down", flows.StatusDenied: codeAccessDenied, flows.StatusExpired: "expired_token", flows.StatusUnknown: codeInvalidGrant, "": codeInvalidGrant,
	} {
		h.flows.set(id, flows.BackchannelState{Status: status})
		h.token("grant_type", grantCIBA, "auth_req_id", id).refuses(t, 400, code)
	}
	h.flows.fail = fault.New(fault.Unavailable, "no store")
	h.token("grant_type", grantCIBA, "auth_req_id", id).refuses(t, 503, codeUnavailable)
}

func TestC14_ASecondRedemptionEndsTheGrant(t *testing.T) {
	for name, forget := range map[string]bool{"while the request is known": false, "after it was forgotten": true} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			id := h.ciba()
			h.approve(id)
			res := h.token("grant_type", grantCIBA, "auth_req_id", id)
			if res.StatusCode != 200 {
				t.Fatal(res.text)
			}
			if forget {
				h.flows.set(id, flows.BackchannelState{Status: flows.StatusUnknown})
			}
			h.token("grant_type", grantCIBA, "auth_req_id", id).refuses(t, 400, codeInvalidGrant)
			if h.alive(res.str("access_token")) {
				t.Error("the access token lives on")
			}
			h.use(res.str("refresh_token")).refuses(t, 400, codeInvalidGrant)
		})
	}
	t.Run("approved, and redeemed too late", func(t *testing.T) {
		h := newHouse(t)
		id := h.ciba()
		h.approve(id)
		h.clk.Advance(4 * time.Minute)
		h.token("grant_type", grantCIBA, "auth_req_id", id).refuses(t, 400, "expired_token")
	})
}

func TestATokenOfAnotherMerchantsUserIsNeverMade(t *testing.T) {
	h := newHouse(t)
	now := h.clk.Now()
	if err := h.db.Update(t.Context(), func(tx *db.Tx) error {
		if err := tx.InsertMerchant(db.Merchant{ID: "mer_2", Name: "Other", CreatedAt: now}); err != nil {
			return err
		}
		return tx.InsertUser(db.User{ID: "usr_2", MerchantID: "mer_2", ExternalRef: "x", State: db.UserActive, Attributes: map[string]string{}, CreatedAt: now})
	}); err != nil {
		t.Fatal(err)
	}
	h.user = "usr_2"
	h.redeem(h.code()).refuses(t, 400, codeInvalidGrant)
}
