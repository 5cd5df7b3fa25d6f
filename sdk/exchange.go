package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"mobileid/sdk/wire"
)

// remakes bounds how often one call is made anew after its clock or key was off.
const remakes = 3

// intent is a call to be made; body may depend on the jti and the server's key,
// and is made again when those change. It stays in memory.
type intent struct {
	op, txn string
	body    func(jti, ek string) (any, error)
}

func plain(op string, body any) intent {
	return intent{op: op, body: func(string, string) (any, error) { return body, nil }}
}

// build seals one request.
func (p *Phone) build(ctx context.Context, st *State, in intent, head string) (*wire.Sent, error) {
	set, pin, err := p.keySet(ctx, st.Origin, st.Pin, false)
	if err != nil {
		return nil, err
	}
	if st.Pin == "" { // typed registration: the key that came is the pin from now on
		st.Pin = pin
	}
	if !slices.Contains(set.Sup.Ops, in.op) {
		return nil, fmt.Errorf("%w: %s", ErrNotServed, in.op)
	}
	tek, err := set.Pick()
	if err != nil {
		return nil, err
	}
	jti, err := p.token()
	if err != nil {
		return nil, err
	}
	rk, err := p.random(wire.KeySize)
	if err != nil {
		return nil, err
	}
	body, err := in.body(jti, tek.Kid)
	if err != nil {
		return nil, err
	}
	dsk, err := p.Keys.Signer(st.KeyRef) // after the body, which may have made it anew
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	iss := st.Device
	if in.op == wire.OpRegBegin {
		jwk, err := wire.PublicJWK(dsk)
		if err != nil {
			return nil, err
		}
		iss = jwk.ThumbprintURI()
	}
	now := p.serverNow().Unix()
	return wire.SealRequest(wire.Claims{
		V: wire.Version, Iss: iss, Aud: st.Origin, Op: in.op, JTI: jti,
		Iat: now, Exp: now + wire.RequestLife, RK: rk, Head: head, Body: raw,
	}, dsk, tek, p.Rand)
}

// ask makes a call that changes no state. It needs no lock and no head, runs
// beside others, and is simply made anew when anything was off.
func (p *Phone) ask(ctx context.Context, st *State, in intent, into any) error {
	for try := 0; ; try++ {
		sent, err := p.build(ctx, st, in, "")
		if err != nil {
			return err
		}
		reply, err := p.insist(ctx, st, sent)
		switch {
		case isOuter(err, wire.OuterUnknownKey) && try < remakes:
			continue
		case err != nil:
			return err
		case reply.Err != nil && reply.Err.Code == wire.ClockOff && try < remakes:
			p.learnTime(reply.Err.Now)
			continue
		case reply.Err != nil:
			return reply.Err
		}
		return wire.Unmarshal(reply.Body, into)
	}
}

// do makes a state-changing call. The caller holds the lock. st is saved with
// the request before it is sent, and with the new head before do returns.
func (p *Phone) do(ctx context.Context, st *State, in intent) (*wire.Result, error) {
	if st.Sent != nil {
		return nil, ErrUnanswered
	}
	for try := 0; ; try++ {
		sent, err := p.build(ctx, st, in, st.Head)
		if err != nil {
			return nil, err
		}
		st.Sent = &Unanswered{Call: *sent, Txn: in.txn}
		if err := p.Store.Save(st); err != nil {
			return nil, err
		}
		res, err := p.settle(ctx, st)
		if errors.Is(err, ErrNotDone) && try < remakes {
			continue
		}
		return res, err
	}
}

// settle sends what is unanswered until its result is known: the same bytes
// first, then dev.sync. ErrNotDone means that it may be made anew.
func (p *Phone) settle(ctx context.Context, st *State) (*wire.Result, error) {
	u := st.Sent
	if len(u.Syncs) == 0 {
		reply, err := p.insist(ctx, st, &u.Call)
		switch {
		case err == nil && (reply.Err == nil || reply.Err.Code != wire.ClockOff):
			return &reply.Result, p.conclude(st, reply, &reply.Result)
		case err == nil:
			p.learnTime(reply.Err.Now)
		case !isOuter(err, wire.OuterUnknownKey):
			return nil, err
		}
		// The server refused it unread or out of time. It may lie on the way still,
		// so it is declared over before another one is made under the same head.
		if u.Call.Op == wire.OpRegBegin {
			return nil, p.drop(st)
		}
	}
	for try := 0; ; try++ {
		if n := len(u.Syncs); n > 0 {
			reply, err := p.insist(ctx, st, &u.Syncs[n-1])
			switch {
			case err == nil && reply.Err != nil && reply.Err.Code == wire.ClockOff:
				p.learnTime(reply.Err.Now)
			case err == nil:
				return p.synced(st, reply)
			case !isOuter(err, wire.OuterUnknownKey):
				return nil, err
			}
		}
		if try == remakes {
			return nil, ErrNoReply
		}
		if err := p.addSync(ctx, st); err != nil {
			return nil, err
		}
	}
}

// addSync makes and stores the next dev.sync for what is unanswered.
func (p *Phone) addSync(ctx context.Context, st *State) error {
	u := st.Sent
	if len(u.Syncs) > remakes { // the server remembers a few; the oldest cannot arrive any more
		u.Syncs = u.Syncs[1:]
	}
	body := wire.Sync{Try: u.Call.Try}
	for _, s := range u.Syncs {
		body.Syncs = append(body.Syncs, s.Try)
	}
	sent, err := p.build(ctx, st, plain(wire.OpSync, body), st.Head)
	if err != nil {
		return err
	}
	u.Syncs = append(u.Syncs, *sent)
	return p.Store.Save(st)
}

// synced reads the reply to dev.sync.
func (p *Phone) synced(st *State, reply *wire.Reply) (*wire.Result, error) {
	var res *wire.Result
	switch {
	case reply.Err == nil:
		res = &wire.Result{}
		if err := wire.Unmarshal(reply.Body, res); err != nil {
			return nil, fmt.Errorf("phone: result of dev.sync: %w", err)
		}
	case reply.Err.Code != wire.NotSeen:
		res = &wire.Result{St: wire.StatusErr, Err: reply.Err}
	}
	if err := p.conclude(st, reply, res); err != nil {
		return nil, err
	}
	if res == nil {
		return nil, ErrNotDone
	}
	return res, nil
}

// conclude stores the new head and what came of the request, nil if it was never
// seen, and forgets it. A reply without a head spent none: the old one stays good.
func (p *Phone) conclude(st *State, reply *wire.Reply, res *wire.Result) error {
	var keys, bio string
	switch op := st.Sent.Call.Op; op {
	case wire.OpPIN, wire.OpRotate, wire.OpBioAdd:
		keys, bio = st.changed(res)
	case wire.OpBioRemove:
		if res != nil && res.Err == nil {
			bio, st.Bio = st.Bio, ""
		}
	}
	if reply.Head != "" {
		st.Head = reply.Head
	}
	st.Sent = nil
	if err := p.Store.Save(st); err != nil {
		return err
	}
	return p.destroy(keys, bio)
}

// destroy deletes keys that are of no use any more, each "" for none.
func (p *Phone) destroy(keys, bio string) (err error) {
	if keys != "" {
		err = p.Keys.Delete(keys)
	}
	if bio != "" && p.Bio != nil {
		err = errors.Join(err, p.Bio.Delete(bio))
	}
	return err
}

func (p *Phone) drop(st *State) error {
	st.Sent = nil
	if err := p.Store.Save(st); err != nil {
		return err
	}
	return ErrNotDone
}

// into decodes a result or returns its sealed error.
func into(res *wire.Result, err error, out any) error {
	if err != nil {
		return err
	}
	if res.Err != nil {
		return res.Err
	}
	return wire.Unmarshal(res.Body, out)
}
