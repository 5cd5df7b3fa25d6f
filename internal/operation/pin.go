package operation

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/callback"
	"mobileid/internal/channel"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/sdk/wire"
)

// preparePIN replaces a device's knowledge key, by proof of the one it has.
func (e *Engine) preparePIN(_ context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	var body wire.PINChange
	if werr := c.Decode(&body); werr != nil || len(body.KK) != wire.KeySize {
		return channel.Plan{}, &wire.Error{Code: wire.Malformed}, nil
	}
	return e.withPIN(c, authorised{body: body, kpf: body.KPF, risk: body.Risk, act: func(tx *db.Tx, dev *db.Device, _ identity.Policy) (*wire.Error, error) {
		if err := tx.ReplaceKnowledge(dev.ID, e.Box.Seal(KnowledgePurpose(dev.ID), body.KK)); err != nil {
			return nil, err
		}
		return nil, errors.Join(callback.FactorMoved(tx, dev, factorKnowledge, callback.FactorReplaced),
			e.Audit.Append(tx, audit.Record{Act: "device.pin_changed", Merchant: dev.MerchantID, User: dev.UserID, Device: dev.ID}))
	}})
}

// prepareRotate replaces a device's signing key and with it its knowledge key: the
// request is signed by the old one, the new one signs inside it, and the PIN is
// proven. Nobody attests the new one, so an App that requires it takes none.
func (e *Engine) prepareRotate(_ context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	var body wire.Rotation
	if werr := c.Decode(&body); werr != nil || len(body.KK) != wire.KeySize {
		return channel.Plan{}, &wire.Error{Code: wire.Malformed}, nil
	}
	key, err := wire.VerifyNewKey(body.New, wire.NewKeyClaims{Iss: c.Device.ID, Old: c.KeyID, JTI: c.JTI})
	if err != nil {
		return channel.Plan{}, &wire.Error{Code: wire.Malformed}, nil
	}
	jwk, err := json.Marshal(key)
	if err != nil {
		return channel.Plan{}, nil, err
	}
	mayRotate := func(policy identity.Policy) bool { return policy.Attestation != identity.AttestationRequired }
	return e.withPIN(c, authorised{body: body, kpf: body.KPF, risk: body.Risk, allowed: mayRotate, act: func(tx *db.Tx, dev *db.Device, _ identity.Policy) (*wire.Error, error) {
		// A key that any device has or had serves nobody else, and each factor has its own.
		if serves, err := tx.KeyServes(string(jwk), key.KeyID()); serves || err != nil {
			return &wire.Error{Code: wire.Malformed}, err
		}
		if err := tx.RotateDevice(dev.ID, string(jwk), key.KeyID(), e.Box.Seal(KnowledgePurpose(dev.ID), body.KK)); err != nil {
			return nil, err
		}
		return nil, errors.Join(callback.FactorMoved(tx, dev, factorPossession, callback.FactorReplaced),
			e.Audit.Append(tx, audit.Record{Act: "device.keys_rotated", Merchant: dev.MerchantID, User: dev.UserID, Device: dev.ID,
				Details: map[string]string{"from": dev.DSKThumb, "to": key.KeyID()}}))
	}})
}

// authorised is a call outside operations that the PIN authorises.
type authorised struct {
	body    interface{ Unproven() ([]byte, error) } // what kpf covers
	kpf     []byte
	risk    []byte                     // what the phone says of itself, as it was sent; empty: nothing
	allowed func(identity.Policy) bool // by the App's policy, whatever the PIN; nil: always
	act     func(*db.Tx, *db.Device, identity.Policy) (*wire.Error, error)
}

// withPIN is the plan of such a call: act, once kpf has proven knowledge over the
// body. What is refused without regard to the PIN is refused before it is looked at,
// so that the refusal does not tell whether it was right.
func (e *Engine) withPIN(c *channel.Call, a authorised) (channel.Plan, *wire.Error, error) {
	bytes, err := a.body.Unproven()
	if err != nil {
		return channel.Plan{}, nil, err
	}
	var said *wire.Risk
	if len(a.risk) > 0 {
		if said, err = wire.ParseRisk(a.risk); err != nil {
			return channel.Plan{}, &wire.Error{Code: wire.Malformed}, nil
		}
	}
	return channel.Plan{Commit: func(tx *db.Tx, dev *db.Device) (any, *wire.Error, error) {
		if werr, err := mayTry(tx, dev); werr != nil || err != nil {
			return nil, werr, err
		}
		app, err := tx.App(dev.AppID)
		if err != nil {
			return nil, nil, err
		}
		policy, err := identity.PolicyOf(app)
		if err != nil {
			return nil, nil, err
		}
		if a.allowed != nil && !a.allowed(policy) {
			return nil, &wire.Error{Code: wire.NotAllowed}, nil
		}
		if werr, err := e.riskRefused(tx, dev, policy, c.Op, said); werr != nil || err != nil {
			return nil, werr, err
		}
		werr, err := e.proves(tx, dev, policy, a.kpf, func(kk []byte) [32]byte { return wire.CallProof(kk, c.Op, bytes, c.JTI, c.Head) })
		if werr == nil && err == nil {
			werr, err = a.act(tx, dev, policy)
		}
		if werr != nil || err != nil {
			return nil, werr, err
		}
		return wire.Changed{}, nil, nil
	}}, nil, nil
}

// mayTry reports a user, or a device, of whom no proof is looked at.
func mayTry(tx *db.Tx, dev *db.Device) (*wire.Error, error) {
	user, err := tx.User(dev.UserID)
	if err != nil {
		return nil, err
	}
	if user.State != db.UserActive {
		return &wire.Error{Code: wire.UserLocked}, nil
	}
	return spent(tx, dev, user.FailDay, user.FailCount), nil
}

// proves reports whether kpf proves knowledge outside an operation. A wrong one is
// counted as in any answer, and may block the device.
func (e *Engine) proves(tx *db.Tx, dev *db.Device, policy identity.Policy, kpf []byte, proof func(kk []byte) [32]byte) (*wire.Error, error) {
	if len(kpf) == 0 {
		return &wire.Error{Code: wire.Need, Need: []string{wire.FactorPIN}}, nil
	}
	kk, err := e.Box.Open(KnowledgePurpose(dev.ID), dev.KK)
	if err != nil {
		return nil, err
	}
	want := proof(kk)
	if wire.Equal(want[:], kpf) {
		if dev.Failures > 0 {
			err = tx.ClearFailures(dev.ID)
		}
		return nil, err
	}
	werr, blocked, _, err := e.countFailure(tx, dev, policy)
	if blocked && err == nil {
		err = errors.Join(callback.DeviceMoved(tx, dev, db.DeviceBlocked, "too many failed attempts"),
			e.Audit.Append(tx, audit.Record{Act: "device.blocked", Merchant: dev.MerchantID, User: dev.UserID, Device: dev.ID}))
	}
	return werr, err
}

// spent reports a device, or a user's day, that has no attempts left.
func spent(tx *db.Tx, dev *db.Device, failDay, failCount int64) *wire.Error {
	switch {
	case dev.Failures >= dev.MaxFailures:
		return wire.Blocked(dev.BlockedUntil)
	case failDay == today(tx) && failCount >= identity.DailyFailures:
		return wire.Blocked(tomorrow(tx))
	}
	return nil
}

// countFailure counts a wrong proof on the device and on the user's day, and blocks
// the device, or all of the user's, at its App's limit. day is the user's count.
func (e *Engine) countFailure(tx *db.Tx, dev *db.Device, policy identity.Policy) (werr *wire.Error, blocked bool, day int64, err error) {
	n, err := tx.CountFailure(dev.ID)
	if errors.Is(err, db.ErrConflict) {
		return wire.Blocked(dev.BlockedUntil), false, 0, nil
	}
	if err != nil {
		return nil, false, 0, err
	}
	if day, err = tx.CountUserFailure(dev.UserID); err != nil {
		return nil, false, 0, err
	}
	if left := int(min(dev.MaxFailures-n, identity.DailyFailures-day)); left > 0 {
		return wire.Failed(wire.AuthFailed, left, time.Time{}), false, day, nil
	}
	until := tx.Now().Add(policy.BlockFor)
	if day >= identity.DailyFailures {
		until = tomorrow(tx)
	}
	if err = tx.BlockDevice(dev.ID, until); err == nil && policy.LockScope == identity.LockUser {
		err = e.blockOthers(tx, dev, until)
	}
	return wire.Failed(wire.AuthFailed, 0, until), true, day, err
}
