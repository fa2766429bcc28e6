// Package several_test has several destinations on one database: any of them answers
// any request.
package several_test

import (
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/server"
	"fhirdest.example/server/postgres/postgrestest"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// pair is two destinations on a database.
func pair(t *testing.T, change ...func(*servertest.Env)) (a, b *servertest.Destination) {
	t.Helper()
	a = servertest.Start(t, append(change, servertest.Database)...)
	return a, a.Beside()
}

// read reads the patients at a destination.
func read(d *servertest.Destination, token string) int {
	res, _ := d.Get("/acme/fhir/Patient", "Authorization", "Bearer "+token)
	return res.StatusCode
}

// A client registers, gets tokens, with and without proofs that need a nonce, and
// reads, while each request is answered by the other destination than the one before.
func TestRequestsInTurn(t *testing.T) {
	for _, nonce := range []string{"", "required"} {
		t.Run("nonce "+nonce, func(t *testing.T) {
			a, b := pair(t, func(w *servertest.Env) { w.Config.DPoP.Nonce = nonce })
			a.Alternate(b)
			if nonce != "" {
				proofs, err := client.NewProofs()
				if err != nil {
					t.Fatal(err)
				}
				a.Proofs = proofs
			}

			s := a.Session(a.A, a.Client(a.A, "https://client.test/app"), "system/Patient.rs")
			for range 4 {
				r, err := s.Client.Get(t.Context(), "Patient", s.Token.Access)
				if err != nil || r.Reply.Status != http.StatusOK {
					t.Fatalf("%+v, %v", r, err)
				}
			}
		})
	}
}

// What ends a token at one destination has ended it at the other on its next request,
// also when that one has just answered with it.
func TestEndsAreSeenByTheOther(t *testing.T) {
	a, b := pair(t)
	const scope = "system/Patient.rs"
	for name, end := range map[string]func(s *servertest.Session) error{
		"cancellation": func(s *servertest.Session) error {
			_, err := s.Client.Cancel(t.Context(), s.Discovered, client.Registration{
				ClientName: "HTEST client",
				Contacts:   []string{"mailto:test@client.test"},
			})
			return err
		},
		"registration for less": func(s *servertest.Session) error {
			_, err := s.Client.Register(t.Context(), s.Discovered, client.Registration{
				ClientName: "HTEST client",
				Contacts:   []string{"mailto:test@client.test"},
				Scope:      "system/Observation.rs",
			})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := a.Session(a.A, a.Client(a.A, "https://client.test/"+name[:4]), scope)
			for range 3 {
				if status := read(b, s.Token.Access); status != http.StatusOK {
					t.Fatalf("before: %d", status)
				}
			}
			if err := end(s); err != nil {
				t.Fatal(err)
			}
			if status := read(b, s.Token.Access); status != http.StatusUnauthorized {
				t.Errorf("after the end at the other destination: %d", status)
			}
		})
	}
}

// Two destinations of one name do not run at the same time; the name is free again
// when the first has ended.
func TestOneNameOneDestination(t *testing.T) {
	a := servertest.Start(t, servertest.Database)
	w := *a.Env
	w.Config.Listen = "127.0.0.1:0"
	if _, err := server.New(w.Config, a.Deps()); err == nil || !strings.Contains(err.Error(), "of this name runs") {
		t.Fatalf("a second destination of the same name: %v", err)
	}
	if err := w.Config.Check(a.Now()); err != nil {
		t.Errorf("-check beside the one that runs: %v", err)
	}
	a.Stop()
	b := w.Start(w.Listen())
	if status := read(b, "none"); status != http.StatusUnauthorized {
		t.Errorf("the next of this name: %d", status)
	}
}
