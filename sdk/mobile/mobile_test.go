package mobile_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mobileid/internal/identity"
	"mobileid/internal/notify/pushtest"
	"mobileid/internal/risk"
	"mobileid/sdk"
	"mobileid/sdk/keystoretest"
	"mobileid/sdk/mobile"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// platform is what an app writes in Kotlin or Swift, here on a file: names, bytes, and
// errors of which only the text is left.
type platform struct{ file *sdk.File }

func (p platform) Create() (string, error) { return p.file.Create() }

func (p platform) PublicKey(name string) ([]byte, error) {
	s, err := p.file.Signer(name)
	if err != nil {
		return nil, err
	}
	return s.Public().(*ecdsa.PublicKey).Bytes()
}

func (p platform) Sign(name string, digest []byte) ([]byte, error) {
	s, err := p.file.Signer(name)
	if err != nil {
		return nil, err
	}
	return s.Sign(rand.Reader, digest, crypto.SHA256)
}

func (p platform) MAC(name string, data []byte) ([]byte, error) { return p.file.MAC(name, data) }
func (p platform) Delete(name string) error                     { return p.file.Delete(name) }

func (p platform) Attest(_, ek, ticket string) (*mobile.Attestation, error) {
	if ek == "" || ticket == "" || len(mobile.AttestationChallenge(ek, ticket)) != 32 {
		return nil, errors.New("nothing to attest for")
	}
	return mobile.NewNoAttestation(), nil
}

// sensor throws what a platform would.
type sensor struct{ soft *keystoretest.Soft }

func thrown(err error) error {
	switch {
	case errors.Is(err, sdk.ErrInvalidated):
		return errors.New("java.lang.Exception: " + mobile.Invalidated)
	case errors.Is(err, sdk.ErrCancelled):
		return errors.New("Error Domain=app Code=1 \"" + mobile.Cancelled + "\"")
	}
	return err
}

func (s sensor) Create() (string, error)  { return s.soft.Create() }
func (s sensor) Delete(name string) error { return s.soft.Delete(name) }

func (s sensor) PublicKey(name string) ([]byte, error) {
	pub, err := s.soft.Public(name)
	if err != nil {
		return nil, thrown(err)
	}
	return pub.Bytes()
}

func (s sensor) Sign(name, text string, digest []byte) ([]byte, error) {
	sig, err := s.soft.Sign(name, text, digest)
	return sig, thrown(err)
}

func (s sensor) Attest(string, string, string) (*mobile.Attestation, error) { return nil, nil }

// rasp is what a library says of the phone.
type rasp func() (*mobile.Statement, error)

func (r rasp) Measure() (*mobile.Statement, error) { return r() }

// app is an app on a phone, and its finger.
func app(t *testing.T) (*mobile.Phone, *keystoretest.Soft) {
	t.Helper()
	dir, soft := t.TempDir(), &keystoretest.Soft{}
	p, err := mobile.NewPhone(filepath.Join(dir, "phone.json"), "android", "Pixel", platform{&sdk.File{Path: filepath.Join(dir, "keys.json")}}, sensor{soft})
	if err != nil {
		t.Fatal(err)
	}
	return p, soft
}

// registered is an app whose user has gone all the way, in real time.
func registered(t *testing.T, r *rig.Rig) (string, *mobile.Phone, *keystoretest.Soft) {
	t.Helper()
	u := r.User()
	p, soft := app(t)
	reg, err := p.Register(r.Link(u))
	if err != nil || !reg.OK() || reg.State != "begun" || reg.PINMin != 6 || !reg.Biometry {
		t.Fatalf("%+v, %v", reg, err)
	}
	if reg, err = p.Finish("123456"); err != nil || reg.Result.Code != mobile.CodeBadPIN || reg.Result.Text == "" {
		t.Fatalf("a PIN to be guessed: %+v, %v", reg, err)
	}
	if reg, err = p.Finish(rig.PIN); err != nil || reg.State != "active" {
		t.Fatalf("%+v, %v", reg, err)
	}
	if s, err := p.State(); s != "active" {
		t.Fatal(s, err)
	}
	return u.ID, p, soft
}

func ask(t *testing.T, r *rig.Rig, user string, p *mobile.Phone) *mobile.Operation {
	t.Helper()
	a := r.REST("POST", "/authentications", map[string]any{"userId": user, "preContext": map[string]any{"content": "**Log in to Acme**", "contentType": "text/markdown"},
		"postContext": map[string]any{"content": "Welcome."}})
	in, err := p.List()
	if err != nil || !in.OK() || in.Size() != 1 || in.Get(1) != nil || in.Get(-1) != nil {
		t.Fatalf("%+v, %v: %s", in, err, a)
	}
	op := in.Get(0)
	if !op.Showable || op.Blocks() == 0 || op.Block(op.Blocks()) != nil || !strings.Contains(op.Text, "Log in to") || op.Client == "" || op.Left != 3 {
		t.Fatalf("%+v", op)
	}
	return op
}

func done(t *testing.T, res *mobile.Result, err error, code string) *mobile.Result {
	t.Helper()
	if err != nil || res.Code != code {
		t.Fatalf("%+v, %v; want %q", res, err, code)
	}
	return res
}

func TestAnAppLivesByWhatGomobileBinds(t *testing.T) {
	r := rig.Start(t, rig.Options{Policy: identity.Policy{Trusted: true}})
	user, p, soft := registered(t, r)
	op := ask(t, r, user, p)
	if !op.ByPIN || op.ByBiometry {
		t.Errorf("%+v", op)
	}
	res, err := p.ApproveBio(op, "Log in?", "")
	if r := done(t, res, err, "need"); r.Needs != "pin" {
		t.Errorf("%+v", r)
	}
	res, err = p.Approve(op, rig.WrongPIN, "")
	if r := done(t, res, err, "auth_failed"); r.Left != 2 || r.OK() {
		t.Errorf("%+v", r)
	}
	res, err = p.Approve(op, rig.PIN, "")
	if r := done(t, res, err, ""); r.State != "COMPLETED" || !strings.Contains(r.Text, "Welcome.") {
		t.Errorf("%+v", r)
	}

	res, err = p.AddBiometry(rig.PIN, "Use your finger")
	done(t, res, err, "")
	if ok, err := p.HasBiometry(); !ok || err != nil {
		t.Error(err)
	}
	op = ask(t, r, user, p)
	if !op.ByBiometry {
		t.Errorf("%+v", op)
	}
	soft.Present(false)
	res, err = p.ApproveBio(op, "Log in?", "")
	done(t, res, err, mobile.CodeCancelled)
	soft.Present(true)
	res, err = p.ApproveBio(op, "Log in?", "")
	done(t, res, err, "")
	soft.Enrol()
	op = ask(t, r, user, p)
	res, err = p.ApproveBio(op, "Log in?", "")
	done(t, res, err, mobile.CodeInvalidated)
	res, err = p.Decline(op, false)
	if r := done(t, res, err, ""); r.State != "DECLINED" {
		t.Errorf("%+v", r)
	}
	past, err := p.History()
	if err != nil || !past.OK() || past.Size() != 4 || past.Get(past.Size()) != nil {
		t.Fatalf("%+v, %v", past, err)
	}
	for i := range past.Size() {
		if o := past.Get(i); !o.Here || o.Client == "" || o.State != "COMPLETED" && o.State != "DECLINED" {
			t.Errorf("%+v", o)
		}
	}

	res, err = p.ChangePIN(rig.PIN, "12")
	done(t, res, err, mobile.CodeBadPIN)
	res, err = p.ChangePIN(rig.PIN, "161803")
	done(t, res, err, "")
	res, err = p.Rotate("161803")
	done(t, res, err, "")
	res, err = p.Resume()
	if r := done(t, res, err, ""); r.Call != "" {
		t.Errorf("%+v", r)
	}
	res, err = p.RemoveBiometry()
	done(t, res, err, "")
	res, err = p.Remove()
	done(t, res, err, "")
	if in, err := p.List(); err != nil || in.Result.Code != mobile.CodeNotActive {
		t.Errorf("%+v, %v", in, err)
	}
}

func TestTheSurfaceTellsTheVersionThatIsSpoken(t *testing.T) {
	if mobile.Protocol != wire.Version {
		t.Errorf("%d, not %d", mobile.Protocol, wire.Version)
	}
}

func TestWhatAnAppMayPassByMistakeIsAnsweredAndNothingFalls(t *testing.T) {
	r := rig.Start(t, rig.Options{Policy: identity.Policy{Trusted: true}})
	_, p, _ := registered(t, r)
	if _, err := mobile.NewPhone("", "android", "", platform{}, nil); err == nil {
		t.Error("a phone without a file")
	}
	if _, err := mobile.NewPhone("x", "android", "", nil, nil); err == nil {
		t.Error("a phone without a keystore")
	}
	res, err := p.Approve(nil, rig.PIN, "")
	done(t, res, err, mobile.CodeCannotShow)
	res, err = p.ApproveBio(&mobile.Operation{}, "x", "")
	done(t, res, err, mobile.CodeCannotShow)
	if reg, err := p.Register(r.Link(r.User())); err != nil || reg.Result.Code != mobile.CodeRegistered {
		t.Errorf("%+v, %v", reg, err)
	}
	if _, err := p.Claim("nonsense"); err == nil {
		t.Error("a start token")
	}
	if _, err := mobile.AppAttestHash("ek", "t", []byte{4, 1, 2}); err == nil {
		t.Error("a point that is none")
	}
	p.Cancel() // nothing is under way
	if in, err := p.List(); err != nil || !in.OK() {
		t.Errorf("%+v, %v", in, err)
	}
}

// An App that requires a statement takes phones that say what they found, and no others.
func TestAnAppSaysWhatItFoundOfItsPhone(t *testing.T) {
	r := rig.Start(t, rig.Options{Policy: identity.Policy{Trusted: true, Risk: risk.Rules{Mode: risk.Required, BlockFindings: []string{wire.FindingRooted}, AllowCountries: []string{"NO"}}}})
	u := r.User()
	p, _ := app(t)
	said, found, fails := mobile.NewStatement(), "", error(nil)
	p.SetRisk(rasp(func() (*mobile.Statement, error) {
		if fails != nil || said == nil {
			return nil, fails
		}
		s := *said
		if found != "" {
			s.Found(found)
		}
		return &s, nil
	}))
	said.OS, said.App, said.Country, said.CountrySource = "17", "1.2", "NO", wire.CountryNetwork
	if reg, err := p.Register(r.Link(u)); err != nil || !reg.OK() {
		t.Fatalf("%+v, %v", reg, err)
	}
	if reg, err := p.Finish(rig.PIN); err != nil || reg.State != "active" {
		t.Fatalf("%+v, %v", reg, err)
	}
	op := ask(t, r, u.ID, p)
	res, err := p.Approve(op, rig.PIN, "")
	done(t, res, err, "")
	out, _ := r.Decision(op.Txn)
	if out.Risk == nil || out.Risk.Verdict == risk.Blocked || out.Risk.OSVersion != "17" || out.Risk.AppVersion != "1.2" || out.Risk.Country != "NO" || out.Risk.Model != "Pixel" {
		t.Errorf("%+v", out.Risk)
	}
	op = ask(t, r, u.ID, p)
	fails = errors.New("the library fell over")
	if res, err := p.Approve(op, rig.PIN, ""); err == nil || !strings.Contains(err.Error(), "fell over") {
		t.Errorf("%+v, %v", res, err)
	}
	fails, said = nil, nil
	if res, err := p.Approve(op, rig.PIN, ""); err == nil {
		t.Errorf("nothing was said: %+v", res)
	}
	said, found = &mobile.Statement{Country: "NO", CountrySource: wire.CountryNetwork}, wire.FindingRooted
	res, err = p.Approve(op, rig.PIN, "")
	if r := done(t, res, err, "need"); r.Needs != wire.NeedRisk {
		t.Errorf("%+v", r)
	}
	p.SetRisk(nil)
	op = ask(t, r, u.ID, p)
	res, err = p.Approve(op, rig.PIN, "")
	if r := done(t, res, err, "need"); r.Needs != wire.NeedRisk {
		t.Errorf("%+v", r)
	}
}

func TestAnAppIsWokenByPush(t *testing.T) {
	r := rig.Start(t, rig.Options{Policy: identity.Policy{Trusted: true}, Push: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	user, p, _ := registered(t, r)
	push, err := p.SetPush("", nil, nil)
	if err != nil || !push.OK() || len(push.Key) != 65 {
		t.Fatalf("%+v, %v", push, err)
	}
	s := pushtest.Start(t)
	if push, err = p.SetPush(s.URL, s.P256DH, s.Auth); err != nil || !push.OK() {
		t.Fatalf("%+v, %v", push, err)
	}
	a := r.REST("POST", "/authentications", map[string]any{"userId": user, "sendPush": true})
	for end := time.Now().Add(20 * time.Second); len(s.Got()) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no push came")
		}
	}
	if got := s.Got()[0]; got.Err != nil || !strings.Contains(string(got.Plain), a.Text("id")) {
		t.Errorf("%s, %v", got.Plain, got.Err)
	}
	if push, err = p.SetPush("http://192.0.2.1/", s.P256DH, s.Auth); err != nil || push.Result.Code != wire.AddressRefused {
		t.Errorf("%+v, %v", push, err)
	}
}
