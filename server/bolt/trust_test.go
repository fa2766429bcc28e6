package bolt

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.etcd.io/bbolt"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/stored"
	"fhirdest.example/server/oauth/storetest"
)

var _ oauth.Store = (*Trust)(nil)

func openTrust(t *testing.T, path string) *Trust {
	t.Helper()
	s, err := OpenTrust(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkTrust is the oracle after each test: Bolt's own check, every identifier
// leads to its registration and back, every token has a client and an expiry,
// keys of a minute are in sequence.
func checkTrust(t *testing.T, s *Trust) {
	t.Helper()
	err := s.db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		clients := tx.Bucket(clientsBucket)
		registrations := 0
		err := tx.Bucket(registrationsBucket).ForEach(func(k, _ []byte) error {
			registrations++
			r, err := s.readRegistration(tx, k)
			if id, ok := clientRows.get(clients, []byte(r.ID)); err != nil || !ok || string(id) != string(k) ||
				string(registrationKey(r.Community, r.Client)) != string(k) {
				t.Errorf("registration %q: %+v, %v", k, r, err)
			}
			return nil
		})

		if n := clients.Stats().KeyN; n != registrations {
			t.Errorf("%d identifiers for %d registrations", n, registrations)
		}

		for _, root := range [][]byte{spentBucket, tokensBucket} {
			seen := map[uint64]bool{}
			err = errors.Join(err,
				eachMinute(tx.Bucket(root), rowsOf(string(root)), func(_ uint32, key uint64, _ []byte, ok bool) error {
					if seen[key] || !ok {
						t.Errorf("%s: number %d twice, or damaged", root, key)
					}
					seen[key] = true
					return nil
				}))
		}

		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Covers: S2-08, S2-18, case 089, case 095, case 099, case 121, case 127, case 129,
// case 130, case 131, case 133, case 150
func TestTrust(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		path := filepath.Join(t.TempDir(), "trust.bolt")
		var full atomic.Bool
		o := Options{commit: commitUnless(&full)}
		open := func(t *testing.T) *Trust {
			t.Helper()
			s, err := OpenTrust(path, o)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := open(t)
		t.Cleanup(func() {
			checkTrust(t, s)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})

		return storetest.Subject{
			Store: s,
			Reopen: func(t *testing.T) oauth.Store {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t)
				return s
			},
			FailCommits: full.Store,
		}
	})
}

// commitUnless commits as long as the disk is not full.
func commitUnless(full *atomic.Bool) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		if full.Load() {
			return syscall.ENOSPC
		}
		return tx.Commit()
	}
}

func numbered(i int, now time.Time) oauth.Spend {
	return oauth.Spend{
		Community: "urn:a",
		Issuer:    "iss",
		JTI:       fmt.Sprint(i),
		Until:     now.Add(5 * time.Minute),
		Expires:   now.Add(5 * time.Minute),
		Endpoint:  "token",
		Now:       now,
	}
}

// Covers: case 098
func TestTrustSweeps(t *testing.T) {
	s := openTrust(t, filepath.Join(t.TempDir(), "trust.bolt"))
	defer s.Close()
	c := oauth.Registration{ID: "c", Community: "urn:a", Client: "https://c.test"}
	if _, _, err := s.Register(t.Context(), numbered(0, storetest.Start), c); err != nil {
		t.Fatal(err)
	}

	for i := range 90 {
		now := storetest.Start.Add(time.Duration(i) * time.Minute)
		if _, err := s.Issue(t.Context(), numbered(i+1, now), oauth.Token{
			ClientID: "c",
			Expires:  now.Add(time.Hour),
		}); err != nil {
			t.Fatal(err)
		}
	}

	count := func(root []byte) (n int) {
		_ = s.db.View(func(tx *bbolt.Tx) error {
			return eachMinute(tx.Bucket(root), rowsOf(string(root)), func(uint32, uint64, []byte, bool) error {
				n++
				return nil
			})
		})
		return n
	}
	if jti, tokens := count(spentBucket), count(tokensBucket); jti > 12 || tokens > 62 || s.LiveJTI() != jti {
		t.Errorf("after 90 minutes: %d jti on disk, %d in memory, %d tokens", jti, s.LiveJTI(), tokens)
	}

	checkTrust(t, s)
}

func TestTrustClosed(t *testing.T) {
	s := openTrust(t, filepath.Join(t.TempDir(), "trust.bolt"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Spend(t.Context(), numbered(1, storetest.Start)); !errors.Is(err, errClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestSpentMemory holds the goal of 64 bytes a live jti, at a tenth of a
// million (PERFORMANCE, "Tokens and registrations").
func TestSpentMemory(t *testing.T) {
	const entries = 100_000
	before := settledHeap()
	x := newSpentIndex(0, 0)

	for i := range entries {
		s := numbered(i, storetest.Start.Add(time.Duration(i)*time.Millisecond))
		if err := x.reserve(stored.JTIOf(s), s); err != nil {
			t.Fatal(err)
		}
	}

	each := (settledHeap() - before) / float64(x.live())
	t.Logf("%.1f bytes a live jti", each)
	if each < 16 || each > 64 {
		t.Errorf("%.1f bytes a live jti, at least a digest of 16 and at most 64 expected", each)
	}
}

// settledHeap returns the bytes in use when collecting frees no more: pools and what
// tests before left behind go by and by.
func settledHeap() float64 {
	var m runtime.MemStats
	for last := uint64(math.MaxUint64); ; last = m.HeapAlloc {
		runtime.GC()
		runtime.ReadMemStats(&m)
		if m.HeapAlloc >= last-last/100 {
			return float64(m.HeapAlloc)
		}
	}
}

func BenchmarkTrustIssue(b *testing.B) {
	for _, writers := range []int{1, 16, 32, 64, 256} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) { benchmarkIssue(b, writers) })
	}
}

func processCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchmarkIssue(b *testing.B, writers int) {
	s, err := OpenTrust(filepath.Join(b.TempDir(), "trust.bolt"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()

	now := storetest.Start
	if _, _, err := s.Register(b.Context(), numbered(-1, now), oauth.Registration{
		ID:        "c",
		Community: "urn:a",
		Client:    "https://c.test",
	}); err != nil {
		b.Fatal(err)
	}

	if _, err := s.Client(b.Context(), "c"); err != nil { // as authentication does first
		b.Fatal(err)
	}
	token := oauth.Token{
		ClientID:  "c",
		Community: "urn:a",
		Client:    "https://c.test",
		Scope:     []string{"system/Patient.rs"},
		Issued:    now,
		Expires:   now.Add(time.Hour),
	}

	var wg sync.WaitGroup
	work := make(chan int)
	for range writers {
		wg.Go(func() {
			for i := range work {
				if _, err := s.Issue(b.Context(), numbered(i, now), token); err != nil {
					b.Error(err)
				}
			}
		})
	}

	b.ResetTimer()
	start := processCPU()
	for i := range b.N {
		work <- i
	}
	close(work)
	wg.Wait()
	b.ReportMetric(float64((processCPU()-start).Nanoseconds())/float64(b.N), "cpu-ns/op")

	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
}

// A token that was read stays in memory, and goes from there when it is revoked,
// however many read it meanwhile, and when its minute is swept.
func TestTrustForgetsTokens(t *testing.T) {
	s := openTrust(t, filepath.Join(t.TempDir(), "trust.bolt"))
	defer s.Close()
	now := storetest.Start
	if _, _, err := s.Register(t.Context(), numbered(0, now), oauth.Registration{
		ID:        "c",
		Community: "urn:a",
		Client:    "https://c.test",
	}); err != nil {
		t.Fatal(err)
	}

	issue := func(n int, extensions map[string]jsontext.Value) (h oauth.Handle, hash oauth.Hash) {
		t.Helper()
		hash = oauth.Hash{byte(n)}
		h, err := s.Issue(t.Context(), numbered(n, now), oauth.Token{
			Hash:       hash,
			ClientID:   "c",
			Extensions: extensions,
			Expires:    now.Add(time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}

		return h, hash
	}

	read := func(h oauth.Handle, hash oauth.Hash) *oauth.Token {
		token, err := s.token(t.Context(), h, hash)
		if err != nil {
			t.Error(err)
		}
		return token
	}

	for i := range 50 {
		h, hash := issue(2*i+1, nil)
		var wg sync.WaitGroup
		stop := make(chan bool)

		for range 4 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						read(h, hash)
					}
				}
			})
		}

		if err := s.Revoke(t.Context(), numbered(2*i+2, now), "c", h, hash); err != nil {
			t.Fatal(err)
		}
		if read(h, hash) != nil {
			t.Error("a revoked token is still there")
		}
		close(stop)
		wg.Wait()

		if read(h, hash) != nil {
			t.Error("a revoked token came back")
		}
	}

	h, hash := issue(200, nil)
	if first, second := read(h, hash), read(h, hash); first == nil || first != second {
		t.Error("a token was not kept in memory")
	}
	long := map[string]jsontext.Value{"x": jsontext.Value(`"` + strings.Repeat("x", maxCachedToken) + `"`)}
	longHandle, longHash := issue(201, long)
	if first, second := read(longHandle, longHash), read(longHandle, longHash); first == nil || first == second {
		t.Error("a token with a long record was kept in memory")
	}

	if err := s.Spend(t.Context(), numbered(202, now.Add(2*time.Hour))); err != nil {
		t.Fatal(err)
	}
	if read(h, hash) != nil {
		t.Error("a token is still there after its minute was swept")
	}
}
