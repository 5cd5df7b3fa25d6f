package registration

import (
	"context"
	"errors"
	"strings"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/callback"
	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/identity"
	"mobileid/internal/operation"
)

const (
	// approvalFresh is how old the approval of a further device may be.
	approvalFresh = 10 * time.Minute
	furtherKind   = "further"
)

// counts reports whether a device is one that a further one comes beside. One that
// is locked or suspended counts: whoever has it not must be proofed anew.
func counts(d *db.Device) bool { return d.State != db.DevicePending && d.State != db.DeviceDeactivated }

// others lists the devices of the user that count, but for one.
func others(tx *db.Tx, userID, but string) (ids []string, err error) {
	all, err := tx.DevicesOf(userID)
	for _, d := range all {
		if d.ID != but && counts(&d) {
			ids = append(ids, d.ID)
		}
	}
	return ids, err
}

// mayFollow reports whether the registration may give its user a further device.
// The error is why it may not although the user has one: PSD2 RTS article
// 24(2)(b), ASVS 6.3.4 and 6.4.4 ask for strong customer authentication.
func (r *Registrations) mayFollow(ctx context.Context, s *Start, user *db.User) (bool, error) {
	if s.Proofing.Reference != "" {
		if s.Proofing.Reference == user.Proofing.Reference {
			return false, fault.InField("/proofing/reference", "not_new", "this proofing is the user's already; a further device needs a new one")
		}
		return true, nil
	}
	if s.ApprovedBy != "" {
		return true, r.spendApproval(ctx, s)
	}
	var have []string
	err := r.DB.View(ctx, func(tx *db.Tx) (err error) {
		have, err = others(tx, user.ID, "")
		return err
	})
	if err == nil && len(have) > 0 {
		const why = "the user has a device: a further one needs approvedBy, an authentication that one of them approved, or a new proofing"
		err = &fault.Error{Kind: fault.Forbidden, Message: why, Fields: []fault.Field{{Pointer: "/approvedBy", Code: "required", Detail: why}}}
	}
	return false, err
}

// spendApproval takes an authentication as the user's yes to this registration,
// once.
func (r *Registrations) spendApproval(ctx context.Context, s *Start) error {
	const why = "approvedBy names no authentication that one of the user's devices approved with two factors within the last 10 minutes and that is unused"
	bad := fault.InField("/approvedBy", "invalid", why)
	return r.DB.Update(ctx, func(tx *db.Tx) error {
		out, err := operation.OutcomeOf(tx, s.ApprovedBy)
		if errors.Is(err, db.ErrNotFound) {
			return bad
		}
		if err != nil {
			return err
		}
		if out.MerchantID != s.MerchantID || out.UserID != s.UserID || !out.Approved() || out.Kind != operation.KindAuthentication ||
			operation.Rank(out.ACR) < operation.Rank(operation.ACRWeb) || out.At.Before(tx.Now().Add(-approvalFresh)) {
			return bad
		}
		dev, err := tx.LockDevice(out.DeviceID)
		if err != nil {
			return err
		}
		if !identity.MayAnswer(&dev, tx.Now()) {
			return bad
		}
		if withdrawn, err := tx.ClientWithdrawn(out.ClientID, out.At); err != nil {
			return err
		} else if withdrawn {
			return bad
		}
		err = tx.Redeem(furtherKind, s.ApprovedBy, s.ID, out.At.Add(approvalFresh))
		if errors.Is(err, db.ErrConflict) {
			// The same request sent again is the same use.
			if by, err := tx.RedeemedGrant(furtherKind, s.ApprovedBy); err != nil || by != s.ID {
				return errors.Join(bad, err)
			}
			return nil
		}
		return err
	})
}

// admit is the last look before a device becomes its user's, with the user's row
// locked: why it may not ("": it may). Another device may have come meanwhile.
func (r *Registrations) admit(tx *db.Tx, t *ticket, user *db.User, dev *db.Device) (why string, err error) {
	if user.State != db.UserActive {
		return userGone, nil
	}
	if withdrawn, err := t.withdrawn(tx); err != nil {
		return "", err
	} else if withdrawn {
		return clientDisabled, nil
	}
	have, err := others(tx, user.ID, dev.ID)
	if err != nil {
		return "", err
	}
	if len(have) > 0 && !t.Further {
		return "the user got a device meanwhile; a further one needs its approval", nil
	}
	if t.Proofing.Reference != "" && t.Proofing != user.Proofing {
		u := *user
		u.Proofing = t.Proofing
		err = errors.Join(tx.ChangeUser(u), r.Audit.Append(tx, audit.Record{Act: "user.proofed", Merchant: u.MerchantID, User: u.ID, Device: dev.ID, Operation: t.ID}))
	}
	if err == nil && len(have) > 0 {
		err = callback.Happened(tx, db.Event{MerchantID: t.MerchantID, Type: callback.DeviceAdded, UserID: t.UserID, DeviceID: dev.ID, OperationID: t.ID,
			Data: map[string]string{"beside": strings.Join(have, " "), "name": dev.Name}})
	}
	return "", err
}
