package sdk

import (
	"context"
	"errors"

	"mobileid/sdk/wire"
)

// SetPush registers where the phone is woken, in place of any other address: a
// subscription of Web Push or UnifiedPush, made for the server's key. The zero
// PushSet forgets the address. Either way the server's key (an uncompressed P-256
// point) comes back, so a phone that has no subscription asks for the key so first.
func (p *Phone) SetPush(ctx context.Context, a wire.PushSet) (key []byte, err error) {
	unlock, st, err := p.open(StatusActive)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if st.Sent != nil && st.Sent.Call.Op == wire.OpPush { // what it set is set anew
		if _, err := p.settle(ctx, st); err != nil && !errors.Is(err, ErrNotDone) {
			return nil, err
		}
	}
	var reply wire.PushReply
	res, err := p.do(ctx, st, plain(wire.OpPush, a))
	err = into(res, err, &reply)
	return reply.VAPID, err
}
