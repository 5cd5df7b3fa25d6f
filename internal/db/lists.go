package db

import (
	"encoding/json"
	"math"
	"time"
)

// After is a place in a list that is ordered by time and id.
type After struct {
	At int64 // Unix ms
	ID string
}

// Newest is before the first of a list whose newest come first.
func Newest() After { return After{At: math.MaxInt64} }

// Users lists up to most of the merchant's users behind a place, newest first:
// those in state and with search in their reference; "" is any.
func (tx *Tx) Users(merchantID, state, search string, after After, most int) ([]User, error) {
	var out []User
	// replace() tells whether one text holds another in both engines.
	err := tx.rows(userColumns+`WHERE merchant_id = $1 AND (created_at, id) < ($2, $3) AND ($4 = '' OR state = $4)
		AND ($5 = '' OR replace(CASE WHEN former_ref = '' THEN external_ref ELSE former_ref END, $5, '') <> CASE WHEN former_ref = '' THEN external_ref ELSE former_ref END)
		ORDER BY created_at DESC, id DESC LIMIT $6`, []any{merchantID, after.At, after.ID, state, search, most}, func(scan func(...any) error) error {
		u, err := scanUser(scan)
		out = append(out, u)
		return err
	})
	return out, err
}

// Devices lists up to most of the merchant's devices behind a place, newest
// first: those in state; "" is any.
func (tx *Tx) Devices(merchantID, state string, after After, most int) ([]Device, error) {
	var out []Device
	err := tx.rows(deviceColumns+`WHERE merchant_id = $1 AND (created_at, id) < ($2, $3) AND ($4 = '' OR state = $4) ORDER BY created_at DESC, id DESC LIMIT $5`,
		[]any{merchantID, after.At, after.ID, state, most}, func(scan func(...any) error) error {
			d, err := scanDevice(scan)
			out = append(out, d)
			return err
		})
	return out, err
}

// DecisionsOf lists up to most decisions about the user behind a place, newest
// first, without what was shown and signed: all, or those of one device.
func (tx *Tx) DecisionsOf(userID, deviceID string, after After, most int) ([]Decision, error) {
	var out []Decision
	err := tx.rows(`SELECT operation_id, kind, state, merchant_id, user_id, device_id, client_id, view_hash, outcome, at FROM decisions
		WHERE user_id = $1 AND (at, operation_id) < ($2, $3) AND ($4 = '' OR device_id = $4) ORDER BY at DESC, operation_id DESC LIMIT $5`,
		[]any{userID, after.At, after.ID, deviceID, most}, func(scan func(...any) error) error {
			var d Decision
			var outcome string
			var at int64
			err := scan(&d.OperationID, &d.Kind, &d.State, &d.MerchantID, &d.UserID, &d.DeviceID, &d.ClientID, &d.ViewHash, &outcome, &at)
			d.Outcome, d.At = json.RawMessage(outcome), fromMillis(at)
			out = append(out, d)
			return err
		})
	return out, err
}

// Event is something that a merchant may want to know.
type Event struct {
	ID, MerchantID, Type          string
	UserID, DeviceID, OperationID string
	Data                          map[string]string
	At                            time.Time
}

// InsertEvent adds e, dated now, to the transaction of what happened.
func (tx *Tx) InsertEvent(e Event) error {
	data, err := toJSON(e.Data)
	if err != nil {
		return err
	}
	return tx.later(`INSERT INTO events (id, merchant_id, type, user_id, device_id, operation_id, data, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		e.ID, e.MerchantID, e.Type, e.UserID, e.DeviceID, e.OperationID, data, millis(tx.Now()))
}

// EventsSettle is how long after it happened an event is listed: no transaction
// takes longer, so that nothing earlier can still appear behind a reader's place.
const EventsSettle = 10 * time.Second

// EventsAfter lists up to most of the merchant's events behind a place, oldest first.
func (tx *Tx) EventsAfter(merchantID string, after After, most int) ([]Event, error) {
	var out []Event
	err := tx.rows(`SELECT id, merchant_id, type, user_id, device_id, operation_id, data, at FROM events
		WHERE merchant_id = $1 AND (at, id) > ($2, $3) AND at <= $4 ORDER BY at, id LIMIT $5`,
		[]any{merchantID, after.At, after.ID, millis(tx.Now().Add(-EventsSettle)), most}, func(scan func(...any) error) error {
			var e Event
			var data string
			var at int64
			if err := scan(&e.ID, &e.MerchantID, &e.Type, &e.UserID, &e.DeviceID, &e.OperationID, &data, &at); err != nil {
				return err
			}
			e.At = fromMillis(at)
			out = append(out, e)
			return json.Unmarshal([]byte(data), &out[len(out)-1].Data)
		})
	return out, err
}
