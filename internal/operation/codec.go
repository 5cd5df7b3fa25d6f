package operation

import (
	"encoding/binary"
	"encoding/json"
	"errors"
)

// An operation is written once and read by every list, answer and poll, so kv
// keeps it in a form that costs next to nothing to read: a version, the texts one
// behind the other, each after its length, then the two times. A record of the
// program before this form is JSON, and its first byte '{'; version 1 lacks the
// last text.
const recordVersion = 2

var errRecord = errors.New("operation: not a stored operation")

// texts are the members that are texts or bytes, in the order of the record.
func (o *Operation) texts() (strings [15]*string, blobs [2]*[]byte) {
	return [15]*string{&o.ID, &o.Kind, &o.Flow, &o.MerchantID, &o.ClientID, &o.ClientName, &o.UserID, &o.DeviceID,
		&o.Tpl, &o.Lang, &o.MinACR, &o.Match, &o.Initiator.IP, &o.Initiator.Browser, &o.Scope}, [2]*[]byte{&o.Challenge, &o.View}
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (o Operation) MarshalBinary() ([]byte, error) {
	strings, blobs := o.texts()
	n := 1 + 2*binary.MaxVarintLen64
	for _, s := range strings {
		n += 2 + len(*s)
	}
	for _, b := range blobs {
		n += 3 + len(*b)
	}
	out := append(make([]byte, 0, n), recordVersion)
	for _, s := range strings {
		out = append(binary.AppendUvarint(out, uint64(len(*s))), *s...)
	}
	for _, b := range blobs {
		out = append(binary.AppendUvarint(out, uint64(len(*b))), *b...)
	}
	return binary.AppendVarint(binary.AppendVarint(out, o.StartedAt), o.ExpiresAt), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. Of a record that is cut
// short or goes on behind its end nothing is taken over.
func (o *Operation) UnmarshalBinary(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		type plain Operation // without this method
		return json.Unmarshal(data, (*plain)(o))
	}
	if len(data) == 0 || data[0] == 0 || data[0] > recordVersion {
		return errRecord
	}
	var read Operation
	text, rest := string(data), 1 // one allocation for all the strings
	span := func() (from, to int, ok bool) {
		n, size := binary.Uvarint(data[rest:])
		if size <= 0 || n > uint64(len(data)-rest-size) {
			return 0, 0, false
		}
		from = rest + size
		rest = from + int(n)
		return from, rest, true
	}
	strings, blobs := read.texts()
	for i, s := range strings {
		if data[0] == 1 && i == len(strings)-1 {
			break
		}
		from, to, ok := span()
		if !ok {
			return errRecord
		}
		*s = text[from:to]
	}
	for _, b := range blobs {
		from, to, ok := span()
		if !ok {
			return errRecord
		}
		*b = append([]byte(nil), data[from:to]...)
	}
	for _, at := range []*int64{&read.StartedAt, &read.ExpiresAt} {
		v, size := binary.Varint(data[rest:])
		if size <= 0 {
			return errRecord
		}
		*at, rest = v, rest+size
	}
	if rest != len(data) {
		return errRecord
	}
	*o = read
	return nil
}
