package identity

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"mobileid/internal/db"
	"mobileid/internal/fault"
	"mobileid/internal/risk"
)

// Policy is what an App asks of its phones. Zero fields mean the default.
type Policy struct {
	Kind            string        `json:"kind,omitempty"`             // web | native (default native)
	Trusted         bool          `json:"trusted,omitempty"`          // an admin vouches for the App's build
	PINMin          int           `json:"pin_min,omitempty"`          // digits
	PINMax          int           `json:"pin_max,omitempty"`          // digits
	FailureLimit    int64         `json:"failure_limit,omitempty"`    // consecutive, 1–5
	BlockFor        time.Duration `json:"block_for,omitempty"`        // after the limit
	CodeLength      int           `json:"code_length,omitempty"`      // activation code
	CodeAlphabet    string        `json:"code_alphabet,omitempty"`    // characters of the activation code
	RegistrationTTL time.Duration `json:"registration_ttl,omitempty"` // life of a ticket
	Language        string        `json:"language,omitempty"`         // of what phones show, where nobody wishes for another
	LockScope       string        `json:"lock_scope,omitempty"`       // what the limit blocks: DEVICE | USER
	Confirm         string        `json:"confirm,omitempty"`          // the least that registrations are confirmed by: none | digits
	Attestation     string        `json:"attestation,omitempty"`      // OFF | OPTIONAL | REQUIRED
	AndroidPackages []string      `json:"android_packages,omitempty"` // that may make a key; none: any
	AndroidSigners  []string      `json:"android_signers,omitempty"`  // SHA-256 of the certificates they are signed by, hexadecimal; none: any
	AppleApps       []string      `json:"apple_apps,omitempty"`       // App IDs for App Attest, <team>.<bundle>
	Risk            risk.Rules    `json:"risk,omitzero"`              // what phones must say of themselves, and what is refused
	SessionIdle     time.Duration `json:"session_idle,omitempty"`     // of a browser that logged in
	Push            string        `json:"push,omitempty"`             // OFF | ASKED | ALWAYS
	Methods         []string      `json:"allowed_methods,omitempty"`  // that may prove a further factor
	PSD2            bool          `json:"psd2,omitempty"`             // held to the RTS on strong customer authentication; payments name amount and payee
}

// What an App's failure limit blocks.
const (
	LockDevice = "DEVICE"
	LockUser   = "USER" // every device of the user
)

// Whether phones must be attested by their maker.
const (
	AttestationOff      = "OFF"      // not looked at
	AttestationOptional = "OPTIONAL" // looked at and recorded
	AttestationRequired = "REQUIRED" // no phone without a key in hardware
)

// How registrations are confirmed.
const (
	ConfirmDigits = "digits" // somebody compares 8 digits on both screens
	ConfirmNone   = "none"   // the link's secret is enough
)

// Whether an App's phones are woken by push.
const (
	PushOff    = "OFF"    // no address is taken or used
	PushAsked  = "ASKED"  // where a request asks for it
	PushAlways = "ALWAYS" // for every request of the App's clients
)

// Methods that prove a factor besides possession.
const (
	MethodPIN       = "PIN"
	MethodBiometric = "BIOMETRIC"
	MethodWebAuthn  = "WEBAUTHN"
)

// Methods lists them.
func Methods() []string { return []string{MethodPIN, MethodBiometric, MethodWebAuthn} }

// Allows reports whether an answer may prove a factor by the method. The policy has
// its defaults.
func (p Policy) Allows(method string) bool { return slices.Contains(p.Methods, method) }

// mostFailures is the ceiling of every App's FailureLimit.
const mostFailures = 5

// WithDefaults fills what is not set and holds the limit under its ceiling.
func (p Policy) WithDefaults() Policy {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&p.PINMin, 6)
	set(&p.PINMax, 12)
	set(&p.CodeLength, 6)
	if p.Kind == "" {
		p.Kind = "native"
	}
	if p.CodeAlphabet == "" {
		p.CodeAlphabet = "0123456789"
	}
	if p.FailureLimit <= 0 {
		p.FailureLimit = 3
	}
	p.FailureLimit = min(p.FailureLimit, mostFailures)
	if p.BlockFor <= 0 {
		p.BlockFor = 15 * time.Minute
	}
	if p.RegistrationTTL == 0 {
		p.RegistrationTTL = 3 * time.Minute
	}
	word := func(v *string, d string) {
		if *v == "" {
			*v = d
		}
	}
	word(&p.LockScope, LockDevice)
	word(&p.Push, PushAsked)
	if len(p.Methods) == 0 {
		p.Methods = Methods()
		if p.PSD2 {
			p.Methods = []string{MethodPIN, MethodBiometric}
		}
	}
	word(&p.Attestation, AttestationOff)
	word(&p.Risk.Mode, risk.Off)
	confirm, idle := ConfirmNone, 30*time.Minute
	if p.PSD2 {
		confirm, idle = ConfirmDigits, longestIdle
	}
	word(&p.Confirm, confirm)
	if p.SessionIdle == 0 {
		p.SessionIdle = idle
	}
	return p
}

// PolicyOf decodes the App's policy, with defaults.
func PolicyOf(a db.App) (Policy, error) {
	var p Policy
	if err := json.Unmarshal(a.Policy, &p); err != nil {
		return p, fmt.Errorf("identity: policy of %s: %w", a.ID, err)
	}
	p = p.WithDefaults()
	return p, p.Check()
}

// Check reports what is wrong with a policy that has its defaults.
func (p Policy) Check() error {
	bad := func(field, detail string) error { return fault.InField("/settings/"+field, "invalid", detail) }
	switch {
	case p.PINMin < 4 || p.PINMin > p.PINMax || p.PINMax > 16:
		return bad("pinMin", "a PIN has 4 to 16 digits, and pinMin is not above pinMax")
	case p.FailureLimit < 1 || p.FailureLimit > mostFailures:
		return bad("failureLimit", "failureLimit is 1 to 5 (PSD2 RTS article 4(3)(b))")
	case repeats(p.CodeAlphabet):
		return bad("codeAlphabet", "each character stands once in codeAlphabet")
	case p.CodeLength > 32 || math.Pow(float64(len([]rune(p.CodeAlphabet))), float64(p.CodeLength)) < 1e6:
		return bad("codeLength", "an activation code is one of a million at least, and has 32 characters at most")
	}
	if !slices.Contains([]string{PushOff, PushAsked, PushAlways}, p.Push) {
		return bad("push", "push is OFF, ASKED or ALWAYS")
	}
	for i, m := range p.Methods {
		if !slices.Contains(Methods(), m) || slices.Contains(p.Methods[:i], m) {
			return bad("allowedMethods", "allowedMethods are of PIN, BIOMETRIC and WEBAUTHN, each once")
		}
	}
	if err := p.checkAttestation(); err != nil {
		return err
	}
	if err := p.Risk.Check(); err != nil {
		return err
	}
	if p.PSD2 {
		return p.checkPSD2()
	}
	return nil
}

func repeats(s string) bool {
	seen := map[rune]bool{}
	for _, r := range s {
		if seen[r] {
			return true
		}
		seen[r] = true
	}
	return false
}

// longestIdle is RTS article 4(3)(d)'s.
const longestIdle = 5 * time.Minute

// checkPSD2 holds the settings to the regulatory technical standards on strong
// customer authentication (Commission Delegated Regulation (EU) 2018/389). What a
// setting cannot break is not asked here: two factors by separate keys, one use of
// each code, one answer to all failures, the ceiling of five, the trail of audit.
func (p Policy) checkPSD2() error {
	out := &fault.Error{Kind: fault.Invalid, Message: "with psd2 the settings must keep the RTS on strong customer authentication"}
	rule := func(broken bool, field, detail string) {
		if broken {
			out.Fields = append(out.Fields, fault.Field{Pointer: "/settings/" + field, Code: "psd2", Detail: detail})
		}
	}
	rule(p.Allows(MethodWebAuthn), "allowedMethods",
		"RTS article 4(1): WebAuthn does not tell whether knowledge or inherence was verified, so it counts for neither")
	rule(p.SessionIdle > longestIdle, "sessionIdle", "RTS article 4(3)(d): a session may be idle for 300 seconds at most")
	rule(p.BlockFor < minBlock, "blockFor", "RTS article 4(3)(b): a block must last; 300 seconds at least")
	rule(p.PINMin < 6, "pinMin", "RTS article 6(1): a PIN of fewer than 6 digits is guessed too easily")
	rule(p.Confirm != ConfirmDigits, "confirmation",
		"RTS articles 24(2)(b) and 25(2)(c): a link alone would bring all that activates a device by one channel; confirmation must be digits")
	if len(out.Fields) > 0 {
		return out
	}
	return nil
}

// minBlock is the shortest block of a device under PSD2: with five tries each,
// a million PINs take years.
const minBlock = 5 * time.Minute
