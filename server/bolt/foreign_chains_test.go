package bolt

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/server/carry"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/packed"
)

// east is a source whose audit records are those of a destination on a database, which
// joins its commits.
type east struct {
	*Image
	joined, newest trail.Hash
}

func (s *east) Each(ctx context.Context, k carry.Kind, f func(carry.Row) error) error {
	joint := s.joined
	return s.Image.Each(ctx, k, func(r carry.Row) error {
		switch r := r.(type) {
		case *carry.Chain:
			r.Name = "east"
		case *carry.Joint:
			r.Joined, r.Newest = s.joined, s.newest
		case *carry.Block:
			joint = join(&r.Block, joint)
		}
		return f(r)
	})
}

// join makes a block one of east, behind a commit.
func join(b *packed.Block, before trail.Hash) trail.Hash {
	b.Chain = "east"
	b.Joint = &trail.Joint{
		Previous: before,
		Change:   b.First,
	}
	return b.Joint.Next(b.Chain, b.End())
}

// ofEast makes files that were restored from the backup of a database.
func ofEast(t *testing.T) (dir string) {
	t.Helper()
	data, _ := everything(t)
	im, err := OpenImage(data)
	if err != nil {
		t.Fatal(err)
	}
	s := &east{
		Image:  im,
		joined: trail.Hash{1},
	}
	s.newest = s.joined
	err = im.Each(t.Context(), carry.Blocks, func(r carry.Row) error {
		s.newest = join(&r.(*carry.Block).Block, s.newest)
		return nil
	})

	dir = filepath.Join(t.TempDir(), "backup")
	_, failed := WriteBackupOf(t.Context(), s, dir, base, storetest.Start, nil)
	if err := errors.Join(err, failed, im.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A file holds the chains of other destinations and its own behind them; all are
// verified, searched and removed when they are too old.
func TestChainsOfOtherDestinations(t *testing.T) {
	dir := ofEast(t)
	path := filepath.Join(dir, "fhir.bolt")
	before := verified(t, path)
	if !before.Intact() || len(before.Chains) != 2 || before.Chains[1].Name != "east" ||
		before.Chains[1].Records == 0 {
		t.Fatalf("%+v", before)
	}

	f, err := OpenFHIR(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	appendRecord(t, f)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	r := verified(t, path)
	if !r.Intact() || r.Chains[0].Records != 1 || r.Chains[1] != before.Chains[1] {
		t.Errorf("%+v", r)
	}

	again := carried(t, dir)
	for _, name := range []string{"trust.bolt", "fhir.bolt"} {
		want, got := dumpOf(t, filepath.Join(dir, name)), dumpOf(t, filepath.Join(again, name))
		if want != got {
			t.Errorf("%s carried again differs:\n%s", name, firstDifference(want, got))
		}
	}

	expireAll(t, path)
	if r := verified(t, path); !r.Intact() || r.Chains[1].Records != 0 ||
		r.Chains[1].Anchor != before.Chains[1].Head {
		t.Errorf("after all records have expired: %+v", r)
	}
}

func expireAll(t *testing.T, path string) {
	t.Helper()
	f, err := OpenFHIR(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for removed := 1; removed > 0 && err == nil; {
		err = f.Update(t.Context(), func(c fhir.Change) (err error) {
			removed, err = c.Expire(t.Context(), storetest.Start.AddDate(50, 0, 0), 1000)
			return err
		})
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// What is altered or removed of another destination's chain is found.
func TestChangedChainsOfOthersAreFound(t *testing.T) {
	for name, spoil := range map[string]func(s *state) error{
		"the last block": func(s *state) error {
			k, _ := s.in(recordsTable).Cursor().Last()
			return s.in(recordsTable).Delete(bytes.Clone(k))
		},
		"a block in the middle": func(s *state) error {
			c := s.in(recordsTable).Cursor()
			c.First()
			k, _ := c.Next()
			return s.in(recordsTable).Delete(bytes.Clone(k))
		},
		"its extent": func(s *state) error {
			return s.in(settingsTable).Delete([]byte("audit-chain:east"))
		},
		"the last commit": func(s *state) error {
			return s.in(settingsTable).put(newestKey, make([]byte, 32))
		},
		"a block that is said to be our own": func(s *state) error {
			return rewrite(s, func(b *packed.Block) { b.Chain, b.Joint = "", nil })
		},
		"a block with another joint": func(s *state) error {
			return rewrite(s, func(b *packed.Block) { b.Joint.Previous[0]++ })
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(ofEast(t), "fhir.bolt")
			tamper(t, path, spoil)
			if r := verified(t, path); r.Intact() {
				t.Errorf("it is not found: %+v", r)
			}
		})
	}
}

// rewrite changes the second block.
func rewrite(s *state, f func(*packed.Block)) error {
	t := s.in(recordsTable)
	c := t.Cursor()
	c.First()
	k, sealed := c.Next()
	b, err := s.audit.strictBlock(k, sealed)
	if err != nil {
		return err
	}
	f(b)
	return t.put(bytes.Clone(k), b.Encode())
}
