package trace

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// Check names one rule. The same value is shown in the trace, the refusal, the
// audit record and the conformance table.
type Check struct {
	Name         string   // dotted and stable, for example "statement.aud"
	Title        string   // the rule in plain words
	Requirements []string // ids of the requirements it serves: S1-nnn, S2-nn, ER-nn, FS-nn
}

// declared holds every check of the program by name.
var declared struct {
	sync.Mutex
	checks map[string]Check
}

// NewCheck declares a check. Packages call it for their package variables, so
// that Checks knows every check of the packages that a program links.
// requirements holds ids separated by spaces and may be empty.
//
// It panics if the name is taken or if name or title is empty: either is a
// mistake in the program.
func NewCheck(name, title, requirements string) Check {
	if name == "" || title == "" {
		panic("trace: a check needs a name and a title")
	}

	declared.Lock()
	defer declared.Unlock()
	if _, taken := declared.checks[name]; taken {
		panic("trace: the check " + name + " is declared twice")
	}

	if declared.checks == nil {
		declared.checks = map[string]Check{}
	}
	c := Check{
		Name:         name,
		Title:        title,
		Requirements: strings.Fields(requirements),
	}
	declared.checks[name] = c

	return c
}

// Checks returns every declared check, in the order of their names.
func Checks() []Check {
	declared.Lock()
	defer declared.Unlock()

	out := make([]Check, 0, len(declared.checks))
	for _, c := range declared.checks {
		out = append(out, c)
	}

	slices.SortFunc(out, func(a, b Check) int {
		return cmp.Compare(a.Name, b.Name)
	})
	return out
}
