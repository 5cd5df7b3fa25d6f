// Package risk judges what a phone says of itself, findings and country, by the
// rules of its App. It has no input or output. A statement is the phone's own word,
// signed by its key: the rules catch an honest app on a bad phone, and an absent
// statement where one is asked for, not an app that was made to lie.
package risk

import (
	"slices"
	"strings"
	"time"

	"mobileid/internal/fault"
	"mobileid/sdk/wire"
)

// Whether phones must say something of themselves.
const (
	Off      = "OFF"      // not looked at, not kept
	Optional = "OPTIONAL" // kept, and what is listed is refused
	Required = "REQUIRED" // likewise, and what is absent or old is refused too
)

// MaxAge is how old a statement may be.
const MaxAge = 5 * time.Minute

// Rules are what an App asks of its phones at every approval and at registration.
type Rules struct {
	Mode           string   `json:"mode,omitempty"`            // Off (default) | Optional | Required
	BlockFindings  []string `json:"block_findings,omitempty"`  // of wire.Findings
	AllowCountries []string `json:"allow_countries,omitempty"` // ISO 3166-1 alpha-2; none: any
	DenyCountries  []string `json:"deny_countries,omitempty"`  // likewise; not both
}

// Check reports what is wrong with the rules, by the names of an App's settings.
func (r *Rules) Check() error {
	bad := func(field, detail string) error { return fault.InField("/settings/"+field, "invalid", detail) }
	switch r.Mode {
	case Off, Optional, Required:
	default:
		return bad("risk", "risk is OFF, OPTIONAL or REQUIRED")
	}
	for _, f := range r.BlockFindings {
		if !slices.Contains(wire.Findings(), f) {
			return bad("blockFindings", "blockFindings are of "+strings.Join(wire.Findings(), ", "))
		}
	}
	for _, l := range []struct {
		field string
		codes []string
	}{{"allowCountries", r.AllowCountries}, {"denyCountries", r.DenyCountries}} {
		for _, c := range l.codes {
			if !wire.Country(c) {
				return bad(l.field, l.field+" are codes of ISO 3166-1 alpha-2, upper case")
			}
		}
	}
	if len(r.AllowCountries) > 0 && len(r.DenyCountries) > 0 {
		return bad("denyCountries", "allowCountries and denyCountries exclude each other")
	}
	if r.Mode != Off {
		return nil
	}
	for field, list := range map[string][]string{"blockFindings": r.BlockFindings, "allowCountries": r.AllowCountries, "denyCountries": r.DenyCountries} {
		if len(list) > 0 {
			return bad(field, "with risk OFF nothing is looked at: "+field+" needs risk OPTIONAL or REQUIRED")
		}
	}
	return nil
}

// Verdicts.
const (
	Accepted = "accepted"
	Blocked  = "blocked"
)

// Checks that a statement may fail.
const (
	CheckMissing = "missing" // there was none
	CheckStale   = "stale"   // it is older than MaxAge, or of the future
	CheckFinding = "finding" // Detail is on the list
	CheckCountry = "country" // Detail is not where phones may be; "": the phone did not say where it is
)

// Result is what was said and what came of it. It is part of outcomes.
type Result struct {
	Verdict string `json:"verdict"`
	Check   string `json:"check,omitempty"` // Blocked: why. Accepted: what is noted without consequence
	Detail  string `json:"detail,omitempty"`

	// The phone's own word; At is nil if it said nothing.
	Platform      string     `json:"platform,omitempty"`
	OSVersion     string     `json:"osVersion,omitempty"`
	AppVersion    string     `json:"appVersion,omitempty"`
	Model         string     `json:"model,omitempty"`
	Findings      []string   `json:"findings,omitempty"`
	Country       string     `json:"country,omitempty"`
	CountrySource string     `json:"countrySource,omitempty"` // network | position
	At            *time.Time `json:"at,omitempty"`
}

// Judge applies the rules to a statement, nil if there was none, at the time now. It
// returns nil where the rules are Off.
func (r *Rules) Judge(said *wire.Risk, now time.Time) *Result {
	if r.Mode == Off {
		return nil
	}
	out := &Result{Verdict: Accepted}
	if said != nil {
		at := time.Unix(said.At, 0).UTC()
		out.Platform, out.OSVersion, out.AppVersion, out.Model = said.Platform, said.OS, said.App, said.Model
		out.Findings, out.Country, out.CountrySource, out.At = said.Findings, said.Country, said.CountrySource, &at
	}
	var certain bool // blocks whether a statement is required or not
	out.Check, out.Detail, certain = r.fails(said, now)
	if out.Check != "" && (certain || r.Mode == Required) {
		out.Verdict = Blocked
	}
	return out
}

// fails is the first check that the statement fails. What the phone says against
// itself counts however old it is.
func (r *Rules) fails(said *wire.Risk, now time.Time) (check, detail string, certain bool) {
	if said == nil {
		return CheckMissing, "", false
	}
	for _, f := range said.Findings {
		if slices.Contains(r.BlockFindings, f) {
			return CheckFinding, f, true
		}
	}
	if len(r.AllowCountries)+len(r.DenyCountries) > 0 {
		switch c := said.Country; {
		case c == "":
			return CheckCountry, "", false
		case slices.Contains(r.DenyCountries, c), len(r.AllowCountries) > 0 && !slices.Contains(r.AllowCountries, c):
			return CheckCountry, c, true
		}
	}
	if age := now.Sub(time.Unix(said.At, 0)); age > MaxAge || age < -wire.Ahead*time.Second {
		return CheckStale, "", false
	}
	return "", "", false
}
