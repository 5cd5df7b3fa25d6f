package registration_test

import (
	"crypto"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mobileid/config"
	"mobileid/internal/attestation"
	"mobileid/internal/attestation/attesttest"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/internal/operation"
	"mobileid/sdk"
	"mobileid/sdk/wire"
	"mobileid/test/rig"
)

// attester is a keystore whose maker speaks for its keys.
type attester struct {
	sdk.Keystore
	say func(key *ecdsa.PublicKey, ek, ticket string) *wire.Attestation
}

func (a attester) Attest(ref, ek, ticket string) (*wire.Attestation, error) {
	s, err := a.Signer(ref)
	if err != nil {
		return nil, err
	}
	return a.say(s.Public().(*ecdsa.PublicKey), ek, ticket), nil
}

const bank = "com.example.bank"

// world is a server that trusts the maker, and an App that asks as the policy says.
func world(t *testing.T, mode string) (*rig.Rig, *attesttest.Maker) {
	t.Helper()
	clk := rig.Start(t, rig.Options{}) // only for its time
	m := attesttest.New(t, clk.Clock.Now())
	roots, revoked := filepath.Join(t.TempDir(), "roots.pem"), filepath.Join(t.TempDir(), "revoked.json")
	if err := os.WriteFile(roots, m.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(revoked, []byte(`{"entries":{"0dead":{"status":"REVOKED"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	return rig.Start(t, rig.Options{Attestation: config.Attestation{AndroidRoots: roots, AppleRoots: roots, Revoked: revoked},
		Policy: identity.Policy{Attestation: mode, AndroidPackages: []string{bank}, AppleApps: []string{"TEAM." + bank}}}), m
}

func android(m *attesttest.Maker, edit func(*attesttest.AndroidKey)) func(*ecdsa.PublicKey, string, string) *wire.Attestation {
	return func(key *ecdsa.PublicKey, ek, ticket string) *wire.Attestation {
		k := attesttest.Sound(wire.AttestationChallenge(ek, ticket), bank, make([]byte, 32))
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

func apple(t *testing.T, m *attesttest.Maker) func(*ecdsa.PublicKey, string, string) *wire.Attestation {
	return func(key *ecdsa.PublicKey, ek, ticket string) *wire.Attestation {
		jwk, err := wire.PublicJWK(public{key})
		if err != nil {
			t.Fatal(err)
		}
		return &wire.Attestation{Fmt: wire.AttAppAttest,
			Obj: m.Apple(attesttest.AppAttest{ClientDataHash: wire.AppAttestHash(ek, ticket, jwk.Thumbprint()), App: "TEAM." + bank})}
	}
}

// public is a signer of which only the public half is used.
type public struct{ key *ecdsa.PublicKey }

func (public) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("only its public half")
}

func (p public) Public() crypto.PublicKey { return p.key }

// served is what discovery says of acr.
func served(r *rig.Rig) string {
	r.Clock.Advance(3 * time.Second) // longer than what a node read may be kept
	return fmt.Sprint(r.Get("/.well-known/openid-configuration").JSON["acr_values_supported"])
}

const (
	classes = "[urn:mobileid:acr:web urn:mobileid:acr:app]"
	insists = `{"id_token":{"acr":{"essential":true,"value":"urn:mobileid:acr:app-hw"}}}`
)

// The class of attested hardware is advertised, and can be insisted on, exactly while
// a login can end in it, and the ID token then has it.
func TestTheClassOfAttestedHardwareIsServedWhileItCanBeReached(t *testing.T) {
	r, m := world(t, identity.AttestationOff)
	set := func(settings map[string]any) {
		t.Helper()
		app := r.REST("GET", "/apps/"+r.App.ID, nil)
		if a := r.REST("PATCH", "/apps/"+r.App.ID, map[string]any{"settings": settings}, "If-Match", app.Header.Get("Etag")); a.Status != http.StatusOK {
			t.Fatal(a)
		}
	}
	u, soft := r.Person()
	if got := served(r); got != classes {
		t.Fatalf("no App asks for attestation: %s", got)
	}
	if left := r.Browser().Open(r.AuthorizeURL("claims", insists)).Left; left == nil || left.Query().Get("error") != "unmet_authentication_requirements" {
		t.Errorf("insisting on what cannot be reached leads to %v", left)
	}
	set(map[string]any{"attestation": "OPTIONAL"})
	with := strings.Replace(classes, "]", " urn:mobileid:acr:app-hw]", 1)
	if got := served(r); got != with {
		t.Errorf("an App asks for attestation: %s", got)
	}
	// A phone without it does not get there.
	r.Browser().Open(r.AuthorizeURL("login_hint", u.ExternalRef, "claims", insists))
	if ops, err := soft.List(t.Context()); err != nil || len(ops) != 0 {
		t.Errorf("a phone in software is asked %v, %v", ops, err)
	}
	hard, d, _, err := enrol(t, r, android(m, nil))
	if err != nil {
		t.Fatal(err)
	}
	code := r.Login(r.Browser(), db.User{ExternalRef: "userId:" + d.UserID}, hard, "claims", insists).Get("code")
	payload := strings.Split(r.Redeem(code).Text("id_token"), ".")[1]
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	var token struct {
		ACR string
		AMR []string
		SCA operation.SCA
	}
	if err := json.Unmarshal(raw, &token); err != nil || token.ACR != operation.ACRAppHW || !slices.Contains(token.AMR, "hwk") || token.SCA.Pos != "hwk-att" {
		t.Errorf("the ID token says %+v, %v", token, err)
	}
	// The phone reaches it although its App does not ask any more; gone, nobody does.
	set(map[string]any{"attestation": "OFF"})
	if got := served(r); got != with {
		t.Errorf("an attested phone is there: %s", got)
	}
	r.SetDevice(hard, db.DeviceDeactivated)
	if got := served(r); got != classes {
		t.Errorf("the attested phone is gone: %s", got)
	}
	// Pages in a browser reach nothing by attestation.
	set(map[string]any{"attestation": "REQUIRED", "kind": "web"})
	if got := served(r); got != classes {
		t.Errorf("an App of pages: %s", got)
	}
}

func TestWithoutAnAnchorNoAppReachesAttestedHardware(t *testing.T) {
	r := rig.Start(t, rig.Options{Policy: identity.Policy{Attestation: identity.AttestationRequired}})
	if got := served(r); got != classes {
		t.Error(got)
	}
}

// enrol registers a phone with what its maker says and returns what was recorded.
func enrol(t *testing.T, r *rig.Rig, say func(*ecdsa.PublicKey, string, string) *wire.Attestation) (*sdk.Phone, db.Device, attestation.Result, error) {
	t.Helper()
	u := r.User()
	a := r.REST("POST", "/registrations", map[string]any{"userId": u.ID})
	p := r.Phone()
	if say != nil {
		p.Keys = attester{p.Keys, say}
	}
	if _, err := p.Register(t.Context(), a.Text("link")); err != nil {
		return p, db.Device{}, attestation.Result{}, err
	}
	if reg, err := p.Finish(t.Context(), rig.PIN); err != nil || reg.State != wire.RegActive {
		t.Fatalf("finish: %+v, %v", reg, err)
	}
	var res attestation.Result
	d := r.Device(p)
	if d.Attestation != "" {
		if err := json.Unmarshal([]byte(d.Attestation), &res); err != nil {
			t.Fatal(err)
		}
	}
	return p, d, res, nil
}

// Android attests the key, App Attest the build that uses it: both are let in where
// attestation is required, and prove different things.
func TestAnAttestedPhoneReachesWhatWasProven(t *testing.T) {
	r, m := world(t, identity.AttestationRequired)
	for name, c := range map[string]struct {
		say        func(*ecdsa.PublicKey, string, string) *wire.Attestation
		pos, acr   string
		level      attestation.Level
		amr, other string
	}{
		"Android":    {android(m, nil), "hwk-att", operation.ACRAppHW, attestation.Hardware, "hwk", "swk"},
		"App Attest": {apple(t, m), "hwk", operation.ACRApp, attestation.Build, "swk", "hwk"},
	} {
		p, d, res, err := enrol(t, r, c.say)
		if err != nil || d.Pos != c.pos || res.Level != c.level {
			t.Fatalf("%s: %v, pos %s, %+v", name, err, d.Pos, res)
		}
		if got := operation.Reach(&d, identity.Policy{}.WithDefaults()); got != c.acr {
			t.Errorf("%s reaches %s", name, got)
		}
		if got := operation.Reach(&d, identity.Policy{Kind: "web"}.WithDefaults()); got != operation.ACRWeb {
			t.Errorf("%s reaches %s in a browser", name, got)
		}
		r.Ask(r.Backend, db.User{ExternalRef: "userId:" + d.UserID})
		op := r.Waiting(p)
		r.Approve(p, "")
		out, _ := r.Decision(op.Txn)
		if out.ACR != c.acr || out.SCA.Pos != c.pos || !slices.Contains(out.AMR, c.amr) || slices.Contains(out.AMR, c.other) {
			t.Errorf("%s: %s, %v, %+v", name, out.ACR, out.AMR, out.SCA)
		}
		a := r.REST("GET", "/registrations/"+d.OperationID, nil)
		var told struct{ Attestation attestation.Result }
		if err := json.Unmarshal([]byte(a.Body), &told); err != nil || told.Attestation != res {
			t.Errorf("%s: the merchant is told %s", name, a)
		}
	}
}

// D16: what is missing, self-made, expired or revoked is recorded and raises nothing.
func TestD16_WhatFailsIsRecordedAndRaisesNothing(t *testing.T) {
	r, m := world(t, identity.AttestationOptional)
	stranger := attesttest.New(t, r.Clock.Now())
	old := attesttest.New(t, r.Clock.Now().AddDate(-3, 0, 0))
	for name, c := range map[string]struct {
		say   func(*ecdsa.PublicKey, string, string) *wire.Attestation
		level attestation.Level
		check string
	}{
		"missing":               {nil, attestation.None, ""},
		"self-made":             {android(stranger, nil), attestation.Failed, attestation.CheckAnchor},
		"expired":               {android(old, nil), attestation.Failed, attestation.CheckValidity},
		"revoked":               {android(m, func(k *attesttest.AndroidKey) { k.Serial = 0xdead }), attestation.Failed, attestation.CheckRevoked},
		"for another challenge": {android(m, func(k *attesttest.AndroidKey) { k.Challenge = make([]byte, 32) }), attestation.Failed, attestation.CheckChallenge},
		"an unlocked phone":     {android(m, func(k *attesttest.AndroidKey) { k.Locked = false }), attestation.Failed, attestation.CheckBoot},
		"in software":           {android(m, func(k *attesttest.AndroidKey) { k.Level = 0 }), attestation.Software, ""},
		"an unknown format":     {func(*ecdsa.PublicKey, string, string) *wire.Attestation { return &wire.Attestation{Fmt: "none"} }, attestation.Failed, attestation.CheckFormat},
		"an app for another key": {func(_ *ecdsa.PublicKey, ek, ticket string) *wire.Attestation {
			return apple(t, m)(&attesttest.Key(t).PublicKey, ek, ticket)
		}, attestation.Failed, attestation.CheckChallenge},
	} {
		_, d, res, err := enrol(t, r, c.say)
		if err != nil || d.Pos != "swk" || res.Level != c.level || res.Check != c.check {
			t.Errorf("%s: %v, pos %s, %+v", name, err, d.Pos, res)
		}
	}
}

// D16: where it is required, the same phones are refused, told why, and the
// ticket is left to a better one.
func TestD16_WhereItIsRequiredTheseAreRefused(t *testing.T) {
	r, m := world(t, identity.AttestationRequired)
	link := r.Link(r.User())
	for want, say := range map[string]func(*ecdsa.PublicKey, string, string) *wire.Attestation{
		"missing":  func(*ecdsa.PublicKey, string, string) *wire.Attestation { return nil },
		"anchor":   android(attesttest.New(t, r.Clock.Now()), nil),
		"software": android(m, func(k *attesttest.AndroidKey) { k.Level = 0 }),
		"app":      android(m, func(k *attesttest.AndroidKey) { k.Package = "com.example.fake" }),
	} {
		p := r.Phone()
		p.Keys = attester{p.Keys, say}
		_, err := p.Register(t.Context(), link)
		r.Refused(err, wire.AttestationFailed)
		if werr, ok := err.(*wire.Error); ok && werr.Check != want {
			t.Errorf("told %q, want %q", werr.Check, want)
		}
	}
	p := r.Phone()
	p.Keys = attester{p.Keys, android(m, nil)}
	if _, err := p.Register(t.Context(), link); err != nil {
		t.Errorf("a sound phone afterwards: %v", err)
	}
}

func TestAnAppThatDoesNotAskDoesNotLook(t *testing.T) {
	r, m := world(t, identity.AttestationOff)
	if _, d, _, err := enrol(t, r, android(m, nil)); err != nil || d.Pos != "swk" || d.Attestation != "" {
		t.Errorf("%v, pos %s, %q", err, d.Pos, d.Attestation)
	}
}

// D16: an attested key is not exchanged for one that nobody attests, and the refusal
// is the same with the right PIN and with a wrong one.
func TestD16_WhereItIsRequiredNoKeyIsExchangedForAnother(t *testing.T) {
	r, m := world(t, identity.AttestationOptional)
	p, before, _, err := enrol(t, r, android(m, nil))
	if err != nil {
		t.Fatal(err)
	}
	change(t, r, func(p *identity.Policy) { p.Attestation = identity.AttestationRequired })
	for _, pin := range []string{rig.PIN, rig.WrongPIN, rig.PIN} {
		r.Refused(p.Rotate(t.Context(), pin), wire.NotAllowed)
		if d := r.Device(p); d.DSKThumb != before.DSKThumb || d.Pos != "hwk-att" || d.Failures != 0 || string(d.KK) != string(before.KK) {
			t.Errorf("pos %s, %d failures, the key replaced: %t", d.Pos, d.Failures, d.DSKThumb != before.DSKThumb)
		}
	}
	change(t, r, func(p *identity.Policy) { p.Attestation = identity.AttestationOptional })
	if err := p.Rotate(t.Context(), rig.PIN); err != nil {
		t.Fatal(err)
	}
	if d := r.Device(p); d.DSKThumb == before.DSKThumb || d.Pos != "swk" {
		t.Errorf("where it is optional: pos %s", d.Pos)
	}
}
