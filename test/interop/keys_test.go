package interop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// A client with its own key, for every algorithm of tokens: what openid-client
// makes of private_key_jwt, signed userinfo, JWT access tokens, introspection,
// revocation and logout.
func TestOpenIDClientWithAKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	s := start(t)
	device := s.registered(s.User)
	const callback, bye = "https://rp.example/callback", "https://rp.example/bye"
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := json.Marshal(jose.JSONWebKey{Key: priv, KeyID: "k1"})
	if err != nil {
		t.Fatal(err)
	}
	var jwk object
	if err := json.Unmarshal(plain, &jwk); err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: priv.Public(), KeyID: "k1"}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, set, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, alg := range []string{"ES256", "PS256", "RS256"} {
		t.Run(alg, func(t *testing.T) {
			c := s.client("--name", "JavaScript", "--auth-method", "private_key_jwt", "--jwks", file, "--id-token-alg", alg, "--userinfo-alg", alg,
				"--access-token-format", "jwt", "--redirect-uri", callback, "--post-logout-redirect-uri", bye, "--scope", "openid,profile")
			if c.Secret != "" {
				t.Error("a client with a key was given a secret")
			}
			rp := newParty(t, "relying.mjs")
			rp.do("discover", object{"issuer": s.Issuer, "clientId": c.ID, "method": "private_key_jwt", "jwk": jwk, "alg": alg, "userinfoAlg": alg})
			w := walk(t, device)
			login := object{"redirectUri": callback, "loginHint": s.UserRef, "scope": "openid", "claims": `{"userinfo":{"name":null}}`}
			got := rp.do("callback", object{"url": w.login(text(rp.do("authorize", login), "url"), callback).String()})
			if text(got, "claims", "sub") != s.User || strings.Count(text(got, "accessToken"), ".") != 2 {
				t.Errorf("tokens %v", got)
			}
			if info := rp.do("userinfo", object{"sub": s.User}); info["name"] != "Alice Example" || info["aud"] != c.ID {
				t.Errorf("userinfo %v", info)
			}
			if told := rp.do("introspect", nil); told["active"] != true || text(told, "sub") != s.User {
				t.Errorf("introspection %v", told)
			}
			rp.do("refresh", nil)
			rp.do("revoke", nil)
			if told := rp.do("introspect", nil); told["active"] != false {
				t.Errorf("introspection after the revocation %v", told)
			}
			_, _, left := w.get(text(rp.do("logout", object{"redirectUri": bye}), "url"), bye)
			if left == nil || left.String() != bye+"?state=bye" {
				t.Errorf("after the logout the browser is at %v", left)
			}
			rp.do("revoke", object{"token": text(got, "refreshToken")})
		})
	}
}
