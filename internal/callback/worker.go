package callback

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"mobileid/internal/db"
)

const (
	poll       = 250 * time.Millisecond
	backoffMin = 2 * time.Second
	backoffMax = 10 * time.Minute
	batch      = 5                // deliveries that a runner takes at once
	lease      = 30 * time.Second // more than a batch of answers that all come late
	perHost    = 4                // runners for one endpoint
	inAll      = 64               // runners for all
	tripAfter  = 5                // failures in a row, then the endpoint rests
	keep       = 30 * 24 * time.Hour
	sweepEvery = 10 * time.Minute
)

// work is who sends to which endpoint now. An endpoint that answers slowly holds
// up its own runners, nobody else's.
type work struct {
	mu      sync.Mutex
	running map[string]int
	all     int
	wg      sync.WaitGroup
}

func newWork() work { return work{running: map[string]int{}} }

// Run sends until ctx ends and what is under way has been answered.
func (c *Callbacks) Run(ctx context.Context) {
	tick, sweep := time.NewTicker(poll), time.NewTicker(sweepEvery)
	defer tick.Stop()
	defer sweep.Stop()
	defer c.work.wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.round(ctx)
		case <-sweep.C:
			c.forget(ctx)
		}
	}
}

// round starts a runner for each endpoint for which something is due.
func (c *Callbacks) round(ctx context.Context) {
	var due []db.Webhook
	err := c.DB.View(ctx, func(tx *db.Tx) (err error) {
		due, err = tx.DueWebhooks()
		return err
	})
	if err != nil && ctx.Err() == nil {
		c.Log.WarnContext(ctx, "webhooks not read", "error", err)
	}
	for _, w := range due {
		c.start(ctx, w)
	}
}

// start starts one more runner for w unless it, or all together, have enough. An
// endpoint that fails gets one.
func (c *Callbacks) start(ctx context.Context, w db.Webhook) {
	most := perHost
	if w.Failures >= tripAfter {
		most = 1
	}
	c.work.mu.Lock()
	defer c.work.mu.Unlock()
	if c.work.running[w.ID] >= most || c.work.all >= inAll {
		return
	}
	c.work.running[w.ID]++
	c.work.all++
	c.work.wg.Go(func() {
		defer c.ended(w.ID)
		for ctx.Err() == nil {
			n, err := c.some(ctx, w.MerchantID, w.ID)
			if err != nil && !errors.Is(err, db.ErrClosed) {
				c.Log.WarnContext(ctx, "webhook deliveries not settled; they will be sent again", "webhook", w.ID, "error", err)
			}
			if n < batch || err != nil {
				return
			}
			c.start(ctx, w) // there is more: help
		}
	})
}

func (c *Callbacks) ended(id string) {
	c.work.mu.Lock()
	defer c.work.mu.Unlock()
	c.work.all--
	if c.work.running[id]--; c.work.running[id] == 0 {
		delete(c.work.running, id)
	}
}

// some sends one batch to the endpoint, as it is set now, and returns how many
// deliveries that settled.
func (c *Callbacks) some(ctx context.Context, merchantID, id string) (int, error) {
	var w db.Webhook
	err := c.DB.View(ctx, func(tx *db.Tx) (err error) {
		if w, err = tx.Webhook(merchantID, id); errors.Is(err, db.ErrNotFound) {
			err = nil // removed meanwhile
		}
		if w.PausedUntil.After(tx.Now()) {
			w.State = ""
		}
		return err
	})
	if err != nil || w.State != db.WebhookEnabled {
		return 0, err
	}
	most := batch
	var items []db.Delivery
	err = c.DB.Update(ctx, func(tx *db.Tx) (err error) {
		items = nil
		if w.Failures >= tripAfter { // it was left alone: one attempt, by one node
			most = 1
			if err := tx.ProbeWebhook(w.ID, tx.Now().Add(lease)); errors.Is(err, db.ErrConflict) {
				return nil
			} else if err != nil {
				return err
			}
		}
		items, err = tx.LeaseDeliveries(w.ID, most, lease)
		return err
	})
	if err != nil || len(items) == 0 {
		return 0, err
	}
	secrets, err := openSecrets(c.Box, w.MerchantID, w.ID, w.Secrets, c.Clock.Now())
	if err != nil {
		return 0, err
	}
	// What is under way is told and settled even while the node stops.
	ctx = context.WithoutCancel(ctx)
	failed, tried := 0, 0
	for i := range items {
		d := &items[i]
		if !d.ExpiresAt.After(c.Clock.Now()) {
			d.State, tried = db.DeliveryExpired, i+1
			continue
		}
		c.attempt(ctx, w, d, secrets)
		tried = i + 1
		if d.State == db.DeliveryDelivered {
			failed = 0
		} else if failed++; failed >= tripAfter || most == 1 {
			break
		}
	}
	return tried, c.settle(ctx, w, items, tried)
}

// attempt sends d once and fills in how it ended.
func (c *Callbacks) attempt(ctx context.Context, w db.Webhook, d *db.Delivery, secrets []secret) {
	d.TriedAt = c.Clock.Now()
	body := []byte(d.Body)
	status, err := c.Post(ctx, w.URL, header(d.EventID, d.TriedAt, body, secrets), body)
	d.Status, d.Error = int64(status), ""
	switch {
	case err != nil:
		d.Status, d.Error = 0, cut(err.Error())
	case status >= 200 && status < 300:
		d.State = db.DeliveryDelivered
	case status >= 300 && status < 400:
		d.Error = fmt.Sprintf("answered %d: redirects are not followed", status)
	default:
		d.Error = fmt.Sprintf("answered %d", status)
	}
	if c.Tried != nil {
		c.Tried(d.State == db.DeliveryDelivered)
	}
}

// settle stores how the first tried of the items ended, gives back the others, and
// has the endpoint rest if it keeps failing.
func (c *Callbacks) settle(ctx context.Context, w db.Webhook, items []db.Delivery, tried int) error {
	return c.DB.Update(ctx, func(tx *db.Tx) error {
		failures, works := 0, false
		for i, d := range items {
			switch {
			case i >= tried:
				if err := tx.ReleaseDelivery(d.WebhookID, d.EventID); err != nil {
					return err
				}
				continue
			case d.State == db.DeliveryDelivered:
				failures, works = 0, true
			case d.State == db.DeliveryPending:
				failures++
				d.DueAt = tx.Now().Add(backoff(d.Attempts))
				if !d.DueAt.Before(d.ExpiresAt) {
					d.State = db.DeliveryExpired
				}
			}
			if err := tx.SetDelivery(d); err != nil {
				return err
			}
		}
		if works {
			if err := tx.WebhookWorks(w.ID); err != nil {
				return err
			}
		}
		if failures == 0 {
			return nil
		}
		inARow, err := tx.WebhookFailed(w.ID, failures)
		if err != nil || inARow < tripAfter {
			return err
		}
		return tx.PauseWebhook(w.ID, tx.Now().Add(backoff(inARow-tripAfter+1)))
	})
}

// backoff is how long is waited after the n-th attempt: 2 s, doubled to 10 min.
func backoff(n int64) time.Duration { return min(backoffMin<<min(max(n-1, 0), 12), backoffMax) }

// cut makes an error fit for the log of deliveries: plain text, and short.
func cut(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || r == 0x7f {
			return -1
		}
		return r
	}, s)
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "")
	}
	return s
}

// forget removes deliveries that are older than the log is kept.
func (c *Callbacks) forget(ctx context.Context) {
	for ctx.Err() == nil {
		var n int64
		err := c.DB.Update(ctx, func(tx *db.Tx) (err error) {
			n, err = tx.ForgetDeliveries(tx.Now().Add(-keep), 500)
			return err
		})
		if err != nil {
			c.Log.WarnContext(ctx, "old webhook deliveries not removed", "error", err)
		}
		if err != nil || n < 500 {
			return
		}
	}
}
