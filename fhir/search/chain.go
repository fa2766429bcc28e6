package search

import (
	"errors"
	"slices"
	"strings"
)

// chainClause reads reference[:Type].rest=value.
func (in *parsing) chainClause(
	types []string, head, tail, value string, depth int,
) (Clause, error) {
	code, only, _ := strings.Cut(head, ":")
	if len(types) != 1 {
		return Clause{}, unknown("a chain needs one resource type")
	}

	p := in.served(types[0], code)
	if p == nil || p.Kind != Reference {
		return Clause{}, unknown(
			"%s has no reference %s to chain by",
			types[0],
			printable(code),
		)
	}

	targets := p.Targets
	if only != "" {
		if !IsType(only) {
			return Clause{}, unknown("%s is no resource type", printable(only))
		}
		if targets != nil && !slices.Contains(targets, only) {
			return Clause{}, unknown("%s never refers to a %s", code, only)
		}
		targets = []string{only}
	}

	if targets == nil {
		return Clause{}, bad(
			"%s refers to resources of any type: name the one meant, as in %[1]s:Patient.name",
			code,
		)
	}

	var c Clause
	var firstErr error

	for _, t := range targets {
		if err := in.link(); err != nil {
			return c, err
		}

		then, err := in.clause([]string{t}, tail, value, depth+1)
		switch {
		case err == nil:
			c.chain = append(c.chain, link{p, t, then, in.bases})
		case stops(err):
			return c, err
		case firstErr == nil:
			firstErr = err
		}
	}

	if len(c.chain) == 0 {
		return c, firstErr
	}
	return c, nil
}

// stops reports whether an error ends the parsing, rather than this way of
// understanding a parameter.
func stops(err error) bool {
	var e *Error
	var u *errUnknown
	return !errors.As(err, &u) && (!errors.As(err, &e) || e.Code == "too-costly")
}

// hasClause reads Type:reference:rest=value, what follows _has:.
func (in *parsing) hasClause(types []string, rest, value string, depth int) (Clause, error) {
	parts := strings.SplitN(rest, ":", 3)
	if len(parts) != 3 || len(types) != 1 || !IsType(parts[0]) {
		return Clause{}, unknown(
			"_has:%s is not _has:Type:reference:parameter",
			printable(rest),
		)
	}

	p := in.served(parts[0], parts[1])
	if p == nil || p.Kind != Reference {
		return Clause{}, unknown("%s has no reference %s", parts[0], printable(parts[1]))
	}
	if p.Targets != nil && !slices.Contains(p.Targets, types[0]) {
		return Clause{}, unknown("%s of %s never refers to a %s", p.Code, p.Type, types[0])
	}
	if err := in.link(); err != nil {
		return Clause{}, err
	}

	then, err := in.clause([]string{parts[0]}, parts[2], value, depth+1)
	return Clause{has: &has{p, types[0], then}}, err
}
