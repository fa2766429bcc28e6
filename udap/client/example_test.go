package client_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"time"

	"fhirdest.example/udap"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/fetch"
)

// A machine that holds a certificate of a trust community, and its anchor,
// registers with a destination and reads from it.
func Example() {
	read := func(base string, chain []*x509.Certificate, key crypto.Signer, anchor *x509.Certificate) error {
		lists, err := fetch.New(fetch.Config{Now: time.Now})
		if err != nil {
			return err
		}

		c, err := client.New(client.Config{
			Base:      base,
			Community: "urn:example:community",
			Chain:     chain,
			Key:       key,
			Now:       time.Now,
			Verifier: &udap.Verifier{
				Communities: []*udap.Community{{URI: "urn:example:community", Anchors: []*x509.Certificate{anchor}}},
				Revocation:  lists,
			},
		})
		if err != nil {
			return err
		}
		defer c.Close()

		ctx := context.Background()
		found, err := c.Discover(ctx)
		if err != nil {
			return err // found.Trace says which check failed, and what helps
		}

		reg, err := c.Register(ctx, found, client.Registration{
			ClientName: "Example",
			Contacts:   []string{"mailto:ops@example.org"},
			Scope:      "system/Patient.rs",
		})
		if err != nil {
			return err
		}

		token, err := c.Token(ctx, found, client.TokenRequest{
			ClientID: reg.ClientID,
			Scope:    reg.Scope,
			B2B: &client.B2B{
				OrganizationID: "https://example.org/fhir/Organization/1",
				PurposeOfUse:   []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
			},
		})
		if err != nil {
			return err
		}

		answer, err := c.Get(ctx, "Patient?_count=5", token.Access)
		if err != nil {
			return err
		}

		fmt.Println(string(answer.Reply.Body))
		return nil
	}
	fmt.Println(read("http://fhir.example.org/r4", nil, nil, nil))
	// Output: client: the base URL "http://fhir.example.org/r4" is not an https URL
}
