package udap_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// community is a root, a client's key and its certificate, for the examples.
func community(now time.Time) (root *certs.CA, client certs.Identity) {
	template := certs.Template{
		CommonName: "Example root",
		NotBefore:  now.Add(-time.Hour),
		NotAfter:   now.AddDate(1, 0, 0),
	}

	rootKey, _ := certs.NewKey("p256")
	root, _ = certs.NewRoot(template, rootKey)

	template.CommonName, template.URIs = "Example client", []string{"https://client.example/app"}
	key, _ := certs.NewKey("p256")
	leaf, _ := root.Issue(template, key.Public())
	return root, certs.Identity{Key: key, Chain: []*x509.Certificate{leaf}}
}

// signStatement signs a software statement for the registration endpoint.
func signStatement(client certs.Identity, now time.Time) string {
	claims := fmt.Sprintf(`{"iss":"https://client.example/app","sub":"https://client.example/app",
		"aud":"https://fhir.example/oauth/register","iat":%d,"exp":%d,"jti":"1","client_name":"Example",
		"contacts":["mailto:op@client.example"],"grant_types":["client_credentials"],
		"token_endpoint_auth_method":"private_key_jwt","scope":"system/Patient.rs"}`,
		now.Unix(), now.Add(5*time.Minute).Unix())
	compact, err := udap.Sign(client.Key, client.Chain, "", []byte(claims))
	if err != nil {
		panic(err)
	}
	return compact
}

// A verifier accepts a software statement of a member of a community.
func ExampleVerifier_Statement() {
	now := time.Now()
	root, client := community(now)
	verifier := &udap.Verifier{Communities: []*udap.Community{{
		URI:     "urn:example:community",
		Anchors: []*x509.Certificate{root.Cert},
		Policy:  udap.Policy{Revocation: udap.RevocationOff},
	}}}

	decision := trace.NewTrace("register", now)
	statement, err := verifier.Statement(context.Background(), signStatement(client, now), udap.Expect{
		Now:      now,
		Audience: "https://fhir.example/oauth/register",
	}, decision)
	if err != nil {
		fmt.Println(err)
		return
	}

	fmt.Println(statement.Client, statement.Metadata.Scope)
	for _, w := range decision.Warnings() {
		fmt.Println("warning:", w.Check, w.Found)
	}
	// Output:
	// https://client.example/app [system/Patient.rs]
	// warning: chain.revocation the community's policy turns it off (revocation: off)
}

// The zero value of a verifier trusts nobody; the refusal names the check.
func ExampleVerifier_Statement_refused() {
	now := time.Now()
	_, client := community(now)
	var verifier udap.Verifier

	_, err := verifier.Statement(context.Background(), signStatement(client, now), udap.Expect{
		Now:      now,
		Audience: "https://fhir.example/oauth/register",
	}, nil)
	var refusal *trace.Error
	if errors.As(err, &refusal) {
		fmt.Println(refusal.Code, refusal.Check)
	}
	// Output: unapproved_software_statement chain.path
}

// A CRL is checked by itself before it counts.
func ExampleCheckCRL() {
	now := time.Now()
	root, _ := community(now)
	der, err := root.CRL(certs.CRLTemplate{
		Number:     1,
		ThisUpdate: now.Add(-2 * time.Hour),
		NextUpdate: now.Add(time.Hour),
		Revoked:    []certs.RevokedEntry{{Serial: big.NewInt(4711), Time: now.Add(-3 * time.Hour)}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		fmt.Println(err)
		return
	}

	fmt.Println(udap.CheckCRL(crl, root.Cert, now))
	fmt.Println(udap.CheckCRL(crl, root.Cert, now.Add(2*time.Hour)) != nil)
	// Output:
	// <nil>
	// true
}

// The clock skew of the zero policy is a minute.
func ExamplePolicy_ClockSkew() {
	fmt.Println(udap.Policy{}.ClockSkew(), udap.Policy{Skew: -1}.ClockSkew())
	// Output: 1m0s 0s
}
