package flows

import (
	"context"
	"errors"
	"sync"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/identity"
)

// nameFresh is how old a node's view of a merchant's name may be.
const nameFresh = 2 * time.Second

// names remembers merchants' names for a moment: every request shows one.
type names struct {
	mu sync.Mutex
	of map[string]name
}

type name struct {
	text string
	read time.Time
}

func (f *Flows) merchantName(ctx context.Context, id string) string {
	now := f.Clock.Now()
	f.names.mu.Lock()
	have := f.names.of[id]
	f.names.mu.Unlock()
	if have.text != "" && now.Sub(have.read) < nameFresh {
		return have.text
	}
	var m db.Merchant
	err := f.DB.View(ctx, func(tx *db.Tx) (err error) {
		m, err = tx.Merchant(id)
		return err
	})
	if err != nil {
		if !errors.Is(err, db.ErrNotFound) {
			f.Log.WarnContext(ctx, "merchant not read", "merchant", id, "error", err)
		}
		return have.text
	}
	f.names.mu.Lock()
	f.names.of[id] = name{m.Name, now}
	f.names.mu.Unlock()
	return m.Name
}

// policies remembers Apps' policies for as long.
type policies struct {
	mu sync.Mutex
	of map[string]policy
}

type policy struct {
	identity.Policy
	read time.Time
}

// SessionIdle is how long a browser may be idle and still be logged in for a client
// of the App.
func (f *Flows) SessionIdle(ctx context.Context, appID string) (time.Duration, error) {
	policy, err := f.appPolicy(ctx, appID)
	return policy.SessionIdle, err
}

// appPolicy is the policy of a client's App; the default one if it has none.
func (f *Flows) appPolicy(ctx context.Context, id string) (identity.Policy, error) {
	if id == "" {
		return identity.Policy{}.WithDefaults(), nil
	}
	now := f.Clock.Now()
	f.policies.mu.Lock()
	have := f.policies.of[id]
	f.policies.mu.Unlock()
	if !have.read.IsZero() && now.Sub(have.read) < nameFresh {
		return have.Policy, nil
	}
	fresh := policy{read: now}
	err := f.DB.View(ctx, func(tx *db.Tx) error {
		app, err := tx.App(id)
		if err == nil {
			fresh.Policy, err = identity.PolicyOf(app)
		}
		return err
	})
	if err != nil { // what an App demands is never taken for not demanded
		return identity.Policy{}, fault.Wrap(fault.Unavailable, "the client's App cannot be read; try again", err)
	}
	f.policies.mu.Lock()
	f.policies.of[id] = fresh
	f.policies.mu.Unlock()
	return fresh.Policy, nil
}
