package kv

import (
	"encoding/binary"
	"errors"
)

// ErrRecord says that bytes are not a record of the form that is read.
var ErrRecord = errors.New("kv: not a record of this form")

// AppendText appends s behind its length, as Fields reads it. Numbers are
// appended by binary.AppendVarint.
func AppendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Fields reads a record field by field. What is read after a fault is zero, and
// Done tells of it.
type Fields struct {
	rest string
	bad  bool
}

// ReadFields begins to read b, which the texts that are read do not share.
func ReadFields(b []byte) *Fields { return &Fields{rest: string(b)} }

// Number reads a number.
func (f *Fields) Number() int64 {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		if f.bad || f.rest == "" {
			break
		}
		c := f.rest[0]
		f.rest = f.rest[1:]
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return int64(v>>1) ^ -int64(v&1)
		}
	}
	f.bad = true
	return 0
}

// Count reads how many fields follow: no more than there are bytes.
func (f *Fields) Count() int {
	n := f.Number()
	if n < 0 || n > int64(len(f.rest)) {
		f.bad = true
		return 0
	}
	return int(n)
}

// Text reads a text.
func (f *Fields) Text() string {
	var n uint64
	for shift := 0; ; shift += 7 {
		if f.bad || f.rest == "" || shift > 28 {
			f.bad = true
			return ""
		}
		c := f.rest[0]
		f.rest = f.rest[1:]
		n |= uint64(c&0x7f) << shift
		if c < 0x80 {
			break
		}
	}
	return f.Take(int64(n))
}

// Take reads n bytes.
func (f *Fields) Take(n int64) string {
	if n < 0 || n > int64(len(f.rest)) {
		f.bad = true
	}
	if f.bad {
		return ""
	}
	s := f.rest[:n]
	f.rest = f.rest[n:]
	return s
}

// Fail notes a fault that the caller found.
func (f *Fields) Fail() { f.bad = true }

// Done is ErrRecord unless every byte was read, and no more.
func (f *Fields) Done() error {
	if f.bad || f.rest != "" {
		return ErrRecord
	}
	return nil
}
