package db

// PushAddress is where a device is woken.
type PushAddress struct {
	DeviceID, UserID string
	Hash             string // SHA-256 of the address, base64url: no two devices have the same
	Sealed           []byte // the address and what is sent there is encrypted with

	Policy App // of the device's App, id and policy only; read, not written
}

// SetPushAddress gives the device its address in place of any other, and takes it
// from the device that had it.
func (tx *Tx) SetPushAddress(a PushAddress) error {
	if err := tx.Alone("push " + a.Hash); err != nil {
		return err
	}
	if _, err := tx.exec(`DELETE FROM push_addresses WHERE address_hash = $1 OR device_id = $2`, a.Hash, a.DeviceID); err != nil {
		return err
	}
	_, err := tx.exec(`INSERT INTO push_addresses (device_id, user_id, address_hash, sealed, created_at) VALUES ($1, $2, $3, $4, $5)`,
		a.DeviceID, a.UserID, a.Hash, a.Sealed, millis(tx.Now()))
	return err
}

// DropPushAddress removes the device's address; with a hash, only that one.
func (tx *Tx) DropPushAddress(deviceID, hash string) error {
	_, err := tx.exec(`DELETE FROM push_addresses WHERE device_id = $1 AND ($2 = '' OR address_hash = $2)`, deviceID, hash)
	return err
}

// PushAddresses lists up to most addresses of the user's ACTIVE devices, or of the
// one device that is named.
func (tx *Tx) PushAddresses(userID, deviceID string, most int) ([]PushAddress, error) {
	var out []PushAddress
	err := tx.rows(`SELECT p.device_id, p.user_id, p.address_hash, p.sealed, a.id, a.policy FROM push_addresses p
		JOIN devices d ON d.id = p.device_id JOIN apps a ON a.id = d.app_id
		WHERE p.user_id = $1 AND ($2 = '' OR p.device_id = $2) AND d.state = 'ACTIVE' ORDER BY p.created_at DESC, p.device_id LIMIT $3`,
		[]any{userID, deviceID, most}, func(scan func(...any) error) error {
			var p PushAddress
			var policy string
			err := scan(&p.DeviceID, &p.UserID, &p.Hash, &p.Sealed, &p.Policy.ID, &policy)
			p.Policy.Policy = []byte(policy)
			out = append(out, p)
			return err
		})
	return out, err
}

// IsDecided reports whether the operation is decided.
func (tx *Tx) IsDecided(operationID string) (bool, error) {
	var n int64
	err := tx.row(`SELECT count(*) FROM decisions WHERE operation_id = $1`, []any{operationID}, &n)
	return n > 0, err
}
