package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"mobileid/internal/fault"
	"mobileid/internal/limit"
	"mobileid/sdk/wire"
	"mobileid/templates"
)

// status is the one mapping from an error's kind to HTTP.
func status(k fault.Kind) int {
	switch k {
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.Unauthorized:
		return http.StatusUnauthorized
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.WrongMethod:
		return http.StatusMethodNotAllowed
	case fault.StateConflict, fault.UserLocked, fault.UserDeactivated, fault.DeviceBlocked, fault.DeviceLocked, fault.NoDevice:
		return http.StatusConflict
	case fault.VersionConflict:
		return http.StatusPreconditionFailed
	case fault.IdempotencyMismatch:
		return http.StatusUnprocessableEntity
	case fault.RateLimited, fault.LimitReached:
		return http.StatusTooManyRequests
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// adapt turns a route's handler into an http.Handler that tells its errors in
// the form its callers read.
func (s *Server) adapt(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch rt.kind {
		case page, form:
			forPages(w.Header())
			w.Header().Set("Cache-Control", "no-store") // redirects too: they give cookies
		case asset:
			forPages(w.Header())
		}
		var err error
		if coded := r.Header["Content-Encoding"]; len(coded) > 0 && coded[0] != "" && coded[0] != "identity" && rt.kind != protocol {
			err = fault.Wrap(fault.Invalid, "an encoded body is not accepted", errEncoded)
		} else {
			err = rt.handle(w, r)
		}
		if err == nil {
			return
		}
		if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
			return // the caller hung up
		}
		if over, ok := errors.AsType[*limit.Exceeded](err); ok {
			err = tooMany(w, rt.kind, over)
		}
		if rt.kind == device {
			if outer, ok := errors.AsType[*wire.Outer](err); ok {
				s.Log.DebugContext(r.Context(), "device message refused", "code", outer.Code, "error", err)
				p := outer.Problem()
				p.Status = bodyStatus(err, p.Status)
				s.problem(w, r, p.Status, p)
				return
			}
		}
		e := public500(err)
		code := bodyStatus(err, status(e.Kind))
		if code >= 500 {
			s.Log.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "error", err)
		}
		if e.RetryAfter > 0 {
			w.Header().Set("Retry-After", seconds(e.RetryAfter.Seconds()))
		} else if code == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		if rt.kind == rest || rt.kind == device || rt.kind == public {
			if code == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="mobileid", error="invalid_token"`)
			}
			s.problem(w, r, code, problem{
				Type: "urn:mobileid:problem:" + string(e.Kind), Title: http.StatusText(code), Status: code,
				Code: string(e.Kind), Detail: e.Message, Errors: e.Fields, RequestID: requestID(r.Context()),
			})
			return
		}
		if rt.kind == protocol {
			s.oauthError(w, r, code, e.Message)
			return
		}
		s.errorPage(w, r, code, e.Message, string(e.Kind))
	}
}

// public500 is what of err may be told; an error of no known kind says nothing
// but that it happened.
func public500(err error) *fault.Error {
	if e, ok := errors.AsType[*fault.Error](err); ok && e.Kind != fault.Internal {
		return e
	}
	return fault.New(fault.Internal, "something went wrong on our side")
}

// problem is RFC 9457's, with the faulty fields and the request id.
type problem struct {
	Type      string        `json:"type"`
	Title     string        `json:"title"`
	Status    int           `json:"status"`
	Code      string        `json:"code"`
	Detail    string        `json:"detail,omitempty"`
	Errors    []fault.Field `json:"errors,omitempty"`
	RequestID string        `json:"requestId"`
}

func (s *Server) problem(w http.ResponseWriter, r *http.Request, code int, body any) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.Log.DebugContext(r.Context(), "problem not written", "error", err)
	}
}

// oauthError is RFC 6749's, for what never reached the provider.
func (s *Server) oauthError(w http.ResponseWriter, r *http.Request, code int, message string) {
	name := "invalid_request"
	if code >= 500 {
		name = "server_error"
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(map[string]string{"error": name, "error_description": message}); err != nil {
		s.Log.DebugContext(r.Context(), "error not written", "error", err)
	}
}

// errorPage is for everything that must not be told by a redirect.
func (s *Server) errorPage(w http.ResponseWriter, r *http.Request, code int, message, detail string) {
	s.render(w, r, code, templates.Error(templates.ErrorView{Page: s.page(r), Status: code, Message: asSentence(message), Detail: detail}))
}

// asSentence makes an error's message fit to be read by people: it begins with a
// capital and ends with a full stop.
func asSentence(message string) string {
	if message == "" {
		return ""
	}
	first, n := utf8.DecodeRuneInString(message)
	return strings.TrimSuffix(string(unicode.ToUpper(first))+message[n:], ".") + "."
}

func noSuchPath(http.ResponseWriter, *http.Request) error {
	return fault.New(fault.NotFound, "there is nothing at this address")
}

func crossOrigin(http.ResponseWriter, *http.Request) error {
	return fault.New(fault.Forbidden, "this form was not sent from our page")
}
