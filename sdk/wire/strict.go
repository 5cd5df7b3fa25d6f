package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
)

// maxHeader bounds the members of a JOSE header.
const maxHeader = 8

var errJSON = errors.New("not the JSON of mid/1")

// Unmarshal decodes a message part by the strict rules of scanner: exact member
// names, no duplicates, bounded depth. Unknown members are ignored, so that a
// later version may add some. The messages of every call read themselves in the
// same pass; encoding/json reads the others.
func Unmarshal(data []byte, into any) error {
	if own, ok := into.(interface{ members() []field }); ok {
		return readMembers(data, own.members())
	}
	if err := checkJSON(data); err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// field is a member of a message and where it goes: *string, *int, *int64,
// *Secret, *Bytes or *json.RawMessage.
type field struct {
	name string
	into any
}

// readMembers does what encoding/json would do for a struct of these fields:
// members that are not among them are passed over, null leaves a field as it is.
// The fields that were read before an error stay. Texts are parts of one copy of data.
func readMembers(data []byte, fields []field) error {
	text := string(data)
	return object(data, func(name, value []byte) error {
		for i := range fields {
			if fields[i].name == string(name) {
				from := cap(data) - cap(value) // where it begins in data
				return fields[i].set(value, text[from:from+len(value)])
			}
		}
		return nil
	})
}

// set reads the value, which text says too.
func (f *field) set(value []byte, text string) error {
	switch into := f.into.(type) {
	case *json.RawMessage:
		*into = append((*into)[:0], value...)
		return nil
	case *string:
		if value[0] == '"' && bytes.IndexByte(value, '\\') < 0 {
			*into = text[1 : len(text)-1]
			return nil
		}
	case *Secret:
		if value[0] == '"' && bytes.IndexByte(value, '\\') < 0 {
			return into.UnmarshalText(value[1 : len(value)-1])
		}
	case *int:
		if n, err := strconv.Atoi(text); err == nil {
			*into = n
			return nil
		}
	case *int64:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			*into = n
			return nil
		}
	}
	return json.Unmarshal(value, f.into)
}

// header is a JOSE header with every member still raw.
type header struct {
	names, values [maxHeader][]byte
	n             int
}

func parseHeader(encoded []byte) (header, error) {
	raw, err := decode(encoded)
	if err != nil {
		return header{}, err
	}
	return parseMembers(raw)
}

func parseMembers(data []byte) (h header, err error) {
	err = object(data, func(name, value []byte) error {
		if h.n == maxHeader {
			return errJSON
		}
		h.names[h.n], h.values[h.n] = name, value
		h.n++
		return nil
	})
	return h, err
}

// raw returns a member as it was written, nil if it is absent.
func (h *header) raw(name string) []byte {
	for i, n := range h.names[:h.n] {
		if string(n) == name {
			return h.values[i]
		}
	}
	return nil
}

// bytes returns a string member without its quotes, nil if it is absent, no
// string, or written with escapes, which nothing in a header needs.
func (h *header) bytes(name string) []byte {
	raw := h.raw(name)
	if len(raw) < 2 || raw[0] != '"' || bytes.IndexByte(raw, '\\') >= 0 {
		return nil
	}
	return raw[1 : len(raw)-1]
}

func (h *header) text(name string) string { return string(h.bytes(name)) }

// is reports whether a string member says want, which is not empty.
func (h *header) is(name, want string) bool { return string(h.bytes(name)) == want }

// only reports whether the header has exactly these members: that refuses
// zip, crit, jku, x5u, x5c, p2c and whatever else may be invented.
func (h *header) only(names ...string) bool {
	if h.n != len(names) {
		return false
	}
	for _, n := range names {
		if h.raw(n) == nil {
			return false
		}
	}
	return true
}
