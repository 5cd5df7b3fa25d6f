package risk

import (
	"errors"
	"testing"
	"time"

	"mobileid/internal/fault"
	"mobileid/sdk/wire"
)

var now = time.Unix(1_800_000_000, 0)

func TestAStatementIsJudgedByTheRules(t *testing.T) {
	at := now.Unix()
	clean := &wire.Risk{Findings: []string{}, At: at}
	rooted := &wire.Risk{Findings: []string{"vpn", "rooted"}, At: at}
	norway := &wire.Risk{Findings: []string{}, Country: "NO", CountrySource: "network", At: at}
	old := func(r wire.Risk, by time.Duration) *wire.Risk { r.At = now.Add(-by).Unix(); return &r }
	for name, c := range map[string]struct {
		rules Rules
		said  *wire.Risk
		want  string
	}{
		"nothing listed":                          {Rules{Mode: Required}, clean, "accepted"},
		"a finding that is not listed":            {Rules{Mode: Required, BlockFindings: []string{"overlay"}}, rooted, "accepted"},
		"a finding that is":                       {Rules{Mode: Optional, BlockFindings: []string{"overlay", "rooted"}}, rooted, "blocked finding rooted"},
		"a finding, however old":                  {Rules{Mode: Optional, BlockFindings: []string{"rooted"}}, old(*rooted, time.Hour), "blocked finding rooted"},
		"nothing said, required":                  {Rules{Mode: Required}, nil, "blocked missing "},
		"nothing said, optional":                  {Rules{Mode: Optional, BlockFindings: []string{"rooted"}, AllowCountries: []string{"NO"}}, nil, "accepted missing "},
		"a country that is allowed":               {Rules{Mode: Required, AllowCountries: []string{"SE", "NO"}}, norway, "accepted"},
		"a country that is not":                   {Rules{Mode: Optional, AllowCountries: []string{"SE"}}, norway, "blocked country NO"},
		"a country that is denied":                {Rules{Mode: Optional, DenyCountries: []string{"NO"}}, norway, "blocked country NO"},
		"another than the denied":                 {Rules{Mode: Required, DenyCountries: []string{"SE"}}, norway, "accepted"},
		"no country, required":                    {Rules{Mode: Required, DenyCountries: []string{"SE"}}, clean, "blocked country "},
		"no country, optional":                    {Rules{Mode: Optional, AllowCountries: []string{"SE"}}, clean, "accepted country "},
		"no country where none is asked for":      {Rules{Mode: Required}, clean, "accepted"},
		"five minutes old":                        {Rules{Mode: Required}, old(*clean, MaxAge), "accepted"},
		"a second more":                           {Rules{Mode: Required}, old(*clean, MaxAge+time.Second), "blocked stale "},
		"a second more, optional":                 {Rules{Mode: Optional}, old(*clean, MaxAge+time.Second), "accepted stale "},
		"ten seconds ahead":                       {Rules{Mode: Required}, old(*clean, -10*time.Second), "accepted"},
		"eleven seconds ahead":                    {Rules{Mode: Required}, old(*clean, -11*time.Second), "blocked stale "},
		"the end of time":                         {Rules{Mode: Required}, &wire.Risk{Findings: []string{}, At: 1<<63 - 1}, "blocked stale "},
		"a country, old and required, is refused": {Rules{Mode: Required, AllowCountries: []string{"NO"}}, old(*norway, time.Hour), "blocked stale "},
	} {
		got := c.rules.Judge(c.said, now)
		word := got.Verdict
		if got.Check != "" {
			word += " " + got.Check + " " + got.Detail
		}
		if word != c.want {
			t.Errorf("%s: %q, want %q", name, word, c.want)
		}
		if (got.At == nil) != (c.said == nil) {
			t.Errorf("%s: measured at %v", name, got.At)
		}
	}
	if got := (&Rules{Mode: Off}).Judge(rooted, now); got != nil {
		t.Errorf("off: %+v", got)
	}
}

func TestRulesThatCannotHoldAreNamed(t *testing.T) {
	for want, r := range map[string]Rules{
		"/settings/risk":           {Mode: "SOMETIMES"},
		"/settings/blockFindings":  {Mode: Required, BlockFindings: []string{"rooted", "haunted"}},
		"/settings/allowCountries": {Mode: Required, AllowCountries: []string{"NO", "XX"}},
		"/settings/denyCountries":  {Mode: Required, AllowCountries: []string{"NO"}, DenyCountries: []string{"SE"}},
	} {
		e, ok := errors.AsType[*fault.Error](r.Check())
		if !ok || e.Kind != fault.Invalid || len(e.Fields) != 1 || e.Fields[0].Pointer != want {
			t.Errorf("%+v: %v, want %s", r, e, want)
		}
	}
	for want, r := range map[string]Rules{"/settings/blockFindings": {Mode: Off, BlockFindings: []string{"rooted"}}, "/settings/denyCountries": {Mode: Off, DenyCountries: []string{"SE"}}} {
		if e, ok := errors.AsType[*fault.Error](r.Check()); !ok || e.Fields[0].Pointer != want {
			t.Errorf("%+v: %v, want %s", r, e, want)
		}
	}
	for _, r := range []Rules{{Mode: Off}, {Mode: Optional}, {Mode: Required, BlockFindings: wire.Findings(), DenyCountries: []string{"SE", "NO"}}} {
		if err := r.Check(); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
}
