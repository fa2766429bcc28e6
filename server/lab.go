package server

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fhirdest.example/certs"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/gateway/wire"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/lab/api"
	"fhirdest.example/server/lab/board"
	"fhirdest.example/server/lab/faulty"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// labPatients is the size of the synthetic population of a session at most.
const labPatients = 10

// openLab opens the lab, if one is configured, and puts the console together.
func (s *Server) openLab() error {
	if s.cfg.Lab == nil {
		s.adminHandler = s.site.Console()
		return nil
	}

	origins, err := faultyTLS{s}.open()
	if err != nil {
		return err
	}

	service, err := lab.New(lab.Config{
		Settings: *s.cfg.Lab,
		Public:   site(s.cfg.Public),
		Private:  site(s.cfg.Private),
		Plain:    s.cfg.Public,
		Own:      s.cfg.Issuer,
		Dir:      filepath.Join(storage{s.cfg}.labData(), "lab"),
		Issuers:  s.start.lab,
		Store:    s.site.stores.Lab,
		Origins:  origins,

		Communities: labCommunities(s.cfg),

		NewSite: s.newLabSite,
		Now:     s.deps.Now,
		Log:     s.deps.Log,
	})
	if err != nil {
		return complaint.New(fmt.Sprintf("lab: %v", err), "look at the directory lab in the data directory")
	}

	s.lab = service
	s.site.meter.registry.MustRegister(labGauges{service})
	missing := http.HandlerFunc(http.NotFound)
	s.adminHandler = consoleOf(s.site, s.labPages("/lab/", true)(missing))
	return nil
}

// labCommunities returns the communities whose members a session knows, with the
// profiles that bind them where a session has none.
func labCommunities(c Config) []lab.Community {
	var out []lab.Community
	for _, m := range c.Communities {
		out = append(out, lab.Community{
			URI:     m.URI,
			Profile: m.Profile,
		})
	}
	return out
}

// labPages are the pages of the lab and its JSON interface, at the console or at the
// public site.
func (s *Server) labPages(root string, console bool) lab.Pages {
	open := console || s.lab.Settings().Open == "public"
	faults := lab.Faults{Service: s.lab}
	return func(missing http.Handler) http.Handler {
		pages := board.New(board.Config{
			Lab:      s.lab,
			Root:     root,
			Site:     nameOf(s.cfg),
			List:     console,
			Open:     open,
			Evidence: s.labEvidence(),
			TLS:      s.start.labTLS,

			Faults:    faults.All(),
			Noticed:   faults.Noticed,
			FaultBase: faults.Base,
			Finish: func(ctx context.Context, id string) error {
				_, err := lab.FinishRun(ctx, s.lab, id)
				return err
			},
			Missing: missing,
			Now:     s.deps.Now,
			Log:     s.deps.Log,
		})

		programs := api.New(api.Config{
			Lab:     s.lab,
			Root:    root,
			List:    console,
			Open:    open,
			Missing: missing,
			Log:     s.deps.Log,
		})
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if programs.Owns(r.URL.Path) {
				programs.ServeHTTP(w, r)
				return
			}
			pages.ServeHTTP(w, r)
		})
	}
}

// faultyTLS are a Server's listeners for deliberate faults of TLS.
type faultyTLS struct{ *Server }

// open opens them, if they are configured, and returns their origins.
func (s faultyTLS) open() (at lab.Origins, err error) {
	if s.cfg.Lab.Faulty == "" {
		return at, nil
	}

	public, err := url.Parse(s.cfg.Public)
	if err != nil {
		return at, err
	}

	s.faulty, err = faulty.Open(faulty.Config{
		Listen:    s.cfg.Lab.Faulty,
		Host:      public.Hostname(),
		Authority: s.start.labFaulty,
		Now:       s.deps.Now,
		Ended: func(fault string, from net.Addr) {
			lab.Faults{Service: s.lab}.Ended(fault, from)
		},
	})
	if err != nil {
		return at, complaint.New(fmt.Sprintf("lab.faulty: %v", err),
			"choose an address whose next seven ports are free, too")
	}

	at.TLS = map[string]string{}
	for _, l := range s.faulty {
		if l.Fault == faulty.Sound {
			at.Elsewhere = l.Origin()
			continue
		}
		at.TLS[l.Fault] = l.Origin()
	}
	return at, nil
}

// serve serves them as the public listener is served.
func (s faultyTLS) serve(failed chan<- error) (all []*http.Server) {
	noPages := func(missing http.Handler) http.Handler { return missing }
	for _, l := range s.faulty {
		next := lab.Faults{Service: s.lab}.OverTLS(l.Fault, s.lab.Handler(s.site, noPages))
		h := s.server(wire.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			l.Served(r)
			next.ServeHTTP(w, r)
		})))
		h.ConnContext = wire.ConnContext
		all = append(all, h)

		c := wire.ListenerConfig{
			TLS:       l.TLS,
			Handshake: s.cfg.Timeouts.Handshake,
			Refusal:   s.refuseFraming,
		}
		s.copy(&c)
		nobody := func(net.Addr) bool { return false }
		limited := newLimitListener(l, s.cfg.Limits, s.cfg.Timeouts.Slow, nobody)
		go func() { failed <- h.Serve(wire.NewListener(limited, c)) }()
	}
	return all
}

// labAuthority reads the authority of web servers for listeners with faulty TLS.
func (l *loader) labAuthority() *certs.CA {
	if l.cfg.Lab == nil || l.cfg.Lab.FaultyAuthority == nil {
		return nil
	}

	named := l.cfg.Lab.FaultyAuthority
	id := l.pair("lab.faultyAuthority", named.Chain, named.Key)
	if id == nil {
		return nil
	}
	if !id.Leaf().IsCA {
		l.Add("name the certificate of an authority, first in its file",
			"lab.faultyAuthority.chain: %s (%s) is not a CA", named.Chain, certs.Describe(id.Leaf()))
		return nil
	}

	return &certs.CA{
		Cert:    id.Leaf(),
		Key:     id.Key,
		Parents: id.Chain[1:],
	}
}

// labEvidence are the files of evidence of the other hops.
func (s *Server) labEvidence() (files []string) {
	for _, name := range s.lab.Settings().Evidence {
		files = append(files, s.cfg.file(name))
	}
	return files
}

// nameOf returns the name of the organisation.
func nameOf(c Config) string {
	if c.Name != "" {
		return c.Name
	}
	return authority(c.Issuer)
}

// handler is what the public listener serves.
func (s *Server) handler() http.Handler {
	if s.lab == nil {
		return s.site
	}
	return s.lab.Handler(s.site, s.labPages(pathOf(site(s.cfg.Public))+"/lab/", false))
}

// copy has the lab capture what crosses the wire.
func (s *Server) copy(c *wire.ListenerConfig) {
	if s.lab == nil {
		return
	}

	c.Copy = s.lab.Copy
	c.Now = s.deps.Now
	if c.ConnID == nil {
		var n atomic.Uint64
		c.ConnID = func() string {
			return strconv.FormatUint(n.Add(1), 10)
		}
	}
}

// decided hands a decision of the destination itself to the lab.
func (s *Server) decided(t *trace.Trace) {
	if s.lab != nil {
		s.lab.Decided(t)
	}
}

// labSite is the Site of a session. It reads files again when they change, as the
// Server does for its own.
type labSite struct{ *Site }

// Run does what goes on beside the requests, until ctx ends.
func (s labSite) Run(ctx context.Context) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watch(ctx, 5*time.Second, nil, s.watched...)
	}()

	s.Site.Run(ctx)
	<-ended
}

// newLabSite returns the site of a session. It shares the destination's revocation
// data.
func (s *Server) newLabSite(p lab.Place) (lab.Site, error) {
	session := p.Session
	made, err := NewSite(inLab(s.cfg, p), SiteDeps{
		Now:        s.deps.Now,
		Log:        s.deps.Log.With("session", session.ID[:8]),
		Observing:  session.Mode == lab.Observe,
		Revocation: s.site.revocation,
		People:     s.site.people,
		Decided:    p.Decided,
		TracePage: func(string) string {
			return session.Page
		},
	})
	if err != nil {
		return nil, err
	}

	return labSite{made}, nil
}

// inLab returns the configuration of a session's site: the destination's own but for
// its place, its certificates and what leaves the machine.
func inLab(c Config, p lab.Place) Config {
	c.Public = p.Public
	c.Private = p.Private
	c.Issuer = p.Issuer
	c.Data = p.Data
	c.Postgres = Postgres{} // a session has files
	c.Lab = nil
	c.session = p.Session.Page
	c.Audit = Audit{}
	c.IDPs = nil // each knows the destination's certificate: a session would change its registration
	c.Patients = min(c.Patients, labPatients)
	c.Communities = slices.Clone(c.Communities)

	for i := range c.Communities {
		m := &c.Communities[i]
		m.Certificates = nil
		for _, id := range p.Identities {
			if id.Community == m.URI {
				m.Certificates = append(m.Certificates, Certificate{
					Chain: id.Chain,
					Key:   id.Key,
				})
			}
		}

		if p.Session.Profile != "" {
			m.Profile = p.Session.Profile
		}
	}

	return c
}

// labReserved are the URIs of certificates that the lab issues. They count in their own
// session alone, and never at the destination, whether it still has a lab or not.
func labReserved(c Config) udap.Reserved {
	if c.session == "" {
		return udap.Reserved{Below: site(c.Public) + "/lab/"}
	}
	return udap.Reserved{
		Below: site(strings.TrimSuffix(c.session, "/")) + "/",
		Own:   c.session,
	}
}

// checkLab complains about what is written of the lab.
func checkLab(c Config, cs *complaint.List) {
	if c.Lab == nil {
		return
	}

	if c.FHIR == "off" {
		cs.Add("leave lab out: sessions have a FHIR base", "lab: fhir is off")
	}

	var known []string
	for _, m := range c.Communities {
		known = append(known, m.URI)
	}
	c.Lab.Check(cs, known)
}

// lab reads the issuing authorities of the lab.
func (l *loader) lab(members []*member) (all []lab.Issuer) {
	if l.cfg.Lab == nil {
		return nil
	}

	for i, named := range l.cfg.Lab.Issuers {
		at := fmt.Sprintf("lab.issuers[%d]", i)
		index := slices.IndexFunc(members, func(m *member) bool {
			return string(m.udap.URI) == named.Community
		})
		if index < 0 {
			continue // Settings.Check has complained
		}

		if issuer := l.labIssuer(at, named, members[index].udap); issuer != nil {
			all = append(all, *issuer)
		}
	}

	return all
}

// labTLS reads the authorities of the public site's TLS.
func (l *loader) labTLS() []*x509.Certificate {
	if l.cfg.Lab == nil || l.cfg.Lab.TLS == "" {
		return nil
	}
	return l.authorities("lab.tls", l.cfg.Lab.TLS)
}

func (l *loader) labIssuer(at string, named lab.IssuerSettings, of *udap.Community) *lab.Issuer {
	if named.Chain == "" || named.Key == "" {
		l.Add("name the PEM files of the issuing authority's chain and of its key",
			"%s: chain or key is not given", at)
		return nil
	}

	id := l.pair(at, named.Chain, named.Key)
	if id == nil {
		return nil
	}

	leaf := id.Leaf()
	l.dates(at+".chain", named.Chain, leaf)
	switch {
	case !leaf.IsCA:
		l.Add("name the certificate of the authority that issues, first in its file",
			"%s.chain: %s (%s) is not a CA", at, named.Chain, certs.Describe(leaf))
		return nil
	case len(of.Anchors) > 0 && !leadsTo(id.Chain, of, l.now):
		l.Add("name an issuing authority of this community, with its issuers behind it",
			"%s.chain: %s (%s) does not lead to an anchor of %s", at, named.Chain, certs.Describe(leaf), of.URI)
	}

	return &lab.Issuer{
		Community: named.Community,
		Name:      of.Name,
		CRL:       named.CRL,
		Anchors:   of.Anchors,
		CA: &certs.CA{
			Cert:    leaf,
			Key:     id.Key,
			Parents: id.Chain[1:],
		},
	}
}

// labGauges reports what the lab has, when metrics are asked for.
type labGauges struct{ *lab.Service }

// Describe sends nothing, as with gauges.
func (labGauges) Describe(chan<- *prometheus.Desc) {}

// Collect sends the present values.
func (g labGauges) Collect(out chan<- prometheus.Metric) {
	sessions, open, waiting := g.Load()
	for _, m := range []struct {
		name, help string
		value      int
	}{
		{"destination_lab_sessions", "Sessions of the lab.", sessions},
		{"destination_lab_sites_open", "Sessions of the lab whose stores are open.", open},
		{"destination_lab_exchanges_waiting", "Exchanges that wait to be assessed and stored.", waiting},
	} {
		out <- prometheus.MustNewConstMetric(describe(m.name, m.help), prometheus.GaugeValue, float64(m.value))
	}
}
