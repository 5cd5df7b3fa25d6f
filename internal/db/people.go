package db

import (
	"encoding/json"
	"time"
)

// Merchant owns users, devices, apps and clients.
type Merchant struct {
	ID, Name  string
	CreatedAt time.Time
}

// App is a merchant's application configuration.
type App struct {
	ID, MerchantID, Name string
	Policy               json.RawMessage // identity.Policy
	Version              int64           // counts changes, from 1
	CreatedAt            time.Time
}

// User states (names.md: UPPER_CASE on the wire, never translated).
const (
	UserActive      = "ACTIVE"
	UserLocked      = "LOCKED"
	UserDeactivated = "DEACTIVATED"
)

// Proofing is where the proofing of a person can be looked up.
type Proofing struct {
	Reference string `json:"reference"`
	Method    string `json:"method,omitempty"`
}

// User is a person in a merchant's identity store.
type User struct {
	ID, MerchantID, ExternalRef, State string
	Attributes                         map[string]string
	Proofing                           Proofing // zero: none
	Version                            int64    // counts changes, from 1
	FailDay, FailCount                 int64    // failures of knowledge on that day (Unix days, UTC), over all devices
	ValidAfter                         time.Time
	CreatedAt                          time.Time
}

// InsertMerchant adds m; ErrConflict if the id is taken.
func (tx *Tx) InsertMerchant(m Merchant) error {
	return tx.insert(`INSERT INTO merchants (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
		m.ID, m.Name, millis(m.CreatedAt))
}

// Merchant returns the merchant with id.
func (tx *Tx) Merchant(id string) (Merchant, error) {
	m := Merchant{ID: id}
	var at int64
	err := tx.row(`SELECT name, created_at FROM merchants WHERE id = $1`, []any{id}, &m.Name, &at)
	m.CreatedAt = fromMillis(at)
	return m, err
}

// Merchants lists every merchant, oldest first.
func (tx *Tx) Merchants() ([]Merchant, error) {
	var out []Merchant
	err := tx.rows(`SELECT id, name, created_at FROM merchants ORDER BY created_at, id`, nil, func(scan func(...any) error) error {
		var m Merchant
		var at int64
		err := scan(&m.ID, &m.Name, &at)
		m.CreatedAt = fromMillis(at)
		out = append(out, m)
		return err
	})
	return out, err
}

// InsertApp adds a.
func (tx *Tx) InsertApp(a App) error {
	return tx.insert(`INSERT INTO apps (id, merchant_id, name, policy, created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
		a.ID, a.MerchantID, a.Name, string(a.Policy), millis(a.CreatedAt))
}

const appColumns = `SELECT id, merchant_id, name, policy, version, created_at FROM apps `

func scanApp(scan func(...any) error) (a App, err error) {
	var at int64
	var policy string
	err = scan(&a.ID, &a.MerchantID, &a.Name, &policy, &a.Version, &at)
	a.Policy, a.CreatedAt = json.RawMessage(policy), fromMillis(at)
	return a, err
}

// ChangeApp stores name and policy of an app that is at a.Version, which it moves
// on; ErrConflict if it is elsewhere.
func (tx *Tx) ChangeApp(a App) error {
	return tx.insert(`UPDATE apps SET name = $3, policy = $4, version = version + 1 WHERE id = $1 AND version = $2`, a.ID, a.Version, a.Name, string(a.Policy))
}

// App returns the app with id.
func (tx *Tx) App(id string) (App, error) {
	return scanApp(func(into ...any) error { return tx.row(appColumns+`WHERE id = $1`, []any{id}, into...) })
}

// AppsOf lists the merchant's apps, oldest first.
func (tx *Tx) AppsOf(merchantID string) ([]App, error) {
	var out []App
	err := tx.rows(appColumns+`WHERE merchant_id = $1 ORDER BY created_at, id`, []any{merchantID}, func(scan func(...any) error) error {
		a, err := scanApp(scan)
		out = append(out, a)
		return err
	})
	return out, err
}

// AppHardware is an App, and whether it has an ACTIVE device with an attested key.
type AppHardware struct {
	App
	Attested bool
}

// AppsByHardware lists every App of every merchant.
func (tx *Tx) AppsByHardware() ([]AppHardware, error) {
	var out []AppHardware
	err := tx.rows(`SELECT a.id, a.policy, EXISTS (SELECT 1 FROM devices d WHERE d.app_id = a.id AND d.pos = 'hwk-att' AND d.state = 'ACTIVE') FROM apps a`,
		nil, func(scan func(...any) error) error {
			var a AppHardware
			var policy string
			err := scan(&a.ID, &policy, &a.Attested)
			a.Policy = json.RawMessage(policy)
			out = append(out, a)
			return err
		})
	return out, err
}

// InsertUser adds u; ErrConflict if the id or the merchant's external reference is taken.
func (tx *Tx) InsertUser(u User) error {
	attrs, err := toJSON(u.Attributes)
	if err != nil {
		return err
	}
	proofing, err := proofingText(u.Proofing)
	if err != nil {
		return err
	}
	return tx.insert(`INSERT INTO users (id, merchant_id, external_ref, state, attributes, proofing, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
		u.ID, u.MerchantID, u.ExternalRef, u.State, attrs, proofing, millis(u.CreatedAt))
}

func proofingText(p Proofing) (string, error) {
	if p == (Proofing{}) {
		return "", nil
	}
	return toJSON(p)
}

// A deactivated user's reference is free: its row has one that nobody can ask for.
const userColumns = `SELECT id, merchant_id, CASE WHEN former_ref = '' THEN external_ref ELSE former_ref END, state, attributes, proofing, version,
	fail_day, fail_count, valid_after, created_at FROM users `

func scanUser(scan func(...any) error) (u User, err error) {
	var attrs, proofing string
	var after, at int64
	err = scan(&u.ID, &u.MerchantID, &u.ExternalRef, &u.State, &attrs, &proofing, &u.Version, &u.FailDay, &u.FailCount, &after, &at)
	if err != nil {
		return u, err
	}
	u.ValidAfter, u.CreatedAt = fromMillis(after), fromMillis(at)
	if proofing != "" {
		if err := json.Unmarshal([]byte(proofing), &u.Proofing); err != nil {
			return u, err
		}
	}
	return u, json.Unmarshal([]byte(attrs), &u.Attributes)
}

func (tx *Tx) user(where string, args ...any) (User, error) {
	return scanUser(func(into ...any) error { return tx.row(userColumns+where, args, into...) })
}

// User returns the user with id, in Update with its row locked: its state stays
// what it is until the commit.
func (tx *Tx) User(id string) (User, error) { return tx.user(`WHERE id = $1`+tx.forUpdate(), id) }

// UserByRef returns the merchant's user with exactly that external reference.
// Whoever was deactivated has none.
func (tx *Tx) UserByRef(merchantID, ref string) (User, error) {
	return tx.user(`WHERE merchant_id = $1 AND external_ref = $2`, merchantID, ref)
}

// ChangeUser stores attributes and proofing of a user that is at u.Version, which
// it moves on; ErrConflict if it is elsewhere or was deactivated.
func (tx *Tx) ChangeUser(u User) error {
	attrs, err := toJSON(u.Attributes)
	if err != nil {
		return err
	}
	proofing, err := proofingText(u.Proofing)
	if err != nil {
		return err
	}
	return tx.insert(`UPDATE users SET attributes = $3, proofing = $4, version = version + 1 WHERE id = $1 AND version = $2 AND state <> 'DEACTIVATED'`,
		u.ID, u.Version, attrs, proofing)
}

// SetUserState moves the user to state and, when it is not ACTIVE, withdraws
// everything issued before now. DEACTIVATED is final and frees the external
// reference.
func (tx *Tx) SetUserState(id, state string) error {
	if err := tx.hold("users", id); err != nil {
		return err
	}
	after := int64(0)
	if state != UserActive {
		after = millis(tx.Now())
	}
	if state == UserDeactivated {
		// U+001F stands in no reference.
		return tx.must(`UPDATE users SET state = $2, valid_after = CASE WHEN $3 > valid_after THEN $3 ELSE valid_after END, version = version + 1,
			former_ref = CASE WHEN former_ref = '' THEN external_ref ELSE former_ref END, external_ref = $4 WHERE id = $1`, id, state, after, "\x1f"+id)
	}
	return tx.must(`UPDATE users SET state = $2, valid_after = CASE WHEN $3 > valid_after THEN $3 ELSE valid_after END, version = version + 1
		WHERE id = $1 AND state <> 'DEACTIVATED'`, id, state, after)
}

// CountUserFailure adds one failed knowledge proof to the user's day and
// returns the day's count.
func (tx *Tx) CountUserFailure(id string) (int64, error) {
	day := tx.Now().Unix() / 86400
	var n int64
	err := tx.row(`UPDATE users SET fail_count = CASE WHEN fail_day = $2 THEN fail_count + 1 ELSE 1 END, fail_day = $2 WHERE id = $1 RETURNING fail_count`,
		[]any{id, day}, &n)
	return n, err
}
