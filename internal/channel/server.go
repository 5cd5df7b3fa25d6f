package channel

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"mobileid/internal/clock"
	"mobileid/internal/db"
	"mobileid/sdk/wire"
)

// Server answers phones. Fill the fields, register handlers, then serve; it is
// safe for concurrent use from then on.
type Server struct {
	Issuer string // this server's origin: aud of requests, iss of replies
	DB     *db.DB
	TEK    *Ring
	SSK    func(ctx context.Context) (crypto.Signer, error) // the key that phones pin
	Clock  clock.Clock                                      // for iat and exp only; expiry of state is the database's
	Rand   io.Reader
	// Versions are those of the protocol that are served, as phones are told; nil is
	// wire.Version alone. A phone of another is told the lowest (upgrade), unheard.
	Versions []int
	// HeadKey (32 bytes, the same on every node) makes heads; see docs/protocol.md.
	HeadKey []byte
	Log     *slog.Logger
	// OnFork runs in the transaction that suspends a device because a copy of it
	// is about: audit record and alert belong there.
	OnFork func(tx *db.Tx, dev *db.Device) error
	// OnStranger is told of a message that opened but proved no phone's key; nil
	// if nobody counts them.
	OnStranger func(ctx context.Context, remoteIP string)
	// OnRefused is told the code of every refusal that is sealed. nil is nobody.
	OnRefused func(code string)
	// Span is called before a request is carried out, by the name of its call,
	// and the function it returns after it; that may be nil. nil does nothing.
	Span func(ctx context.Context, name string) (context.Context, func(error))

	handlers map[string]Handler
	callers  callers
}

// Handle registers the handler of op; a second one for the same op is a
// programming error. dev.sync is the server's own.
func (s *Server) Handle(op string, h Handler) {
	if s.handlers == nil {
		s.handlers = map[string]Handler{wire.OpSync: syncHandler()}
	}
	if _, taken := s.handlers[op]; taken {
		panic("channel: two handlers for " + op)
	}
	s.handlers[op] = h
}

// Keys returns the signed key set for a phone's challenge. A challenge of
// another form is a malformed *wire.Outer.
func (s *Server) Keys(ctx context.Context, challenge string) (string, error) {
	if !wire.ValidRandom(challenge) {
		return "", &wire.Outer{Code: wire.OuterMalformed, Cause: errors.New("challenge")}
	}
	tek, err := s.TEK.Current(ctx)
	if err != nil {
		return "", err
	}
	ssk, err := s.SSK(ctx)
	if err != nil {
		return "", fmt.Errorf("channel: signing key: %w", err)
	}
	ops := make([]string, 0, len(s.handlers))
	for op := range s.handlers {
		ops = append(ops, op)
	}
	slices.Sort(ops)
	return wire.SignKeySet(ssk, &wire.KeySet{
		Iss: s.Issuer, Iat: s.Clock.Now().Unix(), Exp: tek.Until.Unix(), C: challenge,
		Keys:  []wire.SealKey{{Kid: tek.Kid, Suite: wire.SuiteECDH, JWK: wire.FromECDH(tek.Private.PublicKey())}},
		Chain: []string{},
		Sup:   wire.Supported{V: s.versions(), Ops: ops},
	})
}

func (s *Server) versions() []int {
	if s.Versions == nil {
		return []int{wire.Version}
	}
	return s.Versions
}

// RPC answers one request. The error is a *wire.Outer, told as a problem in the
// clear, or an internal one; every other outcome is a sealed reply.
func (s *Server) RPC(ctx context.Context, body []byte, remoteIP string) ([]byte, error) {
	env, err := wire.ParseEnvelope(body)
	if err != nil {
		return nil, err
	}
	tek, err := s.TEK.Find(ctx, env.Kid)
	if err != nil {
		return nil, err
	}
	if tek == nil {
		return s.forgotten(ctx, env)
	}
	req, err := env.Open(tek.Private)
	werr, ok := err.(*wire.Error)
	if err == nil && !slices.Contains(s.versions(), req.V) {
		werr, ok = &wire.Error{Code: wire.Upgrade}, true
	}
	if ok {
		if werr.Code == wire.Upgrade {
			werr.Min = slices.Min(s.versions())
		}
		s.stranger(ctx, remoteIP)
		return s.seal(req, refused(werr), "")
	}
	if err != nil {
		return nil, err
	}
	x := &exchange{Server: s, req: req, call: Call{
		Op: req.Op, Body: req.Body, Head: req.Head, JTI: req.JTI, EK: req.EK, KeyID: req.KeyID,
		RH: req.RH, JWE: env.Hash, IssuedAt: time.Unix(req.Iat, 0), RemoteIP: remoteIP,
	}}
	h, known := s.handlers[req.Op]
	if known && h.StateChanging {
		coming := s.DB.Coming()
		defer coming.End()
		ctx = coming.With(ctx)
	}
	if known && s.Span != nil {
		ctx, end := s.Span(ctx, "mid."+req.Op)
		reply, err := x.answer(ctx)
		if end != nil {
			end(err)
		}
		return reply, err
	}
	return x.answer(ctx)
}

func (s *Server) stranger(ctx context.Context, remoteIP string) {
	if s.OnStranger != nil {
		s.OnStranger(ctx, remoteIP)
	}
}

// forgotten answers a request sealed to a key that is gone: if these very bytes
// were answered before, the reply is still there for the phone that lost it.
func (s *Server) forgotten(ctx context.Context, env *wire.Envelope) (reply []byte, err error) {
	err = s.DB.View(ctx, func(tx *db.Tx) error {
		dev, err := tx.DeviceByJWE(env.Hash[:])
		reply = dev.Chain.LastReply
		return err
	})
	if errors.Is(err, db.ErrNotFound) {
		return nil, &wire.Outer{Code: wire.OuterUnknownKey}
	}
	return reply, err
}

// exchange is one opened request on its way to a reply.
type exchange struct {
	*Server
	req  *wire.Request
	call Call
	h    Handler

	kept   bool             // the device is one that was kept
	signed *ecdsa.PublicKey // the key that the signature was verified by
	signer bool             // whether it was right
}

// answer is the order of checks; each either refuses or leaves less in doubt.
func (x *exchange) answer(ctx context.Context) ([]byte, error) {
	stored, werr, err := x.identify(ctx)
	switch {
	case err != nil:
		x.Log.ErrorContext(ctx, "device look-up failed", "err", err)
		werr = &wire.Error{Code: wire.Unavailable}
	case stored != nil:
		return stored, nil
	}
	if werr != nil {
		if werr.Code == wire.UnknownKey || werr.Code == wire.Malformed {
			x.stranger(ctx, x.call.RemoteIP)
		}
		return x.seal(x.req, refused(werr), "")
	}
	plan, werr, err := x.h.Prepare(ctx, &x.call)
	if err != nil && x.kept { // it needs kv, and these bytes may have been answered before
		if stored, _, ferr := x.findDevice(ctx); ferr == nil && stored != nil {
			return stored, nil
		}
	}
	if err != nil {
		x.Log.ErrorContext(ctx, "call failed", "op", x.call.Op, "err", err)
		return x.seal(x.req, refused(&wire.Error{Code: wire.Unavailable}), "")
	}
	if !x.h.StateChanging {
		if werr != nil {
			return x.seal(x.req, refused(werr), "")
		}
		res, err := accepted(plan.Reply)
		if err != nil {
			return nil, err
		}
		return x.seal(x.req, res, "")
	}
	if werr != nil {
		plan.Commit = func(*db.Tx, *db.Device) (any, *wire.Error, error) { return nil, werr, nil }
	}
	return x.commit(ctx, plan)
}

// identify finds the device and checks that the request is its own, for this server
// and now. A device that was kept is good for a request that passes; before another
// is refused the row is asked, for these bytes may have been answered before. It
// returns the stored reply if these very bytes were the last state-changing request.
func (x *exchange) identify(ctx context.Context) (stored []byte, werr *wire.Error, err error) {
	h, known := x.handlers[x.call.Op]
	if !known {
		return nil, &wire.Error{Code: wire.Malformed}, nil
	}
	x.h = h
	if h.StateChanging && h.ByName {
		if c := x.callers.find(x.call.KeyID); c != nil && c.dev.ID == x.req.Iss {
			x.from(c)
			if x.kept = x.check() == nil; x.kept {
				return nil, nil, nil
			}
		}
	}
	if stored, werr, err = x.findDevice(ctx); stored == nil && werr == nil && err == nil {
		werr = x.check()
	}
	return stored, werr, err
}

// from takes the request for one of the device's.
func (x *exchange) from(c *caller) {
	dev := c.dev
	x.call.DSK, x.call.Key, x.call.Caller, x.call.Device = c.jwk, c.pub, &dev, &dev.Device
}

// findDevice loads the device of the signing key, or the stored reply.
func (x *exchange) findDevice(ctx context.Context) (stored []byte, werr *wire.Error, err error) {
	var dev db.Caller
	begin := x.call.Op == wire.OpRegBegin
	refusedBefore := false
	err = x.DB.View(ctx, func(tx *db.Tx) error {
		dev, err = tx.CallerOf(x.call.KeyID, x.call.JWE[:])
		if errors.Is(err, db.ErrNotFound) && begin {
			if _, rerr := tx.RedeemedGrant(refusedBegin, wire.Encode(x.call.RH[:])); !errors.Is(rerr, db.ErrNotFound) {
				refusedBefore = rerr == nil
				err = errors.Join(err, rerr)
			}
		}
		if err != nil {
			return err
		}
		unblock(&dev.Device, tx.Now())
		return nil
	})
	switch {
	case refusedBefore: // a resend is not another attempt
		return nil, &wire.Error{Code: wire.ActivationFailed}, nil
	case errors.Is(err, db.ErrNotFound) && begin:
		x.call.DSK = *x.req.JWK
		return nil, nil, nil
	case errors.Is(err, db.ErrNotFound):
		return x.rotated(ctx)
	case err != nil:
		return nil, nil, err
	case dev.Chain.LastReply != nil: // of these very bytes
		return dev.Chain.LastReply, nil, nil
	case begin: // a signing key belongs to one registration
		return nil, &wire.Error{Code: wire.ActivationFailed}, nil
	case dev.ID != x.req.Iss:
		return nil, &wire.Error{Code: wire.UnknownKey}, nil
	}
	c, err := x.callers.keep(dev)
	if err == nil {
		x.from(c)
	}
	return nil, nil, err
}

// rotated answers for a key that no device has: if these very bytes were answered
// before, they gave the device another key, and the reply was lost.
func (x *exchange) rotated(ctx context.Context) (stored []byte, werr *wire.Error, err error) {
	err = x.DB.View(ctx, func(tx *db.Tx) error {
		dev, err := tx.DeviceByJWE(x.call.JWE[:])
		stored = dev.Chain.LastReply
		return err
	})
	if errors.Is(err, db.ErrNotFound) {
		return nil, &wire.Error{Code: wire.UnknownKey}, nil
	}
	return stored, nil, err
}

// check verifies the signature and what the signed claims say about this server
// and now. The device's state is told only to who holds its key.
func (x *exchange) check() *wire.Error {
	if x.call.Key == nil { // reg.begin brings its own
		var err error
		if x.call.Key, err = x.call.DSK.ECDSA(); err != nil {
			return &wire.Error{Code: wire.UnknownKey}
		}
	}
	if x.signed == nil || !x.signed.Equal(x.call.Key) {
		x.signed, x.signer = x.call.Key, x.req.Verify(x.call.Key)
	}
	if !x.signer {
		return &wire.Error{Code: wire.UnknownKey}
	}
	if x.call.Device != nil {
		if werr := stateError(x.call.Device, x.h.AllowedStates); werr != nil {
			return werr
		}
	}
	if x.req.Aud != x.Issuer {
		return &wire.Error{Code: wire.Malformed}
	}
	if x.h.StateChanging && x.call.Op != wire.OpRegBegin {
		if _, err := wire.Decode32(x.call.Head); err != nil {
			return &wire.Error{Code: wire.Malformed}
		}
	}
	now, iat, exp := x.Clock.Now().Unix(), x.req.Iat, x.req.Exp
	if iat <= 0 || iat > now+wire.Ahead || exp <= now || exp <= iat || exp > iat+wire.RequestLife {
		return &wire.Error{Code: wire.ClockOff, Now: now}
	}
	return nil
}

// unblock shows a device whose block is over as what it now is; the row itself
// follows when the device next writes.
func unblock(dev *db.Device, now time.Time) bool {
	if dev.State != db.DeviceBlocked || dev.BlockedUntil.IsZero() || dev.BlockedUntil.After(now) {
		return false
	}
	dev.State, dev.Failures, dev.BlockedUntil = db.DeviceActive, 0, time.Time{}
	return true
}

// stateError is nil if the device's state is one of allowed.
func stateError(dev *db.Device, allowed []string) *wire.Error {
	if slices.Contains(allowed, dev.State) {
		return nil
	}
	switch dev.State {
	case db.DevicePending:
		return &wire.Error{Code: wire.DevicePending}
	case db.DeviceBlocked:
		return wire.Blocked(dev.BlockedUntil)
	case db.DeviceLocked:
		return wire.Blocked(time.Time{})
	case db.DeviceSuspended:
		return &wire.Error{Code: wire.Fork}
	case db.DeviceActive: // a call of registration after it is over
		return &wire.Error{Code: wire.Stale}
	}
	return &wire.Error{Code: wire.DeviceRemoved}
}

func refused(werr *wire.Error) wire.Result { return wire.Result{St: wire.StatusErr, Err: werr} }

func accepted(body any) (wire.Result, error) {
	raw, err := json.Marshal(body)
	return wire.Result{St: wire.StatusOK, Body: raw}, err
}

// seal makes the reply to req. next is the new head, "" if none was spent.
func (s *Server) seal(req *wire.Request, res wire.Result, next string) ([]byte, error) {
	if res.Err != nil && s.OnRefused != nil {
		s.OnRefused(res.Err.Code)
	}
	now := s.Clock.Now().Unix()
	return wire.SealReply(req.RK, &wire.Reply{
		Iss: s.Issuer, Aud: req.Iss, Iat: now, Exp: now + wire.ReplyLife,
		Rto: req.JTI, RH: wire.Encode(req.RH[:]), Head: next, Result: res,
	}, s.Rand)
}
