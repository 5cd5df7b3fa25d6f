package registration

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"time"

	"mobileid/internal/attestation"
	"mobileid/internal/callback"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/identity"
	"mobileid/internal/kv"
	"mobileid/internal/operation"
	"mobileid/internal/risk"
)

// Status is where a registration is.
type Status struct {
	ID         string
	State      operation.State
	MerchantID string
	UserID     string
	DeviceID   string
	Digits     string // to compare, once a device came and digits are asked for
	Reason     string
	// Attestation is what came of the phone's; nil: none was asked for, or no phone came.
	Attestation *attestation.Result
	Risk        *risk.Result // what it said of itself; nil: it was not asked
	ExpiresAt   time.Time    // zero once decided
}

var errTry = "the registration cannot be read; try again"

// Status tells where the registration is. A ticket whose time is over is
// decided as expired before that is told. Another merchant's is not_found.
func (r *Registrations) Status(ctx context.Context, merchantID, id string) (Status, error) {
	st, err := r.status(ctx, id)
	if err == nil && st.MerchantID != merchantID {
		return Status{}, fault.New(fault.NotFound, "no such registration")
	}
	return st, err
}

func (r *Registrations) status(ctx context.Context, id string) (Status, error) {
	if st, err := r.decided(ctx, id); !errors.Is(err, db.ErrNotFound) {
		return st, err
	}
	t, err := r.tickets.Get(ctx, id)
	if errors.Is(err, kv.ErrNotFound) {
		return Status{}, fault.New(fault.NotFound, "no such registration")
	}
	if err != nil {
		return Status{}, fault.Wrap(fault.Unavailable, errTry, err)
	}
	if !t.expires().After(r.Clock.Now()) {
		return r.end(ctx, &t, operation.Expire, "")
	}
	why := ""
	err = r.DB.View(ctx, func(tx *db.Tx) error {
		user, err := tx.User(t.UserID)
		if err != nil {
			return err
		}
		withdrawn, err := t.withdrawn(tx)
		switch {
		case user.State != db.UserActive:
			why = userGone
		case withdrawn:
			why = clientDisabled
		}
		return err
	})
	if err != nil {
		return Status{}, err
	}
	if why != "" { // no phone could claim it any more
		return r.end(ctx, &t, operation.Cancel, why)
	}
	st := Status{ID: id, State: operation.Pending, MerchantID: t.MerchantID, UserID: t.UserID, DeviceID: t.DeviceID, ExpiresAt: t.expires()}
	if t.DeviceID != "" {
		st.State = operation.Claimed
		if t.confirm() == identity.ConfirmDigits {
			st.Digits = t.Digits
		}
	}
	return st, nil
}

func (r *Registrations) decided(ctx context.Context, id string) (st Status, err error) {
	err = r.DB.View(ctx, func(tx *db.Tx) error {
		out, err := operation.OutcomeOf(tx, id)
		if err == nil && out.Kind != operation.KindRegistration {
			err = fault.New(fault.NotFound, "no such registration")
		}
		st = statusOf(out)
		return err
	})
	return st, err
}

func statusOf(out operation.Outcome) Status {
	return Status{ID: out.OperationID, State: out.State, MerchantID: out.MerchantID, UserID: out.UserID, DeviceID: out.DeviceID, Reason: out.Reason, Attestation: out.Attestation, Risk: out.Risk}
}

// Wait is Status held until it is decided, its digits are known, or until has passed.
func (r *Registrations) Wait(ctx context.Context, merchantID, id string, until time.Duration) (Status, error) {
	hint, stop := r.tickets.Watch(id)
	defer stop()
	deadline := time.NewTimer(until)
	defer deadline.Stop()
	tick := time.NewTicker(reread)
	defer tick.Stop()
	first, err := r.Status(ctx, merchantID, id)
	for st := first; ; {
		if err != nil || st.State.Terminal() || st.State != first.State || st.Digits != first.Digits {
			return st, err
		}
		select {
		case <-hint:
		case <-tick.C:
		case <-deadline.C:
			return st, nil
		case <-r.Draining:
			return st, nil
		case <-ctx.Done():
			return st, ctx.Err()
		}
		st, err = r.Status(ctx, merchantID, id)
	}
}

// Cancel ends the registration; a device that has claimed it is removed.
// Cancelling what is decided changes nothing and tells how it ended.
func (r *Registrations) Cancel(ctx context.Context, merchantID, id string) (Status, error) {
	st, err := r.Status(ctx, merchantID, id)
	if err != nil || st.State.Terminal() {
		return st, err
	}
	t, err := r.tickets.Get(ctx, id)
	if err != nil {
		return Status{}, fault.Wrap(fault.Unavailable, errTry, err)
	}
	return r.end(ctx, &t, operation.Cancel, "cancelled")
}

// Confirm says that the phone shows these digits. Right digits make the device
// ACTIVE; the third wrong try refuses it.
func (r *Registrations) Confirm(ctx context.Context, merchantID, id, digits string) (Status, error) {
	st, err := r.Status(ctx, merchantID, id)
	if err != nil || st.State.Terminal() {
		return st, err
	}
	if st.Digits == "" {
		return st, fault.New(fault.StateConflict, "no device waits for its digits to be confirmed")
	}
	if subtle.ConstantTimeCompare([]byte(digits), []byte(st.Digits)) != 1 {
		t, err := r.tickets.Update(ctx, id, func(t ticket) (ticket, error) { t.BadDigits++; return t, nil })
		if err != nil {
			return Status{}, fault.Wrap(fault.Unavailable, errTry, err)
		}
		if t.BadDigits >= mostDigits {
			return r.end(ctx, &t, operation.Decline, "the digits did not match")
		}
		return st, fault.InField("/digits", "mismatch", "these are not the digits that the phone should show")
	}
	t, err := r.tickets.Get(ctx, id)
	if err != nil {
		return Status{}, fault.Wrap(fault.Unavailable, errTry, err)
	}
	return r.end(ctx, &t, operation.Approve, "")
}

// end decides the registration and moves its device with it, in one transaction.
func (r *Registrations) end(ctx context.Context, t *ticket, m operation.Move, reason string) (st Status, err error) {
	err = r.DB.Update(ctx, func(tx *db.Tx) error {
		out, err := r.decide(tx, t, m, reason)
		if errors.Is(err, db.ErrConflict) {
			out, err = operation.OutcomeOf(tx, t.ID)
		}
		st = statusOf(out)
		return err
	})
	if err != nil {
		return Status{}, fault.Wrap(fault.Unavailable, "the registration could not be ended; try again", err)
	}
	r.wake(ctx, t.ID)
	return st, nil
}

// ExpireStale ends registrations that a phone began and nobody ended: their
// ticket is long gone from kv. It returns how many there were, at most most.
func (r *Registrations) ExpireStale(ctx context.Context, most int) (n int, err error) {
	var stale []db.Device
	err = r.DB.View(ctx, func(tx *db.Tx) (err error) {
		stale, err = tx.StaleRegistrations(tx.Now().Add(-staleAfter), most)
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, d := range stale {
		t := ticket{ID: d.OperationID, MerchantID: d.MerchantID, UserID: d.UserID}
		if _, err := r.end(ctx, &t, operation.Expire, ""); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// decide writes the decision and activates or removes the device that claimed
// the ticket. db.ErrConflict: decided before, and nothing has changed.
func (r *Registrations) decide(tx *db.Tx, t *ticket, m operation.Move, reason string) (operation.Outcome, error) {
	if !t.expires().After(tx.Now()) {
		m, reason = operation.Expire, ""
	}
	out := operation.Outcome{OperationID: t.ID, Kind: operation.KindRegistration, MerchantID: t.MerchantID, UserID: t.UserID, ClientID: t.ClientID,
		Reason: reason, At: tx.Now().UTC().Truncate(time.Millisecond)}
	// Whoever ends it also spends its activation, so that no phone begins beside
	// this, and holds the device before looking whether it is decided.
	if err := tx.Redeem("activation", t.ID, "", t.expires()); err != nil && !errors.Is(err, db.ErrConflict) {
		return out, err
	}
	dev, err := tx.DeviceOfRegistration(t.ID)
	if _, derr := tx.Decision(t.ID); derr == nil {
		return out, db.ErrConflict
	} else if !errors.Is(derr, db.ErrNotFound) {
		return out, derr
	}
	switch {
	case err == nil:
		out.DeviceID, out.Risk = dev.ID, t.Risk
		if dev.Attestation != "" {
			if err := json.Unmarshal([]byte(dev.Attestation), &out.Attestation); err != nil {
				return out, err
			}
		}
		if m == operation.Approve {
			user, err := tx.User(t.UserID)
			if err != nil {
				return out, err
			}
			why, err := r.admit(tx, t, &user, &dev)
			if err != nil {
				return out, err
			}
			if why != "" {
				m, out.Reason = operation.Cancel, why
			}
		}
		to := db.DeviceActive
		if m == operation.Approve {
			err = tx.ActivateDevice(dev.ID)
		} else {
			to, err = db.DeviceDeactivated, tx.SetDeviceState(dev.ID, db.DeviceDeactivated)
		}
		if err == nil {
			err = callback.DeviceMoved(tx, &dev, to, "registration")
		}
		if err != nil {
			return out, err
		}
	case !errors.Is(err, db.ErrNotFound):
		return out, err
	case m == operation.Approve:
		return out, errors.New("registration: approved without a device")
	}
	out.State, _ = operation.Next(operation.Pending, m)
	confirm := t.confirm()
	if dev.Enrol == "qr" { // by the link, whatever could also have been typed
		confirm = t.Confirm
	}
	err = operation.Record(tx, r.Audit, out, nil, "", map[string]string{"confirm": confirm})
	if err == nil && r.Decided != nil {
		tx.OnCommit(func() { r.Decided(out.Kind, out.State) })
	}
	return out, err
}

func (r *Registrations) wake(ctx context.Context, id string) {
	if err := r.tickets.Notify(context.WithoutCancel(ctx), id); err != nil {
		r.Log.WarnContext(ctx, "registration: wake-up lost", "operation", id, "error", err)
	}
}
