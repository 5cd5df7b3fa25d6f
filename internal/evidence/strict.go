package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"
)

// maxDepth bounds the nesting of what is read.
const maxDepth = 32

var errMember = errors.New("a member is there twice, or its name is impossible")

// strict decodes JSON by the rules that two readers must share to read the same:
// UTF-8, no member twice (RFC 7493 section 2.3), bounded depth, nothing behind the
// end. encoding/json alone would take the last of two members and match names
// without regard to case, so ours are of a-z, 0-9 and _ only; what merchants name
// is inside authorization_details.
func strict(data []byte, into any) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := unique(dec, 0, true); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("bytes behind the end")
	}
	return json.Unmarshal(data, into)
}

// unique reads one value and refuses members that are there twice.
func unique(dec *json.Decoder, depth int, ours bool) error {
	if depth > maxDepth {
		return errors.New("nested too deep")
	}
	tok, err := dec.Token()
	if err != nil {
		return errors.New("not JSON")
	}
	open, ok := tok.(json.Delim)
	if !ok {
		return nil
	}
	names := map[string]bool{}
	for dec.More() {
		inside := ours
		if open == '{' {
			tok, err := dec.Token()
			if err != nil {
				return errors.New("not JSON")
			}
			name, _ := tok.(string)
			if names[name] || ours && !plainName(name) {
				return errMember
			}
			names[name] = true
			inside = ours && name != "authorization_details"
		}
		if err := unique(dec, depth+1, inside); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return errors.New("not JSON")
	}
	return nil
}

func plainName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != ""
}
