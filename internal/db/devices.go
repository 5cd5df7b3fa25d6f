package db

import "time"

// Device states.
const (
	DevicePending     = "PENDING"
	DeviceActive      = "ACTIVE"
	DeviceLocked      = "LOCKED"    // by an admin
	DeviceBlocked     = "BLOCKED"   // by the failure counter, until BlockedUntil
	DeviceSuspended   = "SUSPENDED" // by a fork: someone runs a copy
	DeviceDeactivated = "DEACTIVATED"
)

// Device is one phone bound to one user, with the head of its message chain.
// Hashes are SHA-256; nothing here lets a reader of the database act as the phone.
type Device struct {
	ID, MerchantID, UserID, AppID string
	OperationID                   string // the registration that made it
	State, Name, Platform         string
	DSK                           string // public JWK, JSON
	DSKThumb                      string // base64url of the RFC 7638 thumbprint
	Commitment                    []byte // fc and ns of its registration
	KK                            []byte // knowledge key, sealed; nil until reg.finish
	DBK                           string // biometric key, public JWK, JSON; "": none
	Inh                           string // what DBK is worth: bio | bio-app | bio-att; "": there is none
	Pos                           string // swk | hwk | hwk-att
	Attestation                   string // what came of it, JSON; "": none was asked for
	Enrol                         string // qr | code
	Epoch                         int64
	Failures, MaxFailures         int64
	BlockedUntil                  time.Time
	HandleSalt                    []byte // secret of this device's pairwise handles
	Chain                         Chain
	ValidAfter                    time.Time
	CreatedAt, ActivatedAt        time.Time
}

// Chain is the state of a device's message chain (docs/protocol.md, "The head").
type Chain struct {
	Head, SpentHead  []byte    // hash of the current and of the spent head
	Seq              int64     // number of the current head
	IssuedAt         time.Time // of the current head: when the one before was spent
	AbandonedJTI     string    // declared not seen by dev.sync: stale if it still arrives
	LastJTI          string    // of the request that spent SpentHead
	LastJWE, LastJWS []byte    // its hashes
	LastResult       []byte    // what it did, sealed again for dev.sync
	LastReply        []byte    // the sealed reply, byte for byte
}

// InsertDevice adds d; ErrConflict if the id or the signing key is known.
func (tx *Tx) InsertDevice(d Device) error {
	c := d.Chain
	return tx.insert(`INSERT INTO devices (id, merchant_id, user_id, app_id, operation_id, state, name, platform, dsk, dsk_thumb, commitment, pos, attestation, enrol, epoch,
		max_failures, handle_salt, head, head_seq, head_at, spent_head, last_jti, last_jwe, last_jws, last_result, last_reply, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27) ON CONFLICT DO NOTHING`,
		d.ID, d.MerchantID, d.UserID, d.AppID, d.OperationID, d.State, d.Name, d.Platform, d.DSK, d.DSKThumb, d.Commitment, d.Pos, d.Attestation, d.Enrol, d.Epoch,
		d.MaxFailures, d.HandleSalt, c.Head, c.Seq, millis(c.IssuedAt), c.SpentHead, c.LastJTI, c.LastJWE, c.LastJWS, c.LastResult, c.LastReply, millis(d.CreatedAt))
}

const deviceColumns = `SELECT id, merchant_id, user_id, app_id, operation_id, state, name, platform, dsk, dsk_thumb, commitment, kk, dbk, inh, pos, attestation, enrol, epoch,
	failures, max_failures, blocked_until, handle_salt, head, head_seq, head_at, spent_head, abandoned_jti, last_jti, last_jwe, last_jws, last_result, last_reply,
	valid_after, created_at, activated_at FROM devices `

func scanDevice(scan func(...any) error) (d Device, err error) {
	var until, after, created, activated, issued int64
	c := &d.Chain
	err = scan(&d.ID, &d.MerchantID, &d.UserID, &d.AppID, &d.OperationID, &d.State, &d.Name, &d.Platform, &d.DSK, &d.DSKThumb, &d.Commitment, &d.KK, &d.DBK, &d.Inh, &d.Pos, &d.Attestation, &d.Enrol, &d.Epoch,
		&d.Failures, &d.MaxFailures, &until, &d.HandleSalt, &c.Head, &c.Seq, &issued, &c.SpentHead, &c.AbandonedJTI, &c.LastJTI, &c.LastJWE, &c.LastJWS, &c.LastResult, &c.LastReply,
		&after, &created, &activated)
	c.IssuedAt = fromMillis(issued)
	d.BlockedUntil, d.ValidAfter = fromMillis(until), fromMillis(after)
	d.CreatedAt, d.ActivatedAt = fromMillis(created), fromMillis(activated)
	return d, err
}

func (tx *Tx) device(where string, args ...any) (Device, error) {
	return scanDevice(func(into ...any) error { return tx.row(deviceColumns+where, args, into...) })
}

// Device returns the device with id; LockDevice is for deciding on what it says.
func (tx *Tx) Device(id string) (Device, error) { return tx.device(`WHERE id = $1`, id) }

// LockDevice is Device with its row locked until the transaction ends.
func (tx *Tx) LockDevice(id string) (Device, error) {
	return tx.device(`WHERE id = $1`+tx.forUpdate(), id)
}

// DeviceByKey returns the device whose signing key has the thumbprint.
func (tx *Tx) DeviceByKey(thumb string) (Device, error) {
	return tx.device(`WHERE dsk_thumb = $1`, thumb)
}

// KeyServes reports whether any device has the key, a public JWK with its thumbprint,
// for signing or for biometry.
func (tx *Tx) KeyServes(jwk, thumb string) (bool, error) {
	var id string
	err := tx.row(`SELECT id FROM devices WHERE dsk_thumb = $1 UNION ALL SELECT id FROM devices WHERE dbk = $2 AND dbk <> '' LIMIT 1`, []any{thumb, jwk}, &id)
	if err == ErrNotFound {
		return false, nil
	}
	return err == nil, err
}

// DeviceByJWE returns the device whose last state-changing request had the hash.
func (tx *Tx) DeviceByJWE(hash []byte) (Device, error) {
	return tx.device(`WHERE last_jwe = $1`, hash)
}

// DeviceOfRegistration returns the device that a registration made, in Update
// with its row locked.
func (tx *Tx) DeviceOfRegistration(operationID string) (Device, error) {
	return tx.device(`WHERE operation_id = $1`+tx.forUpdate(), operationID)
}

// StaleRegistrations lists up to most registrations whose device is PENDING
// since before the time given.
func (tx *Tx) StaleRegistrations(before time.Time, most int) ([]Device, error) {
	var out []Device
	err := tx.rows(deviceColumns+`WHERE state = 'PENDING' AND created_at < $1 ORDER BY created_at LIMIT $2`, []any{millis(before), most}, func(scan func(...any) error) error {
		d, err := scanDevice(scan)
		out = append(out, d)
		return err
	})
	return out, err
}

// DevicesOf lists the user's devices, oldest first.
func (tx *Tx) DevicesOf(userID string) ([]Device, error) {
	var out []Device
	err := tx.rows(deviceColumns+`WHERE user_id = $1 ORDER BY created_at, id`, []any{userID}, func(scan func(...any) error) error {
		d, err := scanDevice(scan)
		out = append(out, d)
		return err
	})
	return out, err
}

// SetChain stores the message chain of a device that this transaction has locked
// or made.
func (tx *Tx) SetChain(id string, c Chain) error {
	return tx.later(`UPDATE devices SET head = $2, spent_head = $3, abandoned_jti = $4, last_jti = $5, last_jwe = $6, last_jws = $7, last_result = $8, last_reply = $9, head_seq = $10, head_at = $11 WHERE id = $1`,
		id, c.Head, c.SpentHead, c.AbandonedJTI, c.LastJTI, c.LastJWE, c.LastJWS, c.LastResult, c.LastReply, c.Seq, millis(c.IssuedAt))
}

// SetKnowledge stores the sealed knowledge key of a device that is PENDING and
// has none; else ErrNotFound.
func (tx *Tx) SetKnowledge(id string, sealed []byte) error {
	return tx.must(`UPDATE devices SET kk = $2 WHERE id = $1 AND state = 'PENDING' AND kk IS NULL`, id, sealed)
}

// ReplaceKnowledge stores another sealed knowledge key of an ACTIVE device; else
// ErrNotFound.
func (tx *Tx) ReplaceKnowledge(id string, sealed []byte) error {
	return tx.must(`UPDATE devices SET kk = $2 WHERE id = $1 AND state = 'ACTIVE' AND kk IS NOT NULL`, id, sealed)
}

// RotateDevice gives an ACTIVE device another signing key, which no attestation
// speaks for, and another sealed knowledge key; else ErrNotFound.
func (tx *Tx) RotateDevice(id, dsk, thumb string, sealed []byte) error {
	return tx.must(`UPDATE devices SET dsk = $2, dsk_thumb = $3, kk = $4, pos = 'swk' WHERE id = $1 AND state = 'ACTIVE' AND kk IS NOT NULL`, id, dsk, thumb, sealed)
}

// SetBiometry gives an ACTIVE device another biometric key, or none ("" and "").
// ErrNotFound if it is not ACTIVE. That no device has the key, the caller has seen
// (KeyServes).
func (tx *Tx) SetBiometry(id, dbk, inh string) error {
	return tx.must(`UPDATE devices SET dbk = $2, inh = $3 WHERE id = $1 AND state = 'ACTIVE'`, id, dbk, inh)
}

// ActivateDevice moves a PENDING device with a knowledge key to ACTIVE;
// ErrNotFound if it is anything else.
func (tx *Tx) ActivateDevice(id string) error {
	return tx.must(`UPDATE devices SET state = 'ACTIVE', activated_at = $2 WHERE id = $1 AND state = 'PENDING' AND kk IS NOT NULL`, id, millis(tx.Now()))
}

// SetDeviceState moves the device and, when it is not ACTIVE, withdraws what
// was issued through it before now. DEACTIVATED also wipes its keys.
func (tx *Tx) SetDeviceState(id, state string) error {
	if err := tx.hold("devices", id); err != nil {
		return err
	}
	if state == DeviceActive { // by an admin, who also forgives what was counted
		return tx.must(`UPDATE devices SET state = $2, failures = 0, blocked_until = 0 WHERE id = $1 AND state <> 'DEACTIVATED'`, id, state)
	}
	if state == DeviceDeactivated {
		if err := tx.DropPushAddress(id, ""); err != nil {
			return err
		}
		return tx.must(`UPDATE devices SET state = $2, valid_after = $3, kk = NULL, dbk = '', inh = '' WHERE id = $1`, id, state, millis(tx.Now()))
	}
	return tx.must(`UPDATE devices SET state = $2, valid_after = $3 WHERE id = $1 AND state <> 'DEACTIVATED'`, id, state, millis(tx.Now()))
}

// NameDevice gives the device another name, for people.
func (tx *Tx) NameDevice(id, name string) error {
	return tx.must(`UPDATE devices SET name = $2 WHERE id = $1`, id, name)
}

// CountFailure adds one failed proof and returns the count; ErrConflict when
// the device is at its limit already.
func (tx *Tx) CountFailure(id string) (int64, error) {
	var n int64
	err := tx.row(`UPDATE devices SET failures = failures + 1 WHERE id = $1 AND failures < max_failures RETURNING failures`, []any{id}, &n)
	if err == ErrNotFound {
		err = ErrConflict
	}
	return n, err
}

// ClearFailures resets the counter: only a proven knowledge factor may.
func (tx *Tx) ClearFailures(id string) error {
	return tx.must(`UPDATE devices SET failures = 0 WHERE id = $1`, id)
}

// BlockDevice blocks an ACTIVE device by its counter until the time given.
func (tx *Tx) BlockDevice(id string, until time.Time) error {
	return tx.must(`UPDATE devices SET state = 'BLOCKED', blocked_until = $2 WHERE id = $1 AND state = 'ACTIVE'`, id, millis(until))
}

// UnblockDevice ends a block whose time is over; the counter starts again.
func (tx *Tx) UnblockDevice(id string) error {
	return tx.must(`UPDATE devices SET state = 'ACTIVE', failures = 0, blocked_until = 0 WHERE id = $1 AND state = 'BLOCKED' AND blocked_until <= $2`, id, millis(tx.Now()))
}
