package mobile

import (
	"context"
	"errors"

	"mobileid/sdk/wire"
)

// Risk is what the app has to find out about the phone that it runs on, such as a RASP
// library. It is the phone's own word, signed with each approval.
type Risk interface {
	// Measure looks now, before an approval and at the end of a registration. After an
	// error nothing is sent.
	Measure() (*Statement, error)
}

// Statement is what Risk found. Platform, model and time are added. An empty one says
// that it looked and found nothing.
type Statement struct {
	OS            string // version of the system; each may be empty
	App           string // version of the app
	Country       string // where the phone is: ISO 3166-1 alpha-2
	CountrySource string // "network" or "position"; with Country

	findings []string
}

// NewStatement is an empty one.
func NewStatement() *Statement { return &Statement{} }

// Found adds a finding of docs/risk.md, such as "rooted", each once.
func (s *Statement) Found(finding string) { s.findings = append(s.findings, finding) }

// risk is a Risk as the SDK takes it.
type risk struct{ Risk }

func (r risk) Measure(context.Context) (wire.Risk, error) {
	s, err := r.Risk.Measure()
	if err == nil && s == nil {
		err = errors.New("mobile: Measure returned no statement")
	}
	if err != nil {
		return wire.Risk{}, err
	}
	return wire.Risk{OS: s.OS, App: s.App, Findings: s.findings, Country: s.Country, CountrySource: s.CountrySource}, nil
}

// SetRisk has the phone say of itself what r measures; Apps that ask for it refuse a
// phone that says nothing. It is set before the first call.
func (p *Phone) SetRisk(r Risk) {
	p.phone.Risk = nil
	if r != nil {
		p.phone.Risk = risk{r}
	}
}
