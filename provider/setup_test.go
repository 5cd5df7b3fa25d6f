package provider

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mobileid/flows"
	"mobileid/internal/audit"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/db/dbtest/schema"
	"mobileid/internal/egress"
	"mobileid/internal/keys"
	"mobileid/internal/kv"
	"mobileid/internal/kv/kvtest"
	"mobileid/internal/operation"
	"mobileid/internal/view"
)

const issuer = "https://id.example.com"

// ticking is a clock that can be moved and otherwise stands.
type house struct {
	t      testing.TB
	clk    *clock.Manual
	db     *db.DB
	file   string // of the database
	kv     kv.KV
	ring   *keys.Ring
	box    *keys.Box
	flows  *phone
	p      *Provider
	secret string // of every client that has one
	user   string
	device string
}

// phone stands in for flows: it holds the state that each backchannel request
// is in, as a test set it.
type phone struct {
	mu     sync.Mutex
	starts []flows.BackchannelStart
	fail   error
	states map[string]flows.BackchannelState // by auth_req_id
	owner  map[string]string
	waited time.Duration
}

func (f *phone) StartBackchannel(_ context.Context, s flows.BackchannelStart) (flows.BackchannelAck, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return flows.BackchannelAck{}, f.fail
	}
	f.starts = append(f.starts, s)
	ack := flows.BackchannelAck{AuthReqID: fmt.Sprintf("req-%d", len(f.starts)), ExpiresIn: 180 * time.Second, Interval: 5 * time.Second, MatchCode: "42"}
	f.states[ack.AuthReqID] = flows.BackchannelState{Status: flows.StatusPending, Scopes: s.Scopes}
	f.owner[ack.AuthReqID] = s.Client.ID
	return ack, nil
}

// CheckMethods allows every method.
func (f *phone) CheckMethods(context.Context, *db.Client) error { return nil }

// CheckDetails demands nothing more than their form.
func (f *phone) CheckDetails(context.Context, *db.Client, string, *view.Details) error { return nil }

func (f *phone) PollBackchannel(_ context.Context, id, clientID string, wait time.Duration) (flows.BackchannelState, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waited = wait
	if f.fail != nil {
		return flows.BackchannelState{}, f.fail
	}
	if f.owner[id] != clientID {
		return flows.BackchannelState{Status: flows.StatusUnknown}, nil
	}
	return f.states[id], nil
}

func (f *phone) set(id string, st flows.BackchannelState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.states[id] = st
}

// newHouse opens real stores, makes a merchant with a user, a device and
// clients, and the provider over them.
func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{t: t, clk: clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))}
	h.open(kvtest.SQLite(t, h.clk), h.clk)
	return h
}

func (h *house) open(store kv.KV, clk clock.Clock) {
	t, ctx := h.t, h.t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	h.file = filepath.Join(t.TempDir(), "id.db")
	must(schema.File(h.file))
	d, err := db.Open(ctx, "sqlite:"+h.file, clk)
	must(err)
	t.Cleanup(func() { d.Close() })
	h.db, h.kv = d, store
	h.box, err = keys.NewBox(make([]byte, 32))
	must(err)
	h.ring = keys.NewRing(d, h.box, clk)
	must(h.ring.Ensure(ctx, keys.OIDC))
	h.flows = &phone{states: map[string]flows.BackchannelState{}, owner: map[string]string{}}
	h.p = h.provider(clk)
	h.user, h.device = db.NewID("usr_"), db.NewID("dev_")
	secret, rec := NewClientSecret(clk)
	h.secret = secret
	now := clk.Now()
	must(d.Update(ctx, func(tx *db.Tx) (failed error) {
		must := func(err error) { failed = errors.Join(failed, err) }
		must(tx.InsertMerchant(db.Merchant{ID: "mer_1", Name: "Shop", CreatedAt: now}))
		must(tx.InsertApp(db.App{ID: "app_1", MerchantID: "mer_1", Name: "App", Policy: json.RawMessage(`{}`), CreatedAt: now}))
		must(tx.InsertUser(db.User{ID: h.user, MerchantID: "mer_1", ExternalRef: "anna", State: db.UserActive,
			Attributes: map[string]string{"name": "Anna Smith", "email": "anna@example.com", "email_verified": "true", "phone_number": "+44"}, CreatedAt: now}))
		must(tx.InsertDevice(db.Device{ID: h.device, MerchantID: "mer_1", UserID: h.user, AppID: "app_1", OperationID: "op_0", State: db.DevicePending,
			Name: "phone", Platform: "go", DSK: "{}", DSKThumb: "t", Pos: "swk", Enrol: "qr", Epoch: 1, MaxFailures: 3, HandleSalt: []byte("s"), Commitment: []byte("c"), Chain: db.Chain{Head: []byte("h")}, CreatedAt: now}))
		must(tx.SetKnowledge(h.device, []byte("k")))
		must(tx.ActivateDevice(h.device))
		web := []string{"https://shop.example.com/cb"}
		types := view.Types()
		all := []string{"openid", "profile", "email", "phone", "users:write"}
		for _, c := range []db.Client{
			{ID: "cli_web", Settings: db.ClientSettings{AuthMethod: methodBasic, DetailsTypes: types, GrantTypes: []string{grantCode, grantToken, grantClient, grantCIBA}, RedirectURIs: web, Scopes: all}},
			{ID: "cli_other", Settings: db.ClientSettings{AuthMethod: methodBasic, GrantTypes: []string{grantCode, grantToken, grantClient, grantCIBA}, RedirectURIs: web, Scopes: all}},
			{ID: "cli_post", Settings: db.ClientSettings{AuthMethod: methodPost, GrantTypes: []string{grantClient}, Scopes: all}},
			{ID: "cli_app", Settings: db.ClientSettings{AuthMethod: methodNone, GrantTypes: []string{grantCode, grantToken, grantClient, grantCIBA}, RedirectURIs: []string{"http://127.0.0.1/cb", "https://app.example.com/cb", "https://127.0.0.1/cb", "http://[::1]:7000/cb?a=b"}, Scopes: all}},
		} {
			c.MerchantID, c.AppID, c.Name, c.CreatedAt = "mer_1", "app_1", c.ID, now
			if c.Settings.AuthMethod != methodNone {
				c.Secrets = []db.ClientSecret{rec}
			}
			must(tx.InsertClient(c))
		}
		return failed
	}))
}

// change changes a client's settings, unchecked.
func (h *house) change(id string, change func(*db.ClientSettings)) {
	h.t.Helper()
	err := h.db.Update(h.t.Context(), func(tx *db.Tx) error {
		c, err := tx.LockClient(id)
		if err != nil {
			return err
		}
		change(&c.Settings)
		return tx.SetClientSettings(id, c.Settings)
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.reread(id)
}

// provider makes another node over the same stores.
func (h *house) provider(clk clock.Clock) *Provider {
	h.t.Helper()
	p, err := New(Options{
		Issuer: issuer, DB: h.db, KV: h.kv, Keys: h.ring, Box: h.box, Flows: h.flows, Audit: audit.NewWriter(), Clock: clk,
		Egress:   egress.New([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, clk),
		Log:      slog.New(slog.NewTextHandler(testLog{h.t}, nil)),
		ClientIP: func(*http.Request) string { return "192.0.2.1" },
		FormPost: func(w http.ResponseWriter, action string, params url.Values) {
			fmt.Fprintf(w, "%s %s", action, params.Encode())
		},
		Scopes: []string{"users:write"},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// reread has the provider read a client anew that the test changed.
func (h *house) reread(id string) {
	h.p.clients.mu.Lock()
	defer h.p.clients.mu.Unlock()
	delete(h.p.clients.byID, id)
}

type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// reply is an answer, with its JSON if it has any.
type reply struct {
	*http.Response
	text string
	json map[string]any
}

func (r reply) str(key string) string { s, _ := r.json[key].(string); return s }

func call(handler http.HandlerFunc, r *http.Request) reply {
	w := httptest.NewRecorder()
	handler(w, r)
	res := reply{Response: w.Result(), text: w.Body.String()}
	_ = json.Unmarshal(w.Body.Bytes(), &res.json)
	return res
}

func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v
}

func post(path string, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, issuer+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// as sends a form as a client with a secret.
func (h *house) as(clientID, path string, v url.Values) *http.Request {
	r := post(path, v.Encode())
	r.SetBasicAuth(url.QueryEscape(clientID), url.QueryEscape(h.secret))
	return r
}

// token asks the token endpoint as cli_web.
func (h *house) token(pairs ...string) reply {
	return call(h.p.Token, h.as("cli_web", "/token", form(pairs...)))
}

// verifier and its challenge, for all tests.
const verifier = "0123456789-0123456789-0123456789-0123456789"

func challenge() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// request is a good authorize request of cli_web, with parameters changed: a
// name with "-" before it is left out.
func request(changes ...string) url.Values {
	v := form("client_id", "cli_web", "redirect_uri", "https://shop.example.com/cb", "response_type", "code", "scope", "openid email",
		"state", "s", "nonce", "n", "code_challenge", challenge(), "code_challenge_method", "S256")
	for i := 0; i < len(changes); i += 2 {
		if name, ok := strings.CutPrefix(changes[i], "-"); ok {
			v.Del(name)
		} else {
			v.Set(changes[i], changes[i+1])
		}
	}
	return v
}

// authorize runs a request as web does, to the answer for the browser.
func (h *house) authorize(r *http.Request) reply {
	return call(func(w http.ResponseWriter, r *http.Request) {
		req, err := h.p.ParseAuthorize(r.Context(), r)
		if err == nil {
			// web parks the form and comes back to it
			var parked url.Values
			if parked, err = url.ParseQuery(req.Form.Encode()); err == nil {
				req, err = h.p.ResumeAuthorize(r.Context(), parked)
			}
		}
		if err == nil {
			err = h.p.FinishAuthorize(w, r, req, h.login())
		}
		if err != nil && !h.p.WriteAuthorizeError(w, r, err) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, "page: %v", err)
		}
	}, r)
}

func (h *house) login() Authenticated {
	return Authenticated{
		UserID: h.user, DeviceID: h.device, OperationID: "op_1", SID: "sid_1", AuthTime: h.p.clk.Now(),
		AMR: []string{"pop", "swk", "pin"}, ACR: operation.ACRWeb, SCA: &operation.SCA{Pos: "swk", Kno: "pin", Epoch: 1},
	}
}

func get(v url.Values) *http.Request {
	return httptest.NewRequest(http.MethodGet, issuer+"/authorize?"+v.Encode(), nil)
}

// code gets a code for cli_web.
func (h *house) code(changes ...string) string {
	h.t.Helper()
	res := h.authorize(get(request(changes...)))
	to, err := res.Location()
	if err != nil || to.Query().Get("code") == "" {
		h.t.Fatalf("no code: %d %s %s", res.StatusCode, res.Header.Get("Location"), res.text)
	}
	return to.Query().Get("code")
}

// redeem presents a code as cli_web, rightly but for the changes.
func (h *house) redeem(code string, changes ...string) reply {
	v := form("grant_type", grantCode, "code", code, "redirect_uri", "https://shop.example.com/cb", "code_verifier", verifier)
	for i := 0; i < len(changes); i += 2 {
		if name, ok := strings.CutPrefix(changes[i], "-"); ok {
			v.Del(name)
		} else {
			v.Set(changes[i], changes[i+1])
		}
	}
	return call(h.p.Token, h.as("cli_web", "/token", v))
}

// tokens logs in and returns the token answer.
func (h *house) tokens(changes ...string) reply {
	h.t.Helper()
	res := h.redeem(h.code(changes...))
	if res.StatusCode != http.StatusOK {
		h.t.Fatalf("no tokens: %d %s", res.StatusCode, res.text)
	}
	return res
}

// alive reports whether an access token is good at userinfo.
func (h *house) alive(token string) bool {
	r := httptest.NewRequest(http.MethodGet, issuer+"/userinfo", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return call(h.p.Userinfo, r).StatusCode == http.StatusOK
}

// refuses checks that an answer is the error, with all that an error carries.
func (r reply) refuses(t testing.TB, status int, code string) {
	t.Helper()
	if r.StatusCode != status || r.str("error") != code {
		t.Errorf("got %d %s, want %d %s", r.StatusCode, r.text, status, code)
	}
	if r.str("error_description") == "" {
		t.Errorf("no error_description in %s", r.text)
	}
	if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Pragma") != "no-cache" {
		t.Errorf("the answer may be stored: %v", r.Header)
	}
	if status == http.StatusUnauthorized && r.Header.Get("WWW-Authenticate") == "" {
		t.Error("a 401 without WWW-Authenticate")
	}
}

// claims reads a JWT's payload without looking at its signature.
func claims(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
