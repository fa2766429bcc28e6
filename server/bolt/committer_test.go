package bolt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"fhirdest.example/fhir"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/shared"
	"fhirdest.example/udap/trace"
)

// tally is a batch that counts how often work was run and transactions were
// committed.
type tally struct {
	tx       *bbolt.Tx
	wrote    bool
	unsettle error
	commits  *int
}

func (b *tally) Changed() bool {
	changed := b.wrote
	b.wrote = false
	return changed
}
func (b *tally) transaction() *bbolt.Tx { return b.tx }

func (b *tally) settle() error { return b.unsettle }

func (b *tally) committed() { *b.commits++ }

func (b *tally) put(i int) error {
	b.wrote = true
	return b.tx.Bucket([]byte("x")).Put(number(uint64(i)), []byte{1})
}

var errSpoilt = errors.New("spoilt")

// Shared work that fails harms nobody else, costs a bounded number of runs and
// commits, and is undone.
func TestCommitterIsolatesFailures(t *testing.T) {
	const n = 200
	for _, row := range []struct {
		name  string
		fails func(i int) bool
		how   func(*tally) error // what failing work does after it has written
		clean bool               // or before
		most  int                // runs of all work together
	}{
		{"none fail", func(int) bool { return false }, nil, false, n},
		{"before they write", func(i int) bool { return i%2 == 0 }, nil, true, n},
		{"one", func(i int) bool { return i == 77 }, func(*tally) error { return errSpoilt }, false, 3 * n},
		{"every other one", func(i int) bool {
			return i%2 == 0
		}, func(*tally) error { return errSpoilt }, false, 3 * n},
		{"all", func(int) bool { return true }, func(*tally) error { return errSpoilt }, false, 3 * n},
		{"one panics", func(i int) bool { return i == 77 }, func(*tally) error { panic("no") }, false, 3 * n},
		{"every third panics", func(i int) bool {
			return i%3 == 0
		}, func(*tally) error { panic("no") }, false, 3 * n},
	} {
		t.Run(row.name, func(t *testing.T) {
			db, err := Open(filepath.Join(t.TempDir(), "x.bolt"), Schema{
				Kind:    "x",
				Version: 1,
				Buckets: []string{"x"},
			}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()

			runs, commits := 0, 0
			c := newCommitter(db, Options{MaxBatch: n}, &health{}, func(tx *bbolt.Tx) *tally {
				return &tally{tx: tx, commits: &commits}
			})

			failed := runTogether(c, n, func(i int, b *tally) error {
				runs++
				if row.clean && row.fails(i) {
					return errSpoilt
				}
				if err := b.put(i); err != nil || !row.fails(i) {
					return err
				}

				return row.how(b)
			})

			c.Close()

			for i, err := range failed {
				if (err != nil) != row.fails(i) {
					t.Errorf("work %d: %v", i, err)
				}
			}

			if runs > row.most {
				t.Errorf("%d runs for %d pieces of work, at most %d allowed", runs, n, row.most)
			}
			wantStored(t, db, n, func(i int) bool { return !row.fails(i) })
		})
	}
}

// runTogether has a committer do n pieces of work in one batch: the first holds
// the loop until all the others are queued.
func runTogether[B batch](c *shared.Committer[B], n int, work func(i int, b B) error) []error {
	hold, held := make(chan bool), make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = c.Do(context.Background(), func(B) error { close(held); <-hold; return nil })
	})
	<-held

	failed := make([]error, n)
	for i := range n {
		wg.Go(func() { failed[i] = c.Do(context.Background(), func(b B) error { return work(i, b) }) })
	}

	for {
		if c.Waiting() == n {
			break
		}
		time.Sleep(time.Millisecond)
	}

	close(hold)
	wg.Wait()
	return failed
}

func wantStored(t *testing.T, db *bbolt.DB, n int, want func(i int) bool) {
	t.Helper()
	err := db.View(func(tx *bbolt.Tx) error {
		for i := range n {
			if got := tx.Bucket([]byte("x")).Get(number(uint64(i))) != nil; got != want(i) {
				t.Errorf("work %d is stored: %v", i, got)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A caller that goes away while its work waits leaves nothing behind.
func TestCommitterWaitingHonoursTheContext(t *testing.T) {
	s, err := OpenFHIR(filepath.Join(t.TempDir(), "fhir.bolt"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	hold, held := make(chan bool), make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = s.Update(t.Context(), func(fhir.Change) error { close(held); <-hold; return nil })
	})
	<-held

	ctx, cancel := context.WithCancel(t.Context())
	var ran atomic.Bool
	done := make(chan error)
	go func() { done <- s.Update(ctx, func(fhir.Change) error { ran.Store(true); return nil }) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled caller got %v", err)
	}

	close(hold)
	wg.Wait()
	if err := s.Update(t.Context(), func(fhir.Change) error { return nil }); err != nil || ran.Load() {
		t.Errorf("abandoned work ran: %v, %v", ran.Load(), err)
	}
}

// After an effect that failed it is known that nothing was stored, and the jti
// is free; after a commit that failed nobody knows, and it stays used.
//
// Covers: case 131
func TestTrustJTIAfterAFailure(t *testing.T) {
	var full atomic.Bool
	s, err := OpenTrust(filepath.Join(t.TempDir(), "trust.bolt"), Options{commit: func(tx *bbolt.Tx) error {
		if full.Load() {
			return syscall.ENOSPC
		}
		return tx.Commit()
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	refused := oauth.Registration{
		ID:        "c",
		Community: "urn:a",
		Client:    trace.ClientURI(strings.Repeat("x", bbolt.MaxKeySize+1)),
	}

	jti := numbered(1, storetest.Start)
	if _, _, err := s.Register(t.Context(), jti, refused); err == nil || errors.Is(err, oauth.ErrUnknown) {
		t.Fatalf("a key that Bolt refuses: %v", err)
	}
	if err := s.Spend(t.Context(), jti); err != nil {
		t.Errorf("the jti of an effect that failed: %v", err)
	}

	full.Store(true)
	jti = numbered(2, storetest.Start)
	if err := s.Spend(t.Context(), jti); !errors.Is(err, oauth.ErrUnknown) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the disk is full: %v", err)
	}
	if h := s.Health(); len(h) != 1 || !strings.Contains(h[0], "no space left") ||
		!strings.Contains(h[0], "trust.bolt") {
		t.Errorf("alarms while the disk is full: %q", h)
	}

	full.Store(false)
	if err := s.Spend(t.Context(), jti); !errors.As(err, new(*oauth.Replayed)) {
		t.Errorf("the jti of a commit that failed: %v", err)
	}
	if err := s.Spend(t.Context(), numbered(3, storetest.Start)); err != nil || len(s.Health()) > 0 {
		t.Errorf("the next one: %v, alarms %q", err, s.Health())
	}
}

// One damaged registration among honest traffic: who needs it fails, and nobody
// else does; no jti is burnt.
func TestTrustDamagedRowHarmsWhoNeedsIt(t *testing.T) {
	s := openTrust(t, filepath.Join(t.TempDir(), "trust.bolt"))
	defer s.Close()
	bad := oauth.Registration{ID: "bad", Community: "urn:a", Client: "https://bad.test"}
	if _, _, err := s.Register(t.Context(), numbered(0, storetest.Start), bad); err != nil {
		t.Fatal(err)
	}
	overwrite(t, s.db, "registrations", registrationKey("urn:a", "https://bad.test"))

	register := func(i, jti int) error {
		r := oauth.Registration{
			ID:        trace.ClientID(fmt.Sprint("c", i)),
			Community: "urn:a",
			Client:    trace.ClientURI(fmt.Sprint("https://c.test/", i)),
		}

		if i%20 == 0 {
			r.Client = bad.Client
		}
		_, _, err := s.Register(context.Background(), numbered(jti, storetest.Start), r)
		return err
	}

	var wg sync.WaitGroup
	failed := make([]error, 200)
	for i := range failed {
		wg.Go(func() { failed[i] = register(i, i+1) })
	}
	wg.Wait()

	for i, err := range failed {
		if i%20 != 0 {
			if err != nil {
				t.Errorf("registration %d: %v", i, err)
			}
			continue
		}

		wantDamaged(t, err, "trust.bolt", "registrations", "https://bad.test")
		wantDamaged(t, register(i, i+1), "trust.bolt") // the same statement again: no replay
	}

	if _, err := s.Issue(t.Context(), numbered(999, storetest.Start), oauth.Token{ClientID: "bad"}); err == nil {
		t.Error("a token for a client whose registration cannot be read")
	} else {
		wantDamaged(t, err, "registrations")
	}

	if h := s.Health(); len(h) != 1 || !strings.Contains(h[0], "https://bad.test") {
		t.Errorf("alarms: %q", h)
	}
}

// overwrite puts bytes that nobody wrote in the place of a row.
func overwrite(t testing.TB, db *bbolt.DB, bucket string, key []byte) {
	t.Helper()
	err := db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		if b.Get(key) == nil {
			return fmt.Errorf("%s has no row %q", bucket, key)
		}
		return b.Put(key, []byte("damaged"))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wantDamaged demands an error that names the place.
func wantDamaged(t testing.TB, err error, parts ...string) {
	t.Helper()
	if !errors.Is(err, fhir.ErrDamaged) || !errors.Is(err, oauth.ErrDamaged) {
		t.Errorf("no damage is reported: %v", err)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %q", err, part)
		}
	}
}
