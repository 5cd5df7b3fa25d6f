package web

import (
	"net/http"
	"slices"
	"strings"

	"mobileid/internal/fault"
	"mobileid/static"
)

// kind says what a route's callers are, and so how its errors are told and
// which protections it has.
type kind int

const (
	protocol kind = iota // OAuth and OIDC: writes its own errors
	page                 // people: errors are pages
	form                 // people's POSTs: same origin only
	device               // mid/1
	rest                 // REST API: errors are RFC 9457 problems
	asset                // what pages load: files for browsers
	public               // machines
)

type route struct {
	pattern string
	kind    kind
	handle  func(w http.ResponseWriter, r *http.Request) error
}

// routes is every address of the server but those of the REST API, which are in
// its contract.
func (s *Server) routes() []route {
	p := s.Provider
	return []route{
		{"GET /{$}", page, s.index},
		{"/authorize", page, s.limited(s.Limits.Authorize, s.authorize)},
		{"/token", protocol, plain(p.Token)},
		{"/bc-authorize", protocol, plain(p.BackchannelAuthorize)},
		{"/introspect", protocol, plain(p.Introspect)},
		{"/revoke", protocol, plain(p.Revoke)},
		{"/userinfo", protocol, plain(p.Userinfo)},
		{"GET /jwks", protocol, plain(p.JWKS)},
		{"GET /evidence/jwks", public, s.evidenceKeys},
		{"GET /verify", page, s.verifyPage},
		{"GET /.well-known/openid-configuration", protocol, plain(p.Discovery)},
		{"GET /.well-known/oauth-authorization-server", protocol, plain(p.Discovery)},

		{"GET /i/{id}", page, s.interaction},
		{"GET /i/{id}/events", page, s.interactionEvents},
		{"POST /i/{id}/identify", form, s.limited(s.Limits.Identify, s.identify)},
		{"POST /i/{id}/retry", form, s.limited(s.Limits.Identify, s.retry)},
		{"POST /i/{id}/cancel", form, s.cancelInteraction},
		{"GET /consent/{id}", page, s.consent},
		{"POST /consent/{id}", form, s.decide},
		{"/logout", page, s.limited(s.Limits.Authorize, s.logout)},
		{"POST /logout/confirm", form, s.confirmLogout},
		{"GET /r", page, s.registerPage},

		{"GET /mid/v1/keys", device, s.limited(s.Limits.Keys, s.midKeys)},
		{"POST /mid/v1/rpc", device, s.midRPC},

		{"GET /api", page, s.reference},
		{"GET /api/v1/openapi.yaml", public, s.openapi},
		{"/mid/", device, noSuchPath},
		{"/api/", rest, noSuchPath},

		{"/static/", asset, plain(static.Handler().ServeHTTP)},
		{"GET /robots.txt", public, s.robots},
		{"/", page, noSuchPath},
	}
}

// Handler serves the public listener.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	sameOrigin := http.NewCrossOriginProtection()
	methods := map[string][]string{} // of each path that does not take them all
	kinds := map[string]kind{}
	for _, rt := range append(s.routes(), s.restRoutes()...) {
		method, path, one := strings.Cut(rt.pattern, " ")
		if !one {
			path = rt.pattern
		}
		h := s.shared(path, s.adapt(rt))
		if rt.kind == form {
			sameOrigin.SetDenyHandler(s.adapt(route{rt.pattern, page, crossOrigin}))
			h = sameOrigin.Handler(h)
		}
		if s.Trace != nil {
			h = s.Trace(rt.pattern, h)
		}
		mux.Handle(rt.pattern, s.metrics.observe(s.Machine, rt.pattern, h))
		if one {
			methods[path], kinds[path] = append(methods[path], method), rt.kind
		}
	}
	for path, of := range methods {
		if overlaps(path, methods) {
			continue // GET /users/{id} takes GET /users/resolve, too
		}
		mux.Handle(path, s.metrics.observe(s.Machine, path, s.shared(path, s.adapt(route{path, kinds[path], wrongMethod(of)}))))
	}
	return s.outermost(mux)
}

// overlaps reports whether a path is also one of a pattern with wildcards.
func overlaps(path string, methods map[string][]string) bool {
	if strings.Contains(path, "{") {
		return false
	}
	parts := strings.Split(path, "/")
	for other := range methods {
		wild := strings.Split(other, "/")
		if other == path || len(wild) != len(parts) {
			continue
		}
		same := true
		for i, part := range wild {
			same = same && (part == parts[i] || strings.HasPrefix(part, "{") && part != "{$}")
		}
		if same {
			return true
		}
	}
	return false
}

// wrongMethod answers for a path that takes other methods (RFC 9110 section 15.5.6).
func wrongMethod(allowed []string) func(http.ResponseWriter, *http.Request) error {
	if slices.Contains(allowed, http.MethodGet) {
		allowed = append(allowed, http.MethodHead)
	}
	list := strings.Join(allowed, ", ")
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Allow", list)
		return fault.New(fault.WrongMethod, "this address takes "+list)
	}
}

func plain(h func(http.ResponseWriter, *http.Request)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		h(w, r)
		return nil
	}
}
