package udap_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

const xp = "urn:oid:2.16.840.1.113883.3.7204.1.5.2.1#"

func TestTEFCAEditions(t *testing.T) {
	editions := udap.TEFCAEditions()
	if len(editions) < 2 {
		t.Fatalf("%d editions", len(editions))
	}

	for i, e := range editions {
		if e.Date == "" || e.Edition == "" || len(e.URIs()) < 10 || i > 0 && e.Date >= editions[i-1].Date {
			t.Errorf("edition %d is %s of %s with %d purposes", i, e.Edition, e.Date, len(e.URIs()))
		}
	}

	if !slices.Contains(editions[0].URIs(), xp+"T-GOVDTRM-SSD") || slices.Contains(editions[0].URIs(), xp+"T-HCO-QM") {
		t.Error("the newest edition has the codes of an older one")
	}
}

// checkTEFCA judges a token of a client with this URI.
func checkTEFCA(t *testing.T, uri string, extensions map[string]any) (*trace.Trace, error) {
	t.Helper()
	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, uri, nil)
	tr := trace.NewTrace("token", w.Now)
	find := func(trace.ClientID) (udap.Binding, bool) {
		return udap.Binding{Community: udaptest.CommunityA, Client: trace.ClientURI(uri)}, true
	}
	a, err := w.Verifier().Assertion(ctx,
		c.Sign(t, udaptest.Assertion(clientID, w.Now).With("extensions", extensions)), "", udap.Expect{
			Now:      w.Now,
			Audience: udaptest.Token,
		}, find, tr)
	if err != nil {
		t.Fatal(err)
	}

	policy := udap.Policy{PurposeFromSAN: true, PurposesOfUse: udap.TEFCAEditions()[0].URIs()}
	if _, err = udap.ValidateB2B(a, policy, tr); err == nil {
		_, err = udap.ValidateIAS(a, policy, true, badBirthDate, tr)
	}
	return tr, err
}

// Covers: S1-216
func TestTEFCARules(t *testing.T) {
	b2b := func(codes ...string) map[string]any {
		o := udaptest.B2B()
		o["purpose_of_use"] = codes
		o["organization_name"] = "Clinic NPI 1234567893"
		return o
	}

	ias := map[string]any{"version": "1", "id_token": "eyJ"}
	for _, c := range []struct {
		name, uri string
		ext       map[string]any
		check     string
		says      string
	}{
		{"treatment", "https://client1.test/app#T-TREAT", map[string]any{udap.B2BKey: b2b(xp + "T-TREAT")}, "", ""},
		{
			"another purpose", "https://client1.test/app#T-TREAT",
			map[string]any{udap.B2BKey: b2b(xp + "T-PYMNT")}, "b2b.san_purpose", "T-TREAT",
		},
		{
			"two purposes", "https://client1.test/app#T-TREAT",
			map[string]any{udap.B2BKey: b2b(xp+"T-TREAT", xp+"T-PYMNT")}, "b2b.san_purpose", "",
		},
		{
			"no fragment", "https://client1.test/app",
			map[string]any{udap.B2BKey: b2b(xp + "T-TREAT")}, "b2b.san_purpose", "",
		},
		{
			"older edition", "https://client1.test/app#T-HCO-QM",
			map[string]any{udap.B2BKey: b2b(xp + "T-HCO-QM")}, "b2b.purpose_of_use", "edition 4.0",
		},
		{
			"HL7's code system", "https://client1.test/app#T-TREAT",
			map[string]any{udap.B2BKey: b2b("urn:oid:2.16.840.1.113883.5.8#T-TREAT")},
			"b2b.purpose_of_use", "TEFCA writes it as " + xp + "T-TREAT",
		},
		{
			"individual access", "https://client1.test/app#T-IAS",
			map[string]any{udap.B2BKey: b2b(xp + "T-IAS"), "tefca_ias": ias}, "", "",
		},
		{
			"individual access, none", "https://client1.test/app#T-IAS",
			map[string]any{udap.B2BKey: b2b(xp + "T-IAS")}, "b2b.tefca_ias", "no tefca_ias",
		},
		{
			"individual access, old name", "https://client1.test/app#T-IAS",
			map[string]any{udap.B2BKey: b2b(xp + "T-IAS"), "tefca-ias": ias}, "b2b.tefca_ias",
			`did you mean "tefca_ias"`,
		},
		{
			"individual access, no token", "https://client1.test/app#T-IAS",
			map[string]any{udap.B2BKey: b2b(xp + "T-IAS"), "tefca_ias": map[string]any{"version": "1"}},
			"b2b.tefca_ias", "id_token",
		},
	} {
		tr, err := checkTEFCA(t, c.uri, c.ext)
		want := expectation{}
		if c.check != "" {
			want = expectation{code: trace.InvalidGrant, check: c.check, says: c.says}
		}
		t.Run(c.name, func(t *testing.T) { expectRefusal(t, tr, err, want) })
	}

	bad := b2b(xp + "T-TREAT")
	bad["organization_name"], bad["organization_id"] = "Clinic", "urn:oid:1.2.3"
	tr, err := checkTEFCA(t, "https://client1.test/app#T-TREAT", map[string]any{
		udap.B2BKey:   bad,
		"tefca_smart": map[string]any{},
		"tefca-ias":   map[string]any{},
	})
	if err != nil {
		t.Fatal(err)
	}

	var said []string
	for _, s := range tr.Warnings() {
		said = append(said, s.Check+" "+s.Expected+" "+s.Remedy)
	}
	all := strings.Join(said, "\n")

	for _, part := range []string{"NPI or TIN", "URL in the directory", "became tefca_ias", "was removed"} {
		if !strings.Contains(all, part) {
			t.Errorf("no warning says %q:\n%s", part, all)
		}
	}
}

// identityToken returns a token of an identity provider; its signature is not
// that of any known key.
func identityToken(t *testing.T, header string, claims map[string]any) string {
	t.Helper()
	body := udaptest.Claims(claims).JSON(t)
	enc := base64.RawURLEncoding
	return enc.EncodeToString([]byte(header)) + "." + enc.EncodeToString(body) + "." +
		enc.EncodeToString([]byte("signature"))
}

// TEFCA's object for individual access, member by member: what is wrong is
// refused, what its SOP wants and servers in the field do without is a warning.
//
// Covers: S1-198, D-45
func TestIndividualAccess(t *testing.T) {
	const uri = "https://client1.test/app#T-IAS"
	related := map[string]any{"resourceType": "RelatedPerson", "patient": map[string]any{"display": "self"}}
	patient := person(changed("resourceType", "Patient"))
	claims := map[string]any{"iss": "https://csp.test", "sub": "1", "exp": 4102444800}
	expired := map[string]any{"iss": "https://csp.test", "sub": "1", "exp": 1}
	object := func(edit ...func(map[string]any)) map[string]any {
		o := map[string]any{
			"version":             "1",
			"user_information":    related,
			"patient_information": patient,
			"consent_policy":      []string{"urn:oid:2.16.840.1.113883.3.7204.1.1.1.1.2.1"},
			"id_token":            identityToken(t, `{"alg":"RS256"}`, claims),
		}

		for _, f := range edit {
			f(o)
		}
		return o
	}
	for _, row := range []struct {
		name  string
		ias   any
		check string // refuses; empty: accepted
		warns string // part of a warning; empty: there is none
	}{
		{"good", object(), "", ""},
		{"no object", "x", "b2b.tefca_ias", ""},
		{"no version", object(without("version")), "ias.version", ""},
		{"no token", object(without("id_token")), "b2b.tefca_ias", ""},
		{"token of another type", object(changed("id_token", 1)), "b2b.tefca_ias", ""},
		{"empty token", object(changed("id_token", "")), "b2b.tefca_ias", ""},
		{"no JWS", object(changed("id_token", "eyJ")), "", "no compact JWS"},
		{"unsigned", object(changed("id_token", identityToken(t, `{"alg":"none"}`, claims))), "", "not signed"},
		{"expired", object(changed("id_token", identityToken(t, `{"alg":"RS256"}`, expired))), "", "expired"},
		{"no user", object(without("user_information")), "", "user_information"},
		{"person as user", object(changed("user_information", person())), "ias.user_information", ""},
		{"no patient", object(without("patient_information")), "", "patient_information"},
		{"bad patient", object(changed("patient_information", person(changed("resourceType", "Patient"),
			changed("birthDate", "2024-02-30")))), "ias.patient_information", ""},
		{"bad policy", object(changed("consent_policy", "x")), "ias.consent", ""},
		{"unknown member", object(changed("ial_vetted", true)), "", "ial_vetted"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := udaptest.B2B()
			o["purpose_of_use"] = []string{xp + "T-IAS"}
			tr, err := checkTEFCA(t, uri, map[string]any{udap.B2BKey: o, udap.IASKey: row.ias})
			want := expectation{}
			if row.check != "" {
				want = expectation{code: trace.InvalidGrant, check: row.check}
			}
			expectRefusal(t, tr, err, want)

			if warned := fmt.Sprint(tr.Warnings()); row.check == "" && (warned == "[]") != (row.warns == "") ||
				!strings.Contains(warned, row.warns) {
				t.Errorf("warned %s, want %q", warned, row.warns)
			}
			if strings.Contains(fmt.Sprint(tr.Steps), "Chalmers") {
				t.Error("the trace names the person")
			}
		})
	}
}
