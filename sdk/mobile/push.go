package mobile

import "mobileid/sdk/wire"

// Push is what became of SetPush.
type Push struct {
	Result *Result
	// Key is the server's (VAPID), for which a subscription is made: 65 bytes, 04, x, y.
	Key []byte
}

// OK reports whether the address is set, or forgotten.
func (p *Push) OK() bool { return p.Result.OK() }

// SetPush registers where the phone is woken, in place of any other address: a
// subscription of UnifiedPush or Web Push, with its key (65 bytes) and its secret (16).
// An empty endpoint without them forgets the address; a phone that has no subscription
// asks for Key so.
func (p *Phone) SetPush(endpoint string, p256dh, auth []byte) (*Push, error) {
	ctx, done := p.begin()
	defer done()
	key, err := p.phone.SetPush(ctx, wire.PushSet{Endpoint: endpoint, P256DH: p256dh, Auth: auth})
	res, err := result(err)
	return &Push{Result: res, Key: key}, err
}
