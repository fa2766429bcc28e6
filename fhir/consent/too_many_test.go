package consent_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/sample"
)

// counted is a store that counts the Consents that are read.
type counted struct {
	fhir.Store
	read int
}

func (s *counted) View(ctx context.Context, f func(fhir.Snapshot) error) error {
	return s.Store.View(ctx, func(sn fhir.Snapshot) error {
		return f(countedState{
			logged: logged{sn, "log"},
			of:     s,
		})
	})
}

type countedState struct {
	logged
	of *counted
}

func (s countedState) Entries(ctx context.Context, docs []uint64, f func(fhir.Entry) bool) error {
	return s.logged.Entries(ctx, docs, func(e fhir.Entry) bool {
		if e.Type == "Consent" {
			s.of.read++
		}
		return f(e)
	})
}

// change is an entry of a transaction that stores a Consent, or deletes it.
func change(id, body string) string {
	request := `"request":{"method":"DELETE","url":"Consent/` + id + `"}`
	if body != "" {
		request = `"resource":` + body + `,"request":{"method":"PUT","url":"Consent/` + id + `"}`
	}
	return "{" + request + "}"
}

// A store that has more Consents than are kept compiled reads them for each request; when
// it has fewer again, none is read any more. What they decide is the same all the while.
//
// Covers: FS-302
func TestConsentsAreKeptAgainWhenFewer(t *testing.T) {
	for _, row := range []struct {
		name    string
		n, size int // so many Consents, of which the narrative has so many bytes
		status  string
		fewer   int // so many are deleted
	}{
		{"more than 20,000", 20_000, 1, "inactive", 2},
		{"more than 32 MiB", 24, 1500 << 10, "active", 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			var config fhir.Config
			e := asyncenv.New(t, func(e *asyncenv.Env) {
				e.Change = func(c *fhir.Config) { config = *c }
			})
			e.Must(e.Service.Seed(t.Context(), 1))
			patient := sample.PatientID(0)
			put(t, e, "/Consent/one", consentOf("one", "active", patient, noMarketing))
			s := &counted{Store: e.Store}
			config.Store = s

			service, err := fhir.New(config)
			e.Must(err)
			defer service.Close()

			reads := func() int {
				t.Helper()
				if w := serve(service, "/Patient/"+patient, treatment); w.Code != http.StatusOK {
					t.Fatalf("for treatment: %d", w.Code)
				}
				s.read = 0
				if w := serve(service, "/Patient/"+patient, marketing); w.Code != http.StatusNotFound {
					t.Fatalf("for marketing: %d", w.Code)
				}

				return s.read
			}
			if n := reads(); n != 0 {
				t.Fatalf("%d Consents are read before there are too many", n)
			}

			text := `,"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">` +
				strings.Repeat("a", row.size) + `</div>"}`
			id := func(i int) string { return fmt.Sprintf("further-%d", i) }
			var entries []string

			for i := range row.n {
				entries = append(entries, change(id(i), consentOf(id(i), row.status, id(i), text)))
				if len(entries) == 2500 || row.size > 1 || i == row.n-1 {
					transact(t, e, entries)
					entries = nil
				}
			}

			if n := reads(); n == 0 {
				t.Fatal("too many Consents are kept compiled")
			}

			for i := range row.fewer {
				entries = append(entries, change(id(i), ""))
			}
			transact(t, e, entries)

			for range 64 - row.fewer {
				if n := reads(); n == 0 {
					t.Fatal("a store that has had too many is read whole after a few changes")
				}
				put(t, e, "/Consent/one", consentOf("one", "active", patient, noMarketing))
			}

			if n := reads(); n != 0 {
				t.Errorf("%d Consents are still read", n)
			}
		})
	}
}

func transact(t *testing.T, e *asyncenv.Env, entries []string) {
	t.Helper()
	if w := e.Do("POST", "", treatment, bundle("transaction", entries...)); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, short(w))
	}
}
