package postgres_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"fhirdest.example/server/bolt"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/storetest"
	"fhirdest.example/server/postgres"
	"fhirdest.example/server/postgres/local"
)

// closer is a store that a benchmark closes.
type closer interface {
	oauth.Store
	Close() error
}

// engines opens an empty store of each kind, whose commits wait for the disk.
var engines = []struct {
	name string
	open func(b *testing.B) closer
}{
	{"bolt", func(b *testing.B) closer {
		s, err := bolt.OpenTrust(filepath.Join(b.TempDir(), "trust.bolt"), bolt.Options{})
		if err != nil {
			b.Fatal(err)
		}
		return s
	}},
	{"postgres", func(b *testing.B) closer {
		server, err := local.Start(b.Context(), serverDirectory(b), local.Options{Durable: true})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := server.Stop(); err != nil {
				b.Error(err)
			}
		})

		c := postgres.Config{URL: server.URL(local.Account)}
		if _, err := postgres.Migrate(b.Context(), c); err != nil {
			b.Fatal(err)
		}
		s, err := postgres.OpenTrust(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		return s
	}},
}

// BenchmarkTrust issues tokens and looks one up, as many callers at once, with Bolt and
// PostgreSQL beside each other. CPU is that of this process: PostgreSQL's is beside it.
func BenchmarkTrust(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		for _, e := range engines {
			b.Run(fmt.Sprintf("issue/%d/%s", callers, e.name), func(b *testing.B) {
				s, token, _ := seeded(b, e.open(b))
				measureBy(b, callers, func(i int) error {
					_, err := s.Issue(context.Background(), storetest.Spend(fmt.Sprint("jti ", i)), token)
					return err
				})
			})
			b.Run(fmt.Sprintf("live/%d/%s", callers, e.name), func(b *testing.B) {
				s, token, h := seeded(b, e.open(b))
				measureBy(b, callers, func(int) error {
					held, err := s.Live(context.Background(), h, token.Hash)
					if err == nil && held.Token == nil {
						err = oauth.ErrNoRegistration
					}
					return err
				})
			})
		}
	}
}

// seeded registers a client, and issues a token.
func seeded(b *testing.B, s closer) (closer, oauth.Token, oauth.Handle) {
	b.Helper()
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})

	_, _, err := s.Register(b.Context(), storetest.Spend("register"), oauth.Registration{
		ID:        "c",
		Community: "urn:a",
		Client:    "https://c.test",
	})
	if err != nil {
		b.Fatal(err)
	}
	token := oauth.Token{
		Hash:      oauth.Hash{1},
		ClientID:  "c",
		Community: "urn:a",
		Client:    "https://c.test",
		Scope:     []string{"system/Patient.rs"},
		Issued:    storetest.Start,
		Expires:   storetest.Start.Add(time.Hour),
	}
	h, err := s.Issue(b.Context(), storetest.Spend("first"), token)
	if err != nil {
		b.Fatal(err)
	}
	return s, token, h
}

// measureBy runs work b.N times by a number of callers.
func measureBy(b *testing.B, callers int, work func(i int) error) {
	var all sync.WaitGroup
	numbers := make(chan int)
	for range callers {
		all.Go(func() {
			for i := range numbers {
				if err := work(i); err != nil {
					b.Error(err)
				}
			}
		})
	}

	b.ResetTimer()
	before := processCPU()
	for i := range b.N {
		numbers <- i
	}
	close(numbers)
	all.Wait()
	b.ReportMetric(float64((processCPU()-before).Microseconds())/float64(b.N), "cpu-µs/op")
	b.StopTimer()
}

func processCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
