package keys

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"mobileid/internal/db"

	"github.com/go-jose/go-jose/v4"
)

// Past is a key as its public half: when it began to sign, and until when it did.
type Past struct {
	KID      string
	Public   jose.JSONWebKey
	ActiveAt time.Time
	RetireAt time.Time // zero: no successor yet
}

// History returns every key that the purpose ever had, oldest first.
func (r *Ring) History(ctx context.Context, purpose string) ([]Past, error) {
	var rows []db.SigningKey
	err := r.db.View(ctx, func(tx *db.Tx) (err error) {
		rows, err = tx.AllSigningKeys(purpose)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	out := make([]Past, len(rows))
	for i, row := range rows {
		out[i] = Past{KID: row.KID, ActiveAt: row.ActiveAt, RetireAt: row.RetireAt}
		if err := json.Unmarshal([]byte(row.Public), &out[i].Public); err != nil {
			return nil, fmt.Errorf("keys: %s: %w", row.KID, err)
		}
	}
	return out, nil
}

// Newest returns of All the key that signs at the time; nil if none does yet.
func Newest(all []*Key, at time.Time) *Key {
	for i := len(all) - 1; i >= 0; i-- {
		if !all[i].ActiveAt.After(at) {
			return all[i]
		}
	}
	return nil
}
