package db

import (
	"errors"
	"time"
)

// Webhook states.
const (
	WebhookEnabled  = "ENABLED"
	WebhookDisabled = "DISABLED" // is told nothing new; what waits waits on
)

// AllEvents as a Webhook's Events is every type, those of later versions too.
const AllEvents = "*"

// Webhook is an endpoint of a merchant's.
type Webhook struct {
	ID, MerchantID, URL string
	Events              string // AllEvents, or types each between spaces: " a b "
	Secrets             []byte // sealed
	State               string
	Version             int64     // grows with every change by the merchant
	Failures            int64     // attempts in a row that failed
	PausedUntil         time.Time // of an endpoint that fails; zero: it is not resting
	CreatedAt           time.Time
}

const webhookColumns = `SELECT id, merchant_id, url, events, secrets, state, version, failures, paused_until, created_at FROM webhooks `

func scanWebhook(scan func(...any) error) (w Webhook, err error) {
	var paused, created int64
	err = scan(&w.ID, &w.MerchantID, &w.URL, &w.Events, &w.Secrets, &w.State, &w.Version, &w.Failures, &paused, &created)
	w.PausedUntil, w.CreatedAt = fromMillis(paused), fromMillis(created)
	return w, err
}

// InsertWebhook adds w.
func (tx *Tx) InsertWebhook(w Webhook) error {
	return tx.insert(`INSERT INTO webhooks (id, merchant_id, url, events, secrets, state, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
		w.ID, w.MerchantID, w.URL, w.Events, w.Secrets, w.State, millis(tx.Now()))
}

// Webhook returns the merchant's endpoint with the id, in Update with its row locked.
func (tx *Tx) Webhook(merchantID, id string) (Webhook, error) {
	return scanWebhook(func(into ...any) error {
		return tx.row(webhookColumns+`WHERE id = $1 AND merchant_id = $2`+tx.forUpdate(), []any{id, merchantID}, into...)
	})
}

// WebhooksOf lists the merchant's endpoints, oldest first.
func (tx *Tx) WebhooksOf(merchantID string) ([]Webhook, error) {
	var out []Webhook
	err := tx.rows(webhookColumns+`WHERE merchant_id = $1 ORDER BY created_at, id`, []any{merchantID}, func(scan func(...any) error) error {
		w, err := scanWebhook(scan)
		out = append(out, w)
		return err
	})
	return out, err
}

// SetWebhook stores what a merchant may change of w; ErrConflict if its version is
// not the stored one. An endpoint that was resting is tried again at once.
func (tx *Tx) SetWebhook(w Webhook) error {
	return tx.insert(`UPDATE webhooks SET url = $2, events = $3, secrets = $4, state = $5, version = version + 1, failures = 0, paused_until = 0 WHERE id = $1 AND version = $6`,
		w.ID, w.URL, w.Events, w.Secrets, w.State, w.Version)
}

// DeleteWebhook removes the merchant's endpoint with all that waits for it.
func (tx *Tx) DeleteWebhook(merchantID, id string) error {
	return tx.must(`DELETE FROM webhooks WHERE id = $1 AND merchant_id = $2`, id, merchantID)
}

// Delivery states.
const (
	DeliveryPending   = "PENDING"
	DeliveryDelivered = "DELIVERED"
	DeliveryExpired   = "EXPIRED" // nobody took it in its time
)

// Delivery is one event for one endpoint, and what became of it.
type Delivery struct {
	WebhookID, EventID, Type, Body string
	State                          string
	DueAt, ExpiresAt               time.Time
	Attempts                       int64
	TriedAt                        time.Time // zero: not yet
	Status                         int64     // of the last answer; 0: there was none
	Error                          string    // why the last attempt failed
	CreatedAt                      time.Time
}

// MayTell reports whether the merchant may have an endpoint to be told: false is
// sure. On SQLite it spares the work of telling nobody; on PostgreSQL, where the
// statement of TellWebhooks costs no round trip of its own, nobody is asked.
func (tx *Tx) MayTell(merchantID string) (bool, error) {
	if tx.d.pg != nil {
		return true, nil
	}
	var some bool
	err := tx.row(`SELECT EXISTS (SELECT 1 FROM webhooks WHERE merchant_id = $1)`, []any{merchantID}, &some)
	return some, err
}

// TellWebhooks has each of the merchant's enabled endpoints that wants the type be
// sent the body, should this transaction commit.
func (tx *Tx) TellWebhooks(merchantID, eventID, typ, body string, expires time.Time) error {
	return tx.later(`INSERT INTO webhook_deliveries (webhook_id, event_id, type, body, state, due_at, expires_at, created_at)
		SELECT id, $2, $3, $4, 'PENDING', $5, $6, $5 FROM webhooks WHERE merchant_id = $1 AND state = 'ENABLED' AND (events = '*' OR events LIKE $7)`,
		merchantID, eventID, typ, body, millis(tx.Now()), millis(expires), "% "+typ+" %")
}

// TellWebhook has one endpoint be sent the body.
func (tx *Tx) TellWebhook(webhookID, eventID, typ, body string, expires time.Time) error {
	return tx.insert(`INSERT INTO webhook_deliveries (webhook_id, event_id, type, body, state, due_at, expires_at, created_at)
		VALUES ($1, $2, $3, $4, 'PENDING', $5, $6, $5) ON CONFLICT DO NOTHING`, webhookID, eventID, typ, body, millis(tx.Now()), millis(expires))
}

// DueWebhooks lists the enabled endpoints for which something is due and that are
// not resting. It looks once into the index for each endpoint, however much waits.
func (tx *Tx) DueWebhooks() ([]Webhook, error) {
	var out []Webhook
	err := tx.rows(webhookColumns+`WHERE state = 'ENABLED' AND paused_until <= $1
		AND EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.webhook_id = webhooks.id AND d.state = 'PENDING' AND d.due_at <= $1)`,
		[]any{millis(tx.Now())}, func(scan func(...any) error) error {
			w, err := scanWebhook(scan)
			out = append(out, w)
			return err
		})
	return out, err
}

// ProbeWebhook takes the one attempt that an endpoint gets after a rest, and has it
// rest until the time given meanwhile; ErrConflict if another took it.
func (tx *Tx) ProbeWebhook(id string, until time.Time) error {
	return tx.insert(`UPDATE webhooks SET paused_until = $2 WHERE id = $1 AND paused_until <= $3`, id, millis(until), millis(tx.Now()))
}

// LeaseDeliveries takes up to most due deliveries of the endpoint, those that wait
// longest first, and makes them due again after lease, so that another worker takes
// over should this one die.
func (tx *Tx) LeaseDeliveries(webhookID string, most int, lease time.Duration) ([]Delivery, error) {
	var out []Delivery
	err := tx.rows(`UPDATE webhook_deliveries SET due_at = $2, attempts = attempts + 1 WHERE webhook_id = $1 AND event_id IN
		(SELECT event_id FROM webhook_deliveries WHERE webhook_id = $1 AND state = 'PENDING' AND due_at <= $3 ORDER BY due_at LIMIT $4`+tx.skipLocked()+`)
		RETURNING event_id, type, body, expires_at, attempts, created_at`, []any{webhookID, millis(tx.Now().Add(lease)), millis(tx.Now()), most},
		func(scan func(...any) error) error {
			d := Delivery{WebhookID: webhookID, State: DeliveryPending}
			var expires, created int64
			err := scan(&d.EventID, &d.Type, &d.Body, &expires, &d.Attempts, &created)
			d.ExpiresAt, d.CreatedAt = fromMillis(expires), fromMillis(created)
			out = append(out, d)
			return err
		})
	return out, err
}

// SetDelivery stores how an attempt ended: State, DueAt, TriedAt, Status and Error.
// A delivery that was made meanwhile by another stays so.
func (tx *Tx) SetDelivery(d Delivery) error {
	return tx.later(`UPDATE webhook_deliveries SET state = $3, due_at = $4, tried_at = $5, status = $6, error = $7 WHERE webhook_id = $1 AND event_id = $2 AND state = 'PENDING'`,
		d.WebhookID, d.EventID, d.State, millis(d.DueAt), millis(d.TriedAt), d.Status, d.Error)
}

// ReleaseDelivery gives back a leased delivery that was not tried.
func (tx *Tx) ReleaseDelivery(webhookID, eventID string) error {
	return tx.later(`UPDATE webhook_deliveries SET due_at = $3, attempts = attempts - 1 WHERE webhook_id = $1 AND event_id = $2 AND state = 'PENDING'`, webhookID, eventID, millis(tx.Now()))
}

// WebhookFailed adds n failed attempts in a row and returns how many there are.
func (tx *Tx) WebhookFailed(id string, n int) (failures int64, err error) {
	err = tx.row(`UPDATE webhooks SET failures = failures + $2 WHERE id = $1 RETURNING failures`, []any{id, n}, &failures)
	if errors.Is(err, ErrNotFound) {
		err = nil // removed meanwhile
	}
	return failures, err
}

// PauseWebhook has the endpoint rest until the time given.
func (tx *Tx) PauseWebhook(id string, until time.Time) error {
	return tx.later(`UPDATE webhooks SET paused_until = $2 WHERE id = $1`, id, millis(until))
}

// WebhookWorks ends the failures in a row.
func (tx *Tx) WebhookWorks(id string) error {
	return tx.later(`UPDATE webhooks SET failures = 0, paused_until = 0 WHERE id = $1 AND (failures <> 0 OR paused_until <> 0)`, id)
}

const deliveryColumns = `SELECT webhook_id, event_id, type, body, state, due_at, expires_at, attempts, tried_at, status, error, created_at FROM webhook_deliveries `

func scanDelivery(scan func(...any) error) (d Delivery, err error) {
	var due, expires, tried, created int64
	err = scan(&d.WebhookID, &d.EventID, &d.Type, &d.Body, &d.State, &due, &expires, &d.Attempts, &tried, &d.Status, &d.Error, &created)
	d.DueAt, d.ExpiresAt, d.TriedAt, d.CreatedAt = fromMillis(due), fromMillis(expires), fromMillis(tried), fromMillis(created)
	return d, err
}

// Deliveries lists up to most deliveries of the endpoint, newest first, from
// behind the place (zero and "": from the start).
func (tx *Tx) Deliveries(webhookID string, before time.Time, beforeID string, most int) ([]Delivery, error) {
	at := int64(1) << 62
	if !before.IsZero() {
		at = millis(before)
	}
	var out []Delivery
	err := tx.rows(deliveryColumns+`WHERE webhook_id = $1 AND (created_at < $2 OR created_at = $2 AND event_id < $3) ORDER BY created_at DESC, event_id DESC LIMIT $4`,
		[]any{webhookID, at, beforeID, most}, func(scan func(...any) error) error {
			d, err := scanDelivery(scan)
			out = append(out, d)
			return err
		})
	return out, err
}

// ResendDelivery has the event be sent to the endpoint again, from the start;
// ErrNotFound if the endpoint was never to be sent it.
func (tx *Tx) ResendDelivery(webhookID, eventID string, expires time.Time) error {
	return tx.must(`UPDATE webhook_deliveries SET state = 'PENDING', due_at = $3, expires_at = $4, attempts = 0, error = '' WHERE webhook_id = $1 AND event_id = $2`,
		webhookID, eventID, millis(tx.Now()), millis(expires))
}

// ForgetDeliveries removes up to most deliveries that were made before the time,
// and returns how many there were.
func (tx *Tx) ForgetDeliveries(before time.Time, most int) (int64, error) {
	return tx.exec(`DELETE FROM webhook_deliveries WHERE (webhook_id, event_id) IN
		(SELECT webhook_id, event_id FROM webhook_deliveries WHERE created_at < $1 ORDER BY created_at LIMIT $2)`, millis(before), most)
}

// WebhookBacklog counts what waits, and says how long the oldest has been due at an
// endpoint that is not resting.
func (tx *Tx) WebhookBacklog() (items int64, overdue time.Duration, err error) {
	var due int64
	err = tx.row(`SELECT count(*), coalesce(min(CASE WHEN w.state = 'ENABLED' AND w.paused_until <= $1 THEN d.due_at END), 0)
		FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id WHERE d.state = 'PENDING'`, []any{millis(tx.Now())}, &items, &due)
	if due > 0 {
		overdue = max(0, tx.Now().Sub(fromMillis(due)))
	}
	return items, overdue, err
}
