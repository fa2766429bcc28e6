package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/fhirtest"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/packed"
)

// recordsOf appends n records in one change, and a resource.
func recordsOf(t testing.TB, s *FHIR, from, n int) {
	t.Helper()
	err := s.Update(t.Context(), func(c fhir.Change) error {
		var all []trail.Record
		for i := from; i < from+n; i++ {
			all = append(all, trail.Record{
				Base:        "https://fhir.test/fhir",
				Client:      fmt.Sprint("client-", i%3),
				TokenID:     "t",
				At:          time.UnixMilli(1_700_000_000_000 + int64(i)*1000).UTC(),
				Interaction: "read",
				Subtype:     "read",
				Outcome:     "0",
				Patients:    []string{fmt.Sprint("p", i)},
				Touched:     []trail.Version{{Type: "Patient", ID: fmt.Sprint("p", i), Version: 1}},
			})
		}
		e := fhirtest.Entry(t, 0, "Observation", fmt.Sprint("o", from), 1, "final")
		_, err := c.Put(t.Context(), e)
		return errors.Join(err, c.Append(t.Context(), all))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// auditFile makes a closed file with rows of 3, 1, 4, 2 and 2 records.
func auditFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fhir.bolt")
	s, err := OpenFHIR(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	from := 0
	for _, n := range []int{3, 1, 4, 2, 2} {
		recordsOf(t, s, from, n)
		from += n
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// tamper changes a file as somebody would who knows its layout: rows get right
// checksums.
func tamper(t testing.TB, path string, f func(*state) error) {
	t.Helper()
	db, err := bbolt.Open(path, fileMode, Options{}.bolt())
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return f((&FHIR{health: &health{}}).newState(tx))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func verified(t testing.TB, path string) *trail.Report {
	t.Helper()
	r, err := VerifyAudit(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// rowOf returns the row of records at a position.
func rowOf(t testing.TB, s *state, i int) *packed.Block {
	t.Helper()
	c := s.in(recordsTable).Cursor()
	k, v := c.First()
	for ; i > 0; i-- {
		k, v = c.Next()
	}
	b, err := s.audit.block(k, bytes.Clone(v))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func putRow(s *state, b *packed.Block) error {
	return s.in(recordsTable).put(number(b.First), b.Encode())
}

// altered is a record with another client.
func altered(t testing.TB, p trail.Packed) trail.Packed {
	t.Helper()
	rec, err := p.Unpack()
	if err != nil {
		t.Fatal(err)
	}
	rec.Client = "client-x"
	return rec.Pack()
}

// tampering is a way to change the audit record, and what verification finds of it.
type tampering struct {
	name string
	do   func(t *testing.T, s *state) error
	want string
}

func tamperings() []tampering {
	return []tampering{
		{"nothing", func(*testing.T, *state) error { return nil }, ""},
		{"one record altered", func(t *testing.T, s *state) error {
			b := rowOf(t, s, 2)
			b.Links[1].Packed = altered(t, b.Links[1].Packed)
			return putRow(s, b)
		}, "record 6, AuditEvent/a9: was altered or replaced"},
		{"the last record altered", func(t *testing.T, s *state) error {
			b := rowOf(t, s, 4)
			b.Links[1].Packed = altered(t, b.Links[1].Packed)
			return putRow(s, b)
		}, "record 12, AuditEvent/a17: was altered or replaced: it is the last one"},
		{"a row removed", func(t *testing.T, s *state) error {
			return s.in(recordsTable).Delete(number(rowOf(t, s, 2).First))
		}, "record 9, AuditEvent/a13: follows a gap: 4 records before it are gone"},
		{"the first row removed", func(t *testing.T, s *state) error {
			return s.in(recordsTable).Delete(number(rowOf(t, s, 0).First))
		}, "record 4, AuditEvent/a6: follows a gap: 3 records before it are gone"},
		{"a record removed from a row", func(t *testing.T, s *state) error {
			b := rowOf(t, s, 2)
			b.Links = slices.Delete(b.Links, 1, 2)
			return putRow(s, b)
		}, "record 5, AuditEvent/a8: was altered or replaced"},
		{"records swapped", func(t *testing.T, s *state) error {
			b := rowOf(t, s, 2)
			b.Links[1].Packed, b.Links[2].Packed = b.Links[2].Packed, b.Links[1].Packed
			return putRow(s, b)
		}, "record 6, AuditEvent/a9: was altered or replaced"},
		{"a record inserted", func(t *testing.T, s *state) error {
			b := rowOf(t, s, 2)
			b.Links = slices.Insert(b.Links, 2, b.Links[0])
			return putRow(s, b)
		}, "was altered or replaced"},
		{"a row repeated", func(t *testing.T, s *state) error {
			b := rowOf(t, s, 0)
			b.First = 5 // that of a resource
			return putRow(s, b)
		}, "was inserted or moved"},
		{"rows exchanged", func(t *testing.T, s *state) error {
			a, b := rowOf(t, s, 3), rowOf(t, s, 4)
			a.First, b.First = b.First, a.First
			return errors.Join(putRow(s, a), putRow(s, b))
		}, "record 11, AuditEvent/a13: follows a gap"},
		{"the last row cut off", func(t *testing.T, s *state) error {
			b := rowOf(t, s, 4)
			log := s.in(logTable).Bucket.Bucket([]byte("AuditEvent"))
			k, _ := log.Cursor().Last()
			return errors.Join(s.in(recordsTable).Delete(number(b.First)), log.Delete(k))
		}, "record 12, AuditEvent/a17: was the last one: 2 records at the end are gone"},
		{"everything cut off", func(t *testing.T, s *state) error {
			settings := s.in(settingsTable)
			return errors.Join(settings.Delete(headKey),
				s.tx.DeleteBucket([]byte("records")), s.in(logTable).DeleteBucket([]byte("AuditEvent")),
				create(s, "records"))
		}, "17 numbers were given; there are 5 resources, and 0 records"},
		{"the head removed", func(_ *testing.T, s *state) error {
			return s.in(settingsTable).Delete(headKey)
		}, "record 12, AuditEvent/a17: was added behind the last one"},
		{"an anchor added", func(t *testing.T, s *state) error {
			return s.audit.putPlace(anchorKey, trail.Place{Sequence: 4, Doc: 6})
		}, "record 1, AuditEvent/a2: was inserted"},
		{"not listed", func(_ *testing.T, s *state) error {
			log := s.in(logTable).Bucket.Bucket([]byte("AuditEvent"))
			k, _ := log.Cursor().First()
			return log.Delete(k)
		}, "AuditEvent/a2: the log of changes does not list"},
		{"a shared part that nothing uses", func(t *testing.T, s *state) error {
			b := rowOf(t, s, 2)
			v := b.Encode()
			v[9]++ // how many shared parts there are
			at := 10 + 1 + len(b.Links[0].Who)
			v = slices.Insert(v, at, 1, 'x')
			return s.in(recordsTable).put(number(b.First), v)
		}, "cannot be read"},
	}
}

func create(s *state, name string) error {
	_, err := s.tx.CreateBucket([]byte(name))
	return err
}

// Verification finds every change of the record, also one whose checksums are right,
// and says where it is.
//
// Covers: FS-401, case 269
func TestVerifyFindsEveryChange(t *testing.T) {
	for _, row := range tamperings() {
		t.Run(row.name, func(t *testing.T) {
			path := auditFile(t)
			tamper(t, path, func(s *state) error { return row.do(t, s) })
			r := verified(t, path)
			if row.want == "" {
				if own := r.Chains[0]; !r.Intact() || own.Records != 12 || own.Head.Sequence != 12 {
					t.Errorf("%+v", r)
				}
				return
			}

			var text strings.Builder
			for _, f := range r.Findings {
				fmt.Fprintln(&text, f)
			}
			if !strings.Contains(text.String(), row.want) {
				t.Errorf("%swant %s", &text, row.want)
			}
		})
	}
}

// auditRows calls f with each row that the audit record rests on.
func auditRows(s *state, f func(r rows, b *bbolt.Bucket, k, v []byte)) {
	for _, id := range []tableID{recordsTable, settingsTable} {
		_ = s.in(id).ForEach(func(k, v []byte) error {
			if id == recordsTable || bytes.HasPrefix(k, []byte("audit-")) {
				f(s.in(id).rows, s.in(id).Bucket, k, v)
			}
			return nil
		})
	}

	name := []byte("AuditEvent")
	log := s.in(logTable).Bucket.Bucket(name)
	_ = log.ForEach(func(k, v []byte) error {
		f(s.in(logTable).within(name), log, k, v)
		return nil
	})
}

// flip changes one byte of a row, of its key or of its value, and makes its checksum
// right unless that is the byte.
func flip(r rows, b *bbolt.Bucket, k, v []byte, at int, mask byte) error {
	k, v = bytes.Clone(k), bytes.Clone(v)
	old := bytes.Clone(k)
	switch {
	case at < len(k):
		k[at] ^= mask
	case at < len(k)+len(v)-checksum:
		v[at-len(k)] ^= mask
	default:
		v[at-len(k)] ^= mask
		return b.Put(k, v)
	}
	return errors.Join(b.Delete(old), r.put(b, k, v[:len(v)-checksum]))
}

// No byte of a row can change unnoticed.
//
// Covers: FS-401
func TestVerifyFindsEveryByte(t *testing.T) {
	db, err := bbolt.Open(auditFile(t), fileMode, Options{NoSync: true}.bolt())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()

	type place struct{ row, at int }
	var places []place
	rowsOf := func(tx *bbolt.Tx, f func(i int, r rows, b *bbolt.Bucket, k, v []byte)) *state {
		s := (&FHIR{health: &health{}}).newState(tx)
		i := 0
		auditRows(s, func(r rows, b *bbolt.Bucket, k, v []byte) {
			f(i, r, b, k, v)
			i++
		})
		return s
	}
	_ = db.View(func(tx *bbolt.Tx) error {
		rowsOf(tx, func(i int, r rows, _ *bbolt.Bucket, k, v []byte) {
			from := 0
			if r.name == "log" {
				from = len(k) // the key is that of the change, not of the records
			}
			for at := from; at < len(k)+len(v); at++ {
				places = append(places, place{i, at})
			}
		})
		return nil
	})

	for i, p := range places {
		err := flippedIn(db, byte(1)<<(i%8), func(tx *bbolt.Tx, flip func(rows, *bbolt.Bucket, []byte, []byte)) {
			rowsOf(tx, func(i int, r rows, b *bbolt.Bucket, k, v []byte) {
				if i == p.row {
					flip(r, b, k, v)
				}
			})
		}, p.at)
		if err != nil {
			t.Errorf("row %d, byte %d: %v", p.row, p.at, err)
		}
	}
	if len(places) < 500 {
		t.Errorf("%d bytes", len(places))
	}
}

var errRollback = errors.New("rolled back")

// flippedIn flips a byte of the row that find passes on, in a transaction that is
// rolled back, and returns an error unless that is found.
func flippedIn(
	db *bbolt.DB, mask byte, find func(*bbolt.Tx, func(rows, *bbolt.Bucket, []byte, []byte)), at int,
) error {
	err := db.Update(func(tx *bbolt.Tx) error {
		var change func() error
		find(tx, func(r rows, b *bbolt.Bucket, k, v []byte) {
			k, v = bytes.Clone(k), bytes.Clone(v)
			change = func() error { return flip(r, b, k, v, at, mask) }
		})
		if err := change(); err != nil {
			return err
		}

		report, err := trail.Verify(context.Background(), func(_ context.Context, f func(trail.Reader) error) error {
			return f(&(&FHIR{health: &health{}}).newState(tx).audit)
		}, nil)
		if err == nil && report.Intact() {
			return errors.New("it is not found")
		}
		return errRollback
	})
	if errors.Is(err, errRollback) {
		return nil
	}
	return err
}

// Records that are too old go, in steps; what stays is verified, found and counted on.
//
// Covers: FS-401
func TestExpiredRecords(t *testing.T) {
	path := auditFile(t)
	at := func(i int) time.Time { return time.UnixMilli(1_700_000_000_000 + int64(i)*1000) }
	steps := []struct {
		before        time.Time
		most, removed int
	}{
		{at(0), 100, 0},
		{at(5), 100, 4}, // the row of the records 4 to 7 has some that are not too old
		{at(100), 1, 4},
		{at(100), 100, 4},
		{at(100), 100, 0},
	}

	for _, step := range steps {
		s, err := OpenFHIR(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		removed := 0
		err = s.Update(t.Context(), func(c fhir.Change) (err error) {
			removed, err = c.Expire(t.Context(), step.before, step.most)
			return err
		})
		if err := errors.Join(err, s.Close()); err != nil || removed != step.removed {
			t.Fatalf("%+v: %d %v", step, removed, err)
		}
		if r := verified(t, path); !r.Intact() {
			t.Fatalf("%+v: %v", step, r.Findings)
		}
	}

	s, err := OpenFHIR(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	recordsOf(t, s, 12, 2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r := verified(t, path)
	if own := r.Chains[0]; !r.Intact() || own.Records != 2 || own.Anchor.Sequence != 12 || own.Head.Sequence != 14 {
		t.Errorf("%+v", r)
	}
}

// A record that was altered is not removed: what shows it would go.
func TestAlteredRecordsDoNotExpire(t *testing.T) {
	path := auditFile(t)
	tamper(t, path, func(s *state) error {
		b := rowOf(t, s, 1)
		b.Links[0].Packed = altered(t, b.Links[0].Packed)
		return putRow(s, b)
	})
	s, err := OpenFHIR(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	err = s.Update(t.Context(), func(c fhir.Change) error {
		_, err := c.Expire(t.Context(), time.Now(), 100)
		return err
	})
	if !errors.Is(err, fhir.ErrDamaged) {
		t.Errorf("removed: %v", err)
	}
}

// A backup is verified as the file that it is of; a cut file is refused.
func TestVerifyBackup(t *testing.T) {
	path := auditFile(t)
	if r := verified(t, path); !r.Intact() {
		t.Fatal(r.Findings)
	}
	head := verified(t, path).Chains[0].Head
	r, err := VerifyAudit(t.Context(), path, trail.Checkpoint{"": head})
	if err != nil || !r.Intact() {
		t.Errorf("its own head: %v %v", r, err)
	}

	later := head.Next(head.Doc+1, trail.Packed{})
	r, err = VerifyAudit(t.Context(), path, trail.Checkpoint{"": later})
	if err != nil || len(r.Findings) != 1 || !strings.Contains(r.Findings[0].Problem, "an older file") {
		t.Errorf("a head that came later: %v %v", r, err)
	}

	other := auditFile(t)
	tamper(t, other, func(s *state) error {
		head.Hash[0]++
		return nil
	})
	if r, err := VerifyAudit(t.Context(), other, trail.Checkpoint{"": head}); err != nil || r.Intact() {
		t.Errorf("another head: %v %v", r, err)
	}

	if err := os.Truncate(path, 5000); err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyAudit(t.Context(), path, nil); err == nil {
		t.Error("a file without its end is verified")
	}
}

// FuzzVerifyFindsAnyByte: no byte of a row can change unnoticed, whatever it becomes.
func FuzzVerifyFindsAnyByte(f *testing.F) {
	f.Add(uint16(0), byte(1))
	f.Add(uint16(77), byte(0x80))
	path := auditFile(f)
	db, err := bbolt.Open(path, fileMode, Options{NoSync: true}.bolt())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = db.Close() })

	f.Fuzz(func(t *testing.T, place uint16, mask byte) {
		if mask == 0 {
			return
		}
		at := 0
		err := flippedIn(db, mask, func(tx *bbolt.Tx, flip func(rows, *bbolt.Bucket, []byte, []byte)) {
			s := (&FHIR{health: &health{}}).newState(tx)
			left := int(place) % 2000
			auditRows(s, func(r rows, b *bbolt.Bucket, k, v []byte) {
				if r.name == "log" {
					return
				}
				if n := len(k) + len(v); left >= 0 && left < n {
					at = left
					flip(r, b, k, v)
					left = -1
				} else if left >= 0 {
					left -= n
				}
			})
			if left >= 0 {
				k, v := s.in(settingsTable).Cursor().Seek(headKey)
				at = left % (len(k) + len(v))
				flip(s.in(settingsTable).rows, s.in(settingsTable).Bucket, k, v)
			}
		}, at)
		if err != nil {
			t.Error(err)
		}
	})
}
