package bolt

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/trail"
)

// old5 is how many records testdata/layout5.fhir.bolt.gz has. A program of layout 5
// wrote them, in rows of 1, 3, 128, 128, 44, 2, 40 and 1, with a resource before
// each change.
const old5 = 347

// oldRecord is the record at a position of that file.
func oldRecord(n int) trail.Record {
	rec := trail.Record{
		Base:        "https://fhir.test/fhir",
		Client:      fmt.Sprint("c", n%5),
		TokenID:     fmt.Sprint("t", n%7),
		At:          time.UnixMilli(1_700_000_000_000 + int64(n)*1000).UTC(),
		Interaction: "read",
		Subtype:     "read",
		Outcome:     "0",
		Patients:    []string{fmt.Sprint("p", n), "q"},
		Touched:     []trail.Version{{Type: "Patient", ID: fmt.Sprint("p", n), Version: 2}},
	}
	switch n % 4 {
	case 1:
		rec.Interaction, rec.Subtype = "search-type", "search-type"
		rec.Query, rec.RequestID = "GET Patient?name=x", "r"
		rec.Touched = nil
	case 2:
		rec.Outcome, rec.Failure = "4", "404 not-found"
		rec.Patients = nil
	case 3:
		rec.Subject, rec.User = "s", "Patient/q"
		rec.Grant = "0123456789abcdef0123456789abcdef"
	}
	return rec
}

func unzip(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()

	z, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, z)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}

// A file that a program of layout 5 wrote is brought to the present layout, also when
// that was interrupted: its records are as they were, found, and a chain.
//
// Covers: FS-401
func TestRecordsOfLayout5(t *testing.T) {
	for _, steps := range []int{0, 1, 2, 4} {
		t.Run(fmt.Sprint("interrupted after ", steps), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fhir.bolt")
			unzip(t, "testdata/layout5.fhir.bolt.gz", path)
			if _, err := VerifyAudit(t.Context(), path, nil); err == nil {
				t.Error("a file of layout 5 is verified")
			}
			for range steps {
				tamper(t, path, func(s *state) error {
					_, err := s.audit.chainSome(30)
					return err
				})
			}

			s, err := OpenFHIR(path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			checkRecords5(t, s)
			recordsOf(t, s, 5000, 3)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if r := verified(t, path); !r.Intact() || r.Chains[0].Records != old5+3 {
				t.Errorf("%+v", r)
			}
		})
	}
}

func checkRecords5(t *testing.T, s *FHIR) {
	t.Helper()
	err := s.View(t.Context(), func(sn fhir.Snapshot) error {
		n := 0
		found := map[uint64]bool{}
		err := trail.Each(t.Context(), sn.Audit(), 0, func(doc uint64, rec *trail.Record) bool {
			if got, want := rec.Pack(), oldRecord(n); !slices.Equal(got.Own, want.Pack().Own) ||
				!slices.Equal(got.Who, want.Pack().Who) || !slices.Equal(got.Asked, want.Pack().Asked) {
				t.Errorf("record %d is %+v, want %+v", n, rec, want)
			}
			found[doc] = false
			n++
			return true
		})
		if n != old5 {
			t.Errorf("%d records", n)
		}

		failed := sn.Audit().Scan(t.Context(), []byte{0}, []byte{255}, func(_ []byte, doc uint64) bool {
			found[doc] = true
			return true
		})
		for doc, ok := range found {
			if !ok {
				t.Errorf("record %d is not in the index", doc)
			}
		}
		return errors.Join(err, failed)
	})
	if err != nil {
		t.Fatal(err)
	}
}
