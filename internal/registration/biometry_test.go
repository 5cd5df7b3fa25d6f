package registration_test

import (
	"crypto/ecdsa"
	"slices"
	"testing"

	"mobileid/internal/attestation/attesttest"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/sdk"
	"mobileid/sdk/keystoretest"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// bioAttester is a Biometry whose maker speaks for its keys.
type bioAttester struct {
	*keystoretest.Soft
	say func(key *ecdsa.PublicKey, ek, jti string) *wire.Attestation
}

func (a bioAttester) AttestBio(ref, ek, jti string) (*wire.Attestation, error) {
	pub, err := a.Public(ref)
	if err != nil {
		return nil, err
	}
	return a.say(pub, ek, jti), nil
}

// released is what Android says of a key that biometry alone releases.
func released(m *attesttest.Maker, edit func(*attesttest.AndroidKey)) func(*ecdsa.PublicKey, string, string) *wire.Attestation {
	return func(key *ecdsa.PublicKey, ek, jti string) *wire.Attestation {
		k := attesttest.Sound(wire.BioAttestationChallenge(ek, jti), bank, make([]byte, 32))
		k.UserAuth = 2
		if edit != nil {
			edit(&k)
		}
		att := &wire.Attestation{Fmt: wire.AttAndroidKey}
		for _, der := range m.Android(key, k) {
			att.X5C = append(att.X5C, der)
		}
		return att
	}
}

func TestABiometricKeyIsWorthWhatItsMakerSays(t *testing.T) {
	r, m := world(t, identity.AttestationOptional)
	u := r.User()
	p := r.RegisteredAs(u, func(p *sdk.Phone) { p.Platform = "android" })
	soft := &keystoretest.Soft{}
	for name, c := range map[string]struct {
		say   func(*ecdsa.PublicKey, string, string) *wire.Attestation
		check string
	}{
		"free to use":         {released(m, func(k *attesttest.AndroidKey) { k.UserAuth = 0 }), "auth"},
		"by password too":     {released(m, func(k *attesttest.AndroidKey) { k.UserAuth = 3 }), "auth"},
		"by password":         {released(m, func(k *attesttest.AndroidKey) { k.UserAuth = 1 }), "auth"},
		"for some minutes":    {released(m, func(k *attesttest.AndroidKey) { k.AuthTimeout = true }), "auth"},
		"in software":         {released(m, func(k *attesttest.AndroidKey) { k.Level = 0 }), "software"},
		"for another request": {released(m, func(k *attesttest.AndroidKey) { k.Challenge = make([]byte, 32) }), "challenge"},
		"for registration": {released(m, func(k *attesttest.AndroidKey) {
			other := wire.AttestationChallenge("ek", "ticket")
			k.Challenge = other[:]
		}), "challenge"},
		"of another key": {func(_ *ecdsa.PublicKey, ek, jti string) *wire.Attestation {
			return released(m, nil)(&attesttest.Key(t).PublicKey, ek, jti)
		}, "key"},
		"by a self-made maker": {released(attesttest.New(t, r.Clock.Now()), nil), "anchor"},
	} {
		p.Bio = bioAttester{soft, c.say}
		err := p.AddBiometry(t.Context(), rig.PIN, "x")
		if e := r.Refused(err, wire.AttestationFailed); e.Check != c.check {
			t.Errorf("%s: told %q, want %q", name, e.Check, c.check)
		}
	}
	if d := r.Device(p); d.DBK != "" || d.Failures != 0 {
		t.Fatalf("%+v", d)
	}
	p.Bio = bioAttester{soft, released(m, nil)}
	if err := p.AddBiometry(t.Context(), rig.PIN, "x"); err != nil {
		t.Fatal(err)
	}
	r.Ask(r.Backend, u)
	op := r.Waiting(p)
	if !slices.Contains(op.Need, wire.FactorBio) {
		t.Fatalf("it needs %v", op.Need)
	}
	if _, err := p.ApproveBio(t.Context(), op, "x", ""); err != nil {
		t.Fatal(err)
	}
	if out, _ := r.Decision(op.Txn); out.SCA.Inh != "bio-att" || out.SCA.Kno != "none" {
		t.Errorf("%+v", out.SCA)
	}
}

func TestAnAttestedAppVouchesForABiometricKey(t *testing.T) {
	for mode, code := range map[string]string{identity.AttestationOptional: "ok", identity.AttestationRequired: wire.AttestationFailed} {
		r, m := world(t, mode)
		u := r.User()
		a := r.REST("POST", "/registrations", map[string]any{"userId": u.ID})
		p := r.Phone()
		p.Platform, p.Keys, p.Bio = "ios", attester{p.Keys, apple(t, m)}, &keystoretest.Soft{}
		if _, err := p.Register(t.Context(), a.Text("link")); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Finish(t.Context(), rig.PIN); err != nil {
			t.Fatal(err)
		}
		if err := p.AddBiometry(t.Context(), rig.PIN, "x"); rig.Sealed(err) != code {
			t.Fatalf("%s: %v", mode, err)
		}
		p.Bio = bioAttester{&keystoretest.Soft{}, func(key *ecdsa.PublicKey, ek, jti string) *wire.Attestation {
			jwk, err := wire.FromECDSA(key)
			if err != nil {
				t.Fatal(err)
			}
			return &wire.Attestation{Fmt: wire.AttAppAttest,
				Obj: m.Apple(attesttest.AppAttest{ClientDataHash: wire.BioAppAttestHash(ek, jti, jwk.Thumbprint()), App: "TEAM." + bank})}
		}}
		if err := p.AddBiometry(t.Context(), rig.PIN, "x"); err != nil {
			t.Fatalf("%s: with the app's word for the key: %v", mode, err)
		}
		// The build vouches for it, not the maker; also once DSK has no attestation any more.
		for range 2 {
			r.Ask(r.Backend, u)
			op := r.Waiting(p)
			if _, err := p.ApproveBio(t.Context(), op, "x", ""); err != nil {
				t.Fatal(err)
			}
			if out, _ := r.Decision(op.Txn); out.SCA.Inh != "bio" {
				t.Errorf("%s: %+v", mode, out.SCA)
			}
			want := map[string]string{identity.AttestationOptional: "ok", identity.AttestationRequired: wire.NotAllowed}[mode]
			if err := p.Rotate(t.Context(), rig.PIN); rig.Sealed(err) != want {
				t.Fatalf("%s: new keys: %v", mode, err)
			}
		}
	}
}

// Android says of any app that its key is in hardware: the attestation of a signing
// key is nobody's word for a second key that the same app names.
func TestAnAttestedSigningKeyVouchesForNoOtherKey(t *testing.T) {
	r, m := world(t, identity.AttestationOptional)
	u := r.User()
	p := r.RegisteredAs(u, func(p *sdk.Phone) {
		p.Platform, p.Keys, p.Bio = "android", attester{p.Keys, android(m, nil)}, &keystoretest.Soft{}
	})
	if d := r.Device(p); d.Pos != "hwk-att" {
		t.Fatalf("pos %s", d.Pos)
	}
	err := p.AddBiometry(t.Context(), rig.PIN, "x")
	if e := r.Refused(err, wire.AttestationFailed); e.Check != "missing" {
		t.Errorf("told %q", e.Check)
	}
	if d := r.Device(p); d.DBK != "" || d.Failures != 0 {
		t.Errorf("%+v", d)
	}
}

// A maker that says no is not overruled, neither by an admin's word for the app nor by
// an attested build.
func TestARefutedBiometricKeyIsRefusedWhoeverVouchesForTheApp(t *testing.T) {
	r, m := world(t, identity.AttestationOptional)
	u := r.User()
	build := r.RegisteredAs(u, func(p *sdk.Phone) { p.Platform, p.Keys = "ios", attester{p.Keys, apple(t, m)} })
	change(t, r, func(p *identity.Policy) { p.Trusted = true })
	trusted := r.RegisteredAs(u, func(p *sdk.Phone) { p.Platform = "android" })
	for vouched, p := range map[string]*sdk.Phone{"the build": build, "an admin": trusted} {
		for check, edit := range map[string]func(*attesttest.AndroidKey){
			"auth":     func(k *attesttest.AndroidKey) { k.UserAuth = 0 },
			"software": func(k *attesttest.AndroidKey) { k.Level = 0 },
		} {
			p.Bio = bioAttester{&keystoretest.Soft{}, released(m, edit)}
			err := p.AddBiometry(t.Context(), rig.PIN, "x")
			if e := r.Refused(err, wire.AttestationFailed); e.Check != check {
				t.Errorf("%s: told %q, want %q", vouched, e.Check, check)
			}
			if d := r.Device(p); d.DBK != "" {
				t.Errorf("%s, %s: added", vouched, check)
			}
		}
	}
}

// A key that was good enough while attestation was optional proves nothing once the App
// requires it.
func TestABiometricKeyWithoutAttestationCountsNoMoreWhereItIsRequired(t *testing.T) {
	r, m := world(t, identity.AttestationOptional)
	change(t, r, func(p *identity.Policy) { p.Trusted = true })
	for platform, say := range map[string]func(*ecdsa.PublicKey, string, string) *wire.Attestation{"android": android(m, nil), "ios": apple(t, m)} {
		u := r.User()
		p := r.RegisteredAs(u, func(p *sdk.Phone) { p.Platform, p.Keys, p.Bio = platform, attester{p.Keys, say}, &keystoretest.Soft{} })
		if err := p.AddBiometry(t.Context(), rig.PIN, "x"); err != nil {
			t.Fatal(err)
		}
		r.Ask(r.Backend, u)
		op := r.Waiting(p)
		change(t, r, func(p *identity.Policy) { p.Attestation = identity.AttestationRequired })
		_, err := p.ApproveBio(t.Context(), op, "x", "")
		if e := r.Refused(err, wire.Need); !slices.Equal(e.Need, []string{wire.FactorPIN}) {
			t.Errorf("%s: it needs %v", platform, e.Need)
		}
		change(t, r, func(p *identity.Policy) { p.Attestation = identity.AttestationOptional })
		if _, err := p.ApproveBio(t.Context(), op, "x", ""); err != nil {
			t.Errorf("%s: where it is optional again: %v", platform, err)
		}
	}
}

// change changes the App's policy as it is.
func change(t *testing.T, r *rig.Rig, edit func(*identity.Policy)) {
	t.Helper()
	var version int64
	r.SQL(func(tx *db.Tx) error {
		app, err := tx.App(r.App.ID)
		version = app.Version
		return err
	})
	if _, err := r.Node.Users.ChangeApp(t.Context(), r.Merchant.ID, r.App.ID, version, func(_ *string, p *identity.Policy) error {
		edit(p)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
