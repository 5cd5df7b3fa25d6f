package sdk

import (
	"context"
	"errors"
	"slices"

	"mobileid/sdk/wire"
)

// List returns the operations that wait for this phone.
func (p *Phone) List(ctx context.Context) ([]wire.Operation, error) {
	st, err := p.Store.Load()
	if err != nil {
		return nil, err
	}
	if st.Status != StatusActive {
		return nil, ErrNotRegistered
	}
	var reply wire.ListReply
	err = p.ask(ctx, st, plain(wire.OpList, wire.List{}), &reply)
	return reply.Ops, err
}

// History returns what was decided about the user, newest first.
func (p *Phone) History(ctx context.Context) ([]wire.Past, error) {
	st, err := p.Store.Load()
	if err != nil {
		return nil, err
	}
	if st.Status != StatusActive {
		return nil, ErrNotRegistered
	}
	var reply wire.HistoryReply
	err = p.ask(ctx, st, plain(wire.OpHistory, wire.History{}), &reply)
	return reply.Ops, err
}

// Claim takes over the operation of a start token, which a merchant's app got from
// its backend. Nobody else can answer it then.
func (p *Phone) Claim(ctx context.Context, startToken string) (*wire.Operation, error) {
	claim, err := wire.ParseStartToken(startToken)
	if err != nil {
		return nil, err
	}
	unlock, st, err := p.open(StatusActive)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if st.Sent != nil {
		again := st.Sent.Txn == claim.Txn && st.Sent.Call.Op == wire.OpClaim
		res, err := p.settle(ctx, st)
		if again && !errors.Is(err, ErrNotDone) {
			return decodeClaim(res, err)
		}
		if err != nil && !errors.Is(err, ErrNotDone) {
			return nil, err
		}
	}
	in := plain(wire.OpClaim, claim)
	in.txn = claim.Txn
	return decodeClaim(p.do(ctx, st, in))
}

func decodeClaim(res *wire.Result, err error) (*wire.Operation, error) {
	var reply wire.ClaimReply
	if err := into(res, err, &reply); err != nil {
		return nil, err
	}
	return &reply.Op, nil
}

// Approve answers yes. The PIN is used and forgotten: a wrong one gives another
// proof, and only the server can tell. match is the code that the user typed,
// "" where none is asked for.
func (p *Phone) Approve(ctx context.Context, op *wire.Operation, pin, match string) (*wire.AnswerReply, error) {
	return p.approve(ctx, op, match, func(st *State, ans string, body *wire.Answer) error {
		if len(op.Need) == 0 {
			return nil
		}
		if !slices.Contains(op.Need, wire.FactorPIN) {
			return &wire.Error{Code: wire.Need, Need: op.Need}
		}
		kk, err := p.knowledge(st, pin)
		if err != nil {
			return err
		}
		kpf := wire.AnswerProof(kk, wire.AnswerHash(ans), op.Chal)
		body.KPF = kpf[:]
		return nil
	})
}

// approve answers yes with what prove adds.
func (p *Phone) approve(ctx context.Context, op *wire.Operation, match string, prove func(*State, string, *wire.Answer) error) (*wire.AnswerReply, error) {
	if _, err := wire.ParseView(op.View); err != nil {
		return nil, errors.Join(ErrCannotShow, err)
	}
	return p.answer(ctx, op, wire.Approve, func(st *State, ans string, body *wire.Answer) error {
		body.Match = match
		return prove(st, ans, body)
	})
}

// Decline answers no, or with report that the user never asked for this. It
// carries no factor.
func (p *Phone) Decline(ctx context.Context, op *wire.Operation, report bool) (*wire.AnswerReply, error) {
	dec := wire.Decline
	if report {
		dec = wire.Report
	}
	return p.answer(ctx, op, dec, nil)
}

func (p *Phone) answer(ctx context.Context, op *wire.Operation, dec string, prove func(*State, string, *wire.Answer) error) (*wire.AnswerReply, error) {
	unlock, st, err := p.open(StatusActive)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if st.Sent != nil {
		if st.Sent.Txn == op.Txn && st.Sent.Call.Op == wire.OpAnswer {
			// The user asked for this once before and the reply was lost: what
			// came of it then is the answer, unless it never arrived.
			reply, err := decodeAnswer(p.settle(ctx, st))
			if !errors.Is(err, ErrNotDone) {
				return reply, err
			}
		} else if _, err := p.settle(ctx, st); err != nil && !errors.Is(err, ErrNotDone) {
			return nil, err
		}
	}
	body, err := p.answerBody(ctx, st, op, dec)
	if err == nil && prove != nil {
		err = prove(st, body.Ans, body)
	}
	if err != nil {
		return nil, err
	}
	in := plain(wire.OpAnswer, body)
	in.txn = op.Txn
	return decodeAnswer(p.do(ctx, st, in))
}

// answerBody signs ans.
func (p *Phone) answerBody(ctx context.Context, st *State, op *wire.Operation, dec string) (*wire.Answer, error) {
	dsk, err := p.Keys.Signer(st.KeyRef)
	if err != nil {
		return nil, err
	}
	c := wire.ClaimsFor(op)
	c.Dec, c.Iat = dec, p.serverNow().Unix()
	if c.JTI, err = p.token(); err != nil {
		return nil, err
	}
	body := &wire.Answer{}
	if dec == wire.Approve {
		if body.Risk, err = p.statement(ctx); err != nil {
			return nil, err
		}
		c.HR = wire.RiskHash(body.Risk)
	}
	body.Ans, err = wire.SignAnswer(dsk, c)
	return body, err
}

// statement is what the phone says of itself, as bytes; nil if it says nothing.
func (p *Phone) statement(ctx context.Context) ([]byte, error) {
	if p.Risk == nil {
		return nil, nil
	}
	said, err := p.Risk.Measure(ctx)
	if err != nil {
		return nil, err
	}
	if said.Platform == "" {
		said.Platform = p.Platform
	}
	if said.Model == "" {
		said.Model = p.Model
	}
	if said.At == 0 {
		said.At = p.serverNow().Unix()
	}
	return said.Bytes()
}

func decodeAnswer(res *wire.Result, err error) (*wire.AnswerReply, error) {
	var reply wire.AnswerReply
	if err := into(res, err, &reply); err != nil {
		return nil, err
	}
	return &reply, nil
}

// Outcome is what became of a request whose reply had been lost.
type Outcome struct {
	Op  string
	Txn string // op.claim, op.answer: the operation
	Err error  // nil, a *wire.Error, or ErrNotDone
}

// Resume settles what is unanswered, as after a crash; nil if nothing is. It
// sends the same bytes again and then asks with dev.sync.
func (p *Phone) Resume(ctx context.Context) (*Outcome, error) {
	unlock, st, err := p.open(StatusNone, StatusBegun, StatusPending, StatusActive)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if st.Sent == nil {
		return nil, nil
	}
	out := &Outcome{Op: st.Sent.Call.Op, Txn: st.Sent.Txn}
	res, err := p.settle(ctx, st)
	switch {
	case errors.Is(err, ErrNotDone):
		out.Err = ErrNotDone
		return out, nil
	case err != nil:
		return nil, err
	case res.Err != nil:
		out.Err = res.Err
		return out, nil
	}
	return out, p.apply(st, out.Op, res)
}

// apply carries the result of a registration call over into the state.
func (p *Phone) apply(st *State, op string, res *wire.Result) error {
	switch op {
	case wire.OpRegBegin:
		var reply wire.RegBeginReply
		if err := wire.Unmarshal(res.Body, &reply); err != nil {
			return err
		}
		_, err := p.begun(st, &reply)
		return err
	case wire.OpRegFinish, wire.OpRegStatus:
		var reply wire.RegState
		if err := wire.Unmarshal(res.Body, &reply); err != nil {
			return err
		}
		return p.finished(st, reply.State)
	}
	return nil
}
