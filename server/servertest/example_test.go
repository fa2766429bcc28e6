package servertest_test

import (
	"testing"

	"fhirdest.example/server/servertest"
)

// A test starts a whole destination, registers a client of community A, gets a
// token and searches with it.
func Example() {
	_ = func(t *testing.T) {
		d := servertest.Start(t, func(w *servertest.Env) { w.Config.Writable = true })
		s := d.Session(d.A, d.Client(d.A, "https://client.test/app"), "system/Patient.rs")

		res, text := d.Get("/acme/fhir/Patient", "Authorization", "Bearer "+s.Token.Access)
		if res.StatusCode != 200 {
			t.Errorf("%s: %s", res.Status, text)
		}
	}
}
