package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"mobileid/internal/attestation"
	"mobileid/internal/fault"
)

// mostApps bounds the apps and the signers that a policy names, each.
const mostApps = 16

func (p Policy) checkAttestation() error {
	bad := func(field, detail string) error { return fault.InField("/settings/"+field, "invalid", detail) }
	switch p.Attestation {
	case AttestationOff, AttestationOptional, AttestationRequired:
	default:
		return bad("attestation", "attestation is OFF, OPTIONAL or REQUIRED")
	}
	for field, names := range map[string][]string{"androidPackages": p.AndroidPackages, "appleApps": p.AppleApps} {
		if !named(names) {
			return bad(field, field+" are 16 names at most of 1 to 255 bytes")
		}
	}
	if _, err := p.Signers(); err != nil || len(p.AndroidSigners) > mostApps {
		return bad("androidSigners", "androidSigners are 16 at most, SHA-256 in hexadecimal")
	}
	return nil
}

func named(names []string) bool {
	for _, n := range names {
		if n == "" || len(n) > 255 {
			return false
		}
	}
	return len(names) <= mostApps
}

// Expect is what the policy asks of a statement; the caller adds what it is about.
func (p Policy) Expect(now time.Time) (attestation.Expect, error) {
	signers, err := p.Signers()
	return attestation.Expect{Now: now, AndroidPackages: p.AndroidPackages, AndroidSigners: signers, AppleApps: p.AppleApps}, err
}

// Signers are AndroidSigners as bytes.
func (p Policy) Signers() ([][]byte, error) {
	var out [][]byte
	for _, s := range p.AndroidSigners {
		b, err := hex.DecodeString(s)
		if err != nil || len(b) != sha256.Size {
			return nil, fault.New(fault.Invalid, "a signer is a SHA-256 in hexadecimal")
		}
		out = append(out, b)
	}
	return out, nil
}
