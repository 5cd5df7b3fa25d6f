package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"mobileid/internal/fault"

	"github.com/getkin/kin-openapi/openapi3"
)

// deepest is how far objects and lists of a body may be nested.
const deepest = 32

var errNotOneObject = errors.New("not one JSON object")

// decode reads one JSON object that fits the schema. It refuses what encoding/json
// lets pass: a member that is not known or written in another case, one given
// twice, text that is not UTF-8, and bytes behind the end. Every member that does
// not fit is named.
func decode(raw []byte, schema *openapi3.Schema) (map[string]any, error) {
	if !utf8.Valid(raw) || len(bytes.TrimLeft(raw, " \t\r\n")) == 0 || bytes.TrimLeft(raw, " \t\r\n")[0] != '{' {
		return nil, errNotOneObject
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := walk(dec, "", schema, deepest); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errNotOneObject
	}
	var value map[string]any
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil, err
	}
	return value, fits(schema, value, "")
}

// walk reads one value at the pointer path. Members are those of the schema, where
// it names them all; elsewhere (nil) they are the caller's to choose, but stand
// once.
func walk(dec *json.Decoder, path string, schema *openapi3.Schema, depth int) error {
	token, err := dec.Token()
	if err != nil {
		return err
	}
	open, nested := token.(json.Delim)
	if !nested {
		return nil
	}
	if depth == 0 {
		return fault.InField(path, "depth", "nested too deep")
	}
	closed := schema != nil && schema.AdditionalProperties.Has != nil && !*schema.AdditionalProperties.Has
	names := map[string]bool{}
	for i := 0; dec.More(); i++ {
		at := path + "/" + strconv.Itoa(i)
		var below *openapi3.Schema
		if open == '{' {
			if token, err = dec.Token(); err != nil {
				return err
			}
			name, _ := token.(string)
			at = path + "/" + escaped(name)
			if names[name] {
				return fault.InField(at, "duplicate", "this member is given more than once")
			}
			names[name] = true
			if schema != nil && schema.MaxProps != nil && uint64(len(names)) > *schema.MaxProps {
				return fault.InField(path, "too_many", "there are too many members")
			}
			if schema != nil {
				if ref := schema.Properties[name]; ref != nil {
					below = ref.Value
				} else if closed {
					return fault.InField(at, "unknown", "this member is not known")
				}
			}
		} else if schema != nil && schema.Items != nil {
			below = schema.Items.Value
		}
		if err := walk(dec, at, below, depth-1); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

// fits names every part of the value at the pointer path that the schema refuses.
func fits(schema *openapi3.Schema, value any, path string) error {
	err := schema.VisitJSON(value, openapi3.MultiErrors(), openapi3.VisitAsRequest())
	if err == nil {
		return nil
	}
	out := &fault.Error{Kind: fault.Invalid, Message: "the request does not fit the API"}
	collect(err, path, out)
	if len(out.Fields) == 0 {
		return err
	}
	if len(out.Fields) == 1 {
		out.Message = strings.TrimPrefix(out.Fields[0].Pointer, "/") + ": " + out.Fields[0].Detail
	}
	return out
}

// faultCodes are the codes of errors[] by the keyword of JSON Schema that a value
// does not fit; any other is "invalid".
func faultCode(keyword string) string {
	switch keyword {
	case "required", "type":
		return keyword
	case "nullable":
		return "type"
	case "maxLength":
		return "too_long"
	case "minLength":
		return "too_short"
	case "maxItems", "maxProperties":
		return "too_many"
	case "minimum", "maximum":
		return "out_of_range"
	}
	return "invalid"
}

func collect(err error, path string, out *fault.Error) {
	switch e := err.(type) {
	case openapi3.MultiError:
		for _, one := range e {
			collect(one, path, out)
		}
	case *openapi3.SchemaError:
		at := path
		for _, name := range e.JSONPointer() {
			at += "/" + escaped(name)
		}
		detail := e.Reason // quotes the schema, never the value
		if e.SchemaField == "required" {
			detail = "is required"
		}
		out.Fields = append(out.Fields, fault.Field{Pointer: at, Code: faultCode(e.SchemaField), Detail: detail})
	}
}

// escaped is a name within a pointer (RFC 6901 section 3).
func escaped(name string) string {
	if !strings.ContainsAny(name, "~/") {
		return name
	}
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

// patched is RFC 7396's MergePatch: target as it is after the patch.
func patched(target any, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out := map[string]any{}
	if t, ok := target.(map[string]any); ok {
		for name, v := range t {
			out[name] = v
		}
	}
	for name, v := range p {
		if v == nil {
			delete(out, name)
		} else {
			out[name] = patched(out[name], v)
		}
	}
	return out
}
