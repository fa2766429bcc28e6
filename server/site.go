package server

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async"
	"fhirdest.example/fhir/trail"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/server/audit"
	"fhirdest.example/server/consents"
	"fhirdest.example/server/console"
	"fhirdest.example/server/engine"
	"fhirdest.example/server/forward"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/observe"
	"fhirdest.example/server/people"
	"fhirdest.example/server/people/users"
	"fhirdest.example/server/quiet"
	"fhirdest.example/server/tiered"
	"fhirdest.example/udap"
	"fhirdest.example/udap/fetch"
	"fhirdest.example/udap/trace"
)

// SiteDeps are what a Site takes from its surroundings.
type SiteDeps struct {
	Now func() time.Time // required
	Log *slog.Logger     // required

	// Observing: the site notes what it would refuse wherever it can go on without harm
	// to others (package observe). No configuration and no request sets it.
	Observing bool

	Revocation *fetch.Source          // of another site, whose Run keeps it; nil: the site has its own
	People     *people.Service        // of another site for the same people: attempts are counted together
	Decided    func(*trace.Trace)     // gets each decision, too; nil: nobody asks
	TracePage  func(id string) string // of a decision, for clients that learn everything; nil: the console's
}

// tolerated returns the checks whose refusals do not end a decision.
func (d SiteDeps) tolerated() trace.Tolerance {
	if !d.Observing {
		return nil
	}
	return observe.Tolerated
}

// Site is what is served under one public base URL: the trust communities, the
// authorization server and the FHIR service, over stores of its own. It is an
// http.Handler that has neither sockets nor TLS; a process may have several.
type Site struct {
	cfg  Config
	deps SiteDeps

	start   *material                 // as read at the start
	current atomic.Pointer[[]*member] // of trust communities, as read last

	verifier atomic.Pointer[udap.Verifier] // of those

	stores     engine.Stores
	service    *fhir.Service // closed before its store; nil without FHIR, like jobs
	jobs       *async.Manager
	forwarders []*forward.Forwarder // of the audit record
	revocation *fetch.Source
	decisions  *audit.Log
	oauth      *oauth.Service
	meter      *meter
	front      *front
	paths      []string         // under the public authority, but for those of the FHIR service
	people     *people.Service  // nil: nobody can sign in
	consents   *consents.Keeper // of what people grant; nil: they have none
	tiered     *tiered.Service  // nil: no identity provider is configured
	users      atomic.Pointer[users.Directory]
	watched    []*files
	started    time.Time
	selfTests  selfTests

	evidenceLost func() int64             // lines; nil: none are written
	tlsLeaf      func() *x509.Certificate // of the listener; nil: it is not the site's
}

// NewSite reads the files of a configuration's communities, opens its stores and
// returns the site. What the configuration has of listeners, TLS, the console's
// address and evidence is not used. Its error joins every complaint that there is;
// then nothing is left open.
func NewSite(cfg Config, deps SiteDeps) (*Site, error) {
	if deps.Now == nil || deps.Log == nil {
		return nil, errors.New("server: no clock or no log")
	}

	cfg = cfg.withDefaults()
	s := &Site{
		deps:    deps,
		meter:   newMeter(),
		started: deps.Now(),
	}
	s.watched = []*files{s.trustFiles(cfg), s.usersFile(cfg), newIDTokens(s, cfg).files()}

	m, err := cfg.loadTrust(s.started)
	text := cfg.checkSite()
	if err := errors.Join(text, err); err != nil {
		return nil, complaint.List{err}.Err()
	}

	if s.stores, err = (storage{cfg}).engine().Open(context.Background()); err == nil {
		err = s.assemble(cfg, m)
	}
	if err != nil {
		return nil, errors.Join(complaint.List{err}.Err(), s.Close())
	}

	return s, nil
}

// assemble puts the parts together. What fails here has passed Check.
func (s *Site) assemble(cfg Config, m *material) error {
	s.cfg, s.start = cfg, m
	s.deps.Log = slog.New(quiet.New(s.deps.Log.Handler(), fhir.ErrUnavailable, s.deps.Now))
	s.meter.registry.MustRegister(&gauges{s})

	s.decisions = audit.New(audit.Config{
		Keep:   s.cfg.Limits.Traces,
		Store:  s.stores.Trust,
		Log:    s.deps.Log,
		Issuer: s.cfg.Issuer,
		Append: func(rec trail.Record) error {
			if s.service == nil {
				return nil
			}
			return s.service.Audit(rec)
		},
		Decided: s.deps.Decided,
	})

	source, err := s.newSource()
	if err != nil {
		return err
	}

	s.revocation = source
	s.current.Store(&m.communities)

	if s.tiered, err = s.newTiered(); err != nil {
		return err
	}
	s.consents = keeping{s}.newKeeper()
	if s.people, err = s.newPeople(); err != nil {
		return err
	}
	if s.oauth, err = s.newAuthServer(); err != nil {
		return err
	}
	if s.people != nil {
		s.people.Use(s.oauth)
	}
	if s.tiered != nil {
		s.tiered.Use(s.oauth, s.people)
	}

	if s.front, err = s.routes(); err != nil {
		return err
	}
	s.forwarders = newForwarders(s)
	for _, w := range s.currentWarnings() {
		s.deps.Log.Warn(w)
	}
	return nil
}

// newSource returns what fetches revocation data and further certificates.
func (s *Site) newSource() (*fetch.Source, error) {
	if s.deps.Revocation != nil {
		return s.deps.Revocation, nil
	}

	allow := s.cfg.Revocation.Allow
	for _, m := range s.start.communities {
		allow = append(allow[:len(allow):len(allow)], m.udap.Policy.AIA...)
	}

	return fetch.New(fetch.Config{
		Allow:      allow,
		Configured: s.start.lists,
		Refresh:    s.cfg.Revocation.Refresh,
		Store:      s.stores.Trust,
		Now:        s.deps.Now,
		Log:        s.deps.Log,
	})
}

// ServeHTTP answers a request under the public or the private base URL.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.front.ServeHTTP(w, r)
}

// Console returns the handler of the administration listener.
func (s *Site) Console() http.Handler { return consoleOf(s, nil) }

// consoleOf is Console with the lab; nil: there is none.
func consoleOf(s *Site, lab http.Handler) http.Handler {
	c := console.Config{
		Lab:       lab,
		Decisions: s.decisions,
		Ready:     s.readiness,
		Await:     s.stores.Await,
		Refresh:   s.revocation.Refresh,
		Metrics:   s.metrics(),
		Hosts:     s.cfg.Admin.Hosts,
		Open:      s.cfg.Admin.Open,
		Verify:    newAuditLog(s).verify,
	}
	if s.service != nil {
		c.Accountant = accountant{s}
	}
	if s.people != nil && s.cfg.FHIR == "on" {
		c.Launcher = launcher{s}
	}
	return console.New(c)
}

// Run does what goes on beside the requests, until ctx ends: it stores decisions,
// fetches revocation data, tests our own certificates, works in the background and
// sends the audit record to its collectors.
func (s *Site) Run(ctx context.Context) {
	var work sync.WaitGroup
	for _, f := range s.forwarders {
		work.Go(func() { f.Run(ctx) })
	}
	for _, f := range []func(context.Context){
		s.decisions.Run,
		func(ctx context.Context) {
			if s.deps.Revocation == nil {
				_ = s.revocation.Run(ctx) // ends with ctx and returns its error
			}
		},
		s.testOwn,
		s.runJobs,
		keeping{s}.run,
		newAuditLog(s).expire,
		newIDTokens(s, s.cfg).rotate,
	} {
		work.Go(func() { f(ctx) })
	}

	work.Wait()
}

// Reload reads the files of the communities and the users again. What does not fit is logged,
// and what was read before stays in use.
func (s *Site) Reload() {
	for _, f := range s.watched {
		f.reload(true)
	}
}

// Close releases the stores. No request may be under way.
func (s *Site) Close() error {
	var errs []error
	if s.service != nil {
		errs = append(errs, s.service.Close())
	}
	if s.jobs != nil {
		errs = append(errs, s.jobs.Close())
	}
	errs = append(errs, s.stores.Close())
	s.service, s.jobs, s.stores = nil, nil, engine.Stores{}
	return errors.Join(errs...)
}
