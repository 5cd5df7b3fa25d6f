package sdk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"mobileid/sdk/wire"
)

// Registration is what the user is shown while a phone registers.
type Registration struct {
	State  string // wire.RegPending, RegActive, RegRefused; "" before a PIN is chosen
	Hint   string // masked user
	Policy wire.Policy
	Digits string // 8 digits to compare with the browser
	// Compare says that the user must confirm the digits: always when typed.
	Compare bool
}

// Register begins a registration from a link or the text of its QR code.
func (p *Phone) Register(ctx context.Context, link string) (*Registration, error) {
	t, err := wire.ParseLink(link)
	if err != nil {
		return nil, err
	}
	return p.begin(ctx, State{Origin: t.Origin, Pin: t.Pin}, t.ID, "", t.Secret)
}

// RegisterTyped begins a registration from a typed locator and activation code.
// The server's key is taken on the word of TLS, so the user must compare the
// digits afterwards, whatever the policy says.
func (p *Phone) RegisterTyped(ctx context.Context, origin, locator, code string) (*Registration, error) {
	if err := wire.CheckOrigin(origin); err != nil {
		return nil, err
	}
	loc, err := wire.Locator(locator)
	if err != nil {
		return nil, err
	}
	return p.begin(ctx, State{Origin: origin, Typed: true}, "", loc, wire.Secret(strings.TrimSpace(code)))
}

func (p *Phone) begin(ctx context.Context, fresh State, ticket, locator string, secret wire.Secret) (*Registration, error) {
	unlock, err := p.Store.Lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	old, err := p.Store.Load()
	if err != nil {
		return nil, err
	}
	if old.Status == StatusActive || old.Status == StatusPending {
		return nil, ErrRegistered
	}
	if old.KeyRef != "" { // an attempt that came to nothing; keys serve one registration
		if err := p.Keys.Delete(old.KeyRef); err != nil {
			return nil, err
		}
	}
	st := &fresh
	if _, _, err = p.keySet(ctx, st.Origin, st.Pin, false); err != nil { // before anything is made
		return nil, err
	}
	if st.KeyRef, err = p.Keys.Create(); err != nil {
		return nil, err
	}
	if st.NP, err = p.random(wire.NonceSize); err != nil {
		return nil, err
	}
	fc := wire.Commitment(st.NP)
	res, err := p.do(ctx, st, intent{op: wire.OpRegBegin, body: func(jti, ek string) (any, error) {
		var att *wire.Attestation
		if a, ok := p.Keys.(Attester); ok {
			if att, err = a.Attest(st.KeyRef, ek, ticket+locator); err != nil {
				return nil, err
			}
		}
		dsk, err := p.thumbprint(st)
		if err != nil {
			return nil, err
		}
		tm := wire.TicketMAC(secret, ek, jti, dsk, fc)
		return wire.RegBegin{
			Ticket: ticket, Locator: locator, FC: fc[:], TM: tm[:], Platform: p.Platform, Model: p.Model, Att: att,
		}, nil
	}})
	var reply wire.RegBeginReply
	if err := into(res, err, &reply); err != nil {
		return nil, err
	}
	return p.begun(st, &reply)
}

// begun stores the reply to reg.begin.
func (p *Phone) begun(st *State, reply *wire.RegBeginReply) (*Registration, error) {
	if reply.Device == "" || len(reply.NS) != wire.NonceSize {
		return nil, errors.New("phone: reply to reg.begin is incomplete")
	}
	dsk, err := p.thumbprint(st)
	if err != nil {
		return nil, err
	}
	ssk, err := wire.Decode32(st.Pin)
	if err != nil {
		return nil, err
	}
	st.Status, st.Device, st.Hint, st.Policy = StatusBegun, reply.Device, reply.Hint, reply.Policy
	st.Digits = wire.CommitDigits(st.NP, reply.NS, dsk, ssk, st.Device)
	return p.registration(st, ""), p.Store.Save(st)
}

func (p *Phone) thumbprint(st *State) ([32]byte, error) {
	dsk, err := p.Keys.Signer(st.KeyRef)
	if err != nil {
		return [32]byte{}, err
	}
	jwk, err := wire.PublicJWK(dsk)
	return jwk.Thumbprint(), err
}

func (p *Phone) registration(st *State, state string) *Registration {
	return &Registration{State: state, Hint: st.Hint, Policy: st.Policy, Digits: st.Digits,
		Compare: st.Typed || st.Policy.Confirm != "none"}
}

// CheckPIN says whether the policy takes the PIN. Only the phone can tell: the
// server never sees it.
func CheckPIN(policy wire.Policy, pin string) error {
	n := utf8.RuneCountInString(pin)
	switch {
	case n < policy.PINMin || n > policy.PINMax:
		return fmt.Errorf("the PIN has %d to %d characters", policy.PINMin, policy.PINMax)
	case policy.PINType != "any" && strings.Trim(pin, "0123456789") != "":
		return errors.New("the PIN has digits only")
	case slices.Contains(policy.Deny, pin):
		return errors.New("this PIN is too easy to guess")
	}
	return nil
}

// Finish sets the PIN and hands the server the knowledge key. If its reply was
// lost, Finish may be called again with the same or another PIN.
func (p *Phone) Finish(ctx context.Context, pin string) (*Registration, error) {
	unlock, st, err := p.open(StatusBegun)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := CheckPIN(st.Policy, pin); err != nil {
		return nil, err
	}
	if st.Sent != nil {
		res, err := p.settle(ctx, st)
		if !errors.Is(err, ErrNotDone) { // it had arrived, with the PIN of then
			return p.concluded(st, res, err)
		}
	}
	said, err := p.statement(ctx)
	if err != nil {
		return nil, err
	}
	kk, w, err := p.wrap(st.KeyRef, pin)
	if err != nil {
		return nil, err
	}
	st.Salt, st.Wrapped = w.Salt, w.Wrapped
	res, err := p.do(ctx, st, plain(wire.OpRegFinish, wire.RegFinish{NP: wire.Bytes(st.NP), KK: kk, Risk: said}))
	return p.concluded(st, res, err)
}

// concluded reads the reply to reg.finish or reg.status.
func (p *Phone) concluded(st *State, res *wire.Result, err error) (*Registration, error) {
	var reply wire.RegState
	if err := into(res, err, &reply); err != nil {
		return nil, err
	}
	return p.registration(st, reply.State), p.finished(st, reply.State)
}

func (p *Phone) finished(st *State, state string) error {
	switch state {
	case wire.RegActive:
		st.Status, st.NP = StatusActive, nil
	case wire.RegRefused:
		st.Status, st.NP = StatusRefused, nil
	default:
		st.Status = StatusPending
	}
	return p.Store.Save(st)
}

// Status asks whether the registration was confirmed.
func (p *Phone) Status(ctx context.Context) (*Registration, error) {
	unlock, st, err := p.open(StatusPending, StatusActive, StatusRefused)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if st.Status != StatusPending {
		return p.registration(st, st.Status), nil
	}
	if st.Sent != nil { // an earlier question without an answer
		if _, err := p.settle(ctx, st); err != nil && !errors.Is(err, ErrNotDone) {
			return nil, err
		}
	}
	res, err := p.do(ctx, st, plain(wire.OpRegStatus, wire.RegStatus{}))
	reg, err := p.concluded(st, res, err)
	if errors.Is(err, ErrRemoved) {
		return p.registration(st, wire.RegRefused), p.finished(st, wire.RegRefused)
	}
	return reg, err
}

// open locks the store and loads a state that is in one of the wanted statuses.
func (p *Phone) open(want ...string) (unlock func(), st *State, err error) {
	if unlock, err = p.Store.Lock(); err != nil {
		return nil, nil, err
	}
	if st, err = p.Store.Load(); err == nil && !slices.Contains(want, st.Status) {
		err = ErrNotRegistered
		if st.Status == StatusActive {
			err = ErrRegistered
		}
	}
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return unlock, st, nil
}

// mask is the slow way from a PIN to what KK is hidden under.
func (p *Phone) mask(st *State, pin string) ([]byte, error) {
	stretch := p.Stretch
	if stretch == nil {
		stretch = wire.Stretch
	}
	slow, err := stretch(pin, st.Salt)
	if err != nil {
		return nil, err
	}
	mac, err := p.Keys.MAC(st.KeyRef, slow)
	if err != nil {
		return nil, err
	}
	return wire.Mask(mac)
}
