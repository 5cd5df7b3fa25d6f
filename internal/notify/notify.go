// Package notify wakes phones: Web Push (RFC 8030), to browsers' push services and
// to UnifiedPush distributors, which speak it too. A push says which operation
// waits and nothing more, encrypted for the phone (RFC 8291) under the server's
// own name (VAPID, RFC 8292). It is a hint: a phone that looks by itself sees the
// same, and an operation never waits for a push.
package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"mobileid/internal/audit"
	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/internal/egress"
	"mobileid/internal/identity"
	"mobileid/internal/keys"
	"mobileid/internal/kv"
)

// Kinds of outbox item: who is to be woken, and one device that could not be yet.
// Where they are sent is up to phones, and may be slow: OutboxKinds are delivered
// apart from all others.
const (
	OutboxKinds = "push."
	OutboxWake  = OutboxKinds + "wake"
	OutboxAgain = OutboxKinds + "again"
)

const (
	// mostWakes is how often a user is woken within wakesIn.
	mostWakes = 5
	wakesIn   = 10 * time.Minute
	// mostPhones of a user are woken at once, those with the newest addresses.
	mostPhones = 16
	// firstRetry is when a push service that failed is tried again; after that the
	// outbox has its own back-off.
	firstRetry = 2 * time.Second
)

// Config is what a Notifier needs.
type Config struct {
	DB    *db.DB
	KV    kv.KV
	Box   *keys.Box
	Audit *audit.Writer
	Clock clock.Clock
	Log   *slog.Logger
	// Egress is for pushes alone: what phones name neither reaches what others may,
	// nor shuts a host for them.
	Egress *egress.Client
	// Key is the server's own name at push services (VAPID), ES256. Addresses are
	// bound to it, so it does not change.
	Key func(context.Context) (*keys.Key, error)
	// Issuer is the server's address, by which a push service can find its operator.
	Issuer string
	// Inside reports hosts that Egress may call though they are not public; nil: none.
	Inside func(host string) bool
}

// Notifier wakes phones.
type Notifier struct {
	Config
	woken kv.Bucket[[]wake]
}

// New makes a Notifier.
func New(c Config) *Notifier { return &Notifier{Config: c, woken: kv.NewBucket[[]wake](c.KV, "push")} }

// wake is that a user was woken for an operation.
type wake struct {
	Operation string `json:"op"`
	At        int64  `json:"at"` // Unix ms
}

// Wake is whom to wake, for what.
type Wake struct {
	UserID      string `json:"user"`
	DeviceID    string `json:"device,omitempty"` // "": every ACTIVE device of the user
	AppID       string `json:"app,omitempty"`    // "": phones of every App
	OperationID string `json:"op"`
	Tag         string `json:"tag,omitempty"` // the merchant's own, opaque to everybody else
	Until       int64  `json:"until"`         // Unix ms: what comes later is of no use
}

// Queue has the phones be woken soon. It looks nobody up, so that it takes as long
// for somebody who does not exist.
func (n *Notifier) Queue(ctx context.Context, w Wake) error {
	return n.DB.Update(ctx, func(tx *db.Tx) error { return enqueue(tx, OutboxWake, w, 0) })
}

func enqueue(tx *db.Tx, kind string, w Wake, delay time.Duration) error {
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return tx.Enqueue(db.OutboxItem{ID: db.NewID("out_"), Kind: kind, Subject: w.UserID, Payload: string(text)}, delay)
}

// DeliverWake is the outbox deliverer of OutboxWake: each phone is tried once, and
// those whose push service failed are left to OutboxAgain.
func (n *Notifier) DeliverWake(ctx context.Context, it db.OutboxItem) error {
	w, to, err := n.read(ctx, it)
	if err != nil || len(to) == 0 {
		return err
	}
	switch err := n.count(ctx, w); {
	case errors.Is(err, errEnough):
		n.Log.DebugContext(ctx, "a user is not woken again so soon", "user", w.UserID, "operation", w.OperationID)
		return nil
	case err != nil:
		return err
	}
	failed := make([]error, len(to))
	var all sync.WaitGroup
	for i, a := range to {
		all.Go(func() { failed[i] = n.push(ctx, a, w) })
	}
	all.Wait()
	if errors.Join(failed...) == nil {
		return nil
	}
	return n.DB.Update(ctx, func(tx *db.Tx) error {
		for i, err := range failed {
			if err == nil {
				continue
			}
			n.Log.InfoContext(ctx, "a phone is woken later", "device", to[i].DeviceID, "error", err)
			again := w
			again.DeviceID = to[i].DeviceID
			if err := enqueue(tx, OutboxAgain, again, firstRetry); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeliverAgain is the outbox deliverer of OutboxAgain: it fails, and is tried
// again, until the push service took it or the operation is over.
func (n *Notifier) DeliverAgain(ctx context.Context, it db.OutboxItem) error {
	w, to, err := n.read(ctx, it)
	if err != nil || len(to) == 0 {
		return err
	}
	return n.push(ctx, to[0], w)
}

// read is the item and where to send it: nowhere if the operation is over.
func (n *Notifier) read(ctx context.Context, it db.OutboxItem) (w Wake, to []db.PushAddress, err error) {
	if err := json.Unmarshal([]byte(it.Payload), &w); err != nil {
		return w, nil, fmt.Errorf("notify: %w", err)
	}
	if n.Clock.Now().UnixMilli() >= w.Until {
		return w, nil, nil
	}
	err = n.DB.View(ctx, func(tx *db.Tx) error {
		to = nil
		if decided, err := tx.IsDecided(w.OperationID); err != nil || decided {
			return err
		}
		to, err = tx.PushAddresses(w.UserID, w.DeviceID, mostPhones)
		return err
	})
	to = slices.DeleteFunc(to, func(a db.PushAddress) bool {
		policy, perr := identity.PolicyOf(a.Policy)
		err = errors.Join(err, perr)
		return policy.Push == identity.PushOff || w.AppID != "" && w.AppID != a.Policy.ID
	})
	return w, to, err
}

var errEnough = errors.New("notify: the user was woken often enough")

// count notes that the user is woken for the operation; errEnough at the cap. An
// operation counts once, however often it is tried.
func (n *Notifier) count(ctx context.Context, w Wake) error {
	now := n.Clock.Now()
	_, err := n.woken.Upsert(ctx, w.UserID, wakesIn, func(have []wake, _ bool) ([]wake, error) {
		have = slices.DeleteFunc(have, func(x wake) bool { return x.At <= now.Add(-wakesIn).UnixMilli() })
		if slices.ContainsFunc(have, func(x wake) bool { return x.Operation == w.OperationID }) {
			return have, nil
		}
		if len(have) >= mostWakes {
			return have, errEnough
		}
		return append(have, wake{w.OperationID, now.UnixMilli()}), nil
	})
	return err
}
