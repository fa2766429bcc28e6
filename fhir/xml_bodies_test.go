package fhir_test

import (
	"encoding/base64"
	"strings"
	"testing"
)

// inFHIR declares the namespace on the root of what is sent.
func inFHIR(typ, inner string) string {
	return "<" + typ + ` xmlns="http://hl7.org/fhir">` + inner + "</" + typ + ">"
}

const (
	annaInXML = `<?xml version="1.0" encoding="UTF-8"?>
<!-- a patient -->
<Patient xmlns="http://hl7.org/fhir">
  <id value="x"/>
  <meta><tag><code value="t"/></tag></meta>
  <text>
    <status value="generated"/>
    <div xmlns="http://www.w3.org/1999/xhtml"><p>Anna &amp; <b>Önal</b></p></div>
  </text>
  <contained><Organization><id value="o"/><name value="&lt;Praxis&gt; &quot;A&quot;"/></Organization></contained>
  <active value="true"/>
  <name id="n1"><family value="Önal"/><given value="Anna"/><given><extension url="urn:x"><valueCode value="y"/></extension></given></name>
  <gender value="female"/>
  <birthDate id="b" value="1990-05-04"><extension url="urn:t"><valueDecimal value="1.50"/></extension></birthDate>
  <multipleBirthInteger value="2"/>
  <managingOrganization><reference value="#o"/></managingOrganization>
</Patient>
`
	annaAsStored = `"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Anna &amp; <b>Önal</b></p></div>"},` +
		`"contained":[{"resourceType":"Organization","id":"o","name":"<Praxis> \"A\""}],"active":true,` +
		`"name":[{"id":"n1","family":"Önal","given":["Anna",null],"_given":[null,{"extension":[{"url":"urn:x","valueCode":"y"}]}]}],` +
		`"gender":"female","birthDate":"1990-05-04","_birthDate":{"id":"b","extension":[{"url":"urn:t","valueDecimal":1.50}]},` +
		`"multipleBirthInteger":2,"managingOrganization":{"reference":"#o"}}`
)

// What comes as XML is stored as the JSON that R4 maps it to, and is the same
// resource in both formats from then on.
//
// Covers: ER-05
func TestXMLIsStoredAsItsJSON(t *testing.T) {
	w := newEnv(t, 0)
	for _, media := range []string{
		"application/fhir+xml", "application/xml", "text/xml", "application/xml+fhir",
		"application/fhir+xml; charset=utf-8", "application/fhir+xml; fhirVersion=4.0",
	} {
		t.Run(media, func(t *testing.T) {
			w.t = t
			made := w.do("POST", "/Patient", everything, annaInXML, "Content-Type", media)
			made.want(201) // in JSON, as nothing else was asked for
			at := made.location()
			got := w.get(at, everything).want(200).Body.String()
			if !strings.HasSuffix(got, annaAsStored) {
				t.Errorf("stored as\n%s\nwant\n%s", got, annaAsStored)
			}
			if sorted(t, []byte(got)) != w.get(at, everything, asksXML...).inXML(200) {
				t.Error("the resource in XML is another")
			}
			if b := w.get("/Patient?family=önal&_id="+strings.TrimPrefix(at, "/Patient/"), everything).bundle(); *b.Total != 1 {
				t.Error("it is not found")
			}
		})
	}
}

// Each way to write has its body in XML, and answers in XML what Prefer asks for.
//
// Covers: ER-05
func TestEveryWriteInXML(t *testing.T) {
	w := newEnv(t, 0)
	send := func(method, path, body string, headers ...string) answer {
		return w.do(method, path, everything, body,
			append([]string{"Content-Type", "application/fhir+xml", "Accept", "application/fhir+xml"}, headers...)...)
	}
	patient := func(id, family string) string {
		return inFHIR("Patient", `<id value="`+id+`"/><identifier><value value="i1"/></identifier><name><family value="`+family+`"/></name>`)
	}

	for _, step := range []struct {
		name, method, path, body string
		header                   []string
		status                   int
		want                     string // in the answer; "" for no body
	}{
		{"update as create", "PUT", "/Patient/a", patient("a", "One"), nil, 201, `"family":"One"`},
		{"update", "PUT", "/Patient/a", patient("a", "Two"), []string{"If-Match", `W/"1"`}, 200, `"versionId":"2"`},
		{"minimal", "PUT", "/Patient/a", patient("a", "Three"), []string{"Prefer", "return=minimal"}, 200, ""},
		{"outcome", "PUT", "/Patient/a", patient("a", "Four"), []string{"Prefer", "return=OperationOutcome"}, 200, `"Stored as Patient/a."`},
		{"conditional create", "POST", "/Patient", patient("b", "Five"), []string{"If-None-Exist", "identifier=i1"}, 200, `"family":"Four"`},
		{"conditional update", "PUT", "/Patient?identifier=i1", patient("a", "Six"), nil, 200, `"family":"Six"`},
		{"patch", "PATCH", "/Patient/a", `[{"op":"replace","path":"/name/0/family","value":"Seven"}]`, []string{"Content-Type", "application/json-patch+json"}, 200, `"family":"Seven"`},
		{"conditional patch", "PATCH", "/Patient?identifier=i1", `[{"op":"replace","path":"/name/0/family","value":"Eight"}]`, []string{"Content-Type", "application/json-patch+json"}, 200, `"family":"Eight"`},
		{"delete", "DELETE", "/Patient/a", "", []string{"Prefer", "return=OperationOutcome"}, 200, `"Deleted."`},
		{"valid", "POST", "/Patient/$validate", patient("a", "One"), nil, 200, `"No complaint."`},
		{"valid in Parameters", "POST", "/Patient/$validate", inFHIR("Parameters", `<parameter><name value="resource"/><resource>`+
			`<Patient><gender value="x"/></Patient></resource></parameter>`), nil, 200, `"code":"code-invalid"`},
		{"invalid value", "POST", "/Patient/$validate", inFHIR("Patient", `<birthDate value="x"/>`), nil, 200, `"expression":["Patient.birthDate"]`},
		{"unknown element", "POST", "/Patient/$validate", inFHIR("Patient", `<nothing value="x"/>`), nil, 200, `"code":"structure"`},
		{"no XML", "POST", "/Patient/$validate", `{}`, nil, 200, `"code":"structure"`},
	} {
		t.Run(step.name, func(t *testing.T) {
			w.t = t
			a := send(step.method, step.path, step.body, step.header...)
			if step.want == "" && a.Code == step.status && a.Body.Len() == 0 {
				return
			}
			if got := a.inXML(step.status); !strings.Contains(got, step.want) {
				t.Errorf("%s\nlacks %s", got, step.want)
			}
		})
	}
}

func TestEverythingWithParametersInXML(t *testing.T) {
	w := newEnv(t, 1)
	got := w.do("POST", "/Patient/p0001/$everything", everything, inFHIR("Parameters",
		`<parameter><name value="_count"/><valueInteger value="1"/></parameter>`),
		"Content-Type", "application/fhir+xml", "Accept", "application/fhir+xml").inXML(200)
	if strings.Count(got, `"fullUrl"`) != 1 {
		t.Errorf("%.1000s", got)
	}
}

// Batches and transactions in XML, with a JSON Patch in its Binary.
func TestBundlesInXML(t *testing.T) {
	w := newEnv(t, 0)
	patch := base64.StdEncoding.EncodeToString([]byte(`[{"op":"add","path":"/active","value":false}]`))
	entries := `<entry><fullUrl value="urn:uuid:c757873d-ec9a-4326-a141-556f43239520"/><resource>` +
		`<Organization><name value="O"/></Organization></resource><request><method value="POST"/><url value="Organization"/></request></entry>` +
		`<entry><resource><Patient><id value="pX"/><managingOrganization><reference value="urn:uuid:c757873d-ec9a-4326-a141-556f43239520"/>` +
		`</managingOrganization></Patient></resource><request><method value="PUT"/><url value="Patient/pX"/></request></entry>`
	patched := `<entry><resource><Binary><contentType value="application/json-patch+json"/><data value="` + patch + `"/></Binary></resource>` +
		`<request><method value="PATCH"/><url value="Patient/pX"/></request></entry>`
	reads := `<entry><request><method value="GET"/><url value="Patient/pX"/></request></entry>` +
		`<entry><request><method value="GET"/><url value="Patient/none"/></request></entry>`
	post := func(kind, entries string) string {
		return w.do("POST", "", everything, inFHIR("Bundle", `<type value="`+kind+`"/>`+entries),
			"Content-Type", "application/fhir+xml", "Accept", "application/fhir+xml", "Prefer", "return=representation").inXML(200)
	}

	got := post("transaction", entries)
	if !strings.Contains(got, `"type":"transaction-response"`) || strings.Count(got, `"status":"201 Created"`) != 2 ||
		!strings.Contains(got, `"reference":"Organization/`) {
		t.Errorf("transaction: %s", got)
	}

	got = post("batch", patched+reads)
	if !strings.Contains(got, `"type":"batch-response"`) || !strings.Contains(got, `"active":false`) ||
		!strings.Contains(got, `"outcome":{"issue":`) {
		t.Errorf("batch: %s", got)
	}

	w.do("POST", "", everything, inFHIR("Bundle", `<type value="transaction"/><entry><resource><Patient><gender value="x"/></Patient>`+
		`</resource><request><method value="POST"/><url value="Patient"/></request></entry>`), "Content-Type", "application/xml",
		"Accept", "application/fhir+xml").inXML(400)
	w.do("POST", "", everything, inFHIR("Patient", ""), "Content-Type", "application/xml").want(400)
}

// A Binary is a resource in FHIR's XML; a document of any other XML is what it
// holds.
func TestBinaryInXML(t *testing.T) {
	w := newEnv(t, 0)
	made := w.do("POST", "/Binary", everything, inFHIR("Binary", `<contentType value="text/plain"/><data value="AAE="/>`),
		"Content-Type", "application/fhir+xml").want(201)
	if got := w.get(made.location(), everything).want(200).Body.String(); !strings.Contains(got, `"data":"AAE="`) {
		t.Error(got)
	}
	if got := w.get(made.location(), everything, asksXML...).inXML(200); !strings.Contains(got, `"data":"AAE="`) {
		t.Error(got)
	}

	const document = `<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"/>`
	for _, media := range []string{"application/xml", "text/xml"} {
		cda := w.do("POST", "/Binary", everything, document, "Content-Type", media).want(201)
		a := w.get(cda.location(), everything, "Accept", media).want(200)
		if a.Body.String() != document || a.Header().Get("Content-Type") != media || a.Header().Get("Content-Disposition") != "attachment" {
			t.Errorf("%s: %v %s", media, a.Header(), a.Body)
		}
		if got := w.get(cda.location(), everything, asksXML...).inXML(200); !strings.Contains(got, `"contentType":"`+media+`"`) {
			t.Error(got)
		}
	}
}

// Covers: case 255, FS-902
func TestXMLAttacksLeaveNothing(t *testing.T) {
	w := newEnv(t, 0)
	for name, body := range map[string]string{
		"external entity": `<!DOCTYPE Patient [<!ENTITY x SYSTEM "file:///etc/passwd">]>` + inFHIR("Patient", `<language value="&x;"/>`),
		"billion laughs":  `<!DOCTYPE Patient [<!ENTITY a "lol"><!ENTITY b "&a;&a;">]>` + inFHIR("Patient", `<language value="&b;"/>`),
		"XInclude":        inFHIR("Patient", `<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/>`),
		"schema location": `<Patient xmlns="http://hl7.org/fhir" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a b"/>`,
		"script":          inFHIR("Patient", `<text><status value="generated"/><div xmlns="http://www.w3.org/1999/xhtml"><script>x</script></div></text>`),
		"deep":            inFHIR("Patient", strings.Repeat(`<extension url="x">`, 100000)),
		"long":            inFHIR("Patient", `<language value="`+strings.Repeat("a", 17<<20)+`"/>`),
		"many":            inFHIR("Patient", strings.Repeat(`<name id="a"/>`, 600000)),
		"UTF-16":          "\xff\xfe<\x00P\x00",
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			a := w.do("POST", "/Patient", everything, body, "Content-Type", "application/fhir+xml")
			if a.Code < 400 || a.Code > 422 {
				t.Fatalf("%d %.300s", a.Code, a.Body)
			}
			a.want(a.Code)
			if b := w.get("/Patient?_summary=count", everything).bundle(); *b.Total != 0 {
				t.Error("something was stored")
			}
		})
	}
}
