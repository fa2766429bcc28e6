package server_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir/signature"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap"
)

// signedDocument is a document Bundle. It names the server by its private base, which
// is not changed in what is signed.
const signedDocument = `{ "resourceType": "Bundle", "id": "doc", "meta": {"tag": [{"code": "t"}]}, "type": "document",
	"identifier": {"system": "urn:ietf:rfc:3986", "value": "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"},
	"timestamp": "2026-01-02T03:04:05Z",
	"entry": [{"fullUrl": "urn:uuid:1c3151bd-1cbf-4d64-b04d-cd9187a4c6e0", "resource": {"resourceType": "Composition",
		"status": "final", "type": {"text": "\u00c4rztebrief \/ letter"}, "date": "2026-01-02", "author": [{"display": "x"}],
		"title": "T", "extension": [{"url": "urn:x", "valueDecimal": 1.50}],
		"subject": {"reference": "https://destination.test:9443/acme/fhir/Patient/prov-p"}}}]}`

// withSignature puts a signature into a document.
func withSignature(document, element string) string {
	return strings.TrimSuffix(document, "}") + `,"signature":` + element + "}"
}

// A document Bundle is verified by its own signature, and served so that it still
// verifies; how it was indented and escaped does not matter.
// Covers: FS-501 FS-502 FS-503 FS-504
func TestSignedDocuments(t *testing.T) {
	d := servertest.Start(t, writing, func(w *servertest.Env) {
		w.Config.Private = "https://destination.test:9443/acme/fhir"
	})
	c := newFHIRClient(t, d, "system/*.cruds")
	id := d.Issue("signer", d.A, d.Key("rsa2048"), signerURI)
	element := func(f signature.Form) string {
		return signing{id: id, form: f, of: []string{signedDocument}}.element(t)
	}

	for name, row := range map[string]struct {
		method, path string
		form         signature.Form
		want         string // the check that refuses; "" for none
	}{
		"document, created":  {"POST", "/Bundle", signature.Document, ""},
		"document, updated":  {"PUT", "/Bundle/doc", signature.Document, ""},
		"static, updated":    {"PUT", "/Bundle/doc", signature.Static, ""},
		"static, created":    {"POST", "/Bundle", signature.Static, "signature.canon"},
		"data, updated":      {"PUT", "/Bundle/doc", signature.Data, "signature.canon"},
		"whole, updated":     {"PUT", "/Bundle/doc", signature.Whole, "signature.canon"},
		"narrative, updated": {"PUT", "/Bundle/doc", signature.Narrative, "signature.canon"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, _ := c.ask(row.method, row.path, withSignature(signedDocument, element(row.form)))
			if row.want != "" {
				if status != http.StatusUnprocessableEntity ||
					!strings.HasPrefix(at(out, "issue", 0, "diagnostics"), row.want) {
					t.Errorf("%d %v", status, out)
				}
				return
			}

			if status >= 300 {
				t.Fatalf("%d %v", status, out)
			}
			served := c.raw("/Bundle/" + out["id"].(string))
			if got, want := signature.Canonical(parsed(t, served), row.form), signature.Canonical(
				parsed(t, signedDocument), row.form); string(got) != string(want) {
				t.Errorf("served as %s, signed as %s", got, want)
			}

			c.must(row.method, row.path, served) // verifies again
		})
	}

	xml := c.rawXML("/Bundle/doc")
	if status, _, _ := c.ask("PUT", "/Bundle/doc", xml, "Content-Type",
		"application/fhir+xml"); status != http.StatusOK {
		t.Errorf("sent as XML: %d", status)
	}
}

// rawXML returns a resource in XML.
func (c *fhirClient) rawXML(path string) string {
	c.t.Helper()
	res, text := c.d.Get(servertest.Base+path, "Authorization", "Bearer "+c.token, "Accept", "application/fhir+xml")
	if res.StatusCode != http.StatusOK {
		c.t.Fatal(res.Status, text)
	}
	return text
}

// On every way in, a signature that does not verify stops the resource: in a batch or
// transaction, whose own is verified too, by a patch, in a file that is imported.
// Covers: FS-504
func TestNoWayAroundVerification(t *testing.T) {
	d := servertest.Start(t, writing)
	c := newFHIRClient(t, d, "system/*.cruds")
	id := d.Issue("signer", d.A, d.Key("p256"), signerURI)
	good := withSignature(signedDocument, signing{
		id:   id,
		form: signature.Document,
		of:   []string{signedDocument},
	}.element(t))
	bad := strings.Replace(good, "1.50", "1.5", 1)

	entry := func(typ, body, url string) string {
		return `{"resourceType":"Bundle","type":"` + typ +
			`","entry":[{"fullUrl":"urn:uuid:5c3151bd-1cbf-4d64-b04d-cd9187a4c6e0","resource":` +
			body + `,"request":{"method":"PUT","url":"` + url + `"}}]}`
	}

	c.must("POST", "", entry("transaction", good, "Bundle/doc"))
	for name, row := range map[string]struct{ method, path, body, media string }{
		"update":      {"PUT", "/Bundle/doc", bad, ""},
		"create":      {"POST", "/Bundle", bad, ""},
		"conditional": {"PUT", "/Bundle?_id=doc", bad, ""},
		"transaction": {"POST", "", entry("transaction", bad, "Bundle/doc"), ""},
		"patch": {"PATCH", "/Bundle/doc", `[{"op":"replace","path":"/timestamp","value":"2026-02-02T03:04:05Z"}]`,
			"application/json-patch+json"},
	} {
		media := row.media
		if media == "" {
			media = "application/fhir+json"
		}
		status, out, _ := c.ask(row.method, row.path, row.body, "Content-Type", media)
		if status != http.StatusUnprocessableEntity || at(out, "issue", 0, "code") != "security" {
			t.Errorf("%s: %d %v", name, status, out)
		}
	}

	batch, _ := c.must("POST", "", entry("batch", bad, "Bundle/doc"))
	if got := at(batch, "entry", 0, "response", "status"); !strings.HasPrefix(got, "422") {
		t.Errorf("batch: %s", got)
	}
	plain := entry("transaction", somePatient, "Patient/prov-p")
	whole := signing{id: id, form: signature.Static, of: []string{plain}}.element(t)
	c.must("POST", "", withSignature(plain, whole))
	if status, _, _ := c.ask("POST", "",
		withSignature(strings.Replace(plain, "Test", "Tset", 1), whole)); status != http.StatusUnprocessableEntity {
		t.Errorf("a transaction with a bad signature: %d", status)
	}

	if got := c.raw("/Bundle/doc"); !strings.Contains(got, "1.50") || !strings.Contains(got, `"versionId":"1"`) {
		t.Errorf("the document was changed: %s", got)
	}
}

// What was verified is what is stored: a transaction does not make the target of a
// signature a version that it makes itself.
// Covers: FS-504
func TestTransactionsDoNotMoveSignatures(t *testing.T) {
	d := servertest.Start(t, writing)
	c := newFHIRClient(t, d, "system/*.cruds")
	c.must("PUT", "/Patient/prov-p", somePatient)
	c.must("PUT", "/Observation/w", weighed)
	id := d.Issue("signer", d.A, d.Key("p256"), signerURI)
	element := signing{id: id, form: signature.Static, of: []string{c.raw("/Observation/w")}}.element(t)
	signed := strings.Replace(signedProvenance([]string{"Observation/w/_history/1"}, element), `{"display":"x"}`,
		`{"reference":"Patient/prov-p"}`, 1)
	bundle := func(fullURL, body, url string) string {
		return `{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"` + fullURL + `","resource":` +
			body +
			`,"request":{"method":"PUT","url":"` + url + `"}},{"resource":` + signed +
			`,"request":{"method":"POST","url":"Provenance"}}]}`
	}

	for _, root := range []string{servertest.Base, "http://fhir.test/acme/fhir"} {
		moved := bundle(root+"/Observation/w", strings.Replace(weighed, "71.50", "99", 1), "Observation/w")
		if status, out, _ := c.ask("POST", "", moved); status != http.StatusUnprocessableEntity {
			t.Errorf("%d %v", status, out)
		}
	}

	if got := c.raw("/Observation/w"); !strings.Contains(got, "71.50") {
		t.Error(got)
	}
	c.must("POST", "", bundle(servertest.Base+"/Patient/prov-p", somePatient, "Patient/prov-p")) // another link of it
}

// The server signs what it holds: the Provenance is stored, verifies, and is made only
// for those who may read the resource and create a Provenance.
// Covers: FS-503
func TestSign(t *testing.T) {
	d := servertest.Start(t, writing)
	c := newFHIRClient(t, d, "system/*.cruds system/AuditEvent.rs")
	c.must("PUT", "/Patient/prov-p", somePatient)
	c.must("PUT", "/Observation/w", weighed)
	c.must("PUT", "/Bundle/doc", signedDocument)

	for path, form := range map[string]signature.Form{
		"/Observation/w": signature.Static,
		"/Bundle/doc":    signature.Document,
	} {
		p, h := c.must("POST", path+"/$sign", "")
		where := servertest.Base + "/Provenance/" + p["id"].(string) + "/_history/1"
		if h.Get("Location") != where || at(p, "signature", 0, "who", "identifier", "value") != servertest.Base ||
			at(p, "target", 0, "reference") != path[1:]+"/_history/1" {
			t.Errorf("Location %q of %v", h.Get("Location"), p)
		}

		verifySigned(t, d, p, signature.Canonical(parsed(t, c.raw(path)), form))
		c.must("POST", "/Provenance", c.raw("/Provenance/"+p["id"].(string)))
		if n := len(c.found("/AuditEvent?subtype=operation&entity=" + path[1:])); n != 1 {
			t.Errorf("%d audit records of signing %s", n, path)
		}
	}

	if n := len(c.found("/Provenance?patient=prov-p&signature-type=1.2.840.10065.1.12.1.14")); n != 2 {
		t.Errorf("%d of the patient's", n) // that of the Observation, twice
	}

	_, statement := d.Get(servertest.Base + "/metadata")
	if !strings.Contains(statement, "X-Provenance") || !strings.Contains(statement, "OperationDefinition/sign") {
		t.Error("the CapabilityStatement does not have X-Provenance and $sign")
	}

	for scope, want := range map[string]int{
		"system/Observation.rs":                                       http.StatusForbidden,
		"system/Provenance.cruds":                                     http.StatusForbidden,
		"system/Observation.rs?status=amended system/Provenance.c":    http.StatusNotFound,
		"system/Observation.rs?status=final system/Provenance.cruds":  http.StatusCreated,
		"system/Patient.rs system/Provenance.cruds system/Patient.rs": http.StatusForbidden,
	} {
		s := d.Session(d.A, d.Client(d.A, "https://narrow.test"), scope)
		narrow := &fhirClient{
			t:     t,
			d:     d,
			token: s.Token.Access,
		}
		if status, out, _ := narrow.ask("POST", "/Observation/w/$sign", ""); status != want {
			t.Errorf("%s: %d %v, want %d", scope, status, out, want)
		}
	}

	for path, want := range map[string]int{"/Observation/none/$sign": 404, "/Observation/$sign": 404, "/$sign": 404} {
		if status, _, _ := c.ask("POST", path, ""); status != want {
			t.Errorf("%s: %d", path, status)
		}
	}
}

// verifySigned verifies the signature of a Provenance by the server's own rules.
func verifySigned(t *testing.T, d *servertest.Destination, p map[string]any, content []byte) {
	t.Helper()
	jws, err := base64.StdEncoding.DecodeString(at(p, "signature", 0, "data"))
	if err != nil {
		t.Fatal(err)
	}
	v := &udap.Verifier{Communities: []*udap.Community{{
		URI:     servertest.URIA,
		Anchors: d.A.Root.Chain(d.A.Root.Cert)[:1],
		Policy:  udap.Policy{Revocation: udap.RevocationOff},
	}}}
	signed, err := v.Detached(t.Context(), string(jws), content, udap.Expect{Now: time.Now()}, nil)
	if err != nil || signed.URIs[0] != servertest.Base {
		t.Errorf("%v, by %+v", err, signed)
	}

	header, _, _ := strings.Cut(string(jws), "..")
	plain, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		t.Fatal(err)
	}
	root, err := tree.Parse(plain)
	if err != nil || root.Get("typ").Text() != "JOSE" || root.Get("sigT").Text() != at(p, "signature", 0, "when") ||
		root.At("srCms").Items[0].At("commId", "id").Text() != signature.SourceURI {
		t.Errorf("the header is %s", plain)
	}
}
