package server_test

import (
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/servertest"
)

// Certificates that are about to end are named at the start, and on the readiness page
// until they are replaced.
//
// Covers: FS-102
func TestCertificatesThatEndSoonAreNamed(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) {
		w.Now = func() time.Time { return time.Now().AddDate(0, 11, 10) }
	})
	ready := adminGet(t, d, "/ready")
	for _, what := range []string{"tls.cert (", "our certificate in " + servertest.URIA + " ("} {
		t.Run(what, func(t *testing.T) {
			if !strings.Contains(ready, what) || !strings.Contains(d.Log.String(), what) {
				t.Errorf("not named on the page or not in the log: %s", ready)
			}
		})
	}

	now := servertest.Start(t)
	if ready := adminGet(t, now, "/ready"); strings.Contains(ready, " ends on ") {
		t.Errorf("a warning about certificates that count for a year: %s", ready)
	}
}
