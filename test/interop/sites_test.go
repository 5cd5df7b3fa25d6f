package interop_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// Sites of others, with their own cookies and callbacks, and a person who logs in
// to them.

// site starts a relying party that has a site, and returns where it is.
func (p *party) site() string {
	p.t.Helper()
	return "http://127.0.0.1:" + text(p.do("port", nil), "port")
}

// ask opens an address of a site and returns the JSON at the end of all redirects.
func (w *walker) ask(address string) (ok object, failed, why string) {
	w.t.Helper()
	w.stopAt("")
	res, err := w.http.Get(address)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.told(res)
}

func (w *walker) told(res *http.Response) (ok object, failed, why string) {
	w.t.Helper()
	defer res.Body.Close()
	var a struct {
		OK          object
		Failed, Why string
	}
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		w.t.Fatalf("%s: %s: %v", res.Request.URL, res.Status, err)
	}
	return a.OK, a.Failed, a.Why
}

// through logs in to a site: from its login address over the phone to where the
// site leads then.
func (w *walker) through(address string) (ok object, failed, why string) {
	w.t.Helper()
	page, at, _ := w.get(address, "")
	number := numberOnPage.FindStringSubmatch(page)
	if number == nil {
		w.t.Fatalf("the login page shows no number:\n%s", page)
	}
	w.phone.approve(number[1])
	return w.ask(at.String())
}

// cancelled is what a site says whose login the person cancels.
func cancelled(w *walker, site string) (ok object, failed, why string) {
	w.t.Helper()
	return w.told(w.cancel(site+"/login", ""))
}

func TestASiteOnPassportLogsInAndOut(t *testing.T) {
	t.Parallel()
	s := start(t)
	phone := s.registered(s.User)
	const bye = "https://rp.example/bye"
	for name, pkce := range map[string]string{"as it comes": "nonce", "with PKCE added": "required"} {
		t.Run(name, func(t *testing.T) {
			rp := newParty(t, "passport.mjs")
			site := rp.site()
			c := s.client("--name", "Passport", "--auth-method", "client_secret_post", "--pkce", pkce,
				"--redirect-uri", site+"/callback", "--post-logout-redirect-uri", bye, "--scope", "openid,profile")
			options := object{"issuer": s.Issuer, "clientId": c.ID, "clientSecret": c.Secret, "site": site, "loginHint": s.UserRef, "bye": bye, "pkce": pkce == "required"}
			rp.do("configure", options)
			if _, failed, _ := cancelled(walk(t, phone), site); failed != "AuthenticationError" {
				t.Errorf("a login that was cancelled: %q", failed)
			}
			w := walk(t, phone)
			user, failed, why := w.through(site + "/login")
			if failed != "" {
				t.Fatalf("%s: %s", failed, why)
			}
			if user["iss"] != s.Issuer || user["sub"] != s.User || user["acr"] != "urn:mobileid:acr:web" || user["name"] != "Alice Example" || text(user, "refreshToken") == "" {
				t.Errorf("the site knows %v", user)
			}
			if amr, _ := user["amr"].([]any); !slices.Contains(amr, any("pin")) {
				t.Errorf("amr %v", amr)
			}
			if _, _, left := w.get(site+"/logout", bye); left == nil || left.String() != bye {
				t.Errorf("after the logout the browser is at %v", left)
			}
			if user, _, _ := w.ask(site + "/"); user != nil {
				t.Errorf("the site still knows %v", user)
			}
			if _, failed, _ := cancelled(w, site); failed != "AuthenticationError" {
				t.Errorf("the session is not over: the phone is not asked, but %q", failed)
			}
			t.Run("and refuses an ID token of another issuer", func(t *testing.T) {
				options["expectedIssuer"] = "https://evil.example"
				rp.do("configure", options)
				if _, failed, why := walk(t, phone).through(site + "/login"); failed != "AuthenticationError" || why != "Forbidden" {
					t.Errorf("%q %q", failed, why)
				}
			})
		})
	}
	t.Run("a client that cannot keep a secret is not let off", func(t *testing.T) {
		out, err := s.try("client", "create", "--data-dir", s.data, "--auth-method", "none", "--pkce", "nonce", "--redirect-uri", "https://rp.example/callback")
		if err == nil || !strings.Contains(err.Error(), "pkce must be required") {
			t.Errorf("%s %v", out, err)
		}
	})
}

func TestASiteOnExpressOpenIDConnectIsToldOfTheLogoutByBackChannel(t *testing.T) {
	t.Parallel()
	s := start(t, "MOBILEID_EGRESS__ALLOW=127.0.0.0/8")
	phone := s.registered(s.User)
	const bye = "https://rp.example/bye"
	for _, alg := range []string{"RS256", "ES256"} {
		t.Run(alg, func(t *testing.T) {
			rp := newParty(t, "expressoidc.mjs")
			site := rp.site()
			c := s.client("--name", "Express", "--id-token-alg", alg, "--redirect-uri", site+"/callback", "--post-logout-redirect-uri", bye,
				"--scope", "openid,profile,offline_access", "--allow-localhost-http", "--backchannel-logout-uri", site+"/backchannel-logout")
			rp.do("configure", object{"issuer": s.Issuer, "clientId": c.ID, "clientSecret": c.Secret, "site": site, "loginHint": s.UserRef, "alg": alg, "bye": bye})
			if _, failed, _ := cancelled(walk(t, phone), site); failed != "access_denied" {
				t.Errorf("a login that was cancelled: %q", failed)
			}
			w := walk(t, phone)
			claims, failed, why := w.through(site + "/login")
			if failed != "" {
				t.Fatalf("%s: %s", failed, why)
			}
			if claims["iss"] != s.Issuer || claims["sub"] != s.User || claims["aud"] != c.ID || text(claims, "sid") == "" {
				t.Errorf("the site knows %v", claims)
			}
			if info, failed, why := w.ask(site + "/userinfo"); info["name"] != "Alice Example" {
				t.Errorf("userinfo %v %s %s", info, failed, why)
			}
			if got, failed, why := w.ask(site + "/refresh"); got["fresh"] != true {
				t.Errorf("refresh %v %s %s", got, failed, why)
			}
			// The same login at another client; it ends there, and here too.
			const callback = "https://other.example/callback"
			other := s.client("--name", "Other", "--redirect-uri", callback, "--post-logout-redirect-uri", bye)
			second := newParty(t, "relying.mjs")
			second.do("discover", object{"issuer": s.Issuer, "clientId": other.ID, "clientSecret": other.Secret, "method": "client_secret_basic"})
			_, _, left := w.get(text(second.do("authorize", object{"redirectUri": callback, "loginHint": s.UserRef, "scope": "openid"}), "url"), callback)
			if left == nil {
				t.Fatal("the second client's login is not silent")
			}
			second.do("callback", object{"url": left.String()})
			if claims, _, _ := w.ask(site + "/"); claims["sub"] != s.User {
				t.Fatalf("before the logout the site knows %v", claims)
			}
			if _, _, left = w.get(text(second.do("logout", object{"redirectUri": bye}), "url"), bye); left == nil {
				t.Fatal("no logout")
			}
			eventually(t, "the site was told", func() error {
				if claims, _, _ := w.ask(site + "/"); claims != nil {
					return errors.New("it still knows the user")
				}
				return nil
			})
			// And by its own button, RP-initiated.
			w = walk(t, phone)
			if claims, failed, why := w.through(site + "/login"); claims["sub"] != s.User {
				t.Fatalf("again: %s: %s", failed, why)
			}
			if _, _, left := w.get(site+"/logout", bye); left == nil || !strings.HasPrefix(left.String(), bye) {
				t.Errorf("after the logout the browser is at %v", left)
			}
			if _, failed, _ := cancelled(w, site); failed != "access_denied" {
				t.Errorf("the session is not over: the phone is not asked, but %q", failed)
			}
		})
	}
}
