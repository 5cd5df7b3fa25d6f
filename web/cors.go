package web

import "net/http"

// readers says whose scripts may read a route's answers (Fetch standard, CORS).
// No answer allows credentials: a cookie sent from elsewhere is never looked at
// by these routes.
type readers int

const (
	nobodyElse readers = iota // our own pages
	anybody                   // it is public
	clients                   // the origins at which public clients are registered
)

// readersOf a path are decided here and nowhere else: whatever is not named is for
// our own pages, /authorize, /bc-authorize and the REST API above all.
func readersOf(path string) (to readers, methods string) {
	switch path {
	case "/jwks", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server":
		return anybody, "GET"
	case "/userinfo":
		return clients, "GET, POST"
	case "/token", "/revoke":
		return clients, "POST"
	}
	return nobodyElse, ""
}

// corsAge is how long a browser may remember that it may ask.
const corsAge = "600"

// shared lets the readers of a path read what next answers, and answers their
// preflights.
func (s *Server) shared(path string, next http.Handler) http.Handler {
	to, methods := readersOf(path)
	if to == nobodyElse {
		return next
	}
	// Values that answers share: they are replaced and never written to.
	everyone, byOrigin, exposed := []string{"*"}, []string{"Origin"}, []string{"Retry-After, WWW-Authenticate, X-Request-Id"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		origin := ""
		if sent := r.Header["Origin"]; len(sent) > 0 {
			origin = sent[0]
		}
		allowed := to == anybody
		if to == clients {
			h["Vary"] = byOrigin
			if origin != "" {
				var err error
				if allowed, err = s.Provider.AllowsOrigin(r.Context(), origin); err != nil {
					s.Log.ErrorContext(r.Context(), "an origin cannot be checked", "error", err) // and so is not allowed
				}
			}
		}
		preflight := r.Method == http.MethodOptions && origin != "" && r.Header.Get("Access-Control-Request-Method") != ""
		switch {
		case to == anybody:
			h["Access-Control-Allow-Origin"] = everyone
		case allowed:
			h.Set("Access-Control-Allow-Origin", origin)
		}
		if !preflight {
			if allowed && origin != "" { // a script asks
				h["Access-Control-Expose-Headers"] = exposed
			}
			next.ServeHTTP(w, r)
			return
		}
		h.Set("Cache-Control", "no-store")
		if !allowed {
			s.oauthError(w, r, http.StatusForbidden, "no public client is registered at the origin of this script")
			return
		}
		h.Set("Access-Control-Allow-Methods", methods)
		h.Set("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type")
		h.Set("Access-Control-Max-Age", corsAge)
		w.WriteHeader(http.StatusNoContent)
	})
}
