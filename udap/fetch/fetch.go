// Package fetch fetches CRLs and OCSP responses over the network, and only for
// certificates whose path already leads to an anchor: the verifier asks, this
// package never fetches by itself. It also fetches issuers' certificates (AIA),
// which the verifier asks for where a community's policy allows it.
//
// A CRL counts until its nextUpdate, is fetched again in the background, and is
// replaced only by one that is genuine for the same issuer and not older. An
// address that is not public is never dialled unless the configuration names its
// exact scheme, host and port. Everything is bounded: size, time, number of
// CRLs, number of fetches at one time.
package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// Config sets what may be fetched and how much of it. Only Now has no
// default; a Source without a clock answers every question with an error.
type Config struct {
	Allow      []string         // exact scheme://host:port that may be at a private or loopback address
	Configured []Configured     // lists for issuers whose certificates have no distribution point
	Refresh    time.Duration    // how often each list is fetched again; 0 means 5 minutes
	Timeout    time.Duration    // for one fetch, from the look-up of the name to the last byte; 0 means 8 s
	MaxBytes   int64            // of one list; 0 means 32 MiB
	MaxTotal   int64            // of all lists kept in memory; 0 means 64 MiB
	MaxCRLs    int              // kept in memory; 0 means 256
	Roots      *x509.CertPool   // for https distribution points; nil means the system's
	Store      ListStore        // keeps lists over restarts, and their numbers when memory runs short; nil keeps none
	Now        func() time.Time // the clock
	Log        *slog.Logger     // one line for each fetch of a CRL, at DEBUG; nil: none
	Resolve    Resolver         // looks names up; nil means the system's resolver
}

// Configured is a CRL in a file or at a URL, for an issuer whose certificates
// name no distribution point or whose distribution points do not answer.
type Configured struct {
	Community trace.CommunityURI // empty: any
	Place     string             // a file's path or an http(s) URL
}

// Resolver looks up the addresses of a host.
type Resolver func(ctx context.Context, host string) ([]netip.Addr, error)

// DefaultRefresh is how often a CRL is fetched again where nothing else is configured.
const DefaultRefresh = 5 * time.Minute

const (
	defaultTimeout  = 8 * time.Second
	defaultMaxBytes = 32 << 20
	defaultMaxTotal = 64 << 20 // in memory a CRL needs about seven times its length
	defaultMaxCRLs  = 256

	maxPlaces   = 8                // distribution points tried for one certificate
	perHost     = 8                // fetches under way at one time to one host
	atOnce      = 128              // and to all
	longestWait = 10 * time.Second // before a list that could not be had is asked for again
)

// Source implements udap.RevocationSource, udap.StatusSource and
// udap.IssuerSource.
type Source struct {
	cfg   Config
	web   *web
	slots *slots // of the CRLs' fetches

	statuses *cache[[]byte]
	issuers  *cache[[]*x509.Certificate]
	keySets  *cache[[]byte]

	// Invariant: an entry's list is genuine for its issuer, and its number
	// and thisUpdate never go back.
	mu      sync.Mutex
	entries map[key]*entry
}

// key identifies a CRL: the same URL may serve two issuers, and only the
// issuer's name and key decide whether a CRL is genuine.
type key struct {
	place  string
	issuer [sha256.Size]byte
}

// New makes a Source. It starts nothing: Run does.
func New(cfg Config) (*Source, error) {
	if cfg.Now == nil {
		return nil, errors.New("fetch: no clock was given")
	}

	cfg.fill()
	w, err := newWeb(cfg)
	if err != nil {
		return nil, err
	}

	return &Source{
		cfg:      cfg,
		web:      w,
		slots:    newSlots(perHost, atOnce),
		entries:  map[key]*entry{},
		statuses: newCache[[]byte](cfg, maxStatuses, newSlots(perHost, atOnce)),
		keySets:  newCache[[]byte](cfg, maxKeySets, newSlots(maxKeySetFetches, atOnce)),
		issuers: newCache[[]*x509.Certificate](cfg, maxIssuerPlaces,
			newSlots(maxIssuerFetches, maxAllIssuerFetches)),
	}, nil
}

func (c *Config) fill() {
	c.Refresh = orDefault(c.Refresh, DefaultRefresh)
	c.Timeout = orDefault(c.Timeout, defaultTimeout)
	c.MaxBytes = orDefault(c.MaxBytes, defaultMaxBytes)
	c.MaxTotal = orDefault(c.MaxTotal, defaultMaxTotal)
	c.MaxCRLs = orDefault(c.MaxCRLs, defaultMaxCRLs)
}

func orDefault[T int | int64 | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// CRLs returns one CRL, or one reason, for each distribution point. The
// configured CRLs of the issuer count for a certificate without distribution
// points, and where none of its distribution points has a CRL.
func (s *Source) CRLs(ctx context.Context, q udap.CRLQuery) []udap.CRLAnswer {
	if q.Issuer == nil {
		return nil
	}
	if len(q.URLs) == 0 {
		return matching(s.ask(ctx, s.configured(q.Community), q.Issuer))
	}

	answers := s.ask(ctx, q.URLs, q.Issuer)
	if slices.ContainsFunc(answers, func(a udap.CRLAnswer) bool {
		return a.List != nil
	}) {
		return answers
	}

	for _, a := range s.ask(ctx, s.configured(q.Community), q.Issuer) {
		if a.List != nil {
			answers = append(answers, a)
		}
	}

	return answers
}

func (s *Source) ask(ctx context.Context, places []string, issuer *x509.Certificate) []udap.CRLAnswer {
	if len(places) > maxPlaces {
		places = places[:maxPlaces]
	}
	if len(places) == 1 {
		return s.answer(ctx, places[0], issuer)
	}

	answers := make([]udap.CRLAnswer, len(places))
	var wg sync.WaitGroup
	for i, p := range places {
		wg.Go(func() { answers[i] = s.answer(ctx, p, issuer)[0] })
	}

	wg.Wait()

	return answers
}

// answer gives the list of one place, fetching it when there is none that
// counts, and never twice at one time. It returns one element, which never changes.
func (s *Source) answer(ctx context.Context, place string, issuer *x509.Certificate) []udap.CRLAnswer {
	e, err := s.entry(place, issuer)
	if err != nil {
		return []udap.CRLAnswer{{
			URL: place,
			Err: err,
		}}
	}

	now := s.cfg.Now()
	s.mu.Lock()
	e.used = now
	wait := s.begin(e, now)
	if !e.tried.IsZero() && e.usable(now) {
		wait = nil // what is known counts while it is fetched again
	}
	if wait != nil {
		wait.callers++
	}

	s.mu.Unlock()

	if wait != nil {
		wait.wait(ctx, &s.mu)
	}
	s.mu.Lock()
	defer s.mu.Unlock()

	return e.answer(s.cfg.Now(), wait)
}

// begin starts a fetch if one is due, and returns the one under way, if any. The
// caller holds s.mu.
func (s *Source) begin(e *entry, now time.Time) *flight {
	if !e.flight.joinable() && e.due(now, s.cfg.Refresh) {
		e.flight = newFlight(e.key.place)
		go s.fetch(e, e.flight)
	}
	return e.flight
}

// fetch brings one CRL and puts it in its entry if it may replace the one
// there. Once it has a slot it runs in its own time: a caller that goes away
// does not spoil it for others. Without a slot nothing is known: nothing is
// remembered.
func (s *Source) fetch(e *entry, f *flight) {
	defer close(f.done)
	release, err := f.begin(s.slots, &s.mu)
	if err != nil {
		s.mu.Lock()
		e.land(f)
		s.mu.Unlock()
		return
	}

	defer release()
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Timeout)
	defer cancel()

	list, warning, err := s.bring(ctx, e)
	if err == nil {
		err = s.keep(e, list)
	}
	if errors.Is(err, ErrOlder) {
		list = nil
		s.adopt(e.key.text())
	}
	s.end(e, f, list, warning, err)
}

// end records how a fetch went; a nil list leaves the one known in place.
func (s *Source) end(e *entry, f *flight, list *x509.RevocationList, warning string, err error) {
	s.log(e, list, warning, err)
	s.mu.Lock()
	defer s.mu.Unlock()

	e.tried, e.err = s.cfg.Now(), err
	e.land(f)
	if list == nil || e.list != nil && Older(list, e.list) {
		return // another process has kept a newer one since
	}

	if list != e.list {
		e.odd = warning
	}
	e.keep(list, e.tried)
	s.evict(e)
}

func (s *Source) log(e *entry, list *x509.RevocationList, warning string, err error) {
	switch {
	case s.cfg.Log == nil:
	case err != nil:
		s.cfg.Log.Debug("a CRL was not fetched", "place", e.key.place, "cause", err)
	case list != nil:
		s.cfg.Log.Debug("a CRL was fetched", "place", e.key.place, "number", number(list), "nextUpdate",
			list.NextUpdate,
			"entries", len(list.RevokedCertificateEntries), "warning", warning)
	}
}

// bring returns a CRL that may replace the one that the entry holds, and a
// warning about it.
func (s *Source) bring(ctx context.Context, e *entry) (list *x509.RevocationList, warning string, err error) {
	der, err := s.read(ctx, e.key.place)
	if err != nil {
		return nil, "", err
	}

	s.mu.Lock()
	old := e.list
	same := e.usable(s.cfg.Now()) && bytes.Equal(old.Raw, der)
	s.mu.Unlock()
	if same {
		return old, "", nil // the verifier need not read it again
	}

	if list, err = parse(der, e.issuer, s.cfg.Now()); err != nil {
		return nil, "", err
	}
	if warning, err = newer(old, list); err != nil {
		return nil, "", err
	}

	return list, warning, nil
}

// read returns the content of a place. Only the configuration names files: a
// place that a certificate names is fetched, or refused, as a URL.
func (s *Source) read(ctx context.Context, place string) ([]byte, error) {
	named := func(c Configured) bool { return c.Place == place }
	if isURL(place) || !slices.ContainsFunc(s.cfg.Configured, named) {
		return s.web.get(ctx, place, "application/pkix-crl", s.cfg.MaxBytes)
	}

	f, err := os.Open(place)
	if err != nil {
		return nil, err
	}
	defer f.Close()

	return readCapped(f, s.cfg.MaxBytes)
}

// entry finds or makes the entry of one place and issuer; a new one starts
// with what the store has, so that a restart does not roll a list back.
func (s *Source) entry(place string, issuer *x509.Certificate) (*entry, error) {
	k := key{place, issuerID(issuer)}
	s.mu.Lock()
	e := s.entries[k]
	s.mu.Unlock()
	if e != nil {
		return e, nil
	}

	list, fetched, err := s.stored(k, issuer)
	if err != nil {
		return nil, err
	}

	s.mu.Lock()
	defer s.mu.Unlock()

	if e := s.entries[k]; e != nil {
		return e, nil
	}

	e = &entry{
		key:     k,
		issuer:  issuer,
		list:    list,
		fetched: fetched,
		used:    s.cfg.Now(),
	}
	s.entries[k] = e

	s.evict(e)
	return e, nil
}

// issuerID names an issuer by its subject and key, so that a cross-signed
// issuer has one list.
func issuerID(c *x509.Certificate) [sha256.Size]byte {
	var room [1 << 10]byte
	named := append(append(room[:0], c.RawSubject...), c.RawSubjectPublicKeyInfo...)
	return sha256.Sum256(named)
}

// evict drops the entries used longest ago until the bounds hold; never the
// one in hand. The caller holds s.mu.
func (s *Source) evict(keep *entry) {
	for len(s.entries) > 1 {
		var total int64
		var oldest *entry
		for _, e := range s.entries {
			total += e.size()
			if e != keep && (oldest == nil || e.used.Before(oldest.used)) {
				oldest = e
			}
		}

		if total <= s.cfg.MaxTotal && len(s.entries) <= s.cfg.MaxCRLs {
			return
		}
		delete(s.entries, oldest.key)
	}
}
