package gatewayd

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"fhirdest.example/certs/netname"
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

	config    Config
	seen      [sha256.Size]byte // what the files held, at the latest, when they were last read
	certs     holder
	tls       *tls.Config
	log       *evidence.Log
	gw        *gateway.Gateway
	adminPort net.Listener // nil until it listens
}

// New makes a gateway of the file at path, or returns every complaint.
func New(path string, log *slog.Logger, now func() time.Time) (*Server, error) {
	c, err := Read(path)
	if err != nil {
		return nil, err
	}

	s := &Server{Path: path, Log: log, Now: now, config: c}
	s.seen = s.held()
	said, err := read(path) // again, so that no change after the look is missed
	if err != nil {
		return nil, err
	}

	s.config = said.Config
	s.certs.Store(said.certs)
	s.tls = s.certs.tls()
	if err := s.openEvidence(); err != nil {
		return nil, err
	}

	s.gw, err = gateway.New(s.complete(said.gateway))
	if err != nil && s.log != nil {
		s.log.Close()
	}
	return s, err
}

// Listen listens where the file says, for clients and for administration.
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

func (s *Server) listenAdmin() error {
	if s.config.Admin.Listen == "" || s.adminPort != nil {
		return nil
	}

	l, err := net.Listen("tcp", s.config.Admin.Listen)
	if err != nil {
		return complaint.New(
			fmt.Sprintf("admin.listen: %v", err),
			"choose a free loopback address",
		)
	}

	s.adminPort = l
	return nil
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
	g.TLS, g.Now, g.Log = s.tls, s.Now, s.Log
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

// serveAdmin serves health and metrics, where the file says so.
func (s *Server) serveAdmin() (stop func()) {
	if s.adminPort == nil {
		return func() {}
	}
	srv := &http.Server{Handler: s.adminPages(), ReadHeaderTimeout: 5 * time.Second}
	go srv.Serve(s.adminPort)
	return func() { srv.Close(); s.adminPort.Close() }
}

// adminPages answers loopback names only, so that no page in a browser can ask.
func (s *Server) adminPages() http.Handler {
	mux := http.NewServeMux()
	health := func(w http.ResponseWriter, _ *http.Request) {
		if err := s.gw.Healthy(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
	mux.HandleFunc("GET /health", health)

	mux.HandleFunc("GET /ready", health)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		s.gw.WriteMetrics(w)
		if s.log != nil {
			fmt.Fprintf(w,
				"# HELP gateway_evidence_lost_total Lines of evidence that could not be written.\n# TYPE gateway_evidence_lost_total counter\ngateway_evidence_lost_total %d\n", s.log.Lost())
		}
	})

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !netname.Loopback(host) {
			http.Error(w, "unknown host", http.StatusMisdirectedRequest)
			return
		}

		mux.ServeHTTP(w, r)
	})
}

// watch takes up changes of the files, and reads all again when asked.
func (s *Server) watch(ctx context.Context) {
	t := time.NewTicker(300 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.Hangup:
		case <-t.C:
			now := s.held()
			if now == s.seen {
				continue
			}
			s.seen = now
		}

		s.reload()
	}
}

// held digests the files. Times of change would not do: two changes may bear the same.
func (s *Server) held() (sum [sha256.Size]byte) {
	files := []string{s.Path}
	for _, p := range s.config.TLS {
		files = append(files, s.config.path(p.Cert), s.config.path(p.Key))
	}
	for _, r := range s.config.Routes {
		files = append(files, s.config.path(r.CA), s.config.path(r.Cert), s.config.path(r.Key))
	}
	h := sha256.New()

	for _, f := range files {
		b, err := os.ReadFile(f)
		fmt.Fprintf(h, "%q %v %d %s", f, err == nil, len(b), b)
	}

	h.Sum(sum[:0])
	return sum
}

// reload puts what the files now say in force, or keeps everything as it is: a pair
// that does not fit together, as in the middle of a replacement, changes nothing.
func (s *Server) reload() {
	said, err := read(s.Path)
	if err == nil {
		err = s.gw.Reload(s.complete(said.gateway))
	}
	if err != nil {
		s.Log.Warn("the configuration was read again and is not used", "error", err)
		return
	}

	s.certs.Store(said.certs)
	s.config.TLS, s.config.Routes = said.TLS, said.Routes
	s.Log.Info("configuration and certificates were read again")
}
