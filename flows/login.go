package flows

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/kv"
	"mobileid/internal/operation"
	"mobileid/internal/view"
)

// InteractionLife is how long an authorize request stays parked while its user
// logs in.
const InteractionLife = 10 * time.Minute

// Interaction is a parked authorize request while the user logs in. It belongs
// to the browser that started it: whoever lacks that browser's session cannot
// see, drive or finish it.
type Interaction struct {
	ID         string `json:"id"`
	ClientID   string `json:"client"`
	Form       string `json:"form"`    // the authorize request, form-encoded
	Browser    string `json:"browser"` // hash of the session id that started it
	CSRF       string `json:"csrf"`    // in every form of its pages
	MinACR     string `json:"acr,omitempty"`
	Subject    string `json:"sub,omitempty"` // the user who must answer (id_token_hint)
	Fixed      bool   `json:"fixed,omitempty"`
	Identifier string `json:"hint,omitempty"`    // as hinted or typed
	Details    string `json:"details,omitempty"` // RFC 9396, canonical; "": none
	Locales    string `json:"locales,omitempty"` // ui_locales
	ExpiresAt  int64  `json:"exp"`               // Unix ms

	Initiator   operation.Initiator `json:"init"`
	OperationID string              `json:"op,omitempty"`
	Asked       bool                `json:"asked,omitempty"`
	AskedUntil  int64               `json:"until,omitempty"` // Unix ms
	Match       string              `json:"match,omitempty"`
	Trouble     string              `json:"trouble,omitempty"`   // why nobody could be asked: a fault.Kind
	BlockedTill int64               `json:"blocked,omitempty"`   // Unix ms, with device_blocked or a cool-down
	Cancelled   bool                `json:"cancelled,omitempty"` // by the user in the browser
}

// LoginState is what the login page has to say.
type LoginState struct {
	Identify bool // nobody is asked yet
	Trouble  fault.Kind
	Until    time.Time // with device_blocked, forbidden
	Outcome  operation.Outcome
	Match    string
	Expires  time.Time
}

// HashSession is how interactions know a browser session without its id.
func HashSession(id string) string {
	sum := sha256.Sum256([]byte(id))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// OpenInteraction parks an authorize request; with a hint the user is asked at
// once. It returns the interaction's id.
func (f *Flows) OpenInteraction(ctx context.Context, client *db.Client, in Interaction) (string, error) {
	in.ID, in.CSRF = rand.Text(), rand.Text()
	in.ExpiresAt = f.Clock.Now().Add(InteractionLife).UnixMilli()
	if in.Identifier != "" {
		f.askFor(ctx, client, &in)
	}
	if err := f.interactions.Create(ctx, in.ID, in, InteractionLife); err != nil {
		f.withdraw(ctx, in.OperationID)
		return "", fault.Wrap(fault.Unavailable, "the login could not be started; please try again", err)
	}
	return in.ID, nil
}

// askFor starts the operation for in.Identifier and notes how that went.
func (f *Flows) askFor(ctx context.Context, client *db.Client, in *Interaction) {
	in.OperationID, in.Match, in.Trouble, in.Asked, in.Cancelled, in.BlockedTill = "", "", "", false, false, 0
	prompt, err := in.prompt()
	if err != nil {
		in.Trouble = string(fault.Unavailable)
		f.Log.ErrorContext(ctx, "a parked request cannot be read", "interaction", in.ID, "error", err)
		return
	}
	got, err := f.start(ctx, ask{client: client, hint: in.Identifier, subject: in.Subject, flow: operation.FlowRedirect, prompt: prompt, detailsName: ParamDetails, locales: strings.Fields(in.Locales),
		minACR: in.MinACR, match: true, initiator: in.Initiator})
	if err != nil {
		in.Trouble = string(fault.KindOf(err))
		if e, ok := errors.AsType[*fault.Error](err); ok && e.RetryAfter > 0 {
			in.BlockedTill = f.Clock.Now().Add(e.RetryAfter).UnixMilli()
		}
		if k := fault.KindOf(err); k == fault.Internal || k == fault.Unavailable {
			in.Trouble = string(fault.Unavailable)
			f.Log.ErrorContext(ctx, "login could not ask the phone", "error", err)
		}
		return
	}
	in.Asked, in.OperationID, in.Match, in.AskedUntil = true, got.operationID, got.match, got.expires.UnixMilli()
}

// prompt is what the phone is to show.
func (in *Interaction) prompt() (view.Prompt, error) {
	p := view.Prompt{Purpose: view.LogIn}
	if in.Details == "" {
		return p, nil
	}
	var err error
	p.Details, err = view.ParseDetails(ParamDetails, []byte(in.Details), view.Types())
	return p, err
}

// Facts are what the login page shows of the request's details, in a language of
// view.Language: labels and values.
func (in *Interaction) Facts(lang string) [][2]string {
	p, err := in.prompt()
	if err != nil {
		return nil
	}
	return p.Details.Facts(lang)
}

// Interaction returns the interaction for the browser that started it; for any
// other browser, and once it is over, not_found.
func (f *Flows) Interaction(ctx context.Context, id, browser string) (Interaction, error) {
	in, err := f.interactions.Get(ctx, id)
	if errors.Is(err, kv.ErrNotFound) || err == nil && in.Browser != browser {
		return Interaction{}, fault.New(fault.NotFound, "this login is over, or was started in another browser; please start again")
	}
	if err != nil {
		return Interaction{}, fault.Wrap(fault.Unavailable, "the login cannot be read; please try again", err)
	}
	return in, nil
}

// Identify asks the person whom the user named. What was pending for the
// interaction before is cancelled.
func (f *Flows) Identify(ctx context.Context, in Interaction, client *db.Client, identifier string) error {
	if in.Fixed && in.Identifier != "" && identifier != in.Identifier {
		return fault.New(fault.Invalid, "the application asked for a particular user")
	}
	if err := f.stop(ctx, in.OperationID); err != nil {
		return err
	}
	next := in
	next.Identifier = identifier
	if identifier == "" {
		next.OperationID, next.Match, next.Trouble, next.Asked, next.Cancelled = "", "", "", false, false
	} else {
		f.askFor(ctx, client, &next)
	}
	return f.replace(ctx, in, next)
}

// Cancel withdraws the request in the browser.
func (f *Flows) Cancel(ctx context.Context, in Interaction) error {
	if err := f.stop(ctx, in.OperationID); err != nil {
		return err
	}
	next := in
	next.Cancelled, next.Asked, next.OperationID = true, false, ""
	return f.replace(ctx, in, next)
}

func (f *Flows) stop(ctx context.Context, operationID string) error {
	if operationID == "" {
		return nil
	}
	out, err := f.Operations.End(ctx, operationID, operation.Cancel, "cancelled in the browser")
	if err == nil && out.Approved() {
		return fault.New(fault.StateConflict, "the phone has approved already")
	}
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// replace stores next unless another tab changed the interaction meanwhile; then
// what this tab started is withdrawn.
func (f *Flows) replace(ctx context.Context, in, next Interaction) error {
	_, err := f.interactions.Update(ctx, in.ID, func(now Interaction) (Interaction, error) {
		if now != in {
			return now, fault.New(fault.StateConflict, "the login was changed in another tab")
		}
		return next, nil
	})
	if err != nil && next.OperationID != in.OperationID {
		f.withdraw(ctx, next.OperationID)
	}
	if errors.Is(err, kv.ErrNotFound) {
		return fault.New(fault.NotFound, "this login is over; please start again")
	}
	if err != nil && fault.KindOf(err) == fault.Internal {
		return fault.Wrap(fault.Unavailable, "the login cannot be changed; please try again", err)
	}
	return err
}

// LoginState tells where the login is.
func (f *Flows) LoginState(ctx context.Context, in *Interaction) (LoginState, error) {
	st := LoginState{Trouble: fault.Kind(in.Trouble), Match: in.Match, Expires: time.UnixMilli(in.AskedUntil)}
	if in.BlockedTill > 0 {
		st.Until = time.UnixMilli(in.BlockedTill)
	}
	switch {
	case in.Cancelled:
		st.Outcome.State = operation.Cancelled
	case in.Trouble != "":
	case !in.Asked:
		st.Identify = true
	default:
		out, err := f.Operations.Status(ctx, in.OperationID)
		if fault.Is(err, fault.NotFound) {
			st.Trouble = fault.Unavailable
			return st, nil
		}
		if err != nil {
			return st, err
		}
		st.Outcome = out
		if out.State == operation.Locked {
			st.Until, err = f.blockedUntil(ctx, out.DeviceID)
			return st, err
		}
	}
	return st, nil
}

func (f *Flows) blockedUntil(ctx context.Context, deviceID string) (until time.Time, err error) {
	err = f.DB.View(ctx, func(tx *db.Tx) error {
		d, err := tx.Device(deviceID)
		if errors.Is(err, db.ErrNotFound) {
			return nil
		}
		until = d.BlockedUntil
		return err
	})
	return until, err
}

// WatchLogin gives a hint whenever the login may have moved.
func (f *Flows) WatchLogin(in *Interaction) (<-chan struct{}, func()) {
	if in.OperationID == "" {
		return nil, func() {}
	}
	return f.Operations.Watch(in.OperationID)
}

// FinishLogin spends an interaction whose operation was approved: once, by SQL,
// so that one approval gives one authorization response even if an older kv
// comes back. audited is the session that came of it.
func (f *Flows) FinishLogin(ctx context.Context, in *Interaction, sid string) (operation.Outcome, error) {
	st, err := f.LoginState(ctx, in)
	if err != nil {
		return operation.Outcome{}, err
	}
	out := st.Outcome
	if !out.Approved() {
		return out, fault.New(fault.StateConflict, "the login is not approved")
	}
	err = f.DB.Update(ctx, func(tx *db.Tx) error {
		ok, err := tx.MayIssue(in.ClientID, out.UserID, out.DeviceID, out.At, out.At)
		if err != nil {
			return err
		}
		if !ok {
			return fault.New(fault.Forbidden, "the user, the phone or the application was withdrawn meanwhile")
		}
		if err := tx.Redeem("interaction", in.OperationID, "", tx.Now().Add(InteractionLife)); err != nil {
			return err
		}
		return f.Users.Audit.Append(tx, audit.Record{Act: "session.created", Merchant: out.MerchantID, User: out.UserID, Device: out.DeviceID,
			Client: in.ClientID, Operation: out.OperationID, Session: sid})
	})
	if errors.Is(err, db.ErrConflict) {
		return out, fault.New(fault.NotFound, "this login was finished already; please start again")
	}
	if err == nil {
		if derr := f.interactions.Delete(ctx, in.ID); derr != nil {
			f.Log.WarnContext(ctx, "a finished login was not removed", "error", derr)
		}
	}
	return out, err
}
