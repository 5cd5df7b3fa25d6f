package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing wrong with the configuration.
type Fault struct {
	Path    string // the key, such as db.url; empty when a whole source is unusable
	Problem string // what is wrong and what would be right; never holds a secret
	Origin  string // where the value came from, such as "environment MOBILEID_DB__URL"
}

func (f Fault) String() string {
	if f.Path == "" {
		return f.Origin + ": " + f.Problem
	}
	return fmt.Sprintf("%s: %s (%s)", f.Path, f.Problem, f.Origin)
}

// Faults is every fault of one configuration, as one error.
type Faults []Fault

func (fs Faults) Error() string {
	var b strings.Builder
	if len(fs) == 1 {
		b.WriteString("1 fault in the configuration:")
	} else {
		fmt.Fprintf(&b, "%d faults in the configuration:", len(fs))
	}
	for _, f := range fs {
		b.WriteString("\n  " + f.String())
	}
	return b.String()
}

// sorted orders by key and drops repetitions: one value may be reached by two checks.
func (fs Faults) sorted() Faults {
	out := slices.Clone(fs)
	slices.SortStableFunc(out, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Problem, b.Problem))
	})
	return slices.Compact(out)
}
