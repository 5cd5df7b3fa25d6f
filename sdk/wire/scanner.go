package wire

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

const (
	maxDepth   = 16  // nesting of objects and arrays in one message
	maxMembers = 64  // members of one object
	maxOpen    = 128 // members before a place, of all the objects around it
)

var errDuplicate = errors.New("duplicate or malformed member name")

// scanner goes once over one JSON text (RFC 8259) and refuses, besides what is no
// JSON, what encoding/json lets pass: duplicate member names, member names outside
// a-z 0-9 _ (encoding/json would match "ISS" to iss), deep nesting, objects with
// very many members, and text that is not UTF-8.
type scanner struct {
	data  []byte
	at    int
	depth int
	names [maxOpen]span // of the objects around the place, outermost first
	n     int
}

// span is where in the text a name stands. (Not a slice of it: what is passed to
// callbacks would take the names to the heap.)
type span struct{ from, to int32 }

// checkJSON reports whether data is one value by the rules above.
func checkJSON(data []byte) error {
	s := scanner{data: data}
	if !utf8.Valid(data) {
		return errJSON
	}
	s.space()
	if err := s.value(); err != nil {
		return err
	}
	return s.end()
}

// object calls member for each member of the one object that data is, in the
// order written; value is the piece of data as written, without space around it. An
// error of member ends the walk.
func object(data []byte, member func(name, value []byte) error) error {
	s := scanner{data: data}
	if !utf8.Valid(data) {
		return errJSON
	}
	s.space()
	if s.peek() != '{' {
		return errJSON
	}
	if err := s.object(member); err != nil {
		return err
	}
	return s.end()
}

func (s *scanner) space() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// peek is the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}

// take steps over the next byte if it is c.
func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

// end makes sure that nothing follows.
func (s *scanner) end() error {
	if s.space(); s.at != len(s.data) {
		return errJSON
	}
	return nil
}

// value steps over one value.
func (s *scanner) value() error {
	ok := false
	switch c := s.peek(); c {
	case '{':
		return s.object(nil)
	case '[':
		return s.array()
	case '"':
		ok = s.text()
	case 't':
		ok = s.word("true")
	case 'f':
		ok = s.word("false")
	case 'n':
		ok = s.word("null")
	default:
		ok = s.number()
	}
	if !ok {
		return errJSON
	}
	return nil
}

func (s *scanner) object(member func(name, value []byte) error) error {
	if s.depth++; s.depth > maxDepth {
		return errJSON
	}
	first := s.n
	s.at++
	for s.space(); !s.take('}'); s.space() {
		if s.n > first {
			if !s.take(',') {
				return errJSON
			}
			s.space()
		}
		name, err := s.name(first)
		if err != nil {
			return err
		}
		s.space()
		if !s.take(':') {
			return errJSON
		}
		s.space()
		from := s.at
		if err := s.value(); err != nil {
			return err
		}
		if member == nil {
			continue
		}
		if err := member(name, s.data[from:s.at]); err != nil {
			return err
		}
	}
	s.n = first
	s.depth--
	return nil
}

// name reads the name of a member; those of its object begin at first.
func (s *scanner) name(first int) ([]byte, error) {
	from := s.at + 1
	if s.peek() != '"' || !s.text() {
		return nil, errJSON
	}
	name := s.data[from : s.at-1]
	if !memberName(name) || s.n-first == maxMembers || s.n == maxOpen {
		return nil, errDuplicate
	}
	for _, n := range s.names[first:s.n] {
		if string(s.data[n.from:n.to]) == string(name) {
			return nil, errDuplicate
		}
	}
	s.names[s.n] = span{int32(from), int32(s.at - 1)}
	s.n++
	return name, nil
}

func memberName(name []byte) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return len(name) > 0
}

func (s *scanner) array() error {
	if s.depth++; s.depth > maxDepth {
		return errJSON
	}
	s.at++
	s.space()
	for first := true; !s.take(']'); first = false {
		if !first {
			if !s.take(',') {
				return errJSON
			}
			s.space()
		}
		if err := s.value(); err != nil {
			return err
		}
		s.space()
	}
	s.depth--
	return nil
}

// plain is how many of the bytes at the beginning of text are neither a quote nor a
// backslash nor below a space, as far as eight at a time tell.
func plain(text []byte) (n int) {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for len(text)-n >= 8 {
		v := binary.LittleEndian.Uint64(text[n:])
		quote, slash := v^(ones*'"'), v^(ones*'\\')
		// The high bit of each byte that is less than what is taken from it.
		if ((v-ones*0x20)&^v|(quote-ones)&^quote|(slash-ones)&^slash)&highs != 0 {
			break
		}
		n += 8
	}
	return n
}

// text steps over a string; the place is its first quote.
func (s *scanner) text() bool {
	s.at++
	for s.at += plain(s.data[s.at:]); s.at < len(s.data); s.at++ {
		switch c := s.data[s.at]; {
		case c == '"':
			s.at++
			return true
		case c < 0x20:
			return false
		case c == '\\':
			s.at++
			if !s.escaped() {
				return false
			}
		}
	}
	return false
}

// escaped steps to the last byte of what follows a backslash.
func (s *scanner) escaped() bool {
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
	default:
		return false
	}
	for range 4 {
		s.at++
		c := s.peek()
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

func (s *scanner) word(w string) bool {
	if len(s.data)-s.at < len(w) || string(s.data[s.at:s.at+len(w)]) != w {
		return false
	}
	s.at += len(w)
	return true
}

func (s *scanner) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		return s.digits()
	}
	return true
}

// digits steps over one digit or more.
func (s *scanner) digits() bool {
	from := s.at
	for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
		s.at++
	}
	return s.at > from
}
