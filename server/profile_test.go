package server_test

import (
	"context"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// The profile tefca, as configuration names it, has TEFCA's rules on exchange
// purposes: those of its newest edition, each by the fragment of the URI in a
// certificate of its own.
//
// Covers: case 157, S1-216, D-45, D-46, D-47,
// D-48
func TestProfileTEFCA(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) { w.Config.Communities[0].Profile = "tefca" })
	if _, text := d.Get(wellKnown); !strings.Contains(text, `"tefca_ias"`) {
		t.Errorf("the metadata does not list tefca_ias: %s", text)
	}
	const system = "urn:oid:2.16.840.1.113883.3.7204.1.5.2.1#"
	ias := map[string]jsontext.Value{"tefca_ias": jsontext.Value(`{"version":"1","id_token":"x"}`)}
	old := map[string]jsontext.Value{"tefca-ias": ias["tefca_ias"]}
	for _, c := range []struct {
		name, uri, purpose string
		more               map[string]jsontext.Value
		says               string // empty: a token
	}{
		{"treatment", "https://qhin.test/app#T-TREAT", system + "T-TREAT", nil, ""},
		{"individual access", "https://qhin.test/app#T-IAS", system + "T-IAS", ias, ""},
		{
			"HL7's own code", "https://qhin.test/app#T-TREAT",
			"urn:oid:2.16.840.1.113883.5.8#TREAT", nil, "expected one of " + system,
		},
		{
			"another's purpose", "https://qhin.test/app#T-TREAT", system + "T-PYMNT", nil,
			"one purpose of use, that of https://qhin.test/app#T-TREAT",
		},
		{"no fragment", "https://qhin.test/app", system + "T-TREAT", nil, "one purpose of use"},
		{
			"a fragment of no edition", "https://qhin.test/app#T-NOPE", system + "T-NOPE", nil,
			"expected one of " + system,
		},
		{"individual access without a token", "https://qhin.test/app#T-IAS", system + "T-IAS", nil, "no tefca_ias"},
		{
			"the object's former name", "https://qhin.test/app#T-IAS", system + "T-IAS", old,
			"did you mean \"tefca_ias\"",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := d.Originator(d.A, d.Client(d.A, c.uri))
			ctx := context.Background()
			found, err := o.Discover(ctx)
			if err != nil {
				t.Fatal(err)
			}
			r, err := o.Register(ctx, found, client.Registration{
				ClientName: "HTEST client",
				Contacts:   []string{"mailto:test@client.test"},
				Scope:      "system/Patient.rs",
				ClientURI:  "https://qhin.test/",
				TosURI:     "https://qhin.test/tos",
				PolicyURI:  "https://qhin.test/policy",
			})
			if err != nil {
				t.Fatal(err)
			}

			b2b := servertest.Treatment()
			b2b.PurposeOfUse = []string{c.purpose}
			token, err := o.Token(ctx, found, client.TokenRequest{
				ClientID:   r.ClientID,
				Scope:      "system/Patient.rs",
				B2B:        b2b,
				Extensions: c.more,
			})

			if c.says == "" {
				if err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
				return
			}

			said := ""
			if token != nil && token.Refusal != nil {
				said = strings.ReplaceAll(token.Refusal.Description, "'", `"`)
			}
			if err == nil || !strings.Contains(said, c.says) {
				t.Errorf("%s: %v, says %q, want %q", c.name, err, said, c.says)
			}
		})
	}
}
