package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/gateway/evidence"
	"fhirdest.example/gateway/wire"
	"fhirdest.example/server/console"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/lab/faulty"
	"fhirdest.example/server/postgres"
	"fhirdest.example/udap/trace"
)

// Deps are what a destination takes from its surroundings.
type Deps struct {
	Now    func() time.Time // required
	Log    *slog.Logger     // required
	Public net.Listener     // plain TCP, listening already; nil: as configured
	Admin  net.Listener     // the same for the second listener
	Reload <-chan struct{}  // read all certificates again; nil: only when their files change
}

// Server is one Site with the sockets, the TLS certificate and the evidence file
// of a process. Run serves them; Close releases them.
type Server struct {
	cfg  Config
	deps Deps
	site *Site
	lab  *lab.Service // nil: there is none

	faulty []*faulty.Listener // for deliberate faults of TLS

	public, admin net.Listener
	connections   *limitListener // those of public, while Run serves them
	closing       atomic.Bool    // each answer is the last one of its connection
	health        net.Listener   // nil: none is configured
	lines         *evidence.Log  // nil: no evidence is written
	start         *material      // as read at the start
	keeper        *keeper        // the TLS certificate in use
	watched       []*files
	adminHandler  http.Handler
}

// New reads the files, opens the sockets and the stores, and puts the parts
// together. Its error joins every complaint that there is; then nothing is
// left open.
func New(cfg Config, deps Deps) (*Server, error) {
	if deps.Now == nil || deps.Log == nil {
		return nil, errors.New("server: no clock or no log")
	}

	s := &Server{
		cfg:    cfg.withDefaults(),
		deps:   deps,
		public: deps.Public,
		admin:  deps.Admin,
	}

	site := &Site{
		deps: SiteDeps{
			Now:     deps.Now,
			Log:     deps.Log,
			Decided: s.decided,
		},
		meter:   newMeter(),
		started: deps.Now(),
	}
	s.site = site

	// Before they are read: no change may be missed.
	s.watched = []*files{s.tlsFiles(), site.trustFiles(s.cfg), site.usersFile(s.cfg), newIDTokens(site, s.cfg).files()}

	m, err := s.cfg.load(site.started)
	s.start = m
	if err := errors.Join(s.cfg.checkText(), err, s.open()); err != nil {
		return nil, errors.Join(complaint.List{err}.Err(), s.Close())
	}

	s.keeper = newKeeper(m.tls)
	site.evidenceLost = s.evidenceLost
	site.tlsLeaf = s.keeper.leaf
	if err := site.assemble(s.cfg, m); err != nil {
		return nil, errors.Join(err, s.Close())
	}

	if err := s.openLab(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Check finds every fault that would keep New from starting, without starting
// and without making files; now dates certificates. A destination of the same
// configuration may be running.
func (c Config) Check(now time.Time) error {
	d := c.withDefaults()
	_, err := d.load(now)
	return complaint.List{d.checkText(), err, d.probe()}.Err()
}

// open opens sockets and files.
func (s *Server) open() error {
	err := s.listen().Err()
	if s.cfg.Data == "" {
		return err
	}

	stores, failed := storage{s.cfg}.engine().Open(context.Background())
	s.site.stores = stores
	if failed == nil && postgres.IsURL(s.cfg.Data) {
		for _, w := range (storage{s.cfg}).database().ServerWarnings(context.Background()) {
			s.deps.Log.Warn(w)
		}
	}
	return errors.Join(err, failed, s.openEvidence())
}

// listen opens the sockets that were not handed in.
func (s *Server) listen() complaint.List {
	var cs complaint.List
	if s.public == nil {
		s.public = bind(&cs, "listen", s.cfg.Listen)
	}
	if s.admin == nil {
		s.admin = bind(&cs, "admin.listen", s.cfg.Admin.Listen)
	}
	if s.cfg.Admin.Health != "" {
		s.health = bind(&cs, "admin.health", s.cfg.Admin.Health)
	}

	if s.admin != nil {
		// The console's URL must be known before it is written anywhere.
		if _, port, err := net.SplitHostPort(s.cfg.Admin.Listen); err == nil && port == "0" &&
			s.cfg.Admin.URL == "http://"+s.cfg.Admin.Listen {
			s.cfg.Admin.URL = "http://" + s.admin.Addr().String()
		}
	}

	return cs
}

// bind listens on an address that checkText has found well-formed, or
// complains.
func bind(cs *complaint.List, key, address string) net.Listener {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil
	}

	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		*cs = append(*cs, &inUse{complaint.Complaint{
			Problem: fmt.Sprintf("%s: %s is taken", key, address),
			Remedy:  "stop the program that has it, or choose another port",
		}})

	case err != nil:
		cs.Add("choose an address of this machine and a port that this account may use",
			"%s: cannot listen on %s: %v",
			key, address, err)
	default:
		return l
	}

	return nil
}

// inUse is the complaint about an address that a program listens on.
type inUse struct{ complaint.Complaint }

func (*inUse) Unwrap() error { return syscall.EADDRINUSE }

// Addr returns the address of the public listener.
func (s *Server) Addr() net.Addr { return s.public.Addr() }

// AdminURL returns the URL of the console.
func (s *Server) AdminURL() string {
	return s.cfg.Admin.URL
}

// Endpoints are all that a destination answers, for what must know each of them.
type Endpoints struct {
	Public  []string            // paths under the public authority, but for those of the FHIR service
	FHIR    map[string][]string // methods by the shape of the path below the FHIR base
	Console []string            // paths of the console
}

// Endpoints returns what the server answers.
func (s *Server) Endpoints() Endpoints {
	all := Endpoints{
		Public:  s.site.paths,
		Console: console.Paths(s.adminHandler),
	}
	if s.site.service != nil {
		all.FHIR = fhir.Interactions(s.site.service)
	}
	return all
}

// HealthAddr returns the address of the listener for probes; nil when there is none.
func (s *Server) HealthAddr() net.Addr {
	if s.health == nil {
		return nil
	}
	return s.health.Addr()
}

func (s *Server) evidenceLost() int64 {
	if s.lines == nil {
		return 0
	}
	return int64(s.lines.Lost())
}

// Run serves until ctx ends; then no new connection is taken, requests under
// way get timeouts.drain to finish, and everything is closed.
func (s *Server) Run(ctx context.Context) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var work sync.WaitGroup
	work.Go(func() { s.site.Run(background) })
	if s.lab != nil {
		work.Go(func() { s.lab.Run(background) })
	}
	work.Go(func() {
		watch(background, time.Second, s.deps.Reload, s.watched...)
	})

	public, admin := s.publicServer(), s.server(s.adminHandler)
	servers := []*http.Server{public, admin}
	failed := make(chan error, 4+len(s.faulty))
	work.Go(func() {
		if err := s.site.stores.Watch(background, s.storesChanged); err != nil {
			failed <- complaintOf(err)
		}
	})
	tapped := s.tap(s.public)
	go func() { failed <- public.Serve(tapped) }()
	go func() { failed <- admin.Serve(s.admin) }()
	if s.health != nil {
		probes := s.server(console.Probes(s.site.ready))
		servers = append(servers, probes)
		go func() { failed <- probes.Serve(s.health) }()
	}
	servers = append(servers, faultyTLS{s}.serve(failed)...)

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}

	if s.lab != nil {
		s.lab.Stop()
	}
	s.awaitLastRequests()
	err = errors.Join(err, s.drain(servers...))
	stop()
	work.Wait()
	return errors.Join(err, s.Close())
}

// storesChanged logs that the stores cannot be used, or can again.
func (s *Server) storesChanged(err error) {
	if err != nil {
		s.deps.Log.Error("the stores cannot be used: requests are answered with 503", "cause", err)
		return
	}
	s.deps.Log.Info("the stores can be used again")
}

// lastRequest is how long a connection on which nothing is under way is left open at the
// end.
const lastRequest = time.Second

// awaitLastRequests accepts no more connections and waits until those that are open have
// ended, for a while. A peer does not know yet that this is the end, and a connection that
// is closed while a request is on its way loses that; so each has time to send one, the
// answer to which has Connection: close.
func (s *Server) awaitLastRequests() {
	s.closing.Store(true)
	_ = s.public.Close() // Close closes it again, and reports nothing else
	select {
	case <-s.connections.settled():
	case <-time.After(min(lastRequest, s.cfg.Timeouts.Drain)):
	}
}

// lastAnswers has each answer close its connection, from the time on when no more are
// accepted.
func (s *Server) lastAnswers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.closing.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) drain(servers ...*http.Server) error {
	// The listeners' own context has ended; this bounds what is left.
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Timeouts.Drain)
	defer cancel()
	var errs []error

	for _, h := range servers {
		if err := h.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
			s.deps.Log.Warn(
				"requests were cut off at the end",
				"after",
				s.cfg.Timeouts.Drain,
			)
			errs = append(errs, h.Close())
		}
	}

	return errors.Join(errs...)
}

// tap terminates TLS, refuses what could be framed in two ways, and writes the
// evidence of what crosses the wire.
func (s *Server) tap(l net.Listener) net.Listener {
	fromGateway := newGateways(s.cfg.Proxy)
	c := wire.ListenerConfig{
		TLS:       tlsConfig(s.keeper, s.start.clientCAs),
		Handshake: s.cfg.Timeouts.Handshake,
		Refusal:   s.refuseFraming,
		Proxy:     fromGateway.has,
	}

	if s.lines != nil {
		c.Record, c.Owe, c.ConnID, c.Now = s.lines.Tap, s.lines.Owe, s.lines.ConnID, s.deps.Now
	}
	s.copy(&c)
	s.connections = newLimitListener(l, s.cfg.Limits, s.cfg.Timeouts.Slow, fromGateway.has)
	return wire.NewListener(s.connections, c)
}

// refuseFraming answers a request that has no certain beginning and end, or
// that net/http would refuse without a word. What it was for is not looked at,
// so the answer is the same everywhere.
func (s *Server) refuseFraming(e *wire.Error) []byte {
	s.site.meter.framing.Inc()
	text := e.Reason
	if e.Status == http.StatusBadRequest {
		text = "the request cannot be framed without doubt: " + text
	}
	body := fmt.Sprintf(`{"error":%q,"error_description":%q}`, codes[e.Status].oauth, text)
	h := http.Header{
		"Content-Type":   {"application/json"},
		"Content-Length": {strconv.Itoa(len(body))},
		"Cache-Control":  {"no-store"},
		"Connection":     {"close"},
		"Trace-Id":       {s.site.front.trace(checkFront, e.Status, trace.Finding{Found: text})},
	}
	maps.Copy(h, common)

	var out bytes.Buffer
	fmt.Fprintf(&out, "HTTP/1.1 %d %s\r\n", e.Status, http.StatusText(e.Status))
	_ = h.Write(&out) // a buffer takes all
	fmt.Fprintf(&out, "\r\n%s", body)
	return out.Bytes()
}

func (s *Server) publicServer() *http.Server {
	h := s.server(wire.Handler(s.lastAnswers(s.handler())))
	h.ConnContext = wire.ConnContext
	return h
}

func (s *Server) server(h http.Handler) *http.Server {
	t := s.cfg.Timeouts
	var protocols http.Protocols
	protocols.SetHTTP1(true)

	return &http.Server{
		Handler:                      h,
		Protocols:                    &protocols,
		DisableGeneralOptionsHandler: true,
		MaxHeaderBytes:               wire.MaxHead,
		ReadHeaderTimeout:            t.Header,
		ReadTimeout:                  t.Read,
		WriteTimeout:                 t.Write,
		IdleTimeout:                  t.Idle,
		ErrorLog:                     slog.NewLogLogger(s.deps.Log.Handler(), slog.LevelDebug),
	}
}

// Close releases sockets and files. Run has done it by itself.
func (s *Server) Close() error {
	var errs []error
	for _, l := range []net.Listener{s.public, s.admin, s.health} {
		if l != nil {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}

	errs = append(errs, faulty.Close(s.faulty))
	if s.lines != nil {
		errs = append(errs, s.lines.Close())
	}
	if s.site != nil {
		errs = append(errs, s.site.Close())
	}
	s.public = nil
	s.admin = nil
	s.health = nil
	s.faulty = nil
	s.lines = nil

	return errors.Join(errs...)
}
