package story

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"

	"mobileid/internal/db"
	"mobileid/internal/evidence"
	"mobileid/internal/identity"
	"mobileid/internal/operation"
	"mobileid/sdk"
	"mobileid/sdk/keystoretest"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// native is a user with a phone whose app has biometry.
func native(t *testing.T, r *rig.Rig) (db.User, *sdk.Phone, *keystoretest.Soft) {
	t.Helper()
	u, soft := r.User(), &keystoretest.Soft{}
	p := r.RegisteredAs(u, func(p *sdk.Phone) { p.Platform, p.Bio = "android", soft })
	return u, p, soft
}

const asking = "Log in to Acme?"

func addBiometry(t *testing.T, p *sdk.Phone) {
	t.Helper()
	if err := p.AddBiometry(t.Context(), rig.PIN, "Use your finger from now on"); err != nil {
		t.Fatal(err)
	}
}

func vouched() rig.Options { return rig.Options{Policy: identity.Policy{Trusted: true}} }

func TestABiometricKeyApprovesInPlaceOfThePIN(t *testing.T) {
	rig.EachWith(t, identity.Policy{Trusted: true}, func(t *testing.T, r *rig.Rig) {
		u, p, soft := native(t, r)
		if got := r.State(p).Policy.Methods; !slices.Equal(got, []string{wire.FactorPIN, wire.FactorBio}) {
			t.Errorf("the phone is told of %v", got)
		}
		var e *wire.Error
		if err := p.AddBiometry(t.Context(), rig.WrongPIN, "x"); !errors.As(err, &e) || e.Code != wire.AuthFailed || *e.Left != 2 {
			t.Fatalf("a wrong PIN: %v", err)
		}
		if d, st := r.Device(p), r.State(p); d.DBK != "" || st.Bio != "" || st.Next != nil || d.Failures != 1 {
			t.Fatalf("a wrong PIN added it: %+v, %+v", d, st)
		}
		addBiometry(t, p)
		if d := r.Device(p); d.Inh != "bio" || d.Failures != 0 {
			t.Fatalf("%+v", d)
		}
		ack := r.Ask(r.Backend, u)
		op := waiting(t, p)
		if !slices.Equal(op.Need, []string{wire.FactorPIN, wire.FactorBio}) {
			t.Errorf("it needs %v", op.Need)
		}
		if _, err := p.Approve(t.Context(), op, rig.WrongPIN, ""); rig.Sealed(err) != wire.AuthFailed {
			t.Fatal(err)
		}
		reply, err := p.ApproveBio(t.Context(), op, asking, "")
		if err != nil || reply.State != "COMPLETED" || !slices.Contains(soft.Prompts(), asking) {
			t.Fatalf("%+v, %v, asked %q", reply, err, soft.Prompts())
		}
		if d := r.Device(p); d.Failures != 1 {
			t.Errorf("a finger forgave wrong PINs: %d are counted", d.Failures)
		}
		out, _ := r.Decision(op.Txn)
		if out.SCA.Inh != "bio" || out.SCA.Kno != "none" || !slices.Equal(out.Factors, []string{"POSSESSION", "INHERENCE"}) ||
			!slices.Equal(out.AMR, []string{"pop", "swk", "mfa", "mca"}) || out.ACR != operation.ACRApp {
			t.Errorf("%+v, %+v", out, out.SCA)
		}
		id := payload(t, r.Poll(r.Backend, ack.Text("auth_req_id")).Text("id_token"))
		if sca, _ := id["sca"].(map[string]any); sca["inh"] != "bio" || sca["kno"] != "none" || id["acr"] != operation.ACRApp {
			t.Errorf("the ID token says %v", id)
		}
		if got := approves(t, r, u, p, rig.PIN); got != "COMPLETED" {
			t.Errorf("the PIN: %s", got)
		}
	})
}

func TestTheEvidenceOfASignatureSaysInherenceExactlyWhenItWasProven(t *testing.T) {
	r := rig.Start(t, vouched())
	u, p, _ := native(t, r)
	addBiometry(t, p)
	set, err := evidence.ParseKeys([]byte(r.Get("/evidence/jwks").Body))
	if err != nil {
		t.Fatal(err)
	}
	for inh, approve := range map[string]func(*wire.Operation) (*wire.AnswerReply, error){
		"bio":  func(op *wire.Operation) (*wire.AnswerReply, error) { return p.ApproveBio(t.Context(), op, asking, "") },
		"none": func(op *wire.Operation) (*wire.AnswerReply, error) { return p.Approve(t.Context(), op, rig.PIN, "") },
	} {
		a := r.REST("POST", "/signatures", map[string]any{"userId": u.ID, "preContext": map[string]any{"content": "I agree."}})
		if _, err := approve(waiting(t, p)); err != nil {
			t.Fatal(err)
		}
		got := r.REST("GET", "/signatures/"+a.Text("id")+"/evidence", nil)
		s, err := evidence.Verify(got.Text("evidence"), set, evidence.Expect{Issuer: r.Issuer})
		if err != nil || s.SCA.Inh != inh {
			t.Errorf("%s: %+v, %v: %s", inh, s, err, got)
		}
	}
}

// forger signs for somebody's finger with a key of its own.
type forger struct{ *keystoretest.Soft }

func (f forger) Sign(ref, prompt string, digest []byte) ([]byte, error) {
	other := sha256.Sum256(digest)
	return f.Soft.Sign(ref, prompt, other[:])
}

// D10, D11: a wrong bsig counts as a wrong PIN and is told alike.
func TestD10_D11_AWrongBiometricProofCountsLikeAWrongPIN(t *testing.T) {
	r := rig.Start(t, vouched())
	u, p, soft := native(t, r)
	addBiometry(t, p)
	r.Ask(r.Backend, u)
	op := waiting(t, p)
	real := p.Bio
	p.Bio = forger{soft}
	_, byBio := p.ApproveBio(t.Context(), op, asking, "")
	if e := r.Refused(byBio, wire.AuthFailed); *e.Left != 2 {
		t.Fatalf("%d left", *e.Left)
	}
	_, byPIN := p.Approve(t.Context(), op, rig.WrongPIN, "")
	if e := r.Refused(byPIN, wire.AuthFailed); *e.Left != 1 {
		t.Fatalf("%d left", *e.Left)
	}
	if now := waiting(t, p); now.Left != 1 {
		t.Errorf("the user is told of %d", now.Left)
	}
	_, last := p.ApproveBio(t.Context(), op, asking, "")
	if e := r.Refused(last, wire.AuthFailed); *e.Left != 0 || e.Until == 0 {
		t.Fatalf("%+v", e)
	}
	p.Bio = real
	_, err := p.ApproveBio(t.Context(), op, asking, "")
	r.Refused(err, wire.DeviceBlocked)
	if d := r.Device(p); d.State != db.DeviceBlocked || d.Failures != 3 {
		t.Errorf("%s after %d failures", d.State, d.Failures)
	}
	if out, _ := r.Decision(op.Txn); out.State != operation.Locked {
		t.Errorf("the operation is %q", out.State)
	}
}

func TestInherenceIsTakenOfPhonesAloneThatCanProveIt(t *testing.T) {
	for name, c := range map[string]struct {
		policy   identity.Policy
		platform string
		code     string
		check    string
	}{
		"an app that nobody vouches for":        {identity.Policy{}, "android", wire.AttestationFailed, "missing"},
		"the same, where makers are asked":      {identity.Policy{Attestation: identity.AttestationOptional}, "ios", wire.AttestationFailed, "missing"},
		"a key without its maker's word":        {identity.Policy{Trusted: true, Attestation: identity.AttestationOptional}, "android", "", ""},
		"a phone for the command line":          {identity.Policy{Trusted: true}, "cli", wire.NotAllowed, ""},
		"a phone in a browser":                  {identity.Policy{Trusted: true, Kind: "web"}, "android", wire.NotAllowed, ""},
		"a phone that says what it is not":      {identity.Policy{Trusted: true}, "web", wire.NotAllowed, ""},
		"an App that allows no biometry":        {identity.Policy{Trusted: true, Methods: []string{identity.MethodPIN}}, "ios", wire.NotAllowed, ""},
		"an App that allows biometry by itself": {identity.Policy{Trusted: true, Methods: []string{identity.MethodBiometric}}, "ios", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := rig.Start(t, rig.Options{Policy: c.policy})
			u := r.User()
			p := r.RegisteredAs(u, func(p *sdk.Phone) { p.Platform, p.Bio = c.platform, &keystoretest.Soft{} })
			err := p.AddBiometry(t.Context(), rig.PIN, "x")
			if c.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if e := r.Refused(err, c.code); e.Check != c.check {
				t.Errorf("told %q", e.Check)
			}
			if d := r.Device(p); d.DBK != "" || d.Inh != "" {
				t.Errorf("%+v", d)
			}
			if ok, err := p.HasBiometry(); ok || err != nil {
				t.Errorf("the phone thinks otherwise: %v", err)
			}
		})
	}
}

func TestOnlyAMethodThatIsAskedForApproves(t *testing.T) {
	r := rig.Start(t, vouched())
	u, p, soft := native(t, r)
	if a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "authMethods": []string{"BIOMETRIC"}}); rig.Word(a, nil) != "409 no_device" {
		t.Errorf("of a phone without biometry: %s", a)
	}
	addBiometry(t, p)
	for method, want := range map[string]string{"PIN": wire.FactorPIN, "BIOMETRIC": wire.FactorBio} {
		a := r.REST("POST", "/authentications", map[string]any{"userId": u.ID, "authMethods": []string{method}})
		if a.Status != http.StatusCreated {
			t.Fatalf("%s", a)
		}
		op := waiting(t, p)
		if !slices.Equal(op.Need, []string{want}) {
			t.Errorf("%s: it needs %v", method, op.Need)
		}
		lied := *op
		lied.Need = []string{wire.FactorPIN, wire.FactorBio}
		wrong := func(op *wire.Operation) (*wire.AnswerReply, error) { return p.Approve(t.Context(), op, rig.PIN, "") }
		right := func(op *wire.Operation) (*wire.AnswerReply, error) { return p.ApproveBio(t.Context(), op, asking, "") }
		if method == "PIN" {
			wrong, right = right, wrong
		}
		prompts := len(soft.Prompts())
		if _, err := wrong(op); rig.Sealed(err) != wire.Need || len(soft.Prompts()) != prompts {
			t.Errorf("%s: the phone lets the other be tried: %v", method, err)
		}
		_, err := wrong(&lied)
		if e := r.Refused(err, wire.Need); !slices.Equal(e.Need, []string{want}) {
			t.Errorf("%s: the server says %v", method, e.Need)
		}
		if d := r.Device(p); d.Failures != 0 {
			t.Errorf("%s: %d failures", method, d.Failures)
		}
		if reply, err := right(op); err != nil || reply.State != "COMPLETED" {
			t.Errorf("%s: %v", method, err)
		}
	}
	// An App that no longer allows it takes no finger, and lets the PIN do.
	r.Ask(r.Backend, u)
	op := waiting(t, p)
	if _, err := r.Node.Users.ChangeApp(t.Context(), r.Merchant.ID, r.App.ID, 1, func(_ *string, p *identity.Policy) error {
		p.Methods = []string{identity.MethodPIN}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	_, err := p.ApproveBio(t.Context(), op, asking, "")
	if e := r.Refused(err, wire.Need); !slices.Equal(e.Need, []string{wire.FactorPIN}) {
		t.Errorf("%v", e.Need)
	}
	if now := waiting(t, p); !slices.Equal(now.Need, []string{wire.FactorPIN}) {
		t.Errorf("it still needs %v", now.Need)
	}
	r.Approve(p, "")
}

func TestABiometricKeyGoesWithTheEnrolment(t *testing.T) {
	r := rig.Start(t, vouched())
	u, p, soft := native(t, r)
	addBiometry(t, p)
	first := r.Device(p).DBK
	soft.Enrol()
	r.Ask(r.Backend, u)
	op := waiting(t, p)
	if _, err := p.ApproveBio(t.Context(), op, asking, ""); !errors.Is(err, sdk.ErrInvalidated) {
		t.Fatal(err)
	}
	if ok, err := p.HasBiometry(); ok || err != nil {
		t.Error("the phone still offers it", err)
	}
	r.Approve(p, "")
	addBiometry(t, p)
	second := r.Device(p).DBK
	if second == first || second == "" {
		t.Fatalf("the key is %q", second)
	}
	byFinger := func() string {
		r.Ask(r.Backend, u)
		return rig.Answered(p.ApproveBio(t.Context(), waiting(t, p), asking, ""))
	}
	if got := byFinger(); got != "COMPLETED" {
		t.Error(got)
	}
	t.Run("it outlives new keys", func(t *testing.T) {
		if err := p.Rotate(t.Context(), rig.PIN); err != nil {
			t.Fatal(err)
		}
		if got := byFinger(); got != "COMPLETED" || r.Device(p).DBK != second {
			t.Error(got)
		}
	})
	t.Run("the user may give it up", func(t *testing.T) {
		if err := p.RemoveBiometry(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := r.Device(p); d.DBK != "" || d.Inh != "" || r.State(p).Bio != "" {
			t.Errorf("%+v", d)
		}
		if _, err := p.ApproveBio(t.Context(), op, asking, ""); !errors.Is(err, sdk.ErrNoBiometry) {
			t.Error(err)
		}
		if err := p.RemoveBiometry(t.Context()); err != nil {
			t.Errorf("once more: %v", err)
		}
	})
	t.Run("it goes with the registration", func(t *testing.T) {
		addBiometry(t, p)
		id := r.State(p).Device
		if err := p.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.SQL(func(tx *db.Tx) error {
			d, err := tx.Device(id)
			if d.DBK != "" || d.Inh != "" {
				t.Errorf("%+v", d)
			}
			return err
		})
	})
}

func TestAKeyServesOneFactorOfOnePhone(t *testing.T) {
	r := rig.Start(t, vouched())
	_, p, soft := native(t, r)
	_, q, _ := native(t, r)
	q.Bio = soft
	addBiometry(t, p)
	q.Bio = shared{soft, r.State(p).Bio}
	err := q.AddBiometry(t.Context(), rig.PIN, "x")
	r.Refused(err, wire.Malformed)
	if d := r.Device(q); d.DBK != "" {
		t.Error("two phones have one key")
	}
}

// The same key is not taken in another place either: neither somebody's biometric key
// for signing, in new keys or a registration, nor their signing key for biometry.
func TestAKeyDoesNotChangeItsFactorOnAnotherPhone(t *testing.T) {
	rig.EachWith(t, identity.Policy{Trusted: true}, func(t *testing.T, r *rig.Rig) {
		_, p, soft := native(t, r)
		u, q, _ := native(t, r)
		addBiometry(t, p)
		before, link := r.Device(q), r.Link(u)
		lent := func(under sdk.Keystore) sdk.Keystore {
			return lending{under, finger{soft, r.State(p).Bio}, map[string]bool{}}
		}
		own := q.Keys
		q.Keys = lent(own)
		r.Refused(q.Rotate(t.Context(), rig.PIN), wire.Malformed)
		if r.Device(q).DSKThumb != before.DSKThumb {
			t.Error("rotated to another phone's biometric key")
		}
		q.Keys = own
		dsk, err := p.Keys.Signer(r.State(p).KeyRef)
		if err != nil {
			t.Fatal(err)
		}
		q.Bio = signing{dsk}
		r.Refused(q.AddBiometry(t.Context(), rig.PIN, "x"), wire.Malformed)
		if r.Device(q).DBK != "" {
			t.Error("another phone's signing key was added")
		}
		third := r.Phone()
		own = third.Keys
		third.Keys = lent(own)
		_, err = third.Register(t.Context(), link)
		r.Refused(err, wire.ActivationFailed)
		third.Keys = own
		if _, err := third.Register(t.Context(), link); err != nil {
			t.Errorf("the link, with a key of its own: %v", err)
		}
	})
}

// lending makes no signing keys, but lends the one.
type lending struct {
	sdk.Keystore
	key  crypto.Signer
	lent map[string]bool
}

func (l lending) Create() (string, error) {
	ref, err := l.Keystore.Create()
	l.lent[ref] = true
	return ref, err
}

func (l lending) Signer(ref string) (crypto.Signer, error) {
	if l.lent[ref] {
		return l.key, nil
	}
	return l.Keystore.Signer(ref)
}

// finger is a biometric key as a signer.
type finger struct {
	soft *keystoretest.Soft
	ref  string
}

func (f finger) Public() crypto.PublicKey {
	pub, err := f.soft.Public(f.ref)
	if err != nil {
		return nil
	}
	return pub
}

func (f finger) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	return f.soft.Sign(f.ref, asking, digest)
}

// signing is a biometry with one key, which signs already.
type signing struct{ key crypto.Signer }

func (s signing) Create() (string, error) { return "signing", nil }
func (s signing) Delete(string) error     { return nil }
func (s signing) Public(string) (*ecdsa.PublicKey, error) {
	return s.key.Public().(*ecdsa.PublicKey), nil
}
func (s signing) Sign(_, _ string, digest []byte) ([]byte, error) {
	return s.key.Sign(rand.Reader, digest, crypto.SHA256)
}

// shared makes no key, but takes one that is there.
type shared struct {
	*keystoretest.Soft
	ref string
}

func (s shared) Create() (string, error) { return s.ref, nil }
func (s shared) Delete(string) error     { return nil }

func TestAPhoneThatLostTheReplyToABiometricKeyFindsOutWhichHolds(t *testing.T) {
	r := rig.Start(t, vouched())
	u, p, soft := native(t, r)
	line := &losing{under: http.DefaultTransport}
	p.HTTP = &http.Client{Transport: line}
	line.on = true
	if err := p.AddBiometry(t.Context(), rig.PIN, "x"); err == nil {
		t.Fatal("no error without a reply")
	}
	if st := r.State(p); st.Next == nil || st.Sent == nil || st.Bio != "" {
		t.Fatalf("%+v", st)
	}
	line.on = false
	asked := len(soft.Prompts())
	if err := p.AddBiometry(t.Context(), rig.PIN, "x"); err != nil || len(soft.Prompts()) != asked {
		t.Fatalf("what had been done: %v, asked again: %v", err, len(soft.Prompts()) != asked)
	}
	r.Ask(r.Backend, u)
	if got := rig.Answered(p.ApproveBio(t.Context(), waiting(t, p), asking, "")); got != "COMPLETED" {
		t.Error(got)
	}
}
