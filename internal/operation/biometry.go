package operation

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"mobileid/internal/attestation"
	"mobileid/internal/audit"
	"mobileid/internal/callback"
	"mobileid/internal/channel"
	"mobileid/internal/db"
	"mobileid/internal/identity"
	"mobileid/sdk/wire"
)

// Values of SCA.Inh.
const (
	inhNone = "none"
	inhBio  = "bio"     // a key that a trusted or attested app has released by biometry
	inhAtt  = "bio-att" // the phone's maker says so of this key
)

// inhBuild is what a device keeps of a key that an attested build vouched for as it was
// added: inhBio, whatever became of the attestation of its other key.
const inhBuild = "bio-app"

// Inherence is what the device's biometric key proves, as its App's policy stands:
// bio, bio-att, or none. That a key is released by biometry alone is a claim of the
// phone: it counts if the maker makes it, or the maker or an admin vouches for the app
// and the App does not want this very key attested. A signing key in attested hardware
// (hwk-att) vouches for no app: Android says of any app that its key is there.
func Inherence(dev *db.Device, policy identity.Policy) string {
	switch {
	case dev.Inh == "" || policy.Kind == "web" || !policy.Allows(identity.MethodBiometric):
		return inhNone
	case dev.Inh == inhAtt:
		return inhAtt
	case dev.Inh == inhBuild:
		return inhBio
	case policy.Attestation == identity.AttestationRequired:
		return inhNone
	case policy.Trusted || dev.Pos == "hwk": // hwk: the build is attested
		return inhBio
	}
	return inhNone
}

// factors are the methods that phones prove, and their names to them.
func factors() [2]struct{ method, name string } {
	return [...]struct{ method, name string }{{identity.MethodPIN, wire.FactorPIN}, {identity.MethodBiometric, wire.FactorBio}}
}

// Provable lists the methods by which the device can prove a second factor, as its
// App's policy stands. Every device has a PIN.
func Provable(dev *db.Device, policy identity.Policy) []string {
	var out []string
	if policy.Allows(identity.MethodPIN) {
		out = append(out, identity.MethodPIN)
	}
	if Inherence(dev, policy) != inhNone {
		out = append(out, identity.MethodBiometric)
	}
	return out
}

// Choice is Operation.Methods for methods of which one must be proven; none, or all
// that phones prove, is "".
func Choice(methods []string) string {
	for _, f := range factors() {
		if !slices.Contains(methods, f.method) {
			return strings.Join(methods, " ")
		}
	}
	return ""
}

// Factors are the policy's methods by their names to phones, of those that a phone of
// the App may come to prove.
func Factors(policy identity.Policy) []string {
	out := []string{}
	for _, f := range factors() {
		bio := f.method == identity.MethodBiometric
		if policy.Allows(f.method) && (!bio || policy.Kind != "web" && (policy.Trusted || policy.Attestation != identity.AttestationOff)) {
			out = append(out, f.name)
		}
	}
	return out
}

// provable is Provable for a list. The policy is read for a device that has a choice;
// what its App does not allow, another is told with its answer.
func (e *Engine) provable(ctx context.Context, dev *db.Device) ([]string, error) {
	if dev.Inh == "" {
		return []string{identity.MethodPIN}, nil
	}
	policy, err := e.policyOf(ctx, dev.AppID)
	return Provable(dev, policy), err
}

func (e *Engine) policyOf(ctx context.Context, appID string) (policy identity.Policy, err error) {
	err = e.DB.View(ctx, func(tx *db.Tx) error {
		app, err := tx.App(appID)
		if err == nil {
			policy, err = e.policies.parse(app.ID, string(app.Policy))
		}
		return err
	})
	return policy, err
}

// biometric is whether a bsig is right under one key.
type biometric struct {
	dbk   string
	right bool
}

// biometry verifies bsig by the key that the device has.
func (p *proof) biometry(dev *db.Device) biometric {
	b := biometric{dbk: dev.DBK}
	if dev.DBK == "" || len(p.bsig) == 0 {
		return b
	}
	var jwk wire.JWK
	if json.Unmarshal([]byte(dev.DBK), &jwk) != nil {
		return b
	}
	pub, err := jwk.ECDSA()
	b.right = err == nil && wire.VerifyBio(pub, p.ansHash, p.bsig)
	return b
}

// takesProofs reports whether the answer brings a factor that the operation takes and
// the device can prove, and none besides: what nobody asked for is not judged.
func (o *Operation) takesProofs(p *proof, can []string) bool {
	pin, bio := len(p.kpf) > 0, len(p.bsig) > 0
	ok := func(method string) bool { return o.takes(method) && slices.Contains(can, method) }
	return o.Level == OneFactor || (pin || bio) && (!pin || ok(identity.MethodPIN)) && (!bio || ok(identity.MethodBiometric))
}

// proven compares what the answer brought, all of it, and notes what that proves
// only if all is right. The device's row is locked.
func (e *Engine) proven(op *Operation, p *proof) (bool, error) {
	right := true
	if len(p.bsig) > 0 {
		if p.bio.dbk != p.device.DBK { // replaced since it was read
			p.bio = p.biometry(p.device)
		}
		right = p.bio.right
	}
	if len(p.kpf) > 0 {
		kk, err := e.Box.Open(KnowledgePurpose(p.device.ID), p.device.KK)
		if err != nil {
			return false, err
		}
		want := wire.AnswerProof(kk, p.ansHash, op.Challenge)
		right = wire.Equal(want[:], p.kpf) && right
	}
	if right {
		p.knows = len(p.kpf) > 0
		if len(p.bsig) > 0 {
			p.inh = Inherence(p.device, p.policy)
		}
	}
	return right, nil
}

// prepareBioAdd gives a device a biometric key, in place of the one before: the
// request is signed by DSK, the new key signs inside it, and the PIN is proven.
func (e *Engine) prepareBioAdd(ctx context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	var body wire.BioAdd
	if werr := c.Decode(&body); werr != nil {
		return channel.Plan{}, werr, nil
	}
	key, err := wire.VerifyBioKey(body.New, wire.BioKeyClaims{Iss: c.Device.ID, DSK: c.KeyID, JTI: c.JTI})
	if err != nil || key.KeyID() == c.KeyID {
		return channel.Plan{}, &wire.Error{Code: wire.Malformed}, nil
	}
	jwk, err := json.Marshal(key)
	if err != nil {
		return channel.Plan{}, nil, err
	}
	att, err := e.bioAttested(ctx, c, &body, key)
	if err != nil {
		return channel.Plan{}, nil, err
	}
	return e.withPIN(c, authorised{body: body, kpf: body.KPF, risk: body.Risk, act: func(tx *db.Tx, dev *db.Device, policy identity.Policy) (*wire.Error, error) {
		change := callback.FactorAdded
		if dev.DBK != "" {
			change = callback.FactorReplaced
		}
		dev.DBK, dev.Inh = string(jwk), inhBio
		switch att.Level {
		case attestation.Hardware:
			dev.Inh = inhAtt
		case attestation.Build:
			dev.Inh = inhBuild
		}
		if werr := takes(dev, policy, att); werr != nil {
			return werr, e.Audit.Append(tx, audit.Record{Act: "device.biometry_refused", Merchant: dev.MerchantID, User: dev.UserID, Device: dev.ID,
				Details: map[string]string{"check": werr.Check, "detail": att.Detail}})
		}
		// A key serves one device, and one factor of it.
		if serves, err := tx.KeyServes(dev.DBK, key.KeyID()); serves || err != nil {
			return &wire.Error{Code: wire.Malformed}, err
		}
		if err := tx.SetBiometry(dev.ID, dev.DBK, dev.Inh); err != nil {
			return nil, err
		}
		return nil, errors.Join(callback.FactorMoved(tx, dev, factorInherence, change),
			e.Audit.Append(tx, audit.Record{Act: "device.biometry_added", Merchant: dev.MerchantID, User: dev.UserID, Device: dev.ID,
				Details: map[string]string{"key": key.KeyID(), "inh": dev.Inh, "attestation": att.Format}}))
	}})
}

// takes is why the policy refuses a biometric key of the device; nil if it does not.
func takes(dev *db.Device, policy identity.Policy, att attestation.Result) *wire.Error {
	native := policy.Kind != "web" && (dev.Platform == "android" || dev.Platform == "ios")
	if !native || !policy.Allows(identity.MethodBiometric) {
		return &wire.Error{Code: wire.NotAllowed}
	}
	refuted := att.Level == attestation.Failed || att.Level == attestation.Software
	if refuted || Inherence(dev, policy) == inhNone {
		return &wire.Error{Code: wire.AttestationFailed, Check: att.Lacking()}
	}
	return nil
}

// bioAttested verifies what the phone's maker says of a biometric key, before the
// transaction. Where the App's policy does not ask, it does not look.
func (e *Engine) bioAttested(ctx context.Context, c *channel.Call, body *wire.BioAdd, key wire.JWK) (attestation.Result, error) {
	none := attestation.Result{Level: attestation.None}
	if body.Att == nil {
		return none, nil
	}
	policy, err := e.policyOf(ctx, c.Device.AppID)
	if err != nil || policy.Attestation == identity.AttestationOff {
		return none, err
	}
	want, err := policy.Expect(e.Clock.Now())
	if err != nil {
		return none, err
	}
	if want.Key, err = key.ECDSA(); err != nil {
		return none, err
	}
	want.Biometry, want.Challenge = true, wire.BioAttestationChallenge(c.EK, c.JTI)
	if body.Att.Fmt == wire.AttAppAttest {
		want.Challenge = wire.BioAppAttestHash(c.EK, c.JTI, key.Thumbprint())
	}
	return e.Attest.Verify(attestation.Of(body.Att), want), nil
}

// prepareBioRemove gives the biometric key up. Like dev.remove it needs no PIN: it
// only ever takes something away.
func (e *Engine) prepareBioRemove(_ context.Context, c *channel.Call) (channel.Plan, *wire.Error, error) {
	if werr := c.Decode(&wire.BioRemove{}); werr != nil {
		return channel.Plan{}, werr, nil
	}
	return channel.Plan{Commit: func(tx *db.Tx, dev *db.Device) (any, *wire.Error, error) {
		if dev.DBK == "" {
			return wire.Changed{}, nil, nil
		}
		if err := tx.SetBiometry(dev.ID, "", ""); err != nil {
			return nil, nil, err
		}
		return wire.Changed{}, nil, errors.Join(callback.FactorMoved(tx, dev, factorInherence, callback.FactorRemoved),
			e.Audit.Append(tx, audit.Record{Act: "device.biometry_removed", Merchant: dev.MerchantID, User: dev.UserID, Device: dev.ID}))
	}}, nil, nil
}
