package server_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/fhir/signature"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/udaptest"
)

// A signature is verified wherever the resource is that has it: in the entries of a
// Bundle that is stored, in a Bundle within that, and in what a resource contains.
// Covers: FS-504
func TestSignaturesWithinResourcesAreVerified(t *testing.T) {
	d := servertest.Start(t, writing)
	c := newFHIRClient(t, d, "system/*.cruds")
	c.must("PUT", "/Patient/prov-p", somePatient)
	c.must("PUT", "/Observation/w", weighed)
	id := d.Issue("signer", d.A, d.Key("p256"), signerURI)

	ref := []string{"Observation/w/_history/1"}
	element := signing{id: id, form: signature.Static, of: []string{c.raw("/Observation/w")}}.element(t)
	stolen := signing{
		id:   id,
		form: signature.Static,
		of:   []string{strings.Replace(weighed, "71.50", "71.5", 1)},
	}.element(t)

	document := withSignature(signedDocument, signing{
		id:   id,
		form: signature.Whole,
		of:   []string{signedDocument},
	}.element(t))

	inBundle := func(resource string) string {
		return `{"resourceType":"Bundle","type":"collection","entry":[{"fullUrl":"urn:uuid:` +
			`5c3151bd-1cbf-4d64-b04d-cd9187a4c6e0","resource":` + resource + `}]}`
	}
	contained := func(resource string) string {
		return `{"resourceType":"Basic","code":{"text":"x"},"extension":[{"url":"urn:x","valueReference":` +
			`{"reference":"#in"}}],"contained":[` + strings.Replace(resource, `{`, `{"id":"in",`, 1) + `]}`
	}

	for name, row := range map[string]struct{ path, good, bad string }{
		"Provenance in a Bundle": {
			path: "/Bundle",
			good: inBundle(signedProvenance(ref, element)),
			bad:  inBundle(signedProvenance(ref, stolen)),
		},
		"Bundle in a Bundle": {
			path: "/Bundle",
			good: inBundle(document),
			bad:  inBundle(strings.Replace(document, "1.50", "1.5", 1)),
		},
		"Provenance in a Bundle in a Bundle": {
			path: "/Bundle",
			good: inBundle(inBundle(signedProvenance(ref, element))),
			bad:  inBundle(inBundle(signedProvenance(ref, stolen))),
		},
		"contained Provenance": {
			path: "/Basic",
			good: contained(signedProvenance(ref, element)),
			bad:  contained(signedProvenance(ref, stolen)),
		},
		"nine signatures": {
			path: "/Bundle",
			good: inBundle(signedProvenance(ref, element, element, element, element)),
			bad: strings.Replace(inBundle(signedProvenance(ref, element, element, element, element, element)),
				`"entry":[`,
				`"entry":[{"fullUrl":"urn:uuid:6c3151bd-1cbf-4d64-b04d-cd9187a4c6e0","resource":`+
					signedProvenance(ref, element, element, element, element)+`},`, 1),
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.must("POST", row.path, row.good)
			status, out, _ := c.ask("POST", row.path, row.bad)
			if status != http.StatusUnprocessableEntity || at(out, "issue", 0, "code") != "security" {
				t.Errorf("%d %v", status, out)
			}
		})
	}

	whole := inBundle(document) // is not changed: a signature is over what is in it
	out, _ := c.must("POST", "/Bundle", whole)
	if got := c.raw("/Bundle/" + out["id"].(string)); !strings.Contains(got, document) {
		t.Errorf("served as %s", got)
	}

	header := strings.Replace(sentProvenance, `{"display":"Dr. Sent"}`, `{"reference":"#in"}`, 1)
	header = strings.Replace(header, `{`, `{"contained":[{"resourceType":"Practitioner","id":"in"},`+
		strings.Replace(signedProvenance(ref, stolen), `{`, `{"id":"other",`, 1)+`],`, 1)
	status, refused, _ := c.ask("PUT", "/Observation/w", weighed, "X-Provenance", header)
	if status < 400 || status > 499 {
		t.Errorf("in X-Provenance: %d %v", status, refused)
	}
}

// sigT is a time in a string, as the element's when is; a media type is read in any case.
// Covers: FS-504
func TestTimeOfSigning(t *testing.T) {
	d := servertest.Start(t, writing)
	c := newFHIRClient(t, d, "system/*.cruds")
	c.must("PUT", "/Patient/prov-p", somePatient)
	c.must("PUT", "/Observation/w", weighed)
	w, ref := c.raw("/Observation/w"), []string{"Observation/w/_history/1"}
	id := d.Issue("signer", d.A, d.Key("p256"), signerURI)
	good := signing{id: id, form: signature.Static, of: []string{w}}.element(t)
	c.must("POST", "/Provenance",
		signedProvenance(ref, strings.Replace(good, "application/fhir+json", "Application/FHIR+JSON", 1)))

	when := parsed(t, good).Get("when").Text()

	payload := udaptest.Segment(signature.Canonical(parsed(t, w), signature.Static))
	for name, sigT := range map[string]any{
		"a number":  1764504000,
		"null":      nil,
		"an object": map[string]any{"time": when},
		"empty":     "",
	} {
		header := udaptest.HeaderWith("ES256", map[string]any{
			"canon": string(signature.Static),
			"sigT":  sigT,
		}, id.Chain...)
		jws := udaptest.Raw{Key: id.Key, Alg: "ES256"}.SignInput(t, udaptest.Segment(header)+"."+payload)
		jws = strings.Replace(jws, "."+payload+".", "..", 1)
		element := string(signature.AppendElement(nil, jws, signerURI, when))
		c.refused(t, name, signedProvenance(ref, element), "signature.when")
	}
}

// Of two security contexts none is chosen.
// Covers: FS-602
func TestOneSecurityContext(t *testing.T) {
	c := newFHIRClient(t, servertest.Start(t, writing), "system/*.cruds")
	headers := []string{"Content-Type", "text/plain", "X-Security-Context", "Patient/a"}
	c.must("POST", "/Binary", "x", headers...)
	if status, out, _ := c.ask("POST", "/Binary", "x",
		append(headers, "X-Security-Context", "Patient/b")...); status != 400 {
		t.Errorf("%d %v", status, out)
	}
}

// What the signatures of one request cost is bounded, however they are distributed over
// the entries of a batch.
// Covers: FS-504
func TestCostOfSignaturesIsBounded(t *testing.T) {
	d := servertest.Start(t, writing)
	c := newFHIRClient(t, d, "system/*.cruds")
	c.must("PUT", "/Basic/long",
		`{"resourceType":"Basic","id":"long","code":{"text":"x"},"extension":[{"url":"urn:x","valueString":"`+
			strings.Repeat("y", 1<<20-1000)+`"}]}`)
	id := d.Issue("signer", d.A, d.Key("p256"), signerURI)
	long := c.raw("/Basic/long")

	signed := func(targets, signatures int) string {
		element := signing{
			id:   id,
			form: signature.Static,
			of:   slices.Repeat([]string{long}, targets),
		}.element(t)
		return signedProvenance(slices.Repeat([]string{"Basic/long/_history/1"}, targets),
			slices.Repeat([]string{element}, signatures)...)
	}
	c.refused(t, "8 signatures of 10 MiB", signed(10, 8), "signature.cost")

	sign := strings.Repeat(`,{"request":{"method":"POST","url":"Basic/long/$sign"}}`, 70)[1:]
	made, _ := c.must("POST", "", `{"resourceType":"Bundle","type":"batch","entry":[`+sign+`]}`)
	for i, want := range map[int]string{0: "201", 69: "422"} {
		if got := at(made, "entry", i, "response", "status"); !strings.HasPrefix(got, want) {
			t.Errorf("$sign %d: %s, want %s", i, got, want)
		}
	}

	entry := `{"request":{"method":"POST","url":"Provenance"},"resource":` + signed(20, 1) + `}`
	out, _ := c.must("POST", "", `{"resourceType":"Bundle","type":"batch","entry":[`+entry+`,`+entry+`]}`)
	for i, want := range []string{"201", "422"} {
		if got := at(out, "entry", i, "response", "status"); !strings.HasPrefix(got, want) {
			t.Errorf("entry %d: %s, want %s", i, got, want)
		}
	}
}
