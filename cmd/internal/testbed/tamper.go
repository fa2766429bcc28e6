package testbed

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/supervise"
)

// tamperer stands between the delegated intermediary and the destination and
// flips one bit of one answer, once. It shows that a change on the way does not
// go unnoticed; the relay itself has no such switch.
type tamperer struct {
	ln    net.Listener
	inner string // address of the destination
	tls   *tls.Config
	out   *tls.Config
	once  sync.Once
}

// mark is what the changed answer holds: every sample resource is labelled so.
var mark = []byte("HTEST")

// newTamperer listens on a port of its own with the destination's certificate.
func newTamperer(w *Env) (*tamperer, error) {
	id, err := certs.LoadIdentity(
		w.path("tls", "destination.pem"),
		w.path("tls", "destination.key"),
	)
	if err != nil {
		return nil, err
	}

	ca, err := certs.LoadCertificates(w.path("tls", "ca.pem"))
	if err != nil {
		return nil, err
	}

	roots := x509.NewCertPool()
	roots.AddCert(ca[0])
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}

	return &tamperer{
		ln:    ln,
		inner: supervise.Dialable(w.Ports["private"].Address),
		tls: &tls.Config{
			Certificates: []tls.Certificate{id.TLS()},
			NextProtos:   []string{"http/1.1"},
			MinVersion:   tls.VersionTLS12,
		},
		out: &tls.Config{
			RootCAs:    roots,
			ServerName: w.name("destination"),
			NextProtos: []string{"http/1.1"},
			MinVersion: tls.VersionTLS12,
		},
	}, nil
}

// actor lets the cast start it, before whoever dials it. It has listened since
// it was made.
func (t *tamperer) actor() supervise.Actor {
	return supervise.Actor{
		Name: "tamperer",
		Role: "tamper",
		Run: func(ctx context.Context, _ *supervise.Port) error {
			return t.runActor(ctx)
		},
	}
}

// play relays until ctx ends.
func (t *tamperer) runActor(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		_ = t.ln.Close()
	})
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()

	for {
		conn, err := t.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		wg.Go(func() {
			t.relay(ctx, tls.Server(conn, t.tls))
		})
	}
}

func (t *tamperer) relay(ctx context.Context, client *tls.Conn) {
	defer client.Close()
	if err := client.HandshakeContext(ctx); err != nil {
		return
	}

	server, err := (&tls.Dialer{Config: t.out}).DialContext(ctx, "tcp", t.inner)
	if err != nil {
		return
	}
	defer server.Close()

	stop := context.AfterFunc(ctx, func() {
		_, _ = client.Close(), server.Close()
	})
	defer stop()
	go func() {
		_, _ = io.Copy(server, client) // a broken side ends the relay; the hops report it
		_ = server.Close()
	}()
	_, _ = io.Copy(client, &flipping{server, t})
}

// flipping reads answers and flips a bit in the first one that bears the mark.
type flipping struct {
	io.Reader
	t *tamperer
}

func (f *flipping) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if i := bytes.Index(p[:n], mark); i >= 0 {
		f.t.once.Do(func() { p[i] ^= 0x20 }) // 'H' becomes 'h'
	}
	return n, err
}
