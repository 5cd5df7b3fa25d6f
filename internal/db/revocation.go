package db

// EndGrant is RevokeGrant that tells whose grant it ended, for the record;
// ErrNotFound if there is none or it had ended before.
func (tx *Tx) EndGrant(id string) (Grant, error) {
	g := Grant{ID: id, RevokedAt: tx.Now()}
	var created int64
	err := tx.row(`UPDATE grants SET revoked_at = $2 WHERE id = $1 AND revoked_at = 0
		RETURNING merchant_id, client_id, user_id, device_id, operation_id, sid, created_at`, []any{id, millis(tx.Now())},
		&g.MerchantID, &g.ClientID, &g.UserID, &g.DeviceID, &g.OperationID, &g.SID, &created)
	g.CreatedAt = fromMillis(created)
	return g, err
}
