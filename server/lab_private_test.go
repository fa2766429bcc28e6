package server_test

import (
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
)

// A session and its pages are under the private site as well, where that has another
// path than the public one, and what comes there is kept.
func TestSessionsUnderAPrivatePath(t *testing.T) {
	private := ""
	d := servertest.Start(t, servertest.Lab, func(w *servertest.Env) {
		w.Config.Private = strings.Replace(w.Config.Private, "/acme/", "/inner/", 1)
		private = strings.TrimSuffix(w.Config.Private, "/fhir")
	})
	s := d.OpenLab(lab.OpenRequest{})
	at := private + "/lab/" + s.Session.ID
	for path, public := range map[string]bool{
		"/fhir/metadata":         true,
		"/fhir/.well-known/udap": true,
		"/oauth/jwks":            false,
		"/":                      false,
		"/api/session":           true,
	} {
		res, body := d.Get(at + path)
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s %s", path, res.Status, body)
		}
		if public && !strings.Contains(body, strings.TrimSuffix(s.Session.Page, "/")) || strings.Contains(body, private) {
			t.Errorf("%s has not the public URLs alone: %s", path, body)
		}
	}

	if res, _ := d.Get(private + "/lab/" + strings.Repeat("0", 32) + "/"); res.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown session: %s", res.Status)
	}
	if n := len(s.Kept()); n != 3 {
		t.Errorf("%d exchanges are kept, want 3", n)
	}
	if n := len(d.Plain().Kept()); n != 0 {
		t.Errorf("the plain session has %d of them", n)
	}
}
