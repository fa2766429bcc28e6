package accesstest

import (
	"fmt"
	"strings"
)

// tokens are those who ask.
func tokens() []*token {
	const one = "https://one.test"
	p := strings.TrimPrefix(patientRef(1), "Patient/")
	all := []*token{
		{grants: scopes("system/*.cruds")},
		{grants: scopes("system/*.cruds"), party: one, purposes: []string{"TREAT"}},
		{grants: scopes("system/*.cruds"), org: orgValue, purposes: []string{"TREAT"}},
		{grants: scopes("system/*.cruds"), org: orgValue, purposes: []string{"HMARKT"}},
		{grants: scopes("system/*.cruds"), purposes: []string{"ETREAT"}, emergency: true},
		{grants: scopes("system/*.cruds"), purposes: []string{"BTG"}},
		{grants: scopes("system/*.cruds"), org: orgValue, purposes: []string{"ETREAT"}, emergency: true},
		{grants: scopes("patient/*.cruds"), patient: p, subject: true, user: patientRef(1)},
		{grants: scopes("patient/*.rs"), patient: p},
		{
			grants:   scopes("user/*.cruds"),
			everyone: true,
			subject:  true,
			user:     "Practitioner/pra1",
			purposes: []string{"TREAT"},
		},
		{
			grants:   scopes("system/Observation.rs?category=laboratory", "system/Patient.rs?gender=female"),
			purposes: []string{"HOPERAT"},
		},
		{
			grants:   scopes("system/Observation.cruds?category=laboratory", "patient/*.rs", "system/Provenance.rs"),
			patient:  p,
			party:    one,
			purposes: []string{"TREAT"},
		},
		{
			grants: scopes("system/Observation.cruds", "system/Patient.rs", "system/Provenance.rs",
				"system/Consent.rs"),
			party:    one,
			purposes: []string{"TREAT", "HMARKT"},
		},
		{grants: scopes("system/*.rs"), named: npiValue, purposes: []string{"TREAT"}},
	}

	for _, k := range all {
		k.text = k.written()
	}
	all[2].text = strings.Replace(all[2].text, ";", " system/Patient.$match;", 1)
	return all
}

func scopes(texts ...string) (all []grant) {
	for _, s := range texts {
		s, query, _ := strings.Cut(s, "?")
		context, rest, _ := strings.Cut(s, "/")
		typ, actions, _ := strings.Cut(rest, ".")
		name, value, _ := strings.Cut(query, "=")
		all = append(all, grant{
			context: context,
			typ:     typ,
			actions: actions,
			name:    name,
			value:   value,
		})
	}

	return all
}

// written is a token as the environment reads it.
func (k *token) written() string {
	var all []string
	for _, g := range k.grants {
		s := g.context + "/" + g.typ + "." + g.actions
		if g.name != "" {
			s += "?" + g.name + "=" + g.value
		}
		all = append(all, s)
	}

	out := strings.Join(all, " ")
	for name, value := range map[string]string{"patient": k.patient, "user": k.user, "party": k.party,
		"org": k.org, "named": k.named, "purpose": strings.Join(k.purposes, ",")} {
		if value != "" {
			out += fmt.Sprintf("; %s=%s", name, value)
		}
	}

	if k.subject {
		out += "; subject=s"
	}
	if k.everyone {
		out += "; everyone"
	}

	return out
}

// reaches reports whether a token has a scope for an action on a type at all.
func (k *token) reaches(action, typ string) bool {
	for _, g := range k.grants {
		none := g.context == "patient" && typ != "Patient" && places[typ] == nil &&
			!(action == "r" && (typ == "Practitioner" || typ == "Organization"))
		if (g.typ == "*" || g.typ == typ) && strings.Contains(g.actions, action) && !none {
			return true
		}
	}
	return false
}
