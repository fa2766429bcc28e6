package consent_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/sample"
)

// undated is a store that does not find how far its log of changes reaches: Consents
// are read for each request.
type undated struct{ fhir.Store }

func (s undated) View(ctx context.Context, f func(fhir.Snapshot) error) error {
	return s.Store.View(ctx, func(sn fhir.Snapshot) error {
		return f(struct{ fhir.Snapshot }{sn})
	})
}

// What is known of the Consents decides what those in the store decide: after each
// change, also one that was begun and failed, and after a restart.
//
// Covers: FS-302
func TestKnownConsentsAreThoseOfTheStore(t *testing.T) {
	const patients = 3
	var config fhir.Config
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Change = func(c *fhir.Config) { config = *c }
	})
	e.Must(e.Service.Seed(t.Context(), patients))
	rnd := rand.New(rand.NewPCG(1, 2))

	for step := range 30 {
		if step%10 == 9 {
			e.Reopen()
			e.Run()
		}
		changeConsent(t, e, rnd, sample.PatientID(rnd.IntN(patients)))

		config.Store = undated{e.Store}
		reading, err := fhir.New(config)
		e.Must(err)

		for _, token := range []string{marketing, treatment} {
			for _, path := range []string{
				"/Observation?_count=1000",
				"/Patient?_count=1000",
				"/Organization?_count=1000",
				"/Observation?_count=1000&patient=" + sample.PatientID(rnd.IntN(patients)),
				"/Patient/" + sample.PatientID(rnd.IntN(patients)),
			} {
				got := e.Do("GET", path, token, "")
				want := serve(reading, path, token)
				if got.Code != want.Code || got.Body.String() != want.Body.String() {
					t.Fatalf("step %d, %s with %s: %d %s\nwith the Consents read: %d %s",
						step, path, token, got.Code, short(got), want.Code, short(want))
				}
			}
		}

		e.Must(reading.Close())
	}
}

// takenOver is a store in the place of which another one comes, with its own log.
type takenOver struct {
	fhir.Store
	log string
}

func (s *takenOver) View(ctx context.Context, f func(fhir.Snapshot) error) error {
	return s.Store.View(ctx, func(sn fhir.Snapshot) error {
		return f(logged{sn, s.log})
	})
}

type logged struct {
	fhir.Snapshot
	log string
}

func (s logged) LastChange(ctx context.Context, typ string) (number uint64, log any) {
	number, _ = s.Snapshot.(fhir.Dated).LastChange(ctx, typ)
	return number, s.log
}

// What is known of the Consents in one log decides nothing in another, in which the same
// number is another change.
func TestConsentsOfAnotherLogAreOthers(t *testing.T) {
	var config fhir.Config
	var stores []fhir.Store
	var numbers []uint64
	for i := range 2 {
		e := asyncenv.New(t, func(e *asyncenv.Env) {
			e.Change = func(c *fhir.Config) { config = *c }
		})
		e.Must(e.Service.Seed(t.Context(), 2))
		put(t, e, "/Consent/known", consentOf("known", "active", sample.PatientID(i), noMarketing))
		stores = append(stores, e.Store)
		e.Must(e.Store.View(t.Context(), func(sn fhir.Snapshot) error {
			number, _ := sn.(fhir.Dated).LastChange(t.Context(), "Consent")
			numbers = append(numbers, number)
			return nil
		}))
	}
	if numbers[0] != numbers[1] {
		t.Fatalf("the Consents have the numbers %d", numbers)
	}

	s := &takenOver{
		Store: stores[0],
		log:   "first",
	}
	config.Store = s
	service, err := fhir.New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()

	check := func(denied int) {
		t.Helper()
		for i := range 2 {
			want := http.StatusOK
			if i == denied {
				want = http.StatusNotFound
			}
			if got := serve(service, "/Patient/"+sample.PatientID(i), marketing); got.Code != want {
				t.Errorf("%s, patient %d: %d, want %d", s.log, i, got.Code, want)
			}
		}
	}
	check(0)
	s.Store, s.log = stores[1], "second"
	check(1)
}

func serve(s *fhir.Service, path, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", asyncenv.Base+path, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// changeConsent stores or deletes one of eight Consents, alone, in a transaction, or in
// one that fails after it was stored.
func changeConsent(t *testing.T, e *asyncenv.Env, rnd *rand.Rand, patient string) {
	t.Helper()
	id := fmt.Sprintf("known-%d", rnd.IntN(8))
	path := "/Consent/" + id
	further := []string{
		"",
		noMarketing,
		strings.ReplaceAll(noMarketing, "HMARKT", "TREAT"),
		`,"provision":{"type":"deny","code":[{"coding":[{"system":"http://loinc.org","code":"8867-4"}]}]}`,
	}[rnd.IntN(4)]
	body := consentOf(id, []string{"active", "active", "inactive"}[rnd.IntN(3)], patient, further)
	put := `{"resource":` + body + `,"request":{"method":"PUT","url":"Consent/` + id + `"}}`

	want := 2
	var w *httptest.ResponseRecorder
	switch rnd.IntN(6) {
	case 0:
		w = e.Do("DELETE", path, treatment, "")
	case 1:
		w = e.Do("POST", "", treatment, bundle("transaction", put))
	case 2:
		want = 4
		w = e.Do("POST", "", treatment, bundle("transaction", put,
			`{"resource":{"resourceType":"Organization","id":"known","name":"x"},`+
				`"request":{"method":"PUT","url":"Organization/known","ifMatch":"W/\"99\""}}`))

	default:
		w = e.Do("PUT", path, treatment, body)
	}

	if w.Code/100 != want {
		t.Fatalf("%s: %d %s", body, w.Code, short(w))
	}
}
