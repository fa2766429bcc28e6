package server_test

import (
	"regexp"
	"strings"
	"testing"

	"fhirdest.example/server/lab"
	"fhirdest.example/server/servertest"
)

// A strict session answers what the destination itself would answer, but for the
// session in its URLs.
func TestAStrictSessionAnswersAsTheDestination(t *testing.T) {
	d := servertest.Start(t, servertest.Lab, func(w *servertest.Env) {
		w.Config.Explain = "operator" // else there are links to pages of decisions
	})
	s := d.OpenLab(lab.OpenRequest{})
	at := "/lab/" + s.Session.ID
	there := strings.NewReplacer("/acme/fhir", "/acme"+at+"/fhir", "/acme/oauth", "/acme"+at+"/oauth")
	back := strings.NewReplacer(at, "")

	n := 0
	for _, text := range everything() {
		moved := there.Replace(text)
		if moved == text {
			continue
		}

		n++
		want := chance.ReplaceAllString(alike(d.Raw(text)), "…")
		got := chance.ReplaceAllString(alike(back.Replace(d.Raw(moved))), "…")
		if got != want {
			t.Errorf("%s\nthe session answers\n%s\nand the destination\n%s", moved, got, want)
		}
	}

	if kept := len(s.Kept()); kept < n {
		t.Errorf("%d exchanges are kept of %d", kept, n)
	}
}

// certificates are those of a key set, which a session has for itself.
var certificates = regexp.MustCompile(`"x5c":\[[^\]]*\]`)

// alike leaves out what may differ: certificates, and the lengths and digests of bodies
// that name URLs.
func alike(answer string) string {
	lines := strings.Split(certificates.ReplaceAllString(answer, ""), "\r\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "Content-Length: ") || strings.HasPrefix(line, "Etag: ") {
			lines[i] = ""
		}
	}
	return strings.Join(lines, "\r\n")
}
