package several_test

import (
	"testing"

	"fhirdest.example/server/postgres/postgrestest"
	"fhirdest.example/server/servertest"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

func TestSeveralFirst(t *testing.T) {
	a := servertest.Start(t, servertest.Database)
	a.Alternate(a.Beside())
	s := a.Session(a.A, a.Client(a.A, "https://client.test/app"), "system/Patient.rs")
	for range 2 {
		res, text := a.Get("/acme/fhir/Patient", "Authorization", "Bearer "+s.Token.Access)
		if res.StatusCode != 200 {
			t.Errorf("%s: %s", res.Status, text)
		}
	}
}
