package view

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	maxDepth = 8
	maxExact = 1<<53 - 1 // the largest integer that every reader of JSON keeps
)

// readJSON reads I-JSON (RFC 7493) strictly: no name twice in an object, integers
// up to 2^53−1 and no other numbers, no text that some reader would change.
func readJSON(raw []byte) (any, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	v, err := readValue(dec, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("goes on behind its end")
	}
	return v, nil
}

var errNoJSON = errors.New("is not JSON")

func readValue(dec *json.Decoder, depth int) (any, error) {
	t, err := dec.Token()
	if err != nil || depth > maxDepth {
		return nil, errNoJSON
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return readObject(dec, depth)
		}
		var list []any
		for dec.More() {
			v, err := readValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		if err != nil {
			err = errNoJSON
		}
		return list, err
	case string:
		return t, checkString(t)
	case json.Number:
		n, err := t.Int64()
		if err != nil || n > maxExact || n < -maxExact || t.String() != fmt.Sprint(n) {
			return nil, errors.New("holds a number that is not a whole one up to 2^53−1; write amounts as text")
		}
		return n, nil
	}
	return t, nil // a boolean or null
}

func readObject(dec *json.Decoder, depth int) (any, error) {
	object := map[string]any{}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errNoJSON
		}
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("has the member %q twice", name)
		}
		if err := checkString(name); err != nil {
			return nil, err
		}
		if object[name], err = readValue(dec, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, errNoJSON
	}
	return object, nil
}

// checkString refuses what a decoder puts for half a surrogate pair, and
// noncharacters (RFC 7493 section 2.1).
func checkString(s string) error {
	if strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef }) {
		return errors.New("holds text that is not Unicode")
	}
	return nil
}

// canonical writes what readJSON gave by the JSON Canonicalization Scheme (RFC
// 8785): these are the bytes that are hashed and signed.
func canonical(v any) []byte { return appendJSON(nil, v) }

func appendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.SortFunc(names, func(a, b string) int { return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b))) })
		b = append(b, '{')
		for i, name := range names {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, name), ':')
			b = appendJSON(b, v[name])
		}
		return append(b, '}')
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, e)
		}
		return append(b, ']')
	case string:
		return appendString(b, v)
	case nil:
		return append(b, "null"...)
	}
	return fmt.Append(b, v) // a whole number or a boolean
}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20:
			b = append(b, c)
		case strings.IndexByte("\b\t\n\f\r", c) >= 0:
			b = append(b, '\\', "btnfr"[strings.IndexByte("\b\t\n\f\r", c)])
		default:
			b = fmt.Appendf(b, `\u%04x`, c)
		}
	}
	return append(b, '"')
}
