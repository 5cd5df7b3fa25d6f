package callback

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/db"
	"mobileid/internal/egress"
	"mobileid/internal/fault"
)

const (
	// MaxEndpoints is how many a merchant may have.
	MaxEndpoints = 20
	// MaxOverlap is how long an old secret may stay good after a new one.
	MaxOverlap = 7 * 24 * time.Hour
)

// Endpoint is where a merchant is told. Its secrets are never shown again.
type Endpoint struct {
	ID         string    `json:"id"`
	MerchantID string    `json:"merchantId"`
	URL        string    `json:"url"`
	Events     []string  `json:"events"` // types, or "*" alone
	State      string    `json:"state"`  // ENABLED | DISABLED
	Version    int64     `json:"version"`
	Failures   int64     `json:"failures"` // attempts in a row that failed
	CreatedAt  time.Time `json:"createdAt"`
	// RestsUntil is set while the endpoint is left alone after failures.
	RestsUntil *time.Time `json:"restsUntil,omitempty"`
}

// Change is what of an endpoint is to be otherwise; nil stays as it is.
type Change struct {
	URL     *string
	Events  *[]string
	Enabled *bool
	Version int64 // that the caller has seen; 0: whatever it is
}

func shown(w db.Webhook) Endpoint {
	e := Endpoint{ID: w.ID, MerchantID: w.MerchantID, URL: w.URL, Events: strings.Fields(w.Events), State: w.State, Version: w.Version, Failures: w.Failures, CreatedAt: w.CreatedAt}
	if !w.PausedUntil.IsZero() {
		e.RestsUntil = &w.PausedUntil
	}
	return e
}

func notFound(err error) error {
	if errors.Is(err, db.ErrNotFound) {
		return fault.New(fault.NotFound, "there is no such webhook")
	}
	return err
}

// Create adds an endpoint and returns it with its secret, which is not shown again.
// No events means all.
func (c *Callbacks) Create(ctx context.Context, merchantID, address string, events []string) (Endpoint, string, error) {
	stored, err := checkEvents(events)
	if err == nil {
		err = c.checkURL(address)
	}
	if err != nil {
		return Endpoint{}, "", err
	}
	w := db.Webhook{ID: db.NewID("whk_"), MerchantID: merchantID, URL: address, Events: stored, State: db.WebhookEnabled}
	s := newSecret()
	if w.Secrets, err = sealSecrets(c.Box, merchantID, w.ID, []secret{s}); err != nil {
		return Endpoint{}, "", err
	}
	err = c.DB.Update(ctx, func(tx *db.Tx) error {
		if err := tx.Alone("webhooks " + merchantID); err != nil {
			return err
		}
		have, err := tx.WebhooksOf(merchantID)
		if err != nil {
			return err
		}
		if len(have) >= MaxEndpoints {
			return fault.New(fault.LimitReached, "a merchant has at most 20 webhooks")
		}
		if err := tx.InsertWebhook(w); err != nil {
			return err
		}
		if err := c.record(tx, "webhook.created", w, map[string]string{"events": strings.Join(strings.Fields(stored), " ")}); err != nil {
			return err
		}
		w, err = tx.Webhook(merchantID, w.ID)
		return err
	})
	return shown(w), s.text(), err
}

// List lists the merchant's endpoints, oldest first.
func (c *Callbacks) List(ctx context.Context, merchantID string) ([]Endpoint, error) {
	out := []Endpoint{}
	err := c.DB.View(ctx, func(tx *db.Tx) error {
		all, err := tx.WebhooksOf(merchantID)
		for _, w := range all {
			out = append(out, shown(w))
		}
		return err
	})
	return out, err
}

// Get returns one endpoint; not_found if it is not this merchant's.
func (c *Callbacks) Get(ctx context.Context, merchantID, id string) (e Endpoint, err error) {
	err = c.DB.View(ctx, func(tx *db.Tx) error {
		w, err := tx.Webhook(merchantID, id)
		e = shown(w)
		return notFound(err)
	})
	return e, err
}

// Update changes an endpoint. One that was left alone is tried again at once.
func (c *Callbacks) Update(ctx context.Context, merchantID, id string, ch Change) (e Endpoint, err error) {
	stored := ""
	if ch.URL != nil {
		err = c.checkURL(*ch.URL)
	}
	if err == nil && ch.Events != nil {
		stored, err = checkEvents(*ch.Events)
	}
	if err != nil {
		return Endpoint{}, err
	}
	err = c.change(ctx, merchantID, id, "webhook.changed", func(_ *db.Tx, w *db.Webhook) error {
		if ch.Version != 0 && ch.Version != w.Version {
			return fault.New(fault.VersionConflict, "the webhook was changed meanwhile")
		}
		if ch.URL != nil {
			w.URL = *ch.URL
		}
		if ch.Events != nil {
			w.Events = stored
		}
		if ch.Enabled != nil {
			w.State = db.WebhookDisabled
			if *ch.Enabled {
				w.State = db.WebhookEnabled
			}
		}
		return nil
	}, &e)
	return e, err
}

// RotateSecret makes a new secret and returns it. Messages are signed with both
// until the overlap is over; 0 ends the old one at once.
func (c *Callbacks) RotateSecret(ctx context.Context, merchantID, id string, overlap time.Duration) (e Endpoint, text string, err error) {
	if overlap < 0 || overlap > MaxOverlap {
		return Endpoint{}, "", fault.InField("/overlap", "out_of_range", "the overlap is at most 7 days")
	}
	s := newSecret()
	err = c.change(ctx, merchantID, id, "webhook.secret_rotated", func(tx *db.Tx, w *db.Webhook) error {
		old, err := openSecrets(c.Box, w.MerchantID, w.ID, w.Secrets, tx.Now())
		if err != nil {
			return err
		}
		all := []secret{s}
		if len(old) > 0 && overlap > 0 { // one old one: two secrets at any time
			old[0].Until = tx.Now().Add(overlap).UnixMilli()
			all = append(all, old[0])
		}
		w.Secrets, err = sealSecrets(c.Box, w.MerchantID, w.ID, all)
		return err
	}, &e)
	return e, s.text(), err
}

func (c *Callbacks) change(ctx context.Context, merchantID, id, act string, how func(tx *db.Tx, w *db.Webhook) error, e *Endpoint) error {
	return c.DB.Update(ctx, func(tx *db.Tx) error {
		w, err := tx.Webhook(merchantID, id)
		if err != nil {
			return notFound(err)
		}
		if err := how(tx, &w); err != nil {
			return err
		}
		if err := tx.SetWebhook(w); err != nil {
			return err
		}
		if err := c.record(tx, act, w, map[string]string{"state": w.State}); err != nil {
			return err
		}
		w, err = tx.Webhook(merchantID, id)
		*e = shown(w)
		return err
	})
}

// Delete removes an endpoint; what waits for it is not sent any more.
func (c *Callbacks) Delete(ctx context.Context, merchantID, id string) error {
	return c.DB.Update(ctx, func(tx *db.Tx) error {
		if err := tx.DeleteWebhook(merchantID, id); err != nil {
			return notFound(err)
		}
		return c.record(tx, "webhook.deleted", db.Webhook{ID: id, MerchantID: merchantID}, nil)
	})
}

// record never holds the address: it may have a secret in its path.
func (c *Callbacks) record(tx *db.Tx, act string, w db.Webhook, details map[string]string) error {
	if details == nil {
		details = map[string]string{}
	}
	details["webhook"] = w.ID
	return c.Audit.Append(tx, audit.Record{Act: act, Merchant: w.MerchantID, Details: details})
}

// SendTest sends the endpoint an event of type test and returns its id.
func (c *Callbacks) SendTest(ctx context.Context, merchantID, id string) (eventID string, err error) {
	err = c.DB.Update(ctx, func(tx *db.Tx) error {
		w, err := tx.Webhook(merchantID, id)
		if err != nil {
			return notFound(err)
		}
		data, err := json.Marshal(map[string]string{"webhookId": w.ID})
		if err != nil {
			return err
		}
		e, body, err := seal(tx, Event{Merchant: merchantID, Type: Test, Data: data})
		if err != nil {
			return err
		}
		eventID = e.ID
		return tx.TellWebhook(w.ID, e.ID, Test, body, tx.Now().Add(Life))
	})
	return eventID, err
}

// Delivery is an entry of the delivery log.
type Delivery struct {
	EventID   string     `json:"eventId"`
	Type      string     `json:"type"`
	State     string     `json:"state"` // PENDING | DELIVERED | EXPIRED
	Attempts  int64      `json:"attempts"`
	Status    int64      `json:"status,omitempty"` // of the last answer
	Error     string     `json:"error,omitempty"`
	CreatedAt time.Time  `json:"createdAt"`
	TriedAt   *time.Time `json:"triedAt,omitempty"`
	NextAt    *time.Time `json:"nextAt,omitempty"`
	ExpiresAt time.Time  `json:"expiresAt"`
}

// Deliveries lists up to most entries of the endpoint's log, newest first, behind
// the one given (nil: from the start).
func (c *Callbacks) Deliveries(ctx context.Context, merchantID, id string, behind *Delivery, most int) ([]Delivery, error) {
	out := []Delivery{}
	err := c.DB.View(ctx, func(tx *db.Tx) error {
		if _, err := tx.Webhook(merchantID, id); err != nil {
			return notFound(err)
		}
		var at time.Time
		var last string
		if behind != nil {
			at, last = behind.CreatedAt, behind.EventID
		}
		all, err := tx.Deliveries(id, at, last, most)
		for _, d := range all {
			entry := Delivery{EventID: d.EventID, Type: d.Type, State: d.State, Attempts: d.Attempts, Status: d.Status, Error: d.Error, CreatedAt: d.CreatedAt, ExpiresAt: d.ExpiresAt}
			if !d.TriedAt.IsZero() {
				entry.TriedAt = &d.TriedAt
			}
			if d.State == db.DeliveryPending {
				entry.NextAt = &d.DueAt
			}
			out = append(out, entry)
		}
		return err
	})
	return out, err
}

// Resend sends an event of the log again: the same id and body, for as long as a
// new one would be tried.
func (c *Callbacks) Resend(ctx context.Context, merchantID, id, eventID string) error {
	return c.DB.Update(ctx, func(tx *db.Tx) error {
		w, err := tx.Webhook(merchantID, id)
		if err != nil {
			return notFound(err)
		}
		err = tx.ResendDelivery(id, eventID, tx.Now().Add(Life))
		if errors.Is(err, db.ErrNotFound) {
			return fault.New(fault.NotFound, "the webhook was not sent such an event")
		}
		if err != nil {
			return err
		}
		return c.record(tx, "webhook.resent", w, map[string]string{"event": eventID})
	})
}

// checkEvents returns the stored form.
func checkEvents(events []string) (string, error) {
	if len(events) == 0 || len(events) == 1 && events[0] == db.AllEvents {
		return db.AllEvents, nil
	}
	known := Types()
	for _, e := range events {
		if !slices.Contains(known, e) {
			return "", fault.InField("/events", "unknown", "the events are among "+strings.Join(known, ", ")+", or * alone")
		}
	}
	return " " + strings.Join(slices.Compact(slices.Sorted(slices.Values(events))), " ") + " ", nil
}

// checkURL refuses what could never be sent to.
func (c *Callbacks) checkURL(address string) error {
	if why := egress.CheckAddress(address, c.Inside); why != "" {
		return fault.InField("/url", "refused", "url: "+why)
	}
	return nil
}
