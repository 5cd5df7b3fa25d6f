package attacks

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/test/rig"

	"github.com/go-jose/go-jose/v4"
)

const afterwards = "https://rp.example/bye"

// shop is a client that logs out.
func shop(r *rig.Rig, o node.ClientOptions) node.NewClient {
	o.Name, o.Grants, o.RedirectURIs = "Shop", []string{"authorization_code", "refresh_token"}, []string{rig.Callback}
	o.Scopes, o.PostLogoutURIs = []string{"openid", "offline_access"}, []string{afterwards}
	return r.Client(o)
}

func logout(r *rig.Rig, b *rig.Browser, pairs ...string) rig.Page {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Add(pairs[i], pairs[i+1])
	}
	return b.Open(r.Issuer + "/logout?" + q.Encode())
}

// in reports whether the browser is logged in.
func in(t *testing.T, r *rig.Rig, b *rig.Browser) bool {
	t.Helper()
	return silently(t, r, b) == "code"
}

func TestA30_ALogoutIsTheUsersOrTheClientsWhoLoggedThemIn(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{})
	u, p := r.Person()
	c, b := shop(r, node.ClientOptions{}), r.Browser()
	at := []string{"client_id", c.ClientID, "scope", "openid"}
	login := func() rig.Answer {
		t.Helper()
		a := as(r, c, r.Login(b, u, p, append(at, "prompt", "login")...).Get("code"))
		if a.Status != http.StatusOK {
			t.Fatal(a)
		}
		return a
	}
	hint := login().Text("id_token")
	forged := hint[:len(hint)-8] + "AAAAAAAA"
	unsigned := b64(`{"alg":"none","typ":"JWT"}`) + "." + strings.Split(hint, ".")[1] + "."
	other := shop(r, node.ClientOptions{})

	for name, tc := range map[string]struct {
		query []string
		code  int
	}{
		"an unregistered address":            {[]string{"id_token_hint", hint, "post_logout_redirect_uri", "https://evil.example/"}, 400},
		"an address and a slash":             {[]string{"id_token_hint", hint, "post_logout_redirect_uri", afterwards + "/"}, 400},
		"an address without a client":        {[]string{"post_logout_redirect_uri", afterwards}, 400},
		"an address with a forged hint":      {[]string{"id_token_hint", forged, "post_logout_redirect_uri", afterwards}, 400},
		"a client_id that is not the hint's": {[]string{"id_token_hint", hint, "client_id", other.ClientID}, 400},
		"an unknown client":                  {[]string{"client_id", "cli_none"}, 400},
		"a parameter given twice":            {[]string{"state", "a", "state", "b"}, 400},
		"nothing":                            {nil, 200},
		"a forged hint":                      {[]string{"id_token_hint", forged}, 200},
		"an unsigned hint":                   {[]string{"id_token_hint", unsigned}, 200},
		"an unsigned hint and an address":    {[]string{"id_token_hint", unsigned, "post_logout_redirect_uri", afterwards}, 400},
		"no hint":                            {[]string{"client_id", c.ClientID, "post_logout_redirect_uri", afterwards}, 200},
	} {
		page := logout(r, b, tc.query...)
		if page.Left != nil || page.Status != tc.code {
			t.Errorf("%s: %v %s", name, page.Left, page.Answer)
		}
		if tc.code == 200 && page.CSRF() == "" {
			t.Errorf("%s: the page asks nothing", name)
		}
	}
	if !in(t, r, b) {
		t.Fatal("one of these ended the session")
	}
	t.Run("the token of a session that is over only asks", func(t *testing.T) {
		stranger := r.Browser()
		r.Login(stranger, u, p)
		if page := logout(r, stranger, "id_token_hint", hint); page.CSRF() == "" || !in(t, r, stranger) {
			t.Errorf("%s", page.Answer)
		}
	})
	t.Run("the question needs its page's token", func(t *testing.T) {
		if page := b.Submit(r.Issuer+"/logout/confirm", url.Values{"csrf": {"x"}}); page.Status != http.StatusForbidden || !in(t, r, b) {
			t.Errorf("%s", page.Answer)
		}
	})
	t.Run("the user says yes", func(t *testing.T) {
		page := logout(r, b, "client_id", c.ClientID, "post_logout_redirect_uri", afterwards, "state", "s&1")
		page = b.Submit(r.Issuer+"/logout/confirm", url.Values{"csrf": {page.CSRF()}, "client_id": {c.ClientID}, "post_logout_redirect_uri": {afterwards}, "state": {"s&1"}})
		if page.Left == nil || page.Left.String() != afterwards+"?state=s%261" || in(t, r, b) {
			t.Errorf("%v %s", page.Left, page.Answer)
		}
	})
	t.Run("a client that took part says so, an expired token and all", func(t *testing.T) {
		tokens := login()
		session := cookie(t, r, b)
		r.Clock.Advance(15 * time.Minute)
		req, err := http.NewRequest(http.MethodPost, r.Issuer+"/logout", strings.NewReader(url.Values{"id_token_hint": {tokens.Text("id_token")}, "post_logout_redirect_uri": {afterwards}}.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := b.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if to := res.Header.Get("Location"); to != afterwards || in(t, r, b) {
			t.Errorf("%d %s", res.StatusCode, to)
		}
		plant(t, r, b, session)
		if in(t, r, b) {
			t.Error("the old cookie logs in")
		}
		if a := r.Post("/token", c, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.Text("refresh_token")}}); a.Text("error") != "invalid_grant" {
			t.Errorf("a refresh token outlives the logout: %s", a)
		}
	})
	t.Run("a code of before gives nothing after, one for offline access that was redeemed stays", func(t *testing.T) {
		offline := as(r, c, r.Login(b, u, p, "client_id", c.ClientID, "scope", "openid offline_access", "prompt", "login").Get("code"))
		code := b.Open(r.AuthorizeURL(at...)).Left.Query().Get("code")
		if page := logout(r, b, "id_token_hint", offline.Text("id_token")); page.Left != nil || !strings.Contains(page.Body, "You are logged out") {
			t.Fatalf("%v %s", page.Left, page.Answer)
		}
		if a := as(r, c, code); a.Text("error") != "invalid_grant" {
			t.Errorf("the code: %s", a)
		}
		if a := r.Post("/token", c, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {offline.Text("refresh_token")}}); a.Status != http.StatusOK {
			t.Errorf("offline access: %s", a)
		}
	})
	t.Run("a login that was ended under another cookie is ended under this one", func(t *testing.T) {
		sid := idToken(t, r, r.Login(b, u, p).Get("code"))["sid"].(string)
		r.SQL(func(tx *db.Tx) error { return tx.Revoke("sid", sid, tx.Now().Add(time.Hour)) })
		if in(t, r, b) {
			t.Error("still logged in")
		}
	})
	t.Run("nobody is logged in", func(t *testing.T) {
		if page := logout(r, r.Browser()); page.Status != 200 || page.Left != nil {
			t.Errorf("%s", page.Answer)
		}
		if page := logout(r, r.Browser(), "client_id", c.ClientID, "post_logout_redirect_uri", afterwards); page.Left != nil || !strings.Contains(page.Body, afterwards) {
			t.Errorf("%v %s", page.Left, page.Answer)
		}
	})
}

// party is a relying party's back-channel logout endpoint.
type party struct {
	*httptest.Server
	mu     sync.Mutex
	answer []int // for the next calls; then 200
	tokens []string
}

func listen(t *testing.T, answer ...int) *party {
	rp := &party{answer: answer}
	rp.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		form, err := url.ParseQuery(string(body))
		if err != nil || r.Method != http.MethodPost {
			t.Errorf("%s %v", r.Method, err)
		}
		rp.mu.Lock()
		defer rp.mu.Unlock()
		rp.tokens = append(rp.tokens, form.Get("logout_token"))
		if len(rp.answer) > 0 {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(rp.answer[0])
			rp.answer = rp.answer[1:]
		}
	}))
	t.Cleanup(rp.Close)
	return rp
}

func (rp *party) got() []string {
	rp.mu.Lock()
	defer rp.mu.Unlock()
	return append([]string{}, rp.tokens...)
}

// wait waits until the party was called n times.
func (rp *party) wait(t *testing.T, r *rig.Rig, n int) []string {
	t.Helper()
	for range 300 {
		if got := rp.got(); len(got) >= n {
			return got
		}
		time.Sleep(20 * time.Millisecond)
		r.Clock.Advance(100 * time.Millisecond)
	}
	t.Fatalf("called %d times, want %d", len(rp.got()), n)
	return nil
}

func TestALogoutIsToldToEveryClientOfTheSessionUntilTheyHaveIt(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{Egress: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	u, p := r.Person()
	first, flaky, deaf, away := listen(t), listen(t, 500, 503), listen(t, 400), listen(t, 302)
	b := r.Browser()
	var clients []node.NewClient
	for _, rp := range []*party{first, flaky, deaf, away} {
		clients = append(clients, shop(r, node.ClientOptions{LocalhostHTTP: true, BackchannelLogoutURI: rp.URL + "/bc?x=1"}))
	}
	stranger := listen(t)
	shop(r, node.ClientOptions{LocalhostHTTP: true, BackchannelLogoutURI: stranger.URL})
	var hint string
	for i, c := range clients {
		at := []string{"client_id", c.ClientID, "scope", "openid"}
		if i == 0 {
			hint = as(r, c, r.Login(b, u, p, at...).Get("code")).Text("id_token")
		} else {
			as(r, c, b.Open(r.AuthorizeURL(at...)).Left.Query().Get("code"))
		}
	}
	// Logged in anew, the session is the same one for all of them.
	r.Login(b, u, p, "prompt", "login")
	logout(r, b, "id_token_hint", hint)
	if in(t, r, b) {
		t.Fatal("still logged in")
	}
	token := first.wait(t, r, 1)[0]
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(r.Get("/jwks").Body), &set); err != nil {
		t.Fatal(err)
	}
	payload, err := jws.Verify(set)
	if err != nil {
		t.Fatal(err)
	}
	var got, id map[string]any
	if err := json.Unmarshal(payload, &got); err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(hint, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &id); err != nil {
		t.Fatal(err)
	}
	events, _ := got["events"].(map[string]any)
	if _, ok := events["http://schemas.openid.net/event/backchannel-logout"]; !ok || got["iss"] != r.Issuer || got["aud"] != clients[0].ClientID ||
		got["sub"] != u.ID || got["sid"] != id["sid"] || got["jti"] == nil || got["iat"] == nil || got["exp"] == nil || got["nonce"] != nil {
		t.Errorf("%s", payload)
	}
	if typ := jws.Signatures[0].Protected.ExtraHeaders[jose.HeaderType]; typ != "logout+jwt" {
		t.Errorf("typ %v", typ)
	}
	tries := flaky.wait(t, r, 3)
	jti := func(token string) string {
		raw, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		var c struct{ JTI string }
		_ = json.Unmarshal(raw, &c)
		return c.JTI
	}
	if jti(tries[0]) == "" || jti(tries[0]) != jti(tries[2]) {
		t.Error("another jti at another try")
	}
	time.Sleep(1200 * time.Millisecond)
	r.Clock.Advance(time.Minute)
	time.Sleep(1200 * time.Millisecond)
	for name, rp := range map[string]*party{"told": first, "refused": deaf, "redirected": away} {
		if n := len(rp.got()); n != 1 {
			t.Errorf("%s: called %d times", name, n)
		}
	}
	if n := len(stranger.got()); n != 0 {
		t.Error("a client that took no part was told")
	}
}

func TestF1_F2_NoPrivateAddressIsCalled(t *testing.T) {
	t.Parallel()
	r := rig.Start(t, rig.Options{}) // nothing allowed
	u, p := r.Person()
	canary := listen(t)
	c := shop(r, node.ClientOptions{LocalhostHTTP: true, BackchannelLogoutURI: canary.URL})
	b := r.Browser()
	hint := as(r, c, r.Login(b, u, p, "client_id", c.ClientID, "scope", "openid").Get("code")).Text("id_token")
	logout(r, b, "id_token_hint", hint)
	time.Sleep(2500 * time.Millisecond)
	if n := len(canary.got()); n != 0 {
		t.Errorf("called %d times", n)
	}
	keys := r.Client(node.ClientOptions{Name: "Keys", Grants: []string{"client_credentials"}, Scopes: []string{"mobileid.users"}, AuthMethod: "private_key_jwt", LocalhostHTTP: true, JWKSURI: canary.URL})
	// An assertion that nobody signed is enough to have the keys wanted.
	assertion := b64(`{"alg":"ES256","kid":"k"}`) + "." + b64(`{"iss":"`+keys.ClientID+`","sub":"`+keys.ClientID+`","aud":"`+r.Issuer+`","jti":"j","exp":4000000000}`) + "." + b64(strings.Repeat("x", 64))
	form := url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion}}
	if a := send(t, r, "POST", "/token", form.Encode(), "Content-Type", urlencoded); a.Status != 401 || a.Text("error") != "invalid_client" || strings.Contains(a.Body, "127.0.0.1") {
		t.Errorf("keys at a private address: %s", a)
	}
	if n := len(canary.got()); n != 0 {
		t.Errorf("called %d times for keys", n)
	}
	for _, uri := range []string{"https://127.0.0.1/x", "https://127.9.9.9/", "https://0.0.0.0/", "https://192.168.1.1/", "https://172.16.0.1/", "https://100.64.0.1/", "https://[fc00::1]/", "https://[fe80::1]/", "https://127.1/", "https://rp.example:5432/", "https://rp.example:80/", "ftp://rp.example/", "https://[::1]/x", "https://[::ffff:7f00:1]/", "https://169.254.169.254/", "https://10.0.0.1/", "https://2130706433/", "https://0x7f.1/",
		"https://0177.0.0.1/", "https://localhost/", "https://a.localhost/", "https://localhost./", "https://rp.example:22/", "https://rp.example:6379/", "https://user@rp.example/",
		"file:///etc/passwd", "gopher://rp.example/", "http://rp.example/", "http://127.0.0.1/", "https://rp.example/#f", "/relative", "com.example.app:/x"} {
		_, err := r.Node.CreateClient(t.Context(), r.Merchant.ID, node.ClientOptions{Grants: []string{"client_credentials"}, BackchannelLogoutURI: uri})
		if err == nil {
			t.Errorf("%s is registered", uri)
		}
		_, err = r.Node.CreateClient(t.Context(), r.Merchant.ID, node.ClientOptions{Grants: []string{"client_credentials"}, AuthMethod: "private_key_jwt", JWKSURI: uri})
		if e, ok := errors.AsType[*fault.Error](err); !ok || e.Kind != fault.Invalid || e.Fields[0].Pointer != "/jwks_uri" {
			t.Errorf("%s as jwks_uri: %v", uri, err)
		}
	}
}
