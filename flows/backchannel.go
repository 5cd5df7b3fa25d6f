package flows

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/kv"
	"mobileid/internal/operation"
	"mobileid/internal/view"
)

const (
	// pollInterval is the least time between two polls (CIBA Core section 7.3);
	// each poll that comes too fast makes it longer.
	pollInterval = 5 * time.Second
	slowDownBy   = 5 * time.Second
	// pollSlack forgives a client whose clock ticks a little early.
	pollSlack = 500 * time.Millisecond
	// slowest is where the interval stops growing.
	slowest = time.Minute
	// requestLinger is how long an expired request is still known, so that
	// expired_token can be told from invalid_grant.
	requestLinger = 10 * time.Minute
)

// BackchannelStart is an accepted CIBA authentication request (CIBA Core
// section 7.1), already authenticated and checked for form.
type BackchannelStart struct {
	Client         *db.Client
	Hint           string // login_hint
	BindingMessage string
	MinACR         string // "" : the client's least
	Scopes         []string
	ExpiresIn      time.Duration // requested_expiry; 0: the default of 180 s; capped at 600 s
	Initiator      operation.Initiator
}

// BackchannelAck acknowledges it (CIBA Core section 7.3).
type BackchannelAck struct {
	AuthReqID string
	ExpiresIn time.Duration
	Interval  time.Duration
	MatchCode string // binding=match: for the merchant to show, the user to type
}

// Status is the answer to a poll.
type Status string

const (
	StatusPending  Status = "pending"
	StatusSlowDown Status = "slow_down"
	StatusApproved Status = "approved"
	StatusDenied   Status = "denied"
	StatusExpired  Status = "expired"
	StatusUnknown  Status = "unknown" // no such request, or another client's
)

// BackchannelState is a backchannel request as a poll sees it.
type BackchannelState struct {
	Status  Status
	Scopes  []string
	Outcome operation.Outcome // when approved
	Expires time.Time
}

// request is a backchannel request as kv keeps it, under the SHA-256 of its
// auth_req_id: a reader of the store cannot redeem it.
type request struct {
	ClientID    string   `json:"client"`
	OperationID string   `json:"op"`
	Scopes      []string `json:"scopes"`
	Interval    int64    `json:"interval"` // ms
	NextPoll    int64    `json:"next"`     // Unix ms
	HeldUntil   int64    `json:"held,omitempty"`
	ExpiresAt   int64    `json:"exp"` // Unix ms
}

func requestKey(authReqID string) string {
	sum := sha256.Sum256([]byte(authReqID))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// StartBackchannel asks the user's phone on behalf of a client that waits by
// polling. Errors: invalid_request, limit_reached, forbidden (the user declined
// this client a moment ago), unavailable; and, where the client may learn who
// exists, not_found, user_locked, user_deactivated, no_device, device_blocked.
func (f *Flows) StartBackchannel(ctx context.Context, s BackchannelStart) (BackchannelAck, error) {
	trusted := s.Client.Settings.Binding == "trusted"
	flow := operation.FlowCIBA
	if trusted {
		flow = operation.FlowPush
	}
	got, err := f.start(ctx, ask{client: s.Client, hint: s.Hint, flow: flow, prompt: view.Prompt{Message: s.BindingMessage}, minACR: s.MinACR,
		life: s.ExpiresIn, match: !trusted, initiator: s.Initiator})
	if err != nil {
		return BackchannelAck{}, err
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	id := base64.RawURLEncoding.EncodeToString(secret)
	err = f.requests.Create(ctx, requestKey(id), request{
		ClientID: s.Client.ID, OperationID: got.operationID, Scopes: s.Scopes, Interval: pollInterval.Milliseconds(),
		ExpiresAt: got.expires.UnixMilli(),
	}, got.life+requestLinger)
	if err != nil {
		f.withdraw(ctx, got.operationID)
		return BackchannelAck{}, fault.Wrap(fault.Unavailable, "the request could not be stored; try again", err)
	}
	return BackchannelAck{AuthReqID: id, ExpiresIn: got.life, Interval: pollInterval, MatchCode: got.match}, nil
}

// PollBackchannel tells where the request is, held for up to wait while it is
// pending. Nothing is consumed: the token endpoint redeems in SQL. A poll that
// comes before the interval is over, or while another one is held, is told
// slow_down and makes the interval longer (CIBA Core section 11).
func (f *Flows) PollBackchannel(ctx context.Context, authReqID, clientID string, wait time.Duration) (BackchannelState, error) {
	key := requestKey(authReqID)
	r, err := f.requests.Get(ctx, key)
	if errors.Is(err, kv.ErrNotFound) || err == nil && r.ClientID != clientID {
		return BackchannelState{Status: StatusUnknown}, nil
	}
	if err != nil {
		return BackchannelState{}, fault.Wrap(fault.Unavailable, "the request cannot be read; try again", err)
	}
	st, err := f.backchannelState(ctx, &r, 0)
	if err != nil || st.Status != StatusPending {
		return st, err
	}
	now := f.Clock.Now()
	wait = min(wait, st.Expires.Sub(now))
	fast := false
	r, err = f.requests.Update(ctx, key, func(r request) (request, error) {
		ms := now.UnixMilli()
		if fast = ms < r.NextPoll-pollSlack.Milliseconds() || ms < r.HeldUntil; fast {
			r.Interval = min(r.Interval+slowDownBy.Milliseconds(), slowest.Milliseconds())
			r.NextPoll = ms + r.Interval
			return r, nil
		}
		r.NextPoll = ms + r.Interval
		r.HeldUntil = 0
		if wait > 0 {
			r.HeldUntil = ms + wait.Milliseconds()
		}
		return r, nil
	})
	if errors.Is(err, kv.ErrNotFound) {
		return BackchannelState{Status: StatusUnknown}, nil
	}
	if err != nil {
		return BackchannelState{}, fault.Wrap(fault.Unavailable, "the request cannot be read; try again", err)
	}
	if fast {
		st.Status = StatusSlowDown
		return st, nil
	}
	if wait <= 0 {
		return st, nil
	}
	st, err = f.backchannelState(ctx, &r, wait)
	if ctx.Err() != nil {
		f.letGo(ctx, key)
	}
	return st, err
}

// letGo forgets a held poll whose client hung up: its next one is not too fast.
func (f *Flows) letGo(ctx context.Context, key string) {
	_, err := f.requests.Update(context.WithoutCancel(ctx), key, func(r request) (request, error) {
		r.HeldUntil = 0
		return r, nil
	})
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		f.Log.WarnContext(ctx, "a held poll was not let go", "error", err)
	}
}

// withdraw ends an operation whose asker could not be told of it.
func (f *Flows) withdraw(ctx context.Context, operationID string) {
	if err := f.stop(context.WithoutCancel(ctx), operationID); err != nil {
		f.Log.WarnContext(ctx, "a prompt could not be withdrawn", "operation", operationID, "error", err)
	}
}

func (f *Flows) backchannelState(ctx context.Context, r *request, wait time.Duration) (BackchannelState, error) {
	st := BackchannelState{Status: StatusPending, Scopes: r.Scopes, Expires: time.UnixMilli(r.ExpiresAt)}
	out, err := f.Operations.Status(ctx, r.OperationID)
	if err == nil && wait > 0 && !out.State.Terminal() {
		out, err = f.Operations.Wait(ctx, r.OperationID, wait)
	}
	if fault.Is(err, fault.NotFound) {
		// kv lost the operation but not the request. Nobody is told that it expired
		// before the row says so.
		out, err = f.Operations.Lose(ctx, r.OperationID, operation.KindAuthentication, r.ClientID)
	}
	if err != nil {
		return st, err
	}
	st.Outcome = out
	switch out.State {
	case operation.Pending, operation.Claimed:
	case operation.Completed:
		st.Status = StatusApproved
	case operation.Expired:
		st.Status = StatusExpired
	default:
		st.Status = StatusDenied
	}
	return st, nil
}
