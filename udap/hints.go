package udap

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// misspelt lists names seen in the field for the names that were meant.
var misspelt = map[string][]string{
	"scope":                  {"scopes", "Scope"},
	"authorization_endpoint": {"authorize_endpoint", "auth_endpoint", "authorization_url"},
	"token_endpoint":         {"token_url", "token_uri"},
	"registration_endpoint":  {"register_endpoint", "registration_url"},
	"redirect_uris":          {"redirect_uri", "redirect_urls"},
	"grant_types":            {"grant_type"},
	"response_types":         {"response_type"},
	"contacts":               {"contact", "contact_uris"},
	"logo_uri":               {"logo_url", "logo"},
	"client_name":            {"name", "clientName"},
	"extensions":             {"extension", "Extensions"},
	"hl7-b2b":                {"hl7_b2b", "hl7b2b", "HL7-B2B"},
	"tefca_ias":              {"tefca-ias", "tefcaIas"},
	"purpose_of_use":         {"purposeOfUse", "purpose-of-use", "purposes_of_use"},
	"organization_id":        {"organizationId", "organisation_id"},
	"x5c":                    {"X5C", "x5C", "x5u"},
	"alg":                    {"ALG", "Alg"},
}

// didYouMean names a present member that was probably meant to be name.
func (o object) didYouMean(name string) string {
	for _, wrong := range misspelt[name] {
		if o.has(wrong) {
			return fmt.Sprintf(" (there is %q: did you mean %q?)", wrong, name)
		}
	}

	for other := range o {
		if other != name && strings.EqualFold(other, name) {
			return fmt.Sprintf(" (there is %q: names are case-sensitive)", other)
		}
	}

	return ""
}

// difference says how two URLs differ, in the words that help most: the
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
	return fmt.Sprintf("the first difference is at character %d: %s against %s", i+1, at(want, i), at(got, i))
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
	case same && a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && a.Port() != b.Port():
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
