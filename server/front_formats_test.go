package server_test

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"fhirdest.example/server/servertest"
)

// What the front refuses below the FHIR base is in the format that was asked for,
// by Accept or by _format; elsewhere it is OAuth's JSON whatever was asked for.
//
// Covers: ER-05
func TestFrontRefusesInTheFormatAskedFor(t *testing.T) {
	d := servertest.Start(t)
	for _, c := range []struct {
		name, method, target string
		header               []string
		status               int
		body                 string
		code                 string // of the issue
	}{
		{"method", "TRACK", "/acme/fhir/Patient", []string{"Host", "evil.example"}, 405, "", "not-supported"},
		{"host", "GET", "/acme/fhir/Patient", []string{"Host", "evil.example"}, 421, "", "not-found"},
		{"encoding", "POST", "/acme/fhir/Patient", []string{"Content-Encoding", "gzip"}, 415, "x", "not-supported"},
		{"hidden field", "GET", "/acme/fhir/Patient", []string{"Connection", "Authorization", "Authorization", "x"}, 400, "", "invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			send := func(target string, header ...string) (media, body string) {
				res := d.Do(c.method, target, strings.NewReader(c.body), append(header, c.header...)...)
				raw, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode != c.status {
					t.Fatalf("%s: %d %v %s", target, res.StatusCode, err, raw)
				}
				return res.Header.Get("Content-Type"), string(raw)
			}

			for target, accept := range map[string]string{
				c.target:                  "application/fhir+xml",
				c.target + "?_format=xml": "application/fhir+json",
			} {
				media, body := send(target, "Accept", accept)
				var outcome struct {
					XMLName xml.Name `xml:"http://hl7.org/fhir OperationOutcome"`
					Code    struct {
						Value string `xml:"value,attr"`
					} `xml:"issue>code"`
				}
				if err := xml.Unmarshal([]byte(body), &outcome); err != nil || outcome.Code.Value != c.code {
					t.Errorf("%s %s: %v %s", target, accept, err, body)
				}
				if media != "application/fhir+xml; charset=utf-8" {
					t.Errorf("%s %s: %s", target, accept, media)
				}
			}

			for _, accept := range []string{"", "*/*", "text/html", "image/png"} {
				media, body := send(c.target, "Accept", accept)
				if media != "application/fhir+json; charset=utf-8" || !strings.HasPrefix(body, `{"resourceType":"OperationOutcome"`) {
					t.Errorf("Accept %q: %s %s", accept, media, body)
				}
			}

			media, body := send("/acme/oauth/token", "Accept", "application/fhir+xml")
			if media != "application/json" || !strings.HasPrefix(body, `{"error":`) {
				t.Errorf("the token endpoint: %s %s", media, body)
			}
		})
	}
}
