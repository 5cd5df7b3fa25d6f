package attestation

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/asn1"
	"slices"
	"strings"
)

var keyDescription = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 17}

// android verifies a key attestation. Only what the hardware enforces counts,
// except who made the key, which Android itself can alone know.
func (v *Verifier) android(st *Statement, want Expect) (Result, error) {
	certs, err := v.chain(st.Chain, v.Android, want.Now)
	if err != nil {
		return Result{}, err
	}
	if key, ok := certs[0].PublicKey.(*ecdsa.PublicKey); !ok || want.Key == nil || !key.Equal(want.Key) {
		return Result{}, failed(CheckKey, "the certificate is of another key than the one that signs")
	}
	der, err := extension(certs, keyDescription)
	if err != nil {
		return Result{}, err
	}
	d, err := parseDescription(der)
	if err != nil {
		return Result{}, failed(CheckFormat, "the KeyDescription cannot be read")
	}
	if !bytes.Equal(d.Challenge, want.Challenge[:]) {
		return Result{}, failed(CheckChallenge, "attested for another challenge")
	}
	app, err := madeBy(d, want)
	if err != nil {
		return Result{}, err
	}
	if d.Level < levelSoftware || d.Level > levelStrongBox || d.Keymaster < levelSoftware || d.Keymaster > levelStrongBox {
		return Result{}, failed(CheckFormat, "an unknown security level")
	}
	if d.Level == levelSoftware || d.Keymaster == levelSoftware {
		return Result{Level: Software, Keeper: "software", App: app}, nil
	}
	if err := enforced(&d.Hardware); err != nil {
		return Result{}, err
	}
	if want.Biometry {
		if err := biometric(&d.Hardware); err != nil {
			return Result{}, err
		}
	}
	keeper := "tee"
	if d.Level == levelStrongBox && d.Keymaster == levelStrongBox {
		keeper = "strongbox"
	}
	return Result{Level: Hardware, Keeper: keeper, App: app}, nil
}

// enforced checks what the hardware says of the key and of the system.
func enforced(a *authorizations) error {
	if !slices.Contains(a.purposes, purposeSign) || slices.ContainsFunc(a.purposes, func(p int) bool { return p != purposeSign && p != purposeVerify }) {
		return failed(CheckPurpose, "the key's purposes are %v; it must sign and do nothing else", a.purposes)
	}
	if a.allApplications {
		return failed(CheckPurpose, "every app may use the key")
	}
	if a.origin != originGenerated {
		return failed(CheckOrigin, "the key was not made in the hardware")
	}
	switch r := a.root; {
	case r == nil:
		return failed(CheckBoot, "nothing is said of how the system was started")
	case r.State != bootVerified:
		return failed(CheckBoot, "the system is not its maker's (verified boot state %d)", r.State)
	case !r.Locked:
		return failed(CheckBoot, "the boot loader is unlocked")
	}
	return nil
}

// biometric checks that the hardware releases the key by biometry alone, and asks
// anew for each use. (That the key dies with a change of the enrolment is not said.)
func biometric(a *authorizations) error {
	if a.noAuth || a.userAuth != authBiometric || a.authTimeout {
		return failed(CheckAuth, "the key must be released by biometry for each use (no authentication %t, type %d, timeout %t)", a.noAuth, a.userAuth, a.authTimeout)
	}
	return nil
}

// madeBy checks which app made the key, where that is asked: every package and
// every signer it names must be expected.
func madeBy(d *description, want Expect) (string, error) {
	if len(want.AndroidPackages) == 0 && len(want.AndroidSigners) == 0 {
		return "", nil
	}
	app := d.Software.application
	if d.Hardware.application != nil || app == nil || len(app.packages) == 0 || len(app.signers) == 0 {
		return "", failed(CheckApp, "it does not say which app made the key")
	}
	for _, p := range app.packages {
		if len(want.AndroidPackages) > 0 && !slices.Contains(want.AndroidPackages, p) {
			return "", failed(CheckApp, "made by %q, not by %s", p, listed(want.AndroidPackages))
		}
	}
	for _, s := range app.signers {
		if len(want.AndroidSigners) > 0 && !slices.ContainsFunc(want.AndroidSigners, func(w []byte) bool { return bytes.Equal(w, s) }) {
			return "", failed(CheckApp, "the app is signed by %x", s)
		}
	}
	return strings.Join(app.packages, ","), nil
}
