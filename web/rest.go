package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"mobileid/internal/fault"
	"mobileid/provider"
	"mobileid/web/api"

	"github.com/getkin/kin-openapi/openapi3"
)

// Scopes of the REST API, granted by client_credentials.
const (
	ScopeUsers      = "mobileid.users"
	ScopeDevices    = "mobileid.devices"
	ScopeOperations = "mobileid.operations"
	ScopeAdmin      = "mobileid.admin"
)

// Scopes lists them.
func Scopes() []string { return []string{ScopeUsers, ScopeDevices, ScopeOperations, ScopeAdmin} }

const apiBase = "/api/v1"

// call is one operation of the contract, as far as it is checked before its
// handler.
type call struct {
	id, pattern string
	scope       string
	media       string           // of the body; "": it takes none
	body        *openapi3.Schema // of the body
	query       map[string]*openapi3.Schema
	headers     map[string]*openapi3.Schema
	keyed       string // prefix of the id that it makes under an Idempotency-Key; "": it takes none
}

// contract is the API's document, read once.
type contract struct {
	doc   *openapi3.T
	calls map[string]*call // by pattern of net/http
}

// keyedIDs are the ids that calls make which may be sent again.
func keyedIDs() map[string]string {
	return map[string]string{"createUser": "usr_", "createApp": "app_", "startRegistration": "op_", "startAuthentication": "op_", "startSignature": "op_"}
}

// readContract reads openapi.yaml, once a process: nobody changes what it gives.
var readContract = sync.OnceValues(func() (*contract, error) {
	doc, err := openapi3.NewLoader().LoadFromData(api.Spec)
	if err != nil {
		return nil, fmt.Errorf("web: openapi.yaml: %w", err)
	}
	c := &contract{doc: doc, calls: map[string]*call{}}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			x := &call{id: op.OperationID, pattern: method + " " + apiBase + path, query: map[string]*openapi3.Schema{}, headers: map[string]*openapi3.Schema{}}
			for _, need := range *op.Security {
				for _, scopes := range need {
					x.scope = scopes[0]
				}
			}
			if op.RequestBody != nil {
				for media, content := range op.RequestBody.Value.Content {
					x.media, x.body = media, content.Schema.Value
				}
			}
			for _, p := range op.Parameters {
				switch p.Value.In {
				case "query":
					x.query[p.Value.Name] = p.Value.Schema.Value
				case "header":
					x.headers[p.Value.Name] = p.Value.Schema.Value
				}
			}
			if x.headers[idempotencyKey] != nil {
				x.keyed = keyedIDs()[x.id]
			}
			c.calls[x.pattern] = x
		}
	}
	return c, nil
})

// schema is one of the document's.
func (c *contract) schema(name string) *openapi3.Schema { return c.doc.Components.Schemas[name].Value }

// caller is who makes a call, and with what.
type caller struct {
	*provider.AccessToken
	patch map[string]any // of a merge patch
	newID string         // what a keyed call is to make; "": any
	err   error          // why the handler could not answer
}

type callerKey struct{}

func callerOf(ctx context.Context) *caller { return ctx.Value(callerKey{}).(*caller) }

// collector is given the routes of the generated server.
type collector map[string]http.HandlerFunc

func (c collector) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	c[pattern] = h
}
func (collector) ServeHTTP(http.ResponseWriter, *http.Request) {}

// restRoutes are those of the contract, in order.
func (s *Server) restRoutes() []route {
	keep := func(_ http.ResponseWriter, r *http.Request, err error) { callerOf(r.Context()).err = err }
	strict := api.NewStrictHandlerWithOptions(&rest1{s}, nil, api.StrictHTTPServerOptions{RequestErrorHandlerFunc: keep, ResponseErrorHandlerFunc: keep})
	got := collector{}
	api.HandlerWithOptions(strict, api.StdHTTPServerOptions{BaseURL: apiBase, BaseRouter: got, ErrorHandlerFunc: keep})
	var out []route
	for _, pattern := range slices.Sorted(maps.Keys(got)) {
		out = append(out, route{pattern, rest, s.checked(s.contract.calls[pattern], got[pattern])})
	}
	return out
}

// checked is a call behind everything that the contract says of it: who may, what
// the query and the body may hold, and what is sent again.
func (s *Server) checked(c *call, next http.HandlerFunc) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		at, err := s.merchant(r, c.scope)
		if err != nil {
			return err
		}
		if err := c.checkQuery(r); err != nil {
			return err
		}
		who := &caller{AccessToken: at}
		var raw []byte
		if c.body != nil {
			if raw, who.patch, err = read(r, c.media, c.body); err != nil {
				return err
			}
			r.Body = io.NopCloser(bytes.NewReader(raw))
		}
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, who))
		w.Header().Set("Cache-Control", "no-store")
		serve := func(w http.ResponseWriter) error {
			next(w, r)
			return who.err
		}
		if key := r.Header.Get(idempotencyKey); key != "" && c.keyed != "" {
			return s.once(w, r, c, who, raw, serve)
		}
		return serve(w)
	}
}

// checkQuery refuses parameters that the call does not have or that do not fit, and
// headers likewise.
func (c *call) checkQuery(r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fault.Wrap(fault.Invalid, "the query cannot be read", err)
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		schema := c.query[name]
		switch at := "/" + escaped(name); {
		case schema == nil:
			return fault.InField(at, "unknown", "this parameter is not known")
		case len(query[name]) > 1:
			return fault.InField(at, "duplicate", "this parameter is given more than once")
		default:
			if err := fits(schema, typed(schema, query[name][0]), at); err != nil {
				return err
			}
		}
	}
	for name, schema := range c.headers {
		if given := r.Header.Values(name); len(given) > 0 {
			if err := fits(schema, given[0], "/"+name); err != nil {
				return err
			}
		}
	}
	return nil
}

// typed is a parameter's text as JSON has it, if its schema asks for another type.
func typed(schema *openapi3.Schema, text string) any {
	if schema.Type.Is("integer") {
		if n, err := strconv.ParseInt(text, 10, 32); err == nil {
			return float64(n)
		}
	}
	if schema.Type.Is("boolean") && (text == "true" || text == "false") {
		return text == "true"
	}
	return text
}

// merchant is the caller's merchant, if its access token has the scope.
func (s *Server) merchant(r *http.Request, scope string) (*provider.AccessToken, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return nil, fault.New(fault.Unauthorized, "an access token is required: Authorization: Bearer …")
	}
	ip := s.clientIP(r)
	if err := s.Limits.Failures.Full(ip, badToken); err != nil {
		return nil, err
	}
	at, err := s.Provider.VerifyAccessToken(r.Context(), token)
	if fault.Is(err, fault.Unauthorized) {
		if over := s.Limits.Failures.Take(r.Context(), ip, badToken); over != nil {
			return nil, over
		}
	}
	if err != nil {
		return nil, err
	}
	if err := s.Limits.Client.Take(r.Context(), ip, at.ClientID); err != nil {
		return nil, err
	}
	if at.UserID != "" {
		return nil, fault.New(fault.Forbidden, "this API is for backends: get the access token by client_credentials")
	}
	if !at.HasScope(scope) {
		return nil, fault.New(fault.Forbidden, "the access token lacks the scope "+scope)
	}
	return at, nil
}

// read reads a body of the media type that fits the schema, as it came and what it
// says.
func read(r *http.Request, media string, schema *openapi3.Schema) (raw []byte, body map[string]any, err error) {
	mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mt != media {
		return nil, nil, fault.New(fault.Invalid, "the body must be "+media)
	}
	if raw, err = io.ReadAll(r.Body); err != nil {
		return nil, nil, fault.Wrap(fault.Invalid, "the body cannot be read, or is larger than 64 KiB", err)
	}
	body, err = decode(raw, schema)
	if _, named := errors.AsType[*fault.Error](err); err != nil && !named {
		err = fault.Wrap(fault.Invalid, "the body is not one JSON object", err)
	}
	return raw, body, err
}

// edited is what a merge patch makes of now, which must fit the schema.
func edited[T any](schema *openapi3.Schema, now T, patch map[string]any) (T, error) {
	var out T
	text, err := json.Marshal(now)
	if err != nil {
		return out, err
	}
	var target any
	if err := json.Unmarshal(text, &target); err != nil {
		return out, err
	}
	next := patched(target, patch)
	if text, err = json.Marshal(next); err != nil {
		return out, err
	}
	if err := fits(schema, next, ""); err != nil {
		return out, err
	}
	// A member that is not known is named by the walk.
	if _, err := decode(text, schema); err != nil {
		return out, err
	}
	return out, json.Unmarshal(text, &out)
}

// openapi serves the contract.
func (s *Server) openapi(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/yaml; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, err := w.Write(api.Spec)
	return hungUp(err)
}
