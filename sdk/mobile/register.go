package mobile

import (
	"mobileid/sdk"
)

// Registration is what the user is shown while a phone registers.
type Registration struct {
	Result *Result
	State  string // "begun": a PIN is to be chosen; "pending", "active", "refused"
	Hint   string // masked user
	Digits string // 8 digits to compare with the browser
	// Compare says that the user must confirm the digits there.
	Compare bool
	PINMin  int
	PINMax  int
	// Biometry says that the App takes biometry from phones like this.
	Biometry bool
}

// OK reports whether the step is done.
func (r *Registration) OK() bool { return r.Result.OK() }

func (p *Phone) registration(reg *sdk.Registration, err error) (*Registration, error) {
	res, err := result(err)
	if err != nil {
		return nil, err
	}
	out := &Registration{Result: res}
	if reg == nil {
		return out, nil
	}
	out.State, out.Hint, out.Digits, out.Compare = reg.State, reg.Hint, reg.Digits, reg.Compare
	if out.State == "" {
		out.State = sdk.StatusBegun
	}
	out.PINMin, out.PINMax = reg.Policy.PINMin, reg.Policy.PINMax
	out.Biometry = has(reg.Policy.Methods, "bio")
	return out, nil
}

// Register begins a registration from a link or the text of its QR code.
func (p *Phone) Register(link string) (*Registration, error) {
	ctx, done := p.begin()
	defer done()
	return p.registration(p.phone.Register(ctx, link))
}

// RegisterTyped begins one from what the user typed. origin is the server's.
func (p *Phone) RegisterTyped(origin, locator, code string) (*Registration, error) {
	ctx, done := p.begin()
	defer done()
	return p.registration(p.phone.RegisterTyped(ctx, origin, locator, code))
}

// CheckPIN says why the policy refuses a PIN; "" if it does not.
func (p *Phone) CheckPIN(pin string) (string, error) {
	st, err := p.phone.Store.Load()
	if err != nil {
		return "", err
	}
	if err := sdk.CheckPIN(st.Policy, pin); err != nil {
		return err.Error(), nil
	}
	return "", nil
}

// Finish sets the PIN.
func (p *Phone) Finish(pin string) (*Registration, error) {
	if why, err := p.CheckPIN(pin); err != nil || why != "" {
		return &Registration{Result: &Result{Code: CodeBadPIN, Text: why, Left: -1}}, err
	}
	ctx, done := p.begin()
	defer done()
	return p.registration(p.phone.Finish(ctx, pin))
}

// Confirmed asks whether the registration was confirmed: every two seconds while the
// digits are shown.
func (p *Phone) Confirmed() (*Registration, error) {
	ctx, done := p.begin()
	defer done()
	return p.registration(p.phone.Status(ctx))
}

// ChangePIN replaces the PIN.
func (p *Phone) ChangePIN(old, pin string) (*Result, error) {
	if why, err := p.CheckPIN(pin); err != nil || why != "" {
		return &Result{Code: CodeBadPIN, Text: why, Left: -1}, err
	}
	ctx, done := p.begin()
	defer done()
	return result(p.phone.ChangePIN(ctx, old, pin))
}

// Rotate replaces the keys; the PIN stays.
func (p *Phone) Rotate(pin string) (*Result, error) {
	ctx, done := p.begin()
	defer done()
	return result(p.phone.Rotate(ctx, pin))
}

// AddBiometry makes a biometric key, in place of the one before; the user is asked
// with text.
func (p *Phone) AddBiometry(pin, text string) (*Result, error) {
	ctx, done := p.begin()
	defer done()
	return result(p.phone.AddBiometry(ctx, pin, text))
}

// RemoveBiometry gives the biometric key up.
func (p *Phone) RemoveBiometry() (*Result, error) {
	ctx, done := p.begin()
	defer done()
	return result(p.phone.RemoveBiometry(ctx))
}

// HasBiometry reports whether ApproveBio may be offered.
func (p *Phone) HasBiometry() (bool, error) { return p.phone.HasBiometry() }

// Remove gives the registration up and deletes its keys.
func (p *Phone) Remove() (*Result, error) {
	ctx, done := p.begin()
	defer done()
	return result(p.phone.Remove(ctx))
}

// Resume settles what is unanswered, as after a crash. Call is "" if nothing was.
func (p *Phone) Resume() (*Result, error) {
	ctx, done := p.begin()
	defer done()
	out, err := p.phone.Resume(ctx)
	if err != nil || out == nil {
		return result(err)
	}
	r, err := result(out.Err)
	if r != nil {
		r.Call, r.Txn = out.Op, out.Txn
	}
	return r, err
}
