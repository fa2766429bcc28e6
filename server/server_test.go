package server_test

import (
	"strings"
	"testing"

	"fhirdest.example/server/servertest"
)

func TestDestinationAnswers(t *testing.T) {
	d := servertest.Start(t)
	res, body := d.Get("/acme/fhir/metadata")
	if res.StatusCode != 200 || !strings.Contains(body, `"CapabilityStatement"`) {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
	res, body = d.Get("/acme/fhir/Patient")
	if res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") != `Bearer realm="fhir"` ||
		!strings.Contains(body, "OperationOutcome") {
		t.Errorf("%d %v %s", res.StatusCode, res.Header, body)
	}
}
