// Package attestation verifies what a phone's maker says of a signing key:
// Android key attestation and Apple App Attest. It has no input or output, and
// trusts no authority that it was not given.
package attestation

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"mobileid/sdk/wire"
)

// Level is what an attestation proves of the key.
type Level string

// Levels, weakest last.
const (
	Hardware Level = "hardware" // kept in hardware, by an unmodified system
	Build    Level = "build"    // used by an unmodified build of the app, on its word kept in hardware
	Software Level = "software" // attested, but not to be in hardware
	Failed   Level = "failed"   // there was one, and a check failed
	None     Level = "none"     // there was none
)

// Formats of statements.
const (
	AndroidKey     = "android-key"
	AppleAppAttest = "apple-appattest"
)

// Checks that may fail; Result.Check is one of them.
const (
	CheckFormat     = "format"     // not a statement of the format it says
	CheckAnchor     = "anchor"     // no path to a trusted authority, or a broken one
	CheckValidity   = "validity"   // a certificate is expired or not yet valid
	CheckRevoked    = "revoked"    // a certificate is on the list of the revoked
	CheckKey        = "key"        // it is about another key
	CheckChallenge  = "challenge"  // made for another registration
	CheckPurpose    = "purpose"    // the key may do other than sign, or is open to all apps
	CheckOrigin     = "origin"     // the key was not made where it is kept
	CheckBoot       = "boot"       // the system is unlocked, or not its maker's
	CheckApp        = "app"        // another app, or another build
	CheckCounter    = "counter"    // the attested key was used before
	CheckCredential = "credential" // the credential id is not the key's hash
	CheckAuth       = "auth"       // a biometric key is released by other than biometry, or for longer than one use
)

// Statement is what the phone sent; nothing of it is trusted.
type Statement struct {
	Format string
	Chain  [][]byte // AndroidKey: DER certificates, the key's first
	Object []byte   // AppleAppAttest: the attestation object, CBOR
}

// Expect is what a good statement is about.
type Expect struct {
	Key       *ecdsa.PublicKey // AndroidKey: the attested key. AppleAppAttest covers it in Challenge
	Challenge [32]byte         // AndroidKey: attestationChallenge; AppleAppAttest: clientDataHash
	Now       time.Time
	Biometry  bool // the key must be released by biometry alone, for each use anew

	AndroidPackages []string // that may have made the key; empty: any
	AndroidSigners  [][]byte // SHA-256 of the certificates they are signed by; empty: any
	AppleApps       []string // App IDs, <team>.<bundle>; one at least
}

// Result is what came of it. Detail is for people who look after the server.
type Result struct {
	Level  Level  `json:"level"`
	Format string `json:"format,omitempty"`
	Keeper string `json:"keeper,omitempty"` // tee | strongbox | secure-enclave | software
	App    string `json:"app,omitempty"`    // package or App ID, where it was compared
	Check  string `json:"check,omitempty"`  // Failed: which
	Detail string `json:"detail,omitempty"`
}

// Lacking is why it is neither Hardware nor Build, in a word: the check that failed,
// "software" or "missing"; "" if it is one of them.
func (r Result) Lacking() string {
	switch r.Level {
	case Hardware, Build:
		return ""
	case Failed:
		return r.Check
	case Software:
		return "software"
	}
	return "missing"
}

// Of is the statement of a message.
func Of(att *wire.Attestation) *Statement {
	st := &Statement{Format: att.Fmt, Object: att.Obj}
	for _, der := range att.X5C {
		st.Chain = append(st.Chain, der)
	}
	return st
}

// Verifier holds whom to trust. A nil pool trusts nobody.
type Verifier struct {
	Android, Apple *x509.CertPool
	Revoked        map[string]bool // serial numbers, lower-case hexadecimal without leading zeros
}

// failure is a check that failed.
type failure struct{ check, detail string }

func (f *failure) Error() string { return f.check + ": " + f.detail }

func failed(check, format string, args ...any) error {
	return &failure{check, fmt.Sprintf(format, args...)}
}

// Verify checks all of a statement; nil is none.
func (v *Verifier) Verify(st *Statement, want Expect) Result {
	if st == nil {
		return Result{Level: None}
	}
	var res Result
	var err error
	switch st.Format {
	case AndroidKey:
		res, err = v.android(st, want)
	case AppleAppAttest:
		res, err = v.apple(st, want)
	default:
		return Result{Level: Failed, Check: CheckFormat, Detail: "an unknown format"}
	}
	var f *failure
	if errors.As(err, &f) {
		res = Result{Level: Failed, Check: f.check, Detail: f.detail}
	}
	res.Format = st.Format
	return res
}

const (
	mostCertificates = 8
	mostDER          = 4096 // of one certificate
)

// chain verifies the certificates, leaf first, up to an anchor.
func (v *Verifier) chain(ders [][]byte, anchors *x509.CertPool, now time.Time) ([]*x509.Certificate, error) {
	if len(ders) == 0 || len(ders) > mostCertificates {
		return nil, failed(CheckFormat, "1 to %d certificates, not %d", mostCertificates, len(ders))
	}
	var certs []*x509.Certificate
	inter := x509.NewCertPool()
	for i, der := range ders {
		if len(der) > mostDER {
			return nil, failed(CheckFormat, "certificate %d is too long", i)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, failed(CheckFormat, "certificate %d cannot be read", i)
		}
		if certs = append(certs, c); i > 0 {
			inter.AddCert(c)
		}
	}
	for i, c := range certs {
		if v.Revoked[Serial(c.SerialNumber)] {
			return nil, failed(CheckRevoked, "certificate %d (%s) is revoked", i, Serial(c.SerialNumber))
		}
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return nil, failed(CheckValidity, "certificate %d is valid from %s to %s", i, c.NotBefore.UTC().Format(time.DateOnly), c.NotAfter.UTC().Format(time.DateOnly))
		}
	}
	if anchors == nil {
		return nil, failed(CheckAnchor, "no authority is trusted for this format")
	}
	paths, err := certs[0].Verify(x509.VerifyOptions{Roots: anchors, Intermediates: inter, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return nil, failed(CheckAnchor, "%v", err)
	}
	for _, c := range paths[0] {
		if v.Revoked[Serial(c.SerialNumber)] {
			return nil, failed(CheckRevoked, "%s is revoked", Serial(c.SerialNumber))
		}
	}
	return certs, nil
}

// extension returns the value of the one extension of that kind in the leaf. A
// certificate above that has one too was made by an attested key, not by the
// phone's maker.
func extension(certs []*x509.Certificate, id asn1.ObjectIdentifier) ([]byte, error) {
	var out []byte
	for i, c := range certs {
		for _, e := range c.Extensions {
			switch {
			case !e.Id.Equal(id):
			case i > 0:
				return nil, failed(CheckAnchor, "certificate %d is itself of an attested key", i)
			default:
				out = e.Value
			}
		}
	}
	if out == nil {
		return nil, failed(CheckFormat, "the certificate attests nothing")
	}
	return out, nil
}

// Serial writes a serial number as Verifier.Revoked has it.
func Serial(n *big.Int) string { return n.Text(16) }

// ParseRevoked reads a list of revoked serial numbers in the form in which the
// maker of Android publishes it: {"entries":{"<serial, hexadecimal>":{"status":…}}}.
// Every entry counts, whatever its status says.
func ParseRevoked(list []byte) (map[string]bool, error) {
	var doc struct {
		Entries map[string]json.RawMessage `json:"entries"`
	}
	if err := json.Unmarshal(list, &doc); err != nil {
		return nil, fmt.Errorf("attestation: list of the revoked: %w", err)
	}
	if doc.Entries == nil {
		return nil, errors.New("attestation: list of the revoked: it has no entries")
	}
	out := make(map[string]bool, len(doc.Entries))
	for s := range doc.Entries {
		n, ok := new(big.Int).SetString(s, 16)
		if !ok {
			return nil, fmt.Errorf("attestation: list of the revoked: %q is no serial number in hexadecimal", s)
		}
		out[Serial(n)] = true
	}
	return out, nil
}

// listed says what is expected, for a failure's detail.
func listed(names []string) string {
	return strings.Join(slices.Sorted(slices.Values(names)), ", ")
}
