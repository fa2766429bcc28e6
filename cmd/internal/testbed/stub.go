package testbed

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/gatewayd"
)

// Stub is a gateway in the place of one that this program has not started
// and must not stop: the same configuration and name, another key and port.
type Stub struct {
	Dir      string
	Manifest *Manifest
	Now      func() time.Time

	own    string // directory of its key
	config string // its configuration, beside the gateway's
	cancel context.CancelFunc
	done   chan error
}

// ErrNoCA is the error of a stub that cannot be made.
var ErrNoCA = errors.New("the key of the web servers' CA is not at hand, so no other gateway can be made")

// Start makes a key and serves; the address is for the client to dial.
func (s *Stub) Start(ctx context.Context) (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	if err := s.configure(ln.Addr().String()); err != nil {
		return "", errors.Join(err, ln.Close())
	}

	g, err := gatewayd.New(s.config, slog.New(slog.NewTextHandler(io.Discard, nil)), s.Now)
	if err != nil {
		return "", errors.Join(err, ln.Close())
	}

	ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.done = make(chan error, 1)
	go func() { s.done <- g.Serve(ctx, ln) }()
	return ln.Addr().String(), nil
}

// configure writes the gateway's configuration with another listener and key.
func (s *Stub) configure(address string) error {
	c, err := gatewayd.Read(filepath.Join(s.Dir, filepath.FromSlash(s.Manifest.Configs["gateway"])))
	if err != nil {
		return err
	}
	if s.own, err = os.MkdirTemp(s.Dir, ".stand-in-"); err != nil {
		return err
	}

	w := &Env{
		Dir:  s.Dir,
		Host: s.Manifest.PublicHost(),
		Now:  s.Now(),
	}

	pair := filepath.Join(s.own, "gateway")
	if err := w.makeTLSAt("gateway", pair); errors.Is(err, os.ErrNotExist) {
		return ErrNoCA
	} else if err != nil {
		return err
	}

	c.Listen, c.TLS = address, []gatewayd.KeyPair{{
		Cert: pair + ".pem",
		Key:  pair + ".key",
	}}
	c.Admin = gatewayd.Admin{}
	data, err := yaml.Marshal(c)
	if err != nil {
		return err
	}

	s.config = s.own + ".yaml"
	return certs.WriteFile(s.config, data, certs.ModeSecret)
}

// Stop ends it and removes what it needed.
func (s *Stub) Stop() error {
	var err error
	if s.cancel != nil {
		s.cancel()
		err = <-s.done
	}
	if s.own != "" {
		err = errors.Join(err, os.RemoveAll(s.own))
	}

	if s.config != "" {
		err = errors.Join(err, os.Remove(s.config))
	}
	return err
}
