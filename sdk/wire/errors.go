package wire

import (
	"fmt"
	"net/http"
	"time"
)

// Codes of sealed errors. AuthFailed is one code for every factor, so that
// nobody learns which one was wrong (PSD2 RTS article 4(3)(a)).
const (
	AuthFailed        = "auth_failed"
	MatchFailed       = "match_failed"
	OpGone            = "op_gone"
	OpNotHere         = "op_not_here"
	Need              = "need"
	ClockOff          = "clock"
	UnknownKey        = "unknown_key"
	Fork              = "fork"
	Stale             = "stale"
	NotSeen           = "not_seen"
	Resync            = "resync"
	DeviceBlocked     = "device_blocked"
	DevicePending     = "device_pending"
	DeviceRemoved     = "device_removed"
	UserLocked        = "user_locked"
	ActivationFailed  = "activation_failed"
	AttestationFailed = "attestation_failed"
	AddressRefused    = "address_refused" // push.set: nothing is sent to such an address
	PushOff           = "push_off"        // push.set: the App has no pushes
	NotAllowed        = "not_allowed"     // the App does not take this of this phone
	Upgrade           = "upgrade"
	Malformed         = "malformed"   // decrypted, but not a message of mid/1
	Unavailable       = "unavailable" // send the same bytes again: they tell the truth
)

// Error is a sealed error. Only the members of its code are set.
type Error struct {
	Code  string   `json:"code"`
	Left  *int     `json:"left,omitempty"`  // attempts that remain
	Until int64    `json:"until,omitempty"` // blocked until, seconds since 1970; absent: until somebody unlocks
	State string   `json:"state,omitempty"` // op_gone: the state it ended in
	By    string   `json:"by,omitempty"`    // op_gone: "this" or "other" device
	Now   int64    `json:"now,omitempty"`   // clock: the server's time
	Need  []string `json:"need,omitempty"`  // need: the factors of which one was missing, or NeedRisk
	Check string   `json:"check,omitempty"` // attestation_failed: what was wrong, or missing, or software
	Min   int      `json:"min,omitempty"`   // upgrade: the lowest version served
}

func (e *Error) Error() string { return "mid/1: " + e.Code }

// Is lets errors.Is(err, &Error{Code: c}) match by code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Failed is auth_failed, match_failed or activation_failed with what is left;
// until is zero unless that failure blocked something for a time.
func Failed(code string, left int, until time.Time) *Error {
	e := &Error{Code: code, Left: &left}
	if !until.IsZero() {
		e.Until = until.Unix()
	}
	return e
}

// Blocked is device_blocked; until is zero when no time ends it.
func Blocked(until time.Time) *Error {
	e := &Error{Code: DeviceBlocked}
	if !until.IsZero() {
		e.Until = until.Unix()
	}
	return e
}

// Gone is op_gone: state as in names on the wire, by "this" or "other" or "".
func Gone(state, by string) *Error { return &Error{Code: OpGone, State: state, By: by} }

// Codes of outer problems, told in the clear when no reply key is known.
const (
	OuterUnknownKey       = "unknown-key"
	OuterUnsupportedSuite = "unsupported-suite"
	OuterMalformed        = "malformed"
	OuterRateLimited      = "rate-limited"
	OuterUpgrade          = "upgrade"
)

// Outer is an error told outside any seal, as an RFC 9457 problem. Cause is for
// the log and never leaves the server.
type Outer struct {
	Code  string
	Cause error
}

func (e *Outer) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("mid/1: %s: %v", e.Code, e.Cause)
	}
	return "mid/1: " + e.Code
}

func (e *Outer) Unwrap() error { return e.Cause }

// Problem is the RFC 9457 form of an Outer, application/problem+json.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
}

// Problem says nothing but the code: equal bytes for equal codes.
func (e *Outer) Problem() Problem {
	p := Problem{Type: "urn:mobileid:mid:" + e.Code, Code: e.Code, Status: http.StatusBadRequest}
	switch e.Code {
	case OuterUnknownKey:
		p.Title = "The message is encrypted to a key that this server does not hold; fetch the key set again."
	case OuterUnsupportedSuite:
		p.Title = "The message uses a suite that this server does not serve."
	case OuterRateLimited:
		p.Title, p.Status = "Too many messages; wait.", http.StatusTooManyRequests
	case OuterUpgrade:
		p.Title, p.Status = "This protocol version is no longer served.", http.StatusUpgradeRequired
	default:
		p.Title = "Not a message of mid/1."
	}
	return p
}
