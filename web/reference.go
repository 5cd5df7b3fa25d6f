package web

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"mobileid/internal/fault"
	"mobileid/templates"

	"github.com/getkin/kin-openapi/openapi3"
)

// reference is the contract as a page for people.
func (s *Server) reference(w http.ResponseWriter, r *http.Request) error {
	v, err := s.contract.page(s.Issuer)
	if err != nil {
		return fault.Wrap(fault.Internal, "the reference cannot be made", err)
	}
	v.Page = s.page(r)
	s.render(w, r, http.StatusOK, templates.Reference(v))
	return nil
}

// page is the contract in words, its calls in the order of their paths within
// their tag.
func (c *contract) page(issuer string) (templates.ReferenceView, error) {
	v := templates.ReferenceView{Title: c.doc.Info.Title, Intro: c.doc.Info.Description, SpecURL: issuer + apiBase + "/openapi.yaml",
		TokenCurl: "TOKEN=$(curl -s -u \"$CLIENT_ID:$CLIENT_SECRET\" -d grant_type=client_credentials \\\n  " + issuer +
			"/token | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')"}
	paths := c.doc.Paths.Map()
	for _, tag := range c.doc.Tags {
		g := templates.ReferenceGroup{Name: tag.Name, Note: tag.Description}
		for _, path := range slices.Sorted(maps.Keys(paths)) {
			ops := paths[path].Operations()
			for _, method := range []string{http.MethodPost, http.MethodGet, http.MethodPatch, http.MethodDelete} {
				op := ops[method]
				if op == nil || !slices.Contains(op.Tags, tag.Name) {
					continue
				}
				call, err := c.describe(issuer, method, path, op)
				if err != nil {
					return v, err
				}
				g.Calls = append(g.Calls, call)
			}
		}
		v.Groups = append(v.Groups, g)
	}
	return v, nil
}

func (c *contract) describe(issuer, method, path string, op *openapi3.Operation) (templates.ReferenceCall, error) {
	x := c.calls[method+" "+apiBase+path]
	out := templates.ReferenceCall{ID: op.OperationID, Method: method, Path: apiBase + path, Summary: op.Summary, Note: op.Description, Scope: x.scope, BodyType: x.media}
	for _, p := range op.Parameters {
		out.Params = append(out.Params, templates.ReferenceMember{Name: p.Value.Name, Type: p.Value.In + ", " + typeOf(p.Value.Schema), Note: p.Value.Description, Required: p.Value.Required})
	}
	out.Body = membersOf(x.body, "")
	for status, res := range op.Responses.Map() {
		if !strings.HasPrefix(status, "2") {
			continue
		}
		out.Status = status
		for _, content := range res.Value.Content {
			out.Answer = membersOf(content.Schema.Value, "")
		}
	}
	curl := []string{"curl -s -X " + method + " " + issuer + apiBase + strings.ReplaceAll(path, "{id}", "$ID"), `  -H "Authorization: Bearer $TOKEN"`}
	if x.keyed != "" {
		curl = append(curl, `  -H "Idempotency-Key: $(uuidgen)"`)
	}
	if x.headers["If-Match"] != nil {
		curl = append(curl, `  -H 'If-Match: "1"'`)
	}
	if x.body != nil {
		example, err := json.Marshal(op.RequestBody.Value.Content[x.media].Example)
		if err != nil {
			return out, err
		}
		curl = append(curl, "  -H 'Content-Type: "+x.media+"'", "  -d '"+string(example)+"'")
	}
	out.Curl = strings.Join(curl, " \\\n")
	return out, nil
}

// membersOf lists the members of an object; those of objects within it, and of a
// list's items, by their path.
func membersOf(s *openapi3.Schema, under string) (out []templates.ReferenceMember) {
	if s == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		ref := s.Properties[name]
		out = append(out, templates.ReferenceMember{Name: under + name, Type: typeOf(ref), Note: ref.Value.Description, Required: slices.Contains(s.Required, name)})
		below, path := ref.Value, under+name+"."
		if ref.Value.Items != nil {
			below, path = ref.Value.Items.Value, under+name+"[]."
		}
		out = append(out, membersOf(below, path)...)
	}
	return out
}

// typeOf is what a value may be, in a few words.
func typeOf(ref *openapi3.SchemaRef) string {
	s := ref.Value
	if len(s.Enum) > 0 {
		words := make([]string, 0, len(s.Enum))
		for _, v := range s.Enum {
			words = append(words, fmt.Sprint(v))
		}
		return strings.Join(words, " | ")
	}
	text := "object"
	if kinds := s.Type.Slice(); len(kinds) > 0 {
		text = strings.Join(kinds, " or ")
	}
	if s.Format != "" {
		text = s.Format
	}
	switch {
	case s.Min != nil && s.Max != nil:
		text += fmt.Sprintf(" %g to %g", *s.Min, *s.Max)
	case s.MaxLength != nil:
		text += fmt.Sprintf(", %d characters at most", *s.MaxLength)
	}
	return text
}
