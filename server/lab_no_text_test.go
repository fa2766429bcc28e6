package server_test

import (
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
)

// A request whose method and target are no UTF-8 is kept, and so is what comes after.
func TestBytesThatAreNoText(t *testing.T) {
	d := servertest.Start(t, servertest.Lab)
	s := d.OpenLab(lab.OpenRequest{Name: "bytes"})
	path := strings.TrimPrefix(s.Session.Base, "https://fhir.test")
	d.Raw("G\xfeT " + path + "/Patient\xff HTTP/1.1\r\nHost: fhir.test\r\nConnection: close\r\n\r\n")
	d.Raw("GET " + path + "/Patient\xff HTTP/1.1\r\nHost: fhir.test\r\nConnection: close\r\n\r\n")
	s.Do(http.MethodGet, s.Session.Base+"/metadata", nil)

	d.Eventually("the request after it is kept", func() bool {
		kept := s.Kept()
		return len(kept) > 0 && strings.HasSuffix(kept[len(kept)-1].Target, "/fhir/metadata")
	})
	if n := len(s.Kept()); n < 2 {
		t.Errorf("%d requests are kept", n)
	}
}
