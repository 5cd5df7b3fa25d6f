package operation

import (
	"encoding/binary"
	"encoding/json"
	"errors"
)

// An operation is written once and read by every list, answer and poll, so kv
// keeps it in a form that costs next to nothing to read: a version, the texts one
// behind the other, each after its length, then the numbers. A record of the
// program before this form is JSON, and its first byte '{'; one of version 1 ends
// each of its three parts earlier.
const recordVersion = 2

var errRecord = errors.New("operation: not a stored operation")

// texts are the members that are texts or bytes, in the order of the record, and
// how many of each there are in a record of that version.
func (o *Operation) texts(version byte) (strings []*string, blobs []*[]byte) {
	strings = []*string{&o.ID, &o.Kind, &o.Flow, &o.MerchantID, &o.ClientID, &o.ClientName, &o.UserID, &o.DeviceID,
		&o.Tpl, &o.Lang, &o.MinACR, &o.Match, &o.Initiator.IP, &o.Initiator.Browser,
		&o.Level, &o.Initiation, &o.AppID, &o.ClientData, &o.PushText, &o.Scope}
	blobs = []*[]byte{&o.Challenge, &o.View, &o.Data, &o.Post}
	if version == 1 {
		return strings[:14], blobs[:2]
	}
	return strings, blobs
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (o Operation) MarshalBinary() ([]byte, error) {
	strings, blobs := o.texts(recordVersion)
	n := 2 + 2*binary.MaxVarintLen64
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
	push := byte(0)
	if o.Push {
		push = 1
	}
	return append(binary.AppendVarint(binary.AppendVarint(out, o.StartedAt), o.ExpiresAt), push), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. Of a record that is cut
// short or goes on behind its end nothing is taken over.
func (o *Operation) UnmarshalBinary(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		type plain Operation // without this method
		return json.Unmarshal(data, (*plain)(o))
	}
	if len(data) == 0 || data[0] != 1 && data[0] != recordVersion {
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
	strings, blobs := read.texts(data[0])
	for _, s := range strings {
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
		if to > from {
			*b = append([]byte(nil), data[from:to]...)
		}
	}
	for _, at := range []*int64{&read.StartedAt, &read.ExpiresAt} {
		v, size := binary.Varint(data[rest:])
		if size <= 0 {
			return errRecord
		}
		*at, rest = v, rest+size
	}
	if data[0] > 1 && rest < len(data) && data[rest] <= 1 {
		read.Push = data[rest] == 1
		rest++
	} else if data[0] > 1 {
		return errRecord
	}
	if rest != len(data) {
		return errRecord
	}
	*o = read
	return nil
}
