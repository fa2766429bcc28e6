package examine_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/examine"
)

// row is a destination with one fault, and the check that must find it.
type row struct {
	check string
	name  string // where a check has several rows
	fault fault
	also  []string // checks that fail by the same nature

	change func(*examine.Setting) // of the examination
}

// Under each fault exactly the check fails that is about it, and with it exactly its
// rows; every check has a fault.
func TestEachFaultFailsExactlyItsCheck(t *testing.T) {
	d, revoked := start(t)
	f := newFaulty(t, d)
	rows := slices.Concat(
		plainFaults(),
		signedFaults(t, d),
		registrationFaults(),
		documentFaults("statement.", registerPath),
		documentFaults("assertion.", tokenPath),
		tokenFaults(),
		authorizeFaults(),
		codeFaults(),
		lifeFaults(),
	)

	for _, r := range rows {
		t.Run(strings.TrimSpace(r.check+" "+r.name), func(t *testing.T) {
			s := setting(t, d, f.address)
			if !strings.HasPrefix(r.check, "code.") {
				s.Login = nil // a person's password costs time
			}
			if strings.HasSuffix(r.check, ".revoked") {
				s.Revoked = revoked
			}
			if r.change != nil {
				r.change(&s)
			}
			f.has(r.fault)
			report, err := examine.Run(context.Background(), s)
			f.has(nil)
			if err != nil {
				t.Fatal(err)
			}
			r.holds(t, report)
		})
	}

	for _, c := range examine.Checks() {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.check == c.Name }) {
			t.Errorf("no fault is there for %s", c.Name)
		}
	}
}

func (f *faulty) has(fault fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// holds reports an error unless exactly the row's check failed, and in the outcomes
// exactly its requirements.
func (r row) holds(t *testing.T, report *examine.Report) {
	t.Helper()
	want := append([]string{r.check}, r.also...)
	var requirements []string
	for _, f := range failed(report) {
		if !slices.Contains(want, f.Check) {
			t.Errorf("%s fails too: expected %q, found %q, sent %q", f.Check, f.Expected, f.Found, f.Sent)
		}
		if f.Remedy == "" || f.Rule == "" || f.Expected == "" || f.Found == "" {
			t.Errorf("%s does not explain itself: %+v", f.Check, f)
		}
		requirements = append(requirements, f.Rows...)
	}

	for _, f := range report.Findings {
		if f.Check == r.check && f.Verdict != conform.Violated && f.Verdict != conform.Warned {
			t.Errorf("%s is %s: %s%s", f.Check, f.Verdict, f.Found, f.Reason)
		}
	}
	for _, o := range report.Outcomes() {
		bad := o.Verdict == conform.Violated || o.Verdict == conform.Warned
		if bad != slices.Contains(requirements, o.Row) {
			t.Errorf("%s is %s, but the failed checks have %v", o.Row, o.Verdict, requirements)
		}
	}
}

// plainFaults are what can be wrong with the plain metadata.
func plainFaults() []row {
	with7 := func(name string) fault { // an element that is no string
		return edited(func(o members) { o[name] = append(o[name].([]any), 7) })
	}
	profiles := func(names ...string) fault { return with("udap_profiles_supported", names) }
	const uri = "https://certifications.test/one"
	return []row{
		{check: "metadata.open", fault: onMetadata(func(e *exchange) { e.status = http.StatusUnauthorized })},
		{check: "metadata.json", fault: onMetadata(func(e *exchange) { e.header.Set("Content-Type", "text/plain") })},
		{check: "metadata.udap_versions", fault: with("udap_versions_supported", []string{"1", "2"})},
		{check: "metadata.udap_profiles", fault: with7("udap_profiles_supported")},
		{check: "metadata.profile.udap_dcr", fault: profiles("udap_authn", "udap_authz")},
		{check: "metadata.profile.udap_authn", fault: profiles("udap_dcr", "udap_authz")},
		{check: "metadata.profile.udap_authz", fault: profiles("udap_dcr", "udap_authn")},
		{check: "metadata.profile.udap_to", fault: edited(func(o members) {
			o["scopes_supported"] = append(o["scopes_supported"].([]any), "udap")
		})},
		{check: "metadata.scope_udap", fault: profiles("udap_dcr", "udap_authn", "udap_authz", "udap_to")},
		{
			check: "metadata.udap_authorization_extensions",
			fault: with7("udap_authorization_extensions_supported"),
		},
		{check: "metadata.udap_certifications", fault: with("udap_certifications_supported", nil)},
		{check: "metadata.grant_types", fault: with7("grant_types_supported")},
		{
			check: "metadata.token_endpoint_auth_methods",
			fault: with("token_endpoint_auth_methods_supported", []string{"private_key_jwt", "client_secret_basic"}),
		},
		{
			check: "metadata.token_endpoint_auth_signing_alg_values",
			fault: with7("token_endpoint_auth_signing_alg_values_supported"),
		},
		{check: "metadata.scopes", fault: with7("scopes_supported")},
		{check: "metadata.refresh", fault: with("grant_types_supported", []string{"client_credentials", "refresh_token"})},
		{check: "metadata.rs256", fault: with("token_endpoint_auth_signing_alg_values_supported", []string{"ES256"})},
		{
			check: "metadata.rs256",
			name:  "in statements",
			fault: with("registration_endpoint_jwt_signing_alg_values_supported", []string{"ES256", "ES384"}),
		},
		{check: "metadata.es256", fault: with("token_endpoint_auth_signing_alg_values_supported", []string{"RS256"})},
		{
			check: "metadata.registration_algorithms.present",
			fault: with("registration_endpoint_jwt_signing_alg_values_supported", nil),
		},
		{
			check: "metadata.registration_algorithms",
			fault: with7("registration_endpoint_jwt_signing_alg_values_supported"),
		},
		{check: "metadata.extensions.required", fault: with("udap_authorization_extensions_required", nil)},
		{check: "metadata.extensions.required.form", fault: with7("udap_authorization_extensions_required")},
		{
			check: "metadata.extensions.subset",
			fault: with("udap_authorization_extensions_required", []string{"hl7-b2b", "other"}),
		},
		{check: "metadata.certifications.required", fault: edited(func(o members) {
			o["udap_certifications_supported"] = []string{uri}
			delete(o, "udap_certifications_required")
		})},
		{check: "metadata.certifications.required.form", fault: with("udap_certifications_required", []int{7})},
		{check: "metadata.certifications.subset", fault: with("udap_certifications_required", []string{uri})},
		{check: "metadata.authorization_endpoint.present", fault: with("authorization_endpoint", nil)},
		{check: "metadata.authorization_endpoint", fault: with("authorization_endpoint", "/oauth/authorize")},
		{check: "metadata.token_endpoint", fault: with("token_endpoint", "/oauth/token")},
		{check: "metadata.registration_endpoint", fault: with("registration_endpoint", "/oauth/register")},
		{check: "discovery.unknown_community", fault: onUnknownCommunity},
		{check: "discovery.smart", fault: func(e *exchange, next func()) {
			if next(); e.at("/smart-configuration") {
				e.status = http.StatusNotFound
			}
		}},
		{check: "discovery.true", fault: func(e *exchange, next func()) {
			if next(); e.at(tokenPath) && len(e.sent) == 0 {
				e.status = http.StatusNotFound
			}
		}},
	}
}

// onMetadata changes the answer with the metadata.
func onMetadata(change func(*exchange)) fault {
	return func(e *exchange, next func()) {
		if next(); e.at(metadataPath) && e.status == http.StatusOK {
			change(e)
		}
	}
}

func onUnknownCommunity(e *exchange, next func()) {
	if next(); e.at(metadataPath) && strings.HasPrefix(e.URL.Query().Get("community"), "urn:uuid:") {
		e.status = http.StatusInternalServerError
	}
}

// withKey has the member examine with a key of another kind.
func withKey(kind certs.KeyKind) func(*examine.Setting) {
	return func(s *examine.Setting) {
		key, err := certs.NewKey(kind)
		if err != nil {
			return // the row fails, as nothing is signed with another algorithm
		}
		s.Client.Key = key
	}
}

// refuse answers a request in place of the destination.
func (e *exchange) refuse(code string) {
	e.set(http.StatusBadRequest, members{
		"error":             code,
		"error_description": "fault: on purpose",
	})
}

// refuses is a destination that refuses statements.
func refuses(code string, when func(header, claims members) bool) fault {
	return func(e *exchange, next func()) {
		if header, claims := e.document(); e.at(registerPath) && len(e.sent) > 0 && when(header, claims) {
			e.refuse(code)
			return
		}
		next()
	}
}

func all(members, members) bool { return true }

func signedWith(alg string) func(header, claims members) bool {
	return func(header, claims members) bool {
		return header["alg"] == alg && claims["jti"] != nil
	}
}

// registrationFaults are what can be wrong with registrations.
func registrationFaults() []row {
	answer := func(name string, value any) fault {
		return answering(registerPath, func(_ *exchange, o members) { put(o, name, value) })
	}
	return []row{
		{check: "register.accepted", fault: refuses("invalid_client_metadata", all)},
		{check: "register.201", fault: answering(registerPath, func(e *exchange, _ members) {
			e.status = http.StatusOK
		})},
		{check: "register.client_id", fault: answer("client_id", nil)},
		{check: "register.echo", fault: answer("software_statement", nil)},
		{
			check: "register.echo",
			name:  "another authentication",
			fault: answer("token_endpoint_auth_method", "client_secret_basic"),
		},
		{check: "register.echo", name: "as a page", fault: func(e *exchange, next func()) {
			if next(); e.at(registerPath) && e.status/100 == 2 {
				e.header.Set("Content-Type", "text/html")
			}
		}},
		{check: "register.secret", fault: answer("client_secret", "secret")},
		{check: "register.claims", fault: answer("iss", "https://client.test/")},
		{check: "register.certifications", fault: func(e *exchange, next func()) {
			if e.at(registerPath) && strings.Contains(string(e.sent), `"certifications"`) {
				e.refuse("invalid_certification")
				return
			}
			next()
		}},
		{check: "register.rs256", fault: refuses("invalid_software_statement", signedWith("RS256"))},
		{
			check:  "register.es256",
			fault:  refuses("invalid_software_statement", signedWith("ES256")),
			change: withKey("rsa2048"),
		},
		{check: "register.es384", fault: refuses("invalid_software_statement", signedWith("ES384"))},
		{check: "register.required", fault: refuses("unapproved_certification", all)},
		{check: "register.udap", fault: lacks(registerPath, nil, "register.udap")},
		{check: "register.errors", fault: page(registerPath)},
		{check: "statement.replay", fault: lacks(registerPath, nil, "register.jti")},
		{check: "statement.parameters", fault: lacks(registerPath, nil, "registration.")},
	}
}

// page is a destination whose refusals are called web pages.
func page(path string) fault {
	return func(e *exchange, next func()) {
		if next(); e.at(path) && e.status >= http.StatusBadRequest && len(e.sent) > 0 {
			e.header.Set("Content-Type", "text/html")
		}
	}
}

// documentFaults are the checks on documents that a destination may lack.
func documentFaults(prefix, path string) []row {
	critical := func(header, _ members) bool { return header["crit"] != nil }
	other := func(header, _ members) bool { return header["crit"] == nil }
	lacking := func(check string, checks ...string) row {
		return row{check: prefix + check, fault: lacks(path, nil, checks...)}
	}
	out := []row{
		lacking("form", "jws.form"),
		lacking("alg", "jws.alg"),
		{check: prefix + "crit", fault: lacks(path, critical, "jws.header")},
		{check: prefix + "header", fault: lacks(path, other, "jws.header", "x5c.thumbprint")},
		lacking("x5c", "x5c.form"),
		lacking("signature", "jws.signature"),
		lacking("sub", prefix+"sub"),
		lacking("aud", prefix+"aud"),
		lacking("exp", prefix+"exp"),
		lacking("nbf", prefix+"nbf"),
		lacking("times", prefix+"iat", prefix+"lifetime"),
		lacking("jti", prefix+"jti"),
		lacking("certificate.stranger", "chain.path"),
		lacking("certificate.dates", "chain.validity"),
		lacking("certificate.leaf", "chain.leaf", "chain.ca"),
		lacking("certificate.revoked", "chain.revocation"),
	}
	if path == registerPath {
		return append(out, lacking("iss", "statement.iss"))
	}
	return out
}
