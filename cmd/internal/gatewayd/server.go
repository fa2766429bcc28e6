package gatewayd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"fhirdest.example/gateway"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/gateway/evidence"
)

// Server runs one gateway.
type Server struct {
	// Path is the YAML file, read again when it changes; empty: it is not.
	Path string
	Log  *slog.Logger
	Now  func() time.Time
	// Hangup asks for everything to be read again; nil: nobody does.
	Hangup <-chan struct{}

	config Config
	// refused is the configuration that was read last and is not in force, or nil: what it
	// names is watched, too, as a file that was missing may come.
	refused *Config
	files   files // at the latest as they were last read
	certs   holder
	tls     *tls.Config
	log     *evidence.Log
	gw      *gateway.Gateway
	// adminPort and healthPort are nil until they listen.
	adminPort, healthPort net.Listener
}

// New makes a gateway of the file at path, or returns every complaint.
func New(path string, log *slog.Logger, now func() time.Time) (*Server, error) {
	c, err := Read(path)
	if err != nil {
		return nil, err
	}

	s := &Server{
		Path:   path,
		Log:    log,
		Now:    now,
		config: c,
		files:  files{now: now},
	}
	s.files.changed(s.named())

	l, err := load(path) // again, so that no change after the look is missed
	if err != nil {
		return nil, err
	}

	s.config = l.Config
	s.certs.Store(l.certs)
	s.tls = s.certs.tls()
	if err := s.openEvidence(); err != nil {
		return nil, err
	}

	s.gw, err = gateway.New(s.complete(l.gateway))
	if err != nil && s.log != nil {
		s.log.Close()
	}
	return s, err
}

// Listen listens on the addresses of the file, for clients and for administration.
func (s *Server) Listen() (net.Listener, error) {
	l, err := net.Listen("tcp", s.config.Listen)
	if err != nil {
		return nil, complaint.New(
			fmt.Sprintf("cannot listen on %s: %v", s.config.Listen, err),
			"end the program that uses it, or change listen:",
		)
	}
	if err := s.listenAdmin(); err != nil {
		l.Close()
		return nil, err
	}

	return l, nil
}

// listenAdmin listens for administration, once.
func (s *Server) listenAdmin() (err error) {
	if s.adminPort != nil || s.healthPort != nil {
		return nil
	}
	if s.adminPort, err = listen("admin.listen", s.config.Admin.Listen); err != nil {
		return err
	}

	s.healthPort, err = listen("admin.health", s.config.Admin.Health)
	if err != nil && s.adminPort != nil {
		s.adminPort.Close()
		s.adminPort = nil
	}

	return err
}

// listen listens on an address, if there is one.
func listen(key, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}

	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, complaint.New(fmt.Sprintf("%s: %v", key, err),
			"choose a free port of an address of this machine")
	}

	return l, nil
}

func (s *Server) openEvidence() error {
	e := s.config.Evidence
	if e.File == "" {
		return nil
	}

	var err error
	s.log, err = evidence.Open(s.config.path(e.File), s.config.hop(), evidence.Options{
		Flush: e.Flush, Sync: evidence.SyncPolicy(e.Sync), Rotate: e.Rotate, Now: s.Now})
	if err != nil {
		return complaint.New(
			fmt.Sprintf("evidence.file: %v", err),
			"name a file in a directory that can be written",
		)
	}

	return nil
}

// complete is the configuration with what only a running program has.
func (s *Server) complete(g gateway.Config) gateway.Config {
	g.TLS, g.Now, g.Log, g.Explain = s.tls, s.Now, s.Log, explain
	if s.log != nil {
		g.Evidence = s.log
	}
	return g
}

// Serve passes what clients on l send until ctx ends, and then what is under way.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if err := s.listenAdmin(); err != nil {
		l.Close()
		return err
	}
	defer s.serveAdmin()()

	watch, stop := context.WithCancel(ctx)
	defer stop()
	go s.watch(watch)
	err := s.gw.Serve(ctx, l)
	if s.log != nil {
		err = errors.Join(err, s.log.Close())
	}

	return err
}

// Memory returns what the process should stay within, in bytes; 0: there is no limit.
func (s *Server) Memory() int64 {
	return s.gw.Usage().MaxMemory / 3 * 4
}

// watch puts changes of the files in force, and reads all again when asked.
func (s *Server) watch(ctx context.Context) {
	t := time.NewTimer(lookEvery)
	defer t.Stop()
	for {
		changed := true
		select {
		case <-ctx.Done():
			return
		case <-s.Hangup:
		case <-t.C:
			begun := time.Now()
			changed = s.files.changed(s.named())
			t.Reset(max(lookEvery, 100*time.Since(begun)))
		}

		if changed {
			s.reload()
		}
	}
}

// lookEvery is how often the files are looked at, unless that needs more than a
// hundredth of the time.
const lookEvery = 300 * time.Millisecond

// named are the files that the configuration consists of.
func (s *Server) named() []string {
	list := []string{s.Path}
	add := func(files ...string) {
		for _, f := range files {
			if f != "" {
				list = append(list, s.config.path(f))
			}
		}
	}

	for _, c := range []*Config{&s.config, s.refused} {
		if c == nil {
			continue
		}

		for _, p := range c.TLS {
			add(p.Cert, p.Key)
		}

		for _, r := range c.Routes {
			add(r.CA, r.Cert, r.Key)
		}
	}

	return list
}

// reload puts what is now in the files in force, or keeps everything as it is: a pair
// that does not fit together, as in the middle of a replacement, changes nothing.
func (s *Server) reload() {
	l, err := load(s.Path)
	if err == nil {
		err = s.gw.Reload(s.complete(l.gateway))
	}
	if err != nil {
		s.refused = &l.Config
		s.Log.Warn("the configuration was read again and is not used", "error", err)
		return
	}

	s.refused = nil
	s.certs.Store(l.certs)
	s.config.TLS, s.config.Routes, s.config.Limits = l.TLS, l.Routes, l.Limits
	s.Log.Info("routes, certificates, timeouts and limits were read again")
	if keys := s.config.needRestart(&l.Config); len(keys) > 0 {
		s.Log.Warn(
			"changes that need a restart are not in force",
			"keys",
			strings.Join(keys, ", "),
		)
	}
}

// needRestart returns the keys of what differs in now and a reload does not put in force.
func (c *Config) needRestart(now *Config) (keys []string) {
	before := c.Evidence
	after := now.Evidence
	before.OnFailure, after.OnFailure = "", "" // a reload puts it in force
	for _, k := range []struct {
		key   string
		other bool
	}{
		{"listen", c.Listen != now.Listen},
		{"admin", c.Admin != now.Admin},
		{"hop", c.hop() != now.hop()},
		{"log", c.Log != now.Log},
		{"evidence", before != after},
	} {
		if k.other {
			keys = append(keys, k.key)
		}
	}

	return keys
}
