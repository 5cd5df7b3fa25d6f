package provider

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/operation"
)

// page checks that the browser was kept here: a page, no Location, no code.
func (r reply) page(t *testing.T) {
	t.Helper()
	if r.StatusCode != http.StatusBadRequest || r.Header.Get("Location") != "" || !strings.HasPrefix(r.text, "page: ") {
		t.Errorf("not a page: %d %q %s", r.StatusCode, r.Header.Get("Location"), r.text)
	}
}

// sentBack checks that the error went to the client, with iss and state.
func (r reply) sentBack(t *testing.T, code, state string) url.Values {
	t.Helper()
	to, err := r.Location()
	if err != nil || r.StatusCode != http.StatusSeeOther {
		t.Errorf("no redirect: %d %s", r.StatusCode, r.text)
		return nil
	}
	q := to.Query()
	if q.Get("error") != code || q.Get("error_description") == "" || q.Get("iss") != issuer || q.Get("state") != state || q.Has("code") {
		t.Errorf("sent back %v, want %s with state %q", q, code, state)
	}
	return q
}

func TestA1_RedirectURIIsTheRegisteredBytesOrAPage(t *testing.T) {
	h := newHouse(t)
	for _, uri := range []string{
		"https://shop.example.com/cb/", "https://shop.example.com/cb/evil", "https://shop.example.com/cb/../evil", "https://shop.example.com/cb/..;/evil",
		"https://shop.example.com/x/../cb", "https://shop.example.com@evil.com/cb", "https://evil.com@shop.example.com/cb", "https://a@@shop.example.com/cb",
		`https://shop.example.com\@evil.com/cb`, `https://evil.com\shop.example.com/cb`, "https://SHOP.example.com/cb", "https://shop.example.com/CB", "HTTPS://shop.example.com/cb",
		"https://shop.example.com:443/cb", "https://shop.example.com/cb#x", "https://shop.example.com/cb#", "https://shop.example.com/cb?", "https://shop.example.com/cb?x=1",
		"https://shop.example.com%2fcb", "https://shop.example.com/%63b", "https://shop.example.com/cb%00", "https://shop.example.com/cb\x00", "https://shop.example.com/cb\t", " https://shop.example.com/cb", "https://shop.example.com/cb\n",
		"https://shop.example.com.evil.com/cb", "https://shop.example.com./cb", "https://shop.exämple.com/cb", "http://shop.example.com/cb", "//shop.example.com/cb", "javascript:alert(1)", "https:shop.example.com/cb",
	} {
		t.Run(uri, func(t *testing.T) { h.authorize(get(request("redirect_uri", uri))).page(t) })
	}
	t.Run("doubled", func(t *testing.T) {
		v := request()
		v.Add("redirect_uri", "https://evil.com/")
		h.authorize(get(v)).page(t)
	})
	t.Run("the registered one works", func(t *testing.T) { h.code() })
}

func TestA2_OnlyThePortOfARegisteredHTTPLoopbackLiteralMayDiffer(t *testing.T) {
	h := newHouse(t)
	for uri, ok := range map[string]bool{
		"http://127.0.0.1/cb": true, "http://127.0.0.1:1/cb": true, "http://127.0.0.1:65535/cb": true, "http://[::1]:9/cb?a=b": true, "http://[::1]/cb?a=b": true,
		"https://127.0.0.1/cb": true, "https://127.0.0.1:8443/cb": false, // registered with https: the same bytes or nothing
		"http://u@127.0.0.1/cb": false, "http://u:p@127.0.0.1:80/cb": false, "http://127.0.0.1%2F@evil.com/cb": false, "http://127.0.0.1:80%2F/cb": false,
		"http://localhost/cb": false, "http://127.0.0.2/cb": false, "http://127.1/cb": false, "http://2130706433/cb": false, "http://[::1]/cb": false, "http://[0:0:0:0:0:0:0:1]/cb?a=b": false,
		"http://[::ffff:127.0.0.1]/cb": false, "http://127.0.0.1:/cb": false, "http://127.0.0.1:123456/cb": false, "http://127.0.0.1:8080/cb/x": false, "http://127.0.0.1:8080/cb?x": false, "http://127.0.0.1:8080/cb#": false,
		"http://127.0.0.1:80@evil.com/cb": false, "http://127.0.0.1.evil.com/cb": false, "http://::1/cb?a=b": false, "http://evil.com:80/cb": false,
	} {
		t.Run(uri, func(t *testing.T) {
			res := h.authorize(get(request("client_id", "cli_app", "redirect_uri", uri)))
			if !ok {
				res.page(t)
			} else if got := res.Header.Get("Location"); !strings.HasPrefix(got, uri) || !strings.Contains(got, "code=") {
				t.Errorf("refused: %d %s %s", res.StatusCode, got, res.text)
			}
		})
	}
}

func TestA3_ARedirectURIThatCannotBeTrustedIsNotRegistered(t *testing.T) {
	for _, uri := range []string{
		"javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "blob:https://a.example/x", "about:blank", "intent://x", "myapp:/cb", "myapp://cb",
		"https://user@shop.example.com/cb", "https://u:p@shop.example.com/", "https://@shop.example.com/cb", "https://shop.example.com/cb#f", "https://shop.example.com/cb#", "https://*.example.com/cb", "https://shop.example.com/*",
		"https://shop.example.com/(.|x)+$", "^https://shop.example.com/cb$", "https://shop.example.com/{x}", `https://shop.example.com\@evil.com`, "https://shop.example.com/a b", "https://shop.example.com/\t", "https://shop.exämple.com/",
		"https://shop.example.com/../x", "https://shop.example.com/a/%2e%2e/x", "https://shop.example.com/..;/x", "https://shop.example.com/a%2fb", "https://shop.example.com/a%5Cb", "https://shop.example.com/%00",
		"HTTPS://shop.example.com/cb", "https://SHOP.example.com/cb", "https://shop.example.com./cb", "https://shop.example.com:/cb", "https://", "https:/x", "https:shop.example.com", "//shop.example.com/cb", "/cb", "",
		"http://shop.example.com/cb", "http://localhost/cb", "http://10.0.0.1/cb", "http://127.0.0.1.evil.com/cb", "http://127.0.0.1:99999999/", "com.example.app://host/cb", "com.example.app:cb",
		"https://shop.example.com/" + strings.Repeat("a", 2000),
	} {
		err := ValidateRedirectURI(uri, false)
		e, _ := err.(*fault.Error)
		if e == nil || e.Kind != fault.Invalid || e.Fields[0].Code != "invalid_redirect_uri" {
			t.Errorf("%q: %v", uri, err)
		}
	}
	for _, uri := range []string{"https://shop.example.com/cb", "https://shop.example.com", "https://shop.example.com:8443/cb?x=1&y=%20", "http://127.0.0.1/cb", "http://127.0.0.1:8080", "http://[::1]/cb", "com.example.app:/cb"} {
		if err := ValidateRedirectURI(uri, false); err != nil {
			t.Errorf("%q: %v", uri, err)
		}
	}
	if err := ValidateRedirectURI("http://localhost:8081/cb", true); err != nil {
		t.Errorf("localhost where it is allowed: %v", err)
	}
	if err := CheckClient(&db.ClientSettings{GrantTypes: []string{grantCode}, RedirectURIs: []string{"javascript:x"}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("CheckClient: %v", err)
	}
}

func TestA4_NoRedirectURIWhileSeveralAreRegistered(t *testing.T) {
	h := newHouse(t)
	h.authorize(get(request("client_id", "cli_app", "-redirect_uri", "", "scope", "email"))).page(t)
	t.Run("with openid it is always needed", func(t *testing.T) { h.authorize(get(request("-redirect_uri", ""))).page(t) })
	t.Run("without openid the only one is used", func(t *testing.T) {
		code := h.code("-redirect_uri", "", "scope", "email")
		res := h.redeem(code, "-redirect_uri", "")
		if res.StatusCode != 200 || res.json["id_token"] != nil {
			t.Errorf("%d %s", res.StatusCode, res.text)
		}
	})
}

func TestA5_AnyOtherErrorWithAnUnregisteredRedirectURIIsAPage(t *testing.T) {
	h := newHouse(t)
	for name, change := range map[string][]string{
		"bad response_type": {"response_type", "token"}, "no response_type": {"-response_type", ""}, "bad scope": {"scope", "openid nope"}, "bad response_mode": {"response_mode", "web_message"},
		"no challenge": {"-code_challenge", ""}, "request": {"request", "x.y.z"}, "prompt": {"prompt", "none login"}, "max_age": {"max_age", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			h.authorize(get(request(append(change, "redirect_uri", "https://evil.com/cb")...))).page(t)
		})
	}
	t.Run("unknown client", func(t *testing.T) { h.authorize(get(request("client_id", "cli_none"))).page(t) })
	t.Run("no client", func(t *testing.T) { h.authorize(get(request("-client_id", ""))).page(t) })
	t.Run("missing response_type", func(t *testing.T) { h.authorize(get(request("-response_type", ""))).page(t) })
	t.Run("disabled client", func(t *testing.T) {
		if err := h.db.Update(t.Context(), func(tx *db.Tx) error { return tx.DisableClient("cli_web") }); err != nil {
			t.Fatal(err)
		}
		h.clk.Advance(ClientFresh)
		h.authorize(get(request())).page(t)
	})
}

func TestErrorsThatTheClientHearsOf(t *testing.T) {
	h := newHouse(t)
	for _, tc := range []struct {
		name   string
		change []string
		code   string
	}{
		{"A6 no code_challenge", []string{"-code_challenge", ""}, codeInvalidRequest},
		{"A6 plain", []string{"code_challenge_method", "plain"}, codeInvalidRequest},
		{"A6 no method means plain", []string{"-code_challenge_method", ""}, codeInvalidRequest},
		{"A6 a challenge that is no hash", []string{"code_challenge", "short"}, codeInvalidRequest},
		{"A6 a challenge with other characters", []string{"code_challenge", strings.Repeat("=", 43)}, codeInvalidRequest},
		{"A15 token", []string{"response_type", "token"}, "unsupported_response_type"},
		{"A15 id_token", []string{"response_type", "id_token"}, "unsupported_response_type"},
		{"A15 id_token token", []string{"response_type", "id_token token"}, "unsupported_response_type"},
		{"A15 code token", []string{"response_type", "code token"}, "unsupported_response_type"},
		{"A15 code twice", []string{"response_type", "code code"}, "unsupported_response_type"},
		{"A15 none", []string{"response_type", "none"}, "unsupported_response_type"},
		{"A16 form_post.jwt", []string{"response_mode", "form_post.jwt"}, codeInvalidRequest},
		{"A16 web_message", []string{"response_mode", "web_message"}, codeInvalidRequest},
		{"A16 fragment", []string{"response_mode", "fragment"}, codeInvalidRequest},
		{"4.4 request", []string{"request", "eyJhbGciOiJub25lIn0.e30."}, "request_not_supported"},
		{"4.4 request without openid", []string{"request", "rubbish", "scope", "email"}, "request_not_supported"},
		{"4.5 request_uri", []string{"request_uri", "https://evil.com/x"}, "request_uri_not_supported"},
		{"4.3 a pushed request", []string{"request_uri", "urn:ietf:params:oauth:request_uri:x"}, "request_uri_not_supported"},
		{"registration", []string{"registration", "{}"}, "registration_not_supported"},
		{"a scope that is not the client's", []string{"scope", "openid admin"}, codeInvalidScope},
		{"4.21 a scope in other case", []string{"scope", "OpenID"}, codeInvalidScope},
		{"prompt none with another", []string{"prompt", "none login"}, codeInvalidRequest},
		{"prompt unknown", []string{"prompt", "create"}, codeInvalidRequest},
		{"max_age not a number", []string{"max_age", "-1"}, codeInvalidRequest},
		{"max_age with a fraction", []string{"max_age", "1.5"}, codeInvalidRequest},
		{"id_token_hint of nobody", []string{"id_token_hint", "a.b.c"}, codeInvalidRequest},
		{"acr higher than reached", []string{"acr_values", operation.ACRAppHW}, codeUnmet},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h.authorize(get(request(tc.change...))).sentBack(t, tc.code, "s")
			h.authorize(get(request(append(tc.change, "-state", "")...))).sentBack(t, tc.code, "")
			if _, err := h.p.ParseAuthorize(t.Context(), get(request(tc.change...))); err == nil && tc.code != codeUnmet {
				t.Error("found out only after the user has logged in")
			}
		})
	}
	t.Run("B17 client without the grant", func(t *testing.T) {
		h.change("cli_web", func(s *db.ClientSettings) { s.GrantTypes = []string{grantClient} })
		h.authorize(get(request())).sentBack(t, codeUnauthorizedClient, "s")
	})
}

func TestA17_RepeatedParametersAreRefusedEverywhere(t *testing.T) {
	h := newHouse(t)
	for _, name := range []string{"scope", "nonce", "code_challenge", "prompt", "something_else"} {
		v := request()
		v[name] = []string{"openid", "openid"}
		h.authorize(get(v)).sentBack(t, codeInvalidRequest, "s")
	}
	for _, name := range []string{"client_id", "redirect_uri", "response_type", "response_mode", "state"} {
		v := request()
		v[name] = []string{v.Get(name), v.Get(name)}
		h.authorize(get(v)).page(t)
	}
	t.Run("in query and body", func(t *testing.T) {
		r := post("/authorize?nonce=1", request("nonce", "2").Encode())
		h.authorize(r).sentBack(t, codeInvalidRequest, "s")
	})
	t.Run("4.12 at the token endpoint", func(t *testing.T) {
		v := form("grant_type", grantClient, "scope", "users:write", "scope", "users:write")
		res := call(h.p.Token, h.as("cli_web", "/token", v))
		res.refuses(t, 400, codeInvalidRequest)
		if !strings.Contains(res.str("error_description"), "scope") {
			t.Errorf("the parameter is not named: %s", res.text)
		}
		call(h.p.Token, h.as("cli_web", "/token?grant_type=client_credentials", form("grant_type", grantClient))).refuses(t, 400, codeInvalidRequest)
		call(h.p.BackchannelAuthorize, h.as("cli_web", "/bc-authorize", form("scope", "openid", "login_hint", "anna", "login_hint", "berta"))).refuses(t, 400, codeInvalidRequest)
	})
}

func TestA18_TheBrowserIsSentBackWith303(t *testing.T) {
	h := newHouse(t)
	res := h.authorize(post("/authorize", request().Encode()))
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	h.authorize(post("/authorize", request("scope", "x").Encode())).sentBack(t, codeInvalidScope, "s")
}

func TestA13_EveryAnswerNamesItsIssuer(t *testing.T) {
	h := newHouse(t)
	to, err := h.authorize(get(request())).Location()
	if err != nil || to.Query().Get("iss") != issuer || to.Query().Get("state") != "s" || len(to.Query()) != 3 {
		t.Errorf("%v %v", to, err)
	}
	res := h.authorize(get(request("response_mode", "form_post")))
	action, text, _ := strings.Cut(res.text, " ")
	q, _ := url.ParseQuery(text)
	if action != "https://shop.example.com/cb" || q.Get("iss") != issuer || q.Get("state") != "s" || q.Get("code") == "" || res.Header.Get("Location") != "" {
		t.Errorf("form_post: %s", res.text)
	}
	t.Run("an error by form_post too", func(t *testing.T) {
		res := h.authorize(get(request("response_mode", "form_post", "scope", "x")))
		_, text, _ := strings.Cut(res.text, " ")
		if q, _ := url.ParseQuery(text); q.Get("error") != codeInvalidScope || q.Get("iss") != issuer || q.Get("state") != "s" {
			t.Errorf("%s", res.text)
		}
	})
	t.Run("a denial", func(t *testing.T) {
		req, err := h.p.ParseAuthorize(t.Context(), get(request()))
		if err != nil {
			t.Fatal(err)
		}
		call(func(w http.ResponseWriter, r *http.Request) {
			h.p.DenyAuthorize(w, r, req, codeLoginRequired, "log in first")
		}, get(request())).sentBack(t, codeLoginRequired, "s")
	})
}

// display is a wish that every page here meets as it is (OIDC Core section 3.1.2.1).
func TestDisplayIsNeverAReasonToRefuse(t *testing.T) {
	h := newHouse(t)
	for _, v := range []string{"page", "popup", "touch", "wap", "", "hologram"} {
		if res := h.redeem(h.code("display", v)); res.StatusCode != 200 {
			t.Errorf("%q: %s", v, res.text)
		}
	}
}

// Form Post Response Mode has the browser POST, which it does to web servers alone.
func TestFormPostToAnAppsSchemeIsRefusedByTheQuery(t *testing.T) {
	h := newHouse(t)
	const app = "com.example.app:/cb"
	h.change("cli_app", func(s *db.ClientSettings) { s.RedirectURIs = []string{app, "http://127.0.0.1/cb"} })
	for _, more := range [][]string{nil, {"scope", "x"}, {"response_type", "token"}} {
		to, err := h.authorize(get(request(append(more, "client_id", "cli_app", "redirect_uri", app, "response_mode", "form_post")...))).Location()
		if err != nil || to.Scheme != "com.example.app" || to.Query().Get("error") != codeInvalidRequest || to.Query().Get("state") != "s" || to.Query().Get("iss") != issuer {
			t.Errorf("%v: %v, %v", more, to, err)
		}
	}
	if to, err := h.authorize(get(request("client_id", "cli_app", "redirect_uri", app))).Location(); err != nil || to.Query().Get("code") == "" {
		t.Errorf("by query: %v, %v", to, err)
	}
	if res := h.authorize(get(request("client_id", "cli_app", "redirect_uri", "http://127.0.0.1:7000/cb", "response_mode", "form_post"))); !strings.HasPrefix(res.text, "http://127.0.0.1:7000/cb ") {
		t.Errorf("to the app's own server: %s", res.text)
	}
}

func TestFosite413_StateAndNonceAreOptionalAndOfAnyLength(t *testing.T) {
	h := newHouse(t)
	for _, v := range []string{"", "x", "1234567", strings.Repeat("long ", 1000), "ü&=+%\"'<>"} {
		change := []string{"state", v, "nonce", v}
		to, err := h.authorize(get(request(change...))).Location()
		if err != nil || to.Query().Get("state") != v || to.Query().Has("state") != (v != "") {
			t.Fatalf("state %q came back as %v, %v", v, to, err)
		}
		res := h.redeem(to.Query().Get("code"))
		nonce, _ := claims(t, res.str("id_token"))["nonce"].(string)
		if nonce != v {
			t.Errorf("nonce %q came back as %q", v, nonce)
		}
	}
}

func TestWhatWebEnforcesIsHandedOver(t *testing.T) {
	h := newHouse(t)
	hint := h.tokens().str("id_token")
	req, err := h.p.ParseAuthorize(t.Context(), get(request("prompt", "login consent", "max_age", "0", "login_hint", "anna", "ui_locales", "de en", "id_token_hint", hint,
		"acr_values", "urn:other "+operation.ACRAppHW+" "+operation.ACRApp, "unknown", "x")))
	if err != nil {
		t.Fatal(err)
	}
	if req.Client.ID != "cli_web" || len(req.Prompt) != 2 || req.MaxAge == nil || *req.MaxAge != 0 || req.LoginHint != "anna" || len(req.UILocales) != 2 ||
		req.HintedUserID != h.user || req.MinACR != operation.ACRApp || !strings.HasPrefix(req.RedirectURI, "https://shop.example.com/") || req.Form.Has("unknown") || len(req.Scopes) != 2 {
		t.Errorf("%+v", req)
	}
	t.Run("4.7 fosite does not judge prompt and max_age by the machine's clock", func(t *testing.T) {
		h.code("prompt", "login", "max_age", "1")
		h.code("prompt", "none", "max_age", "0")
	})
	t.Run("id_token_hint of another user", func(t *testing.T) {
		user := h.user
		h.user = "usr_other"
		defer func() { h.user = user }()
		h.authorize(get(request("id_token_hint", hint))).sentBack(t, codeLoginRequired, "s")
	})
	t.Run("id_token_hint of another client", func(t *testing.T) {
		h.authorize(get(request("client_id", "cli_other", "id_token_hint", hint))).sentBack(t, codeInvalidRequest, "s")
	})
	t.Run("id_token_hint that has expired", func(t *testing.T) {
		h.clk.Advance(time.Hour)
		h.code("id_token_hint", hint)
	})
}

func TestAParkedRequestIsCheckedAgain(t *testing.T) {
	h := newHouse(t)
	req, err := h.p.ParseAuthorize(t.Context(), get(request()))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{"another redirect": {"redirect_uri", "https://evil.com/"}, "another client": {"client_id", "cli_none"}} {
		parked, _ := url.ParseQuery(req.Form.Encode())
		parked.Set(change[0], change[1])
		if _, err := h.p.ResumeAuthorize(t.Context(), parked); err == nil || !err.(*AuthorizeError).Page {
			t.Errorf("%s: %v", name, err)
		}
	}
	parked, _ := url.ParseQuery(req.Form.Encode())
	parked.Set("response_type", "token") // A15 by edited session data
	if _, err := h.p.ResumeAuthorize(t.Context(), parked); err == nil || err.(*AuthorizeError).Code != "unsupported_response_type" {
		t.Errorf("response_type: %v", err)
	}
}

func TestAnAuthorizeRequestOfTheWrongShapeIsAPage(t *testing.T) {
	h := newHouse(t)
	json := post("/authorize", `{}`)
	json.Header.Set("Content-Type", "application/json")
	for name, r := range map[string]*http.Request{
		"method": httptest.NewRequest(http.MethodPut, issuer+"/authorize?"+request().Encode(), nil), "type": json, "query": httptest.NewRequest(http.MethodGet, issuer+"/authorize?a=%zz", nil),
		"size": post("/authorize", request("x", strings.Repeat("x", maxBody)).Encode()), "long query": get(request("x", strings.Repeat("x", maxBody))),
	} {
		t.Run(name, func(t *testing.T) { h.authorize(r).page(t) })
	}
}
