package flows

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"strings"
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
	Details        *view.Details // RFC 9396, checked; nil: there are none
	Locales        []string      // ui_locales
	App            bool          // begun inside the merchant's app, which claims it with the start token
	ExpiresIn      time.Duration // requested_expiry; 0: the default of 180 s; capped at 600 s
	Initiator      operation.Initiator
}

// BackchannelAck acknowledges it (CIBA Core section 7.3).
type BackchannelAck struct {
	AuthReqID string
	ExpiresIn time.Duration
	Interval  time.Duration
	MatchCode string // binding=match: for the merchant to show, the user to type
	// StartToken is for the merchant's app if the request began there.
	StartToken string
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
	Details string            // canonical bytes, as shown and signed; "": none
	Outcome operation.Outcome // when approved
	Expires time.Time
}

// pace is how fast a request may be polled. kv keeps it under the id of the
// request's operation, from the first poll that found it pending.
type pace struct {
	Interval  int64 `json:"interval"` // ms
	NextPoll  int64 `json:"next"`     // Unix ms
	HeldUntil int64 `json:"held,omitempty"`
}

// An auth_req_id is the time of its request, as ids of operations begin with it,
// and 256 random bits in base64url.
const (
	timeLength = 9
	idLength   = timeLength + 43
)

func newAuthReqID() string {
	secret := make([]byte, 32)
	rand.Read(secret)
	return db.NewSerialID("")[:timeLength] + base64.RawURLEncoding.EncodeToString(secret)
}

// operationOf is the id of the operation that the request of an auth_req_id
// started: the time and 130 bits of a hash. So no store needs a record of the
// request besides, and nothing that is stored, sent or logged leads back from the
// operation to the auth_req_id. It is "" for what is none.
func operationOf(authReqID string) string {
	if len(authReqID) != idLength || strings.Trim(authReqID[:timeLength], "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return ""
	}
	sum := sha256.Sum256([]byte("auth_req_id 1 " + authReqID))
	return "op_" + authReqID[:timeLength] + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:20])[:26])
}

// StartBackchannel asks the user's phone on behalf of a client that waits by
// polling. Errors: invalid_request, limit_reached, forbidden (the user declined
// this client a moment ago), unavailable; and, where the client may learn who
// exists, not_found, user_locked, user_deactivated, no_device, device_blocked.
func (f *Flows) StartBackchannel(ctx context.Context, s BackchannelStart) (BackchannelAck, error) {
	id := newAuthReqID()
	a := ask{client: s.Client, hint: s.Hint, prompt: view.Prompt{Message: s.BindingMessage, Details: s.Details},
		detailsName: ParamDetails, locales: s.Locales, minACR: s.MinACR,
		life: s.ExpiresIn, initiator: s.Initiator, options: options{app: s.App}, operationID: operationOf(id), scope: strings.Join(s.Scopes, " ")}
	a.flow, a.match = a.way(operation.FlowCIBA)
	got, err := f.start(ctx, a)
	if err != nil {
		return BackchannelAck{}, err
	}
	return BackchannelAck{AuthReqID: id, ExpiresIn: got.life, Interval: pollInterval, MatchCode: got.match, StartToken: got.startToken}, nil
}

// PollBackchannel tells where the request is, held for up to wait while it is
// pending. Nothing is consumed: the token endpoint redeems in SQL. A poll that
// comes before the interval is over, or while another one is held, is told
// slow_down and makes the interval longer (CIBA Core section 11).
func (f *Flows) PollBackchannel(ctx context.Context, authReqID, clientID string, wait time.Duration) (BackchannelState, error) {
	id := operationOf(authReqID)
	if id == "" {
		return BackchannelState{Status: StatusUnknown}, nil
	}
	st, err := f.backchannelState(ctx, id, clientID, 0)
	if err != nil || st.Status != StatusPending {
		return st, err
	}
	now := f.Clock.Now()
	left := st.Expires.Sub(now)
	wait = min(wait, left)
	fast := false
	_, err = f.paces.Upsert(ctx, id, left+requestLinger, func(p pace, exists bool) (pace, error) {
		if !exists {
			p.Interval = pollInterval.Milliseconds()
		}
		ms := now.UnixMilli()
		if fast = ms < p.NextPoll-pollSlack.Milliseconds() || ms < p.HeldUntil; fast {
			p.Interval = min(p.Interval+slowDownBy.Milliseconds(), slowest.Milliseconds())
			p.NextPoll = ms + p.Interval
			return p, nil
		}
		p.NextPoll = ms + p.Interval
		p.HeldUntil = 0
		if wait > 0 {
			p.HeldUntil = ms + wait.Milliseconds()
		}
		return p, nil
	})
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
	st, err = f.backchannelState(ctx, id, clientID, wait)
	if ctx.Err() != nil {
		f.letGo(ctx, id)
	}
	return st, err
}

// letGo forgets a held poll whose client hung up: its next one is not too fast.
func (f *Flows) letGo(ctx context.Context, id string) {
	_, err := f.paces.Update(context.WithoutCancel(ctx), id, func(p pace) (pace, error) {
		p.HeldUntil = 0
		return p, nil
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

// backchannelState tells where the request is. What nobody knows is unknown, as is
// what another client asked for or what was over long ago.
func (f *Flows) backchannelState(ctx context.Context, id, clientID string, wait time.Duration) (BackchannelState, error) {
	out, err := f.Operations.Status(ctx, id)
	if err == nil && wait > 0 && !out.State.Terminal() {
		out, err = f.Operations.Wait(ctx, id, wait)
	}
	st := BackchannelState{Status: StatusPending, Scopes: strings.Fields(out.Scope), Details: string(out.Data), Expires: time.UnixMilli(out.Expires)}
	if fault.Is(err, fault.NotFound) || err == nil && (out.ClientID != clientID || f.Clock.Now().After(st.Expires.Add(requestLinger))) {
		return BackchannelState{Status: StatusUnknown}, nil
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
