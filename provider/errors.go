package provider

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"

	"mobileid/internal/fault"
	"mobileid/internal/limit"

	"github.com/ory/fosite"
)

// Error codes of RFC 6749 section 5.2, RFC 6750, OIDC Core section 3.1.2.6 and
// CIBA Core sections 11 and 13.
const (
	codeInvalidRequest     = "invalid_request"
	codeInvalidClient      = "invalid_client"
	codeInvalidGrant       = "invalid_grant"
	codeInvalidScope       = "invalid_scope"
	codeUnauthorizedClient = "unauthorized_client"
	codeUnsupportedGrant   = "unsupported_grant_type"
	codeAccessDenied       = "access_denied"
	codeLoginRequired      = "login_required"
	codeConsentRequired    = "consent_required"
	codeUnmet              = "unmet_authentication_requirements"
	codeServerError        = "server_error"
	codeUnavailable        = "temporarily_unavailable"
	codeInvalidToken       = "invalid_token"
	codeInsufficientScope  = "insufficient_scope"
	codeInvalidBinding     = "invalid_binding_message"
	codeUnknownUser        = "unknown_user_id"
	codeInvalidDetails     = "invalid_authorization_details" // RFC 9396 section 5
)

// protocolError is an answer that says no: a standard code and a description
// that a person understands. cause is for the log.
type protocolError struct {
	status            int
	code, description string
	cause             error
}

func (e *protocolError) Error() string {
	if e.cause != nil {
		return e.code + ": " + e.description + ": " + e.cause.Error()
	}
	return e.code + ": " + e.description
}

func (e *protocolError) Unwrap() error { return e.cause }

// refuse is an error of the token and backchannel endpoints: status 400, at the
// token endpoint also for access_denied (CIBA Core section 11), which fosite
// would send as 403.
func refuse(code, description string) *protocolError {
	return &protocolError{status: http.StatusBadRequest, code: code, description: description}
}

// notAuthenticated is the one error for every way client authentication fails.
func notAuthenticated(description string) *protocolError {
	return &protocolError{status: http.StatusUnauthorized, code: codeInvalidClient, description: description}
}

// unavailable says that a store could not be asked.
func unavailable(cause error) *protocolError {
	return &protocolError{status: http.StatusServiceUnavailable, code: codeUnavailable, description: "the server cannot answer right now; try again", cause: cause}
}

// tooMany refuses for a limit that err tells. RFC 6749 has no code for it;
// temporarily_unavailable is the one that says to come back, and slow_down would
// make a polling client believe that its interval was too short.
func tooMany(err error) *protocolError {
	return &protocolError{status: http.StatusTooManyRequests, code: codeUnavailable, description: "too many requests; wait as long as Retry-After says", cause: err}
}

// asProtocol turns any error of a handler into an answer. Ours stay as they
// are, wherever fosite wrapped them; fosite's own keep their code where it is
// one of the standard, and everything else is a server_error that says nothing.
func asProtocol(err error) *protocolError {
	if e, ok := errors.AsType[*protocolError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*fosite.RFC6749Error](err); ok {
		description := e.Reason()
		if description == "" {
			description = e.DescriptionField
		}
		switch e.ErrorField {
		case codeInvalidRequest, codeInvalidGrant, codeInvalidScope, codeUnauthorizedClient, codeAccessDenied:
			return &protocolError{http.StatusBadRequest, e.ErrorField, description, e.Cause()}
		}
	}
	if fault.Is(err, fault.Unavailable) {
		return unavailable(err)
	}
	return &protocolError{http.StatusInternalServerError, codeServerError, "the server made a mistake", err}
}

// errorBody is the JSON of RFC 6749 section 5.2.
type errorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// writeError answers a token, backchannel or metadata request with err.
func (p *Provider) writeError(ctx context.Context, w http.ResponseWriter, err error) {
	e := asProtocol(err)
	p.logFailure(ctx, e)
	if e.status == http.StatusUnauthorized {
		// fosite leaves it out; RFC 7235 section 3.1 demands it with every 401.
		w.Header().Set("WWW-Authenticate", `Basic realm="`+p.issuer+`", charset="UTF-8"`)
	}
	comeBack(w.Header(), e)
	writeJSON(w, e.status, errorBody{e.code, describe(e.description)})
}

// comeBack says when to ask again, if that may help.
func comeBack(h http.Header, e *protocolError) {
	if over, ok := errors.AsType[*limit.Exceeded](e.cause); ok {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(over.Wait.Seconds()))))
	} else if e.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
}

// logFailure tells the operator about what is the server's own fault.
func (p *Provider) logFailure(ctx context.Context, e *protocolError) {
	if e.status >= 500 && ctx.Err() == nil { // a client that hung up is no failure
		p.log.ErrorContext(ctx, "request failed", "error", e.code, "cause", e.cause)
	}
}

// writeJSON answers with v, never to be stored (RFC 6749 section 5.1).
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"server_error","error_description":"the server made a mistake"}`)
	}
	write(w, status, "application/json", body)
}

// write answers with a body that is never to be stored.
func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	noStore(h)
	value := [...]string{contentType, ""}
	h["Content-Type"] = value[:1:1]
	if len(body) > buffered {
		value[1] = strconv.Itoa(len(body))
		h["Content-Length"] = value[1:]
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone if this fails
}

// buffered is how long a body may be for net/http to find its length; a longer one
// it would cut into chunks.
const buffered = 2048

func noStore(h http.Header) {
	value := [...]string{"no-store", "no-cache"}
	h["Cache-Control"], h["Pragma"] = value[:1:1], value[1:]
}

// describe keeps a description within the characters of RFC 6749 section 5.2
// and to a sane length; it may quote what the caller sent.
func describe(s string) string {
	clean := func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r < 0x20 || r > 0x7e:
			return '?'
		}
		return r
	}
	s = strings.Map(clean, s)
	if len(s) > 300 {
		s = s[:300] + "..."
	}
	return s
}
