package web

import (
	"context"
	"crypto/rand"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"mobileid/internal/fault"
	"mobileid/internal/view"
	"mobileid/templates"

	"github.com/a-h/templ"
	"golang.org/x/text/language"
)

// identified is the context of a request with its id: one piece of memory for the
// context, the value and the header.
type identified struct {
	context.Context
	id [1]string
}

type identifiedKey struct{}

// Value implements context.Context.
func (c *identified) Value(key any) any {
	if _, own := key.(identifiedKey); own {
		return c
	}
	return c.Context.Value(key)
}

func requestID(ctx context.Context) string {
	if c, ok := ctx.Value(identifiedKey{}).(*identified); ok {
		return c.id[0]
	}
	return ""
}

// LogHandler adds the request id of the context to every record.
type LogHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h LogHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := requestID(ctx); id != "" {
		r.AddAttrs(slog.String("request", id))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h LogHandler) WithAttrs(a []slog.Attr) slog.Handler { return LogHandler{h.Handler.WithAttrs(a)} }

// WithGroup implements slog.Handler.
func (h LogHandler) WithGroup(name string) slog.Handler { return LogHandler{h.Handler.WithGroup(name)} }

// maxBody bounds every request body; mid/1 has its own, smaller ones.
const maxBody = 64 << 10

// csp is the policy of pages. Those that post elsewhere widen form-action.
const csp = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// cspMachines is the policy of every other answer: should a browser show one after
// all, it loads nothing and stands in no frame.
const cspMachines = "default-src 'none'; frame-ancestors 'none'"

// newRequestID makes an id of 80 random bits in base32.
func newRequestID() string {
	const digits = "abcdefghijklmnopqrstuvwxyz234567"
	var id [16]byte
	rand.Read(id[:])
	for i, b := range id {
		id[i] = digits[b%32]
	}
	return string(id[:])
}

// header is one header of an answer, by its canonical name.
type header struct {
	name  string
	value []string
}

// security are the headers of every answer, whose values all share: they are
// replaced and never written to. What only a browser that shows a page heeds is not
// sent to machines.
func (s *Server) security() []header {
	out := []header{
		{"Content-Security-Policy", []string{cspMachines}},
		{"X-Content-Type-Options", []string{"nosniff"}},
	}
	if s.hsts {
		out = append(out, header{"Strict-Transport-Security", []string{"max-age=63072000; includeSubDomains"}})
	}
	return out
}

// forPages adds what an answer to people has besides: a page, or a redirect, whose
// Referrer-Policy the browser keeps to on its way.
func forPages(h http.Header) {
	h["Content-Security-Policy"] = []string{csp}
	h["Referrer-Policy"] = []string{"no-referrer"}
	h["X-Frame-Options"] = []string{"DENY"}
	h["Cross-Origin-Opener-Policy"] = []string{"same-origin"}
	h["Permissions-Policy"] = []string{"camera=(), geolocation=(), microphone=()"}
}

// outermost gives every request an id, every answer the security headers that all
// have, and turns a panic into a logged 500.
func (s *Server) outermost(next http.Handler) http.Handler {
	security := s.security()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{identified{r.Context(), [1]string{newRequestID()}}, recorder{ResponseWriter: w}}
		c := &x.identified
		r, w = r.WithContext(c), &x.recorder
		h := w.Header()
		h["X-Request-Id"] = c.id[:]
		for _, always := range security {
			h[always.name] = always.value
		}
		if len(r.TransferEncoding) > 0 || r.ProtoMajor == 1 && r.ProtoMinor == 0 {
			// RFC 9112 section 6.3: where a proxy in front may have seen another end of
			// the body than we do, nothing more is read from the connection. net/http
			// hides whether a Content-Length stood beside the Transfer-Encoding.
			h.Set("Connection", "close")
		}
		if r.Body != http.NoBody {
			r.Body = http.MaxBytesReader(x.ResponseWriter, r.Body, maxBody)
		}
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				s.Log.ErrorContext(r.Context(), "panic", "path", r.URL.Path, "panic", p)
				forPages(h)
				s.errorPage(w, r, http.StatusInternalServerError, "something went wrong on our side", string(fault.Internal))
			}
		}()
		if s.Log.Enabled(r.Context(), slog.LevelDebug) {
			start := s.Machine.Now()
			next.ServeHTTP(w, r)
			s.Log.DebugContext(r.Context(), "request", "method", r.Method, "path", r.URL.Path, "status", x.status,
				"took", s.Machine.Now().Sub(start).Round(10*time.Microsecond), "ip", s.clientIP(r))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// exchange is what a request has of its own, in one piece of memory.
type exchange struct {
	identified
	recorder
}

// recorder remembers the status, for the log and the metrics.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(code int) {
	if w.status == 0 {
		w.status = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (s *Server) page(r *http.Request) templates.Page {
	return templates.Page{Lang: "en", RequestID: requestID(r.Context())}
}

// pageIn is a page that users read: in the first of the wishes (ui_locales, OIDC Core
// section 3.1.2.1) that it is written in, or else of the browser's own.
func (s *Server) pageIn(r *http.Request, wishes []string) templates.Page {
	p, wishes := s.page(r), slices.Clip(wishes)
	// What cannot be read as a list of languages wishes for none.
	own, _, _ := language.ParseAcceptLanguage(r.Header.Get("Accept-Language"))
	for _, tag := range own {
		wishes = append(wishes, tag.String())
	}
	p.Lang = view.Language(wishes...)
	return p
}

// render writes a page; pages are never cached.
func (s *Server) render(w http.ResponseWriter, r *http.Request, code int, c templ.Component) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	if err := c.Render(r.Context(), w); err != nil {
		s.Log.DebugContext(r.Context(), "page not written", "error", err)
	}
}

func (s *Server) index(w http.ResponseWriter, r *http.Request) error {
	s.render(w, r, http.StatusOK, templates.Index(templates.IndexView{Page: s.page(r), Issuer: s.Issuer,
		DiscoveryURL: s.Issuer + "/.well-known/openid-configuration", ShopURL: s.ShopURL, DemoURL: s.demoURL()}))
	return nil
}

func (s *Server) demoURL() string {
	if s.ShopURL == "" {
		return ""
	}
	return s.ShopURL + "/phone"
}

func (s *Server) registerPage(w http.ResponseWriter, r *http.Request) error {
	s.render(w, r, http.StatusOK, templates.Register(templates.RegisterView{Page: s.page(r)}))
	return nil
}

func (s *Server) robots(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := w.Write([]byte("User-agent: *\nDisallow: /\n"))
	return err
}

// FormPost writes the page that sends an authorization response on (OAuth 2.0
// Form Post Response Mode) to a verified redirect URI.
func FormPost(w http.ResponseWriter, action string, params url.Values) {
	h := w.Header()
	h.Set("Content-Security-Policy", formsTo(action))
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	v := templates.FormPostView{Page: templates.Page{Lang: "en", RequestID: h.Get("X-Request-Id")}, Action: action}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		v.Params = append(v.Params, templates.Param{Name: name, Value: params.Get(name)})
	}
	w.WriteHeader(http.StatusOK)
	// The client is the only reader; if it hung up there is nobody to tell.
	_ = templates.FormPost(v).Render(context.Background(), w)
}

// formsTo is the policy of a page whose form ends at uri. Chromium holds
// form-action against every redirect that follows the POST, and a client may
// send the browser on to hosts that we do not know, so the directive names
// schemes: http only for a client that is answered there itself.
func formsTo(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" {
		return csp
	}
	to := u.Scheme + ":"
	if u.Scheme != "https" {
		to += " https:"
	}
	return strings.Replace(csp, "form-action 'self'", "form-action 'self' "+to, 1)
}
