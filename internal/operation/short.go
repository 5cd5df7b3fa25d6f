package operation

import (
	"encoding/binary"
	"errors"
	"strings"

	"mobileid/internal/kv"
)

// What waits is most of what Redis holds, so its records are kept short: a text
// that nearly every record has is one byte, and an id of ours takes five bits a
// character (or six, as Engine.Nobody makes them).

// words and forms are part of the form of a record: what is added goes to the end,
// and with any other change the record gets another version.
var (
	words = [...]string{KindAuthentication, KindSignature, KindRegistration, FlowCIBA, FlowPush, FlowREST, FlowRedirect, FlowApp,
		ACRPossession, ACRWeb, ACRApp, ACRAppHW, OneFactor, "en", "openid", "login/1"}
	forms = [...]form{{"op_", 35, 5, base32}, {"op_", 26, 5, base32}, {"cli_", 26, 5, base32}, {"mer_", 26, 5, base32}, {"usr_", 26, 5, base32},
		{"dev_", 26, 5, base32}, {"app_", 26, 5, base32}, {"none_", 22, 6, base64URL}}
)

const (
	base32    = "abcdefghijklmnopqrstuvwxyz234567"
	base64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)

// form is a kind of id: a prefix and so many characters of digits, bits each.
type form struct {
	prefix string
	chars  int
	bits   int
	digits string
}

// size is the length of a packed id.
func (f *form) size() int { return (f.chars*f.bits + 7) / 8 }

// pack appends s, or reports that it is no id of this form.
func (f *form) pack(b []byte, s string) ([]byte, bool) {
	s, ok := strings.CutPrefix(s, f.prefix)
	if !ok || len(s) != f.chars {
		return b, false
	}
	out, acc, have := b, uint(0), 0
	for i := range len(s) {
		digit := strings.IndexByte(f.digits, s[i])
		if digit < 0 {
			return b, false
		}
		acc, have = acc<<f.bits|uint(digit), have+f.bits
		if have >= 8 {
			have -= 8
			out = append(out, byte(acc>>have))
		}
	}
	if have > 0 {
		out = append(out, byte(acc<<(8-have)))
	}
	return out, true
}

// unpack reads what pack wrote, of size bytes.
func (f *form) unpack(packed string) string {
	out := append(make([]byte, 0, len(f.prefix)+f.chars), f.prefix...)
	acc, have := uint(0), 0
	for i := 0; len(out) < cap(out); {
		for ; have < f.bits; i++ {
			acc, have = acc<<8|uint(packed[i]), have+8
		}
		have -= f.bits
		out = append(out, f.digits[acc>>have&(1<<f.bits-1)])
	}
	return string(out)
}

// appendShort appends s: its length and it, or a number below zero for a word, or
// for a form with the packed id behind.
func appendShort(b []byte, s string) []byte {
	for i, w := range words {
		if s == w {
			return binary.AppendVarint(b, int64(-1-i-len(forms)))
		}
	}
	for i := range forms {
		if out, ok := forms[i].pack(binary.AppendVarint(b, int64(-1-i)), s); ok {
			return out
		}
	}
	return append(binary.AppendVarint(b, int64(len(s))), s...)
}

// readShort reads what appendShort wrote.
func readShort(f *kv.Fields) string {
	n := f.Number()
	if n >= 0 {
		return f.Take(n)
	}
	if n = -1 - n; n < int64(len(forms)) {
		if packed := f.Take(int64(forms[n].size())); packed != "" {
			return forms[n].unpack(packed)
		}
		return ""
	}
	if n -= int64(len(forms)); n < int64(len(words)) {
		return words[n]
	}
	f.Fail()
	return ""
}

// phrases are what views consist of besides their words, each one byte in a record.
// A view is canonical JSON, which holds no control characters.
var phrases = [...]string{`[{"t":"h","text":"Request of `, `[{"t":"h","text":"`, `"},{"t":"b","text":"`, `"},{"t":"p","text":"`, `"},{"t":"li","text":"`,
	`"},{"t":"row","label":"Time","value":"`, `"},{"t":"row","label":"`, `","value":"`, `"}]`}

var (
	shorten = strings.NewReplacer(phrasePairs(false)...)
	restore = strings.NewReplacer(phrasePairs(true)...)

	errView = errors.New("operation: a view with control characters")
)

func phrasePairs(back bool) []string {
	var out []string
	for i, p := range phrases {
		if c := string(rune(1 + i)); back {
			out = append(out, c, p)
		} else {
			out = append(out, p, c)
		}
	}
	return out
}

// appendView appends a view behind its length.
func appendView(b, view []byte) ([]byte, error) {
	for _, c := range view {
		if c < ' ' {
			return nil, errView
		}
	}
	s := shorten.Replace(string(view))
	return append(binary.AppendVarint(b, int64(len(s))), s...), nil
}

// readView reads what appendView wrote; nil is no view.
func readView(f *kv.Fields) []byte {
	if s := f.Take(f.Number()); s != "" {
		return []byte(restore.Replace(s))
	}
	return nil
}
