package server_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/fhir/signature"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap"
)

const signerURI = "https://signer.test/app"

// signing is what one signature is made of. What is empty is as it should be.
type signing struct {
	id      *certs.Identity
	form    signature.Form
	who     string
	when    time.Time
	sigT    string
	content []byte // that is signed, in the place of the targets
	of      []string
}

// element returns the Signature element.
func (s signing) element(t *testing.T) string {
	t.Helper()
	var targets []*tree.Value
	for _, body := range s.of {
		targets = append(targets, parsed(t, body))
	}
	if s.content == nil {
		s.content = signature.Content(targets, s.form)
	}

	if s.when.IsZero() {
		s.when = time.Now()
	}
	when := s.when.UTC().Format(time.RFC3339)
	if s.sigT == "" {
		s.sigT = when
	}
	if s.who == "" {
		s.who = signerURI
	}

	jws, err := udap.SignDetached(s.id.Key, s.id.Chain, udap.SignatureHeader{
		Canon:      string(s.form),
		SignedAt:   s.sigT,
		Commitment: signature.SourceURI,
	}, s.content)
	if err != nil {
		t.Fatal(err)
	}

	return string(signature.AppendElement(nil, jws, s.who, when))
}

func parsed(t *testing.T, body string) *tree.Value {
	t.Helper()
	root, err := tree.Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// signedProvenance is a Provenance with signatures, of targets.
func signedProvenance(targets []string, elements ...string) string {
	return `{"resourceType":"Provenance","target":[{"reference":"` + strings.Join(targets, `"},{"reference":"`) +
		`"}],"recorded":"2026-01-02T03:04:05Z","agent":[{"who":{"display":"x"}}],"signature":[` +
		strings.Join(elements, ",") + `]}`
}

// raw returns the bytes of a resource as they are served.
func (c *fhirClient) raw(path string) string {
	c.t.Helper()
	res, text := c.d.Get(servertest.Base+path, "Authorization", "Bearer "+c.token)
	if res.StatusCode != http.StatusOK {
		c.t.Fatal(res.Status, text)
	}
	return text
}

// A signature of versions that are here is verified in every form, with every
// algorithm, over one target and over several in their order; decimals count as they
// were written.
// Covers: FS-501 FS-502 FS-503 FS-504
func TestSignedProvenance(t *testing.T) {
	d := servertest.Start(t, writing)
	c := newFHIRClient(t, d, "system/*.cruds")
	c.must("PUT", "/Patient/prov-p", somePatient)
	c.must("PUT", "/Observation/w", weighed)
	w, p := c.raw("/Observation/w/_history/1"), c.raw("/Patient/prov-p")
	wRef, pRef := "Observation/w/_history/1", "Patient/prov-p/_history/1"
	c.must("PUT", "/Observation/w", strings.Replace(weighed, "71.50", "72", 1)) // what was signed is the version

	for _, kind := range []certs.KeyKind{"p256", "p384", "rsa2048"} {
		id := d.Issue("signer", d.A, d.Key(kind), signerURI)
		for _, form := range []signature.Form{signature.Whole, signature.Data, signature.Static, signature.Narrative} {
			one := signing{id: id, form: form, of: []string{w}}
			c.must("POST", "/Provenance", signedProvenance([]string{wRef}, one.element(t)))
			two := signing{id: id, form: form, of: []string{w, p}}
			c.must("POST", "/Provenance",
				signedProvenance([]string{servertest.Base + "/" + wRef, pRef}, two.element(t), two.element(t)))
		}
	}

	id := d.Issue("signer", d.A, d.Key("p256"), "https://other.test", signerURI)
	for name, one := range map[string]string{
		"another order": signing{id: id, form: signature.Static, of: []string{p, w}}.element(t),
		"one of two":    signing{id: id, form: signature.Static, of: []string{w}}.element(t),
		"another decimal": signing{
			id:   id,
			form: signature.Static,
			of:   []string{strings.Replace(w, "71.50", "71.5", 1), p},
		}.element(t),
	} {
		c.refused(t, name, signedProvenance([]string{wRef, pRef}, one), "jws.signature")
	}
}

// refused posts a Provenance that must be refused by a check.
func (c *fhirClient) refused(t *testing.T, name, body, check string) {
	t.Helper()
	status, out, h := c.ask("POST", "/Provenance", body)
	text := at(out, "issue", 0, "diagnostics")
	if status != http.StatusUnprocessableEntity || !strings.HasPrefix(text, check+":") || h.Get("Trace-Id") == "" ||
		at(out, "issue", 0, "code") != "security" {
		t.Errorf("%s: %d %v, want the check %s", name, status, out, check)
	}
}

// A signature that does not verify is refused by the check that it fails.
// Covers: FS-501 FS-502 FS-503 FS-504
func TestSignaturesRefused(t *testing.T) {
	d := servertest.Start(t, writing)
	c := newFHIRClient(t, d, "system/*.cruds")
	c.must("PUT", "/Patient/prov-p", somePatient)
	c.must("PUT", "/Observation/w", weighed)
	c.must("PUT", "/Observation/gone", strings.Replace(weighed, `"w"`, `"gone"`, 1))
	c.must("DELETE", "/Observation/gone", "")
	w, ref := c.raw("/Observation/w"), []string{"Observation/w/_history/1"}

	id := d.Issue("signer", d.A, d.Key("p256"), signerURI)
	stranger := servertest.NewEnv(t)
	revoked := d.Issue("revoked", d.A, d.Key("p256"), signerURI)
	d.Publish("a", d.A.Issuing, certs.RevokedEntry{
		Serial: revoked.Leaf().SerialNumber,
		Time:   time.Now().Add(-time.Minute),
	})
	good := signing{id: id, form: signature.Static, of: []string{w}}
	edit := func(old, new string) string {
		return signedProvenance(ref, strings.Replace(good.element(t), old, new, 1))
	}

	with := func(change func(*signing)) string {
		s := good
		change(&s)
		return signedProvenance(ref, s.element(t))
	}

	ofRevoked := with(func(s *signing) { s.id = revoked })
	d.Eventually("the list is fetched again", func() bool {
		status, _, _ := c.ask("POST", "/Provenance", ofRevoked)
		return status == http.StatusUnprocessableEntity
	})

	for name, row := range map[string]struct{ body, check string }{
		"content": {with(func(s *signing) { s.content = []byte(`{}`) }), "jws.signature"},
		"stranger": {with(func(s *signing) {
			s.id = stranger.Issue("x", stranger.A, d.Key("p256"), signerURI)
		}), "chain.signature"},
		"revoked":           {ofRevoked, "chain.revocation"},
		"who":               {with(func(s *signing) { s.who = "https://other.test/app" }), "signature.who"},
		"who in other case": {with(func(s *signing) { s.who = "https://SIGNER.test/app" }), "signature.who"},
		"no URI":            {with(func(s *signing) { s.id = d.Issue("x", d.A, d.Key("p256")) }), "signature.names"},
		"in the future":     {with(func(s *signing) { s.when = time.Now().Add(time.Hour) }), "signature.when"},
		"before the key":    {with(func(s *signing) { s.when = time.Now().AddDate(-1, 0, 0) }), "signature.when"},
		"sigT":              {with(func(s *signing) { s.sigT = "2026-01-01T00:00:00Z" }), "signature.when"},
		"sigT is no time":   {with(func(s *signing) { s.sigT = "yesterday" }), "signature.when"},
		"document":          {with(func(s *signing) { s.form = signature.Document }), "signature.canon"},
		"unknown form":      {with(func(s *signing) { s.form = "urn:x"; s.content = []byte(w) }), "signature.canon"},
		"XML-DSig":          {edit("application/jose", "application/signature+xml"), "signature.format"},
		"picture":           {edit("application/jose", "image/jpeg"), "signature.format"},
		"no format":         {edit(`"sigFormat":"application/jose",`, ""), "signature.format"},
		"of XML":            {edit("application/fhir+json", "application/fhir+xml"), "signature.targetFormat"},
		"forms differ": {
			edit("application/fhir+json",
				"application/fhir+json;canonicalization=http://hl7.org/fhir/canonicalization/json#data"),
			"signature.canon",
		},
		"nine": {
			signedProvenance(ref, strings.Split(strings.Repeat(good.element(t)+"\n", 8)+good.element(t), "\n")...),
			"signature.count",
		},
		"second is bad": {
			signedProvenance(ref, good.element(t), signing{id: id, content: []byte("x")}.element(t)),
			"jws.signature",
		},
		"no version": {signedProvenance([]string{"Observation/w"}, good.element(t)), "signature.target"},
		"not here": {
			signedProvenance([]string{"Observation/w/_history/2"}, good.element(t)),
			"signature.target",
		},
		"elsewhere": {
			signedProvenance([]string{"https://other.test/Observation/w/_history/1"}, good.element(t)),
			"signature.target",
		},
		"deleted": {
			signedProvenance([]string{"Observation/gone/_history/2"}, good.element(t)),
			"signature.target",
		},
		"no reference": {
			strings.Replace(edit("", ""), `"reference":"Observation/w/_history/1"`, `"display":"x"`, 1),
			"signature.target",
		},
		"version twice": {
			signedProvenance([]string{"Observation/w/_history/01"}, good.element(t)),
			"signature.target",
		},
	} {
		c.refused(t, name, row.body, row.check)
	}

	c.must("POST", "/Provenance", edit("application/fhir+json",
		"application/fhir+json;canonicalization=http://hl7.org/fhir/canonicalization/json#static"))
}

// The JWS is held to the rules of every signed document.
// Covers: FS-501 FS-504
func TestSignatureFormRefused(t *testing.T) {
	d := servertest.Start(t, writing)
	c := newFHIRClient(t, d, "system/*.cruds")
	c.must("PUT", "/Observation/w", strings.Replace(weighed, "prov-p", "example-1", 1))
	w, ref := c.raw("/Observation/w"), []string{"Observation/w/_history/1"}
	id := d.Issue("signer", d.A, d.Key("p256"), signerURI)
	good, err := udap.SignDetached(id.Key, id.Chain, udap.SignatureHeader{
		Canon: string(signature.Static),
	}, signature.Canonical(parsed(t, w), signature.Static))
	if err != nil {
		t.Fatal(err)
	}

	head, sig, _ := strings.Cut(good, "..")
	plain, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	header := func(old, new string) string {
		text := strings.Replace(string(plain), old, new, 1)
		return base64.RawURLEncoding.EncodeToString([]byte(text)) + ".." + sig
	}

	for name, row := range map[string]struct{ jws, check string }{
		"payload":      {head + ".e30." + sig, "jws.form"},
		"two segments": {head + "." + sig, "jws.form"},
		"four":         {head + ".." + sig + ".", "jws.form"},
		"no signature": {head + "..", "jws.form"},
		"padded":       {good + "=", "jws.form"},
		"JSON":         {`{"protected":"x","signature":"y"}`, "signature.format"},
		"crit":         {header(`{`, `{"crit":["exp"],`), "jws.header"},
		"b64":          {header(`{`, `{"b64":false,`), "jws.header"},
		"none":         {header(`"ES256"`, `"none"`), "jws.alg"},
		"HS256":        {header(`"ES256"`, `"HS256"`), "jws.alg"},
		"alg of RSA":   {header(`"ES256"`, `"RS256"`), "jws.signature"},
		"alg twice":    {header(`{`, `{"alg":"ES256",`), "signature.format"},
		"typ":          {header(`"JOSE"`, `"dpop+jwt"`), "jws.header"},
		"no x5c":       {header(`"x5c"`, `"x5x"`), "x5c.form"},
		"jwk":          {header(`"x5c"`, `"jwk"`), "x5c.form"},
		"no canon":     {header(`"canon"`, `"canno"`), "jws.signature"},
		"canon number": {header(`"canon":"`+string(signature.Static)+`"`, `"canon":1`), "signature.canon"},
		"other header": {header(`{`, `{"x":1,`), "jws.signature"},
		"bit":          {good[:len(good)-4] + "AAAA", "jws.signature"},
	} {
		element := signature.AppendElement(nil, row.jws, signerURI, time.Now().UTC().Format(time.RFC3339))
		c.refused(t, name, signedProvenance(ref, string(element)), row.check)
	}

	c.must("POST", "/Provenance", signedProvenance(ref,
		string(signature.AppendElement(nil, good, signerURI, time.Now().UTC().Format(time.RFC3339)))))
}

// Who may not read a version does not find out by a signature what is in it.
// Covers: FS-302 FS-504
func TestSignaturesOfWhatIsHidden(t *testing.T) {
	d := servertest.Start(t, writing)
	all := newFHIRClient(t, d, "system/*.cruds")
	all.must("PUT", "/Patient/prov-p", somePatient)
	all.must("PUT", "/Observation/w", weighed)
	id := d.Issue("signer", d.A, d.Key("p256"), signerURI)
	right := signing{id: id, form: signature.Static, of: []string{all.raw("/Observation/w")}}.element(t)
	guess := signing{id: id, content: []byte("x"), form: signature.Static}.element(t)

	s := d.Session(d.A, d.Client(d.A, "https://narrow.test"),
		"system/Provenance.cruds system/Observation.rs?status=amended")
	narrow := &fhirClient{
		t:     t,
		d:     d,
		token: s.Token.Access,
	}

	var texts []string
	for _, body := range []string{
		signedProvenance([]string{"Observation/w/_history/1"}, right),
		signedProvenance([]string{"Observation/w/_history/1"}, guess),
		signedProvenance([]string{"Observation/w/_history/9"}, right),
	} {
		narrow.refused(t, "hidden", body, "signature.target")
		_, out, _ := narrow.ask("POST", "/Provenance", body)
		texts = append(texts, strings.ReplaceAll(fmt.Sprint(out), "_history/9", "_history/1"))
	}

	if texts[0] != texts[1] || texts[0] != texts[2] {
		t.Errorf("the answers differ: %q", texts)
	}
}
