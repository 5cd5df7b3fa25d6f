package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/fault"
	"mobileid/sdk/wire"

	"github.com/getkin/kin-openapi/openapi3"
)

func TestTheClientsAddressIsTheLastHopThatNoProxyOfOursIs(t *testing.T) {
	proxies := netip.MustParsePrefix("10.0.0.0/8")
	trusts := func(a netip.Addr) bool { return proxies.Contains(a) || a == netip.MustParseAddr("::1") }
	for name, c := range map[string]struct {
		peer   string
		header []string
		trusts func(netip.Addr) bool
		want   string
	}{
		"nobody is trusted":             {"192.0.2.1:5", []string{"198.51.100.7"}, nil, "192.0.2.1"},
		"a peer that is not trusted":    {"192.0.2.1:5", []string{"198.51.100.7"}, trusts, "192.0.2.1"},
		"a proxy that says nothing":     {"10.0.0.1:5", nil, trusts, "10.0.0.1"},
		"one proxy":                     {"10.0.0.1:5", []string{"198.51.100.7"}, trusts, "198.51.100.7"},
		"two proxies":                   {"10.0.0.1:5", []string{"198.51.100.7, 10.9.9.9"}, trusts, "198.51.100.7"},
		"two headers":                   {"10.0.0.1:5", []string{"198.51.100.7", "10.9.9.9"}, trusts, "198.51.100.7"},
		"made up in front":              {"10.0.0.1:5", []string{"127.0.0.1, 10.0.0.9, 198.51.100.7"}, trusts, "198.51.100.7"},
		"all are proxies":               {"10.0.0.1:5", []string{"10.0.0.3, 10.0.0.2"}, trusts, "10.0.0.3"},
		"no address behind the proxy":   {"10.0.0.1:5", []string{"unknown"}, trusts, "10.0.0.1"},
		"an address with a port":        {"10.0.0.1:5", []string{"198.51.100.7:80"}, trusts, "10.0.0.1"},
		"nonsense in front of a client": {"10.0.0.1:5", []string{"<b>, 198.51.100.7"}, trusts, "198.51.100.7"},
		"IPv6":                          {"[::1]:5", []string{"2001:db8::7"}, trusts, "2001:db8::7"},
		"IPv4 in IPv6":                  {"[::ffff:10.0.0.1]:5", []string{"::ffff:198.51.100.7"}, trusts, "198.51.100.7"},
		"spaces":                        {"10.0.0.1:5", []string{"  198.51.100.7  "}, trusts, "198.51.100.7"},
		"an empty header":               {"10.0.0.1:5", []string{""}, trusts, "10.0.0.1"},
		"no peer":                       {"@", []string{"198.51.100.7"}, trusts, ""},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.peer
		for _, h := range c.header {
			r.Header.Add("X-Forwarded-For", h)
		}
		if got := ClientIP(r, c.trusts); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func server() *Server {
	return &Server{Config: Config{Log: slog.New(slog.DiscardHandler), Clock: clock.System{}, Machine: clock.System{}}}
}

func told(s *Server, k kind, err error) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.adapt(route{"/x", k, func(http.ResponseWriter, *http.Request) error { return err }})(w, httptest.NewRequest(http.MethodGet, "/x", nil))
	return w
}

func TestEveryKindOfErrorHasItsStatusForMachinesAndForPeople(t *testing.T) {
	s := server()
	for k, want := range map[fault.Kind]int{
		fault.Invalid: 400, fault.Unauthorized: 401, fault.Forbidden: 403, fault.NotFound: 404, fault.StateConflict: 409, fault.UserLocked: 409,
		fault.UserDeactivated: 409, fault.DeviceBlocked: 409, fault.DeviceLocked: 409, fault.NoDevice: 409, fault.VersionConflict: 412,
		fault.IdempotencyMismatch: 422, fault.RateLimited: 429, fault.LimitReached: 429, fault.Unavailable: 503, fault.Internal: 500, "unheard of": 500,
	} {
		err := error(fault.Wrap(k, "told to the caller", errors.New("kept in the log")))
		for _, kd := range []kind{rest, page} {
			w := told(s, kd, err)
			if w.Code != want {
				t.Errorf("%s: %d, want %d", k, w.Code, want)
			}
			if strings.Contains(w.Body.String(), "kept in the log") {
				t.Errorf("%s: the cause is told: %s", k, w.Body)
			}
			if w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s may be stored", k)
			}
			wantType := map[kind]string{rest: "application/problem+json", page: "text/html; charset=utf-8"}[kd]
			if got := w.Header().Get("Content-Type"); got != wantType {
				t.Errorf("%s: %s", k, got)
			}
		}
	}
	w := told(s, rest, errors.New("db: password=hunter2"))
	if w.Code != 500 || strings.Contains(w.Body.String(), "hunter2") || !strings.Contains(w.Body.String(), `"code":"internal"`) {
		t.Errorf("an unknown error: %d %s", w.Code, w.Body)
	}
	w = told(s, rest, fault.New(fault.Unauthorized, "x"))
	if !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer ") {
		t.Error("a 401 without WWW-Authenticate")
	}
	w = told(s, rest, &fault.Error{Kind: fault.RateLimited, RetryAfter: 1500 * time.Millisecond})
	if w.Header().Get("Retry-After") != "2" {
		t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
	}
	if w = told(s, page, fault.New(fault.Unavailable, "x")); w.Header().Get("Retry-After") == "" {
		t.Error("a 503 without Retry-After")
	}
}

func TestPhonesAreToldOuterProblems(t *testing.T) {
	s := server()
	for code, want := range map[string]int{wire.OuterMalformed: 400, wire.OuterUnknownKey: 400, wire.OuterRateLimited: 429, wire.OuterUpgrade: 426} {
		w := told(s, device, &wire.Outer{Code: code, Cause: errors.New("why")})
		if w.Code != want || strings.Contains(w.Body.String(), "why") || !strings.Contains(w.Body.String(), `"code":"`+code+`"`) {
			t.Errorf("%s: %d %s", code, w.Code, w.Body)
		}
	}
}

func TestWhoHungUpIsToldNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	h := server().adapt(route{"/x", rest, func(_ http.ResponseWriter, r *http.Request) error { return r.Context().Err() }})
	h(w, httptest.NewRequest(http.MethodGet, "/x", nil).WithContext(ctx))
	if w.Body.Len() != 0 {
		t.Errorf("%s", w.Body)
	}
}

func TestAPanicIsA500ThatSaysNothing(t *testing.T) {
	w := httptest.NewRecorder()
	h := server().outermost(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret state") }))
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/x", nil))
	if w.Code != 500 || strings.Contains(w.Body.String(), "secret state") || w.Header().Get("X-Request-Id") == "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestABodyIsOneJSONObjectOfKnownMembers(t *testing.T) {
	closed := false
	schema := openapi3.NewObjectSchema().WithProperty("name", openapi3.NewStringSchema()).WithProperty("n", openapi3.NewIntegerSchema())
	schema.AdditionalProperties.Has = &closed
	for name, c := range map[string]struct{ media, body, pointer string }{
		"good":                 {"application/json", `{"name":"a","n":1}`, "ok"},
		"with a charset":       {"application/json; charset=utf-8", ` {"name":"a"} `, "ok"},
		"an unknown member":    {"application/json", `{"name":"a","role":"admin"}`, "/role"},
		"another type":         {"application/json", `{"n":"1"}`, "/n"},
		"a fraction":           {"application/json", `{"n":1.5}`, "/n"},
		"two objects":          {"application/json", `{"name":"a"}{"name":"b"}`, ""},
		"rubbish behind":       {"application/json", `{"name":"a"} x`, ""},
		"an array":             {"application/json", `[{"name":"a"}]`, ""},
		"a string":             {"application/json", `"name"`, ""},
		"null":                 {"application/json", `null`, ""},
		"nothing":              {"application/json", ``, ""},
		"cut off":              {"application/json", `{"name":`, ""},
		"a form":               {"application/x-www-form-urlencoded", `name=a`, ""},
		"no media type":        {"", `{"name":"a"}`, ""},
		"a member given twice": {"application/json", `{"name":"a","name":"b"}`, "/name"},
		"another case":         {"application/json", `{"NAME":"a"}`, "/NAME"},
	} {
		r := httptest.NewRequest(http.MethodPost, "/x", strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.media)
		_, got, err := read(r, "application/json", schema)
		if c.pointer == "ok" {
			if err != nil || got["name"] != "a" {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
			continue
		}
		e, ok := errors.AsType[*fault.Error](err)
		if !ok || e.Kind != fault.Invalid || c.pointer != "" && (len(e.Fields) != 1 || e.Fields[0].Pointer != c.pointer) {
			t.Errorf("%s: %+v", name, err)
		}
	}
}

func TestAFormPolicyNamesItsTargetAndNothingElse(t *testing.T) {
	for uri, want := range map[string]string{
		"https://rp.example/cb?x=1": " https:;",
		"http://127.0.0.1:8081/cb":  " http: https:;",
		"com.example.app:/cb":       " com.example.app: https:;",
		"":                          ";",
		"%zz":                       ";",
		"https://a;script-src *":    ";",
		"https://a b":               ";",
		"//rp.example":              ";",
	} {
		if got := formsTo(uri); got != strings.Replace(csp, "form-action 'self';", "form-action 'self'"+want, 1) {
			t.Errorf("%q: %s", uri, got)
		}
	}
}
