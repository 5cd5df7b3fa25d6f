package attacks

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/config"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// behindProxy is a server whose peer, this test, is a trusted proxy: the address
// of a request is what X-Forwarded-For says. Every limit is n a minute.
func behindProxy(t *testing.T, n int) *rig.Rig {
	t.Helper()
	rate := config.Rate{Events: n, Per: time.Minute}
	return rig.Start(t, rig.Options{
		Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		Limits: config.Limits{Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
			Authorize: rate, Identify: rate, Failures: rate, Junk: rate, Client: rate, Token: rate, Keys: rate},
	})
}

// limited sends until it is refused, and holds the refusal against the form that
// the route's callers read. It returns how many were let through.
func limited(t *testing.T, r *rig.Rig, name string, most int, try func() rig.Answer, form func(rig.Answer) bool) int {
	t.Helper()
	for n := range most + 1 {
		a := try()
		if a.Status != http.StatusTooManyRequests {
			continue
		}
		wait, err := strconv.Atoi(a.Header.Get("Retry-After"))
		if err != nil || wait < 1 || wait > 60 {
			t.Errorf("%s: Retry-After %q", name, a.Header.Get("Retry-After"))
		}
		if !form(a) {
			t.Errorf("%s: refused as %s", name, a)
		}
		if a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("Content-Security-Policy") == "" || a.Header.Get("Cache-Control") == "" {
			t.Errorf("%s: the refusal has no security headers", name)
		}
		r.Clock.Advance(time.Duration(wait) * time.Second)
		if a := try(); a.Status == http.StatusTooManyRequests {
			t.Errorf("%s: still refused after Retry-After", name)
		}
		return n
	}
	t.Errorf("%s: %d requests and none refused", name, most+1)
	return most + 1
}

func isPage(a rig.Answer) bool {
	return strings.HasPrefix(a.Header.Get("Content-Type"), "text/html") && a.Header.Get("Location") == ""
}
func isOAuth(a rig.Answer) bool { return a.Text("error") == "temporarily_unavailable" }
func isProblem(a rig.Answer) bool {
	return a.Text("code") == "rate_limited" && a.Header.Get("Content-Type") == "application/problem+json"
}
func isOuter(a rig.Answer) bool {
	return a.Text("code") == wire.OuterRateLimited && a.Header.Get("Content-Type") == "application/problem+json"
}

func basic(c node.NewClient, secret string) string {
	req := http.Request{Header: http.Header{}}
	req.SetBasicAuth(c.ClientID, secret)
	return req.Header.Get("Authorization")
}

func TestH8_FloodsAreLimitedAndToldInTheFormOfTheRoute(t *testing.T) {
	t.Parallel()
	const n = 8
	r := behindProxy(t, n)
	cc := "grant_type=client_credentials"
	rest := r.Post("/token", r.Backend, url.Values{"grant_type": {"client_credentials"}, "scope": {"mobileid.users"}}).Text("access_token")
	for i, c := range []struct {
		name string
		try  func(from string) rig.Answer
		form func(rig.Answer) bool
	}{
		{"authorize requests", func(from string) rig.Answer {
			return send(t, r, "GET", strings.TrimPrefix(r.AuthorizeURL(), r.Issuer), "", "X-Forwarded-For", from)
		}, isPage},
		{"authorize requests that are junk", func(from string) rig.Answer {
			return send(t, r, "GET", "/authorize?client_id=cli_none", "", "X-Forwarded-For", from)
		}, isPage},
		{"logouts, each of which may be kept for minutes", func(from string) rig.Answer {
			return send(t, r, "POST", "/logout", "id_token_hint="+strings.Repeat("x", 7<<10), "Content-Type", urlencoded, "X-Forwarded-For", from)
		}, isPage},
		{"forms that ask a phone", func(from string) rig.Answer {
			return send(t, r, "POST", "/i/none/identify", "csrf=x", "Content-Type", urlencoded, "X-Forwarded-For", from)
		}, isPage},
		{"unknown clients", func(from string) rig.Answer {
			return send(t, r, "POST", "/token", cc, "Content-Type", urlencoded, "X-Forwarded-For", from,
				"Authorization", basic(node.NewClient{ClientID: fmt.Sprint("cli_", time.Now().UnixNano())}, "x"))
		}, isOAuth},
		{"wrong secrets", func(from string) rig.Answer {
			return send(t, r, "POST", "/token", cc, "Content-Type", urlencoded, "X-Forwarded-For", from, "Authorization", basic(r.Backend, "wrong"))
		}, isOAuth},
		{"wrong secrets, backchannel", func(from string) rig.Answer {
			return send(t, r, "POST", "/bc-authorize", "scope=openid", "Content-Type", urlencoded, "X-Forwarded-For", from, "Authorization", basic(r.Match, "wrong"))
		}, isOAuth},
		{"broken credentials", func(from string) rig.Answer {
			return send(t, r, "POST", "/token", cc, "Content-Type", urlencoded, "X-Forwarded-For", from, "Authorization", "Basic !!!")
		}, isOAuth},
		{"access tokens that are none", func(from string) rig.Answer {
			return send(t, r, "POST", "/api/v1/users", "{}", "Content-Type", "application/json", "X-Forwarded-For", from, "Authorization", "Bearer nonsense")
		}, isProblem},
		{"access tokens that are none, at userinfo", func(from string) rig.Answer {
			return send(t, r, "GET", "/userinfo", "", "X-Forwarded-For", from, "Authorization", "Bearer "+rand.Text()+rand.Text()[:17])
		}, isOAuth},
		{"token requests of one client", func(from string) rig.Answer {
			return send(t, r, "POST", "/token", cc, "Content-Type", urlencoded, "X-Forwarded-For", from, "Authorization", basic(r.Backend, r.Backend.ClientSecret))
		}, isOAuth},
		{"keys of mid/1, which are signed", func(from string) rig.Answer {
			return send(t, r, "GET", "/mid/v1/keys?c=AAAAAAAAAAAAAAAAAAAAAA", "", "X-Forwarded-For", from)
		}, isOuter},
		{"messages under unknown keys", func(from string) rig.Answer {
			return send(t, r, "POST", "/mid/v1/rpc", "eyJhbGciOiJub25lIn0....", "Content-Type", "application/jose", "X-Forwarded-For", from)
		}, isOuter},
		{"REST calls of one client", func(from string) rig.Answer {
			return send(t, r, "POST", "/api/v1/users", "{}", "Content-Type", "application/json", "X-Forwarded-For", from, "Authorization", "Bearer "+rest)
		}, isProblem},
	} {
		from := fmt.Sprintf("203.0.%d.7", i)
		if got := limited(t, r, c.name, 2*n, func() rig.Answer { return c.try(from) }, c.form); got != n {
			t.Errorf("%s: %d let through, want %d", c.name, got, n)
		}
		r.Clock.Advance(time.Minute)
	}
}

func TestH8_AClientsBackchannelRequestsAreLimitedWhereverTheyComeFrom(t *testing.T) {
	t.Parallel()
	const n = 6
	r := behindProxy(t, n)
	i := 0
	got := limited(t, r, "backchannel", 2*n, func() rig.Answer {
		i++
		return send(t, r, "POST", "/bc-authorize", "scope=openid&login_hint=nobody", "Content-Type", urlencoded,
			"X-Forwarded-For", fmt.Sprintf("198.51.%d.7", i), "Authorization", basic(r.Backend, r.Backend.ClientSecret))
	}, isOAuth)
	if got != n {
		t.Errorf("%d let through, want %d", got, n)
	}
}

func TestH8_AClientsTokenRequestsAreLimitedWhereverTheyComeFrom(t *testing.T) {
	t.Parallel()
	const n = 6
	r := behindProxy(t, n)
	ask := func(from string, c node.NewClient) rig.Answer {
		return send(t, r, "POST", "/token", "grant_type=client_credentials", "Content-Type", urlencoded, "X-Forwarded-For", from, "Authorization", basic(c, c.ClientSecret))
	}
	i := 0
	got := limited(t, r, "token", 2*n, func() rig.Answer {
		i++
		return ask(fmt.Sprintf("198.51.%d.7", i), r.Backend)
	}, isOAuth)
	if got != n {
		t.Errorf("%d let through, want %d", got, n)
	}
	if a := ask("198.51.1.7", r.Match); a.Status == http.StatusTooManyRequests {
		t.Errorf("another client: %s", a)
	}
	// Anybody can say the name of a public client, and has only the own block's share.
	app := r.Client(node.ClientOptions{Name: "SPA", AuthMethod: "none", Grants: []string{"authorization_code"}, Scopes: []string{"openid"}, RedirectURIs: []string{rig.Callback}})
	guess := func(from string) rig.Answer {
		return send(t, r, "POST", "/token", "grant_type=authorization_code&code=x&client_id="+app.ClientID, "Content-Type", urlencoded, "X-Forwarded-For", from)
	}
	if got := limited(t, r, "public", 2*n, func() rig.Answer { return guess("203.0.113.7") }, isOAuth); got != n {
		t.Errorf("%d of a public client let through, want %d", got, n)
	}
	for range n {
		guess("203.0.113.7")
	}
	if a := guess("203.0.114.7"); a.Status == http.StatusTooManyRequests {
		t.Errorf("the public client elsewhere: %s", a)
	}
}

func TestH8_BearersThatAreMadeUpAreCountedAndKeepNoGoodOneOut(t *testing.T) {
	t.Parallel()
	const n = 5
	r := behindProxy(t, n)
	u, p := r.Person()
	good := r.Redeem(r.Login(r.Browser(), u, p).Get("code")).Text("access_token")
	ask := func(path, from, token string) int {
		return send(t, r, "GET", path, "", "X-Forwarded-For", from, "Authorization", "Bearer "+token).Status
	}
	for range 3 * n {
		ask("/userinfo", "203.0.113.7", rand.Text())
	}
	for range 3 * n { // good ones are not counted
		if got := ask("/userinfo", "203.0.114.7", good); got != http.StatusOK {
			t.Fatalf("elsewhere: %d", got)
		}
	}
	if got := ask("/userinfo", "203.0.113.7", good); got != http.StatusOK {
		t.Errorf("a good one from there, which may be a proxy: %d", got)
	}
	if got := ask("/api/v1/users/usr_x", "203.0.113.7", r.Token()); got != http.StatusNotFound {
		t.Errorf("a backend beside the browsers: %d", got)
	}
}

func TestH8_AFloodHitsNobodyElse(t *testing.T) {
	t.Parallel()
	const n = 5
	r := behindProxy(t, n)
	wrong := func(from string, c node.NewClient, secret string) rig.Answer {
		return send(t, r, "POST", "/token", "grant_type=client_credentials", "Content-Type", urlencoded, "X-Forwarded-For", from, "Authorization", basic(c, secret))
	}
	for range 3 * n {
		wrong("203.0.113.1", r.Backend, "guess")
	}
	if a := wrong("203.0.113.99", r.Backend, r.Backend.ClientSecret); a.Status != http.StatusTooManyRequests {
		t.Errorf("the guesser's neighbour finds out that a secret is right: %s", a)
	}
	if a := wrong("203.0.114.1", r.Backend, r.Backend.ClientSecret); a.Status != http.StatusOK {
		t.Errorf("the client itself, elsewhere: %s", a)
	}
	if a := wrong("203.0.113.1", r.Match, r.Match.ClientSecret); a.Status == http.StatusTooManyRequests {
		t.Errorf("another client from there: %s", a)
	}
	// Phones that the server knows are not junk, however many messages they send.
	_, p := r.Person()
	for range 3 * n {
		if _, err := p.List(t.Context()); err != nil {
			t.Fatalf("a phone: %v", err)
		}
	}
}

func TestH8_AddressesCannotBeMadeUp(t *testing.T) {
	t.Parallel()
	const n = 5
	// The peer is no trusted proxy and loopback is not exempt: what the header says
	// is nothing.
	rate := config.Rate{Events: n, Per: time.Minute}
	r := rig.Start(t, rig.Options{Limits: config.Limits{Authorize: rate}})
	i := 0
	got := limited(t, r, "a made-up X-Forwarded-For", 2*n, func() rig.Answer {
		i++
		return send(t, r, "GET", "/authorize", "", "X-Forwarded-For", fmt.Sprintf("198.51.%d.7", i))
	}, isPage)
	if got != n {
		t.Errorf("%d let through, want %d", got, n)
	}
	// Behind a proxy only what the proxy added counts.
	r = behindProxy(t, n)
	got = limited(t, r, "made up in front of the proxy's", 2*n, func() rig.Answer {
		i++
		return send(t, r, "GET", "/authorize", "", "X-Forwarded-For", fmt.Sprintf("127.0.0.1, 198.51.%d.7, 203.0.113.7", i))
	}, isPage)
	if got != n {
		t.Errorf("%d let through, want %d", got, n)
	}
}

func TestH8_StrangersMessagesCountAlthoughTheyOpen(t *testing.T) {
	t.Parallel()
	rate := config.Rate{Events: 4, Per: time.Minute}
	r := rig.Start(t, rig.Options{Limits: config.Limits{Junk: rate}})
	_, p := r.Person()
	body := func() string { // well sealed to the server, signed under a key nobody registered
		stranger := r.Copy(p)
		sent := r.Seal(stranger, wire.OpList, []byte(`{}`), func(c *wire.Claims) { c.Op = "no.such" })
		return sent.JWE
	}
	if got := limited(t, r, "strangers", 8, func() rig.Answer { return r.RPC(body()) }, isOuter); got != 4 {
		t.Errorf("%d let through, want 4", got)
	}
}

func TestLoopbackIsNotLimitedByDefault(t *testing.T) {
	t.Parallel()
	c, err := config.Load(config.Sources{})
	if err != nil {
		t.Fatal(err)
	}
	r := rig.Start(t, rig.Options{Limits: c.Limits})
	for range 700 { // more than any limit's burst for an address
		if a := send(t, r, "POST", "/token", "grant_type=x", "Content-Type", urlencoded, "Authorization", "Basic !!!"); a.Status != http.StatusUnauthorized {
			t.Fatal(a)
		}
	}
}

// Every route that the server has, also those that later work adds: the metrics
// name them.
func TestEveryRouteHasTheSecurityHeaders(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	routes := routes(t)
	if len(routes) < 20 {
		t.Fatalf("only %d routes: %v", len(routes), routes)
	}
	for _, pattern := range routes {
		method, path, ok := strings.Cut(pattern, " ")
		if !ok {
			method, path = "GET", pattern
		}
		path = strings.NewReplacer("{$}", "", "{id}", "x").Replace(path)
		a := send(t, r, method, path, "")
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
			"Cross-Origin-Opener-Policy": "same-origin", "Permissions-Policy": "camera=(), geolocation=(), microphone=()"} {
			if name != "X-Content-Type-Options" && forMachines(method+" "+path) {
				want = ""
			}
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s (%d): %s is %q, want %q", pattern, a.Status, name, got, want)
			}
		}
		csp := a.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none';") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s (%d): Content-Security-Policy %q", pattern, a.Status, csp)
		}
		if a.Header.Get("X-Request-Id") == "" || a.Header.Get("Server") != "" {
			t.Errorf("%s (%d): request id %q, server %q", pattern, a.Status, a.Header.Get("X-Request-Id"), a.Header.Get("Server"))
		}
	}
}
