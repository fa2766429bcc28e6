package server_test

import (
	"context"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/server/servertest"
	"fhirdest.example/udap"
	"fhirdest.example/udap/client"
)

// A Person inside hl7-b2b-user is validated by HL7's definitions, as a resource
// that a client writes is; the refusal names the element and not its value.
func TestAssertedPersonIsValidated(t *testing.T) {
	d := servertest.Start(t)
	s := d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/Patient.rs")
	for _, row := range []struct {
		name, birthDate, gender string
		refusedFor              string // empty: accepted
	}{
		{"valid", "1974-12-25", "male", ""},
		{"no such day", "1974-02-30", "male", "Person.birthDate"},
		{"no such code", "1974-12-25", "M-secret", "Person.gender"},
	} {
		t.Run(row.name, func(t *testing.T) {
			object, err := json.Marshal(map[string]any{
				"version":        "1",
				"purpose_of_use": []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
				"user_person": map[string]any{
					"resourceType": "Person",
					"birthDate":    row.birthDate,
					"gender":       row.gender,
					"name":         []any{map[string]any{"family": "Chalmers", "given": []string{"Peter"}}},
					"telecom": []any{
						map[string]any{"system": "phone", "value": "+15550100"},
						map[string]any{"system": "email", "value": "peter@example.org"},
					},
				},
			})
			if err != nil {
				t.Fatal(err)
			}

			tok, err := s.Client.Token(context.Background(), s.Discovered, client.TokenRequest{
				ClientID:   s.Registered.ClientID,
				Scope:      "system/Patient.rs",
				B2B:        servertest.Treatment(),
				Extensions: map[string]jsontext.Value{udap.B2BUserKey: object},
			})
			if (err == nil) != (row.refusedFor == "") {
				t.Fatalf("%v, %+v", err, tok.Refusal)
			}
			if row.refusedFor == "" {
				return
			}

			if tok.Refusal.Code != "invalid_grant" || strings.Contains(tok.Refusal.Description, row.gender+"\"") ||
				!strings.Contains(tok.Refusal.Description, row.refusedFor) {
				t.Errorf("refusal %+v", tok.Refusal)
			}
		})
	}
}
