package db

import "time"

// Grant is what one login or backchannel request gave a client; all its tokens
// die with it.
type Grant struct {
	ID, MerchantID, ClientID, UserID, DeviceID, OperationID, SID string
	Offline                                                      bool // outlives the logout of its session
	CreatedAt, RevokedAt                                         time.Time
}

// Family is the line of refresh tokens of one grant: only the newest
// generation is good (RFC 9700 section 4.14.2).
type Family struct {
	ID, GrantID, ClientID string
	Generation            int64
	RotatedAt, ExpiresAt  time.Time
	Record                []byte // the session, as provider encodes it
}

// Redeem marks a single use as done, for ever as far as its holder can tell;
// ErrConflict if it was used before. exp is when the value would have died
// anyway: its row may go an hour later.
func (tx *Tx) Redeem(kind, hash, grantID string, exp time.Time) error {
	tx.lock("") // it may wait for another who redeems it
	return tx.insert(`INSERT INTO redeemed (kind, hash, grant_id, exp) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`, kind, hash, grantID, millis(exp))
}

// RedeemedGrant returns the grant ("" if none came of it) that a used value gave.
func (tx *Tx) RedeemedGrant(kind, hash string) (grantID string, err error) {
	err = tx.row(`SELECT grant_id FROM redeemed WHERE kind = $1 AND hash = $2`, []any{kind, hash}, &grantID)
	return grantID, err
}

// Revoke withdraws a value (a session id, a token) until exp, when it would die anyway.
func (tx *Tx) Revoke(kind, hash string, exp time.Time) error {
	_, err := tx.exec(`INSERT INTO revoked (kind, hash, exp) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, kind, hash, millis(exp))
	return err
}

// IsRevoked reports whether Revoke was called for the value.
func (tx *Tx) IsRevoked(kind, hash string) (bool, error) {
	var one int
	err := tx.row(`SELECT 1 FROM revoked WHERE kind = $1 AND hash = $2`, []any{kind, hash}, &one)
	if err == ErrNotFound {
		return false, nil
	}
	return err == nil, err
}

// InsertGrant adds g, whose id is new.
func (tx *Tx) InsertGrant(g Grant) error {
	offline := 0
	if g.Offline {
		offline = 1
	}
	return tx.later(`INSERT INTO grants (id, merchant_id, client_id, user_id, device_id, operation_id, sid, offline, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		g.ID, g.MerchantID, g.ClientID, g.UserID, g.DeviceID, g.OperationID, g.SID, offline, millis(g.CreatedAt))
}

// RevokeGrant ends the grant and, with it, its refresh tokens and access tokens.
func (tx *Tx) RevokeGrant(id string) error {
	_, err := tx.exec(`UPDATE grants SET revoked_at = $2 WHERE id = $1 AND revoked_at = 0`, id, millis(tx.Now()))
	return err
}

// GrantOperation returns the operation by which a grant came about.
func (tx *Tx) GrantOperation(id string) (operationID string, err error) {
	err = tx.row(`SELECT operation_id FROM grants WHERE id = $1`, []any{id}, &operationID)
	return operationID, err
}

// GrantLive reports whether what was issued at issued under the grant still
// stands: grant not revoked, client enabled, user and device ACTIVE (a device
// may be BLOCKED: that is about new answers), none of them withdrew what is
// older, and the client was not disabled since it got the grant. A grant without a user (client_credentials) has no row; ask
// ClientVersion instead. ErrNotFound if there is no such grant. In Update nothing
// of this changes until the commit, and who else uses the grant waits for it.
func (tx *Tx) GrantLive(id string, issued time.Time) (bool, error) {
	var live bool
	err := tx.row(`SELECT g.revoked_at = 0 AND c.disabled_at = 0 AND c.valid_after <= g.created_at
		AND u.state = 'ACTIVE' AND u.valid_after <= $2
		AND d.state IN ('ACTIVE', 'BLOCKED') AND d.valid_after <= $2
		FROM grants g JOIN devices d ON d.id = g.device_id JOIN users u ON u.id = g.user_id JOIN clients c ON c.id = g.client_id
		WHERE g.id = $1`+of(tx.forUpdate(), "g")+of(tx.forShare(), "d, u, c"), []any{id, millis(issued)}, &live)
	return live, err
}

// MayIssue reports, inside the issuing transaction, whether tokens may be made
// now: client enabled, user ACTIVE, device neither removed nor suspended nor
// locked, nothing withdrawn since the login at authTime (I7), and the client not
// disabled since it was given, at given, what it redeems. None of it changes until
// the commit.
func (tx *Tx) MayIssue(clientID, userID, deviceID string, authTime, given time.Time) (bool, error) {
	var ok bool
	err := tx.row(`SELECT c.disabled_at = 0 AND c.valid_after <= $5 AND u.state = 'ACTIVE' AND u.valid_after <= $4 AND d.state IN ('ACTIVE', 'BLOCKED') AND d.valid_after <= $4 AND d.user_id = u.id AND u.merchant_id = c.merchant_id
		FROM devices d, users u, clients c WHERE c.id = $1 AND u.id = $2 AND d.id = $3`+tx.forShare(), []any{clientID, userID, deviceID, millis(authTime), millis(given)}, &ok)
	if err == ErrNotFound {
		return false, nil
	}
	return ok, err
}

// InsertFamily adds f, whose id is new.
func (tx *Tx) InsertFamily(f Family) error {
	return tx.later(`INSERT INTO refresh_families (id, grant_id, client_id, generation, rotated_at, expires_at, record) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		f.ID, f.GrantID, f.ClientID, f.Generation, millis(f.RotatedAt), millis(f.ExpiresAt), f.Record)
}

// Family returns the family with id.
func (tx *Tx) Family(id string) (Family, error) {
	f := Family{ID: id}
	var rotated, expires int64
	err := tx.row(`SELECT grant_id, client_id, generation, rotated_at, expires_at, record FROM refresh_families WHERE id = $1`, []any{id},
		&f.GrantID, &f.ClientID, &f.Generation, &rotated, &expires, &f.Record)
	f.RotatedAt, f.ExpiresAt = fromMillis(rotated), fromMillis(expires)
	return f, err
}

// RotateFamily moves the family from generation to the next and extends its
// life; ErrConflict if it is elsewhere already.
func (tx *Tx) RotateFamily(id string, generation int64, expires time.Time) error {
	return tx.insert(`UPDATE refresh_families SET generation = generation + 1, rotated_at = $3, expires_at = $4 WHERE id = $1 AND generation = $2`,
		id, generation, millis(tx.Now()), millis(expires))
}

// Sweep deletes rows whose time has been over for an hour, a bounded number at
// a time, and returns how many went.
func (tx *Tx) Sweep(most int) (int64, error) {
	before := millis(tx.Now().Add(-time.Hour))
	var total int64
	for _, q := range []string{
		`DELETE FROM redeemed WHERE (kind, hash) IN (SELECT kind, hash FROM redeemed WHERE exp < $1 LIMIT $2` + tx.skipLocked() + `)`,
		`DELETE FROM revoked WHERE (kind, hash) IN (SELECT kind, hash FROM revoked WHERE exp < $1 LIMIT $2` + tx.skipLocked() + `)`,
		`DELETE FROM operation_attempts WHERE operation_id IN (SELECT operation_id FROM operation_attempts WHERE exp < $1 LIMIT $2` + tx.skipLocked() + `)`,
		`DELETE FROM idempotency WHERE (client_id, name) IN (SELECT client_id, name FROM idempotency WHERE exp < $1 LIMIT $2` + tx.skipLocked() + `)`,
		`DELETE FROM operation_claims WHERE operation_id IN (SELECT operation_id FROM operation_claims WHERE exp < $1 LIMIT $2` + tx.skipLocked() + `)`,
	} {
		n, err := tx.exec(q, before, most)
		total += n
		if err != nil {
			return total, err
		}
	}
	// A connection that has been idle for an hour makes its row again.
	_, err := tx.exec(`DELETE FROM writers WHERE id IN (SELECT id FROM writers WHERE at < $1 LIMIT $2`+tx.skipLocked()+`)`, before, most)
	return total, err
}
