// Package identity is a merchant's people and phones: what a name may look
// like, who a hint means, and what an App asks of its phones.
package identity

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"mobileid/internal/audit"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/fault"
)

// DailyFailures is how many failed knowledge proofs a user may have in a day,
// over all devices.
const DailyFailures = 10

// MayAnswer reports whether the phone may answer operations: it is ACTIVE, or
// its block is over although its row does not say so yet.
func MayAnswer(d *db.Device, now time.Time) bool {
	return d.State == db.DeviceActive || d.State == db.DeviceBlocked && !d.BlockedUntil.IsZero() && !d.BlockedUntil.After(now)
}

// Store creates and finds users.
type Store struct {
	DB    *db.DB
	Audit *audit.Writer
	Clock clock.Clock
}

// CheckRef reports what is wrong with an external reference: 1 to 255 bytes of
// UTF-8 without control characters that cannot be taken for another form of hint.
func CheckRef(ref string) error {
	switch {
	case ref == "":
		return fault.InField("/externalRef", "required", "externalRef is required")
	case len(ref) > 255:
		return fault.InField("/externalRef", "too_long", "externalRef may have 255 bytes at most")
	case !utf8.ValidString(ref) || strings.ContainsFunc(ref, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }):
		return fault.InField("/externalRef", "invalid", "externalRef must be UTF-8 without control characters")
	case strings.HasPrefix(ref, "userId:") || strings.HasPrefix(ref, "deviceId:"):
		return fault.InField("/externalRef", "reserved", "externalRef may not start with userId: or deviceId:")
	}
	return nil
}

// Hint is who a login_hint means: `userId:<id>`, `userId:<id> deviceId:<id>`,
// or an external reference, byte for byte. There is no second guess.
type Hint struct {
	UserID, DeviceID, ExternalRef string
}

// ParseHint splits a login_hint.
func ParseHint(s string) (Hint, error) {
	rest, ok := strings.CutPrefix(s, "userId:")
	if !ok {
		if err := CheckRef(s); err != nil {
			return Hint{}, fault.New(fault.Invalid, "login_hint is neither userId:<id>, userId:<id> deviceId:<id> nor an external reference")
		}
		return Hint{ExternalRef: s}, nil
	}
	user, device, both := strings.Cut(rest, " deviceId:")
	if user == "" || strings.ContainsRune(user, ' ') || both && (device == "" || strings.ContainsRune(device, ' ')) {
		return Hint{}, fault.New(fault.Invalid, "login_hint must read userId:<id> or userId:<id> deviceId:<id>")
	}
	return Hint{UserID: user, DeviceID: device}, nil
}

// Resolve finds the merchant's user a hint means. Another merchant's user is
// not found.
func (s *Store) Resolve(ctx context.Context, merchantID string, h Hint) (u db.User, err error) {
	err = s.DB.View(ctx, func(tx *db.Tx) error {
		if h.UserID == "" {
			u, err = tx.UserByRef(merchantID, h.ExternalRef)
		} else if u, err = tx.User(h.UserID); err == nil && u.MerchantID != merchantID {
			err = db.ErrNotFound
		}
		return err
	})
	if errors.Is(err, db.ErrNotFound) {
		return db.User{}, fault.New(fault.NotFound, "no such user")
	}
	return u, err
}

// Addressee is Resolve with the user's phones beside, and of both no more than
// says whether they can be asked: db.Tx.Addressee.
func (s *Store) Addressee(ctx context.Context, merchantID string, h Hint) (u db.User, phones []db.Device, err error) {
	err = s.DB.View(ctx, func(tx *db.Tx) (err error) {
		u, phones, err = tx.Addressee(merchantID, h.UserID, h.ExternalRef)
		return err
	})
	if errors.Is(err, db.ErrNotFound) {
		return db.User{}, nil, fault.New(fault.NotFound, "no such user")
	}
	return u, phones, err
}
