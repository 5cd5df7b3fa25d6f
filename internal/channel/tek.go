package channel

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/keys"
	"mobileid/internal/kv"
	"mobileid/sdk/wire"
)

const (
	tekLife  = 15 * time.Minute // handed out
	tekGrace = time.Minute      // still accepted, for what is on its way
	// tekReread bounds how often an unknown kid makes a node read the shared ring.
	tekReread = time.Second
	// tekRing is the bucket and the purpose under which shared keys are sealed.
	tekRing = "mid-tek"
)

// TEK is one key that requests are sealed to. When the last copy is gone, what
// was recorded on the wire can no longer be opened by anyone.
type TEK struct {
	Kid     string
	Private *ecdh.PrivateKey
	Until   time.Time // handed out until then, accepted for a minute more
}

// String keeps the key out of logs.
func (k *TEK) String() string { return "tek " + k.Kid }

// Ring holds the current TEK and those in grace. With a store it is shared by
// several nodes: the keys lie there sealed, for 16 minutes at most. Without one
// they are in this process alone and die with it.
type Ring struct {
	clk    clock.Clock
	shared *kv.Bucket[[]sealedTEK]
	box    *keys.Box

	mu   sync.Mutex
	keys []*TEK // oldest first
	read time.Time
}

type sealedTEK struct {
	Kid    string `json:"k"`
	Sealed []byte `json:"s"`
	Until  int64  `json:"u"`
}

// NewRing makes a ring in memory, for one node.
func NewRing(clk clock.Clock) *Ring { return &Ring{clk: clk} }

// NewSharedRing makes a ring that all nodes on the store share.
func NewSharedRing(clk clock.Clock, store kv.KV, box *keys.Box) *Ring {
	b := kv.NewBucket[[]sealedTEK](store, tekRing)
	return &Ring{clk: clk, shared: &b, box: box}
}

// Current returns the key to hand out, making one if none is fresh.
func (r *Ring) Current(ctx context.Context) (*TEK, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clk.Now()
	if k := r.newest(now); k != nil {
		return k, nil
	}
	if r.shared != nil {
		if err := r.reload(ctx, now); err != nil {
			return nil, err
		}
	} else {
		k, err := newTEK(now)
		if err != nil {
			return nil, err
		}
		r.keys = append(alive(r.keys, now), k)
	}
	if k := r.newest(now); k != nil {
		return k, nil
	}
	return nil, errors.New("channel: no key to seal requests to")
}

// Find returns the key with kid while it is accepted, or nil. Unknown ones make
// it ask the store once in tekReread, whether that answers or not, so that a
// flood of them keeps nobody waiting.
func (r *Ring) Find(ctx context.Context, kid string) (*TEK, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clk.Now()
	r.keys = alive(r.keys, now)
	if k := r.byKid(kid); k != nil || r.shared == nil || now.Sub(r.read) < tekReread {
		return k, nil
	}
	r.read = now
	if err := r.reload(ctx, now); err != nil {
		return nil, err
	}
	return r.byKid(kid), nil
}

func (r *Ring) byKid(kid string) *TEK {
	for _, k := range r.keys {
		if k.Kid == kid {
			return k
		}
	}
	return nil
}

func (r *Ring) newest(now time.Time) *TEK {
	if n := len(r.keys); n > 0 && now.Before(r.keys[n-1].Until) {
		return r.keys[n-1]
	}
	return nil
}

// reload brings the shared ring up to date, adding a key if none is fresh:
// whichever node comes first makes it, by compare-and-swap.
func (r *Ring) reload(ctx context.Context, now time.Time) error {
	list, err := r.shared.Upsert(ctx, "ring", tekLife+tekGrace, func(have []sealedTEK, _ bool) ([]sealedTEK, error) {
		var keep []sealedTEK
		fresh := false
		for _, s := range have {
			until := time.Unix(s.Until, 0)
			if now.Before(until.Add(tekGrace)) {
				keep = append(keep, s)
				fresh = fresh || now.Before(until)
			}
		}
		if fresh {
			return keep, nil
		}
		k, err := newTEK(now)
		if err != nil {
			return nil, err
		}
		sealed := r.box.Seal(tekRing+" "+k.Kid, k.Private.Bytes())
		return append(keep, sealedTEK{k.Kid, sealed, k.Until.Unix()}), nil
	})
	if err != nil {
		return fmt.Errorf("channel: shared keys: %w", err)
	}
	r.read = now
	known := r.keys
	r.keys = nil
	for _, s := range list {
		k, err := r.unseal(s, known)
		if err != nil {
			return err
		}
		r.keys = append(r.keys, k)
	}
	return nil
}

func (r *Ring) unseal(s sealedTEK, known []*TEK) (*TEK, error) {
	for _, k := range known {
		if k.Kid == s.Kid {
			return k, nil
		}
	}
	raw, err := r.box.Open(tekRing+" "+s.Kid, s.Sealed)
	if err != nil {
		return nil, fmt.Errorf("channel: shared keys: %w", err)
	}
	priv, err := ecdh.P256().NewPrivateKey(raw)
	if err != nil {
		return nil, fmt.Errorf("channel: shared keys: %w", err)
	}
	return &TEK{s.Kid, priv, time.Unix(s.Until, 0)}, nil
}

func newTEK(now time.Time) (*TEK, error) {
	priv, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("channel: new key: %w", err)
	}
	return &TEK{wire.FromECDH(priv.PublicKey()).KeyID(), priv, now.Add(tekLife).Truncate(time.Second)}, nil
}

// alive drops keys whose grace is over.
func alive(list []*TEK, now time.Time) []*TEK {
	for len(list) > 0 && !now.Before(list[0].Until.Add(tekGrace)) {
		list = list[1:]
	}
	return list
}
