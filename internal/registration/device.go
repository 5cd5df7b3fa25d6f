package registration

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"

	"mobileid/internal/attestation"
	"mobileid/internal/audit"
	"mobileid/internal/channel"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/internal/keys"
	"mobileid/internal/kv"
	"mobileid/internal/operation"
	"mobileid/sdk/wire"
)

// confirm is how this ticket is confirmed by the way it was claimed.
func (t *ticket) confirm() string {
	if t.Locator != "" {
		return identity.ConfirmDigits
	}
	return t.Confirm
}

// Handlers are the calls of mid/1 that this package serves.
func (r *Registrations) Handlers() map[string]channel.Handler {
	return map[string]channel.Handler{
		wire.OpRegBegin:  {StateChanging: true, Prepare: r.begin},
		wire.OpRegFinish: {StateChanging: true, AllowedStates: []string{db.DevicePending}, Prepare: r.finish},
		wire.OpRegStatus: {StateChanging: true, AllowedStates: []string{db.DevicePending, db.DeviceActive, db.DeviceDeactivated}, Prepare: r.phoneStatus},
	}
}

var refused = &wire.Error{Code: wire.ActivationFailed}

func (r *Registrations) begin(ctx context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	var body wire.RegBegin
	if werr := c.Decode(&body); werr != nil {
		return channel.Plan{}, werr, nil
	}
	if (body.Ticket == "") == (body.Locator == "") || len(body.FC) != 32 || !label(body.Platform, 32) || !label(body.Model, 64) {
		return channel.Plan{}, &wire.Error{Code: wire.Malformed}, nil
	}
	t, werr, err := r.claimable(ctx, c, &body)
	if werr != nil || err != nil {
		return channel.Plan{}, werr, err
	}
	att, err := r.attested(ctx, c, t, &body)
	if err != nil {
		return channel.Plan{}, nil, err
	}
	var claimed string
	return channel.Plan{
		Commit: func(tx *db.Tx, dev *db.Device) (any, *wire.Error, error) {
			claimed = ""
			reply, werr, err := r.commitBegin(tx, t, dev, &body, att)
			if werr == nil && err == nil {
				claimed = dev.ID
			}
			return reply, werr, err
		},
		After: func(ctx context.Context) {
			if claimed == "" {
				return
			}
			_, err := r.tickets.Update(ctx, t.ID, func(t ticket) (ticket, error) { t.DeviceID = claimed; return t, nil })
			if err != nil {
				r.Log.WarnContext(ctx, "registration: claim not noted; the phone has to start again", "operation", t.ID, "error", err)
			}
			r.wake(ctx, t.ID)
		},
	}, nil, nil
}

// claimable finds the ticket and checks the secret or code against tm.
func (r *Registrations) claimable(ctx context.Context, c *channel.Call, body *wire.RegBegin) (*ticket, *wire.Error, error) {
	if body.Locator != "" {
		return r.typed(ctx, c, body)
	}
	t, err := r.tickets.Get(ctx, body.Ticket)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, refused, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if !t.expires().After(r.Clock.Now()) {
		return nil, refused, nil
	}
	// 128 bits: nobody guesses, nothing to count.
	if ok, err := proves(t.Secret, c, body); !ok || err != nil {
		return nil, refused, err
	}
	return &t, nil, nil
}

// proves reports whether the request's tm was made with the secret or code.
func proves(secret []byte, c *channel.Call, body *wire.RegBegin) (bool, error) {
	thumb, err := thumb32(c.KeyID)
	if err != nil {
		return false, err
	}
	want := wire.TicketMAC(secret, c.EK, c.JTI, thumb, [32]byte(body.FC))
	return wire.Equal(want[:], body.TM), nil
}

func label(s string, most int) bool {
	return len(s) <= most && (s == "" || wire.CheckText(s) == nil)
}

func (r *Registrations) commitBegin(tx *db.Tx, t *ticket, dev *db.Device, body *wire.RegBegin, att attestation.Result) (any, *wire.Error, error) {
	if _, err := tx.Decision(t.ID); err == nil || !t.expires().After(tx.Now()) {
		return nil, refused, nil
	} else if !errors.Is(err, db.ErrNotFound) {
		return nil, nil, err
	}
	user, err := tx.User(t.UserID)
	if err != nil {
		return nil, nil, err
	}
	if user.State != db.UserActive {
		return nil, refused, nil
	}
	if withdrawn, err := t.withdrawn(tx); withdrawn || err != nil {
		return nil, refused, err
	}
	app, err := tx.App(t.AppID)
	if err != nil {
		return nil, nil, err
	}
	policy, err := identity.PolicyOf(app)
	if err != nil {
		return nil, nil, err
	}
	if check := lacking(policy, att); check != "" {
		return nil, &wire.Error{Code: wire.AttestationFailed, Check: check}, r.Audit.Append(tx, audit.Record{Act: "registration.attestation_refused",
			Merchant: t.MerchantID, User: t.UserID, Client: t.ClientID, Operation: t.ID, Details: map[string]string{"check": check, "detail": att.Detail}})
	}
	// A key serves one device, and one factor of it.
	if serves, err := tx.KeyServes(dev.DSK, dev.DSKThumb); serves || err != nil {
		return nil, refused, err
	}
	if err := tx.Redeem("activation", t.ID, "", t.expires()); errors.Is(err, db.ErrConflict) {
		return nil, refused, nil
	} else if err != nil {
		return nil, nil, err
	}
	ns := make([]byte, wire.NonceSize)
	dev.HandleSalt = make([]byte, 16)
	rand.Read(ns)
	rand.Read(dev.HandleSalt)
	dev.ID, dev.MerchantID, dev.UserID, dev.AppID, dev.OperationID = db.NewID("dev_"), t.MerchantID, t.UserID, t.AppID, t.ID
	dev.State, dev.Name, dev.Platform = db.DevicePending, body.Model, body.Platform
	dev.Pos, dev.Enrol, dev.Epoch, dev.MaxFailures, dev.CreatedAt = "swk", "qr", 1, policy.FailureLimit, tx.Now()
	if policy.Attestation != identity.AttestationOff {
		if dev.Attestation, err = record(att); err != nil {
			return nil, nil, err
		}
		dev.Pos = possession(att.Level)
	}
	confirm := t.Confirm
	if body.Locator != "" {
		dev.Enrol, confirm = "code", identity.ConfirmDigits
	}
	dev.Commitment = append(append([]byte(nil), body.FC...), ns...)
	if err := tx.InsertDevice(*dev); errors.Is(err, db.ErrConflict) {
		// One key, one registration: another was made since the key was looked up.
		return nil, nil, errors.Join(errors.New("registration: the signing key is known"), db.ErrAgain)
	} else if err != nil {
		return nil, nil, err
	}
	return wire.RegBeginReply{Device: dev.ID, NS: ns, Hint: t.Hint, Policy: wire.Policy{
		PINMin: policy.PINMin, PINMax: policy.PINMax, PINType: "digits", Deny: denied(policy.PINMin), Methods: operation.Factors(policy), Confirm: confirm,
	}}, nil, nil
}

// denied lists the PINs that are guessed first, at the least length.
func denied(n int) []string {
	var out []string
	for d := '0'; d <= '9'; d++ {
		out = append(out, strings.Repeat(string(d), n))
	}
	const up, down = "01234567890123456789", "98765432109876543210"
	return append(out, up[:n], up[1:n+1], down[:n], down[1:n+1])
}

func (r *Registrations) finish(ctx context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	var body wire.RegFinish
	if werr := c.Decode(&body); werr != nil {
		return channel.Plan{}, werr, nil
	}
	if len(body.NP) != wire.NonceSize || len(body.KK) != wire.KeySize {
		return channel.Plan{}, &wire.Error{Code: wire.Malformed}, nil
	}
	said, err := statement(&body)
	if err != nil {
		return channel.Plan{}, &wire.Error{Code: wire.Malformed}, nil
	}
	t, err := r.tickets.Get(ctx, c.Device.OperationID)
	if errors.Is(err, kv.ErrNotFound) {
		return channel.Plan{}, refused, nil
	}
	if err != nil {
		return channel.Plan{}, nil, err
	}
	ssk, err := r.Keys.Current(ctx, keys.Server)
	if err != nil {
		return channel.Plan{}, nil, err
	}
	digits := ""
	return channel.Plan{
		Commit: func(tx *db.Tx, dev *db.Device) (any, *wire.Error, error) {
			digits = ""
			fc := wire.Commitment(body.NP)
			if len(dev.Commitment) != 32+wire.NonceSize || !wire.Equal(fc[:], dev.Commitment[:32]) {
				return nil, refused, nil
			}
			if werr, err := r.judge(tx, &t, dev, said); werr != nil || err != nil {
				return nil, werr, err
			}
			err := tx.SetKnowledge(dev.ID, r.Box.Seal(operation.KnowledgePurpose(dev.ID), body.KK))
			if errors.Is(err, db.ErrNotFound) {
				return nil, refused, nil
			}
			if err != nil {
				return nil, nil, err
			}
			if dev.Enrol == "qr" && t.Confirm == identity.ConfirmNone {
				out, err := r.decide(tx, &t, operation.Approve, "")
				if errors.Is(err, db.ErrConflict) {
					return wire.RegState{State: wire.RegRefused}, nil, nil
				}
				return wire.RegState{State: phoneState(out.State)}, nil, err
			}
			device, err1 := thumb32(dev.DSKThumb)
			server, err2 := thumb32(ssk.KID)
			digits = wire.CommitDigits(body.NP, dev.Commitment[32:], device, server, dev.ID)
			return wire.RegState{State: wire.RegPending}, nil, errors.Join(err1, err2)
		},
		After: func(ctx context.Context) {
			if judged := t.Risk; digits != "" {
				_, err := r.tickets.Update(ctx, t.ID, func(t ticket) (ticket, error) {
					t.DeviceID, t.Digits, t.Risk = c.Device.ID, digits, judged
					return t, nil
				})
				if err != nil {
					r.Log.WarnContext(ctx, "registration: digits not noted; the phone has to start again", "operation", t.ID, "error", err)
				}
			}
			r.wake(ctx, t.ID)
		},
	}, nil, nil
}

func thumb32(s string) ([32]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != 32 {
		return [32]byte{}, errors.New("registration: not a thumbprint: " + s)
	}
	return [32]byte(b), nil
}

func phoneState(s operation.State) string {
	switch {
	case s == operation.Completed:
		return wire.RegActive
	case s.Terminal():
		return wire.RegRefused
	}
	return wire.RegPending
}

// phoneStatus tells the phone how its registration ended. A ticket that is
// over, or lost with kv, ends it here, so that no phone waits for ever.
func (r *Registrations) phoneStatus(ctx context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	if werr := c.Decode(&wire.RegStatus{}); werr != nil {
		return channel.Plan{}, werr, nil
	}
	id := c.Device.OperationID
	t, err := r.tickets.Get(ctx, id)
	lost := errors.Is(err, kv.ErrNotFound)
	if err != nil && !lost {
		return channel.Plan{}, nil, err
	}
	if lost {
		t = ticket{ID: id, MerchantID: c.Device.MerchantID, UserID: c.Device.UserID}
	}
	return channel.Plan{
		Commit: func(tx *db.Tx, dev *db.Device) (any, *wire.Error, error) {
			out, err := operation.OutcomeOf(tx, id)
			if errors.Is(err, db.ErrNotFound) {
				out, err = operation.Outcome{State: operation.Claimed}, nil
				if !t.expires().After(tx.Now()) {
					out, err = r.decide(tx, &t, operation.Expire, "")
				}
			}
			if err != nil {
				return nil, nil, err
			}
			return wire.RegState{State: phoneState(out.State)}, nil, nil
		},
	}, nil, nil
}
