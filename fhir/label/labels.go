package label

import (
	"bytes"
	"slices"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// Labels are those of a resource, as far as they decide: its own, those that rules
// imply, and those of the resources in it.
type Labels struct {
	// Level is the greatest of all, 0 when no label has one: that counts as Normal.
	Level Level
	// Sensitive are the codes that take clearance.
	Sensitive []string
	// Implied are the labels that rules imply and that the resource itself, the
	// outermost one, does not have.
	Implied []search.Coding
}

// Read returns the labels of a resource.
func (l *Labeler) Read(typ string, root *tree.Value) Labels {
	var all Labels
	own := codings(root)
	for _, c := range own {
		l.take(&all, c)
	}

	if !l.rules.none() {
		l.rules.implied(typ, root, func(c search.Coding) {
			l.take(&all, c)
			if !slices.Contains(own, c) && !slices.Contains(all.Implied, c) {
				all.Implied = append(all.Implied, c)
			}
		})
	}

	l.inside(&all, root)
	return all
}

// take adds a label to those that decide.
func (l *Labeler) take(all *Labels, c search.Coding) {
	switch l.kindOf(c) {
	case confidence:
		level, ok := levelOf(c.Code)
		if !ok {
			level = l.unknown
		}
		all.Level = max(all.Level, level)

	case unknown:
		all.Level = max(all.Level, l.unknown)
	case sensitivity:
		if !slices.Contains(all.Sensitive, c.Code) {
			all.Sensitive = append(all.Sensitive, c.Code)
		}
	}
}

// inside adds the labels of the resources that are in a resource: contained ones, and
// those of a stored Bundle or Parameters. The whole is as confidential as the most
// confidential of them.
func (l *Labeler) inside(all *Labels, v *tree.Value) {
	for i := range v.Items {
		m := &v.Items[i]
		if len(m.Items) == 0 {
			continue
		}

		if typ := m.Get("resourceType").Text(); typ != "" {
			in := l.Read(typ, m)
			all.Level = max(all.Level, in.Level)
			for _, code := range in.Sensitive {
				if !slices.Contains(all.Sensitive, code) {
					all.Sensitive = append(all.Sensitive, code)
				}
			}

			continue
		}

		l.inside(all, m)
	}
}

// All returns the labels that count for a resource, under the present names of their
// systems: its own, those that rules imply, and those of the resources in it. A code
// that its system does not have is there as the level that it counts as, too.
func (l *Labeler) All(typ string, root *tree.Value) []search.Coding {
	labels := l.Read(typ, root)
	all := append(codings(root), labels.Implied...)
	for i := range all {
		all[i].System = System(all[i].System)
	}

	if labels.Level > 0 {
		all = append(all, labels.Level.Coding())
	}
	for _, code := range labels.Sensitive {
		all = append(all, search.Coding{
			System: actCodes[0],
			Code:   code,
		})
	}
	return all
}

// codings are the labels that a resource has.
func codings(root *tree.Value) []search.Coding {
	var all []search.Coding
	given := root.At("meta", "security").Each()
	for i := range given {
		all = append(all, search.Coding{
			System: given[i].Get("system").Text(),
			Code:   given[i].Get("code").Text(),
		})
	}
	return all
}

// mayHave reports whether a body may have labels, without parsing it.
func (l *Labeler) mayHave(body []byte) bool {
	return !l.rules.none() || MayHave(body)
}

// MayHave reports whether a resource may have labels of its own.
func MayHave(body []byte) bool {
	return hasMember(body, "security")
}

// hasMember reports whether a member of that name may be in a body: a name may be
// written with escapes.
func hasMember(body []byte, name string) bool {
	return bytes.Contains(body, []byte(`"`+name+`"`)) || bytes.Contains(body, []byte(`\u00`))
}

// Marks are what the index has of a resource's labels: its level as a digit, 7 before
// each sensitivity code, and impliedMark when rules imply labels.
func (l *Labeler) Marks(typ string, root *tree.Value) search.Marks {
	labels := l.Read(typ, root)
	m := search.Marks{Labels: labels.Implied}
	if len(labels.Implied) > 0 {
		m.Values = append(m.Values, impliedMark)
	}

	m.Values = append(m.Values, labels.marks()...)
	return m
}

const (
	impliedMark   = "0"
	sensitiveMark = "7" // after the levels
)

func levelMark(l Level) string {
	return string('0' + byte(l))
}

// markOf is the mark of a label.
func (l *Labeler) markOf(c search.Coding) string {
	if l.kindOf(c) == sensitivity {
		return sensitiveMark + c.Code
	}

	var labels Labels
	l.take(&labels, c)
	return levelMark(labels.Level)
}

// marked reads the labels out of the terms of a current resource; implied reports
// whether rules imply some that it does not have.
func marked(typ string, t search.Terms) (labels Labels, implied bool) {
	search.Marked(typ, t, func(mark string) {
		switch {
		case mark == impliedMark:
			implied = true
		case mark[:1] == sensitiveMark:
			labels.Sensitive = append(labels.Sensitive, mark[1:])
		default:
			labels.Level = max(labels.Level, Level(mark[0]-'0'))
		}
	})

	return labels, implied
}

// MarksOf returns the marks of a resource that has these labels, and nothing else.
func (l *Labeler) MarksOf(given []search.Coding) []string {
	var labels Labels
	for _, c := range given {
		l.take(&labels, c)
	}
	return labels.marks()
}

// marks are those of a level and of sensitivity codes.
func (labels *Labels) marks() (marks []string) {
	if labels.Level > 0 {
		marks = append(marks, levelMark(labels.Level))
	}
	for _, code := range labels.Sensitive {
		marks = append(marks, sensitiveMark+code)
	}
	return marks
}
