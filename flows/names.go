package flows

import (
	"context"
	"errors"
	"sync"
	"time"

	"mobileid/internal/db"
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
