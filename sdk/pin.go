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
	if done, err := p.pending(ctx, st, wire.OpPIN); done || err != nil {
		return err
	}
	said, err := p.statement(ctx)
	if err != nil {
		return err
	}
	was, err := p.knowledge(st, old)
	if err != nil {
		return err
	}
	if err := p.discard(st); err != nil {
		return err
	}
	kk, next, err := p.wrap(st.KeyRef, pin)
	if err != nil {
		return err
	}
	res, err := p.do(ctx, st, intent{op: wire.OpPIN, body: func(jti, _ string) (any, error) {
		st.Next = next
		body := wire.PINChange{KK: kk, Risk: said}
		bytes, err := body.Unproven()
		if err != nil {
			return nil, err
		}
		kpf := wire.CallProof(was, wire.OpPIN, bytes, jti, st.Head)
		body.KPF = kpf[:]
		return body, nil
	}})
	return into(res, err, &wire.Changed{})
}

// Rotate replaces the phone's keys, by proof of the PIN, which stays: the old and
// the new signing key both sign. What was said of ChangePIN about a lost reply
// holds here too. An App that requires attestation does not take it (*wire.Error
// not_allowed): such a phone registers anew.
func (p *Phone) Rotate(ctx context.Context, pin string) error {
	unlock, st, err := p.open(StatusActive)
	if err != nil {
		return err
	}
	defer unlock()
	if done, err := p.pending(ctx, st, wire.OpRotate); done || err != nil {
		return err
	}
	said, err := p.statement(ctx)
	if err != nil {
		return err
	}
	was, err := p.knowledge(st, pin)
	if err != nil {
		return err
	}
	old, err := p.thumbprint(st)
	if err != nil {
		return err
	}
	if err := p.discard(st); err != nil {
		return err
	}
	ref, err := p.Keys.Create()
	if err != nil {
		return err
	}
	kk, next, err := p.wrap(ref, pin)
	if err != nil {
		return errors.Join(err, p.Keys.Delete(ref))
	}
	next.KeyRef = ref
	key, err := p.Keys.Signer(ref)
	if err != nil {
		return errors.Join(err, p.Keys.Delete(ref))
	}
	res, err := p.do(ctx, st, intent{op: wire.OpRotate, body: func(jti, _ string) (any, error) {
		st.Next = next
		jws, err := wire.SignNewKey(key, wire.NewKeyClaims{Iss: st.Device, Old: wire.Encode(old[:]), JTI: jti})
		if err != nil {
			return nil, err
		}
		body := wire.Rotation{New: jws, KK: kk, Risk: said}
		bytes, err := body.Unproven()
		if err != nil {
			return nil, err
		}
		kpf := wire.CallProof(was, wire.OpRotate, bytes, jti, st.Head)
		body.KPF = kpf[:]
		return body, nil
	}})
	return into(res, err, &wire.Changed{})
}

// Remove gives the registration up: the server withdraws what came of it, and the
// phone deletes its keys and state. After an error without an answer it may be
// called again.
func (p *Phone) Remove(ctx context.Context) error {
	unlock, st, err := p.open(StatusActive)
	if err != nil {
		return err
	}
	defer unlock()
	done, err := p.pending(ctx, st, wire.OpRemove)
	if !done && err == nil {
		var res *wire.Result
		res, err = p.do(ctx, st, plain(wire.OpRemove, wire.Remove{}))
		err = into(res, err, &wire.Changed{})
	}
	if err != nil && !errors.Is(err, ErrRemoved) {
		return err
	}
	if err := p.Store.Save(&State{}); err != nil {
		return err
	}
	return p.destroy(st.KeyRef, st.Bio)
}

// discard deletes the keys of an attempt that came to nothing.
func (p *Phone) discard(st *State) error {
	next := st.Next
	if next == nil {
		return nil
	}
	st.Next = nil
	return p.destroy(next.KeyRef, next.Bio)
}

// pending settles what is unanswered. done means that it was the same call, and
// has been carried out, or refused, with what was given then.
func (p *Phone) pending(ctx context.Context, st *State, op string) (done bool, err error) {
	if st.Sent == nil {
		return false, nil
	}
	again := st.Sent.Call.Op == op
	res, err := p.settle(ctx, st)
	switch {
	case errors.Is(err, ErrNotDone):
		return false, nil
	case again:
		return true, into(res, err, &wire.Changed{})
	}
	return false, err
}

// knowledge is KK if the PIN is right, and other bytes if not: nobody here can tell.
func (p *Phone) knowledge(st *State, pin string) ([]byte, error) {
	mask, err := p.mask(st, pin)
	if err != nil {
		return nil, err
	}
	return wire.Xor(st.Wrapped, mask)
}

// wrap makes a new knowledge key and hides it by the PIN and the key pair of ref.
func (p *Phone) wrap(ref, pin string) (kk []byte, w *Wrap, err error) {
	if kk, err = p.random(wire.KeySize); err != nil {
		return nil, nil, err
	}
	w = &Wrap{}
	if w.Salt, err = p.random(wire.SaltSize); err != nil {
		return nil, nil, err
	}
	mask, err := p.mask(&State{KeyRef: ref, Salt: w.Salt}, pin)
	if err != nil {
		return nil, nil, err
	}
	w.Wrapped, err = wire.Xor(kk, mask)
	return kk, w, err
}

// changed takes the new wrap and keys over if the change was made, and drops them
// if it was not. A request that was never seen (nil) may be made anew, so they stay
// until it is known. It names the keys that are of no use any more, "" for none.
func (st *State) changed(res *wire.Result) (unused, bio string) {
	next := st.Next
	if next == nil || res == nil {
		return "", ""
	}
	st.Next = nil
	if res.Err != nil {
		return next.KeyRef, next.Bio
	}
	if next.Bio != "" {
		bio, st.Bio = st.Bio, next.Bio
		return "", bio
	}
	st.Salt, st.Wrapped = next.Salt, next.Wrapped
	if next.KeyRef != "" {
		unused, st.KeyRef = st.KeyRef, next.KeyRef
	}
	return unused, ""
}
