package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/server/oauth/dpop"
	"fhirdest.example/server/oauth/idtoken"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// MaxTokenLifetime is the longest that an access token may live (UDAP Security
// 2.0, 4.2.3 and 5.2.3).
const MaxTokenLifetime = time.Hour

// Explain is who gets the reasons of a refusal.
type Explain string

// The values of Explain.
const (
	ExplainOperator Explain = ""       // the client gets one fixed sentence per code, the operator the trace
	ExplainClient   Explain = "client" // the client gets the refusing check's own words (sandbox)
)

// Config is what a Service needs. Verifier, Store, Now and the URLs are
// required; the zero value of every other field is the strict choice.
type Config struct {
	Base   string // the public FHIR base URL, byte for byte as originators write it
	Issuer string // the authorization server's own URL; its endpoints are below it

	Verifier *udap.Verifier
	Members  []Member // in the order of configuration; the first is the default community
	Store    Store
	Scopes   scope.Catalogue // for client_credentials; published as scopes_supported
	Personal scope.Catalogue // for authorization_code; published where that grant is offered

	// Interaction asks people. With it the authorization_code grant works and is
	// published with its scopes; without it clients for that grant are registered,
	// with a warning.
	Interaction Interaction

	NoFHIR bool // an identity provider: there is no FHIR service, and no document of one
	Tiered bool // people may sign in at another identity provider, or for another server here (UDAP Tiered OAuth)

	// Resources checks the FHIR resources in extension objects. nil: a request with
	// one is refused.
	Resources udap.ResourceValidator

	TokenLifetime time.Duration // 0 means MaxTokenLifetime, which is also the most
	// UnknownCommunityDefault answers a request for the metadata of a community
	// that is none of ours with the default metadata; else the answer is 204.
	UnknownCommunityDefault bool

	Explain Explain

	// IDTokens sign the ID tokens that people's clients get with the scope openid
	// (OpenID Connect). Needed with Interaction, where Personal has that scope.
	IDTokens idtoken.Keys

	// DPoPNonce demands a nonce of this server in each DPoP proof (RFC 9449 8 and 9).
	DPoPNonce bool
	// NonceSecret is what several destinations have in common, so that each accepts the
	// nonces of the others; nil: there is one.
	NonceSecret []byte

	// WithheldRemedy returns what the operator can do about a community whose
	// metadata is withheld; nil: the answer has no remedy.
	WithheldRemedy func(Withheld) string

	// Tolerated are the checks whose refusals are noted, and do not end a decision:
	// this server observes what clients do. nil: none.
	Tolerated trace.Tolerance

	TracePage func(traceID string) string // page of a trace, for error_uri; nil: none
	Record    func(*trace.Trace)          // gets the trace of every decision; nil: they are dropped
	Now       func() time.Time
	Address   func(*http.Request) string // the party that limits per address count; nil: the connection's peer
	Limits    Limits
}

// Service is the authorization server.
type Service struct {
	cfg    Config
	urls   URLs
	ours   map[string]string // our URLs and what each is, for hints
	limits *limiters
	nonces *dpop.Nonces // that proofs must have; nil: none

	offered      []string // grant types
	negotiations negotiations

	trust   atomic.Pointer[trust]
	signers atomic.Pointer[idtoken.Keys] // of ID tokens; none without people

	keys struct {
		sync.Mutex // held while the document is made, of the present trust and signers

		document atomic.Pointer[document]
	}
}

// trust is what the server verifies others by, and what others verify it by. It
// is immutable: SetTrust replaces it.
type trust struct {
	verifier   *udap.Verifier
	publishers []*publisher // of metadata, one per member

	smart, server document // constant as long as it lasts
}

// URLs are the addresses of the authorization server, all under its issuer.
type URLs struct {
	Issuer, Register, Authorize, Token, Introspect, Revoke, JWKS, UserInfo string
}

// URLsOf returns the addresses under an issuer.
func URLsOf(issuer string) URLs {
	return URLs{
		Issuer:     issuer,
		Register:   issuer + "/register",
		Authorize:  issuer + "/authorize",
		Token:      issuer + "/token",
		Introspect: issuer + "/introspect",
		Revoke:     issuer + "/revoke",
		JWKS:       issuer + "/jwks",
		UserInfo:   issuer + "/userinfo",
	}
}

// New makes a Service. Its error joins everything that is wrong with the Config.
func New(cfg Config) (*Service, error) {
	if cfg.TokenLifetime == 0 {
		cfg.TokenLifetime = MaxTokenLifetime
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}

	urls := URLsOf(cfg.Issuer)
	s := &Service{
		cfg:     cfg,
		urls:    urls,
		limits:  newLimiters(cfg.Limits),
		offered: cfg.offers(),
		ours: map[string]string{
			cfg.Base:        "FHIR base",
			urls.Issuer:     "issuer",
			urls.Register:   "registration endpoint",
			urls.Authorize:  "authorization endpoint",
			urls.Token:      "token endpoint",
			urls.Introspect: "introspection endpoint",
			urls.Revoke:     "revocation endpoint",
			urls.JWKS:       "key set",
			urls.UserInfo:   "userinfo endpoint",
		},
	}

	if cfg.DPoPNonce {
		s.nonces = dpop.NewNonces()
		if len(cfg.NonceSecret) > 0 {
			s.nonces = dpop.SharedNonces(cfg.NonceSecret)
		}
	}
	s.signers.Store(&cfg.IDTokens)
	return s, s.SetTrust(cfg.Verifier, cfg.Members)
}

// SetTrust replaces the verifier and the members for every request that begins
// afterwards. Nothing that the old verifier remembered is used again.
func (s *Service) SetTrust(v *udap.Verifier, members []Member) error {
	if err := errors.Join(checkTrust(v, members)...); err != nil {
		return err
	}

	t := &trust{verifier: v}
	for _, m := range members {
		t.publishers = append(t.publishers, &publisher{
			service:  s,
			verifier: v,
			member:   m,
		})
	}

	var errs [2]error
	t.smart, errs[0] = constant(discovery{s}.smartDocument(v))
	t.server, errs[1] = constant(discovery{s}.serverDocument(v))

	s.trust.Store(t)
	return errors.Join(errs[0], errs[1], openid{s}.publishKeys())
}

// verifier returns the verifier of a request, which uses it from its beginning to
// its end.
func (s *Service) verifier() *udap.Verifier { return s.trust.Load().verifier }

func checkTrust(v *udap.Verifier, members []Member) (faults []error) {
	if v == nil {
		faults = append(faults, errors.New("oauth: no verifier"))
	}

	for _, m := range members {
		if m.Community == nil || slices.ContainsFunc(m.Identities, func(id Identity) bool {
			return len(id.Chain) == 0 || id.Key == nil
		}) {
			faults = append(faults, errors.New("oauth: a member without community, chain or key"))
		}
	}

	return faults
}

func (c Config) check() error {
	faults := checkTrust(c.Verifier, c.Members)
	complain := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("oauth: "+format, args...))
		}
	}
	complain(!strings.HasPrefix(c.Base, "https://"), "the FHIR base %q is no https URL", c.Base)
	complain(!strings.HasPrefix(c.Issuer, "https://"), "the issuer %q is no https URL", c.Issuer)

	complain(strings.HasSuffix(c.Issuer, "/") ||
		strings.ContainsAny(c.Issuer,
			"?#"), "the issuer %q must have no query, fragment or slash at its end (RFC 8414 2)", c.Issuer)
	complain(c.Store == nil, "no store")
	complain(c.Now == nil, "no clock")
	complain(c.people() && len(c.IDTokens) == 0 && slices.Contains(c.Personal.Supported(), scopeOpenID),
		"people sign in, and there is no key for ID tokens")
	complain(c.TokenLifetime < time.Second || c.TokenLifetime > MaxTokenLifetime,
		"a token may live from 1 s to %s, not %s", MaxTokenLifetime, c.TokenLifetime)

	complain(c.Explain != ExplainOperator &&
		c.Explain != ExplainClient, "explain: %q is not known", c.Explain)

	return errors.Join(faults...)
}

// people reports whether the authorization_code grant works.
func (c Config) people() bool { return c.Interaction != nil }

// URLs returns the addresses of this authorization server.
func (s *Service) URLs() URLs { return s.urls }

// expect is what is known about a JWT for one of our endpoints.
func (s *Service) expect(audience string, now time.Time) udap.Expect {
	return udap.Expect{
		Now:      now,
		Audience: audience,
		OurURLs:  s.ours,
	}
}

// trace returns the trace of a request, or a new one if the caller has none.
func (s *Service) trace(tr *trace.Trace, action string) *trace.Trace {
	if tr == nil {
		return s.cfg.newTrace(action)
	}
	tr.Observe(s.cfg.Tolerated) // the pages for people have traces of their own making
	return tr
}

func (c Config) newTrace(action string) *trace.Trace {
	tr := trace.NewTrace(action, c.Now())
	tr.Observe(c.Tolerated)
	return tr
}

// spend is the use of a verified JWT's jti at an endpoint. It stays used until the
// JWT has expired by every clock within the community's skew.
func (s *Service) spend(v *udap.Verified, issuer, endpoint string, now time.Time) Spend {
	skew := v.Community.Policy.ClockSkew()
	return Spend{
		Community: v.Community.URI,
		Issuer:    issuer,
		JTI:       jtiOf(v),
		Since:     v.IssuedAt.Add(-skew),
		Until:     v.Expires.Add(skew),
		Expires:   v.Expires,
		Endpoint:  endpoint,
		Now:       now,
		Clock:     s.cfg.Now,
	}
}

// jtiOf returns the jti of a JWT. Only one that is noted to have none has none.
func jtiOf(v *udap.Verified) string {
	if v.JTI == "" {
		return "for " + ownID(v)
	}
	return v.JTI
}

// ownID names a JWT by what is signed: the same JWT has the same name, and no other has.
func ownID(v *udap.Verified) string {
	signed := v.Raw[:strings.LastIndexByte(v.Raw, '.')]
	sum := sha256.Sum256([]byte(signed))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// use is the one use of a JWT.
type use struct {
	store    Store
	spend    *Spend
	verified *udap.Verified
	refuse   func(*trace.Trace, error) error // makes a refusal of a store's error
}

// commit runs a transaction that uses up the jti. Where tr observes, the JWT itself is
// used up before; another one with the same jti is noted, and goes on under a jti that
// nobody has used.
func (u use) commit(ctx context.Context, tr *trace.Trace, run func() error) error {
	if tr.Observes() {
		own := *u.spend
		own.JTI, own.Proof = ownID(u.verified), nil
		if err := u.store.Spend(ctx, own); err != nil {
			return u.refuse(tr, err)
		}
	}

	err := run()
	if err == nil {
		return nil
	}
	if err := tr.Note(u.refuse(tr, err)); err != nil {
		return err
	}

	u.spend.JTI = "for " + ownID(u.verified)
	if err := run(); err != nil {
		return u.refuse(tr, err)
	}
	return nil
}

// passJTI records that a jti was new, unless it is noted just now that it was not.
func passJTI(tr *trace.Trace, c trace.Check) {
	if n := len(tr.Steps); n > 0 && tr.Steps[n-1].Check == c.Name {
		return
	}
	tr.Pass(c, "a jti that was not used before", "a new one")
}

// refuseSpend turns a store's error about a jti into a refusal with the given code,
// or, if the store itself failed, into temporarily_unavailable.
func refuseSpend(tr *trace.Trace, c trace.Check, code trace.Code, err error) error {
	var replayed *Replayed
	var proof *ProofError
	switch {
	case errors.As(err, &proof):
		return refuseProof(tr, proof.Err)

	case errors.As(err, &replayed):
		return tr.Refuse(c, code, trace.Finding{
			Expected: "a jti that was not used before",
			Found:    replayed.Error(),
			Remedy:   "make a new JWT, with a jti of its own, for every request",
			Err:      err,
		})

	case errors.Is(err, ErrExpired):
		return tr.Refuse(checkCurrent, code, trace.Finding{
			Expected: "a JWT that is valid until its effect is stored",
			Found:    err.Error(),
			Remedy:   "make a new JWT for every request; the server was busy",
			Err:      err,
		})

	case errors.Is(err, ErrSwept):
		return tr.Refuse(c, trace.TemporarilyUnavailable, trace.Finding{
			Expected: "a jti that was not used before",
			Found:    err.Error(),
			Remedy:   "try again later with a new JWT: the operator must have the server accept the present time",
			Err:      err,
		})

	case errors.Is(err, ErrRestored):
		return tr.Refuse(c, code, trace.Finding{
			Expected: "a JWT made after the server was restored, and later by the clock skew",
			Found:    err.Error(),
			Remedy:   "make a new JWT; for the length of the clock skew after a restore wait and try again",
			Err:      err,
		})
	}

	return trouble(tr, err)
}

// trouble is a refusal for which the client is not to blame.
func trouble(tr *trace.Trace, err error) error {
	return tr.Refuse(checkStore, trace.TemporarilyUnavailable, trace.Finding{
		Found:  "the server could not store or read its records",
		Remedy: "try again later with a new JWT",
		Err:    err,
	})
}

// errMismatch guards against a verifier that accepts what lookup did not know.
var errMismatch = errors.New("oauth: the verified client is not the one that was looked up")
