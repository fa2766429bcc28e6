package main

import (
	"fmt"
	"regexp"
	"strings"
)

// A compiled path is steps joined by "/", then ":" and the type of its leaf.
// A step is a JSON member's name, with "[0]" for the first item only or
// "[name=value]" for items that have such a member; "@T" after the leaf's type
// keeps references to T only.

var (
	asParen  = regexp.MustCompile(`^\((.+) as (\w+)\)(\.\w+)?$`)
	asCall   = regexp.MustCompile(`^(.+)\.as\((\w+)\)$`)
	isTarget = regexp.MustCompile(`^(.+)\.where\(resolve\(\) is (\w+)\)$`)
	whereEq  = regexp.MustCompile(`^(\w+)\.where\((\w+)='([^']+)'\)$`)
	notFalse = regexp.MustCompile(`^([\w.]+)\.exists\(\) and ([\w.]+) != false$`)
)

// compile returns the paths of an expression for resources of type base.
func compile(e elements, base, expression string) ([]string, error) {
	var paths []string
	for _, alt := range alternatives(expression) {
		if alt[0] >= 'a' && alt[0] <= 'z' { // InsurancePlan's "name | alias"
			alt = base + "." + alt
		}
		if head := strings.TrimLeft(alt, "("); head != base && !strings.HasPrefix(head, base+".") {
			continue
		}

		got, err := compileOne(e, alt)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", alt, err)
		}
		paths = append(paths, got...)
	}

	if len(paths) == 0 {
		return nil, fmt.Errorf("no path in %q", expression)
	}
	return paths, nil
}

// alternatives splits at "|" outside parentheses.
func alternatives(expr string) []string {
	var all []string
	depth := 0
	from := 0
	for i, c := range expr {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case '|':
			if depth == 0 {
				all = append(all, strings.TrimSpace(expr[from:i]))
				from = i + 1
			}
		}
	}

	return append(all, strings.TrimSpace(expr[from:]))
}

func compileOne(e elements, expr string) ([]string, error) {
	if m := notFalse.FindStringSubmatch(expr); m != nil && m[1] == m[2] {
		paths, err := resolve(e, m[1], "", "")
		for i := range paths {
			paths[i] += "!false"
		}
		return paths, err
	}

	as := ""
	target := ""
	suffix := ""
	if m := isTarget.FindStringSubmatch(expr); m != nil {
		expr, target = m[1], m[2]
	}
	if m := asParen.FindStringSubmatch(expr); m != nil {
		expr, as, suffix = m[1], m[2], m[3]
	} else if m := asCall.FindStringSubmatch(expr); m != nil {
		expr, as = m[1], m[2]
	}

	if strings.HasPrefix(expr, "(") {
		return nil, fmt.Errorf("unknown shape")
	}

	paths, err := resolve(e, expr, as, suffix)
	if target != "" {
		for i := range paths {
			paths[i] += "@" + target
		}
	}

	return paths, err
}

// split splits "A.b.where(c='d').e[0].f" at the dots outside parentheses, leaving a where
// with the step that it filters.
func split(expr string) []string {
	var steps []string
	for _, s := range strings.Split(expr, ".") {
		if strings.HasPrefix(s, "where(") {
			steps[len(steps)-1] += "." + s
			continue
		}
		steps = append(steps, s)
	}

	return steps
}

// resolve follows the steps through the element table.
func resolve(e elements, expr, as, suffix string) ([]string, error) {
	steps := split(expr)
	at, json := steps[0], []string{}
	if len(steps) == 1 {
		return []string{":" + at}, nil
	}

	if steps[0] == "Resource" || steps[0] == "DomainResource" {
		at = steps[0]
	}

	for i, s := range steps[1:] {
		name := s
		filter := ""
		if m := whereEq.FindStringSubmatch(s); m != nil {
			name, filter = m[1], "["+m[2]+"="+m[3]+"]"
		} else if strings.HasSuffix(s, "[0]") {
			name, filter = strings.TrimSuffix(s, "[0]"), "[0]"
		}

		path, x, ok := e.child(at, name)
		if !ok {
			return nil, fmt.Errorf("no element %s under %s", name, at)
		}

		last := i == len(steps)-2
		if last {
			return leaves(e, json, name, filter, as, suffix, path, x)
		}
		if x.poly {
			return nil, fmt.Errorf("choice %s inside a path", path)
		}
		json, at = append(json, name+filter), path
	}

	return nil, fmt.Errorf("empty path")
}

// subtypes are primitive types that are others too, as R4 derives them.
var subtypes = map[string]string{
	"canonical": "uri", "oid": "uri", "url": "uri", "uuid": "uri", "code": "string", "id": "string",
	"markdown": "string", "positiveInt": "integer", "unsignedInt": "integer",
}

// leaves returns the members that a leaf may be in: one, or one for each type
// of a choice.
func leaves(
	e elements, json []string, name, filter, as, suffix, path string, x element,
) ([]string, error) {
	var out []string
	for _, t := range x.types {
		if as != "" && !strings.EqualFold(as, t) && subtypes[t] != as {
			continue
		}

		member := name
		if x.poly {
			member += strings.ToUpper(t[:1]) + t[1:]
		}
		steps := append(append([]string(nil), json...), member+filter)
		if suffix != "" {
			sub, ok := e[t+suffix]
			if !ok {
				return nil, fmt.Errorf("no element %s%s", t, suffix)
			}
			steps, t = append(steps, suffix[1:]), sub.types[0]
		}

		out = append(out, strings.Join(steps, "/")+":"+t)
	}

	if len(out) == 0 {
		return nil, fmt.Errorf("%s is never %s", path, as)
	}
	return out, nil
}
