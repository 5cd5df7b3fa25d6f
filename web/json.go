package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"mobileid/internal/fault"
)

// deepest is how far objects and lists of a body may be nested.
const deepest = 32

var errNotOneObject = errors.New("not one JSON object")

// decode reads one JSON object into the struct that into points to. It refuses
// what encoding/json lets pass: a member that is not known or written in another
// case, one given twice, null, text that is not UTF-8, and bytes behind the end. The
// member is named.
func decode(raw []byte, into any) error {
	if !utf8.Valid(raw) || len(bytes.TrimLeft(raw, " \t\r\n")) == 0 || bytes.TrimLeft(raw, " \t\r\n")[0] != '{' {
		return errNotOneObject
	}
	known := map[string]bool{}
	of := reflect.TypeOf(into).Elem()
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		known[name] = true
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := walk(dec, "", known, deepest); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errNotOneObject
	}
	err := json.Unmarshal(raw, into)
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		return fault.InField("/"+strings.ReplaceAll(e.Field, ".", "/"), "type", "must be of type "+e.Type.String())
	}
	return err
}

// walk reads one value at the pointer path. Members are those known; below the
// first level (known is nil) they are the caller's to choose, but stand once.
func walk(dec *json.Decoder, path string, known map[string]bool, depth int) error {
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
	names := map[string]bool{}
	for i := 0; dec.More(); i++ {
		at := path + "/" + strconv.Itoa(i)
		if open == '{' {
			if token, err = dec.Token(); err != nil {
				return err
			}
			name, _ := token.(string)
			at = path + "/" + escaped(name)
			switch {
			case names[name]:
				return fault.InField(at, "duplicate", "this member is given more than once")
			case known != nil && !known[name]:
				return fault.InField(at, "unknown", "this member is not known")
			}
			names[name] = true
		}
		if err := walk(dec, at, nil, depth-1); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

// escaped is a name within a pointer (RFC 6901 section 3).
func escaped(name string) string {
	if !strings.ContainsAny(name, "~/") {
		return name
	}
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}
