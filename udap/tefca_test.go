package udap_test

import (
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

	_, err = udap.ValidateB2B(a, udap.Policy{PurposeFromSAN: true, PurposesOfUse: udap.TEFCAEditions()[0].URIs()}, tr)
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
