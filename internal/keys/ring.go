package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db"

	"github.com/go-jose/go-jose/v4"
)

// Purposes: separate sets that never sign for one another.
const (
	OIDC   = "oidc"   // ID tokens
	Server = "server" // key sets of mid/1; its thumbprint is pinned by phones
)

const (
	// Lead is how long a new key is published before it signs, so that relying
	// parties that cache the key set have seen it.
	Lead = 10 * time.Minute
	// Overlap is how long a key stays published after its successor signs.
	Overlap = 24 * time.Hour
	// reread is how old a node's view of the keys may be.
	reread = 2 * time.Second
)

// Key is one ES256 key of the ring.
type Key struct {
	KID      string
	Private  *ecdsa.PrivateKey
	Public   jose.JSONWebKey // kid, alg and use set
	ActiveAt time.Time
}

// String keeps the private half out of logs.
func (k *Key) String() string { return "key " + k.KID }

// Ring holds the signing keys of each purpose.
type Ring struct {
	db  *db.DB
	box *Box
	clk clock.Clock

	mu   sync.Mutex
	sets map[string]keySet
}

type keySet struct {
	at   time.Time
	keys []*Key
}

// NewRing makes a ring over the database; Ensure must run before the first use.
func NewRing(d *db.DB, box *Box, clk clock.Clock) *Ring {
	return &Ring{db: d, box: box, clk: clk, sets: map[string]keySet{}}
}

// Ensure makes the first key of each purpose that has none, active at once, and
// fails if the keys that are there were sealed by another master key.
func (r *Ring) Ensure(ctx context.Context, purposes ...string) error {
	for _, p := range purposes {
		err := r.db.Update(ctx, func(tx *db.Tx) error {
			if err := tx.Alone("keys " + p); err != nil { // nodes may start at once
				return err
			}
			have, err := tx.SigningKeys(p)
			if err == nil && len(have) > 0 {
				_, err = r.open(have[len(have)-1]) // another master key shows now
				return err
			}
			if err != nil {
				return err
			}
			k, err := r.make(p, tx.Now(), tx.Now())
			if err != nil {
				return err
			}
			return tx.InsertSigningKey(k)
		})
		if err != nil {
			return fmt.Errorf("keys: first %s key: %w", p, err)
		}
	}
	return nil
}

// Rotate adds a key that is published now and signs after lead; the others
// leave the set Overlap later. record puts the act on record in the same
// transaction. It returns the new key id.
func (r *Ring) Rotate(ctx context.Context, purpose string, lead time.Duration, record func(tx *db.Tx, kid string) error) (kid string, err error) {
	err = r.db.Update(ctx, func(tx *db.Tx) error {
		if err := tx.Alone("keys " + purpose); err != nil {
			return err
		}
		active := tx.Now().Add(lead)
		k, err := r.make(purpose, tx.Now(), active)
		if err != nil {
			return err
		}
		kid = k.KID
		if err := tx.RetireSigningKeys(purpose, k.KID, active.Add(Overlap)); err != nil {
			return err
		}
		if err := tx.InsertSigningKey(k); err != nil {
			return err
		}
		return record(tx, kid)
	})
	r.mu.Lock()
	delete(r.sets, purpose)
	r.mu.Unlock()
	return kid, err
}

func (r *Ring) make(purpose string, now, active time.Time) (db.SigningKey, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return db.SigningKey{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return db.SigningKey{}, err
	}
	pub := jose.JSONWebKey{Key: priv.Public(), Algorithm: string(jose.ES256), Use: "sig"}
	thumb, err := pub.Thumbprint(crypto.SHA256)
	if err != nil {
		return db.SigningKey{}, err
	}
	pub.KeyID = base64.RawURLEncoding.EncodeToString(thumb)
	text, err := json.Marshal(pub)
	if err != nil {
		return db.SigningKey{}, err
	}
	return db.SigningKey{
		KID: pub.KeyID, Purpose: purpose, Public: string(text),
		Sealed: r.box.Seal("signing key "+purpose, der), CreatedAt: now, ActiveAt: active,
	}, nil
}

// All returns the keys to publish, oldest first; at most 2 s old.
func (r *Ring) All(ctx context.Context, purpose string) ([]*Key, error) {
	now := r.clk.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	set := r.sets[purpose]
	if len(set.keys) > 0 && now.Sub(set.at) < reread {
		return set.keys, nil
	}
	known := map[string]*Key{}
	for _, k := range set.keys {
		known[k.KID] = k
	}
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
		k := known[row.KID]
		if k == nil {
			if k, err = r.open(row); err != nil {
				return nil, err
			}
		}
		fresh = append(fresh, k)
	}
	r.sets[purpose] = keySet{now, fresh}
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
	ec, ok := priv.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("keys: %s is not an EC key", row.KID)
	}
	k := &Key{KID: row.KID, Private: ec, ActiveAt: row.ActiveAt}
	return k, json.Unmarshal([]byte(row.Public), &k.Public)
}

// Current returns the key that signs now: the newest whose time has come.
func (r *Ring) Current(ctx context.Context, purpose string) (*Key, error) {
	all, err := r.All(ctx, purpose)
	if err != nil {
		return nil, err
	}
	now := r.clk.Now()
	for i := len(all) - 1; i >= 0; i-- {
		if !all[i].ActiveAt.After(now) {
			return all[i], nil
		}
	}
	return nil, fmt.Errorf("keys: no %s key is active", purpose)
}

// Sign makes a compact JWS (RFC 7515) with ES256, this key's id and the typ
// given over payload.
func (k *Key) Sign(typ string, payload []byte) (string, error) {
	enc := base64.RawURLEncoding
	head := `{"alg":"ES256","kid":"` + k.KID + `","typ":"` + typ + `"}`
	out := make([]byte, 0, enc.EncodedLen(len(head))+enc.EncodedLen(len(payload))+enc.EncodedLen(64)+2)
	out = enc.AppendEncode(out, []byte(head))
	out = append(out, '.')
	out = enc.AppendEncode(out, payload)
	sum := sha256.Sum256(out)
	r, s, err := ecdsa.Sign(rand.Reader, k.Private, sum[:])
	if err != nil {
		return "", fmt.Errorf("keys: sign: %w", err)
	}
	var sig [64]byte
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	out = append(out, '.')
	return string(enc.AppendEncode(out, sig[:])), nil
}
