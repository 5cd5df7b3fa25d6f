package operation

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"

	"mobileid/internal/kv"
)

// promptsVersion begins a user's record. It is read and written by every start,
// list and decision, and there is one for each user who was asked within a day:
// half as long as JSON, and read in a tenth of the time. A record of the program
// before this form is JSON.
const promptsVersion = 1

// MarshalBinary implements encoding.BinaryMarshaler.
func (p prompts) MarshalBinary() ([]byte, error) {
	b := append(make([]byte, 0, 16+96*len(p.Open)+48*len(p.Cool)), promptsVersion)
	b = binary.AppendVarint(b, int64(len(p.Open)))
	for _, o := range p.Open {
		b = kv.AppendText(kv.AppendText(kv.AppendText(b, o.Operation), o.Client), o.Device)
		b = binary.AppendVarint(b, o.Exp)
	}
	b = binary.AppendVarint(b, int64(len(p.Cool)))
	// In order: Swap compares the bytes with those that another node wrote.
	for _, client := range slices.Sorted(maps.Keys(p.Cool)) {
		b = binary.AppendVarint(kv.AppendText(b, client), p.Cool[client])
	}
	return b, nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. Of a record that is cut
// short nothing is taken over.
func (p *prompts) UnmarshalBinary(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		type plain prompts // without this method
		return json.Unmarshal(data, (*plain)(p))
	}
	if len(data) == 0 || data[0] != promptsVersion {
		return kv.ErrRecord
	}
	var read prompts
	f := kv.ReadFields(data[1:])
	for range f.Count() {
		read.Open = append(read.Open, prompt{f.Text(), f.Text(), f.Text(), f.Number()})
	}
	for range f.Count() {
		if read.Cool == nil {
			read.Cool = map[string]int64{}
		}
		client := f.Text()
		read.Cool[client] = f.Number()
	}
	if err := f.Done(); err != nil {
		return err
	}
	*p = read
	return nil
}
