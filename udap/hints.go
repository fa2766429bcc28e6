package udap

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// difference describes how two URLs differ in the most useful words: the
// scheme, the port, case or a slash if that is all, else the first character.
// Both are compared byte for byte elsewhere; this only explains.
func difference(want, got string) string {
	switch {
	case want == got:
		return "they are equal"
	case strings.TrimRight(want, "/") == strings.TrimRight(got, "/"):
		return "only the trailing slash differs"
	case strings.EqualFold(want, got):
		return "only upper and lower case differ"
	case strings.TrimSpace(got) == want:
		return "only white space around it differs"
	}

	if d := urlDifference(want, got); d != "" {
		return d
	}

	i := 0
	for i < len(want) && i < len(got) && want[i] == got[i] {
		i++
	}

	return fmt.Sprintf("the first difference is at character %d: %s against %s", i+
		1, at(want, i), at(got, i))
}

// urlDifference names the one part in which two URLs differ, if it is only one
// and named as written: nothing here decodes.
func urlDifference(want, got string) string {
	a, errA := url.Parse(want)
	b, errB := url.Parse(got)
	if errA != nil || errB != nil || a.Host == "" || b.Host == "" {
		return ""
	}

	beyond := func(s string, u *url.URL) string { // what follows the authority
		_, rest, _ := strings.Cut(s, "//")
		return strings.TrimPrefix(rest, u.Host)
	}
	restA, fragmentA, _ := strings.Cut(beyond(want, a), "#")
	restB, fragmentB, _ := strings.Cut(beyond(got, b), "#")
	same := beyond(want, a) == beyond(got, b)
	switch {
	case same && a.Host == b.Host && a.Scheme != b.Scheme:
		return fmt.Sprintf("only the scheme differs: %s against %s", a.Scheme, b.Scheme)
	case same && a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) &&
		a.Port() != b.Port():
		return fmt.Sprintf("only the port differs: %s against %s", portShown(a), portShown(b))
	case a.Scheme == b.Scheme && a.Host == b.Host && restA == restB && fragmentA != fragmentB:
		return fmt.Sprintf("only the fragment differs: %q against %q", fragmentA, fragmentB)
	}

	return ""
}

func portShown(u *url.URL) string {
	if u.Port() == "" {
		return "none"
	}
	return u.Port()
}

func at(s string, i int) string {
	if i >= len(s) {
		return "the end"
	}
	_, n := utf8.DecodeRuneInString(s[i:])
	return fmt.Sprintf("%q", s[i:i+n])
}
