package operation

import (
	"context"
	"errors"
	"slices"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/identity"
	"mobileid/internal/kv"
)

const (
	// mostPrompts is how many prompts that name a user may wait at once.
	mostPrompts = 3
	// coolDecline and coolReport are how long a client that was declined or
	// reported may not ask the same user again.
	coolDecline = 30 * time.Second
	coolReport  = 24 * time.Hour
	promptsLife = coolReport + time.Hour

	// OutboxDecided is the outbox kind that brings kv up to date with a decision.
	OutboxDecided = "operation.decided"
	settleAfter   = 5 * time.Second
)

// prompts is what one user is being asked, and by whom no more for a while. It
// is one record, so that the cap is exact under any number of starts at once.
type prompts struct {
	Open []prompt
	Cool map[string]int64 // client → Unix ms
}

type prompt struct {
	Operation string
	Client    string
	Device    string
	Exp       int64 // Unix ms
}

// prune drops what is over.
func (p *prompts) prune(now int64) {
	open := p.Open[:0]
	for _, o := range p.Open {
		if o.Exp > now {
			open = append(open, o)
		}
	}
	p.Open = open
	for c, until := range p.Cool {
		if until <= now {
			delete(p.Cool, c)
		}
	}
}

// put makes the record of op and, if nothing else waits for its user, as for nearly
// everybody, counts it with the same call. Not counted is not refused: see reserve.
func (e *Engine) put(ctx context.Context, op *Operation, life time.Duration) (counted bool, err error) {
	made, err := e.ops.CreateCall(op.ID, *op, life)
	if err != nil {
		return false, err
	}
	if op.Initiation == FromApp {
		e.KV.Batch(ctx, made)
		return false, made.Err
	}
	first, err := e.pending.CreateCall(promptsKey(op.UserID), prompts{Open: []prompt{op.prompt()}}, promptsLife)
	if err != nil {
		return false, err
	}
	e.KV.Batch(ctx, made, first)
	switch {
	case made.Err == nil:
		return first.Err == nil, nil
	case first.Err == nil: // there is nothing, or something else, to count
		return false, errors.Join(made.Err, e.free(context.WithoutCancel(ctx), Outcome{OperationID: op.ID, UserID: op.UserID}, e.Clock.Now()))
	}
	return false, made.Err
}

func (op *Operation) prompt() prompt {
	return prompt{op.ID, op.ClientID, op.DeviceID, op.ExpiresAt}
}

// reserve counts op against its user's caps. It returns the operations of the
// same client that op supersedes; they free their places, and so do those of foreign.
func (e *Engine) reserve(ctx context.Context, op *Operation, foreign []string) (older []string, err error) {
	if op.Initiation == FromApp {
		return nil, e.mayAsk(ctx, op)
	}
	now := e.Clock.Now().UnixMilli()
	_, err = e.pending.Upsert(ctx, promptsKey(op.UserID), promptsLife, func(p prompts, _ bool) (prompts, error) {
		older = nil
		p.prune(now)
		if err := p.cooling(op.ClientID, now); err != nil {
			return p, err
		}
		open := p.Open[:0]
		for _, o := range p.Open {
			if o.Operation == op.ID || slices.Contains(foreign, o.Operation) {
				continue // counted before, or not for this node to count
			}
			if o.Client == op.ClientID {
				older = append(older, o.Operation)
			} else {
				open = append(open, o)
			}
		}
		if len(open) >= mostPrompts {
			return p, fault.New(fault.LimitReached, "too many requests wait for this user")
		}
		p.Open = append(open, op.prompt())
		return p, nil
	})
	if err != nil && fault.KindOf(err) == fault.Internal {
		err = fault.Wrap(fault.Unavailable, "the operation could not be started; try again", err)
	}
	return older, err
}

// foreign lists what another version of the server asks the user.
func (e *Engine) foreign(ctx context.Context, userID string) (ids []string) {
	p, err := e.pending.Get(ctx, promptsKey(userID))
	if err != nil {
		return nil
	}
	for _, o := range p.Open {
		if _, err := e.read(ctx, o.Operation); errors.Is(err, kv.ErrRecord) {
			ids = append(ids, o.Operation)
		}
	}
	return ids
}

// cooling reports a client that may not ask the user for a while.
func (p *prompts) cooling(clientID string, now int64) error {
	if until := p.Cool[clientID]; until > now {
		return &fault.Error{Kind: fault.Forbidden, Message: "the user declined a request of this client; it may ask again later",
			RetryAfter: time.Duration(until-now) * time.Millisecond}
	}
	return nil
}

// mayAsk is reserve for an operation that nobody is shown before a phone claims
// it: it takes no place and supersedes nothing until then.
func (e *Engine) mayAsk(ctx context.Context, op *Operation) error {
	p, err := e.pending.Get(ctx, promptsKey(op.UserID))
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return nil
	case err != nil:
		return fault.Wrap(fault.Unavailable, "the operation could not be started; try again", err)
	}
	return p.cooling(op.ClientID, e.Clock.Now().UnixMilli())
}

// settle keeps a decision that is durable, brings kv up to date with it and wakes
// who waits. The last two may fail: the outbox does them again until they went
// through. asked is what was read of the user's record a moment ago, nil for nothing.
func (e *Engine) settle(ctx context.Context, op *Operation, out Outcome, asked *kv.Call) {
	ctx = context.WithoutCancel(ctx)
	e.outcomes.keep(out)
	e.listed.forget(out)
	if err := e.settled(ctx, out, asked); err != nil {
		e.Log.WarnContext(ctx, "kv not brought up to date yet", "operation", op.ID, "error", err)
		return
	}
	e.Outbox.Done(op.ID)
}

func (e *Engine) settled(ctx context.Context, out Outcome, asked *kv.Call) error {
	now := e.Clock.Now()
	freed, err := e.freeing(out, asked, now)
	if err != nil {
		return err
	}
	calls := []*kv.Call{e.ops.DeleteCall(out.OperationID), e.ops.NotifyCall(out.OperationID)}
	if freed != nil {
		calls = append(calls, freed)
	}
	e.KV.Batch(ctx, calls...)
	if freed == nil || freed.Err != nil {
		err = e.free(ctx, out, now)
	}
	return errors.Join(calls[0].Err, calls[1].Err, err)
}

// free takes the decided operation out of the user's record as it is. Who may not ask
// for a while is noted even if the record was lost.
func (e *Engine) free(ctx context.Context, out Outcome, now time.Time) error {
	if cool := cooling(out.State); cool > 0 && out.At.Add(cool).After(now) {
		_, err := e.pending.Upsert(ctx, promptsKey(out.UserID), promptsLife, func(p prompts, _ bool) (prompts, error) {
			p.free(out, now)
			return p, nil
		})
		return err
	}
	_, err := e.pending.Update(ctx, promptsKey(out.UserID), func(p prompts) (prompts, error) {
		if p.free(out, now) {
			return p, kv.ErrRemove
		}
		return p, nil
	})
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	return err
}

// freeing is the call that takes the decided operation out of the user's record, as
// it was read; nil if it was not, or if there was none.
func (e *Engine) freeing(out Outcome, asked *kv.Call, now time.Time) (*kv.Call, error) {
	if asked == nil || asked.Err != nil {
		return nil, nil
	}
	p, err := e.pending.Got(asked)
	if err != nil {
		return nil, err
	}
	remove := p.free(out, now)
	return e.pending.UpdateCall(asked, p, remove)
}

// cooling is how long the client may not ask the user after such an end.
func cooling(s State) time.Duration {
	switch s {
	case Declined:
		return coolDecline
	case Reported:
		return coolReport
	}
	return 0
}

// free takes a decided operation out, and notes who may not ask for a while. It
// reports whether nothing is left.
func (p *prompts) free(out Outcome, now time.Time) bool {
	p.prune(now.UnixMilli())
	for i, o := range p.Open {
		if o.Operation == out.OperationID {
			p.Open = append(p.Open[:i], p.Open[i+1:]...)
			break
		}
	}
	cool := cooling(out.State)
	if until := out.At.Add(cool); cool > 0 && until.After(now) {
		if p.Cool == nil {
			p.Cool = map[string]int64{}
		}
		p.Cool[out.ClientID] = max(p.Cool[out.ClientID], until.UnixMilli())
	}
	return len(p.Open) == 0 && len(p.Cool) == 0
}

// DeliverDecided is the outbox deliverer of OutboxDecided. The item is named after
// its operation and says no more; the outcome is in the decision's row.
func (e *Engine) DeliverDecided(ctx context.Context, it db.OutboxItem) error {
	out, err := e.decided(ctx, it.ID)
	if err != nil {
		return err
	}
	return e.settled(ctx, out, nil)
}

// Withdrawal is of a user, or with a device of what no other device of the user can
// answer, because he or it may not answer any more since At (Unix ms).
type Withdrawal struct {
	UserID   string `json:"user"`
	DeviceID string `json:"device,omitempty"`
	At       int64  `json:"at,omitempty"` // 0 in what was written before it was kept
}

// Withdraw cancels what waits for whom w is of. Who may answer again meanwhile keeps
// what was started since.
func (e *Engine) Withdraw(ctx context.Context, w Withdrawal, reason string) error {
	p, err := e.pending.Get(ctx, promptsKey(w.UserID))
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var back bool
	var others []db.Device
	err = e.DB.View(ctx, func(tx *db.Tx) (err error) {
		if w.DeviceID == "" {
			u, err := tx.User(w.UserID)
			back = u.State == db.UserActive
			if errors.Is(err, db.ErrNotFound) {
				return nil
			}
			return err
		}
		others, err = tx.DevicesOf(w.UserID)
		others = slices.DeleteFunc(others, func(d db.Device) bool {
			may := identity.MayAnswer(&d, tx.Now())
			back = back || may && d.ID == w.DeviceID
			return d.ID == w.DeviceID || !may
		})
		return err
	})
	if err != nil {
		return err
	}
	for _, o := range p.Open {
		if w.DeviceID != "" && o.Device != "" && o.Device != w.DeviceID {
			continue
		}
		op, err := e.known(ctx, o.Operation)
		if absent(err) || back && w.At > 0 && op.StartedAt > w.At {
			continue
		}
		if o.Device == "" && slices.ContainsFunc(others, func(d db.Device) bool { return op.addresses(&d) }) {
			continue
		}
		if err != nil {
			return err
		}
		if _, err := e.End(ctx, o.Operation, Cancel, reason); err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	return nil
}
