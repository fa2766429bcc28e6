package async_test

import (
	"strings"
	"testing"

	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/xml"
)

// Work that was asked for in XML is the same work, and its result is in the format
// in which the status is asked for.
//
// Covers: ER-05, ER-18
func TestWorkAndResultsInXML(t *testing.T) {
	e := asyncenv.New(t)
	inXML := []string{"Content-Type", "application/fhir+xml", "Accept", "application/fhir+xml"}
	const patient = `<Patient><id value="p"/><active value="true"/></Patient>`
	for _, body := range []string{
		strings.Replace(patient, "<Patient", `<Patient xmlns="http://hl7.org/fhir"`, 1),
		`<Bundle xmlns="http://hl7.org/fhir"><type value="transaction"/><entry><resource>` + patient +
			`</resource><request><method value="PUT"/><url value="Patient/p"/></request></entry></Bundle>`,
	} {
		method, path := "PUT", "/Patient/p"
		if strings.HasPrefix(body, "<Bundle") {
			method, path = "POST", ""
		}

		accepted := e.Do(method, path, asyncenv.All, body, append(inXML, "Prefer", "respond-async")...)
		if accepted.Code != 202 || !strings.HasPrefix(accepted.Body.String(), "<OperationOutcome ") {
			t.Fatalf("%d %s", accepted.Code, accepted.Body)
		}

		at := accepted.Header().Get("Content-Location")
		e.Wait(at, asyncenv.All)
		w := e.Do("GET", at, asyncenv.All, "", "Accept", "application/fhir+xml")
		result, err := xml.Read(w.Body.Bytes())
		if err != nil || w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/fhir+xml") {
			t.Fatalf("%v: %d %v %s", err, w.Code, w.Header(), w.Body)
		}
		if !strings.Contains(string(result), `"batch-response"`) || !strings.Contains(string(result), "Patient/p/_history/") {
			t.Errorf("%s", result)
		}
	}

	none := e.Do("GET", "/_jobs/none", asyncenv.All, "", "Accept", "application/fhir+xml")
	if none.Code != 404 || !strings.HasPrefix(none.Body.String(), "<OperationOutcome ") {
		t.Errorf("%d %s", none.Code, none.Body)
	}
}
