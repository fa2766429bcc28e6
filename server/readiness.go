package server

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"fhirdest.example/certs"
	"fhirdest.example/server/console"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// soon is how long before its end a client's certificate is shown.
const soon = 30 * 24 * time.Hour

// readiness is the state of the whole, as the console shows it.
func (s *Site) readiness() console.Readiness {
	now := s.deps.Now()
	r := console.Readiness{
		PublicBase:  s.cfg.Public,
		PrivateBase: s.cfg.Private,
		Issuer:      s.cfg.Issuer,
		Started:     s.started,
		Lists:       s.listStates(),
		Clients:     []console.Certificate{},
		Warnings:    s.currentWarnings(),
	}
	for _, f := range s.forwarders {
		r.Collectors = append(r.Collectors, f.State())
	}
	for i, m := range *s.current.Load() {
		r.Communities = append(r.Communities, s.communityState(i, m, now))
	}

	// Nothing that the stores have is asked for before they are known to answer.
	if err := s.stores.Reach(context.Background()); err != nil {
		r.Warnings = append(r.Warnings, err.Error())
		return r
	}

	r.Clients = s.expiringClients(now)
	without := s.oauth.Withheld(context.Background())
	for i, m := range *s.current.Load() {
		r.Communities[i].Withheld = s.withheld(m, without)
		r.Ready = r.Ready || r.Communities[i].Withheld == ""
	}
	return r
}

// ready reports whether the stores can be reached, and the metadata of a community is
// served.
func (s *Site) ready() bool {
	if s.stores.Reach(context.Background()) != nil {
		return false
	}

	without := s.oauth.Withheld(context.Background())
	for _, m := range *s.current.Load() {
		if s.withheld(m, without) == "" {
			return true
		}
	}
	return false
}

func (s *Site) currentWarnings() []string {
	out := append([]string{}, s.start.warnings...)
	now := s.deps.Now()
	out = append(out, endingMembers(*s.current.Load(), now)...)
	if s.tlsLeaf != nil {
		out = append(out, ending("tls.cert", now, s.tlsLeaf())...)
	}
	out = append(out, s.stores.Health()...)
	for _, f := range s.forwarders {
		if state := f.State(); state.Problem != "" {
			out = append(out, fmt.Sprintf("audit records do not reach %s: %s", state.Name, state.Problem))
		}
	}
	if n := s.decisions.Lost(); n > 0 {
		out = append(out, fmt.Sprintf("%d decisions could not be stored", n))
	}
	if s.evidenceLost != nil && s.evidenceLost() > 0 {
		out = append(out, fmt.Sprintf("%d lines of evidence were lost", s.evidenceLost()))
	}

	return out
}

func (s *Site) communityState(i int, m *member, now time.Time) console.Community {
	c := console.Community{
		URI:        string(m.udap.URI),
		Name:       m.udap.Name,
		Profile:    s.cfg.Communities[i].Profile,
		Revocation: s.selfTests.of(m.udap.URI),
	}
	or(&c.Profile, "ssraa-2")

	for _, own := range m.own {
		c.Certificates = append(c.Certificates, certificateState(own.Leaf(), "", now))
	}

	for _, a := range m.udap.Anchors {
		c.Anchors = append(c.Anchors, certificateState(a, "", now))
	}

	return c
}

// withheld returns why the community's metadata is not served, and the key to set;
// it is empty when the metadata is served.
func (s *Site) withheld(m *member, all []oauth.Withheld) string {
	for _, w := range all {
		if w.Community == m.udap.URI {
			reason := w.Reason
			if len(m.own) == 0 {
				reason = "this destination has no certificate of the community; its members are trusted all the same"
			}
			return reason + "; " + s.withheldRemedy(w)
		}
	}

	return ""
}

// withheldRemedy names the key to set so that a community's metadata is served.
func (s *Site) withheldRemedy(w oauth.Withheld) string {
	i := slices.IndexFunc(s.cfg.Communities, func(c Community) bool {
		return c.URI == string(w.Community)
	})
	switch {
	case w.Check == "":
		return fmt.Sprintf("set communities[%d].certificates to a key pair with an RSA key that the community issued",
			i)
	case w.Check == "chain.revocation":
		return fmt.Sprintf("set revocation.allow to the origin of its CRL if that is private, or communities[%d].lists"+
			" to a file of it; a revoked certificate must be issued anew", i)
	}

	return fmt.Sprintf("set communities[%d].certificates to a chain that leads to its anchors and names the "+
		"public base "+
		"URL", i)
}

// logWithheld logs each community whose metadata is withheld, at start and when
// that changes.
func (s *Site) logWithheld(
	ctx context.Context, before map[trace.CommunityURI]string,
) map[trace.CommunityURI]string {
	now := map[trace.CommunityURI]string{}
	all := s.oauth.Withheld(ctx)
	for _, m := range *s.current.Load() {
		uri := m.udap.URI
		now[uri] = s.withheld(m, all)
		switch {
		case now[uri] == before[uri]:
		case now[uri] != "":
			s.deps.Log.Warn(
				"a community's metadata is withheld",
				"community",
				string(uri),
				"reason",
				now[uri],
			)
		default:
			s.deps.Log.Info("a community's metadata is served", "community", string(uri))
		}
	}

	return now
}

func certificateState(c *x509.Certificate, of string, now time.Time) console.Certificate {
	sum := sha256.Sum256(c.Raw)
	names, _ := certs.RawURIs(c) // a SAN that cannot be read has no URIs to show
	return console.Certificate{
		Of:          of,
		Subject:     certs.Printable(c.Subject.String()),
		Serial:      fmt.Sprintf("%x", c.SerialNumber),
		Key:         certs.DescribeKey(c.PublicKey),
		Fingerprint: hex.EncodeToString(sum[:]),
		Names:       names,
		Expires:     c.NotAfter,
		DaysLeft:    int(c.NotAfter.Sub(now).Hours() / 24),
	}
}

func (s *Site) listStates() []console.List {
	out := []console.List{}
	for _, l := range s.revocation.State() {
		out = append(out, console.List{
			Place:      l.Place,
			Issuer:     certs.Printable(l.Issuer),
			Number:     l.Number,
			ThisUpdate: l.ThisUpdate,
			NextUpdate: l.NextUpdate,
			Fetched:    l.Fetched,
			AgeSeconds: l.AgeSeconds,
			Entries:    l.Entries,
			Usable:     l.Usable,
			Expiring:   l.Expiring,
			Error:      l.Error,
			Warning:    l.Warning,
		})
	}

	return out
}

// maxExpiring bounds how many clients' certificates are shown.
const maxExpiring = 500

func (s *Site) countExpiring(now time.Time) int {
	n, err := s.stores.Trust.CountExpiring(context.Background(), now.Add(soon))
	if err != nil {
		s.deps.Log.Error("registrations cannot be read", "cause", err)
	}
	return n
}

// expiringClients are the certificates of registered clients that have run out
// or soon will.
func (s *Site) expiringClients(now time.Time) []console.Certificate {
	out := []console.Certificate{}
	err := s.stores.Trust.Expiring(context.Background(), now.Add(soon), func(r *oauth.Registration) bool {
		if leaf, err := x509.ParseCertificate(r.Leaf); err == nil {
			out = append(out, certificateState(leaf, string(r.Client), now))
		}
		return len(out) < maxExpiring
	})
	if err != nil {
		s.deps.Log.Error("registrations cannot be read", "cause", err)
	}

	return out
}

func (s *Site) metrics() http.Handler {
	return promhttp.HandlerFor(s.meter.registry, promhttp.HandlerOpts{})
}

// selfTests are the latest findings on our own certificates' revocation, so
// that a list which cannot be had is seen before a client runs into it.
type selfTests struct {
	mu    sync.Mutex
	found map[trace.CommunityURI]string
}

func (t *selfTests) of(c trace.CommunityURI) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f := t.found[c]; f != "" {
		return f
	}
	return "not done yet"
}

func (t *selfTests) set(c trace.CommunityURI, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.found == nil {
		t.found = map[trace.CommunityURI]string{}
	}
	t.found[c] = text
}

// testOwn tests the revocation of our own certificates at start and with every refresh.
func (s *Site) testOwn(ctx context.Context) {
	tick := time.NewTicker(s.cfg.Revocation.Refresh)
	defer tick.Stop()
	var before map[trace.CommunityURI]string
	for {
		before = s.logWithheld(ctx, before)
		for _, m := range *s.current.Load() {
			s.selfTests.set(m.udap.URI, s.testRevocation(ctx, m))
		}

		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// testRevocation asks for the lists of our own certificates in a community.
func (s *Site) testRevocation(ctx context.Context, m *member) string {
	if m.udap.Policy.Revocation == udap.RevocationOff {
		return "off by policy: revoked certificates are accepted"
	}
	if len(m.own) == 0 {
		return "nothing of ours to test"
	}

	for _, own := range m.own {
		issuer := issuerOf(own.Chain, m.udap)
		if issuer == nil {
			return fmt.Sprintf(
				"the issuer of %s is not at hand",
				certs.Describe(own.Leaf()),
			)
		}
		if fault := s.testLists(ctx, m, own.Leaf(), issuer); fault != "" {
			return fault
		}
	}

	return "ok"
}

func (s *Site) testLists(
	ctx context.Context, m *member, leaf, issuer *x509.Certificate,
) string {
	answers := s.revocation.CRLs(ctx, udap.CRLQuery{
		Community:   m.udap.URI,
		Certificate: leaf,
		Issuer:      issuer,
		URLs:        leaf.CRLDistributionPoints,
	})

	fault := fmt.Sprintf(
		"%s names no list, and none is configured for its issuer",
		certs.Describe(leaf),
	)
	for _, a := range answers {
		if a.Err != nil {
			fault = fmt.Sprintf("%s: %v", a.URL, a.Err)
			continue
		}

		for _, e := range a.List.RevokedCertificateEntries {
			if e.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
				return fmt.Sprintf(
					"our own certificate %s is revoked",
					certs.Describe(leaf),
				)
			}
		}

		return ""
	}

	return fault
}

func issuerOf(chain []*x509.Certificate, c *udap.Community) *x509.Certificate {
	for _, list := range [][]*x509.Certificate{chain[1:], c.Intermediates, c.Anchors} {
		for _, x := range list {
			if chain[0].CheckSignatureFrom(x) == nil {
				return x
			}
		}
	}
	return nil
}
