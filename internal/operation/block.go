package operation

import (
	"time"

	"mobileid/internal/callback"
	"mobileid/internal/db"
)

// blockOthers blocks the other devices of the user, whose App's failure limit is
// for the user as a whole.
func (e *Engine) blockOthers(tx *db.Tx, dev *db.Device, until time.Time) error {
	all, err := tx.DevicesOf(dev.UserID)
	if err != nil {
		return err
	}
	for _, d := range all {
		if d.ID == dev.ID || d.State != db.DeviceActive {
			continue
		}
		if err := tx.BlockDevice(d.ID, until); err != nil {
			return err
		}
		if err := callback.DeviceMoved(tx, &d, db.DeviceBlocked, "too many failed attempts with another device"); err != nil {
			return err
		}
	}
	return nil
}
