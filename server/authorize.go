package server

import (
	"errors"
	"net/http"
	"strings"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/table"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap"
)

// authorize makes the authorization server.
func (s *Server) authorize() error {
	scopes, err := scope.NewCatalogue(supportedScopes(s.cfg.Writable), served, enforceable)
	if err != nil {
		return err
	}
	personal, err := scope.NewCatalogue(personalScopes(s.cfg.Writable), served, enforceable)
	if err != nil {
		return err
	}
	explain, page := oauth.ExplainOperator, (func(string) string)(nil)
	if s.cfg.Explain == "client" {
		// Whoever is told everything may be told where the console stands.
		explain, page = oauth.ExplainClient, func(id string) string { return s.cfg.Admin.URL + "/traces/" + id }
	}
	r := s.cfg.Rates
	s.oauth, err = oauth.New(oauth.Config{
		Base: s.cfg.Public, Issuer: s.cfg.Issuer, Verifier: s.verifier, Members: s.members(), Store: s.trust, Scopes: scopes, Personal: personal,
		UnknownCommunityDefault: s.cfg.UnknownCommunity == "default",
		TokenLifetime:           s.cfg.TokenLifetime, Explain: explain, Record: s.decisions.Record, Now: s.deps.Now,
		TracePage: page,
		Limits: oauth.Limits{
			RequestsPerAddress: r.RequestsPerAddress, RegistrationsPerCommunity: r.RegistrationsPerCommunity,
			RegistrationsPerClient: r.RegistrationsPerClient, TokensPerClient: r.TokensPerClient,
		},
	})
	return err
}

// members are our communities with our own certificates in them.
func (s *Server) members() []oauth.Member {
	var out []oauth.Member
	for _, m := range s.communities {
		o := oauth.Member{Community: m.udap}
		for _, id := range m.own {
			o.Identities = append(o.Identities, oauth.Identity{Chain: id.Chain, Key: id.Key})
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
		"*", "AllergyIntolerance", "CarePlan", "CareTeam", "Condition", "Coverage", "Device", "DiagnosticReport", "DocumentReference",
		"Encounter", "Goal", "Immunization", "Location", "Medication", "MedicationRequest", "Observation", "Organization",
		"Patient", "Practitioner", "PractitionerRole", "Procedure", "Provenance", "RelatedPerson", "ServiceRequest",
	} {
		for _, a := range allowed {
			out = append(out, "system/"+t+"."+a)
		}
	}
	return out
}

// personalScopes are those that clients for people may register for; they are
// not listed before the authorization code grant works.
func personalScopes(writable bool) []string {
	out := []string{"openid", "fhirUser", "offline_access", "launch/patient"}
	for _, s := range supportedScopes(writable) {
		rest := strings.TrimPrefix(s, "system/")
		out = append(out, "user/"+rest, "patient/"+rest)
	}
	return out
}

// served tells whether a word names a type of resource.
func served(resourceType string) bool { return table.R4().Resource(resourceType) != nil }

// enforceable tells whether the FHIR service can hold back what a search
// parameter leaves out.
func enforceable(resourceType, param string) bool {
	x := search.Extractor{}
	_, err := x.Plain(resourceType, param, "x")
	return search.Lookup(resourceType, param) != nil && err == nil
}

// bearer tells the FHIR service what a request's token allows (RFC 6750 2.1:
// in the Authorization header, once).
func (s *Server) bearer(r *http.Request) (*fhir.Grant, *fhir.Denial) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		// RFC 6750 3.1: whoever sent no credentials gets no error code.
		return nil, &fhir.Denial{Status: http.StatusUnauthorized, WWWAuthenticate: "Bearer", Code: "login", Text: "An access token is needed, in the Authorization header."}
	}
	if len(values) > 1 {
		return nil, invalidRequest("More than one Authorization header.")
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return nil, invalidToken("The Authorization header does not have the scheme Bearer.")
	}
	access, err := s.oauth.Bearer(r.Context(), strings.TrimLeft(token, " "))
	if err != nil {
		return nil, s.denial(err)
	}
	return &fhir.Grant{
		Scopes: access.Scopes, Client: string(access.ClientID), TokenID: access.TokenID, Purposes: access.Purposes, Expires: access.Expires,
	}, nil
}

func invalidRequest(text string) *fhir.Denial {
	return &fhir.Denial{Status: http.StatusBadRequest, WWWAuthenticate: `Bearer error="invalid_request"`, Code: "login", Text: text}
}

func invalidToken(text string) *fhir.Denial {
	return &fhir.Denial{Status: http.StatusUnauthorized, WWWAuthenticate: `Bearer error="invalid_token"`, Code: "login", Text: text}
}

// denial says why a token allows nothing.
func (s *Server) denial(err error) *fhir.Denial {
	var e *udap.Error
	if !errors.As(err, &e) || e.Code != udap.InvalidToken {
		s.deps.Log.Error("a token could not be looked up", "cause", errors.Unwrap(err))
		return &fhir.Denial{Status: http.StatusUnauthorized, WWWAuthenticate: "Bearer", Code: "transient", Text: "The token could not be looked up; try again later."}
	}
	if s.cfg.Explain == "client" {
		return invalidToken("The access token is not valid: " + e.Detail + ".")
	}
	return invalidToken("The access token is not valid.")
}
