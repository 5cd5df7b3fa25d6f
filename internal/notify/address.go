package notify

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"mobileid/internal/audit"
	"mobileid/internal/channel"
	"mobileid/internal/db"
	"mobileid/internal/egress"
	"mobileid/internal/identity"
	"mobileid/sdk/wire"
)

// authSize is that of the authentication secret of RFC 8291.
const authSize = 16

// Handlers are the calls of mid/1 that this package serves.
func (n *Notifier) Handlers() map[string]channel.Handler {
	return map[string]channel.Handler{
		wire.OpPush: {StateChanging: true, AllowedStates: []string{db.DeviceActive}, Prepare: n.prepareSet},
	}
}

// prepareSet keeps where the phone is woken, or forgets it. One address wakes one
// device: whoever had it before has none.
func (n *Notifier) prepareSet(ctx context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	var body wire.PushSet
	if werr := c.Decode(&body); werr != nil {
		return channel.Plan{}, werr, nil
	}
	if werr := n.check(&body); werr != nil {
		return channel.Plan{}, werr, nil
	}
	public, _, err := n.vapid(ctx)
	if err != nil {
		return channel.Plan{}, nil, err
	}
	kept, err := json.Marshal(body)
	if err != nil {
		return channel.Plan{}, nil, err
	}
	return channel.Plan{Commit: func(tx *db.Tx, dev *db.Device) (any, *wire.Error, error) {
		act := "device.push_set"
		if body.Endpoint == "" {
			act = "device.push_removed"
			err = tx.DropPushAddress(dev.ID, "")
		} else {
			app, aerr := tx.App(dev.AppID)
			if aerr != nil {
				return nil, nil, aerr
			}
			policy, perr := identity.PolicyOf(app)
			if perr != nil {
				return nil, nil, perr
			}
			if policy.Push == identity.PushOff {
				return nil, &wire.Error{Code: wire.PushOff}, nil
			}
			err = tx.SetPushAddress(db.PushAddress{DeviceID: dev.ID, UserID: dev.UserID, Hash: hashOf(body.Endpoint), Sealed: n.Box.Seal(purpose(dev.ID), kept)})
		}
		if err != nil {
			return nil, nil, err
		}
		return wire.PushReply{VAPID: public}, nil, n.Audit.Append(tx, audit.Record{Act: act, Merchant: dev.MerchantID, User: dev.UserID, Device: dev.ID})
	}}, nil, nil
}

func (n *Notifier) check(b *wire.PushSet) *wire.Error {
	if b.Endpoint == "" {
		if len(b.P256DH)+len(b.Auth) > 0 {
			return &wire.Error{Code: wire.Malformed}
		}
		return nil
	}
	if _, err := ecdh.P256().NewPublicKey(b.P256DH); err != nil || len(b.Auth) != authSize {
		return &wire.Error{Code: wire.Malformed}
	}
	if egress.CheckAddress(b.Endpoint, n.Inside) != "" {
		return &wire.Error{Code: wire.AddressRefused}
	}
	return nil
}

func purpose(deviceID string) string { return "push address of " + deviceID }

func hashOf(address string) string {
	sum := sha256.Sum256([]byte(address))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// vapid is the server's key pair at push services: a point, and a number.
func (n *Notifier) vapid(ctx context.Context) (public, private []byte, err error) {
	k, err := n.Key(ctx)
	if err != nil {
		return nil, nil, err
	}
	key, ok := k.Private.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("notify: the key is a %T", k.Private)
	}
	if public, err = key.PublicKey.Bytes(); err != nil {
		return nil, nil, err
	}
	private, err = key.Bytes()
	return public, private, err
}
