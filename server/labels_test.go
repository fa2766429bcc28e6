package server_test

import (
	"context"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir/label"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// asking is how a client asks for what is labelled.
type asking struct {
	name, client, purpose string
	header                []string
	status, r, v          int // of the search, and how many resources with each label
}

// Whom the configuration clears reads what is labelled R, for the purpose of use that
// was asserted for the token; in an emergency, everybody who asserted one does.
//
// Covers: FS-308, FS-309, FS-703
func TestLabelsByCommunityClientAndPurpose(t *testing.T) {
	const system = "urn:oid:2.16.840.1.113883.5.8#"
	d := servertest.Start(t, func(w *servertest.Env) {
		w.Config.Patients = 9
		w.Config.Labels = label.Policy{Clearances: []label.Clearance{{
			Community:     servertest.URIA,
			Client:        "https://cleared.test/app",
			Level:         "R",
			Sensitivities: []string{"PSY"},
		}}}
	})

	glass := []string{"Category", "http://terminology.hl7.org/CodeSystem/v3-ActReason#BTG"}
	for _, a := range []asking{
		{"treatment", "https://cleared.test/app", "TREAT", nil, 200, 3, 0},
		{"marketing", "https://cleared.test/app", "HMARKT", nil, 200, 0, 0},
		{"another client", "https://other.test/app", "TREAT", nil, 200, 0, 0},
		{"an emergency", "https://other.test/app", "BTG", glass, 200, 3, 0},
		{"an emergency that is not stated", "https://other.test/app", "BTG", nil, 200, 0, 0},
		{"stated by a token for treatment", "https://cleared.test/app", "TREAT", glass, 403, 0, 0},
	} {
		t.Run(a.name, func(t *testing.T) {
			s := d.Session(d.A, d.Client(d.A, a.client), "system/Condition.rs system/DocumentReference.rs")
			b2b := servertest.Treatment()
			b2b.PurposeOfUse = []string{system + a.purpose}
			token, err := s.Client.Token(context.Background(), s.Discovered, client.TokenRequest{
				ClientID: s.Registered.ClientID,
				Scope:    "system/Condition.rs system/DocumentReference.rs",
				B2B:      b2b,
			})
			if err != nil {
				t.Fatal(err)
			}

			header := append([]string{"Authorization", "Bearer " + token.Access}, a.header...)
			for path, want := range map[string]int{
				"/Condition?_security=R":         a.r,
				"/DocumentReference?_security=V": a.v,
			} {
				res, text := d.Get("/acme/fhir"+path, header...)
				var b struct {
					Total int `json:"total"`
				}
				if res.StatusCode != a.status || json.Unmarshal([]byte(text), &b) != nil || b.Total != want {
					t.Errorf("%s: %s, %d of %d: %s", path, res.Status, b.Total, want, strings.TrimSpace(text))
				}
			}
		})
	}
}
