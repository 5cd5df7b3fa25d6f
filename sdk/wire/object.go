package wire

import (
	"encoding/json"
	"slices"
	"strconv"
)

// Object writes a JSON object member by member, as encoding/json would write a struct
// of them, in a fraction of its time. No name comes twice. End returns it.
type Object struct {
	b   []byte
	err error
}

// NewObject is an empty one with room for so many bytes.
func NewObject(room int) *Object { return &Object{b: append(make([]byte, 0, room), '{')} }

func (o *Object) name(name string) {
	if o.b[len(o.b)-1] != '{' { // no value ends so
		o.b = append(o.b, ',')
	}
	o.b = append(appendText(o.b, name), ':')
}

// Text adds a string.
func (o *Object) Text(name, s string) {
	o.name(name)
	o.b = appendText(o.b, s)
}

// TextIf is Text unless the string is empty.
func (o *Object) TextIf(name, s string) {
	if s != "" {
		o.Text(name, s)
	}
}

// TextsIf adds an array of strings unless it is empty.
func (o *Object) TextsIf(name string, all []string) {
	if len(all) == 0 {
		return
	}
	o.name(name)
	for i, s := range all {
		before := byte(',')
		if i == 0 {
			before = '['
		}
		o.b = appendText(append(o.b, before), s)
	}
	o.b = append(o.b, ']')
}

// MapIf adds an object of strings, in the order of their names, unless it is empty.
func (o *Object) MapIf(name string, all map[string]string) {
	if len(all) == 0 {
		return
	}
	var room [8]string
	names := room[:0]
	for n := range all {
		names = append(names, n)
	}
	slices.Sort(names)
	o.Open(name)
	for _, n := range names {
		o.Text(n, all[n])
	}
	o.Close()
}

// Number adds a number.
func (o *Object) Number(name string, n int64) {
	o.name(name)
	o.b = strconv.AppendInt(o.b, n, 10)
}

// Bool adds true or false.
func (o *Object) Bool(name string, v bool) {
	o.name(name)
	o.b = strconv.AppendBool(o.b, v)
}

// Raw adds a value that is JSON already.
func (o *Object) Raw(name string, value []byte) {
	o.name(name)
	o.b = append(o.b, value...)
}

// Any adds what encoding/json makes of v.
func (o *Object) Any(name string, v any) {
	value, err := json.Marshal(v)
	if err != nil && o.err == nil {
		o.err = err
	}
	o.Raw(name, value)
}

// Open begins an object within, to which members go until Close.
func (o *Object) Open(name string) {
	o.name(name)
	o.b = append(o.b, '{')
}

// Close ends what Open began.
func (o *Object) Close() { o.b = append(o.b, '}') }

// End returns the object, or the first error of Any.
func (o *Object) End() ([]byte, error) {
	o.Close()
	return o.b, o.err
}

// appendText appends s as encoding/json writes it.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c < 0x20, c >= 0x7f, c == '"', c == '\\', c == '<', c == '>', c == '&':
			text, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string is always JSON
			}
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
