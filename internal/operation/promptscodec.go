package operation

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	"mobileid/internal/kv"
)

// promptsVersion begins a user's record. It is read and written by every start,
// list and decision, and there is one for each user who was asked within a day.
const promptsVersion = 2

// promptsKey is the user's id without its prefix: Redis keeps keys of up to 31
// bytes in 16 bytes less. Ids of users and of Nobody differ in length.
func promptsKey(userID string) string {
	if _, id, ok := strings.Cut(userID, "_"); ok {
		return id
	}
	return userID
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (p prompts) MarshalBinary() ([]byte, error) {
	b := append(make([]byte, 0, 16+64*len(p.Open)+32*len(p.Cool)), promptsVersion)
	b = binary.AppendVarint(b, int64(len(p.Open)))
	for _, o := range p.Open {
		b = appendShort(appendShort(appendShort(b, o.Operation), o.Client), o.Device)
		b = binary.AppendVarint(b, o.Exp)
	}
	b = binary.AppendVarint(b, int64(len(p.Cool)))
	// In order: Swap compares the bytes with those that another node wrote.
	for _, client := range slices.Sorted(maps.Keys(p.Cool)) {
		b = binary.AppendVarint(appendShort(b, client), p.Cool[client])
	}
	return b, nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. Of a record that is cut
// short nothing is taken over.
func (p *prompts) UnmarshalBinary(data []byte) error {
	if len(data) == 0 || data[0] != promptsVersion {
		return kv.ErrRecord
	}
	var read prompts
	f := kv.ReadFields(data[1:])
	for range f.Count() {
		read.Open = append(read.Open, prompt{readShort(f), readShort(f), readShort(f), f.Number()})
	}
	for range f.Count() {
		if read.Cool == nil {
			read.Cool = map[string]int64{}
		}
		client := readShort(f)
		read.Cool[client] = f.Number()
	}
	if err := f.Done(); err != nil {
		return err
	}
	*p = read
	return nil
}
