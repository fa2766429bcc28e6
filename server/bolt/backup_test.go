package bolt

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/people"
)

const base = "https://fhir.test/acme/fhir"

// dataDir makes a data directory with one registration, one token and some
// used jti in it.
func dataDir(t *testing.T) (dir string, h oauth.Handle, hash oauth.Hash) {
	t.Helper()
	dir = t.TempDir()
	s := openTrust(t, filepath.Join(dir, "trust.bolt"))
	f, err := OpenFHIR(filepath.Join(dir, "fhir.bolt"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := oauth.Registration{ID: "c", Community: "urn:a", Client: "https://c.test"}
	if _, _, err := s.Register(t.Context(), used("before", storetest.Start), r); err != nil {
		t.Fatal(err)
	}

	hash = oauth.Hash{1}
	h, err = s.Issue(t.Context(), used("token", storetest.Start), oauth.Token{
		Hash:     hash,
		ClientID: "c",
		Expires:  storetest.Start.Add(time.Hour),
	})
	granted := sampleGrant(1, "c")
	session, consent := samplePeople(1)
	err = errors.Join(
		err,
		s.Approve(t.Context(), granted, &r),
		s.People().StartSession(t.Context(), session, people.SessionID{}),
		s.People().Remember(t.Context(), consent),
	)
	if err := errors.Join(err, s.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}

	return dir, h, hash
}

// used is the jti of a JWT made at a moment by a clock as ours, under a skew of
// a minute.
func used(jti string, iat time.Time) oauth.Spend {
	return oauth.Spend{
		Community: "urn:a",
		Issuer:    "iss",
		JTI:       jti,
		Since:     iat.Add(-time.Minute),
		Until:     iat.Add(6 * time.Minute),
		Endpoint:  "token",
		Now:       iat,
	}
}

func backedUp(t *testing.T, data string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "backup")
	b, err := WriteBackup(data, dir, base, storetest.Start)
	if err != nil {
		t.Fatal(err)
	}
	if b.Version != 1 || len(b.Files) != 2 || !b.Made.Equal(storetest.Start) {
		t.Errorf("described as %+v", b)
	}
	return dir
}

// What was used or revoked after the backup was made does not come to life by
// restoring it.
//
// Covers: case 329
func TestRestoreRevivesNothing(t *testing.T) {
	data, h, hash := dataDir(t)
	dir := backedUp(t, data)
	later := storetest.Start.Add(2 * time.Minute)
	replay := used("after", later)
	change(t, data, func(s *Trust) error { return s.Spend(t.Context(), replay) })
	now := later.Add(30 * time.Second)
	replaced, err := Restore(data, dir, base, now)
	if err != nil || len(replaced) != 2 {
		t.Fatalf("%v, kept %v", err, replaced)
	}

	for range 2 { // and after another start
		change(t, data, func(s *Trust) error {
			checkTrust(t, s)
			for name, c := range map[string]struct {
				spend oauth.Spend
				want  error
			}{
				"used after the backup":               {replay, oauth.ErrRestored},
				"made at the restore":                 {used("x", now), oauth.ErrRestored},
				"as late as a clock ahead could make": {used("y", now.Add(time.Minute)), oauth.ErrRestored},
				"no word on when": {
					oauth.Spend{JTI: "z", Until: now.Add(time.Minute), Now: now},
					oauth.ErrRestored,
				},
			} {
				if err := s.Spend(t.Context(), c.spend); !errors.Is(err, c.want) {
					t.Errorf("%s: %v", name, err)
				}
			}

			if got, err := s.token(t.Context(), h, hash); got != nil || err != nil {
				t.Errorf("a token of before: %+v, %v", got, err)
			}
			if got, err := s.Grant(t.Context(), sampleGrant(1, "c").ID); got != nil || err != nil {
				t.Errorf("a grant of before: %+v, %v", got, err)
			}
			if got, err := s.Grants(t.Context(), "person"); len(got) > 0 || err != nil {
				t.Errorf("grants of before: %+v, %v", got, err)
			}
			session, consent := samplePeople(1)
			if got, err := s.People().Session(t.Context(), session.ID); got != nil || err != nil {
				t.Errorf("a session of before: %+v, %v", got, err)
			}
			if got, err := s.People().Consent(t.Context(), consent.Subject, "c1"); got != nil || err != nil {
				t.Errorf("a decision of before: %+v, %v", got, err)
			}
			if r, err := s.Client(t.Context(), "c"); r == nil || err != nil {
				t.Errorf("the registration: %+v, %v", r, err)
			}

			return nil
		})
	}

	change(t, data, func(s *Trust) error { return s.Spend(t.Context(), used("new", now.Add(61*time.Second))) })
	old, err := OpenTrust(replaced[0], Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()

	if err := old.Spend(t.Context(), replay); !errors.As(err, new(*oauth.Replayed)) {
		t.Errorf("what was replaced is not as it was: %v", err)
	}
}

func change(t *testing.T, data string, f func(*Trust) error) {
	t.Helper()
	s := openTrust(t, filepath.Join(data, "trust.bolt"))
	if err := errors.Join(f(s), s.Close()); err != nil {
		t.Error(err)
	}
}

// Restoring a backup that was made after a restore keeps the later moment.
//
// Covers: case 329
func TestRestoreTwice(t *testing.T) {
	data, _, _ := dataDir(t)
	dir := backedUp(t, data)
	late := storetest.Start.Add(time.Hour)
	for _, now := range []time.Time{late, storetest.Start} {
		if _, err := Restore(data, dir, base, now); err != nil {
			t.Fatal(err)
		}
		if now.Equal(late) {
			dir = backedUp(t, data)
		}
	}

	change(t, data, func(s *Trust) error {
		if err := s.Spend(t.Context(), used("x", late)); !errors.Is(err, oauth.ErrRestored) {
			t.Errorf("the earlier clock counts: %v", err)
		}
		return nil
	})
}

// A backup and a restore want the files for themselves.
//
// Covers: case 329
func TestBackupAndRestoreWhileRunning(t *testing.T) {
	data, _, _ := dataDir(t)
	dir := backedUp(t, data)
	for _, name := range []string{"trust.bolt", "fhir.bolt"} {
		schema := map[string]Schema{"trust.bolt": trustSchema(), "fhir.bolt": fhirSchema}[name]
		db, err := Open(filepath.Join(data, name), schema, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := WriteBackup(data, filepath.Join(t.TempDir(), "b"), base,
			storetest.Start); !errors.Is(err, ErrInUse) {
			t.Errorf("%s open: backup says %v", name, err)
		}

		if _, err := Restore(data, dir, base, storetest.Start); !errors.Is(err, ErrInUse) {
			t.Errorf("%s open: restore says %v", name, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}

	if left, err := filepath.Glob(filepath.Join(data, "*.re*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Each spoilt backup is refused with its reason, and the data stays as it was.
//
// Covers: case 329
func TestSpoiltBackups(t *testing.T) {
	data, _, _ := dataDir(t)
	for name, c := range map[string]struct {
		spoil func(dir string) error
		says  string
	}{
		"no description": {func(dir string) error {
			return os.Remove(filepath.Join(dir, backupName))
		}, "cannot be read"},
		"description cut": {func(dir string) error {
			return os.Truncate(filepath.Join(dir, backupName), 40)
		}, "no description"},
		"description repeated": {editDescription(`"version"`, `"version": 1, "version"`), "no description"},
		"later version":        {editDescription(`"version": 1`, `"version": 2`), "has version 2"},
		"a file not listed":    {editDescription(`"fhir.bolt"`, `"other.bolt"`), "does not list fhir.bolt"},
		"another server's": {
			editDescription("fhir.test", "other.test"),
			"is a backup of https://other.test/acme/fhir",
		},
		"file gone": {func(dir string) error {
			return os.Remove(filepath.Join(dir, "fhir.bolt"))
		}, "cannot be read"},
		"truncated": {func(dir string) error {
			return os.Truncate(filepath.Join(dir, "trust.bolt"), 8192)
		}, "has 8192 bytes"},
		"one bit":       {flipBit, "has SHA-256"},
		"older layout":  {again(layoutZero), "has layout"},
		"pages damaged": {again(spoilPage), "is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := backedUp(t, data)
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			before := read(t, data)

			for _, restore := range []bool{false, true} {
				_, err := ReadBackup(dir)
				if restore || name == "another server's" {
					_, err = Restore(data, dir, base, storetest.Start)
				}
				var e *Error
				if !errors.As(err, &e) || !strings.Contains(e.Problem, c.says) || e.Hint == "" {
					t.Errorf("%s: %v (%+v)", name, err, e)
				}
			}

			if read(t, data) != before {
				t.Errorf("%s: the data was changed", name)
			}
		})
	}

	if _, err := WriteBackup(data, backedUp(t, data), base, storetest.Start); err == nil ||
		!strings.Contains(err.Error(), "is not empty") {
		t.Errorf("over another backup: %v", err)
	}
	if _, err := WriteBackup(t.TempDir(), filepath.Join(t.TempDir(), "b"), base, storetest.Start); err == nil ||
		!strings.Contains(err.Error(), "cannot be opened") {
		t.Errorf("of nothing: %v", err)
	}
}

func read(t *testing.T, data string) string {
	t.Helper()
	entries, err := os.ReadDir(data)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder

	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(data, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&all, "%s %x\n", e.Name(), sha256.Sum256(b))
	}

	return all.String()
}

func editDescription(old, to string) func(string) error {
	return func(dir string) error {
		path := filepath.Join(dir, backupName)
		b, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(b), old) {
			return fmt.Errorf("%q is not in %s: %v", old, b, err)
		}
		return os.WriteFile(path, []byte(strings.Replace(string(b), old, to, 1)), fileMode)
	}
}

func flipBit(dir string) error {
	path := filepath.Join(dir, "trust.bolt")
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 1
	return os.WriteFile(path, b, fileMode)
}

// again spoils a copy and describes it anew, as if the damage had been there
// when the backup was made.
func again(spoil func(path string) error) func(string) error {
	return func(dir string) error {
		if err := spoil(filepath.Join(dir, "trust.bolt")); err != nil {
			return err
		}

		b, err := readDescription(filepath.Join(dir, backupName))
		if err != nil {
			return err
		}

		for i, f := range b.Files {
			db, err := bbolt.Open(filepath.Join(dir, f.Name), fileMode, &bbolt.Options{ReadOnly: true})
			if err != nil {
				return err
			}

			out := filepath.Join(dir, f.Name+".x")
			made, err := copyOut(db, out)
			if err := errors.Join(err, db.Close(), os.Rename(out, filepath.Join(dir, f.Name))); err != nil {
				return err
			}
			b.Files[i].Size, b.Files[i].SHA256 = made.Size, made.SHA256
		}

		return writeDescription(filepath.Join(dir, backupName), b)
	}
}

func layoutZero(path string) error {
	db, err := bbolt.Open(path, fileMode, nil)
	if err != nil {
		return err
	}
	return errors.Join(db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(metaBucket).Put(versionKey, binary.BigEndian.AppendUint64(nil, 0))
	}), db.Close())
}

// spoilPage makes the page of the top-level buckets claim another kind.
func spoilPage(path string) error {
	db, err := bbolt.Open(path, fileMode, nil)
	if err != nil {
		return err
	}

	var page uint64
	err = errors.Join(db.View(func(tx *bbolt.Tx) error {
		page = uint64(tx.Cursor().Bucket().RootPage())
		return nil
	}), db.Close())
	if err != nil {
		return err
	}

	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}

	// A page begins with its own number; the flags behind it say what it is.
	binary.LittleEndian.PutUint16(b[page*uint64(os.Getpagesize())+8:], 0x10)
	return os.WriteFile(path, b, fileMode)
}

// Covers: case 329
func TestRestoreOverDamagedOrNoFiles(t *testing.T) {
	data, _, _ := dataDir(t)
	dir := backedUp(t, data)
	for name, spoil := range map[string]func(string) error{
		"is cut short": func(path string) error { return os.WriteFile(path, []byte("no database"), fileMode) },
		"is damaged":   spoilPage,
	} {
		if err := spoil(filepath.Join(data, "trust.bolt")); err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(t.TempDir(), "b")
		if _, err := WriteBackup(data, to, base, storetest.Start); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("backup: %v, want %q", err, name)
		}
		if left, err := os.ReadDir(to); err != nil || len(left) > 0 {
			t.Errorf("left of a failed backup: %v, %v", left, err)
		}

		if _, err := Restore(data, dir, base, storetest.Start.Add(time.Duration(len(name))*time.Second)); err != nil {
			t.Fatal(err)
		}
	}

	for _, data := range []string{data, filepath.Join(t.TempDir(), "new")} {
		if _, err := Restore(data, dir, base, storetest.Start); err != nil {
			t.Fatal(err)
		}
		change(t, data, func(s *Trust) error {
			checkTrust(t, s)
			if r, err := s.Client(t.Context(), "c"); r == nil {
				t.Errorf("no registration: %v", err)
			}
			return nil
		})
	}
}
