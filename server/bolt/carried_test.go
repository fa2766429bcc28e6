package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/fhirtest"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/carry"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/tiered"
)

// everything makes a data directory with rows of each kind, and returns their
// questions.
func everything(t *testing.T) (data string, ask []func(path string) (answers, error)) {
	t.Helper()
	data = t.TempDir()
	trust, resources := filepath.Join(data, "trust.bolt"), filepath.Join(data, "fhir.bolt")
	ask = append(ask, sampleTrust(t, trust), sampleFHIR(t, resources))

	change(t, data, func(s *Trust) error {
		return Trips{s}.Join(t.Context(), tiered.Membership{Provider: "https://idp.test"})
	})
	f, err := OpenFHIR(resources, Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = f.Update(t.Context(), func(c fhir.Change) error {
		doc, _, err := c.Lookup(t.Context(), "Patient", "x1")
		gone := fhirtest.Entry(t, doc, "Patient", "x1", 4, "")
		gone.Deleted = true
		gone.Terms, gone.Body = nil, nil
		_, put := c.Put(t.Context(), gone)
		_, expired := c.Expire(t.Context(), storetest.Start.AddDate(50, 0, 0), 200)
		return errors.Join(err, put, expired)
	})
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return data, ask
}

// carried copies a destination row by row, as if its backup were of another engine.
func carried(t *testing.T, data string) (dir string) {
	t.Helper()
	from, err := OpenImage(data)
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "backup")
	shown := int64(0)
	_, err = WriteBackupOf(t.Context(), from, dir, base, storetest.Start, func(_ carry.Kind, done, all int64) {
		if done < shown || done > all {
			t.Errorf("%d of %d rows after %d", done, all, shown)
		}
		shown = done
	})
	if err := errors.Join(err, from.Close()); err != nil {
		t.Fatal(err)
	}
	if shown == 0 {
		t.Error("no progress was shown")
	}
	return dir
}

// A copy made row by row has the same rows, numbers and checksums as the file, but for
// what no restore brings back.
func TestRowsAreCarriedWhole(t *testing.T) {
	data, _ := everything(t)
	dir := carried(t, data)
	for _, k := range kept() {
		want, got := dumpOf(t, filepath.Join(data, k.name)), dumpOf(t, filepath.Join(dir, k.name))
		if want != got {
			t.Errorf("%s differs:\n%s", k.name, firstDifference(want, got))
		}
	}
	if r := verified(t, filepath.Join(dir, "fhir.bolt")); !r.Intact() || r.Chains[0].Records == 0 {
		t.Errorf("%+v", r)
	}
}

// notCarried are lines of a dump of what no restore brings back, of counters that
// nothing reads, and of the index of audit records, which is made anew.
var notCarried = regexp.MustCompile(
	`(?m)^"(tokens|grants|subjects|grantExpiries|launches|sessions|consents|trips|segments)".*\n` +
		`|^"settings"/"(record-tail|audit-forgotten)".*\n| sequence=\d+$`)

func dumpOf(t *testing.T, path string) string {
	t.Helper()
	db, err := openThere(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	err = Dump(db, &b)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return notCarried.ReplaceAllString(b.String(), "")
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("- %.300s\n+ %.300s", x[i], y[i])
		}
	}
	return fmt.Sprintf("%d and %d lines", len(x), len(y))
}

// What is carried answers as before: searches, versions, changes and audit records, and
// it goes on with the numbers that follow.
func TestCarriedFilesAnswerAsBefore(t *testing.T) {
	data, ask := everything(t)
	dir := carried(t, data)
	want, err := ask[1](filepath.Join(data, "fhir.bolt"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ask[1](filepath.Join(dir, "fhir.bolt"))
	if err != nil {
		t.Fatal(err)
	}
	for question, answer := range want {
		if got[question] != answer {
			t.Errorf("%s: %v, was %v", question, got[question], answer)
		}
	}
	if len(want) == 0 || len(got) != len(want) {
		t.Errorf("%d answers of %d", len(got), len(want))
	}

	path := filepath.Join(dir, "fhir.bolt")
	before := verified(t, path).Chains[0].Head
	f, err := OpenFHIR(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	appendRecord(t, f)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if r := verified(t, path); !r.Intact() || r.Chains[0].Head.Sequence != before.Sequence+1 {
		t.Errorf("%+v", r)
	}
}

// Files of earlier layouts are read as well, and stay as they are.
func TestRowsOfEarlierLayouts(t *testing.T) {
	data := t.TempDir()
	s := openTrust(t, filepath.Join(data, "trust.bolt"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(data, "fhir.bolt")
	unzip(t, "testdata/layout5.fhir.bolt.gz", path)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	if r := verified(t, filepath.Join(carried(t, data), "fhir.bolt")); !r.Intact() || r.Chains[0].Records != old5 {
		t.Errorf("%+v", r)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was changed: %v", err)
	}
}

// A backup made row by row is restored as any other: used jti are remembered, and what
// could have been used since is refused.
//
// Covers: case 329
func TestCarriedBackupIsRestored(t *testing.T) {
	data, _, _ := dataDir(t)
	dir := carried(t, data)
	if _, err := Restore(data, dir, base, storetest.Start); err != nil {
		t.Fatal(err)
	}
	change(t, data, func(s *Trust) error {
		checkTrust(t, s)
		if r, err := s.Client(t.Context(), "c"); r == nil || err != nil {
			t.Errorf("the registration: %+v, %v", r, err)
		}
		if s.LiveJTI() != 2 {
			t.Errorf("%d used jti", s.LiveJTI())
		}
		return nil
	})
}

// A source that fails leaves nothing that looks like a backup.
func TestFailedCarryLeavesNothing(t *testing.T) {
	data, _ := everything(t)
	from, err := OpenImage(data)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()

	for _, k := range carry.Kinds() {
		dir := filepath.Join(t.TempDir(), "backup")
		_, err := WriteBackupOf(t.Context(), failing{from, k}, dir, base, storetest.Start, nil)
		if !errors.Is(err, errFailing) || !strings.Contains(err.Error(), k.String()) {
			t.Errorf("%s: %v", k, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v, %v", k, left, err)
		}
	}
}

// failing is a source that fails at one kind.
type failing struct {
	*Image
	at carry.Kind
}

var errFailing = errors.New("the source fails")

func (s failing) Each(ctx context.Context, k carry.Kind, f func(carry.Row) error) error {
	if k == s.at {
		return errFailing
	}
	return s.Image.Each(ctx, k, f)
}

// A source that changes between the rows that were counted and those that were read is
// found by reading the copy: what is missing in the file is not described.
func TestCopyIsComparedWithItsRows(t *testing.T) {
	data, _ := everything(t)
	from, err := OpenImage(data)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()

	copied, err := carry.Copy(t.Context(), from, nowhere{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := carry.Verify(t.Context(), from, copied, nil); err != nil {
		t.Error(err)
	}
	for _, k := range carry.Kinds() {
		if copied[k].Rows == 0 {
			t.Errorf("no %s were copied: the sample has none", k)
		}
		copied[k].Digest[3]++
		if err := carry.Verify(t.Context(), from, copied, nil); err == nil ||
			!strings.Contains(err.Error(), k.String()) {
			t.Errorf("%s: %v", k, err)
		}
		copied[k].Digest[3]--
	}
}

// nowhere forgets every row.
type nowhere struct{}

func (nowhere) Put(context.Context, carry.Kind, carry.Row) error { return nil }
func (nowhere) End(context.Context, carry.Kind) error            { return nil }

func appendRecord(t *testing.T, f *FHIR) {
	t.Helper()
	err := f.Update(t.Context(), func(c fhir.Change) error {
		return c.Append(t.Context(), []trail.Record{{
			Client:      "c",
			At:          storetest.Start,
			Interaction: "read",
			Outcome:     "0",
		}})
	})
	if err != nil {
		t.Fatal(err)
	}
}
