package sdk

import (
	"context"
	"errors"

	"mobileid/sdk/wire"
)

// ChangePIN replaces the PIN. Only the server can tell whether the old one was
// right, and counts a wrong one as in any answer. Until it has told, the phone
// keeps both: after an error without an answer either may be the one that holds,
// which Resume, or whatever is called next, finds out.
func (p *Phone) ChangePIN(ctx context.Context, old, pin string) error {
	unlock, st, err := p.open(StatusActive)
	if err != nil {
		return err
	}
	defer unlock()
	if err := CheckPIN(st.Policy, pin); err != nil {
		return err
	}
	if st.Sent != nil {
		again := st.Sent.Call.Op == wire.OpPIN
		res, err := p.settle(ctx, st)
		if again && !errors.Is(err, ErrNotDone) { // it had arrived, with the PIN of then
			return into(res, err, &wire.PINChangeReply{})
		}
		if err != nil && !errors.Is(err, ErrNotDone) {
			return err
		}
	}
	mask, err := p.mask(st, old)
	if err != nil {
		return err
	}
	was, err := wire.Xor(st.Wrapped, mask)
	if err != nil {
		return err
	}
	kk, next, err := p.wrap(st, pin)
	if err != nil {
		return err
	}
	res, err := p.do(ctx, st, intent{op: wire.OpPIN, body: func(jti, _ string) (any, error) {
		st.Next = next
		body := wire.PINChange{KK: kk}
		bytes, err := body.Unproven()
		if err != nil {
			return nil, err
		}
		kpf := wire.CallProof(was, wire.OpPIN, bytes, jti, st.Head)
		body.KPF = kpf[:]
		return body, nil
	}})
	return into(res, err, &wire.PINChangeReply{})
}

// wrap makes a new knowledge key and hides it by the PIN.
func (p *Phone) wrap(st *State, pin string) (kk []byte, w *Wrap, err error) {
	if kk, err = p.random(wire.KeySize); err != nil {
		return nil, nil, err
	}
	w = &Wrap{}
	if w.Salt, err = p.random(wire.SaltSize); err != nil {
		return nil, nil, err
	}
	mask, err := p.mask(&State{KeyRef: st.KeyRef, Salt: w.Salt}, pin)
	if err != nil {
		return nil, nil, err
	}
	w.Wrapped, err = wire.Xor(kk, mask)
	return kk, w, err
}

// pinChanged takes the new wrap over if the change was made, and drops it if it
// was not.
func (st *State) pinChanged(res *wire.Result) {
	if res != nil && res.Err == nil && st.Next != nil {
		st.Salt, st.Wrapped = st.Next.Salt, st.Next.Wrapped
	}
	st.Next = nil
}
