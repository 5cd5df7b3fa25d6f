// Package identity is a merchant's people and phones: what a name may look
// like, who a hint means, and what an App asks of its phones.
package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"mobileid/internal/audit"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/fault"
)

// Policy is what an App asks of its phones. Zero fields mean the default.
type Policy struct {
	Kind            string        `json:"kind,omitempty"`             // web | native (default native)
	Trusted         bool          `json:"trusted,omitempty"`          // an admin vouches for the App's build
	PINMin          int           `json:"pin_min,omitempty"`          // digits
	PINMax          int           `json:"pin_max,omitempty"`          // digits
	FailureLimit    int64         `json:"failure_limit,omitempty"`    // consecutive, 1–5
	BlockFor        time.Duration `json:"block_for,omitempty"`        // after the limit
	CodeLength      int           `json:"code_length,omitempty"`      // activation code
	CodeAlphabet    string        `json:"code_alphabet,omitempty"`    // characters of the activation code
	RegistrationTTL time.Duration `json:"registration_ttl,omitempty"` // life of a ticket
	Attestation     string        `json:"attestation,omitempty"`      // OFF | OPTIONAL | REQUIRED
	AndroidPackages []string      `json:"android_packages,omitempty"` // that may make a key; none: any
	AndroidSigners  []string      `json:"android_signers,omitempty"`  // SHA-256 of the certificates they are signed by, hexadecimal; none: any
	AppleApps       []string      `json:"apple_apps,omitempty"`       // App IDs for App Attest, <team>.<bundle>
	Language        string        `json:"language,omitempty"`         // of what phones show, where nobody wishes for another
	PSD2            bool          `json:"psd2,omitempty"`             // strong customer authentication: payments name amount and payee
}

// Whether phones must be attested by their maker.
const (
	AttestationOff      = "OFF"      // not looked at
	AttestationOptional = "OPTIONAL" // looked at and recorded
	AttestationRequired = "REQUIRED" // no phone without a key in hardware
)

// mostFailures is the ceiling of every App's FailureLimit.
const mostFailures = 5

// WithDefaults fills what is not set and holds the limit under its ceiling.
func (p Policy) WithDefaults() Policy {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&p.PINMin, 6)
	set(&p.PINMax, 12)
	set(&p.CodeLength, 6)
	if p.Kind == "" {
		p.Kind = "native"
	}
	if p.Attestation == "" {
		p.Attestation = AttestationOff
	}
	if p.CodeAlphabet == "" {
		p.CodeAlphabet = "0123456789"
	}
	if p.FailureLimit <= 0 {
		p.FailureLimit = 3
	}
	p.FailureLimit = min(p.FailureLimit, mostFailures)
	if p.BlockFor <= 0 {
		p.BlockFor = 15 * time.Minute
	}
	if p.RegistrationTTL == 0 {
		p.RegistrationTTL = 3 * time.Minute
	}
	return p
}

// PolicyOf decodes the App's policy, with defaults.
func PolicyOf(a db.App) (Policy, error) {
	var p Policy
	if err := json.Unmarshal(a.Policy, &p); err != nil {
		return p, fmt.Errorf("identity: policy of %s: %w", a.ID, err)
	}
	p = p.WithDefaults()
	return p, p.Check()
}

// Check reports what is wrong with a policy that has its defaults.
func (p Policy) Check() error {
	switch {
	case p.PINMin < 4 || p.PINMin > p.PINMax || p.PINMax > 16:
		return fault.InField("/policy/pin_min", "invalid", "a PIN has 4 to 16 digits, and pin_min is not above pin_max")
	case p.FailureLimit < 1 || p.FailureLimit > mostFailures:
		return fault.InField("/policy/failure_limit", "invalid", "failure_limit is 1 to 5 (PSD2 RTS article 4(3)(b))")
	case p.CodeLength > 32 || math.Pow(float64(len([]rune(p.CodeAlphabet))), float64(p.CodeLength)) < 1e6:
		return fault.InField("/policy/code_length", "invalid", "an activation code is one of a million at least, and has 32 characters at most")
	}
	return p.checkAttestation()
}

func (p Policy) checkAttestation() error {
	switch p.Attestation {
	case AttestationOff, AttestationOptional, AttestationRequired:
	default:
		return fault.InField("/policy/attestation", "invalid", "attestation is OFF, OPTIONAL or REQUIRED")
	}
	if _, err := p.Signers(); err != nil {
		return err
	}
	for _, name := range append(slices.Clone(p.AndroidPackages), p.AppleApps...) {
		if name == "" || len(name) > 255 {
			return fault.InField("/policy/apple_apps", "invalid", "names of apps have 1 to 255 bytes")
		}
	}
	return nil
}

// Signers are AndroidSigners as bytes.
func (p Policy) Signers() ([][]byte, error) {
	var out [][]byte
	for _, s := range p.AndroidSigners {
		b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
		if err != nil || len(b) != sha256.Size {
			return nil, fault.InField("/policy/android_signers", "invalid", "android_signers are SHA-256 hashes in hexadecimal")
		}
		out = append(out, b)
	}
	return out, nil
}

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

// CreateUser adds a person to the merchant's store.
func (s *Store) CreateUser(ctx context.Context, merchantID, ref string, attributes map[string]string) (db.User, error) {
	if err := CheckRef(ref); err != nil {
		return db.User{}, err
	}
	if attributes == nil {
		attributes = map[string]string{}
	}
	u := db.User{ID: db.NewID("usr_"), MerchantID: merchantID, ExternalRef: ref, State: db.UserActive, Attributes: attributes, CreatedAt: s.Clock.Now()}
	err := s.DB.Update(ctx, func(tx *db.Tx) error {
		if err := tx.InsertUser(u); err != nil {
			return err
		}
		return s.Audit.Append(tx, audit.Record{Act: "user.created", Merchant: merchantID, User: u.ID})
	})
	if errors.Is(err, db.ErrConflict) {
		return db.User{}, &fault.Error{Kind: fault.StateConflict, Message: "a user with this externalRef exists",
			Fields: []fault.Field{{Pointer: "/externalRef", Code: "taken", Detail: "a user with this externalRef exists"}}}
	}
	return u, err
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
