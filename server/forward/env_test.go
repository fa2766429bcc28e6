package forward_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/forward"
	"fhirdest.example/server/servertest"
)

// memory is a Source over records in memory.
type memory struct {
	mu        sync.Mutex
	events    []forward.Event
	positions map[string]forward.Place
	saved     []uint64
}

// records returns a Source with n records. Their numbers have gaps, as those of a
// real store may.
func records(n int) *memory {
	m := &memory{positions: map[string]forward.Place{}}
	m.add(n)
	return m
}

func (m *memory) add(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		i := uint64(len(m.events) + 1)
		id := fmt.Sprint("a", i)
		m.events = append(m.events, forward.Event{
			Place: forward.Place{
				Number:   3 * i,
				Sequence: i,
			},
			Chain:   "east",
			InChain: i,
			Time:    time.Unix(1e9+int64(i), 0),
			Outcome: []string{"0", "4", "8", "12"}[i%4],
			ID:      id,
			Body:    []byte(`{"resourceType":"AuditEvent","id":"` + id + `","outcomeDesc":"ä"}`),
		})
	}
}

func (m *memory) After(_ context.Context, at forward.Place, most int) ([]forward.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, e := range m.events {
		if e.Number > at.Number {
			return m.events[i:min(len(m.events), i+most)], nil
		}
	}
	return nil, nil
}

// Lead reports that there is no other process.
func (m *memory) Lead(context.Context, string) (bool, error) { return true, nil }

func (m *memory) Newest(context.Context) (forward.Place, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.events[len(m.events)-1].Place, nil
}

func (m *memory) Position(_ context.Context, name string) (forward.Place, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.positions[name], nil
}

func (m *memory) SavePosition(_ context.Context, name string, at forward.Place) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.positions[name] = at
	m.saved = append(m.saved, at.Sequence)
	return nil
}

// env has a CA, and configurations of both ends of a connection.
type env struct {
	tb testing.TB
	*servertest.Env
	pool *x509.CertPool
}

func newEnv(tb testing.TB) *env {
	e := &env{
		tb:   tb,
		Env:  servertest.NewEnv(tb),
		pool: x509.NewCertPool(),
	}
	e.pool.AddCert(e.TLS.Cert)
	return e
}

// identity issues a certificate for a name.
func (e *env) identity(name string) tls.Certificate {
	key := e.Key(certs.P256)
	leaf, err := e.TLS.Issue(certs.Template{
		CommonName: name,
		DNS:        []string{name},
		NotBefore:  time.Now().Add(-time.Hour),
		NotAfter:   time.Now().Add(time.Hour),
		Mutate: func(c *x509.Certificate) {
			c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
		},
	}, key.Public())
	if err != nil {
		e.tb.Fatal(err)
	}
	return (&certs.Identity{Chain: []*x509.Certificate{leaf}, Key: key}).TLS()
}

// receiver is the TLS configuration of a receiver whose certificate is for a name.
func (e *env) receiver(name string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{e.identity(name)},
		ClientCAs:    e.pool,
	}
}

// sender is the TLS configuration of a sender that expects the name.
func (e *env) sender(own ...tls.Certificate) func() (*tls.Config, error) {
	return func() (*tls.Config, error) {
		return &tls.Config{
			RootCAs:      e.pool,
			ServerName:   "collector.example",
			Certificates: own,
		}, nil
	}
}

// run starts a Forwarder over a collector, and stops it at the end of the test.
func (e *env) run(m *memory, c forward.Collector, change ...func(*forward.Config)) *forward.Forwarder {
	f, stop := e.start(m, c, change...)
	e.tb.Cleanup(stop)
	return f
}

// start starts a Forwarder over a collector; stop ends it.
func (e *env) start(
	m *memory,
	c forward.Collector,
	change ...func(*forward.Config),
) (f *forward.Forwarder, stop func()) {
	cfg := forward.Config{
		Name:      "test",
		Source:    m,
		Collector: c,
		Now:       time.Now,
		Log:       slog.New(slog.DiscardHandler),
		Poll:      5 * time.Millisecond,
		Pause:     5 * time.Millisecond,
	}
	for _, f := range change {
		f(&cfg)
	}

	f = forward.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		f.Run(ctx)
		close(done)
	}()

	return f, func() {
		cancel()
		<-done
	}
}

// listen listens with TLS, and passes each connection to handle.
func (e *env) listen(cfg *tls.Config, handle func(*tls.Conn)) string {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.tb.Fatal(err)
	}

	var open sync.WaitGroup
	open.Go(func() {
		for {
			raw, err := plain.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer raw.Close()
				handle(tls.Server(raw, cfg))
			})
		}
	})
	e.tb.Cleanup(func() {
		plain.Close()
		open.Wait()
	})
	return plain.Addr().String()
}
