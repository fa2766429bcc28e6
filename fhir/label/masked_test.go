package label_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/fhir/label"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
	"fhirdest.example/fhir/xml"
)

// masking is a policy under which those without clearance see Patients without address,
// telecom and given names, and psychiatric Observations without their values.
func masking() label.Policy {
	p := policy()
	p.Masks = []label.Mask{
		{
			Types:    []string{"Patient"},
			Elements: []string{"address", "telecom", "birthDate", "name.given", "deceased", "contact"},
		},
		{
			Types:    []string{"Observation"},
			Elements: []string{"value", "note"},
			Labels:   []string{"PSY", "R"},
		},
	}

	return p
}

const whole = `{"resourceType":"Patient","id":"m","text":{"status":"generated","div":` +
	`"<div xmlns=\"http://www.w3.org/1999/xhtml\">Jane of Elm Street</div>"},` +
	`"name":[{"family":"Doe","given":["Jane","Q"],"_given":[null,{"id":"g"}]}],` +
	`"telecom":[{"system":"phone","value":"555-1"}],"gender":"female","birthDate":"1970-05-05",` +
	`"_birthDate":{"id":"secretid"},"deceasedBoolean":false,"address":[{"city":"Elmtown"}],` +
	`"contact":[{"name":{"text":"Mum"}}]}`

const valued = `"valueString":"secret value","note":[{"text":"secret note"}],"status":"final"`

// secrets are what nobody without clearance may see or learn.
var secrets = []string{
	"Jane", "555-1", "1970-05-05", "secretid", "Elmtown", "Elm Street", "Mum", "secret value", "secret note",
}

// A reader without clearance sees that something is masked, and not what: in each answer
// that has the resource.
//
// Covers: FS-705, FS-807
func TestMaskedElements(t *testing.T) {
	e := newEnv(t, masking())
	put(t, e, patient)
	put(t, e, whole)
	put(t, e, strings.Replace(whole, `"gender":"female"`, `"gender":"other"`, 1))
	put(t, e,
		strings.Replace(strings.ReplaceAll(observation("v", "R,PSY"), "Patient/p", "Patient/m"), `"status":"final"`,
			valued, 1))
	put(t, e,
		strings.Replace(strings.ReplaceAll(observation("inner", "-"), "Patient/p", "Patient/m"), `"status":"final"`,
			`"status":"final","performer":[{"reference":"#in"}],"contained":[`+
				strings.Replace(whole, `"id":"m"`, `"id":"in"`, 1)+`]`, 1))

	for _, path := range []string{
		"/Patient/m", "/Patient/m/_history/1", "/Patient/m/_history", "/Patient?_id=m", "/Patient/_history", "/_history",
		"/Observation?_include=Observation:subject", "/Observation?_include=*", "/Patient?_revinclude=Observation:subject",
		"/Patient/m/$everything", "/Patient/m/Observation", "/Patient/m?_summary=true", "/Patient/m?_elements=address",
		"/Patient/m?_summary=text", "/Patient?_elements=telecom,birthDate", "/Observation/v", "/Observation/inner",
	} {
		t.Run(path, func(t *testing.T) {
			w := want(t, e.Do("GET", path, uncleared, ""), 200)
			for _, secret := range secrets {
				if strings.Contains(w.Body.String(), secret) {
					t.Errorf("%s is shown: %s", secret, w.Body)
				}
			}

			if !strings.Contains(w.Body.String(), `"code":"REDACTED"`) {
				t.Errorf("not marked: %s", w.Body)
			}

			again := want(t, e.Do("GET", path, cleared, ""), 200)
			if strings.Contains(again.Body.String(), "masked") || strings.Contains(again.Body.String(), "REDACTED") {
				t.Errorf("masked for a reader with a clearance: %s", again.Body)
			}
			if tag := w.Header().Get("ETag"); tag != "" && tag == again.Header().Get("ETag") {
				t.Errorf("the same ETag %s", tag)
			}
		})
	}

	body := want(t, e.Do("GET", "/Patient/m", uncleared, ""), 200).Body.Bytes()
	isValid(t, body)
	for _, part := range []string{
		`"family":"Doe"`,
		`"_birthDate":{"extension"`,
		`"_deceasedBoolean"`,
		`"valueCode":"masked"`,
	} {
		if !strings.Contains(string(body), part) {
			t.Errorf("no %s: %s", part, body)
		}
	}

	isValid(t, want(t, e.Do("GET", "/Observation/v", uncleared, ""), 200).Body.Bytes())
}

// isValid validates a resource, and writes it in XML.
func isValid(t *testing.T, body []byte) {
	t.Helper()
	root, err := tree.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	if found := validate.New(table.R4()).Resource(root, validate.Options{}); !validate.OK(found) {
		t.Errorf("%v: %s", found, body)
	}

	if _, err := xml.Write(body, xml.Options{}); err != nil {
		t.Errorf("%v: %s", err, body)
	}
}

// What a reader does not see cannot be searched, sorted, followed or tested for: it is
// handled as a parameter that there is not. What the reader sees in part cannot be
// replaced.
//
// Covers: FS-305, FS-705
func TestMaskedIsNotSearched(t *testing.T) {
	e := newEnv(t, masking())
	put(t, e, patient)
	put(t, e, whole)
	put(t, e, strings.ReplaceAll(observation("o", "-"), "Patient/p", "Patient/m"))
	put(t, e, strings.Replace(observation("v", "PSY"), `"status":"final"`, valued, 1))

	for _, query := range []string{
		"/Patient?birthdate=1970-05-05", "/Patient?birthdate=gt1960", "/Patient?birthdate:missing=false",
		"/Patient?phone=555-1", "/Patient?telecom=555-1", "/Patient?address-city=Elmtown", "/Patient?address:contains=elm",
		"/Patient?given=Jane", "/Patient?name=Jane", "/Patient?name:exact=Jane", "/Patient?deceased=false",
		"/Patient?phonetic=Jane", "/Patient?_sort=birthdate", "/Patient?_sort=-address-city",
		"/Observation?patient.birthdate=1970-05-05", "/Observation?subject:Patient.given=Jane",
		"/Patient?_has:Observation:patient:value-string=secret", "/Observation?value-string=secret",
		"/Observation?code-value-string=x$secret", "/Observation?combo-value-quantity=1", "/Observation?_sort=value-string",
	} {
		t.Run(query, func(t *testing.T) {
			want(t, e.Do("GET", query, uncleared, "", "Prefer", "handling=strict"), http.StatusBadRequest)
			w := want(t, e.Do("GET", query, uncleared, ""), 200)
			if !strings.Contains(w.Body.String(), "Left out") {
				t.Errorf("answered: %s", w.Body)
			}
			want(t, e.Do("GET", query, cleared, "", "Prefer", "handling=strict"), 200)
		})
	}

	asPatch := []string{"Content-Type", "application/json-patch+json"}
	test := `[{"op":"test","path":"/birthDate","value":"1970-05-05"},{"op":"add","path":"/active","value":true}]`
	for _, c := range []struct {
		method, path, body string
		header             []string
		status             int
	}{
		{"PUT", "/Patient/m", strings.ReplaceAll(patient, `"p"`, `"m"`), nil, 403},
		{"PUT", "/Patient?_id=m", strings.ReplaceAll(patient, `"p"`, `"m"`), nil, 403},
		{"PATCH", "/Patient/m", test, asPatch, 403},
		{"PATCH", "/Patient?_id=m", test, asPatch, 403},
		{"PUT", "/Patient?birthdate=1970-05-05", strings.ReplaceAll(patient, `"p"`, `"m"`), nil, 400},
		{"DELETE", "/Patient?birthdate=1970-05-05", "", nil, 400},
		{"PATCH", "/Patient?given=Jane", test, asPatch, 400},
		{"POST", "/Patient", patient, []string{"If-None-Exist", "given=Jane"}, 400},
		{"PUT", "/Patient/m", e.Do("GET", "/Patient/m", uncleared, "").Body.String(), nil, 422},
		{"PUT", "/Observation/o", strings.ReplaceAll(observation("o", "-"), "Patient/p", "Patient/m"), nil, 200},
	} {
		t.Run(fmt.Sprint(c.method, " ", c.path, c.status), func(t *testing.T) {
			want(t, e.Do(c.method, c.path, uncleared, c.body, c.header...), c.status)
		})
	}

	tag := e.Do("GET", "/Patient/m", uncleared, "").Header().Get("ETag")
	want(t, e.Do("GET", "/Patient/m", uncleared, "", "If-None-Match", tag), http.StatusNotModified)
	want(t, e.Do("GET", "/Patient/m", cleared, "", "If-None-Match", tag), 200)
	want(t, e.Do("GET", "/Patient/m", uncleared, "", "If-None-Match", `W/"1"`), 200)

	scoped := "system/Patient.rs?birthdate=1970-05-05"
	want(t, e.Do("GET", "/Patient", scoped, ""), 403)
	w := want(t, e.Do("POST", "/Patient", uncleared, patient, "If-None-Exist", "_id=m"), 200)
	if strings.Contains(w.Body.String(), "Elmtown") {
		t.Errorf("a conditional creation shows %s", w.Body)
	}
}
