package provider

import (
	"strings"
	"testing"

	"mobileid/internal/db"
	"mobileid/internal/fault"
)

// without is a request without PKCE, with more changes.
func without(more ...string) []string {
	return append([]string{"-code_challenge", "", "-code_challenge_method", ""}, more...)
}

func TestA6_WhatARequestNeedsIsTheClientsSetting(t *testing.T) {
	h := newHouse(t)
	for _, tc := range []struct {
		name   string
		change []string
		taken  string // by which settings
	}{
		{"a challenge", nil, "required nonce optional"},
		{"a challenge, no nonce", []string{"-nonce", ""}, "required nonce optional"},
		{"a nonce", without(), "nonce optional"},
		{"an empty challenge, a nonce", without("code_challenge", ""), "nonce optional"},
		{"neither", without("-nonce", ""), "optional"},
		{"a nonce that no ID token will bring back", without("scope", "email"), "optional"},
		{"a method without a challenge", []string{"-code_challenge", ""}, ""},
		{"plain", []string{"code_challenge_method", "plain"}, ""},
		{"a challenge without its method", []string{"-code_challenge_method", ""}, ""},
		{"a challenge that is no hash", []string{"code_challenge", "short"}, ""},
	} {
		for _, setting := range append(pkceSettings(), "") {
			t.Run(tc.name+", "+setting, func(t *testing.T) {
				h.change("cli_web", func(s *db.ClientSettings) { s.PKCE = setting })
				as := setting
				if as == "" { // of a client from before there was the setting
					as = pkceRequired
				}
				if strings.Contains(tc.taken, as) {
					h.code(tc.change...)
				} else {
					h.authorize(get(request(tc.change...))).sentBack(t, codeInvalidRequest, "s")
				}
			})
		}
	}
}

func TestA7_ACodeThatWasAskedForWithoutAChallengeTakesNoVerifier(t *testing.T) {
	for _, setting := range []string{pkceNonce, pkceOptional} {
		t.Run(setting, func(t *testing.T) {
			h := newHouse(t)
			h.change("cli_web", func(s *db.ClientSettings) { s.PKCE = setting })
			res := h.redeem(h.code(without()...), "-code_verifier", "")
			if res.StatusCode != 200 || claims(t, res.str("id_token"))["nonce"] != "n" {
				t.Fatalf("%d %s", res.StatusCode, res.text)
			}
			for _, v := range []string{verifier, "x"} { // the client's own request was changed on its way
				code := h.code(without()...)
				h.redeem(code, "code_verifier", v).refuses(t, 400, codeInvalidGrant)
				h.redeem(code, "-code_verifier", "").refuses(t, 400, codeInvalidGrant)
			}
		})
	}
}

func TestACodeIsJudgedByTheSettingsOfItsRedemption(t *testing.T) {
	for from, to := range map[string]string{pkceOptional: pkceNonce, pkceNonce: pkceRequired} {
		h := newHouse(t)
		h.change("cli_web", func(s *db.ClientSettings) { s.PKCE = from })
		change := without()
		if to == pkceNonce {
			change = without("-nonce", "")
		}
		code, other := h.code(change...), h.code()
		h.change("cli_web", func(s *db.ClientSettings) { s.PKCE = to })
		h.redeem(code, "-code_verifier", "").refuses(t, 400, codeInvalidGrant)
		if res := h.redeem(other); res.StatusCode != 200 {
			t.Errorf("a code with its proof: %s", res.text)
		}
	}
}

func TestAPublicClientAlwaysNeedsPKCE(t *testing.T) {
	for _, setting := range []string{pkceNonce, pkceOptional, "other"} {
		c := db.ClientSettings{AuthMethod: methodNone, GrantTypes: []string{grantCode}, RedirectURIs: []string{"https://app.example.com/cb"}, PKCE: setting}
		err := CheckClient(&c)
		if e, _ := err.(*fault.Error); e == nil || e.Fields[0].Pointer != "/pkce" || !strings.Contains(e.Error(), "pkce") {
			t.Errorf("%s: %v", setting, err)
		}
		// Even if such a one was stored.
		h := newHouse(t)
		app := []string{"client_id", "cli_app", "redirect_uri", "https://app.example.com/cb"}
		h.change("cli_app", func(s *db.ClientSettings) { s.PKCE = setting })
		h.authorize(get(request(append(without(), app...)...))).sentBack(t, codeInvalidRequest, "s")
		// Or a confidential one became public after its request.
		h.change("cli_app", func(s *db.ClientSettings) { s.AuthMethod, s.PKCE = methodPost, pkceOptional })
		code := h.code(append(without(), app...)...)
		h.change("cli_app", func(s *db.ClientSettings) { s.AuthMethod = methodNone })
		v := form("grant_type", grantCode, "code", code, "client_id", "cli_app", "redirect_uri", "https://app.example.com/cb")
		call(h.p.Token, post("/token", v.Encode())).refuses(t, 400, codeInvalidGrant)
	}
	c := db.ClientSettings{GrantTypes: []string{grantCode}, RedirectURIs: []string{"https://app.example.com/cb"}, PKCE: "other"}
	if e, _ := CheckClient(&c).(*fault.Error); e == nil || e.Fields[0].Pointer != "/pkce" {
		t.Error("a value that is none is registered")
	}
	c.PKCE = ""
	if err := CheckClient(&c); err != nil {
		t.Errorf("not given: %v", err)
	}
}
