package postgres_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/postgrestest"
	"fhirdest.example/udap"
	"fhirdest.example/udap/fetch"
)

// publisher is an authority that publishes its list in a file.
type publisher struct {
	ca    *certs.CA
	file  string
	start time.Time
}

func newPublisher(t *testing.T) *publisher {
	t.Helper()
	p := &publisher{
		file:  filepath.Join(t.TempDir(), "list.crl"),
		start: time.Now().Add(-time.Hour).Truncate(time.Second),
	}
	key, err := certs.NewKey(certs.P256)
	if err != nil {
		t.Fatal(err)
	}
	p.ca, err = certs.NewRoot(certs.Template{
		CommonName: "authority",
		NotBefore:  p.start,
		NotAfter:   p.start.Add(24 * time.Hour),
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// publish puts the list with a number in the place of the former one.
func (p *publisher) publish(t *testing.T, number int64) {
	t.Helper()
	der, err := p.ca.CRL(certs.CRLTemplate{
		Number:     number,
		ThisUpdate: p.start.Add(time.Duration(number) * time.Minute),
		NextUpdate: p.start.Add(12 * time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := certs.WriteFile(p.file, der, certs.ModePublic); err != nil {
		t.Fatal(err)
	}
}

// source returns a destination's source of lists, which keeps them in a store.
func (p *publisher) source(t *testing.T, s *postgres.Trust) *fetch.Source {
	t.Helper()
	source, err := fetch.New(fetch.Config{
		Configured: []fetch.Configured{{Place: p.file}},
		Refresh:    time.Hour,
		Store:      s,
		Now:        time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// number returns that of the list that counts for a source; 0: none does.
func (p *publisher) number(t *testing.T, s *fetch.Source) int64 {
	t.Helper()
	for _, a := range s.CRLs(t.Context(), udap.CRLQuery{Issuer: p.ca.Cert}) {
		if a.List != nil {
			return a.List.Number.Int64()
		}
	}
	return 0
}

// A list that one destination keeps counts at the others, at once where they watch, and
// with their next fetch where they do not; no destination rolls it back.
func TestListsNeverRollBack(t *testing.T) {
	at, p := postgrestest.New(t), newPublisher(t)
	east, west := p.source(t, openAt(t, at)), p.source(t, openAt(t, at))
	watching := p.source(t, openAt(t, at))
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { _ = watching.Run(ctx) }) // it ends with ctx
	t.Cleanup(func() {
		cancel()
		run.Wait()
	})

	p.publish(t, 1)
	for name, s := range map[string]*fetch.Source{"east": east, "west": west, "watching": watching} {
		if n := p.number(t, s); n != 1 {
			t.Fatalf("%s has list %d at first", name, n)
		}
	}

	p.publish(t, 5)
	east.Refresh(t.Context())
	for p.number(t, watching) != 5 { // until the notice has come
		select {
		case <-t.Context().Done():
			t.Fatal("the list of the other destination never came")
		case <-time.After(5 * time.Millisecond):
		}
	}

	p.publish(t, 3) // a mirror that is behind
	if n := p.number(t, west); n != 1 {
		t.Errorf("west has list %d without having fetched any", n)
	}
	for name, s := range map[string]*fetch.Source{"west": west, "east": east, "watching": watching} {
		s.Refresh(t.Context())
		if n := p.number(t, s); n != 5 {
			t.Errorf("%s has list %d after it fetched an older one", name, n)
		}
	}

	late := p.source(t, openAt(t, at))
	if n := p.number(t, late); n != 5 {
		t.Errorf("a destination that starts has list %d", n)
	}
}

// A list that was kept is found under its name, however long that is.
func TestLists(t *testing.T) {
	p := newPublisher(t)
	p.publish(t, 1)
	der, err := os.ReadFile(p.file)
	if err != nil {
		t.Fatal(err)
	}

	s := openTrust(t)
	name := string(make([]byte, 8_000)) + "\xff"
	want := fetch.StoredCRL{
		DER:     der,
		Fetched: p.start.UTC(),
	}
	if err := s.store.SaveCRL(name, want); err != nil {
		t.Fatal(err)
	}
	got, ok, err := s.reopen(t).LoadCRL(name)
	if err != nil || !ok || string(got.DER) != string(der) || !got.Fetched.Equal(want.Fetched) {
		t.Errorf("kept: %v, %v, %v", got.Fetched, ok, err)
	}
	if _, ok, err := s.store.LoadCRL("another"); ok || err != nil {
		t.Errorf("of another name: %v, %v", ok, err)
	}
	if err := s.store.SaveCRL(name, fetch.StoredCRL{DER: []byte("no list")}); err == nil {
		t.Error("what is no list was kept")
	}
}
