package fetch

import (
	"compress/gzip"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/udap"
)

func TestListIsFetchedOnceAndKept(t *testing.T) {
	// Covers: case 075
	c, ca := newClock(), signer(t, "A")
	p := newListServer(t, bytesOf(ca.list(t, 7, epoch, time.Hour, 42)))
	s := newSource(t, c, Config{Allow: []string{p.URL}})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { one(t, s, ca, p.URL+"/a.crl") })
	}
	wg.Wait()

	wantNumber(t, one(t, s, ca, p.URL+"/a.crl"), 7)
	if n := p.hits.Load(); n != 1 {
		t.Fatalf("%d fetches for 51 questions, want 1", n)
	}
}

func TestNewestListWins(t *testing.T) {
	// Covers: case 070, case 071
	ca := signer(t, "A")
	steps := []struct {
		name   string
		after  time.Duration
		serve  []byte
		number int64
	}{
		{"first", 0, ca.list(t, 5, epoch, time.Hour), 5},
		{"newer", time.Minute, ca.list(t, 6, epoch.Add(time.Minute), time.Hour, 42), 6},
		{"lower number of the same time", 2 * time.Minute, ca.list(t, 5, epoch.Add(time.Minute), time.Hour), 6},
		{"lower number, later update", 2 * time.Minute, ca.list(t, 4, epoch.Add(2*time.Minute), time.Hour), 4},
		{"rolled back by date", 3 * time.Minute, ca.list(t, 9, epoch.Add(-time.Minute), time.Hour), 4},
		{"forged", 4 * time.Minute, signer(t, "A").list(t, 99, epoch.Add(4*time.Minute), time.Hour), 4},
		{"run out already", 5 * time.Minute, ca.list(t, 10, epoch.Add(4*time.Minute), time.Second), 4},
		{"not yet valid", 6 * time.Minute, ca.list(t, 11, epoch.Add(time.Hour), time.Hour), 4},
		{"rubbish", 7 * time.Minute, []byte("<html>"), 4},
		{"good again", 8 * time.Minute, ca.list(t, 12, epoch.Add(8*time.Minute), time.Hour), 12},
	}

	c := newClock()
	p := newListServer(t, status(500))
	s := newSource(t, c, Config{Allow: []string{p.URL}})

	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			c.move(step.after - c.now().Sub(epoch))
			p.serve(bytesOf(step.serve))
			s.Refresh(context.Background())
			if got := one(t, s, ca, p.URL+"/a.crl"); got.Err != nil || got.List.Number.Int64() != step.number {
				t.Fatalf("%s: list %v, error %v; want number %d", step.name, got.List, got.Err, step.number)
			}
			if warned := s.State()[0].Warning != ""; warned != (step.number == 4) {
				t.Fatalf("%s: warning %q", step.name, s.State()[0].Warning)
			}
		})
	}
}

// A second CRL, or anything else, after the first could hold what the first
// one lacks.
func TestOneCRLAtEachAddress(t *testing.T) {
	ca := signer(t, "A")
	der := ca.list(t, 1, epoch, time.Hour)
	second := ca.list(t, 2, epoch, time.Hour, 42)
	asPEM := func(b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: b}) }

	for _, c := range []struct {
		name  string
		serve []byte
		want  string // in the error; empty: accepted
	}{
		{"DER", der, ""},
		{"PEM", asPEM(der), ""},
		{"PEM and blank lines", append(asPEM(der), "\n\r\n"...), ""},
		{"DER and a second", slices.Concat(der, second), "follow the CRL"},
		{"DER and a byte", append(slices.Clone(der), 0), "follow the CRL"},
		{"PEM and a second", slices.Concat(asPEM(der), asPEM(second)), "goes on after the first CRL"},
		{"PEM and text", append(asPEM(der), "more"...), "goes on after the first CRL"},
		{"DER and a byte within PEM", asPEM(append(slices.Clone(der), 0)), "follow the CRL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newListServer(t, bytesOf(c.serve))
			s := newSource(t, newClock(), Config{Allow: []string{p.URL}})
			got := one(t, s, ca, p.URL+"/a.crl")
			if c.want == "" {
				wantNumber(t, got, 1)
				return
			}
			wantError(t, got, c.want)
		})
	}
}

func TestListRefused(t *testing.T) {
	// Covers: case 071, case 072, case 075
	ca, other := signer(t, "A"), signer(t, "A")
	mute := newAuthority(t, "A", x509.KeyUsageCertSign)
	cases := []struct {
		name   string
		issuer *authority
		serve  http.HandlerFunc
		want   string
	}{
		{"not there", ca, status(404), "answered 404"},
		{"redirect", ca, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/b", http.StatusFound)
		}, "redirects are not followed"},
		{"another key", ca, bytesOf(other.list(t, 1, epoch, time.Hour)), "not signed by the issuer"},
		{"another issuer", ca, bytesOf(signer(t, "B").list(t, 1, epoch, time.Hour)), "another issuer"},
		{"issuer may not sign lists", mute, bytesOf(mute.list(t, 1, epoch, time.Hour)), "may not sign lists"},
		{"run out", ca, bytesOf(ca.list(t, 1, epoch.Add(-2*time.Hour), time.Hour)), "the list ended at"},
		{"ahead", ca, bytesOf(ca.list(t, 1, epoch.Add(time.Hour), time.Hour)), "the list begins at"},
		{"no list", ca, bytesOf([]byte("hello")), "not a certificate revocation list"},
		{
			"other PEM",
			ca,
			bytesOf(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})),
			"not an X509 CRL",
		},
		{"gzip", ca, gzipped, "content coding"},
		{"endless", ca, endless, "longer than"},
		{"announced too long", ca, announced, "longer than"},
		{"slow", ca, slow, "deadline exceeded"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			p, timeout := newListServer(t, tc.serve), patience
			if tc.name == "slow" {
				timeout = 2 * time.Second
			}
			s := newSource(t, newClock(), Config{Allow: []string{p.URL}, MaxBytes: 1 << 16, Timeout: timeout})
			wantError(t, one(t, s, tc.issuer, p.URL+"/a.crl"), tc.want)
			one(t, s, tc.issuer, p.URL+"/a.crl")
			if n := p.hits.Load(); n != 1 {
				t.Errorf("fetched %d times for two questions in a row, want 1", n)
			}
		})
	}
}

func TestNumberIsBounded(t *testing.T) {
	// Covers: case 074
	for name, n := range map[string]*big.Int{
		"negative":  big.NewInt(-1),
		"21 octets": new(big.Int).Lsh(big.NewInt(1), 160),
	} {
		if _, err := newer(nil, &x509.RevocationList{Number: n}); err == nil {
			t.Errorf("%s number was taken", name)
		}
	}
}

func gzipped(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(w)
	_, _ = z.Write(make([]byte, 1<<20))
	_ = z.Close()
}

func endless(w http.ResponseWriter, _ *http.Request) {
	for {
		if _, err := w.Write(make([]byte, 4096)); err != nil {
			return
		}
	}
}

func announced(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "209715200")
	w.WriteHeader(200)
}

func slow(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		_, _ = w.Write([]byte{0x30})
		_ = http.NewResponseController(w).Flush()
		time.Sleep(50 * time.Millisecond)
	}
}

func TestListRunsOut(t *testing.T) {
	// Covers: case 071, D-13
	c, ca := newClock(), signer(t, "A")
	p := newListServer(t, bytesOf(ca.list(t, 3, epoch, time.Hour)))
	s := newSource(t, c, Config{Allow: []string{p.URL}})
	wantNumber(t, one(t, s, ca, p.URL+"/a.crl"), 3)
	p.serve(status(503))
	c.move(59 * time.Minute)
	wantNumber(t, one(t, s, ca, p.URL+"/a.crl"), 3)
	s.Refresh(context.Background())

	if st := s.State()[0]; !st.Expiring || !st.Usable || st.Error == "" {
		t.Fatalf("state %+v does not warn", st)
	}
	c.move(2 * time.Minute)
	s.Refresh(context.Background())
	wantError(t, one(t, s, ca, p.URL+"/a.crl"), "list number 3 ran out 1m0s ago")
	wantError(t, one(t, s, ca, p.URL+"/a.crl"), "answered 503")
	p.serve(bytesOf(ca.list(t, 4, c.now(), time.Hour)))

	c.move(longestWait)
	wantNumber(t, one(t, s, ca, p.URL+"/a.crl"), 4)
}

func TestEveryPointIsTried(t *testing.T) {
	// Covers: D-14
	ca := signer(t, "A")
	good := newListServer(t, bytesOf(ca.list(t, 1, epoch, time.Hour)))
	bad := newListServer(t, status(404))
	s := newSource(t, newClock(), Config{Allow: []string{good.URL, bad.URL}})
	q := udap.CRLQuery{Issuer: ca.cert, URLs: []string{bad.URL + "/a", good.URL + "/a", "ldap://x/y"}}
	got := s.CRLs(context.Background(), q)
	if len(got) != 3 || got[0].Err == nil || got[1].List == nil || got[2].Err == nil {
		t.Fatalf("answers %+v", got)
	}

	q.URLs = make([]string, 50)
	if n := len(s.CRLs(context.Background(), q)); n != maxPlaces {
		t.Fatalf("%d answers for 50 points, want %d", n, maxPlaces)
	}
}

// What a certificate names is a URL in whatever case, and never a file.
func TestPointsAreNeverFiles(t *testing.T) {
	// Covers: case 075
	ca := signer(t, "A")
	list := ca.list(t, 5, epoch, time.Hour)
	p := newListServer(t, bytesOf(list))
	t.Chdir(t.TempDir())
	file := filepath.Join("HTTP:", strings.TrimPrefix(p.URL, "http://"), "a.crl")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700),
		os.WriteFile(file, ca.list(t, 9, epoch, time.Hour), 0o600), os.WriteFile("b.crl", list, 0o600)); err != nil {
		t.Fatal(err)
	}

	s := newSource(t, newClock(), Config{Allow: []string{p.URL}})
	wantNumber(t, one(t, s, ca, "HTTP"+strings.TrimPrefix(p.URL, "http")+"/a.crl"), 5)
	for _, place := range []string{"b.crl", "file:b.crl", filepath.Join(t.TempDir(), "b.crl")} {
		wantError(t, one(t, s, ca, place), "only http and https")
	}
}

func TestStoreKeepsTheFloor(t *testing.T) {
	// Covers: case 071
	c, ca := newClock(), signer(t, "A")
	store := &MemoryStore{}
	p := newListServer(t, bytesOf(ca.list(t, 8, epoch, time.Hour)))
	cfg := Config{Allow: []string{p.URL}, Store: store}
	wantNumber(t, one(t, newSource(t, c, cfg), ca, p.URL+"/a"), 8)

	p.serve(status(503))
	wantNumber(t, one(t, newSource(t, c, cfg), ca, p.URL+"/a"), 8)

	p.serve(bytesOf(ca.list(t, 7, epoch.Add(-time.Minute), 10*time.Hour)))
	c.move(time.Minute)
	wantNumber(t, one(t, newSource(t, c, cfg), ca, p.URL+"/a"), 8)
	c.move(2 * time.Hour) // the stored list has run out; the older one still may not follow it
	wantError(t, one(t, newSource(t, c, cfg), ca, p.URL+"/a"), "older than the one known")

	// What the store gives back is judged again: it is no source of trust.
	forger := signer(t, "A")
	if err := store.SaveCRL(key{p.URL + "/a", issuerID(ca.cert)}.text(), StoredCRL{
		DER: forger.list(t, 99, epoch, 9*time.Hour),
	}); err != nil {
		t.Fatal(err)
	}

	wantNumber(t, one(t, newSource(t, c, cfg), ca, p.URL+"/a"), 7)
}

// countingStore counts how often a list is written.
type countingStore struct {
	MemoryStore
	saves int
}

func (c *countingStore) SaveCRL(key string, l StoredCRL) error {
	c.saves++
	return c.MemoryStore.SaveCRL(key, l)
}

func TestUnchangedListIsNotReadAgain(t *testing.T) {
	c, ca := newClock(), signer(t, "A")
	store := &countingStore{}
	p := newListServer(t, bytesOf(ca.list(t, 8, epoch, time.Hour)))
	s := newSource(t, c, Config{Allow: []string{p.URL}, Store: store})
	first := one(t, s, ca, p.URL+"/a")

	for range 5 {
		c.move(time.Minute)
		s.Refresh(context.Background())
	}

	again := one(t, s, ca, p.URL+"/a")
	if again.List != first.List || store.saves != 1 || !again.Fetched.Equal(c.now()) || p.hits.Load() != 6 {
		t.Fatalf("same list: %v, saved %d times, fetched %s, %d fetches", again.List == first.List, store.saves,
			again.Fetched, p.hits.Load())
	}
}

// fullStore has room for nothing.
type fullStore struct{ MemoryStore }

func (*fullStore) SaveCRL(string, StoredCRL) error { return errors.New("disk") }

// unreadableStore cannot give back what it kept.
type unreadableStore struct {
	MemoryStore
	broken atomic.Bool
}

func (u *unreadableStore) LoadCRL(key string) (StoredCRL, bool, error) {
	if u.broken.Load() {
		return StoredCRL{}, false, errors.New("damaged")
	}
	return u.MemoryStore.LoadCRL(key)
}

// A store that cannot be read is this server's trouble: an older CRL does not
// take the place of the one that cannot be read, and no verdict is given.
func TestUnreadableStoreRollsNothingBack(t *testing.T) {
	c, ca := newClock(), signer(t, "A")
	store := &unreadableStore{}
	p := newListServer(t, bytesOf(ca.list(t, 6, epoch, time.Hour, 42)))
	cfg := Config{Allow: []string{p.URL}, Store: store}
	wantNumber(t, one(t, newSource(t, c, cfg), ca, p.URL+"/a.crl"), 6)

	p.serve(bytesOf(ca.list(t, 5, epoch.Add(-time.Minute), 2*time.Hour)))
	store.broken.Store(true)
	again := newSource(t, c, cfg)
	got := one(t, again, ca, p.URL+"/a.crl")
	wantError(t, got, "cannot be read: damaged")
	if !errors.Is(got.Err, udap.ErrUnavailable) {
		t.Errorf("error %v is no sign of this server's own trouble", got.Err)
	}

	store.broken.Store(false)
	wantNumber(t, one(t, again, ca, p.URL+"/a.crl"), 6)
}

func TestFullStoreIsReported(t *testing.T) {
	ca := signer(t, "A")
	p := newListServer(t, bytesOf(ca.list(t, 8, epoch, time.Hour)))
	s := newSource(t, newClock(), Config{Allow: []string{p.URL}, Store: &fullStore{}})
	wantNumber(t, one(t, s, ca, p.URL+"/a"), 8)
	if st := s.State()[0]; st.Error == "" || st.Number != "8" || !st.Usable {
		t.Fatalf("state %+v", st)
	}
}

func TestConfiguredLists(t *testing.T) {
	// Covers: case 071
	ca, root := signer(t, "A"), signer(t, "root")
	dir := t.TempDir()
	file := filepath.Join(dir, "a.crl")
	rootFile := filepath.Join(dir, "root.crl")
	list := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: ca.list(t, 2, epoch, time.Hour)})
	if err := errors.Join(os.WriteFile(file, list, 0o600),
		os.WriteFile(rootFile, root.list(t, 1, epoch, time.Hour), 0o600)); err != nil {
		t.Fatal(err)
	}

	p := newListServer(t, bytesOf(ca.list(t, 3, epoch, time.Hour)))
	s := newSource(t, newClock(), Config{Configured: []Configured{
		{"urn:a", file}, {"urn:a", rootFile}, {"urn:b", p.URL + "/b.crl"}, {"", filepath.Join(dir, "missing")},
	}})
	q := udap.CRLQuery{Community: "urn:a", Issuer: ca.cert}
	got := s.CRLs(context.Background(), q)
	if len(got) != 2 || got[0].List == nil || got[1].Err == nil {
		t.Fatalf("answers %+v: want the file's list and the missing file's error", got)
	}

	q.Community = "urn:b"
	if got = s.CRLs(context.Background(), q); got[0].List == nil || got[0].List.Number.Int64() != 3 {
		t.Fatalf("answers %+v: want list 3 from the configured URL", got)
	}
	if got = s.CRLs(context.Background(), udap.CRLQuery{Community: "urn:a"}); got != nil {
		t.Fatalf("answers without an issuer: %+v", got)
	}
}

func TestRunRefreshes(t *testing.T) {
	// Covers: case 070
	c, ca := newClock(), signer(t, "A")
	p := newListServer(t, bytesOf(ca.list(t, 1, epoch, time.Hour)))
	s := newSource(t, c, Config{Allow: []string{p.URL}, Refresh: 20 * time.Millisecond})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	wantNumber(t, one(t, s, ca, p.URL+"/a"), 1)
	p.serve(bytesOf(ca.list(t, 2, epoch, time.Hour, 42)))

	for deadline := time.Now().Add(patience); s.State()[0].Number != "2" && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	wantNumber(t, one(t, s, ca, p.URL+"/a"), 2)
	c.move(idle + time.Minute) // nobody asks any more: the list is left alone
	quiet := false
	for deadline := time.Now().Add(patience); !quiet && time.Now().Before(deadline); {
		hits := p.hits.Load()
		time.Sleep(100 * time.Millisecond)
		quiet = p.hits.Load() == hits
	}

	if !quiet {
		t.Fatal("a list that nobody asks for is fetched on and on")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("Run ended with %v", err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	// Covers: case 075
	ca := signer(t, "A")
	der := ca.list(t, 1, epoch, time.Hour)
	p := newListServer(t, bytesOf(der))

	for name, cfg := range map[string]Config{"count": {MaxCRLs: 3}, "bytes": {MaxTotal: int64(3 * len(der))}} {
		cfg.Allow = []string{p.URL}
		s := newSource(t, newClock(), cfg)
		for i := range 10 {
			wantNumber(t, one(t, s, ca, p.URL+"/"+string(rune('a'+i))), 1)
		}
		if n := len(s.State()); n != 3 {
			t.Errorf("%s: %d lists kept, want 3", name, n)
		}
	}
}

func TestCallerMayLeave(t *testing.T) {
	ca := signer(t, "A")
	release := make(chan struct{})
	der := ca.list(t, 1, epoch, time.Hour)
	ctx, leave := context.WithCancel(context.Background())
	p := newListServer(t, func(w http.ResponseWriter, _ *http.Request) {
		leave()
		<-release
		_, _ = w.Write(der)
	})
	s := newSource(t, newClock(), Config{Allow: []string{p.URL}})

	got := s.CRLs(ctx, udap.CRLQuery{Issuer: ca.cert, URLs: []string{p.URL + "/a"}})
	wantError(t, got[0], "has not ended yet")
	close(release)
	wantNumber(t, one(t, s, ca, p.URL+"/a"), 1)
}

func TestNewNeedsAClock(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Fatal("a Source without a clock was made")
	}
}

// A CRL may write the name of its issuer in another way than the issuer's own
// certificate (RFC 5280 7.1).
// Covers: S1-105, S1-176
func TestSpelledIssuerOfList(t *testing.T) {
	ca := signer(t, "A  ca")
	for name, same := range map[string]bool{"A CA": true, "A  ca ": true, "B": false} {
		t.Run(name, func(t *testing.T) {
			spelled := *ca.cert
			spelled.RawSubject = signer(t, name).cert.RawSubject
			p := newListServer(t, bytesOf((&authority{&spelled, ca.key}).list(t, 3, epoch, time.Hour)))
			s := newSource(t, newClock(), Config{Allow: []string{p.URL}})
			got := one(t, s, ca, p.URL+"/a.crl")
			if !same {
				wantError(t, got, "another issuer")
				return
			}

			wantNumber(t, got, 3)
		})
	}
}
