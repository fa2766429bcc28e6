package udap_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// checkExtensions judges an authentication token with these extensions under a
// policy.
func checkExtensions(t *testing.T, extensions any, p udap.Policy) (*udap.B2B, *trace.Trace, error) {
	t.Helper()
	w, c := sharedEnv(t, "p256")
	a, tr, err := assertion(w, c.Sign(t, udaptest.Assertion(clientID, w.Now).With("extensions", extensions)))
	if err != nil {
		t.Fatalf("the token itself is refused: %v", err)
	}
	b, err := udap.ValidateB2B(a, p, tr)
	return b, tr, err
}

func b2bWith(name string, v any) any {
	o := udaptest.B2B()
	if o[name] = v; v == udaptest.Absent {
		delete(o, name)
	}
	return map[string]any{udap.B2BKey: o}
}

// Covers: S1-198, S2-21, case 156
func TestB2BMissing(t *testing.T) {
	for _, ext := range []any{
		udaptest.Absent, nil, []string{}, "x", 1, map[string]any{}, map[string]any{udap.B2BKey: nil}, map[string]any{
			udap.B2BKey: []any{},
		}, map[string]any{udap.B2BKey: "x"},
		map[string]any{"hl7_b2b": udaptest.B2B()}, map[string]any{"HL7-B2B": udaptest.B2B()},
	} {
		_, tr, err := checkExtensions(t, ext, udap.Policy{})
		t.Run(fmt.Sprint(ext), func(t *testing.T) {
			expectRefusal(t, tr, err, expectation{code: trace.InvalidGrant, check: "b2b.object"})
		})
	}

	_, tr, err := checkExtensions(t, map[string]any{"hl7_b2b": udaptest.B2B()}, udap.Policy{})
	expectRefusal(t, tr, err, expectation{code: trace.InvalidGrant, says: `did you mean "hl7-b2b"`})
	_, tr, err = checkExtensions(t, `{"hl7-b2b":{"version":"1"}}`, udap.Policy{B2BOptional: true})
	expectRefusal(t, tr, err, expectation{
		code:  trace.InvalidGrant,
		check: "b2b.object",
		says:  "not a string that holds one",
	})

	w, c := sharedEnv(t, "p256")
	for name, claims := range map[string]udaptest.Claims{
		"Extensions": udaptest.Assertion(clientID, w.Now).With("extensions", udaptest.Absent).With("Extensions",
			map[string]any{
				udap.B2BKey: udaptest.B2B(),
			}),
		"top level": udaptest.Assertion(clientID, w.Now).With("extensions",
			udaptest.Absent).With(udap.B2BKey, udaptest.B2B()),
	} {
		a, tr, err := assertion(w, c.Sign(t, claims))
		if err != nil {
			t.Fatal(err)
		}
		_, err = udap.ValidateB2B(a, udap.Policy{}, tr)
		t.Run(name, func(t *testing.T) {
			expectRefusal(t, tr, err, expectation{code: trace.InvalidGrant, check: "b2b.object"})
		})
	}

	for ext, ok := range map[any]bool{udaptest.Absent: true, "x": false, nil: false} {
		b, tr, err := checkExtensions(t, ext, udap.Policy{B2BOptional: true})
		if (err == nil) != ok || b != nil || ok && len(tr.Warnings()) != 1 {
			t.Errorf("optional, %v: %v %v", ext, b, err)
		}
	}
}

// Covers: S1-202, S1-203, S1-204, S1-208, S1-210, S1-212, S1-213, S1-215, S1-216, S1-217,
// S1-218, S1-221, S2-21, case 157
func TestB2BFields(t *testing.T) {
	for check, bad := range map[string]map[string][]any{
		"b2b.version": {"version": {udaptest.Absent, 1, "2", "", nil, "1 ", true}},
		"b2b.organization": {
			"organization_id": {
				udaptest.Absent, "", "Acme", "/org", "https://a b/", "https:", nil, 1,
				[]string{"https://a.test/"}, "https://a.test/\u00e9", strings.Repeat("x", 3000),
			},
			"organization_name": {"", " ", nil, 1, strings.Repeat("x", 501)},
		},
		"b2b.purpose_of_use": {"purpose_of_use": {
			udaptest.Absent, nil, []string{}, "urn:oid:2.16.840.1.113883.5.8#TREAT", []string{""}, []any{1}, []string{"TREAT"}, []string{"#TREAT"}, []string{"urn:oid:2.16#"},
			[]string{"urn:oid:2.16.840.1.113883.5.8"}, []string{"urn:oid:2.16#A#B"}, []string{"urn:oid:2.16#A B"}, many(1000, "urn:oid:2.16#TREAT"), many(21, "urn:oid:2.16#TREAT"),
		}},
		"b2b.subject": {
			"subject_id":   {"1234567890", "", nil},
			"subject_role": {"207QA0505X", 1},
			"subject_name": {"", 1, nil},
		},
		"b2b.consent": {
			"consent_reference": {[]string{"https://a.test/fhir/Consent/1"}, "", "x", nil},
			"consent_policy":    {"", []string{"policy"}, "urn:x:y", []any{1}, nil, many(21, "urn:oid:1.2")},
		},
	} {
		for field, values := range bad {
			for _, v := range values {
				_, tr, err := checkExtensions(t, b2bWith(field, v), udap.Policy{})
				t.Run(cutName(fmt.Sprint(field, v)), func(t *testing.T) {
					expectRefusal(t, tr, err, expectation{code: trace.InvalidGrant, check: check})
				})
			}
		}
	}

	for _, ref := range []string{"Consent/1", "/Consent/1", "ftp://a.test/", "https://u@a.test/"} {
		o := udaptest.B2B()
		o["consent_policy"], o["consent_reference"] = []string{"urn:oid:1.2"}, []string{ref}
		_, tr, err := checkExtensions(t, map[string]any{udap.B2BKey: o}, udap.Policy{})
		expectRefusal(t, tr, err, expectation{code: trace.InvalidGrant, check: "b2b.consent"})
	}

	empty := udaptest.B2B()
	empty["consent_policy"], empty["consent_reference"] = []string{}, []string{}
	if b, tr, err := checkExtensions(t, map[string]any{
		udap.B2BKey: empty,
	}, udap.Policy{}); err != nil || b.ConsentPolicy != nil || b.ConsentReference != nil || len(tr.Warnings()) != 2 {
		t.Errorf("no consents, as empty arrays: %+v, %v, warnings %v", b, err, tr.Warnings())
	}

	full := udaptest.B2B()
	full["subject_name"], full["subject_id"], full["subject_role"] = "A Person", "urn:oid:2.16.840.1.113883.4.6#1234567893", "http://nucc.org/provider-taxonomy#207QA0505X"
	full["consent_policy"], full["consent_reference"] = []string{"urn:oid:1.2"}, []string{"http://127.0.0.1:9/fhir/Consent/1"}
	b, tr, err := checkExtensions(t, map[string]any{udap.B2BKey: full, "foo": map[string]any{}}, udap.Policy{})
	if err != nil || b.SubjectName != "A Person" || len(b.ConsentReference) != 1 {
		t.Errorf("a full object: %+v, %v", b, err)
	}

	for _, s := range tr.Steps {
		if strings.Contains(s.Found+s.Expected, "A Person") {
			t.Errorf("the trace names the person: %+v", s)
		}
	}
}

// Covers: S1-213, S1-216, case 157
func TestB2BPolicies(t *testing.T) {
	const treat = "urn:oid:2.16.840.1.113883.5.8#TREAT"
	only := udap.Policy{PurposesOfUse: []string{treat}}
	lenient := udap.Policy{PurposesOfUse: []string{treat}, PurposeCodes: udap.PurposeAny}
	for _, c := range []struct {
		codes []string
		p     udap.Policy
		ok    bool
		warns bool
	}{
		{[]string{treat}, only, true, false},
		{[]string{"urn:oid:2.16.840.1.113883.5.8#HPAYMT"}, only, false, false},
		{[]string{"urn:oid:1.2#TREAT"}, only, false, false},
		{[]string{treat, "urn:oid:1.2#TREAT"}, only, false, false},
		{[]string{"TREAT"}, only, false, false},
		{[]string{"TREAT"}, lenient, true, true},
		{[]string{"HPAYMT"}, lenient, false, false},
		{[]string{"TREAT"}, udap.Policy{PurposeCodes: udap.PurposeAny}, true, true},
	} {
		t.Run(fmt.Sprint(c.codes, c.p.PurposeCodes), func(t *testing.T) {
			_, tr, err := checkExtensions(t, b2bWith("purpose_of_use", c.codes), c.p)
			if (err == nil) != c.ok {
				t.Errorf("%v: %v", c.codes, err)
			}
			warned := slices.ContainsFunc(tr.Warnings(), func(s trace.Step) bool {
				return s.Check == "b2b.purpose_of_use"
			})
			if c.ok && warned != c.warns {
				t.Errorf("%v: warned %v", c.codes, warned)
			}
		})
	}

	urls := udap.Policy{OrganizationIDSchemes: []string{"https"}}
	for id, ok := range map[string]bool{
		"https://a.test/org": true,
		"HTTPS://a.test/org": true,
		"urn:oid:1.2.3":      false,
	} {
		t.Run(id, func(t *testing.T) {
			_, _, err := checkExtensions(t, b2bWith("organization_id", id), urls)
			if (err == nil) != ok {
				t.Errorf("%s: %v", id, err)
			}
		})
	}
}
