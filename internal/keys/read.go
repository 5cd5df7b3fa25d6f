package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"fmt"

	"mobileid/internal/db"

	"github.com/go-jose/go-jose/v4"
)

// Find returns the key with the id, or nil if there is none. A key that this node
// has not seen yet is looked for in the database, since another node may sign
// with it already. However many ask for keys that there are not, one at a time
// reads for all that wait.
func (r *Ring) Find(ctx context.Context, purpose, kid string) (*Key, error) {
	all, err := r.All(ctx, purpose)
	if k := withID(all, kid); k != nil || err != nil {
		return k, err
	}
	asked := r.clk.Now()
	r.finding.Lock()
	defer r.finding.Unlock()
	r.mu.Lock()
	set := r.sets[purpose]
	r.mu.Unlock()
	if !set.at.After(asked) {
		at := r.clk.Now()
		fresh, err := r.read(ctx, purpose, set.keys)
		if err != nil {
			return nil, err
		}
		set = keySet{at, fresh}
		r.mu.Lock()
		r.sets[purpose] = set
		r.mu.Unlock()
	}
	return withID(set.keys, kid), nil
}

func withID(all []*Key, kid string) *Key {
	for _, k := range all {
		if k.KID == kid {
			return k
		}
	}
	return nil
}

// All returns the keys to publish, oldest first; at most 2 s old, and 0.2 s if
// there is none.
func (r *Ring) All(ctx context.Context, purpose string) ([]*Key, error) {
	now := r.clk.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	set := r.sets[purpose]
	known := reread
	if len(set.keys) == 0 {
		known = rereadNone
	}
	if now.Sub(set.at) < known && !now.Before(set.at) {
		return set.keys, nil
	}
	fresh, err := r.read(ctx, purpose, set.keys)
	if err != nil {
		return nil, err
	}
	r.sets[purpose] = keySet{now, fresh}
	return fresh, nil
}

// read reads the purpose's keys; those of before are not opened again.
func (r *Ring) read(ctx context.Context, purpose string, before []*Key) ([]*Key, error) {
	var rows []db.SigningKey
	err := r.db.View(ctx, func(tx *db.Tx) (err error) {
		rows, err = tx.SigningKeys(purpose)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	fresh := make([]*Key, 0, len(rows))
	for _, row := range rows {
		k := withID(before, row.KID)
		if k == nil {
			if k, err = r.open(row); err != nil {
				return nil, err
			}
		}
		fresh = append(fresh, k)
	}
	return fresh, nil
}

func (r *Ring) open(row db.SigningKey) (*Key, error) {
	der, err := r.box.Open("signing key "+row.Purpose, row.Sealed)
	if err != nil {
		return nil, err
	}
	priv, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", row.KID, err)
	}
	alg := algOf(row.Purpose)
	if _, ec := priv.(*ecdsa.PrivateKey); ec != (alg == jose.ES256) {
		return nil, fmt.Errorf("keys: %s is of another kind than %s needs", row.KID, alg)
	}
	k := &Key{KID: row.KID, Alg: alg, Private: priv.(crypto.Signer), ActiveAt: row.ActiveAt}
	return k, json.Unmarshal([]byte(row.Public), &k.Public)
}

// Current returns the key that signs now: the newest whose time has come.
func (r *Ring) Current(ctx context.Context, purpose string) (*Key, error) {
	all, err := r.All(ctx, purpose)
	if err != nil {
		return nil, err
	}
	if k := Newest(all, r.clk.Now()); k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("keys: %s: %w", purpose, ErrNone)
}
