package label

import (
	"fmt"
	"slices"
	"strings"

	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/udap/trace"
)

// Lowered is a change that would take labels away without a clearance to relabel.
type Lowered struct {
	Labels []string // those that would be gone
}

func (e *Lowered) Error() string {
	return "The resource has security labels that the token may not take away: " +
		strings.Join(e.Labels, ", ") + ". Without any labels, an update keeps those that are there."
}

// Keep returns the edits by which a new version of a resource, as it was sent, keeps the
// labels of the one before it: those of an update that brings none. Its error is a
// *Lowered, unless the holder may relabel. whole reports that the new version replaces
// the old one; a patch that removes all labels means it.
func (h *Holder) Keep(old, now *tree.Value, whole bool) ([]splice.Edit, error) {
	had, has := codings(old), codings(now)
	if gone := h.l.lowered(within(nil, old), within(has, now)); len(gone) > 0 && !h.relabel {
		return nil, &Lowered{gone}
	}
	if len(had) == 0 {
		return nil, nil
	}
	if len(has) == 0 && whole {
		given := old.At("meta", "security")
		return []splice.Edit{edit(now, strings.TrimSpace(given.Raw[1:len(given.Raw)-1]))}, nil
	}
	if h.relabel {
		return nil, nil
	}

	if gone := h.l.lowered(had, has); len(gone) > 0 {
		return nil, &Lowered{gone}
	}
	return nil, nil
}

// within appends the labels that the resources in a value have: in a stored Bundle, they
// are labels of the whole.
func within(all []search.Coding, v *tree.Value) []search.Coding {
	for i := range v.Items {
		m := &v.Items[i]
		if m.Get("resourceType") != nil {
			all = append(all, codings(m)...)
		}
		if len(m.Items) > 0 {
			all = within(all, m)
		}
	}
	return all
}

// lowered lists the labels that a change takes away. A level gives way to one that is
// no less.
func (l *Labeler) lowered(had, has []search.Coding) (gone []string) {
	var now Labels
	for _, c := range has {
		l.take(&now, c)
	}

	for _, c := range had {
		var level Labels
		l.take(&level, c)
		if slices.Contains(has, c) || level.Level > 0 && level.Level <= now.Level {
			continue
		}
		gone = append(gone, c.Code)
	}

	return gone
}

// Redacted reports whether a resource is one that was shown in part, which must not
// replace the whole.
func Redacted(root *tree.Value) bool {
	return slices.ContainsFunc(codings(root), func(c search.Coding) bool {
		return c.Code == "REDACTED" || c.Code == "MASKED" || c.Code == "SUBSETTED"
	})
}

// Finding is a refused change as its trace has it.
func (e *Lowered) Finding() (trace.Check, trace.Finding) {
	return checkRelabel, trace.Finding{
		Expected: "the labels that the resource has",
		Found:    fmt.Sprintf("a version without %s", strings.Join(e.Labels, ", ")),
		Remedy:   "send the labels as they are, or ask for a clearance to relabel",
	}
}

// May returns whether a request that states emergency access may have it, by the
// purposes of use of its token.
func May(g *access.Grant) bool {
	return slices.ContainsFunc(g.Purposes, func(p string) bool {
		return slices.Contains(emergencies, p)
	})
}

// emergencies are the purposes of use of emergency access.
var emergencies = purposesOf([]string{"BTG", "ETREAT"})
