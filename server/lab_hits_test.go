package server_test

import (
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
)

// Everything that arrives below a session is kept as it was on the wire, also what
// reaches none of its resources and what cannot be read; where something was mistyped,
// a hint names it.
func TestEveryHitIsKept(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	s := d.OpenLab(lab.OpenRequest{})
	at := "/acme/lab/" + s.Session.ID
	const host = " HTTP/1.1\r\nHost: fhir.test\r\nConnection: close\r\n"
	for i, row := range []struct {
		name, text string
		status     int
		hint       bool
	}{
		{"a slash too many", "GET " + at + "/fhir//.well-known/udap" + host + "\r\n", 404, true},
		{"a slash at the end", "GET " + at + "/fhir/.well-known/udap/" + host + "\r\n", 404, true},
		{"case", "GET " + at + "/FHIR/.well-known/udap" + host + "\r\n", 404, true},
		{"nothing there", "GET " + at + "/none" + host + "\r\n", 404, false},
		{"wrong method", "GET " + at + "/oauth/token" + host + "\r\n", 405, true},
		{"no method", "BREW " + at + "/fhir/Patient" + host + "\r\n", 401, false},
		{"malformed JSON", "POST " + at + "/oauth/register" + host +
			"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n" + `{"udap":,`, 400, true},
		{"two lengths", "POST " + at + "/oauth/token" + host +
			"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, false},
		{"bad chunk", "POST " + at + "/oauth/token" + host + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 0, false},
		{"another host", strings.Replace("GET "+at+"/fhir/metadata"+host+"\r\n", "fhir.test", "other.test", 1),
			421, false},
		{"absolute form", "GET https://fhir.test" + at + "/fhir/metadata" + host + "\r\n", 200, false},
		{"issuer's document", "GET /.well-known/oauth-authorization-server" + at + "/oauth" + host + "\r\n",
			200, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			d.Raw(row.text)
			kept := s.Kept()
			if len(kept) != i+1 {
				t.Fatalf("%d exchanges are kept, want %d", len(kept), i+1)
			}

			k := kept[i]
			head, body, _ := strings.Cut(row.text, "\r\n\r\n")
			if got := string(k.Request.Head); !strings.HasPrefix(got, head+"\r\n\r\n") {
				t.Errorf("head %q", got)
			}
			if body != "" && row.status == 400 && row.hint && string(k.Request.Body) != body {
				t.Errorf("body %q", k.Request.Body)
			}

			if row.status != 0 && k.Status != row.status {
				t.Errorf("status %d, want %d", k.Status, row.status)
			}

			hint := ""
			for _, f := range k.Assessment.Findings {
				hint += f.Text
			}
			if row.hint && hint == "" {
				t.Errorf("no hint: %+v", k.Assessment)
			}
			if k.Address == "" || k.Request.SHA256 == "" || k.Received.IsZero() {
				t.Errorf("incomplete: %+v", k.Exchange)
			}
		})
	}

	before := len(s.Kept())
	for _, page := range []string{"/", "/requests", "/api/session"} {
		if res, _ := d.Get(at + page); res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", page, res.Status)
		}
	}
	if n := len(s.Kept()) - before; n != 0 {
		t.Errorf("%d requests for pages are kept", n)
	}
}
