package rest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"mobileid/cmd/mobileid/node"
	"mobileid/internal/identity"
	"mobileid/test/rig"

	"github.com/getkin/kin-openapi/openapi3"
)

// foreign are things of another merchant, by the folder of their path.
type foreign map[string]string

// stranger makes another merchant with one of everything, and returns their ids.
func stranger(t *testing.T, r *rig.Rig) foreign {
	t.Helper()
	other, app, err := r.Node.CreateMerchant(t.Context(), "Other", identity.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Node.CreateClient(t.Context(), other.ID, node.ClientOptions{Name: "Other", Binding: "trusted", RevealUnknownUser: true,
		Grants: []string{"client_credentials", "urn:openid:params:grant-type:ciba"},
		Scopes: []string{"openid", "mobileid.users", "mobileid.devices", "mobileid.operations", "mobileid.admin"}})
	if err != nil {
		t.Fatal(err)
	}
	mine, merchant := r.Backend, r.Merchant
	r.Backend, r.Merchant = c, other
	defer func() { r.Backend, r.Merchant = mine, merchant }()
	u, p := r.Person()
	reg := r.REST("POST", "/registrations", map[string]any{"userId": u.ID, "proofing": map[string]any{"reference": "x"}})
	if reg.Status != http.StatusCreated {
		t.Fatal(reg)
	}
	return foreign{"users": u.ID, "devices": r.State(p).Device, "apps": app.ID, "registrations": reg.Text("id"),
		"authentications": r.REST("POST", "/authentications", map[string]any{"userId": u.ID}).Text("id"),
		"signatures":      r.REST("POST", "/signatures", map[string]any{"userId": u.ID, "preContext": map[string]any{"content": "x"}}).Text("id"),
		"webhooks":        r.REST("POST", "/webhooks", map[string]any{"url": nowhere}).Text("id")}
}

// example is a value that fits the schema.
func example(s *openapi3.Schema, name string, ids map[string]string) any {
	switch {
	case ids[name] != "":
		return ids[name]
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Type.Includes("object"):
		out := map[string]any{}
		for prop, ref := range s.Properties {
			if slices.Contains(s.Required, prop) {
				out[prop] = example(ref.Value, prop, ids)
			}
		}
		return out
	case s.Type.Is("array"):
		return []any{}
	case s.Type.Is("integer"):
		return 1
	case s.Type.Is("boolean"):
		return true
	}
	return "x" + name
}

// wrong is one value that does not fit, and where.
type wrong struct {
	what, pointer string
	body          any
}

// wrongs are a body with one fault each, as the schema gives them.
func wrongs(s *openapi3.Schema, good map[string]any, at string, set func(any) any) []wrong {
	var out []wrong
	with := func(name string, v any) any {
		next := map[string]any{}
		for k, old := range good {
			next[k] = old
		}
		if v == nil {
			delete(next, name)
		} else {
			next[name] = v
		}
		return set(next)
	}
	if s.AdditionalProperties.Has != nil && !*s.AdditionalProperties.Has {
		out = append(out, wrong{"an unknown member", at + "/merchantId", with("merchantId", "mer_x")})
	}
	for name, ref := range s.Properties {
		p, ptr := ref.Value, at+"/"+name
		if slices.Contains(s.Required, name) {
			out = append(out, wrong{"missing", ptr, with(name, nil)})
		}
		if !p.Type.Is("array") {
			out = append(out, wrong{"a list", ptr, with(name, []any{1})})
		}
		switch {
		case p.Type.Is("string"):
			out = append(out, wrong{"a number", ptr, with(name, 5)})
			if p.MaxLength != nil {
				out = append(out, wrong{"too long", ptr, with(name, strings.Repeat("a", int(*p.MaxLength)+1))})
			}
			if p.MinLength > 0 {
				out = append(out, wrong{"empty", ptr, with(name, "")})
			}
			if len(p.Enum) > 0 {
				out = append(out, wrong{"not of the list", ptr, with(name, "nothing")})
			}
			if p.Pattern != "" {
				out = append(out, wrong{"not of the form", ptr, with(name, "\x01\x02")})
			}
		case p.Type.Is("integer"):
			out = append(out, wrong{"a text", ptr, with(name, "5")}, wrong{"a fraction", ptr, with(name, 5.5)}, wrong{"too much", ptr, with(name, 1_000_000)},
				wrong{"too little", ptr, with(name, -1)})
		case p.Type.Is("boolean"):
			out = append(out, wrong{"a text", ptr, with(name, "true")})
		case p.Type.Is("array"):
			many := 50
			if p.MaxItems != nil {
				many = max(many, int(*p.MaxItems)+1)
			}
			out = append(out, wrong{"no list", ptr, with(name, "x")}, wrong{"a bad item", ptr + "/0", with(name, []any{5})},
				wrong{"too many", ptr, with(name, make([]any, many))})
		case p.Type.Includes("object") && len(p.Properties) > 0:
			inner := example(p, name, nil).(map[string]any)
			out = append(out, wrongs(p, inner, ptr, func(v any) any { return with(name, v) })...)
		}
	}
	return out
}

// mine are things of the rig's own merchant.
func mine(t *testing.T, r *rig.Rig) foreign {
	t.Helper()
	u, p := r.Person()
	reg := r.REST("POST", "/registrations", map[string]any{"userId": u.ID, "proofing": map[string]any{"reference": "x"}})
	return foreign{"users": u.ID, "devices": r.State(p).Device, "apps": r.App.ID, "registrations": reg.Text("id"),
		"authentications": r.REST("POST", "/authentications", map[string]any{"userId": u.ID}).Text("id"),
		"signatures":      r.REST("POST", "/signatures", map[string]any{"userId": u.ID, "preContext": map[string]any{"content": "x"}}).Text("id"),
		"webhooks":        r.REST("POST", "/webhooks", map[string]any{"url": nowhere}).Text("id")}
}

// Every fault that the contract says a request can have, one by one: refused and
// named, and the answer fits the contract too.
func TestEveryFaultThatTheContractKnowsIsRefusedAndNamed(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	own := mine(t, r)
	doc := contract(t)
	a := &auditor{t: t, doc: doc, next: http.DefaultTransport, bad: true, done: map[string]bool{}}
	r.HTTP.Transport = a
	token := r.Token()
	tried := 0
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			at := strings.ReplaceAll(path, "{id}", own[strings.Split(path, "/")[1]])
			name := method + " " + path
			for _, p := range append(slices.Clone(op.Parameters), &openapi3.ParameterRef{Value: &openapi3.Parameter{Name: "sort", In: "query", Schema: openapi3.NewStringSchema().NewRef()}}) {
				if p.Value.In != "query" {
					continue
				}
				for _, v := range badValues(p.Value) {
					tried++
					got, err := r.TryREST(token, method, at+"?"+url.Values{p.Value.Name: {v}}.Encode(), nil)
					if err != nil || got.Status != http.StatusBadRequest || !names(got, "/"+p.Value.Name) {
						t.Errorf("%s?%s=%.40q: %s %v", name, p.Value.Name, v, got, err)
					}
				}
			}
			if op.RequestBody == nil {
				continue
			}
			for media, content := range op.RequestBody.Value.Content {
				schema := content.Schema.Value
				good := example(schema, "", map[string]string{"userId": own["users"]}).(map[string]any)
				for _, w := range wrongs(schema, good, "", func(v any) any { return v }) {
					tried++
					got, err := r.TryREST(token, method, at, w.body, "Content-Type", media, "If-Match", `"1"`)
					if err != nil || got.Status != http.StatusBadRequest || got.Text("code") != "invalid_request" || !names(got, w.pointer) {
						t.Errorf("%s, %s %s (%v): %s %v", name, w.pointer, w.what, w.body, got, err)
					}
				}
				for what, c := range map[string][2]string{"no JSON": {"{", media}, "a list": {"[]", media}, "nothing": {"", media}, "null": {"null", media}, "another type": {"{}", "text/plain"}, "a member twice": {`{"a":1,"a":2}`, media}} {
					got, err := r.TryREST(token, method, at, c[0], "Content-Type", c[1])
					if err != nil || got.Status != http.StatusBadRequest {
						t.Errorf("%s, %s: %s %v", name, what, got, err)
					}
				}
			}
		}
	}
	if tried < 100 {
		t.Errorf("only %d faults tried", tried)
	}
	if len(a.done) > 0 {
		t.Errorf("succeeded with a fault: %v", a.done)
	}
}

func badValues(p *openapi3.Parameter) []string {
	s := p.Schema.Value
	if p.Name == "sort" {
		return []string{"id", "id; DROP TABLE users"}
	}
	out := []string{}
	switch {
	case s.Type.Is("integer"):
		out = append(out, "0", "-1", "x", "1e9", "201", "")
	case s.Type.Is("boolean"):
		out = append(out, "yes", "1", "")
	case len(s.Enum) > 0:
		out = append(out, "active", "NOTHING", "")
	}
	if s.MaxLength != nil {
		out = append(out, strings.Repeat("a", int(*s.MaxLength)+1))
	}
	if s.Pattern != "" {
		out = append(out, "a\x00b")
	}
	if p.Name == "wait" {
		out = append(out, "soon", "-1s")
	}
	return out
}

func names(a rig.Answer, pointer string) bool {
	list, _ := a.JSON["errors"].([]any)
	for _, e := range list {
		if f, _ := e.(map[string]any); f["pointer"] == pointer && f["code"] != "" && f["detail"] != "" {
			return true
		}
	}
	return false
}

// W6: whatever is another merchant's is not there, and nothing happens to it.
func TestW6_AnotherMerchantsThingsAreNotFound(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	theirs := stranger(t, r)
	doc := contract(t)
	a := &auditor{t: t, doc: doc, next: http.DefaultTransport, bad: true, done: map[string]bool{}}
	r.HTTP.Transport = a
	token, tried := r.Token(), 0
	for path, item := range doc.Paths.Map() {
		if !strings.Contains(path, "{id}") {
			continue
		}
		for method, op := range item.Operations() {
			var body any
			media := "application/json"
			if op.RequestBody != nil {
				for m, content := range op.RequestBody.Value.Content {
					media, body = m, example(content.Schema.Value, "", nil)
				}
			}
			for what, id := range map[string]string{"another's": theirs[strings.Split(path, "/")[1]], "nobody's": "usr_none", "another kind's": r.App.ID + "x", "odd": "%27%20OR%201=1", "a reference": "alice"} {
				tried++
				got, err := r.TryREST(token, method, strings.ReplaceAll(path, "{id}", id), body, "Content-Type", media, "If-Match", `"1"`)
				if err != nil || got.Status != http.StatusNotFound || got.Text("code") != "not_found" {
					t.Errorf("%s %s, %s (%s): %s %v", method, path, what, id, got, err)
				}
			}
		}
	}
	if got, err := r.TryREST(token, "POST", "/registrations", map[string]any{"userId": theirs["users"]}); err != nil || got.Status != http.StatusNotFound {
		t.Errorf("a registration for another's user: %s %v", got, err)
	}
	if len(a.done) > 0 {
		t.Errorf("succeeded: %v", a.done)
	}
	for _, path := range []string{"/authentications", "/signatures"} {
		if got, err := r.TryREST(token, "POST", path, map[string]any{"userId": theirs["users"], "preContext": map[string]any{"content": "x"}}); err != nil || got.Status != http.StatusNotFound {
			t.Errorf("%s for another's user: %s %v", path, got, err)
		}
	}
	u := r.User()
	if got, err := r.TryREST(token, "POST", "/registrations", map[string]any{"userId": u.ID, "appId": theirs["apps"]}); err != nil || got.Status != http.StatusBadRequest || !names(got, "/appId") {
		t.Errorf("another's App: %s %v", got, err)
	}
	for _, list := range []string{"/users", "/devices", "/apps", "/webhooks", "/events"} {
		got, err := r.TryREST(token, "GET", list, nil)
		if err != nil || got.Status != http.StatusOK {
			t.Errorf("%s: %s %v", list, got, err)
		}
		for _, id := range theirs {
			if strings.Contains(got.Body, id) {
				t.Errorf("%s lists another merchant's %s", list, id)
			}
		}
	}
	if tried < 80 {
		t.Errorf("only %d tried", tried)
	}
}

// Who may: no token, a token without the scope, one of a user, for every call.
func TestEveryCallAsksForItsScope(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	own := mine(t, r)
	all := []string{"mobileid.users", "mobileid.devices", "mobileid.operations", "mobileid.admin"}
	others := map[string]string{}
	for _, one := range all {
		others[one] = r.Token(slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == one })...)
	}
	doc := contract(t)
	r.HTTP.Transport = &auditor{t: t, doc: doc, next: http.DefaultTransport, bad: true, done: map[string]bool{}}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			scope := (*op.Security)[0]["oauth"][0]
			at := strings.ReplaceAll(path, "{id}", own[strings.Split(path, "/")[1]])
			for name, c := range map[string]struct {
				token string
				want  string
			}{"none": {"", "401 unauthorized"}, "nonsense": {"nonsense", "401 unauthorized"}, "all others": {others[scope], "403 forbidden"}} {
				got, err := r.TryREST(c.token, method, at, nil)
				if word := fmt.Sprintf("%d %s", got.Status, got.Text("code")); err != nil || word != c.want {
					t.Errorf("%s %s, token %s: %s %v", method, path, name, got, err)
				}
			}
		}
	}
}

// W7: a place in a list is ours to give.
func TestW7_ForgedCursorsAreRefused(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	u, _ := r.Person()
	for range 3 {
		r.User()
	}
	next := r.REST("GET", "/users?limit=1", nil).Text("next")
	if a := r.REST("GET", "/users?limit=1&cursor="+next, nil); a.Status != http.StatusOK || a.Text("next") == "" {
		t.Fatalf("an honest one: %s", a)
	}
	flipped := []byte(next)
	flipped[len(flipped)-1] ^= 2
	for name, path := range map[string]string{
		"flipped": "/users?cursor=" + string(flipped), "cut": "/users?cursor=" + next[:len(next)-4], "longer": "/users?cursor=" + next + "AAAA", "made up": "/users?cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"SQL": "/users?cursor=" + url.QueryEscape("' OR 1=1 --"), "of another filter": "/users?state=ACTIVE&cursor=" + next, "of another list": "/devices?cursor=" + next,
		"of a user's list": "/users/" + u.ID + "/transactions?cursor=" + next,
	} {
		if a := r.REST("GET", path, nil); a.Status != http.StatusBadRequest || !names(a, "/cursor") {
			t.Errorf("%s: %s", name, a)
		}
	}
}

// W9: what is not the caller's to say is refused, not ignored.
func TestW9_NothingButWhatTheContractNamesCanBeSet(t *testing.T) {
	r := rig.Start(t, rig.Options{})
	own := mine(t, r)
	for _, c := range []struct{ method, path, member string }{
		{"POST", "/users", "id"}, {"POST", "/users", "state"}, {"POST", "/users", "merchantId"}, {"POST", "/users", "verified"}, {"POST", "/users", "valid_after"},
		{"PATCH", "/users/" + own["users"], "state"}, {"PATCH", "/users/" + own["users"], "externalRef"}, {"PATCH", "/devices/" + own["devices"], "userId"},
		{"PATCH", "/devices/" + own["devices"], "state"}, {"PATCH", "/apps/" + own["apps"], "trusted"}, {"PATCH", "/apps/" + own["apps"], "merchantId"}, {"POST", "/apps", "trusted"},
		{"POST", "/webhooks", "secret"}, {"PATCH", "/webhooks/" + own["webhooks"], "secret"}, {"POST", "/webhooks", "merchantId"},
	} {
		body := map[string]any{c.member: "x"}
		if c.method == "POST" {
			body["externalRef"] = "w9"
		}
		if a := r.REST(c.method, c.path, body, "If-Match", `"1"`); a.Status != http.StatusBadRequest {
			t.Errorf("%s %s with %s: %s", c.method, c.path, c.member, a)
		}
	}
	if a := r.REST("PATCH", "/apps/"+own["apps"], map[string]any{"settings": map[string]any{"trusted": true}}, "If-Match", `"1"`); a.Status != http.StatusBadRequest {
		t.Errorf("settings.trusted: %s", a)
	}
	if a := r.REST("GET", "/apps/"+own["apps"], nil); a.JSON["version"] != 1.0 || a.JSON["trusted"] != nil {
		t.Errorf("the App was changed: %s", a)
	}
}
