// Package rest drives the REST API as its contract says: by a client generated from
// openapi.yaml, and by requests that the contract says must fail.
package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"mobileid/test/rest/client"
	"mobileid/test/rig"
	"mobileid/web/api"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

const base = "/api/v1"

// contract is openapi.yaml, valid by its own standard.
func contract(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(api.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// auditor is a transport that holds every request and every answer of the API to
// the contract, and remembers which operations succeeded.
type auditor struct {
	t    *testing.T
	doc  *openapi3.T
	next http.RoundTripper
	bad  bool // the requests are meant to be wrong: only answers are held to the contract

	mu   sync.Mutex
	done map[string]bool // operationId
}

func (a *auditor) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	res, err := a.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(answer))
	if !strings.HasPrefix(req.URL.Path, base+"/") {
		return res, nil // the token endpoint
	}
	if err := a.check(req, body, res, answer); err != nil {
		a.t.Errorf("%s %s: %d: %v", req.Method, req.URL.Path, res.StatusCode, err)
	}
	return res, nil
}

func (a *auditor) check(req *http.Request, body []byte, res *http.Response, answer []byte) error {
	route, params := a.route(req.Method, strings.TrimPrefix(req.URL.Path, base))
	if route == nil {
		return errors.New("the contract has no such call")
	}
	again := req.Clone(req.Context())
	again.Body = io.NopCloser(bytes.NewReader(body))
	in := &openapi3filter.RequestValidationInput{Request: again, PathParams: params, Route: route, QueryParams: req.URL.Query(),
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, MultiError: true}}
	err := openapi3filter.ValidateRequest(req.Context(), in)
	if !a.bad && err != nil {
		return fmt.Errorf("request: %w", err)
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: res.StatusCode, Header: res.Header, Options: in.Options}
	out.SetBodyBytes(answer)
	if err := openapi3filter.ValidateResponse(req.Context(), out); err != nil {
		return fmt.Errorf("answer %s: %w", answer, err)
	}
	if res.StatusCode < 300 {
		a.mu.Lock()
		a.done[route.Operation.OperationID] = true
		a.mu.Unlock()
	}
	return nil
}

// route finds the operation of a path below the base.
func (a *auditor) route(method, path string) (*routers.Route, map[string]string) {
	have := strings.Split(path, "/")
	var found *routers.Route
	var params map[string]string
	for tpl, item := range a.doc.Paths.Map() {
		want := strings.Split(tpl, "/")
		op := item.Operations()[method]
		if len(want) != len(have) || op == nil {
			continue
		}
		got := map[string]string{}
		same := true
		for i, w := range want {
			if strings.HasPrefix(w, "{") {
				got[strings.Trim(w, "{}")], _ = url.PathUnescape(have[i])
			} else if w != have[i] {
				same = false
			}
		}
		if same && (found == nil || len(got) < len(params)) {
			found = &routers.Route{Spec: a.doc, Path: tpl, PathItem: item, Method: method, Operation: op}
			params = got
		}
	}
	return found, params
}

// caller is the generated client of the rig's backend, behind an auditor.
func caller(t *testing.T, r *rig.Rig) (*client.ClientWithResponses, *auditor) {
	t.Helper()
	a := &auditor{t: t, doc: contract(t), next: http.DefaultTransport, done: map[string]bool{}}
	token := r.Token()
	c, err := client.NewClientWithResponses(r.Issuer+base, client.WithHTTPClient(&http.Client{Transport: a}),
		client.WithRequestEditorFn(func(_ context.Context, req *http.Request) error {
			req.Header.Set("Authorization", "Bearer "+token)
			// The generator's types have no pointers for what is optional, so what was not
			// given comes as empty.
			query := req.URL.Query()
			maps.DeleteFunc(query, func(_ string, v []string) bool { return v[0] == "" || v[0] == "0" || v[0] == "false" })
			req.URL.RawQuery = query.Encode()
			maps.DeleteFunc(req.Header, func(_ string, v []string) bool { return v[0] == "" })
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	return c, a
}

// must is the body of an answer that has to be a success.
func must[T any](t *testing.T, what string, body *T, problem *client.Problem, err error) T {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if body == nil {
		t.Fatalf("%s: %+v", what, problem)
	}
	return *body
}
