package udap_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// badBirthDate accepts every resource but those with one birth date: what a
// validator of FHIR does is tested with the server.
func badBirthDate(body []byte) error {
	if strings.Contains(string(body), "2024-02-30") {
		return errors.New("Person.birthDate: value")
	}
	return nil
}

func person(edit ...func(map[string]any)) map[string]any {
	p := map[string]any{
		"resourceType": "Person",
		"name":         []any{map[string]any{"family": "Chalmers", "given": []string{"Peter", "James"}}},
		"telecom": []any{
			map[string]any{"system": "phone", "value": "+1 555 0100"},
			map[string]any{"system": "email", "value": "peter@example.org"},
		},
		"birthDate": "1974-12-25",
	}

	for _, f := range edit {
		f(p)
	}
	return p
}

func without(member string) func(map[string]any) {
	return func(m map[string]any) { delete(m, member) }
}

func changed(member string, value any) func(map[string]any) {
	return func(m map[string]any) { m[member] = value }
}

func userObject(edit ...func(map[string]any)) map[string]any {
	o := map[string]any{
		"version":        "1",
		"purpose_of_use": []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
		"user_person":    person(),
	}
	for _, f := range edit {
		f(o)
	}
	return o
}

// validateUser validates an authentication token with these extensions.
func validateUser(
	t *testing.T, extensions map[string]any, p udap.Policy, first bool,
) (*udap.User, *trace.Trace, error) {
	t.Helper()
	w, c := sharedEnv(t, "p256")
	a, tr, err := assertion(w, c.Sign(t, udaptest.Assertion(clientID, w.Now).With("extensions", extensions)))
	if err != nil {
		t.Fatalf("the token itself is refused: %v", err)
	}
	u, err := udap.ValidateUser(a, p, first, badBirthDate, tr)
	return u, tr, err
}

func TestUserObject(t *testing.T) {
	phoneOnly := []any{map[string]any{"system": "phone", "value": "1"}}
	for _, row := range []struct {
		name  string
		user  any
		check string
		says  string
	}{
		{"good", userObject(), "", ""},
		{"null", nil, "user.object", ""},
		{"text", "x", "user.object", ""},
		{"no version", userObject(without("version")), "user.version", ""},
		{"version 1", userObject(changed("version", 1)), "user.version", ""},
		{"no purpose", userObject(without("purpose_of_use")), "user.purpose_of_use", ""},
		{"bare purpose", userObject(changed("purpose_of_use", []string{"TREAT"})), "user.purpose_of_use", ""},
		{"no person", userObject(without("user_person")), "user.person", "no user_person"},
		{
			"camel case", userObject(without("user_person"), changed("userPerson", person())), "user.person",
			`did you mean "user_person"`,
		},
		{"person as text", userObject(changed("user_person", `{"resourceType":"Person"}`)), "user.person",
			"JSON string"},
		{"patient", userObject(changed("user_person", person(changed("resourceType", "Patient")))), "user.person",
			"Patient"},
		{"untyped", userObject(changed("user_person", person(without("resourceType")))), "user.person",
			"no resourceType"},
		{"invalid", userObject(changed("user_person", person(changed("birthDate", "2024-02-30")))), "user.person",
			"Person.birthDate"},
		{"nameless", userObject(changed("user_person", person(without("name")))), "user.person", "no name"},
		{"no given name", userObject(changed("user_person", person(changed("name",
			[]any{map[string]any{"family": "C"}})))), "user.person", "no name"},
		{"no telecom", userObject(changed("user_person", person(without("telecom")))), "user.person", "phone"},
		{"no e-mail", userObject(changed("user_person", person(changed("telecom", phoneOnly)))), "user.person",
			"email"},
		{"reference without policy", userObject(changed("consent_reference", []string{"https://a.test/Consent/1"})),
			"user.consent", "no consent_policy"},
		{"policy not a URI", userObject(changed("consent_policy", []string{"policy"})), "user.consent", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, tr, err := validateUser(t, map[string]any{udap.B2BUserKey: row.user}, udap.Policy{}, true)
			want := expectation{}
			if row.check != "" {
				want = expectation{code: trace.InvalidGrant, check: row.check, says: row.says}
			}
			expectRefusal(t, tr, err, want)

			for _, s := range tr.Steps {
				if strings.Contains(fmt.Sprint(s), "Chalmers") || strings.Contains(fmt.Sprint(s), "peter@") {
					t.Errorf("the trace names the person: %+v", s)
				}
			}
		})
	}
}

// The policy of a community decides whether the object must be there; a
// refreshed token has what its grant had.
func TestUserPolicies(t *testing.T) {
	good := map[string]any{udap.B2BUserKey: userObject()}
	bad := map[string]any{udap.B2BUserKey: "x"}
	required, off := udap.Policy{B2BUser: udap.UserRequired}, udap.Policy{B2BUser: udap.UserOff}
	for _, row := range []struct {
		name       string
		extensions map[string]any
		policy     udap.Policy
		first      bool
		ok, found  bool
	}{
		{"optional, absent", nil, udap.Policy{}, true, true, false},
		{"optional, there", good, udap.Policy{}, true, true, true},
		{"required, absent", nil, required, true, false, false},
		{"required, there", good, required, true, true, true},
		{"required, refreshed", nil, required, false, true, false},
		{"refreshed and bad", bad, required, false, false, false},
		{"off, bad", bad, off, true, true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			u, _, err := validateUser(t, row.extensions, row.policy, row.first)
			if (err == nil) != row.ok || (u != nil) != row.found {
				t.Errorf("%+v, %v", u, err)
			}
		})
	}

	_, tr, err := validateUser(t, good, udap.Policy{PurposeFromSAN: true}, true)
	expectRefusal(t, tr, err, expectation{code: trace.InvalidGrant, check: "b2b.san_purpose"})
	_, tr, err = validateUser(t, map[string]any{"hl7_b2b_user": userObject()}, required, true)
	expectRefusal(t, tr, err, expectation{code: trace.InvalidGrant, says: `did you mean "hl7-b2b-user"`})
}

// Members that no edition defines are left out with a warning that names what
// was probably meant; without a validator no resource is accepted.
func TestUserUnknownMembers(t *testing.T) {
	o := userObject(changed("consentPolicy", []string{"urn:oid:1.2"}), changed("junk", 1))
	u, tr, err := validateUser(t, map[string]any{udap.B2BUserKey: o}, udap.Policy{}, true)
	if err != nil || u.ConsentPolicy != nil {
		t.Fatalf("%+v, %v", u, err)
	}
	warned := fmt.Sprint(tr.Warnings())

	for _, part := range []string{"junk", "consentPolicy", `did you mean "consent_policy"`} {
		if !strings.Contains(warned, part) {
			t.Errorf("no warning has %q: %s", part, warned)
		}
	}

	const raw = `{"version":"1","purpose_of_use":["urn:oid:1.2#T"],"user_person":{"resourceType":"Person"}}`
	ant := &udap.AuthenticationToken{Extensions: map[string]jsontext.Value{
		udap.B2BUserKey: jsontext.Value(raw),
	}}
	tr = trace.NewTrace("token", time.Now())
	_, err = udap.ValidateUser(ant, udap.Policy{}, true, nil, tr)
	expectRefusal(t, tr, err, expectation{
		code:  trace.InvalidGrant,
		check: "user.person",
		says:  "no validator",
	})
}

// A client that sends hl7-b2b-user in place of hl7-b2b learns that it comes beside it.
func TestUserInPlaceOfB2B(t *testing.T) {
	_, tr, err := checkExtensions(t, map[string]any{udap.B2BUserKey: userObject()}, udap.Policy{})
	expectRefusal(t, tr, err, expectation{code: trace.InvalidGrant, check: "b2b.object"})
	if last := tr.Steps[len(tr.Steps)-1]; !strings.Contains(last.Remedy, "beside hl7-b2b") {
		t.Errorf("the remedy is %q", last.Remedy)
	}
}
