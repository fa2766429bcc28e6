package main

import (
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/udap/client"
)

// A client of the first edition finds a community with that edition's rules behind the two
// ordinary ones and TEFCA's, and is served by it with bare codes as purposes of use.
func TestEdition1Community(t *testing.T) {
	_, d := bedFor(t, testbed.Config{}, nil)
	c := d.community(3)
	if c.URI != testbed.CommunityEdition1 {
		t.Fatalf("community 3 is %s", c.URI)
	}
	clients := 0
	for _, m := range d.manifest.Clients {
		if m.Community == c.URI {
			clients++
		}
	}
	if clients != 2 {
		t.Errorf("%d clients of the community are in the manifest", clients)
	}

	p, err := d.newParty(c, "edition-1", certs.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	defer p.client.Close()
	j, err := d.join(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}

	token, err := p.client.Token(t.Context(), j.found, client.TokenRequest{
		ClientID: j.reg.ClientID,
		Scope:    "system/Patient.rs",
		B2B: &client.B2B{
			OrganizationID:   "https://originator.example/organization",
			OrganizationName: "Sandbox Originator",
			PurposeOfUse:     []string{"TREAT"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.get(t.Context(), p.client, "Patient?_count=1", token.Access); err != nil {
		t.Error(err)
	}
}
