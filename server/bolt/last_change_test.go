package bolt

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"fhirdest.example/fhir"
)

// Each state has the number of its own last change: one that is still read when a
// commit has made another, one that is being changed, that after a commit that failed,
// and that of another type.
func TestLastChangeIsThatOfTheState(t *testing.T) {
	s, err := OpenFHIR(filepath.Join(t.TempDir(), "fhir.bolt"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	errUndone := errors.New("undone")
	put := func(typ, id string, end error) {
		err := s.Update(t.Context(), func(c fhir.Change) error {
			before := lastChangeOf(t, c, typ)
			e := fhir.Entry{
				Type:    typ,
				ID:      id,
				Version: 1,
				Updated: time.UnixMilli(1),
				Body:    []byte("{}"),
			}
			if _, err := c.Put(t.Context(), e); err != nil {
				return err
			}

			if now := lastChangeOf(t, c, typ); now <= before {
				t.Errorf("%s/%s: change %d after %d, in the state being changed", typ, id, now, before)
			}
			return end
		})
		if !errors.Is(err, end) {
			t.Fatal(err)
		}
	}

	var last uint64
	for i := range 10 {
		put("Consent", fmt.Sprint("c", i), nil)
		viewFHIR(t, s, func(sn fhir.Snapshot) {
			at := lastChangeOf(t, sn, "Consent")
			if at <= last {
				t.Errorf("change %d is the last one, as after %d", at, last)
			}
			last = at

			put("Consent", fmt.Sprint("further", i), nil)
			viewFHIR(t, s, func(next fhir.Snapshot) {
				if now := lastChangeOf(t, next, "Consent"); now <= at {
					t.Errorf("a commit after %d has %d", at, now)
				}
			})

			if now := lastChangeOf(t, sn, "Consent"); now != at {
				t.Errorf("the state of change %d has %d after a commit", at, now)
			}
		})

		viewFHIR(t, s, func(sn fhir.Snapshot) {
			last = lastChangeOf(t, sn, "Consent")
		})
		put("Consent", fmt.Sprint("undone", i), errUndone)
		put("Patient", fmt.Sprint("p", i), nil)
		viewFHIR(t, s, func(sn fhir.Snapshot) {
			of := lastChangeOf(t, sn, "Patient")
			if now := lastChangeOf(t, sn, "Consent"); now != last || of <= last {
				t.Errorf("the last Consent is %d and the last Patient %d, after %d", now, of, last)
			}
		})
	}
}

func viewFHIR(t *testing.T, s *FHIR, f func(fhir.Snapshot)) {
	t.Helper()
	err := s.View(t.Context(), func(sn fhir.Snapshot) error {
		f(sn)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func lastChangeOf(t *testing.T, sn any, typ string) uint64 {
	t.Helper()
	dated, ok := sn.(fhir.Dated)
	if !ok {
		t.Fatalf("%T does not know its last change", sn)
	}
	number, _ := dated.LastChange(t.Context(), typ)
	return number
}
