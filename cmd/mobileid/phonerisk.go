package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"mobileid/sdk/wire"

	"github.com/spf13/pflag"
)

// says is what the phone of the command line says of itself: what it is told to. It
// cannot look at anything.
type says struct {
	something bool
	findings  []string
	country   string
	source    string
}

func (s *says) flags(f *pflag.FlagSet) {
	f.BoolVar(&s.something, "risk", false, "say of this phone that it looked and found nothing, as a phone app with RASP would; nothing is measured")
	f.StringSliceVar(&s.findings, "finding", nil, "say that this was found on the phone; may be given again: "+strings.Join(wire.Findings(), ", "))
	f.StringVar(&s.country, "country", "", "say that the phone is in this country (ISO 3166-1 alpha-2, NO)")
	f.StringVar(&s.source, "country-source", wire.CountryNetwork, "say where the country is known from: network or position")
}

func (s *says) anything() bool { return s.something || len(s.findings) > 0 || s.country != "" }

func (s *says) check() error {
	for _, f := range s.findings {
		if !slices.Contains(wire.Findings(), f) {
			return &exit{exitUsage, fmt.Errorf("--finding %s: it is one of %s", f, strings.Join(wire.Findings(), ", "))}
		}
	}
	switch {
	case s.country != "" && !wire.Country(s.country):
		return &exit{exitUsage, fmt.Errorf("--country %s: it is a code of ISO 3166-1 alpha-2, such as NO", s.country)}
	case s.country != "" && s.source != wire.CountryNetwork && s.source != wire.CountryPosition:
		return &exit{exitUsage, fmt.Errorf("--country-source %s: it is network or position", s.source)}
	}
	return nil
}

// Measure implements sdk.Risk.
func (s *says) Measure(context.Context) (wire.Risk, error) {
	r := wire.Risk{Findings: slices.Compact(slices.Sorted(slices.Values(s.findings))), Country: s.country}
	if s.country != "" {
		r.CountrySource = s.source
	}
	return r, nil
}
