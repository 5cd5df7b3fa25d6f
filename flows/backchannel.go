package flows

import (
	"context"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/operation"
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

var _ = context.Background
