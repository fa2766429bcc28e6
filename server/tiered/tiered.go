// Package tiered signs people in at other identity providers (UDAP Tiered OAuth for
// User Authentication, UDAP Security 2.0, 6). It is a client of each provider: it
// verifies the provider's signed metadata, registers there with a certificate of the
// provider's community, sends the browser there, exchanges the code that comes back,
// verifies the ID token, and finds out which person of ours it is. Consent is asked
// for here, afterwards.
package tiered

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/server/people/users"
	"fhirdest.example/server/rate"
	"fhirdest.example/udap"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/trace"
)

// Config is what a Service needs. Every field but Name, Match, Record and Timeout is
// required.
type Config struct {
	Issuer    string // of our authorization server: the redirect URIs are below it
	Name      string // that we register under; default: the issuer's host
	Providers []Provider
	Store     Store

	// Verifier returns what verifies the members of a community at present.
	Verifier func(trace.CommunityURI) *udap.Verifier
	// Users returns the people who can sign in at present.
	Users func() *users.Directory
	// Match returns the subjects of all users whose records have these claims of a
	// person; nil: nobody is found so.
	Match func(ctx context.Context, claims map[string]string) (subjects []string, err error)

	Record  func(*trace.Trace) // gets the trace of every decision; nil: they are dropped
	Now     func() time.Time
	Timeout time.Duration // of one request to a provider; default 5 s
}

// Provider is an identity provider that the operator trusts.
type Provider struct {
	Base      string // its base URL: what clients send in the parameter idp, byte for byte
	Community trace.CommunityURI
	Chain     []*x509.Certificate // ours in that community, leaf first, with one URI
	Key       crypto.Signer
	Roots     *x509.CertPool // of its TLS certificate; nil: the system's
	Contact   string         // mailto: URI that we register with
	Match     []string       // claims that find a person who is not linked; none: nobody is found
}

// People goes on where a person has signed in, and shows refusals. Package people
// implements it.
type People interface {
	// SignedIn starts a session for a person and goes on with an authorization
	// request.
	SignedIn(w http.ResponseWriter, r *http.Request, p oauth.Person, query string, tr *trace.Trace) error
	// Refuse shows a refusal that must not be redirected.
	Refuse(w http.ResponseWriter, r *http.Request, refusal *oauth.Refusal, tr *trace.Trace)
}

// Service implements people.Elsewhere.
type Service struct {
	cfg       Config
	providers []*provider
	oauth     *oauth.Service
	people    People
	perClient *rate.Limiter
}

// tripsPerClient bounds how many people one client may send to providers in a minute.
const tripsPerClient = 600

// New returns a Service, which answers requests after Use. Its error joins everything
// that is wrong with the Config.
func New(cfg Config) (*Service, error) {
	var faults []error
	complain := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("tiered: "+format, args...))
		}
	}

	issuer, err := url.Parse(cfg.Issuer)
	complain(
		err != nil || issuer.Scheme != "https" || issuer.Host == "",
		"the issuer %q is no https URL",
		cfg.Issuer,
	)
	complain(cfg.Store == nil || cfg.Verifier == nil || cfg.Users == nil || cfg.Now == nil,
		"no store, verifier, users or clock")

	for _, p := range cfg.Providers {
		complain(
			!strings.HasPrefix(p.Base, "https://"),
			"the base %q of a provider is no https URL",
			p.Base,
		)
		complain(
			len(p.Chain) == 0 || p.Key == nil || p.Community == "",
			"no certificate for %s",
			p.Base,
		)
	}

	if err := errors.Join(faults...); err != nil {
		return nil, err
	}

	if cfg.Name == "" {
		cfg.Name = issuer.Hostname()
	}
	if cfg.Record == nil {
		cfg.Record = func(*trace.Trace) {}
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}

	s := &Service{
		cfg:       cfg,
		perClient: rate.New(tripsPerClient),
	}

	for _, p := range cfg.Providers {
		if p.Contact == "" {
			p.Contact = "mailto:postmaster@" + issuer.Hostname()
		}
		s.providers = append(s.providers, s.newProvider(p))
	}

	return s, nil
}

// Use gives the Service the authorization server and the pages that it works for. It
// must be called once, before the first request.
func (s *Service) Use(a *oauth.Service, p People) { s.oauth, s.people = a, p }

// Routes mounts the redirect URIs, one for each provider so that no answer of one
// passes for another's (RFC 9700 4.4), and the logo that we register with.
func (s *Service) Routes(mount func(url string, h http.Handler)) {
	for _, p := range s.providers {
		mount(p.redirectURI, s.callback(p))
	}
	mount(s.logoURI(), http.HandlerFunc(serveLogo))
}

//go:embed logo.png
var logo []byte

func (s *Service) logoURI() string { return s.cfg.Issuer + "/logo.png" }

func serveLogo(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "GET or HEAD", http.StatusMethodNotAllowed)
		return
	}

	h := w.Header()
	h.Set("Content-Type", "image/png")
	h.Set("Content-Length", strconv.Itoa(len(logo)))
	h.Set("Cache-Control", "max-age=86400")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodGet {
		_, _ = w.Write(logo) // whoever asked may be gone
	}
}

// providerID names a provider in URLs and cookies.
func providerID(base string) string {
	sum := sha256.Sum256([]byte(base))
	return hex.EncodeToString(sum[:6])
}

// provider returns the provider with exactly this base URL, or nil.
func (s *Service) provider(base string) *provider {
	i := slices.IndexFunc(s.providers, func(p *provider) bool { return p.Base == base })
	if i < 0 {
		return nil
	}
	return s.providers[i]
}

// Begin implements people.Elsewhere: it sends the browser to the provider that the
// request names, or to the client with an error. No address is asked that is not
// configured.
func (s *Service) Begin(w http.ResponseWriter, r *http.Request, req *oauth.AuthorizationRequest) bool {
	if req.IdP == "" {
		return false
	}

	location, err := s.begin(w, r, req)
	if err != nil {
		location = oauth.Refused(s.oauth, req, err)
	}
	oauth.SeeOther(w, location)
	return true
}

// begin returns where the browser goes.
func (s *Service) begin(
	w http.ResponseWriter, r *http.Request, req *oauth.AuthorizationRequest,
) (location string, refusal *trace.Error) {
	tr := req.Trace
	p := s.provider(req.IdP)
	if p == nil {
		return "", tr.Refuse(checkProvider, trace.InvalidIDP, trace.Finding{
			Expected: "an identity provider that this server trusts",
			Found:    req.IdP,
			Remedy:   "name another, by its base URL byte for byte, or leave idp out to sign in here",
		})
	}

	tr.Pass(checkProvider, "a provider that this server trusts", p.Base)

	now := s.cfg.Now()
	if wait := s.perClient.Acquire(string(req.Registration.ID), now); wait > 0 {
		return "", tr.Refuse(checkBegun, trace.TemporarilyUnavailable, trace.Finding{
			Expected: fmt.Sprintf("at most %d people a minute", tripsPerClient),
			Found:    "more",
			Remedy:   "try again in " + wait.Round(time.Second).String(),
		})
	}

	link, refusal := p.link(r.Context(), tr)
	if refusal != nil {
		return "", refusal
	}
	return s.depart(w, r, req, link)
}

// depart stores the trip and returns the URL of the provider's page.
func (s *Service) depart(
	w http.ResponseWriter, r *http.Request, req *oauth.AuthorizationRequest, l *link,
) (location string, refusal *trace.Error) {
	tr, secret, state := req.Trace, newSecret(), client.NewSecret()
	trip := Trip{
		ID:       secret.id(),
		Provider: l.provider.Base,
		ClientID: l.id,
		State:    sha256.Sum256([]byte(state)),
		Query:    req.Query,
		Expires:  s.cfg.Now().Add(tripLife).Truncate(time.Minute),
	}

	location, err := l.client.AuthorizationURL(l.found, client.Authorization{
		ClientID:    l.id,
		RedirectURI: l.provider.redirectURI,
		Scope:       l.scope,
		State:       state,
		Verifier:    secret.derive("verifier"),
		Nonce:       secret.derive("nonce"),
		Further:     further(req),
	}, tr)
	if err != nil {
		return "", tr.Refuse(checkBegun, trace.InvalidIDP, trace.Finding{Err: err})
	}
	if err := s.cfg.Store.BeginTrip(r.Context(), trip, s.cfg.Now()); err != nil {
		return "", s.trouble(tr, err)
	}

	setCookie(w, l.provider.cookieName(state), secret.cookie(trip.Expires))
	tr.Pass(
		checkBegun,
		"",
		"the person is sent to "+l.provider.Base+", until "+trace.Stamp(trip.Expires),
	)
	return location, nil
}

// further are the parameters of a client's request that concern the sign-in.
func further(req *oauth.AuthorizationRequest) url.Values {
	v := url.Values{}
	prompt := slices.DeleteFunc(slices.Clone(req.Prompt), func(p string) bool { return p == "consent" })
	for name, value := range map[string]string{
		"prompt":     strings.Join(prompt, " "),
		"login_hint": req.LoginHint,
		"acr_values": req.ACRValues,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}

	if req.MaxAge != nil {
		v.Set("max_age", strconv.Itoa(*req.MaxAge))
	}
	return v
}

// trouble is a refusal for which nobody outside is to blame.
func (s *Service) trouble(tr *trace.Trace, err error) *trace.Error {
	return tr.Refuse(checkStore, trace.TemporarilyUnavailable, trace.Finding{
		Found:  "the server could not store or read its records, or has too many sign-ins under way",
		Remedy: "try again in a moment",
		Err:    err,
	})
}
