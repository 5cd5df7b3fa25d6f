package interop_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// A relying party on go-oidc and x/oauth2, and nothing of ours: what these two
// libraries take for granted has to be there.
func TestGoOIDCLogsInRefreshesAndReadsUserinfo(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.registered(s.User)
	for _, method := range []struct {
		name  string
		style oauth2.AuthStyle
	}{{"client_secret_basic", oauth2.AuthStyleInHeader}, {"client_secret_post", oauth2.AuthStyleInParams}, {"none", oauth2.AuthStyleInParams}} {
		t.Run(method.name, func(t *testing.T) {
			const callback = "https://rp.example/callback"
			c := s.client("--name", "Go "+method.name, "--auth-method", method.name, "--redirect-uri", callback, "--scope", "openid,profile,offline_access")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			provider, err := oidc.NewProvider(ctx, s.Issuer)
			if err != nil {
				t.Fatal(err)
			}
			rp := oauth2.Config{ClientID: c.ID, ClientSecret: c.Secret, Endpoint: provider.Endpoint(), RedirectURL: callback,
				Scopes: []string{oidc.ScopeOpenID, "profile", oidc.ScopeOfflineAccess}}
			rp.Endpoint.AuthStyle = method.style

			begun := time.Now().Add(-time.Second)
			verifier := oauth2.GenerateVerifier()
			to := walk(t, p).login(rp.AuthCodeURL("st4te", oidc.Nonce("n0nce"), oauth2.S256ChallengeOption(verifier),
				oauth2.SetAuthURLParam("login_hint", s.UserRef)), callback)
			if q := to.Query(); q.Get("state") != "st4te" || q.Get("iss") != s.Issuer || q.Get("error") != "" {
				t.Fatalf("the answer to the client: %s", to)
			}
			tokens, err := rp.Exchange(ctx, to.Query().Get("code"), oauth2.VerifierOption(verifier))
			if err != nil {
				t.Fatal(err)
			}
			id := verified(t, ctx, provider, c.ID, tokens)
			if id.Nonce != "n0nce" || id.Subject != s.User {
				t.Errorf("nonce %q of %s", id.Nonce, id.Subject)
			}
			var claims struct {
				ACR      string   `json:"acr"`
				AMR      []string `json:"amr"`
				Txn      string   `json:"txn"`
				AuthTime int64    `json:"auth_time"`
			}
			if err := id.Claims(&claims); err != nil {
				t.Fatal(err)
			}
			if at := time.Unix(claims.AuthTime, 0); at.Before(begun.Truncate(time.Second)) || at.After(time.Now()) {
				t.Errorf("auth_time %s is not now", at)
			}
			slices.Sort(claims.AMR)
			if got := strings.Join(claims.AMR, " "); claims.ACR != "urn:mobileid:acr:web" || !strings.HasPrefix(claims.Txn, "op_") ||
				!strings.Contains(got, "pin") || !strings.Contains(got, "pop") || !strings.Contains(got, "swk") {
				t.Errorf("acr %s, amr %s, txn %s", claims.ACR, got, claims.Txn)
			}

			info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
			if err != nil {
				t.Fatal(err)
			}
			if info.Subject != s.User {
				t.Errorf("userinfo is about %s", info.Subject)
			}
			profile := struct{ Name string }{}
			if err := info.Claims(&profile); err != nil || profile.Name != "Alice Example" {
				t.Errorf("userinfo says the name is %q (%v)", profile.Name, err)
			}

			// As time passes: the library sees an old access token and refreshes.
			old := *tokens
			old.Expiry = time.Now().Add(-time.Minute)
			fresh, err := rp.TokenSource(ctx, &old).Token()
			if err != nil {
				t.Fatal(err)
			}
			if fresh.AccessToken == tokens.AccessToken || fresh.RefreshToken == tokens.RefreshToken || fresh.RefreshToken == "" {
				t.Error("the refresh did not rotate both tokens")
			}
			again := verified(t, ctx, provider, c.ID, fresh)
			if again.Subject != id.Subject || again.Issuer != id.Issuer || !again.IssuedAt.Before(time.Now().Add(time.Second)) {
				t.Errorf("the refreshed ID token is of %s by %s", again.Subject, again.Issuer)
			}
			if _, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(fresh)); err != nil {
				t.Errorf("userinfo after the refresh: %v", err)
			}
			if _, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "made-up"})); err == nil || !strings.Contains(err.Error(), http.StatusText(http.StatusUnauthorized)) {
				t.Errorf("userinfo for a made-up token: %v", err)
			}
		})
	}
}

// verified checks signature, audience, expiry and at_hash.
func verified(t *testing.T, ctx context.Context, provider *oidc.Provider, clientID string, tokens *oauth2.Token) *oidc.IDToken {
	t.Helper()
	raw, _ := tokens.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: clientID, SupportedSigningAlgs: []string{oidc.ES256}}).Verify(ctx, raw)
	if err != nil {
		t.Fatal(err)
	}
	if id.AccessTokenHash == "" {
		t.Fatal("the ID token has no at_hash")
	}
	if err := id.VerifyAccessToken(tokens.AccessToken); err != nil {
		t.Fatal(err)
	}
	return id
}
