package flows

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/callback"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/identity"
	"mobileid/internal/operation"
)

// OutboxWithdrawn is the outbox kind that cancels what waits for a user or device
// that may no longer answer.
const OutboxWithdrawn = "person.withdrawn"

// sweepAgain is when that is done once more: for a request that was started beside
// the withdrawal, and for a node that died right after it.
const sweepAgain = 5 * time.Second

const byMerchant = "by the merchant"

const notActive = "the user or the device is no longer active"

// DeliverWithdrawn is the outbox deliverer of OutboxWithdrawn.
func (f *Flows) DeliverWithdrawn(ctx context.Context, it db.OutboxItem) error {
	var w operation.Withdrawal
	if err := json.Unmarshal([]byte(it.Payload), &w); err != nil {
		return err
	}
	return f.Operations.Withdraw(ctx, w, notActive)
}

// withdrawIn has what waits for the user or device of w cancelled after the commit. It
// sets when.
func withdrawIn(tx *db.Tx, w *operation.Withdrawal) error {
	w.At = tx.Now().UnixMilli()
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return tx.Enqueue(db.OutboxItem{ID: db.NewID("out_"), Kind: OutboxWithdrawn, Subject: w.UserID, Payload: string(text)}, sweepAgain)
}

// withdrawNow cancels what waits, without waiting for the outbox, which does it again.
func (f *Flows) withdrawNow(ctx context.Context, w operation.Withdrawal) {
	if err := f.Operations.Withdraw(context.WithoutCancel(ctx), w, notActive); err != nil {
		f.Log.WarnContext(ctx, "requests of who was withdrawn are cancelled later", "user", w.UserID, "device", w.DeviceID, "error", err)
	}
}

// SetUserState locks, unlocks or deactivates (for good) the merchant's user. Once
// it returns, nothing that was issued to a user who is not ACTIVE is good any
// more, and what waited is cancelled. A user who is deactivated loses every device.
func (f *Flows) SetUserState(ctx context.Context, merchantID, id, to string) (u db.User, err error) {
	if _, err := f.Users.User(ctx, merchantID, id); err != nil {
		return db.User{}, err
	}
	moved, w := false, operation.Withdrawal{UserID: id}
	err = f.DB.Update(ctx, func(tx *db.Tx) error {
		moved = false
		if to == db.UserDeactivated { // devices are held before their user
			if err := f.dropDevices(tx, merchantID, id); err != nil {
				return err
			}
		}
		if u, err = identity.UserIn(tx, merchantID, id); err != nil {
			return err
		}
		switch {
		case u.State == to:
			return nil
		case u.State == db.UserDeactivated:
			return fault.New(fault.UserDeactivated, "the user is deactivated, which is final")
		}
		from := u.State
		if err := tx.SetUserState(id, to); err != nil {
			return err
		}
		moved = true
		if to != db.UserActive {
			if err := withdrawIn(tx, &w); err != nil {
				return err
			}
		}
		err := errors.Join(
			callback.Happened(tx, db.Event{MerchantID: merchantID, Type: callback.UserState, UserID: id, Data: map[string]string{"from": from, "to": to}}),
			f.Users.Audit.Append(tx, audit.Record{Act: "user.state", Merchant: merchantID, User: id, Details: map[string]string{"from": from, "to": to}}))
		if err != nil {
			return err
		}
		u, err = tx.User(id)
		return err
	})
	if err == nil && moved && to != db.UserActive {
		f.withdrawNow(ctx, w)
	}
	return u, err
}

// dropDevices deactivates every device of the merchant's user.
func (f *Flows) dropDevices(tx *db.Tx, merchantID, userID string) error {
	all, err := tx.DevicesOf(userID)
	if err != nil {
		return err
	}
	for _, d := range all {
		if d.State == db.DeviceDeactivated {
			continue
		}
		if _, err := f.moveDevice(tx, merchantID, d.ID, db.DeviceDeactivated, byMerchant); err != nil {
			return err
		}
	}
	return nil
}

// SetDeviceState locks, unlocks or deactivates (for good) the merchant's device.
// Once it returns, no login made with a device that is not ACTIVE is good any
// more, and what only it could answer is cancelled.
func (f *Flows) SetDeviceState(ctx context.Context, merchantID, id, to string) (d db.Device, err error) {
	moved, w := false, operation.Withdrawal{DeviceID: id}
	err = f.DB.Update(ctx, func(tx *db.Tx) error {
		if moved, err = f.moveDevice(tx, merchantID, id, to, byMerchant); err != nil {
			return err
		}
		if d, err = tx.Device(id); err != nil || !moved || to == db.DeviceActive {
			return err
		}
		w.UserID = d.UserID
		return withdrawIn(tx, &w)
	})
	if err == nil && moved && to != db.DeviceActive {
		f.withdrawNow(ctx, w)
	}
	return d, err
}

// moveDevice moves the device, with its event and record; false if it is there already.
func (f *Flows) moveDevice(tx *db.Tx, merchantID, id, to, by string) (bool, error) {
	d, err := identity.DeviceIn(tx, merchantID, id)
	if err != nil || d.State == to {
		return false, err
	}
	switch {
	case d.State == db.DeviceDeactivated:
		return false, fault.New(fault.StateConflict, "the device is deactivated, which is final")
	case to == db.DeviceActive && d.State == db.DeviceSuspended:
		return false, fault.New(fault.StateConflict, "a copy of this device was seen; deactivate it and register anew")
	case to != db.DeviceDeactivated && d.State == db.DevicePending:
		return false, fault.New(fault.StateConflict, "the device is not registered yet")
	}
	return true, errors.Join(tx.SetDeviceState(id, to), callback.DeviceMoved(tx, &d, to, by),
		f.Users.Audit.Append(tx, audit.Record{Act: "device.state", Merchant: merchantID, User: d.UserID, Device: id,
			Details: map[string]string{"from": d.State, "to": to}}))
}
