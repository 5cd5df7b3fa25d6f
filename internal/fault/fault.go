// Package fault gives an error three readers: a kind for code, a message for
// the user, and a cause for the log. The kind is the problem code that the REST
// API shows; web/errors.go alone turns kinds into HTTP statuses.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind classifies an error for code. Its value is the problem code on the wire.
type Kind string

const (
	Invalid             Kind = "invalid_request"
	Unauthorized        Kind = "unauthorized"
	Forbidden           Kind = "forbidden"
	NotFound            Kind = "not_found"
	WrongMethod         Kind = "method_not_allowed"
	StateConflict       Kind = "state_conflict"
	VersionConflict     Kind = "version_conflict"
	IdempotencyMismatch Kind = "idempotency_mismatch"
	RateLimited         Kind = "rate_limited"
	UserLocked          Kind = "user_locked"
	UserDeactivated     Kind = "user_deactivated"
	DeviceBlocked       Kind = "device_blocked"
	DeviceLocked        Kind = "device_locked"
	NoDevice            Kind = "no_device"
	LimitReached        Kind = "limit_reached"
	Unavailable         Kind = "unavailable"
	Internal            Kind = "internal"
)

// Field names one faulty member of a request by RFC 6901 pointer.
type Field struct {
	Pointer string `json:"pointer"`
	Code    string `json:"code"`
	Detail  string `json:"detail"`
}

// Error is an error with a kind, a message that may be shown to the caller and
// a cause that may not.
type Error struct {
	Kind       Kind
	Message    string
	Fields     []Field
	Cause      error
	RetryAfter time.Duration // zero: not said
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Kind, e.Message, e.Cause)
	}
	return fmt.Sprintf("%s: %s", e.Kind, e.Message)
}

func (e *Error) Unwrap() error { return e.Cause }

// New makes an error whose message the caller may see.
func New(kind Kind, message string) *Error { return &Error{Kind: kind, Message: message} }

// Wrap is New with a cause for the log.
func Wrap(kind Kind, message string, cause error) *Error {
	return &Error{Kind: kind, Message: message, Cause: cause}
}

// InField is an invalid_request that names the faulty member.
func InField(pointer, code, detail string) *Error {
	return &Error{Kind: Invalid, Message: detail, Fields: []Field{{pointer, code, detail}}}
}

// KindOf returns the kind of the first Error in err's chain, or Internal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Is reports whether err carries kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
