package kv_test

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"mobileid/internal/kv"
)

func TestFieldsAreReadAsTheyWereWrittenAndNotCutShort(t *testing.T) {
	long := strings.Repeat("x", 300)
	b := kv.AppendText(kv.AppendText(nil, ""), long)
	b = binary.AppendVarint(binary.AppendVarint(b, math.MinInt64), 2)
	b = kv.AppendText(kv.AppendText(b, "one"), "two")
	read := func(b []byte) error {
		f := kv.ReadFields(b)
		empty, text, number := f.Text(), f.Text(), f.Number()
		var list []string
		for range f.Count() {
			list = append(list, f.Text())
		}
		if err := f.Done(); err != nil {
			return err
		}
		if empty != "" || text != long || number != math.MinInt64 || strings.Join(list, " ") != "one two" {
			t.Errorf("read %q, %d characters, %d, %q", empty, len(text), number, list)
		}
		return nil
	}
	ok(t, read(b))
	for n := range b {
		is(t, read(b[:n]), kv.ErrRecord)
	}
	is(t, read(append(b, 0)), kv.ErrRecord)
	for _, bad := range []string{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x05four", "\x00\x00\x00\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		if err := read([]byte(bad)); !errors.Is(err, kv.ErrRecord) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
