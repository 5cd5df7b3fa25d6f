package channel

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"

	"mobileid/internal/db"
	"mobileid/sdk/wire"
)

// A head is 32 opaque bytes to the phone. Here it is a number and a MAC over
// device and number, so that a head issued long ago is known as such without
// keeping any of them.
const macSize = 24

// head makes the device's head with the number seq.
func (s *Server) head(deviceID string, seq int64) (h [32]byte, err error) {
	if len(s.HeadKey) != sha256.Size {
		return h, errors.New("channel: HeadKey must have 32 bytes")
	}
	binary.BigEndian.PutUint64(h[macSize:], uint64(seq))
	m := hmac.New(sha256.New, s.HeadKey)
	m.Write(h[macSize:])
	m.Write([]byte(deviceID))
	copy(h[:macSize], m.Sum(nil))
	return h, nil
}

// old reports whether head was issued to the device before its current one and
// the request was made since the current one was. A replayed request was made
// earlier, so nobody who recorded one can raise an alarm; a copy of the phone
// that comes that early meets resync and is found out with its next request. A
// number that was not reached yet is of a future that a restored database lost.
func (x *exchange) old(dev *db.Device, head [32]byte) bool {
	seq := int64(binary.BigEndian.Uint64(head[macSize:]))
	want, err := x.head(dev.ID, seq)
	return err == nil && wire.Equal(want[:], head[:]) && seq < dev.Chain.Seq &&
		x.call.IssuedAt.After(dev.Chain.IssuedAt.Add(wire.Ahead*time.Second))
}
