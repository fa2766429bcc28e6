package signature

import (
	"encoding/base64"
	"time"

	"fhirdest.example/fhir/tree"
)

// The purpose of the signatures that a server makes: it is the source of what it holds
// (ASTM E1762).
const (
	purposeSystem = "urn:iso-astm:E1762-95:2013"
	sourcePurpose = "1.2.840.10065.1.12.1.14"
	// SourceURI is that purpose as a URI.
	SourceURI = "urn:oid:" + sourcePurpose
)

// uriSystem is the system of identifiers that are URIs.
const uriSystem = "urn:ietf:rfc:3986"

// FormOf returns the form in which a resource is signed when nobody asks for another:
// one that stays the same wherever the resource goes.
func FormOf(resource *tree.Value) Form {
	if resource.Get("resourceType").Text() == "Bundle" {
		return Document
	}
	return Static
}

// Make returns a Signature element over a resource in a form, made with a server's own
// key at a time, and the URI of its certificate.
func Make(
	a Authority, resource *tree.Value, f Form, now time.Time,
) (element []byte, who string, err error) {
	when := now.UTC().Truncate(time.Second).Format(time.RFC3339)
	jws, who, err := a.Sign(Canonical(resource, f), Header{
		Canon:      f,
		SignedAt:   when,
		Commitment: SourceURI,
	})
	if err != nil {
		return nil, "", err
	}
	return AppendElement(nil, jws, who, when), who, nil
}

// AppendElement appends the Signature element of a JWS: whose it is, a URI of the
// certificate, and when it was made, an instant.
func AppendElement(b []byte, jws, who, when string) []byte {
	b = append(b, `{"type":[{"system":"`+purposeSystem+`","code":"`+sourcePurpose+
		`","display":"Source Signature"}],"when":"`+when+`","who":{"identifier":{"system":"`+uriSystem+`","value":`...)
	b = append(appendString(b, who), `}},"targetFormat":"`+jsonFormat+`","sigFormat":"`+joseFormat+`","data":"`...)
	return append(base64.StdEncoding.AppendEncode(b, []byte(jws)), `"}`...)
}
