package flows

import (
	"encoding/binary"
	"encoding/json"

	"mobileid/internal/kv"
)

// requestVersion begins a backchannel request as kv keeps it: a third as long as
// JSON, with nothing in it twice. A record of the program before this form is JSON.
const requestVersion = 1

// MarshalBinary implements encoding.BinaryMarshaler.
func (r request) MarshalBinary() ([]byte, error) {
	b := append(make([]byte, 0, 128), requestVersion)
	b = kv.AppendText(kv.AppendText(b, r.ClientID), r.OperationID)
	for _, n := range []int64{r.Interval, r.NextPoll, r.HeldUntil, r.ExpiresAt, int64(len(r.Scopes))} {
		b = binary.AppendVarint(b, n)
	}
	for _, s := range r.Scopes {
		b = kv.AppendText(b, s)
	}
	return b, nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. Of a record that is cut
// short nothing is taken over.
func (r *request) UnmarshalBinary(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		type plain request // without this method
		return json.Unmarshal(data, (*plain)(r))
	}
	if len(data) == 0 || data[0] != requestVersion {
		return kv.ErrRecord
	}
	f := kv.ReadFields(data[1:])
	read := request{ClientID: f.Text(), OperationID: f.Text(), Interval: f.Number(), NextPoll: f.Number(), HeldUntil: f.Number(), ExpiresAt: f.Number()}
	for range f.Count() {
		read.Scopes = append(read.Scopes, f.Text())
	}
	if err := f.Done(); err != nil {
		return err
	}
	*r = read
	return nil
}
