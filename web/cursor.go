package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/fault"
)

const (
	defaultPage = 50
	cursorMAC   = 16
)

// pageOf is where a list goes on: at the cursor, or at its start. of names the
// list with its owner and filters: a cursor of another is none.
func (s *Server) pageOf(cursor string, start db.After, limit int, of ...string) (db.After, int, error) {
	if limit == 0 {
		limit = defaultPage
	}
	if cursor == "" {
		return start, limit, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) < 8+cursorMAC || !hmac.Equal(raw[:cursorMAC], s.cursorMAC(raw[cursorMAC:], of)) {
		return db.After{}, 0, fault.InField("/cursor", "invalid", "the cursor is not one of this list and these filters")
	}
	raw = raw[cursorMAC:]
	return db.After{At: int64(binary.BigEndian.Uint64(raw)), ID: string(raw[8:])}, limit, nil
}

// cursor is the place behind what was at that time and has that id.
func (s *Server) cursor(at time.Time, id string, of ...string) string {
	raw := append(binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli())), id...)
	return base64.RawURLEncoding.EncodeToString(append(s.cursorMAC(raw, of), raw...))
}

func (s *Server) cursorMAC(raw []byte, of []string) []byte {
	h := hmac.New(sha256.New, s.cursorKey)
	h.Write([]byte(hashOf(of...)))
	h.Write(raw)
	return h.Sum(nil)[:cursorMAC]
}

// cut takes the page out of one row more than it has, and says whether there is more.
func cut[T any](rows []T, limit int) ([]T, bool) {
	if len(rows) > limit {
		return rows[:limit], true
	}
	return rows, false
}
