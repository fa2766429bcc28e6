package postgres_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/fhirtest"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
)

// consentOf is a Consent by which a patient permits what the provision does not deny.
func consentOf(id, status, patient, provision string) string {
	return fmt.Sprintf(`{"resourceType":"Consent","id":%q,"status":%q,
		"scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}]},
		"category":[{"coding":[{"system":"http://loinc.org","code":"59284-0"}]}],
		"patient":{"reference":"Patient/%s"},
		"policyRule":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"OPTIN"}]}%s}`,
		id, status, patient, provision)
}

// changeConsent stores or deletes one of six Consents, at one of two destinations.
func (w *searched) changeConsent() {
	w.t.Helper()
	w.now = w.now.Add(time.Second)
	to := w.one
	if w.rnd.IntN(2) == 0 {
		to = w.two
	}

	id := fmt.Sprint("known-", w.rnd.IntN(6))
	if w.rnd.IntN(4) == 0 {
		w.write(to, http.MethodDelete, "/Consent/"+id, "")
		return
	}
	provision := w.pick(
		"",
		`,"provision":{"type":"deny"}`,
		`,"provision":{"type":"deny","code":[{"coding":[{"system":"http://loinc.org","code":"8867-4"}]}]}`,
	)
	status := w.pick("active", "active", "inactive")
	w.write(to, http.MethodPut, "/Consent/"+id, consentOf(id, status, w.patient(), provision))
}

// A Consent that one destination stores, changes or deletes binds at both with the next
// request, as it does on files.
//
// Covers: FS-302
func TestConsentsBindAtEachDestinationAtOnce(t *testing.T) {
	w := newSearched(t)
	found := map[int]bool{}
	for range 40 {
		w.changeConsent()
		before := w.found
		w.ask(question{"Patient?_count=20", "system/*.rs"})
		found[w.found-before] = true

		for _, query := range []string{
			"Patient/" + w.patient(),
			"Observation?_count=20&patient=" + w.patient(),
			"Observation?_count=50",
		} {
			w.ask(question{query, "system/*.rs"})
		}
	}

	if len(found) < 3 || !found[searchedPatients] {
		t.Errorf("Consents denied too little, or always something: %v", found)
	}
}

func putConsent(t *testing.T, s fhir.Store, typ, id string) {
	t.Helper()
	err := s.Update(t.Context(), func(c fhir.Change) error {
		_, err := c.Put(t.Context(), fhirtest.Entry(t, 0, typ, id, 1, "active"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// newestConsent reads the number of the last change of a Consent in the log.
func newestConsent(t *testing.T, sn fhir.Snapshot) (number uint64, err error) {
	err = sn.Changes(t.Context(), "Consent", 0, func(seq, _, _ uint64) bool {
		number = seq
		return false
	})
	return number, err
}

// The number of the last change of a Consent that a state has without asking is that of
// its log, whatever another destination commits between the two.
func TestLastChangeOfConsentsIsThatOfTheState(t *testing.T) {
	at := postgrestest.New(t)
	one := openFHIR(t, postgres.Config{URL: at, Name: "one"})
	two := openFHIR(t, postgres.Config{URL: at, Name: "two"})
	putConsent(t, one, "Consent", "first")

	for _, row := range []struct {
		between string // type of what is committed
		runs    int
	}{
		{"", 1},
		{"Observation", 1},
		{"Consent", 2},
		{"Patient", 1},
	} {
		t.Run("between: "+row.between, func(t *testing.T) {
			runs := 0
			var got, want uint64
			err := two.View(t.Context(), func(sn fhir.Snapshot) (err error) {
				runs++
				got, _ = sn.(fhir.Dated).LastChange(t.Context(), "Consent")
				if runs == 1 && row.between != "" {
					putConsent(t, one, row.between, "between")
				}
				want, err = newestConsent(t, sn)
				return err
			})
			if err != nil || got == 0 || got != want || runs != row.runs {
				t.Errorf("%d in %d runs, %v; want %d in %d", got, runs, err, want, row.runs)
			}
		})
	}
}

// A state that is being changed has the number of its own change of a Consent; when it is
// given up, others do not.
func TestLastChangeOfConsentsInAChange(t *testing.T) {
	s := openFHIR(t, postgres.Config{
		URL:  postgrestest.New(t),
		Name: "one",
	})
	putConsent(t, s, "Consent", "first")
	last := func() (number uint64) {
		err := s.View(t.Context(), func(sn fhir.Snapshot) error {
			number, _ = sn.(fhir.Dated).LastChange(t.Context(), "Consent")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return number
	}

	before := last()
	givenUp := errors.New("given up")
	err := s.Update(t.Context(), func(c fhir.Change) error {
		if _, err := c.Put(t.Context(), fhirtest.Entry(t, 0, "Consent", "second", 1, "active")); err != nil {
			return err
		}
		want, err := newestConsent(t, c)
		if got, _ := c.(fhir.Dated).LastChange(t.Context(), "Consent"); got != want || got <= before {
			t.Errorf("%d, want %d, %v", got, want, err)
		}
		return givenUp
	})
	if after := last(); !errors.Is(err, givenUp) || before == 0 || after != before {
		t.Errorf("%d before and %d after: %v", before, after, err)
	}
}
