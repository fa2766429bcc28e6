package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
)

// The last layouts without checksums.
const (
	plainTrust = 1
	plainFHIR  = 4
)

// newBuckets are those that layouts without checksums did not have.
var newBuckets = []string{"grants", "subjects", "grantExpiries", "launches", "sessions", "consents"}

// isNew reports whether a question is about what newBuckets have.
func isNew(question string) bool {
	return slices.ContainsFunc([]string{"grant", "launch", "session", "consent"}, func(name string) bool {
		return strings.HasPrefix(question, name)
	})
}

// toLayout brings a file back to the last layout without checksums.
func toLayout(t *testing.T, layout uint64, path string, schema Schema) {
	t.Helper()
	db, err := bbolt.Open(path, fileMode, Options{}.bolt())
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range newBuckets {
			if b := tx.Bucket([]byte(name)); b == nil {
				continue
			}
			if err := tx.DeleteBucket([]byte(name)); err != nil {
				return err
			}
		}

		for _, name := range append([]string{"meta"}, schema.Buckets...) {
			if tx.Bucket([]byte(name)) == nil {
				continue
			}
			if err := unsealBucket(tx.Bucket([]byte(name)), name == "meta"); err != nil {
				return err
			}
		}
		return tx.Bucket(metaBucket).Put(versionKey, binary.BigEndian.AppendUint64(nil, layout))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func unsealBucket(b *bbolt.Bucket, isMeta bool) error {
	var keys [][]byte
	err := b.ForEach(func(k, v []byte) error {
		if v == nil {
			return unsealBucket(b.Bucket(k), false)
		}
		if !isMeta || !everPlain(k) {
			keys = append(keys, bytes.Clone(k))
		}
		return nil
	})

	for _, k := range keys {
		v := b.Get(k)
		err = errors.Join(err, b.Put(k, bytes.Clone(v[:len(v)-checksum])))
	}

	return err
}

// Files of the layout before are brought to the present one, all at once or, when
// the program ended in the midst of it, from where it got to.
func TestFilesOfTheLayoutBefore(t *testing.T) {
	for _, row := range []struct {
		name    string
		layout  uint64
		schema  Schema
		sample  func(testing.TB, string) func(string) (answers, error)
		buckets []string
	}{
		{"trust.bolt", plainTrust, trustSchema(), sampleTrust, sealedTrust},
		{"fhir.bolt", plainFHIR, fhirSchema, sampleFHIR, sealedFHIR},
	} {
		for _, interrupted := range []int{0, 1, 5, 12} {
			t.Run(row.name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), row.name)
				ask := row.sample(t, path)
				want, err := ask(path)
				if err != nil {
					t.Fatal(err)
				}
				toLayout(t, row.layout, path, row.schema)
				seal(t, path, row.buckets, interrupted)

				for range 2 { // and no more the second time
					got, err := ask(path)
					if err != nil {
						t.Fatal(err)
					}

					for q, answer := range want {
						// The FHIR service makes the index anew.
						if got[q] != answer && !strings.HasPrefix(q, "search") && !isNew(q) {
							t.Errorf("%s: %.200s, want %.200s", q, got[q], answer)
						}
					}
				}
			})
		}
	}
}

// seal does the first few transactions of the migration.
func seal(t *testing.T, path string, buckets []string, transactions int) {
	t.Helper()
	db, err := bbolt.Open(path, fileMode, Options{}.bolt())
	if err != nil {
		t.Fatal(err)
	}

	for range transactions {
		err = errors.Join(err, db.Update(func(tx *bbolt.Tx) error {
			_, err := sealSome(tx, buckets, 64*3)
			return err
		}))
	}

	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// The index of a file of the layout before is marked as one to be made anew.
func TestMigrationMarksTheIndexStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fhir.bolt")
	sampleFHIR(t, path)
	toLayout(t, plainFHIR, path, fhirSchema)
	s, err := OpenFHIR(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	err = s.View(t.Context(), func(sn fhir.Snapshot) error {
		v, err := sn.Setting(t.Context(), "index-version")
		if !bytes.Equal(v, make([]byte, 8)) {
			t.Errorf("index version %x", v)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A file of a layout that no step leads on from is refused, as is one of a later
// layout.
func TestOtherLayoutsAreRefused(t *testing.T) {
	steps := map[uint64]func(*bbolt.DB) error{3: func(*bbolt.DB) error { return nil }}
	present := Schema{Kind: "test", Version: 4, Buckets: []string{"a"}, Steps: steps}
	for version, ok := range map[uint64]bool{2: false, 3: true, 4: true, 5: false} {
		path := filepath.Join(t.TempDir(), "test.bolt")
		db, err := Open(path, Schema{Kind: "test", Version: version, Buckets: []string{"a"}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}

		db, err = Open(path, present, Options{})
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "layout") {
			t.Errorf("layout %d: %v", version, err)
		}
		if err == nil {
			_, err = checkSchema(db, Schema{Kind: "test", Version: 4})
			if err := errors.Join(err, db.Close()); err != nil {
				t.Errorf("layout %d: %v", version, err)
			}
		}
	}
}
