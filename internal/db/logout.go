package db

// SessionGrants lists, for each client and user once, who holds a grant of the
// session.
func (tx *Tx) SessionGrants(sid string) ([]Grant, error) {
	var out []Grant
	err := tx.rows(`SELECT DISTINCT client_id, user_id, merchant_id FROM grants WHERE sid = $1 AND sid <> '' ORDER BY client_id`, []any{sid},
		func(scan func(...any) error) error {
			g := Grant{SID: sid}
			err := scan(&g.ClientID, &g.UserID, &g.MerchantID)
			out = append(out, g)
			return err
		})
	return out, err
}

// EndSessionGrants ends the grants of the session, but for those that were given
// for offline access.
func (tx *Tx) EndSessionGrants(sid string) error {
	_, err := tx.exec(`UPDATE grants SET revoked_at = $2 WHERE sid = $1 AND sid <> '' AND offline = 0 AND revoked_at = 0`, sid, millis(tx.Now()))
	return err
}
