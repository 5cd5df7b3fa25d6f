package db

// InsertEvidence keeps the proof of a signature, in the transaction that decides it.
func (tx *Tx) InsertEvidence(operationID, merchantID, token string) error {
	return tx.later(`INSERT INTO evidence (operation_id, merchant_id, token, at) VALUES ($1, $2, $3, $4)`, operationID, merchantID, token, millis(tx.Now()))
}

// Evidence returns the proof of the merchant's signature and the time stamp over it,
// nil while it has none; ErrNotFound if there is no such proof.
func (tx *Tx) Evidence(merchantID, operationID string) (token string, stamp []byte, err error) {
	err = tx.row(`SELECT token, stamp FROM evidence WHERE operation_id = $1 AND merchant_id = $2`, []any{operationID, merchantID}, &token, &stamp)
	return token, stamp, err
}

// StampEvidence keeps the first time stamp over the proof.
func (tx *Tx) StampEvidence(operationID string, stamp []byte) error {
	_, err := tx.exec(`UPDATE evidence SET stamp = $2 WHERE operation_id = $1 AND stamp IS NULL`, operationID, stamp)
	return err
}

// InsertEnrolment notes the audit record of a device's enrolment.
func (tx *Tx) InsertEnrolment(deviceID, writer string, seq int64) error {
	return tx.later(`INSERT INTO enrolments (device_id, writer, seq) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, deviceID, writer, seq)
}

// Enrolment returns what InsertEnrolment noted; ErrNotFound for a device that is older.
func (tx *Tx) Enrolment(deviceID string) (writer string, seq int64, err error) {
	err = tx.row(`SELECT writer, seq FROM enrolments WHERE device_id = $1`, []any{deviceID}, &writer, &seq)
	return writer, seq, err
}
