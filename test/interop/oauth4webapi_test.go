package interop_test

import "testing"

func TestOAuth4WebAPILogsInStepByStep(t *testing.T) {
	t.Parallel()
	s := start(t)
	phone := s.registered(s.User)
	const callback = "https://rp.example/callback"
	for algorithm, method := range map[string]string{"oidc": "client_secret_basic", "oauth2": "none"} { // Discovery, and RFC 8414
		t.Run(algorithm, func(t *testing.T) {
			c := s.client("--name", "Steps", "--auth-method", method, "--redirect-uri", callback, "--scope", "openid,profile")
			rp := newParty(t, "oauth4webapi.mjs")
			rp.do("discover", object{"issuer": s.Issuer, "algorithm": algorithm, "clientId": c.ID, "clientSecret": c.Secret})
			login := object{"redirectUri": callback, "loginHint": s.UserRef, "scope": "openid profile"}
			w := walk(t, phone)
			got := rp.do("callback", object{"url": w.login(text(rp.do("authorize", login), "url"), callback).String()})
			if text(got, "claims", "sub") != s.User || text(got, "claims", "aud") != c.ID {
				t.Errorf("claims %v", got["claims"])
			}
			if info := rp.do("userinfo", object{"sub": s.User}); info["name"] != "Alice Example" {
				t.Errorf("userinfo %v", info)
			}
			next := rp.do("refresh", nil)
			if text(next, "accessToken") == text(got, "accessToken") || text(next, "claims", "sub") != s.User {
				t.Errorf("the refresh gave %v", next)
			}
			if method != "none" {
				if told := rp.do("introspect", nil); told["active"] != true {
					t.Errorf("introspection %v", told)
				}
			}
			rp.do("revoke", nil)
			rp.fails("invalid_grant", "refresh", nil)

			silent := func() string {
				t.Helper()
				_, _, left := w.get(text(rp.do("authorize", login), "url"), callback)
				if left == nil {
					t.Fatal("the login is not silent")
				}
				return left.String()
			}
			rp.fails("OAUTH_JWT_CLAIM_COMPARISON_FAILED", "callback", object{"url": silent(), "nonce": "another"})
			no, err := walk(t, phone).cancel(text(rp.do("authorize", login), "url"), callback).Location()
			if err != nil {
				t.Fatal(err)
			}
			rp.fails("access_denied", "callback", object{"url": no.String()})
		})
	}
}
