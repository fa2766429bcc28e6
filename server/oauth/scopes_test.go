package oauth_test

import (
	"strings"
	"testing"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/udaptest"
)

// listedScopes has wildcards of one context, a type that they do not cover, and
// one more listed by name, as the destination's own list has.
func listedScopes(c *oauth.Config) {
	c.Scopes, _ = scope.NewCatalogue(
		[]string{"system/*.read", "system/*.rs", "system/Patient.rs", "system/AuditEvent.rs"},
		func(t string) bool { return t == "Patient" || t == "Basic" },
		func(_, param string) bool { return param == "category" })
}

// Nothing is registered or granted that the metadata does not list, by name or
// by a wildcard of the same context; the refusal has the list and what to ask for.
//
// Covers: S1-098, S2-03, S2-10, S2-14, S2-16, case 113, case 155
func TestOnlyListedScopes(t *testing.T) {
	const list = "scopes that the metadata lists for client_credentials: system/*.read system/*.rs system/Patient.rs system/AuditEvent.rs"
	for _, row := range []struct {
		asked   string
		granted string   // at registration
		hints   []string // in the refusal, or in the warning
	}{
		{"system/Basic.rs", "system/Basic.rs", nil},
		{"system/*.rs", "system/*.rs", nil},
		{"system/AuditEvent.rs", "system/AuditEvent.rs", nil},
		{"system/AuditEvent.cruds", "system/AuditEvent.rs", nil},
		{
			"openid",
			"",
			[]string{list, "'openid' is no scope of this grant type, which has scopes of the context system"},
		},
		{
			"openid fhirUser offline_access launch/patient profile",
			"",
			[]string{list, "'openid'", "2 more are not granted"},
		},
		{"user/*.rs", "", []string{list, "the wildcard user/*.rs", "this grant type has scopes of the context system"}},
		{"user/*.read system/Patient.rs", "", []string{list, "the wildcard user/*.read"}},
		{"patient/*.*", "", []string{list, "context system"}},
		{"user/Patient.rs", "", []string{list, "'user/Patient.rs': this grant type has scopes of the context system"}},
		{
			"system/*.cruds",
			"",
			[]string{list, "the wildcards listed are system/*.read system/*.rs: ask for one of these"},
		},
		{"system/Nope.rs", "", []string{list, "this server has no scopes of the type Nope"}},
		{"system/Patient.cud", "", []string{list, "the list allows less on Patient"}},
		{"system/Patient.sr", "", []string{list, "letters"}},
		{"system/Patient.rs?name=x", "", []string{list, "cannot enforce that restriction"}},
		{"SYSTEM/patient.rs", "", []string{list, "did you mean 'system/Patient.rs'?"}},
		{"system/Patient.rs openid", "system/Patient.rs", []string{`"openid" is no scope of this grant type`}},
		{"system/Patient.rs user/Patient.rs", "system/Patient.rs", []string{"context system"}},
	} {
		t.Run(row.asked, func(t *testing.T) {
			e := newEnv(t, listedScopes)
			c := e.client(e.w.A, udaptest.Client1URI)
			register := func() answer { return e.register(c, c.Statement(e.now()).With("scope", row.asked)) }
			text := ""
			if row.granted == "" {
				text = e.refused("registration", 400, "invalid_client_metadata", spendsNothing,
					register).text("error_description")
			} else if a := register(); a.status != 201 || a.text("scope") != row.granted {
				t.Errorf("registration: %d %s", a.status, a.body)
			} else if w := e.lastTrace().Warnings(); len(w) > 0 {
				text = w[0].Remedy
			}

			for _, hint := range row.hints {
				if !strings.Contains(text, hint) {
					t.Errorf("no %q in %q", hint, text)
				}
			}
		})
	}
}

// The token endpoint grants within the registration, and explains what it does
// not grant.
//
// Covers: S2-15, S2-16, case 155
func TestOnlyRegisteredScopes(t *testing.T) {
	e := newEnv(t, listedScopes)
	c := e.client(e.w.A, udaptest.Client1URI)
	id := e.registered(c, with("scope", "system/Patient.rs"))

	for asked, hint := range map[string]string{
		"openid":               "'openid' is no scope of this grant type",
		"user/*.rs":            "this grant type has scopes of the context system",
		"system/Basic.rs":      "'system/Basic.rs': register for it first",
		"system/AuditEvent.rs": "'system/AuditEvent.rs': register for it first",
		"system/Nope.rs":       "no scopes of the type Nope",
	} {
		t.Run(asked, func(t *testing.T) {
			a := e.refused(asked, 400, "invalid_scope", spendsJTI, func() answer {
				return e.token(c, udaptest.Assertion(id, e.now()), "scope", asked)
			})
			if !strings.Contains(a.text("error_description"), hint) {
				t.Errorf("no %q in %s", hint, a.body)
			}
		})
	}
}
