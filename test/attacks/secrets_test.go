package attacks

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/cmd/mobileid/node"
	"mobileid/config"
	"mobileid/internal/db"
	"mobileid/sdk"
	"mobileid/test/rig"
	"mobileid/web/api"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-jose/go-jose/v4"
)

// locked is a log that many goroutines write.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func metrics(t *testing.T, r *rig.Rig) string {
	t.Helper()
	w := httptest.NewRecorder()
	r.Node.Admin().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("metrics: %d", w.Code)
	}
	return w.Body.String()
}

// routes are the patterns of the table in web and of the API's contract: no route is left out by being new.
func routes(t *testing.T) (out []string) {
	t.Helper()
	src, err := os.ReadFile("../../web/routes.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\t\t\{"([^"]+)", \w+, `).FindAllStringSubmatch(string(src), -1) {
		out = append(out, m[1])
	}
	doc, err := openapi3.NewLoader().LoadFromData(api.Spec)
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			out = append(out, method+" /api/v1"+path)
		}
	}
	return out
}

func TestL1_NoSecretIsInAnyOutput(t *testing.T) {
	t.Parallel()
	log := &locked{}
	r := rig.Start(t, rig.Options{Log: slog.LevelDebug, LogTo: log})
	secrets := map[string]string{} // secret → what it is
	keep := func(what, s string) string {
		t.Helper()
		if len(s) < 6 {
			t.Fatalf("%s is %q: the flow did not come so far", what, s)
		}
		secrets[s] = what
		return s
	}
	bodies := []string{} // of errors
	refused := func(a rig.Answer) {
		t.Helper()
		if a.Status < 400 {
			t.Fatalf("this should have failed: %s", a)
		}
		bodies = append(bodies, a.Body)
	}

	// Every flow, with its secrets noted.
	for _, c := range []node.NewClient{r.Web, r.Backend, r.Match} {
		keep("client secret", c.ClientSecret)
	}
	keep("PIN", rig.PIN)
	keep("wrong PIN", rig.WrongPIN)
	u := r.User()
	link := r.Link(u)
	keep("registration secret", regexp.MustCompile(`s=([\w-]+)`).FindStringSubmatch(link)[1])
	p := r.Phone()
	if _, err := p.Register(t.Context(), link); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Finish(t.Context(), rig.PIN); err != nil {
		t.Fatal(err)
	}
	typed := r.REST("POST", "/registrations", map[string]any{"userId": r.User().ID, "activationCode": true})
	keep("activation code", typed.Text("activationCode"))
	if _, err := r.Phone().Register(t.Context(), typed.Text("link")); err != nil {
		t.Fatal(err)
	}
	rest := keep("REST access token", r.Post("/token", r.Backend, url.Values{"grant_type": {"client_credentials"}, "scope": {"mobileid.users"}}).Text("access_token"))

	b := r.Browser()
	page := b.Open(r.AuthorizeURL("login_hint", u.ExternalRef))
	csrf := keep("csrf token", page.CSRF())
	site, _ := url.Parse(r.Issuer)
	keep("session before the login", b.Jar.Cookies(site)[0].Value)
	if _, err := p.Approve(t.Context(), r.Waiting(p), rig.WrongPIN, page.Match()); err == nil {
		t.Fatal("a wrong PIN was taken")
	}
	r.Approve(p, page.Match())
	done := b.Open(page.URL.String())
	code := keep("code", done.Left.Query().Get("code"))
	keep("session after the login", b.Jar.Cookies(site)[0].Value)
	keep("code verifier", rig.Verifier)
	tokens := r.Redeem(code)
	at := keep("access token", tokens.Text("access_token"))
	keep("refresh token", tokens.Text("refresh_token"))
	keep("ID token", tokens.Text("id_token"))
	keep("ID token's signature", tokens.Text("id_token")[strings.LastIndex(tokens.Text("id_token"), ".")+1:])
	r.Get("/userinfo", "Authorization", "Bearer "+at)
	again, err := r.TryRefresh(tokens.Text("refresh_token"))
	if err != nil {
		t.Fatal(err)
	}
	keep("second refresh token", again.Text("refresh_token"))
	refused(r.Redeem(code)) // a replay, which revokes
	ack := r.Ask(r.Backend, u)
	id := keep("auth_req_id", ack.Text("auth_req_id"))
	r.Approve(p, "")
	keep("backchannel access token", r.Poll(r.Backend, id).Text("access_token"))
	refused(r.Poll(r.Backend, id))
	st := r.State(p)
	keep("head", st.Head)
	moreFlows(t, r, u, p, b, keep)

	// Every error, with canaries where secrets go.
	n := 0
	canary := func(what string) string {
		n++
		return keep("canary: "+what, "kanarie"+base64.RawURLEncoding.EncodeToString([]byte{byte(n), 250, 3, byte(n), 17, 99, byte(n)})+"vogel")
	}
	bad := func(c node.NewClient, secret string) node.NewClient {
		return node.NewClient{ClientID: c.ClientID, ClientSecret: secret}
	}
	refused(r.Post("/token", bad(r.Web, canary("secret")), url.Values{"grant_type": {"client_credentials"}}))
	refused(r.Post("/token", node.NewClient{}, url.Values{"grant_type": {"client_credentials"}, "client_id": {r.Web.ClientID}, "client_secret": {canary("secret in the body")}}))
	refused(r.Post("/token", r.Web, url.Values{"grant_type": {"authorization_code"}, "code": {canary("code")}, "redirect_uri": {rig.Callback}, "code_verifier": {canary("verifier") + strings.Repeat("x", 30)}}))
	refused(r.Post("/token", r.Web, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {canary("refresh token")}}))
	refused(r.Post("/token", r.Backend, url.Values{"grant_type": {"urn:openid:params:grant-type:ciba"}, "auth_req_id": {canary("auth_req_id")}}))
	refused(r.Post("/token", r.Web, url.Values{"grant_type": {"authorization_code"}, "code": {canary("code twice"), canary("code twice")}}))
	refused(send(t, r, "POST", "/token?client_secret="+canary("secret in the query"), "grant_type=x", "Content-Type", urlencoded))
	refused(send(t, r, "POST", "/token", "grant_type=password&password="+canary("password"), "Content-Type", urlencoded, "Authorization", "Basic "+canary("broken credentials")))
	refused(send(t, r, "POST", "/token", "client_assertion="+canary("assertion")+"&grant_type=x", "Content-Type", urlencoded))
	refused(r.Get("/userinfo", "Authorization", "Bearer "+canary("access token")))
	refused(r.Get("/userinfo?access_token=" + canary("access token in the query")))
	refused(send(t, r, "POST", "/api/v1/users", `{"externalRef":"`+canary("REST")+`"`, "Authorization", "Bearer "+rest, "Content-Type", "application/json"))
	refused(send(t, r, "POST", "/api/v1/users", `{}`, "Authorization", "Bearer "+canary("REST token"), "Content-Type", "application/json"))
	refused(send(t, r, "POST", page.URL.Path+"/identify", "csrf="+canary("csrf")+"&identifier="+canary("identifier"), "Content-Type", urlencoded, "Cookie", "mid="+canary("cookie")))
	refused(send(t, r, "GET", "/i/"+canary("interaction"), "", "Cookie", "mid="+b.Jar.Cookies(site)[0].Value))
	delete(secrets, secretOf(secrets, "canary: interaction")) // an address, not a secret: it is in the log on purpose
	refused(r.RPC(canary("message")))
	refused(send(t, r, "GET", "/authorize?request="+canary("request object")+"&client_id="+r.Web.ClientID, ""))
	_ = csrf
	r.Stop()

	var audit strings.Builder
	d, err := db.Open(t.Context(), "sqlite:"+r.Dir+"/mobileid.db", r.Clock)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	records := 0
	err = d.View(t.Context(), func(tx *db.Tx) error {
		return tx.AuditRecords(func(rec db.AuditRecord) error { records++; audit.WriteString(rec.Body + "\n"); return nil })
	})
	if err != nil || records < 5 {
		t.Fatalf("%d records, %v", records, err)
	}
	if strings.Count(log.String(), "msg=request") < 20 {
		t.Fatalf("the log is not at debug level:\n%s", log.String())
	}
	for where, text := range map[string]string{"the log": log.String(), "the metrics": metrics(t, r), "the audit records": audit.String(), "error bodies": strings.Join(bodies, "\n")} {
		for s, what := range secrets {
			for _, form := range []string{s, url.QueryEscape(s), base64.StdEncoding.EncodeToString([]byte(s))} {
				at := strings.Index(text, form)
				if at >= 0 && !partOfNumber(text, at, form) {
					t.Errorf("%s: %s is in it: …%s…", where, what, text[max(0, at-120):min(len(text), at+len(form)+20)])
					break
				}
			}
		}
	}
}

// moreFlows are those beside the plain ones, by somebody who is logged in.
func moreFlows(t *testing.T, r *rig.Rig, u db.User, p *sdk.Phone, b *rig.Browser, keep func(what, s string) string) {
	t.Helper()
	// Consent.
	third := r.Client(node.ClientOptions{Name: "Third", ThirdParty: true, Grants: []string{"authorization_code"}, RedirectURIs: []string{rig.Callback}, Scopes: []string{"openid", "profile"}})
	keep("a third party's secret", third.ClientSecret)
	page := b.Open(r.AuthorizeURL("client_id", third.ClientID, "scope", "openid profile"))
	asksConsent(t, page)
	keep("csrf token of the consent", page.CSRF())
	code := keep("code after the consent", decide(b, page, "allow").Left.Query().Get("code"))
	hint := keep("ID token after the consent", as(r, third, code).Text("id_token"))

	// A client that signs what it says.
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	signs := r.Client(node.ClientOptions{Name: "Signs", AuthMethod: "private_key_jwt", JWKS: set, Grants: []string{"client_credentials"}, Scopes: []string{"mobileid.users"}})
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	claims := fmt.Sprintf(`{"iss":%q,"sub":%[1]q,"aud":%q,"jti":"once","iat":%d,"exp":%d}`, signs.ClientID, r.Issuer, r.Now().Unix(), r.Now().Unix()+60)
	signed, err := signer.Sign([]byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	assertion, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {keep("assertion", assertion)}}
	keep("access token by an assertion", r.Post("/token", node.NewClient{}, form).Text("access_token"))

	// What the merchant's backend is given once.
	hook := r.REST("POST", "/webhooks", map[string]any{"url": "https://hooks.invalid/a"})
	keep("webhook secret", strings.TrimPrefix(hook.Text("secret"), "whsec_"))
	keep("rotated webhook secret", strings.TrimPrefix(r.REST("POST", "/webhooks/"+hook.Text("id")+"/rotate-secret", map[string]any{"overlap": 3600}).Text("secret"), "whsec_"))
	op := r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "initiation": "app", "preContext": map[string]any{"content": "Open the gate"}})
	start := op.Text("startToken")
	keep("start token", start[strings.IndexByte(start, '.')+1:])
	claimed, err := p.Claim(t.Context(), start)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Approve(t.Context(), claimed, rig.PIN, ""); err != nil {
		t.Fatal(err)
	}

	// Another PIN, and the end of the login.
	if err := p.ChangePIN(t.Context(), rig.PIN, keep("another PIN", "161804")); err != nil {
		t.Fatal(err)
	}
	if err := p.ChangePIN(t.Context(), "161804", rig.PIN); err != nil {
		t.Fatal(err)
	}
	if out := b.Open(r.Issuer + "/logout?" + url.Values{"id_token_hint": {hint}}.Encode()); !strings.Contains(out.Body, "You are logged out") {
		t.Fatalf("the logout: %s", out.Answer)
	}
	// The rest goes on with a browser that is logged in.
	again := b.Open(r.AuthorizeURL("login_hint", u.ExternalRef))
	r.Approve(p, again.Match())
	b.Open(again.URL.String())
}

func secretOf(secrets map[string]string, what string) string {
	for s, w := range secrets {
		if w == what {
			return s
		}
	}
	return ""
}

// partOfNumber reports whether a find is only digits within a longer run of
// letters and digits: a PIN may occur in a time or an id by chance.
func partOfNumber(text string, at int, form string) bool {
	if strings.Trim(form, "0123456789") != "" {
		return false
	}
	word := func(c byte) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '.' || c == '_' || c == '-'
	}
	return at > 0 && word(text[at-1]) || at+len(form) < len(text) && word(text[at+len(form)])
}

func TestL2_WhatIsSentCannotForgeALineOfTheLog(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			var out locked
			cfg := &config.Config{Log: config.Log{Level: slog.LevelDebug, Format: format}}
			log := node.NewLog(cfg, &out)
			r := rig.Start(t, rig.Options{Logger: log})
			const forged = "%0d%0atime=2026-01-01T00:00:00Z%20level=ERROR%20msg=forged%1b[31m%00%7f%c2%85%e2%80%a8{\"msg\":\"forged\"}"
			plain, err := url.PathUnescape(forged)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range []string{"/" + forged, "/i/" + forged, "/api/v1/registrations/" + forged, "/authorize?client_id=" + forged, "/authorize?x=%zz" + forged, "/mid/v1/keys?c=" + forged} {
				send(t, r, "GET", p, "", "User-Agent", "a\tb", "X-Forwarded-For", "1.2.3.4\"}")
			}
			c := node.NewClient{ClientID: "x" + plain, ClientSecret: "y" + plain}
			r.Post("/token", c, url.Values{"grant_type": {plain}})
			r.Post("/token", r.Backend, url.Values{"grant_type": {"client_credentials"}, "scope": {plain}})
			r.Post("/bc-authorize", r.Backend, url.Values{"scope": {"openid"}, "login_hint": {plain}, "binding_message": {plain}})
			r.RPC(plain)
			log.Error("an error that quotes", "error", plain, "path", plain)
			time.Sleep(50 * time.Millisecond)
			lines := 0
			for in := bufio.NewScanner(strings.NewReader(out.String())); in.Scan(); lines++ {
				line := in.Text()
				for _, c := range line {
					if c < 0x20 || c == 0x7f || c == 0x85 || c == 0x2028 || c == 0x2029 {
						t.Errorf("a control character %q in %q", c, line)
						break
					}
				}
				if format == "json" {
					var rec map[string]any
					if json.Unmarshal([]byte(line), &rec) != nil || rec["msg"] == "forged" {
						t.Errorf("not a line of ours: %q", line)
					}
				} else if !strings.HasPrefix(line, "time=") || strings.HasPrefix(line, "time=2026-01-01T00:00:00Z") {
					t.Errorf("not a line of ours: %q", line)
				}
			}
			if lines < 10 {
				t.Errorf("only %d lines", lines)
			}
		})
	}
}
