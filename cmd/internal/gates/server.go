package gates

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"fhirdest.example/cmd/internal/yamlfile"
	"fhirdest.example/gateway"
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
	certs  holder
	tls    *tls.Config
	log    *evidence.Log
	gw     *gateway.Gateway
}

// New makes a gateway of the file at path, or returns every complaint.
func New(path string, log *slog.Logger, now func() time.Time) (*Server, error) {
	c, err := Read(path)
	if err != nil {
		return nil, err
	}
	s := &Server{Path: path, Log: log, Now: now, config: c}
	n, _ := c.certificates() // read without complaint just before
	s.certs.Store(n)
	s.tls = s.certs.tls()
	if err := s.openEvidence(); err != nil {
		return nil, err
	}
	g, err := s.gateway(&c)
	if err == nil {
		s.gw, err = gateway.New(g)
	}
	if err != nil && s.log != nil {
		s.log.Close()
	}
	return s, err
}

// Listen listens where the file says.
func (s *Server) Listen() (net.Listener, error) {
	l, err := net.Listen("tcp", s.config.Listen)
	if err != nil {
		return nil, &yamlfile.Complaint{Problem: fmt.Sprintf("cannot listen on %s: %v", s.config.Listen, err), Remedy: "end the program that uses it, or change listen:"}
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
		return &yamlfile.Complaint{Problem: fmt.Sprintf("evidence.file: %v", err), Remedy: "name a file in a directory that can be written"}
	}
	return nil
}

// gateway is the configuration with what only a running program has.
func (s *Server) gateway(c *Config) (gateway.Config, error) {
	g, err := c.gateway()
	g.TLS, g.Now, g.Log = s.tls, s.Now, s.Log
	if s.log != nil {
		g.Evidence = s.log
	}
	return g, err
}

// Serve passes what clients on l send until ctx ends, and then what is under way.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stopAdmin, err := s.admin()
	if err != nil {
		l.Close()
		return err
	}
	defer stopAdmin()
	watch, stop := context.WithCancel(ctx)
	defer stop()
	go s.watch(watch)
	err = s.gw.Serve(ctx, l)
	if s.log != nil {
		err = errors.Join(err, s.log.Close())
	}
	return err
}

// admin serves health and metrics, where the file says so.
func (s *Server) admin() (stop func(), err error) {
	if s.config.Admin.Listen == "" {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", s.config.Admin.Listen)
	if err != nil {
		return nil, &yamlfile.Complaint{Problem: fmt.Sprintf("admin.listen: %v", err), Remedy: "choose a free loopback address"}
	}
	srv := &http.Server{Handler: s.adminPages(), ReadHeaderTimeout: 5 * time.Second}
	go srv.Serve(l)
	return func() { srv.Close() }, nil
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
			fmt.Fprintf(w, "# HELP gateway_evidence_lost_total Lines of evidence that could not be written.\n# TYPE gateway_evidence_lost_total counter\ngateway_evidence_lost_total %d\n", s.log.Lost())
		}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
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
	seen := s.stamps()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.Hangup:
		case <-t.C:
			if now := s.stamps(); now != seen {
				seen = now
				break
			}
			continue
		}
		s.reload()
	}
}

// stamps says how the files look from outside.
func (s *Server) stamps() string {
	files := []string{s.Path}
	for _, p := range s.config.TLS {
		files = append(files, s.config.path(p.Cert), s.config.path(p.Key))
	}
	for _, r := range s.config.Routes {
		files = append(files, s.config.path(r.CA), s.config.path(r.Cert), s.config.path(r.Key))
	}
	out := ""
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			out += fmt.Sprint(f, info.ModTime().UnixNano(), info.Size(), ";")
		}
	}
	return out
}

// reload puts what the files now say in force, or keeps everything as it is: a pair
// that does not fit together, as in the middle of a replacement, changes nothing.
func (s *Server) reload() {
	c, err := Read(s.Path)
	if err != nil {
		s.Log.Warn("the configuration was read again and is not used", "error", err)
		return
	}
	n, _ := c.certificates()
	g, _ := s.gateway(&c)
	if err := s.gw.Reload(g); err != nil {
		s.Log.Warn("the configuration was read again and is not used", "error", err)
		return
	}
	s.certs.Store(n)
	s.config.TLS, s.config.Routes = c.TLS, c.Routes
	s.Log.Info("configuration and certificates were read again")
}
