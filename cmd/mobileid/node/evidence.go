package node

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"net/http"

	"mobileid/internal/evidence"
	"mobileid/internal/keys"
)

// EvidenceKeys is what /evidence/jwks publishes: every evidence key that there
// ever was, with the time it signed in.
func EvidenceKeys(ctx context.Context, ring *keys.Ring) ([]byte, error) {
	all, err := ring.History(ctx, keys.Evidence)
	if err != nil {
		return nil, err
	}
	set := make([]evidence.Published, 0, len(all))
	for _, k := range all {
		pub, ok := k.Public.Key.(*ecdsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("evidence key %s is a %T", k.KID, k.Public.Key)
		}
		p := evidence.Published{KID: k.KID, Key: pub, NotBefore: k.ActiveAt.Unix()}
		if !k.RetireAt.IsZero() {
			p.NotAfter = k.RetireAt.Unix()
		}
		set = append(set, p)
	}
	return evidence.Publish(set)
}

// stamp asks the authority of the configuration; nil without one.
func (n *Node) stamp() func(context.Context, []byte) ([]byte, error) {
	authority := n.Config.Evidence.TSAURL
	if authority == "" {
		return nil
	}
	return func(ctx context.Context, query []byte) ([]byte, error) {
		status, reply, err := n.egress.Post(ctx, authority, evidence.TimestampQuery, query)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("the authority answered %d", status)
		}
		return reply, err
	}
}
