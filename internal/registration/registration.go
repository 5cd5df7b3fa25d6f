// Package registration binds a phone to a person: a ticket, a device that
// claims it, a confirmation, an ACTIVE device.
//
// It is an operation like the others: the decision row says how it ended. The
// ticket and its secret live in kv; the single use of the ticket, the device and
// the decision live in SQL.
package registration

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"math/big"
	"strings"
	"time"

	"mobileid/internal/attestation"
	"mobileid/internal/audit"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/identity"
	"mobileid/internal/keys"
	"mobileid/internal/kv"
	"mobileid/internal/operation"
	"mobileid/internal/risk"
	"mobileid/sdk/wire"
)

const (
	linger      = 10 * time.Minute
	staleAfter  = time.Hour // longer than any ticket lives
	reread      = 5 * time.Second
	mostCodes   = 5 // wrong activation codes that end a ticket
	mostDigits  = 3 // wrong confirmations that refuse the device
	wrongWindow = 10 * time.Minute
)

// Config is what Registrations need.
type Config struct {
	Origin string // of the issuer, for links
	DB     *db.DB
	KV     kv.KV
	Keys   *keys.Ring
	Box    *keys.Box
	Audit  *audit.Writer
	Clock  clock.Clock
	// Attest verifies what makers say of phones' keys.
	Attest *attestation.Verifier
	Log    *slog.Logger
	// Draining is closed when the node is about to stop: held requests are told
	// the state they are in. nil never is.
	Draining <-chan struct{}
	// Started and Decided are told of every registration that was started here and
	// every decision that this node made durable. They may be nil.
	Started func(kind string)
	Decided func(kind string, state operation.State)
}

// Registrations starts, serves and ends registrations.
type Registrations struct {
	Config
	tickets  kv.Bucket[ticket]
	locators kv.Bucket[string]
	wrong    kv.Bucket[wrongCount]
}

// New makes Registrations.
func New(c Config) *Registrations {
	return &Registrations{Config: c, tickets: kv.NewBucket[ticket](c.KV, "reg"),
		locators: kv.NewBucket[string](c.KV, "locator"), wrong: kv.NewBucket[wrongCount](c.KV, "wrongcode")}
}

// ticket is a registration that is not decided yet.
type ticket struct {
	ID         string `json:"id"`
	MerchantID string `json:"merchant"`
	AppID      string `json:"app"`
	UserID     string `json:"user"`
	ClientID   string `json:"client,omitempty"`
	Hint       string `json:"hint"`
	Secret     []byte `json:"s"`
	Locator    string `json:"locator,omitempty"`
	Code       string `json:"code,omitempty"`
	Confirm    string `json:"confirm"`
	WrongCodes int    `json:"wrong,omitempty"`
	BadDigits  int    `json:"bad,omitempty"`
	DeviceID   string `json:"device,omitempty"` // claimed by
	Digits     string `json:"digits,omitempty"` // known after reg.finish
	// Risk is what the phone said of itself with reg.finish.
	Risk *risk.Result `json:"risk,omitempty"`
	// Whether it may be a further device of its user, and by which new proofing.
	Further   bool        `json:"further,omitempty"`
	Proofing  db.Proofing `json:"proofing,omitzero"`
	StartedAt int64       `json:"at,omitempty"` // Unix ms; 0 in records of before it was kept, which is before all
	ExpiresAt int64       `json:"exp"`          // Unix ms
}

func (t *ticket) expires() time.Time { return time.UnixMilli(t.ExpiresAt) }

// Why a registration is cancelled that no phone may end.
const (
	userGone       = "the user is no longer active"
	clientDisabled = "the client was disabled"
)

// withdrawn reports whether the client that started it is disabled, or was since.
// In Update its row stays locked against changes: after those of device and user.
func (t *ticket) withdrawn(tx *db.Tx) (bool, error) {
	return tx.ClientWithdrawn(t.ClientID, time.UnixMilli(t.StartedAt))
}

// Start is a request for a registration.
type Start struct {
	MerchantID, UserID, ClientID string
	ID                           string // chosen before, so that the same request makes one registration; "": a new one
	AppID                        string // "": the merchant's first App
	Confirm                      string // "": as the App says; never less
	Typed                        bool   // also give a locator and code, for typing
	// A user who has a device gives the next one its right: by an authentication that
	// the device approved, or by a new proofing of the person.
	ApprovedBy string
	Proofing   db.Proofing
}

// Started is what the merchant hands to the user.
type Started struct {
	ID            string
	Link          string // also the QR code's content; holds the secret
	Locator, Code string // when asked for
	Confirm       string
	ExpiresAt     time.Time
}

// Start makes a ticket.
func (r *Registrations) Start(ctx context.Context, s Start) (Started, error) {
	started := r.Clock.Now() // before the look at anything: what is withdrawn meanwhile is withdrawn since
	var user db.User
	var app db.App
	err := r.DB.View(ctx, func(tx *db.Tx) (err error) {
		if user, err = identity.UserIn(tx, s.MerchantID, s.UserID); err != nil {
			return err
		}
		app, err = r.app(tx, s)
		return err
	})
	if err != nil {
		return Started{}, err
	}
	switch user.State {
	case db.UserLocked:
		return Started{}, fault.New(fault.UserLocked, "the user is locked")
	case db.UserDeactivated:
		return Started{}, fault.New(fault.UserDeactivated, "the user is deactivated")
	}
	policy, err := identity.PolicyOf(app)
	if err == nil {
		err = s.confirmAtLeast(policy.Confirm)
	}
	if err != nil {
		return Started{}, err
	}
	if s.ID == "" {
		s.ID = db.NewID("op_")
	} else if t, err := r.tickets.Get(ctx, s.ID); err == nil {
		return r.started(ctx, &t) // the answer to the first such request was lost
	} else if !errors.Is(err, kv.ErrNotFound) {
		return Started{}, fault.Wrap(fault.Unavailable, errTry, err)
	}
	further, err := r.mayFollow(ctx, &s, &user)
	if err != nil {
		return Started{}, err
	}
	t := ticket{ID: s.ID, MerchantID: s.MerchantID, AppID: app.ID, UserID: user.ID, ClientID: s.ClientID, Hint: mask(user.ExternalRef), Further: further,
		Proofing: s.Proofing, Secret: make([]byte, wire.SecretSize), Confirm: s.Confirm,
		StartedAt: started.UnixMilli(), ExpiresAt: r.Clock.Now().Add(policy.RegistrationTTL).UnixMilli()}
	rand.Read(t.Secret)
	if s.Typed {
		if err := r.giveLocator(ctx, &t, policy); err != nil {
			return Started{}, err
		}
	}
	if err := r.tickets.Create(ctx, t.ID, t, policy.RegistrationTTL+linger); err != nil {
		return Started{}, fault.Wrap(fault.Unavailable, "the registration could not be started; try again", err)
	}
	if r.Config.Started != nil {
		r.Config.Started(operation.KindRegistration)
	}
	return r.started(ctx, &t)
}

// started tells a ticket's secrets.
func (r *Registrations) started(ctx context.Context, t *ticket) (Started, error) {
	ssk, err := r.Keys.Current(ctx, keys.Server)
	if err != nil {
		return Started{}, err
	}
	link := wire.Ticket{Origin: r.Origin, ID: t.ID, Secret: t.Secret, Pin: ssk.KID}.Link()
	return Started{ID: t.ID, Link: link, Locator: t.Locator, Code: t.Code, Confirm: t.Confirm, ExpiresAt: t.expires()}, nil
}

// confirmAtLeast fills in how the App has registrations confirmed, and refuses
// less: a link without digits brings all that activates a device by one channel.
func (s *Start) confirmAtLeast(least string) error {
	switch s.Confirm {
	case "":
		s.Confirm = least
	case identity.ConfirmDigits:
	case identity.ConfirmNone:
		if least == identity.ConfirmDigits {
			return fault.InField("/confirmation", "too_weak", "the App has registrations confirmed by digits")
		}
	default:
		return fault.InField("/confirmation", "invalid", "confirmation is digits or none")
	}
	return nil
}

func (r *Registrations) app(tx *db.Tx, s Start) (db.App, error) {
	if s.AppID != "" {
		app, err := tx.App(s.AppID)
		if errors.Is(err, db.ErrNotFound) || err == nil && app.MerchantID != s.MerchantID {
			return app, fault.InField("/appId", "not_found", "no such App")
		}
		return app, err
	}
	apps, err := tx.AppsOf(s.MerchantID)
	if err == nil && len(apps) == 0 {
		err = fault.New(fault.StateConflict, "the merchant has no App yet")
	}
	if err != nil {
		return db.App{}, err
	}
	return apps[0], nil
}

// giveLocator adds what a user can type: a locator that no live ticket has, and
// a code. Typed codes always need the digits compared.
func (r *Registrations) giveLocator(ctx context.Context, t *ticket, policy identity.Policy) error {
	code, err := pick(policy.CodeAlphabet, policy.CodeLength)
	if err != nil {
		return err
	}
	for range 10 {
		loc, err := pick("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 6)
		if err != nil {
			return err
		}
		err = r.locators.Create(ctx, loc, t.ID, policy.RegistrationTTL)
		if errors.Is(err, kv.ErrExists) {
			continue
		}
		if err != nil {
			return fault.Wrap(fault.Unavailable, "the registration could not be started; try again", err)
		}
		t.Locator, t.Code = loc, code
		return nil
	}
	return fault.New(fault.Unavailable, "no locator is free; try again")
}

func pick(alphabet string, n int) (string, error) {
	runes := []rune(alphabet)
	var sb strings.Builder
	for range n {
		i, err := rand.Int(rand.Reader, big.NewInt(int64(len(runes))))
		if err != nil {
			return "", err
		}
		sb.WriteRune(runes[i.Int64()])
	}
	return sb.String(), nil
}

// mask shows enough of a reference for its owner to recognise it.
func mask(ref string) string {
	runes := []rune(ref)
	if len(runes) <= 2 {
		return "••"
	}
	return string(runes[0]) + "•••" + string(runes[len(runes)-1])
}
