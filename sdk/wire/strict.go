package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

const (
	maxDepth   = 16 // nesting of objects and arrays in one message
	maxMembers = 64 // members of one object
)

var (
	errJSON      = errors.New("not the JSON of mid/1")
	errDuplicate = errors.New("duplicate or malformed member name")
)

// checkJSON refuses what encoding/json lets pass: duplicate member names,
// member names outside a-z 0-9 _ (encoding/json would match "ISS" to iss), deep
// nesting, objects with very many members, and text that is not UTF-8. It does
// not check the grammar; the caller decodes afterwards with encoding/json.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errJSON
	}
	type level struct {
		object bool
		first  int // index into names of this object's first member
	}
	var (
		stackBuf [maxDepth]level
		stack    = stackBuf[:0]
		namesBuf [maxMembers][]byte
		names    = namesBuf[:0]
		expect   bool // the next string is a member name
	)
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			if len(stack) == maxDepth {
				return errJSON
			}
			object := data[i] == '{'
			stack = append(stack, level{object, len(names)})
			expect = object
		case '}', ']':
			if len(stack) == 0 {
				return errJSON
			}
			names = names[:stack[len(stack)-1].first]
			stack = stack[:len(stack)-1]
			expect = false
		case ',':
			expect = len(stack) > 0 && stack[len(stack)-1].object
		case '"':
			end := stringEnd(data, i+1)
			if end < 0 {
				return errJSON
			}
			if expect {
				first := stack[len(stack)-1].first
				name := data[i+1 : end]
				if !memberName(name) || len(names)-first == maxMembers {
					return errDuplicate
				}
				for _, n := range names[first:] {
					if string(n) == string(name) {
						return errDuplicate
					}
				}
				names = append(names, name)
				expect = false
			}
			i = end
		}
	}
	if len(stack) != 0 {
		return errJSON
	}
	return nil
}

// stringEnd returns the index of the quote that ends the string begun before i.
func stringEnd(data []byte, i int) int {
	for ; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

func memberName(name []byte) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return len(name) > 0
}

// Unmarshal decodes a message part by the strict rules above: exact member
// names, no duplicates, bounded depth. Unknown members are ignored, so that a
// later version may add some.
func Unmarshal(data []byte, into any) error {
	if err := checkJSON(data); err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// header is a JOSE header with every member still raw.
type header map[string]json.RawMessage

func parseHeader(encoded string) (header, error) {
	raw, err := Decode(encoded)
	if err != nil {
		return nil, err
	}
	if err := checkJSON(raw); err != nil {
		return nil, err
	}
	var h header
	if err := json.Unmarshal(raw, &h); err != nil {
		return nil, err
	}
	return h, nil
}

// text returns a string member, "" if it is absent, no string, or written with
// escapes, which nothing in a header needs.
func (h header) text(name string) string {
	raw := h[name]
	if len(raw) < 2 || raw[0] != '"' || bytes.IndexByte(raw, '\\') >= 0 {
		return ""
	}
	return string(raw[1 : len(raw)-1])
}

// only reports whether the header has exactly these members: that refuses
// zip, crit, jku, x5u, x5c, p2c and whatever else may be invented.
func (h header) only(names ...string) bool {
	if len(h) != len(names) {
		return false
	}
	for _, n := range names {
		if _, ok := h[n]; !ok {
			return false
		}
	}
	return true
}
