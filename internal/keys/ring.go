package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db"

	"github.com/go-jose/go-jose/v4"
)

// Purposes: separate sets that never sign for one another.
const (
	OIDC      = "oidc"       // tokens, ES256
	OIDCPS256 = "oidc-ps256" // tokens of clients that ask for PS256
	OIDCRS256 = "oidc-rs256" // likewise RS256; a key is for one algorithm
	Server    = "server"     // key sets of mid/1; its thumbprint is pinned by phones
	Push      = "push"       // the server's name at push services (VAPID); addresses are bound to it
	Evidence  = "evidence"   // consent signatures; published for ever, with the time each signed in
)

// Tokens lists the purposes whose keys sign tokens.
func Tokens() []string { return []string{OIDC, OIDCPS256, OIDCRS256} }

// ForAlg is the purpose of keys that sign tokens with alg; "" if none does.
func ForAlg(alg string) string {
	for _, p := range Tokens() {
		if string(algOf(p)) == alg {
			return p
		}
	}
	return ""
}

func algOf(purpose string) jose.SignatureAlgorithm {
	switch purpose {
	case OIDCPS256:
		return jose.PS256
	case OIDCRS256:
		return jose.RS256
	}
	return jose.ES256
}

// ErrNone says that no key of the purpose is active.
var ErrNone = errors.New("no key is active")

// modulus is the length of RSA keys in bits.
const modulus = 2048

const (
	// Lead is how long a new key is published before it signs, so that relying
	// parties that cache the key set have seen it.
	Lead = 10 * time.Minute
	// Overlap is how long a key stays published after its successor signs.
	Overlap = 24 * time.Hour
	// Handover is how long an evidence key may still sign when its successor does:
	// by then every node has read the keys again.
	Handover = time.Minute
	// Soon is the shortest lead: by then every node publishes the new key.
	Soon = reread + time.Second
	// reread is how old a node's view of the keys may be.
	reread = 2 * time.Second
	// rereadNone is the same where there is no key: another node may make the first
	// one and sign with it, which those who read the key set here soon have to see.
	rereadNone = 200 * time.Millisecond
)

// Key is one key of the ring.
type Key struct {
	KID      string
	Alg      jose.SignatureAlgorithm
	Private  crypto.Signer
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

	finding sync.Mutex // held to read keys for Find, by one at a time
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
		if err := r.ensure(ctx, p); err != nil {
			return fmt.Errorf("keys: first %s key: %w", p, err)
		}
	}
	return nil
}

func (r *Ring) ensure(ctx context.Context, purpose string) error {
	have, err := r.newest(ctx, purpose)
	if have {
		r.forget(purpose) // it may have been made since this node looked
	}
	if err != nil || have {
		return err
	}
	// Before the transaction: all writers would wait for an RSA key.
	priv, err := generate(purpose)
	if err != nil {
		return err
	}
	err = r.db.Update(ctx, func(tx *db.Tx) error {
		if err := tx.Alone("keys " + purpose); err != nil { // nodes may start at once
			return err
		}
		if have, err := tx.SigningKeys(purpose); err != nil || len(have) > 0 {
			return err // another node was first
		}
		k, err := r.row(purpose, priv, tx.Now(), tx.Now())
		if err != nil {
			return err
		}
		return tx.InsertSigningKey(k)
	})
	r.forget(purpose)
	return err
}

// newest reports whether there is a key, and fails if the newest was sealed by
// another master key.
func (r *Ring) newest(ctx context.Context, purpose string) (bool, error) {
	var have []db.SigningKey
	err := r.db.View(ctx, func(tx *db.Tx) (err error) {
		have, err = tx.SigningKeys(purpose)
		return err
	})
	if err != nil || len(have) == 0 {
		return false, err
	}
	_, err = r.open(have[len(have)-1])
	return true, err
}

// forget makes the next call read the purpose's keys anew.
func (r *Ring) forget(purpose string) {
	r.mu.Lock()
	delete(r.sets, purpose)
	r.mu.Unlock()
}

// Rotate adds a key that is published now and signs after lead; the others
// leave the set Overlap later. Evidence keys never leave theirs: they end Handover
// later, and those that ended before lose their private halves. record puts the
// act on record in the same transaction. It returns the new key id.
func (r *Ring) Rotate(ctx context.Context, purpose string, lead time.Duration, record func(tx *db.Tx, kid string) error) (kid string, err error) {
	priv, err := generate(purpose)
	if err != nil {
		return "", err
	}
	err = r.db.Update(ctx, func(tx *db.Tx) error {
		if err := tx.Alone("keys " + purpose); err != nil {
			return err
		}
		active := tx.Now().Add(lead)
		k, err := r.row(purpose, priv, tx.Now(), active)
		if err != nil {
			return err
		}
		kid = k.KID
		retire := active.Add(Overlap)
		if purpose == Evidence {
			retire = active.Add(Handover)
			if err := tx.DestroyRetiredKeys(purpose); err != nil {
				return err
			}
		}
		if err := tx.RetireSigningKeys(purpose, k.KID, retire); err != nil {
			return err
		}
		if err := tx.InsertSigningKey(k); err != nil {
			return err
		}
		return record(tx, kid)
	})
	r.forget(purpose)
	return kid, err
}

func generate(purpose string) (crypto.Signer, error) {
	if algOf(purpose) == jose.ES256 {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return rsa.GenerateKey(rand.Reader, modulus)
}

func (r *Ring) row(purpose string, priv crypto.Signer, now, active time.Time) (db.SigningKey, error) {
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return db.SigningKey{}, err
	}
	pub := jose.JSONWebKey{Key: priv.Public(), Algorithm: string(algOf(purpose)), Use: "sig"}
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
