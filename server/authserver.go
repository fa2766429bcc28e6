package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir"
	fhiraccess "fhirdest.example/fhir/access"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap"
)

// newAuthServer returns the authorization server.
func (s *Site) newAuthServer() (*oauth.Service, error) {
	scopes, err := scope.NewCatalogue(s.cfg.scopes(), served, enforceable)
	if err != nil {
		return nil, err
	}

	personal, err := scope.NewCatalogue(s.cfg.personalScopes(), served, enforceable)
	if err != nil {
		return nil, err
	}

	s.verifier.Store(s.newVerifier(s.start.communities))
	var page func(string) string
	if s.explain() == oauth.ExplainClient {
		// A client that learns everything may know the console's address.
		page = func(id string) string {
			return s.cfg.Admin.URL + "/traces/" + id
		}
		if s.deps.TracePage != nil {
			page = s.deps.TracePage
		}
	}

	r := s.cfg.Rates
	cfg := oauth.Config{
		Base:                    s.cfg.Public,
		Issuer:                  s.cfg.Issuer,
		Verifier:                s.verifier.Load(),
		Members:                 oauthMembers(s.start.communities),
		Store:                   keeping{s}.grants(),
		Resources:               resourceValidator(),
		Scopes:                  scopes,
		Personal:                personal,
		NoFHIR:                  s.cfg.FHIR == "off",
		Tiered:                  s.cfg.tiered(),
		UnknownCommunityDefault: s.cfg.UnknownCommunity == "default",
		TokenLifetime:           s.cfg.TokenLifetime,
		Explain:                 s.explain(),
		Tolerated:               s.deps.tolerated(),
		Record:                  s.decisions.Record,
		Now:                     s.deps.Now,
		TracePage:               page,
		WithheldRemedy:          s.withheldRemedy,
		DPoPNonce:               s.cfg.DPoP.Nonce == "required",
		Limits: oauth.Limits{
			RequestsPerAddress:        r.RequestsPerAddress,
			RegistrationsPerCommunity: r.RegistrationsPerCommunity,
			RegistrationsPerClient:    r.RegistrationsPerClient,
			TokensPerClient:           r.TokensPerClient,
		},
	}
	if cfg.NonceSecret, err = s.stores.Secret(context.Background(), "dpop-nonces"); err != nil {
		return nil, err
	}
	if s.people != nil { // an interface that holds a nil pointer is not nil
		cfg.Interaction = interaction{s.people, keeping{s}}
		if cfg.IDTokens, err = newIDTokens(s, s.cfg).load(); err != nil {
			return nil, err
		}
	}
	return oauth.New(cfg)
}

// resourceValidator returns what checks FHIR resources inside signed documents.
// Its errors name elements and not their values.
func resourceValidator() udap.ResourceValidator {
	v := validate.New(table.R4())
	return func(body []byte) error {
		root, err := tree.Parse(body)
		if err != nil {
			return errors.New("no JSON that FHIR accepts")
		}

		for _, issue := range v.Resource(root, validate.Options{}) {
			if issue.Severity == validate.Error {
				return fmt.Errorf("%s: %s", issue.Expression, issue.Code)
			}
		}

		return nil
	}
}

// newVerifier returns what verifies the signatures of the communities' members.
func (s *Site) newVerifier(members []*member) *udap.Verifier {
	v := &udap.Verifier{
		Revocation: s.revocation,
		Status:     s.revocation,
		Issuers:    s.revocation,
		KeySets:    s.revocation,
	}

	for _, m := range members {
		v.Communities = append(v.Communities, m.udap)
	}

	return v
}

// trustFiles are the files of the trust communities: anchors, intermediates and
// our own certificates. The rest of their configuration stays as it was.
func (s *Site) trustFiles(cfg Config) *files {
	return newFiles("trust in the communities", cfg.trustPaths(), s.deps.Log, func() (string, error) {
		l := &loader{
			cfg: cfg,
			now: s.deps.Now(),
		}
		members := l.members()
		if err := l.Err(); err != nil {
			return "", err
		}
		v := s.newVerifier(members)
		if err := s.oauth.SetTrust(v, oauthMembers(members)); err != nil {
			return "", err
		}

		s.verifier.Store(v)
		s.current.Store(&members)
		return fmt.Sprintf("%d communities", len(members)), nil
	})
}

// trustPaths are the files that the communities' part of a configuration names.
func (c Config) trustPaths() []string {
	var names []string
	for _, m := range c.Communities {
		names = slices.Concat(names, m.Anchors, m.Intermediates)
		for _, o := range m.Certificates {
			names = append(names, o.Chain, o.Key, o.P12, o.PasswordFile)
		}
	}

	var out []string
	for _, n := range names {
		if n != "" {
			out = append(out, c.file(n))
		}
	}

	return out
}

// oauthMembers returns what the authorization server must know of the members: our
// communities with our own certificates in them.
func oauthMembers(members []*member) []oauth.Member {
	var out []oauth.Member
	for _, m := range members {
		o := oauth.Member{Community: m.udap}
		for _, id := range m.own {
			o.Identities = append(o.Identities, oauth.Identity{
				Chain: id.Chain,
				Key:   id.Key,
			})
		}

		out = append(out, o)
	}

	return out
}

// supportedScopes is what the FHIR service can enforce, in both editions'
// forms: everything it serves can be read and searched, and written where the
// operator allows it. A scope for one type is granted under the wildcard; the
// types listed are the ones worth asking for.
func supportedScopes(writable bool) []string {
	allowed := []string{"read", "rs"}
	if writable {
		allowed = append(allowed, "write", "cruds")
	}
	var out []string

	for _, t := range []string{
		"*", "AllergyIntolerance", "CarePlan", "CareTeam", "Condition", "Coverage", "Device",
		"DiagnosticReport", "DocumentReference", "Encounter", "Goal", "Immunization", "Location", "Medication",
		"MedicationRequest", "Observation",
		"Organization",
		"Patient", "Practitioner", "PractitionerRole", "Procedure", "Provenance", "RelatedPerson", "ServiceRequest",
	} {
		for _, a := range allowed {
			out = append(out, "system/"+t+"."+a)
		}
	}

	// The wildcard does not cover the record of who did what (see served), and
	// nobody may change it.
	out = append(out, "system/AuditEvent.read", "system/AuditEvent.rs")
	// No wildcard covers matching either.
	return append(out, "system/Patient.$match")
}

// scopes are those of clients without people.
func (c Config) scopes() []string {
	if c.FHIR == "off" {
		return nil
	}
	return supportedScopes(c.Writable)
}

// tiered reports whether this server has a part in UDAP Tiered OAuth: as the one
// that sends people to an identity provider, or as an identity provider.
func (c Config) tiered() bool {
	return len(c.IDPs) > 0 || c.FHIR == "off"
}

// personalScopes are those that clients for people may register for; they are
// not listed before the authorization code grant works. The scope udap is listed
// with Tiered OAuth only (UDAP Security 2.0, 6.1).
func (c Config) personalScopes() []string {
	if c.FHIR == "off" {
		return []string{"openid", "udap", "fhirUser", "profile"}
	}

	out := []string{"openid", "fhirUser", "offline_access", "online_access", "launch", "launch/patient"}
	if c.tiered() {
		out = append(out, "udap")
	}

	for _, s := range supportedScopes(c.Writable) {
		rest := strings.TrimPrefix(s, "system/")
		if strings.HasPrefix(rest, "AuditEvent.") || rest == "Patient.$match" {
			continue
		}
		out = append(out, "user/"+rest, "patient/"+rest)
	}

	return out
}

// served reports whether a wildcard covers a type: it names a type of resource,
// and is not the record of who did what, which must be asked for by name.
func served(resourceType string) bool {
	return resourceType != "AuditEvent" && table.R4().Resource(resourceType) != nil
}

// enforceable reports whether the FHIR service can hold back what a search
// parameter leaves out.
func enforceable(resourceType, param string) bool {
	var ps search.Parser
	_, err := ps.Plain(resourceType, param, "x")
	return search.Lookup(resourceType, param) != nil && err == nil
}

// bearer returns what a request's token allows.
func (s *Site) bearer(r *http.Request) (*fhir.Grant, *fhir.Denial) {
	access, err := s.oauth.BearerRequest(r, s.publicURL)
	if err != nil {
		return nil, s.denial(err)
	}
	if err := authorized(r, string(access.ClientID)); err != nil {
		return nil, &fhir.Denial{
			Status: http.StatusServiceUnavailable,
			Code:   "transient",
			Text:   err.Error(),
		}
	}

	g := &fhir.Grant{
		Scopes:   access.Scopes,
		Patient:  access.Patient,
		Client:   string(access.ClientID),
		TokenID:  access.TokenID,
		Purposes: access.Purposes,
		Expires:  access.Expires,

		Community: string(access.Community),
		Party:     string(access.Client),

		TokenRef:     string(access.Ref),
		Approval:     approvalOf(access.Grant),
		Subject:      access.Subject,
		Registration: access.Epoch,

		AllRecords: s.cfg.readsAudit(access),
		Asserted:   asserted(access),
	}

	if granted := access.Grant; granted != nil {
		g.Grant, g.Revision = string(granted.ID), granted.Revision
		g.User = granted.Person.FHIRUser
		g.Patients, g.AllPatients = access.Reach.Patients, access.Reach.AllPatients
	}

	return g, nil
}

// asserted returns what the client asserted in its hl7-b2b object, as it is stored
// with the token.
func asserted(a *oauth.Access) *fhiraccess.Asserted {
	stored, ok := a.Extensions[udap.B2BKey]
	if !ok {
		return nil
	}

	var out fhiraccess.Asserted
	if err := json.Unmarshal(stored, &out); err != nil {
		return nil // the authorization server wrote it
	}
	return &out
}

// approvalOf names what a person granted: it changes when a part is taken back.
func approvalOf(g *oauth.Grant) string {
	if g == nil {
		return ""
	}
	return fmt.Sprintf("%s %d", g.ID, g.Revision)
}

// readsAudit reports whether a client is one of auditReaders. Its URI alone does not
// identify it: every community can issue a certificate for any URI.
func (c Config) readsAudit(a *oauth.Access) bool {
	return slices.ContainsFunc(c.AuditReaders, func(text string) bool {
		community, uri := c.auditReader(text)
		return community == string(a.Community) && uri == string(a.Client)
	})
}

// auditReader returns the community and the URI of one of auditReaders.
func (c Config) auditReader(text string) (community, uri string) {
	if community, uri, both := strings.Cut(text, " "); both {
		return community, uri
	}
	if len(c.Communities) == 0 {
		return "", text
	}
	return c.Communities[0].URI, text
}

// denial returns the answer to a request that is allowed nothing. When the token could not be
// looked up, that is no claim about the token.
func (s *Site) denial(err error) *fhir.Denial {
	r := oauth.RefusalOf(err)
	d := &fhir.Denial{
		Status: r.Status,
		Header: r.Header,
		Trace:  r.Trace,
		Code:   "login",
	}
	switch {
	case r.Status >= 500:
		s.deps.Log.Error(
			"a token could not be looked up",
			"trace",
			r.Trace,
			"cause",
			r.Of.Err,
		)
		d.Status = http.StatusServiceUnavailable
		d.Code = "transient"
		d.Text = "The token could not be looked up; try again later."
	case s.cfg.Explain == "client":
		d.Text = r.Of.Check + ": " + r.Of.Detail + "."
	default:
		d.Text = "A valid access token is needed, in one Authorization header of the scheme Bearer, " +
			"or DPoP with a proof."
	}

	return d
}
