package oauth

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"
	"time"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// assertionType is the one value of client_assertion_type (RFC 7523 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// ClientRequest is a request of a client that authenticates with an
// authentication token: to the token, introspection or revocation endpoint.
type ClientRequest struct {
	Params        Params
	Authorization []string     // the Authorization headers, of which there must be none
	Proofs        []string     // the DPoP headers; the token endpoint alone reads them
	Trace         *trace.Trace // nil: a new one
}

// authenticated is a client whose authentication token was verified. Its jti must
// be spent even if the request is then refused: else the token could be used
// again by anyone who has seen it.
type authenticated struct {
	ant          *udap.AuthenticationToken
	registration *Registration
	resources    udap.ResourceValidator
	spend        Spend
	spent        bool   // the jti is used up already
	thumbprint   string // of the key of the DPoP proof; empty: there was none
	now          time.Time
	lookupErr    error // the store's, about the registration
}

// authenticate establishes which client asks. What it refuses has spent nothing.
func (s *Service) authenticate(
	ctx context.Context, req ClientRequest, endpoint string, expect udap.Expect, tr *trace.Trace,
) (*authenticated, error) {
	if err := checkCredentials(req, tr); err != nil {
		return nil, err
	}

	a := &authenticated{
		resources: s.cfg.Resources,
		now:       tr.Time,
	}
	lookup := func(id trace.ClientID) (udap.Binding, bool) {
		a.registration, a.lookupErr = s.cfg.Store.Client(ctx, id)
		return bindingOf(a.registration)
	}
	ant, err := s.verifier().Assertion(ctx, req.Params["client_assertion"], req.Params["client_id"],
		expect, lookup, tr)
	switch {
	case a.lookupErr != nil:
		return nil, trouble(tr, a.lookupErr)
	case err != nil:
		return nil, err
	case a.registration == nil || ant.ClientID != a.registration.ID:
		return nil, trouble(tr, errMismatch)
	}

	a.ant = ant
	a.spend = s.spend(&ant.Verified, string(ant.ClientID), endpoint, tr.Time)
	return a, nil
}

// bindingOf returns what identifies the client of a registration; ok is false when there
// is none.
func bindingOf(r *Registration) (b udap.Binding, ok bool) {
	if r == nil {
		return b, false
	}
	return udap.Binding{
		Community: r.Community,
		Client:    r.Client,
		JWKSURI:   r.Granted.JWKSURI,
	}, true
}

// checkCredentials checks the parameters by which a client authenticates,
// before the authentication token is looked at.
func checkCredentials(req ClientRequest, tr *trace.Trace) error {
	p := req.Params
	if len(req.Authorization) > 0 {
		err := tr.Refuse(checkAuthorization, trace.InvalidClient, trace.Finding{
			Expected: "no Authorization header",
			Found:    "one",
			Remedy:   "authenticate with client_assertion alone; it was not used up",
		})
		return &Refusal{
			Of:     err,
			Status: http.StatusUnauthorized,
			Header: http.Header{"Www-Authenticate": {challengeFor(req.Authorization[0])}},
		}
	}

	if err := tr.Note(checkNoSecret(p, tr)); err != nil {
		return err
	}
	if err := tr.Note(checkTypeOfAssertion(p, tr)); err != nil {
		return err
	}
	if p["client_assertion"] == "" {
		return tr.Refuse(checkAssertion, trace.InvalidRequest, trace.Finding{
			Expected: "client_assertion",
			Found:    "none",
			Remedy:   "send the authentication token as client_assertion",
		})
	}

	return nil
}

// checkNoSecret refuses credentials beside client_assertion. They are never looked at.
func checkNoSecret(p Params, tr *trace.Trace) error {
	for _, name := range []string{"client_secret", "assertion"} {
		if p[name] != "" {
			return tr.Refuse(checkSecret, trace.InvalidRequest, trace.Finding{
				Expected: "client_assertion as the only credential",
				Found:    "the parameter " + name,
			})
		}
	}
	return nil
}

func checkTypeOfAssertion(p Params, tr *trace.Trace) error {
	got := p["client_assertion_type"]
	if got == assertionType {
		return nil
	}
	return tr.Refuse(checkAssertionType, trace.InvalidRequest, trace.Finding{
		Expected: assertionType,
		Found:    shown(p, "client_assertion_type"),
		Remedy:   assertionTypeHint(got),
	})
}

// assertionTypeHint recognises the value in the guide's Tiered OAuth example.
func assertionTypeHint(got string) string {
	if got == "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return "that is a grant type (RFC 7523 2.1); the guide's Tiered OAuth example prints it by mistake"
	}
	return ""
}

// challengeFor returns a challenge of the scheme that the client used in its
// Authorization header (RFC 6749 5.2).
func challengeFor(header string) string {
	if scheme, _, _ := strings.Cut(header, " "); strings.EqualFold(scheme, "Basic") {
		return `Basic realm="UDAP"`
	}
	return `Bearer realm="UDAP"`
}

// checkUDAP checks the parameter udap of a form.
func checkUDAP(p Params, tr *trace.Trace) error {
	if p["udap"] != "1" {
		return tr.Refuse(checkClientUDAP, trace.InvalidRequest, trace.Finding{
			Expected: "udap=1",
			Found:    shown(p, "udap"),
			Remedy:   udapHint(p),
		})
	}

	tr.Pass(checkClientUDAP, "udap=1", "udap=1")
	return nil
}

// udapHint recognises a client of SMART Backend Services, whose requests have
// all but udap.
func udapHint(p Params) string {
	if p["udap"] != "" || p["client_assertion"] == "" && p["client_assertion_type"] == "" {
		return ""
	}
	return "this looks like SMART Backend Services, and this server speaks UDAP: send udap=1, sign the assertion " +
		"with the key of a certificate of a trust community, put its chain into the header x5c, and register " +
		"with that certificate first; BASE/.well-known/udap has the endpoints"
}

// shown is the value of a parameter, for a finding.
func shown(p Params, name string) string {
	if v := p[name]; v != "" {
		return v
	}
	return "no " + name
}

// limitClient counts a request of an authenticated client.
func (s *Service) limitClient(a *authenticated, tr *trace.Trace) error {
	return limited(tr, s.limits.client, "certificate", certificateKey(&a.ant.Verified), a.now)
}

func certificateKey(v *udap.Verified) func() string {
	return func() string {
		sum := sha256.Sum256(v.Leaf.Raw)
		return string(sum[:16])
	}
}

// spendRefused uses up the jti of a request that is refused after its client was
// authenticated. A jti that was used before is the graver refusal.
func (s *Service) spendRefused(ctx context.Context, a *authenticated, refusal error, tr *trace.Trace) error {
	if a.spent {
		return refusal
	}

	code, by := tr.Code, tr.RefusedBy
	if err := a.spendAlone(ctx, s.cfg.Store, tr); err != nil {
		return err
	}
	tr.Code, tr.RefusedBy = code, by
	return refusal
}

// spendAlone uses up the jti of a request that stores nothing else.
func (a *authenticated) spendAlone(ctx context.Context, store Store, tr *trace.Trace) error {
	return a.use(store, refuseClientJTI).commit(ctx, tr, func() error { return store.Spend(ctx, a.spend) })
}

// use is the use of a client's authentication token.
func (a *authenticated) use(store Store, refuse func(*trace.Trace, error) error) use {
	return use{
		store:    store,
		spend:    &a.spend,
		verified: &a.ant.Verified,
		refuse:   refuse,
	}
}

// refuseClientJTI is for transactions that have no error of their own.
func refuseClientJTI(tr *trace.Trace, err error) error {
	return refuseSpend(tr, checkClientJTI, trace.InvalidClient, err)
}
