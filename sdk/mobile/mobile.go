// Package mobile is the phone for apps on Android and iOS: package sdk in types that
// gomobile binds. What an app shows its user, a wrong PIN say, comes as the Code of a
// result; an error is what nobody planned. docs/sdk.md tells how it is used.
//
// Calls wait for the network and, some, for the user: an app makes them from a thread
// of its own, one at a time.
package mobile

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"sync"
	"time"

	"mobileid/sdk"
	"mobileid/sdk/wire"
)

// Protocol is the version of mid/1 that this SDK speaks. A server that serves others
// alone is met with CodeUpgrade or CodeServerOlder.
const Protocol = 1

// Codes that are this SDK's own. The others are the sealed errors of mid/1:
// auth_failed, match_failed, need, op_gone, device_blocked and so on.
const (
	CodeOK          = ""             // it is done
	CodeUpgrade     = "upgrade"      // the app has to be upgraded: the server serves Min and later
	CodeServerOlder = "server_older" // the server does not serve this version yet
	CodeNotServed   = "not_served"   // the server does not know this call
	CodeNoReply     = "no_reply"     // nobody knows yet what became of it: Resume
	CodeNotDone     = "not_done"     // the server never saw it and never will
	CodeInvalidated = "invalidated"  // the biometric key is gone: use the PIN, add it again
	CodeCancelled   = "cancelled"    // the user showed neither finger nor face
	CodeNoBiometry  = "no_biometry"  // there is no biometric key
	CodeCannotShow  = "cannot_show"  // the operation cannot be shown, so it is not approved
	CodeNotActive   = "not_active"   // the phone is not registered
	CodeRegistered  = "registered"   // it is, already
	CodeBadPIN      = "bad_pin"      // the policy refuses the PIN; Text says why
	CodeUnanswered  = "unanswered"   // an earlier request has to be settled first: Resume
)

// Phone is one registration of this app's user.
type Phone struct {
	phone   *sdk.Phone
	mu      sync.Mutex
	timeout time.Duration
	stop    context.CancelFunc
}

// NewPhone is the phone whose state is in the file at path, which is made when it is
// needed and must not be part of a backup. platform is "android" or "ios", model what
// the user's list of devices shows. bio may be nil.
func NewPhone(path, platform, model string, keys Keystore, bio Biometry) (*Phone, error) {
	if path == "" || keys == nil {
		return nil, errors.New("mobile: a path and a keystore are needed")
	}
	p := &sdk.Phone{Store: &sdk.File{Path: path}, Keys: keystore{keys}, HTTP: &http.Client{Timeout: 40 * time.Second}, Now: time.Now, Rand: rand.Reader,
		Platform: platform, Model: model, Pause: func(try int) { time.Sleep(time.Duration(try+1) * 500 * time.Millisecond) }}
	if bio != nil {
		p.Bio = biometry{bio}
	}
	return &Phone{phone: p, timeout: 2 * time.Minute}, nil
}

// SetTimeout bounds every call; the default is two minutes.
func (p *Phone) SetTimeout(seconds int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timeout = time.Duration(seconds) * time.Second
}

// Cancel ends the call that is under way, from another thread. What it had sent may be
// carried out: Resume tells.
func (p *Phone) Cancel() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		p.stop()
	}
}

func (p *Phone) begin() (context.Context, func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, stop := context.WithTimeout(context.Background(), p.timeout)
	p.stop = stop
	return ctx, stop
}

// State is where the registration is: "", "begun", "pending", "active", "refused".
func (p *Phone) State() (string, error) {
	st, err := p.phone.Store.Load()
	if err != nil {
		return "", err
	}
	return st.Status, nil
}

// Result is what became of a call.
type Result struct {
	Code  string // CodeOK, or why not
	State string // of an operation: COMPLETED, DECLINED, REPORTED, or how it had ended
	Text  string // to show: after an approval, or about Code
	Left  int    // attempts that remain, -1 if nobody said
	Until int64  // blocked until, seconds since 1970; 0: until somebody unlocks, or not
	Needs string // CodeOK no: factors of which one is needed, "pin bio"
	Min   int    // CodeUpgrade
	Call  string // Resume: the call that was settled
	Txn   string // Resume: its operation
}

// OK reports whether it is done.
func (r *Result) OK() bool { return r.Code == CodeOK }

// result turns an error that an app plans for into a result.
func result(err error) (*Result, error) {
	r := &Result{Left: -1}
	if err == nil {
		return r, nil
	}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		r.Code, r.State, r.Until, r.Needs, r.Min = e.Code, e.State, e.Until, words(e.Need), e.Min
		if e.Left != nil {
			r.Left = *e.Left
		}
		return r, nil
	}
	if e, ok := errors.AsType[*sdk.UpgradeError](err); ok {
		r.Code, r.Min, r.Text = CodeUpgrade, e.Min, e.Error()
		return r, nil
	}
	for _, c := range []struct {
		err  error
		code string
	}{
		{sdk.ErrServerOlder, CodeServerOlder}, {sdk.ErrNotServed, CodeNotServed}, {sdk.ErrNotDone, CodeNotDone}, {sdk.ErrNoReply, CodeNoReply},
		{sdk.ErrInvalidated, CodeInvalidated}, {sdk.ErrCancelled, CodeCancelled}, {sdk.ErrNoBiometry, CodeNoBiometry}, {sdk.ErrCannotShow, CodeCannotShow},
		{sdk.ErrNotRegistered, CodeNotActive}, {sdk.ErrRegistered, CodeRegistered}, {sdk.ErrUnanswered, CodeUnanswered},
	} {
		if errors.Is(err, c.err) {
			r.Code, r.Text = c.code, err.Error()
			return r, nil
		}
	}
	return nil, err
}
