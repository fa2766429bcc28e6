package examine

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/certs"
	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/trace"
)

const (
	clientCredentials = "client_credentials"
	authorizationCode = "authorization_code"
)

// The sections of the rules in this file.
const (
	requestBody  = "UDAP Security, Registration: Request Body; UDAP Dynamic Client Registration 4 and 5"
	modifying    = "UDAP Security, Registration: Modifying and Cancelling Registrations"
	certifying   = "UDAP Security, Registration: Inclusion of Certifications and Endorsements"
	registration = "registration_endpoint"
)

// registered is a registration of the examination.
type registered struct {
	*reply
	id        trace.ClientID
	statement string
	scope     string // granted
}

// registrationBody is what is posted.
type registrationBody struct {
	Statement      string   `json:"software_statement"`
	Certifications []string `json:"certifications,omitempty"`
	UDAP           string   `json:"udap"`
}

// goodStatement returns the claims of a good software statement of a member.
func (x *examination) goodStatement(c *forge.Client) forge.Claims {
	return forge.Statement(c.URI, x.meta.endpoint(registration), x.now()).
		With("client_name", "Examination of a destination").
		With("contacts", []string{"mailto:examination@client.example"}).
		With("client_uri", "https://client.example/").
		With("tos_uri", "https://client.example/terms").
		With("policy_uri", "https://client.example/policy").
		With("scope", x.systemScope())
}

// systemScope returns the scopes to ask for: those of the setting, else one that the
// destination lists and most have.
func (x *examination) systemScope() string {
	if x.Scope != "" {
		return x.Scope
	}
	for _, s := range []string{
		"system/Patient.rs",
		"system/Patient.read",
		"system/Patient.r",
		"system/*.rs",
		"system/*.read",
	} {
		if x.meta.has("scopes_supported", s) {
			return s
		}
	}
	return "system/Patient.rs"
}

// postStatement posts a signed software statement.
func (x *examination) postStatement(ctx context.Context, compact string, certifications ...string) *reply {
	body, err := json.Marshal(registrationBody{
		Statement:      compact,
		Certifications: certifications,
		UDAP:           "1",
	})
	if err != nil {
		return &reply{err: err}
	}
	return x.send(ctx, http.MethodPost, x.meta.endpoint(registration), jsonType, body)
}

// registerAs posts good claims of a member, and remembers what came of it.
func (x *examination) registerAs(m *member, claims forge.Claims, more ...string) *registered {
	out := &registered{}
	var err error
	if out.statement, err = m.SignChain(claims, m.Chain...); err != nil {
		out.reply = &reply{err: err}
		return out
	}

	m.left = true // also if the answer is lost
	if !slices.Contains(x.made, m) {
		x.made = append(x.made, m)
	}
	out.reply = x.postStatement(x.ctx, out.statement, slices.Concat(x.Certifications, more)...)
	m.known = m.known || out.good()
	out.id = trace.ClientID(out.text("client_id"))
	if out.scope = out.text("scope"); out.scope == "" {
		out.scope, _ = claims["scope"].(string)
	}
	return out
}

// restore puts the registration back after a destination accepted what it should
// have refused.
func (x *examination) restore() {
	if r := x.registerAs(x.self, x.goodStatement(x.self.Client)); r.good() && r.id != "" {
		x.register = r
	}
}

// cancel cancels the registration of a member.
func (x *examination) cancel(ctx context.Context, m *member) *reply {
	return x.cancelWith(ctx, m, []string{})
}

// cancelWith cancels with these grant_types.
func (x *examination) cancelWith(ctx context.Context, m *member, grants []string) *reply {
	compact, err := m.SignChain(cancelling(x.goodStatement(m.Client), x.now(), grants), m.Chain...)
	if err != nil {
		return &reply{err: err}
	}

	r := x.postStatement(ctx, compact)
	if len(grants) == 0 && r.done() || confirms(r) {
		m.left, m.known = false, false
	}
	return r
}

// stray is a registration that a destination made by a wrong statement, as a client of
// its own.
type stray struct {
	id   string // client_id
	name string // of the mistake
	good forge.Claims
	sign func(forge.Claims) (string, error)
}

// cancel cancels a registration by the mistake that made it, with these grant_types.
func (s *stray) cancel(ctx context.Context, x *examination, grants []string) *reply {
	compact, err := s.sign(cancelling(s.good, x.now(), grants))
	if err != nil {
		return &reply{err: err}
	}
	return x.postStatement(ctx, compact)
}

// otherwise are the grant_types of a cancellation at a destination that accepts no empty
// array, and one with an empty string.
var otherwise = []string{""}

// confirms reports whether the answer to a cancellation in the other way confirms it.
func confirms(r *reply) bool { return r.done() && r.text("client_id") == "" }

// cancelling returns claims as one that cancels, at another time.
func cancelling(claims forge.Claims, now time.Time, grants []string) forge.Claims {
	claims = claims.With("grant_types", grants).
		With("jti", forge.JTI()).
		With("iat", now.Unix()).
		With("exp", now.Add(time.Minute).Unix())
	for _, name := range []string{"redirect_uris", "response_types"} {
		claims = claims.With(name, forge.Absent)
	}
	return claims
}

// leave cancels what is left, also when the examination was interrupted.
func (x *examination) leave(r *Report) {
	ctx, done := context.WithTimeout(context.WithoutCancel(x.ctx), endingTime)
	defer done()
	for _, s := range x.strays {
		a := s.cancel(ctx, x, []string{})
		if !a.done() && !confirms(s.cancel(ctx, x, otherwise)) {
			r.Left = append(r.Left, fmt.Sprintf("client_id %s, registered by a statement with %s: %s",
				trace.Cut(s.id, maxShown), s.name, a))
		}
	}
	for _, m := range x.made {
		for try := 1; m.left && try <= maxTries; try++ {
			a := x.cancel(ctx, m)
			if m.left {
				x.cancelWith(ctx, m, otherwise)
			}
			nothing := !m.known && a.status/100 == 4 // there was nothing to cancel
			m.left = m.left && !nothing
			if m.left && try == maxTries {
				r.Left = append(r.Left, fmt.Sprintf("%s: %s", m.URI, a))
			}
		}
	}
}

var registrationChecks = []Check{
	{
		Name:   "register.accepted",
		Title:  "A good software statement registers a client",
		Rows:   "S1-068",
		Rule:   "UDAP Security, Registration",
		Remedy: "the answer names the reason; a community may demand more: see -scope, -certification",
		run:    registerFirst,
	},
	{
		Name:   "register.201",
		Title:  "A new registration is answered with 201",
		Rows:   "S1-110",
		Rule:   requestBody,
		Remedy: "answer 201 for a new registration",
		needs:  aRegistration,
		run: func(x *examination) answer {
			if x.Issuer == nil && x.register.status == http.StatusOK {
				return skipped("200: the URI %s was registered there before", x.self.URI)
			}
			return held(x.register.status == http.StatusCreated, "201", "%s", x.register.reply)
		},
	},
	{
		Name:   "register.client_id",
		Title:  "The answer has the client_id",
		Rows:   "S1-113",
		Rule:   requestBody,
		Remedy: "write client_id, a string",
		needs:  aRegistration,
		run: func(x *examination) answer {
			return held(x.register.id != "", "client_id", "%s", x.register.object.Show("client_id"))
		},
	},
	{
		Name:   "register.echo",
		Title:  "The answer has the software statement and what was registered",
		Rows:   "S1-111",
		Rule:   requestBody,
		Remedy: "repeat software_statement as it was sent, and every registered parameter",
		needs:  aRegistration,
		run:    echoed,
	},
	{
		Name:   "register.secret",
		Title:  "The answer has no secret",
		Rows:   "S1-287",
		Rule:   "OpenID Connect Core; RFC 6749 10.1",
		Remedy: "issue no client_secret: clients authenticate by their certificates",
		needs:  aRegistration,
		run: func(x *examination) answer {
			return held(!x.register.object.Has("client_secret"), "no client_secret",
				"members %s", x.register.object.Names())
		},
	},
	{
		Name:   "register.claims",
		Title:  "The answer leaves out the claims of the JWT and empty parameters",
		Rows:   "S2-09",
		Rule:   "UDAP Security 2.0, Registration: Request Body",
		Remedy: "leave out iss, sub, aud, exp, iat and jti",
		Advice: true,
		needs:  aRegistration,
		run:    withoutClaims,
	},
	{
		Name:   "register.certifications",
		Title:  "Certifications that are unknown are ignored",
		Rows:   "S1-116",
		Rule:   certifying,
		Remedy: "ignore a certification whose name is not known",
		needs:  aRegistration,
		run:    unknownCertification,
	},
	working("register.rs256", "A statement signed with RS256 registers a client", "S1-004", "rsa2048", "RS256"),
	working("register.es256", "A statement signed with ES256 registers a client", "S1-005", "p256", "ES256"),
	working("register.es384", "ES384, where it is listed, works", "S1-006", "p384", "ES384"),
	{
		Name:   "register.required",
		Title:  "A certification that is required is listed as required",
		Rows:   "S1-118",
		Rule:   certifying,
		Remedy: "list it in udap_certifications_required",
		run: func(x *examination) answer {
			l, _ := x.meta.object.List("udap_certifications_required")
			switch {
			case x.register == nil:
				return skipped("nothing was registered")
			case len(x.Certifications) > 0:
				return skipped("certifications were given, so that what is required was not seen")
			case needsCertification(x.register.reply) && len(l) == 0:
				return violated("a list of what is required", "none is listed; without one: %s", x.register.reply)
			}
			return shown("required: %v; without one: %s", l, x.register.reply)
		},
	},
}

// registerFirst makes the registration that the further checks need.
func registerFirst(x *examination) answer {
	if !x.reachable(registration) {
		return skipped("the metadata names no registration endpoint")
	}

	claims := x.goodStatement(x.self.Client)
	r := x.registerAs(x.self, claims)
	x.register = r
	if needsCertification(r.reply) && len(x.Certifications) == 0 {
		return skipped("the destination requires a certification (-certification): %s", r.reply)
	}
	return held(r.good(), "201 and a client_id", "%s", r.reply).
		after("a software statement of %s for client_credentials, scope %q", x.self.URI, claims["scope"])
}

// needsCertification reports whether a registration was refused for want of one.
func needsCertification(r *reply) bool {
	code := r.text("error")
	return code == "unapproved_certification" || code == "invalid_certification"
}

func echoed(x *examination) answer {
	r := x.register
	var faults []string
	if !r.json() {
		faults = append(faults, fmt.Sprintf("Content-Type %q", r.header.Get("Content-Type")))
	}
	if s := r.text("software_statement"); s != r.statement {
		faults = append(faults, "software_statement is another one, or absent")
	}
	for _, name := range []string{"client_name", "scope"} {
		if r.text(name) == "" {
			faults = append(faults, r.object.Show(name))
		}
	}
	if r.text("token_endpoint_auth_method") != "private_key_jwt" {
		faults = append(faults, "token_endpoint_auth_method: "+r.object.Show("token_endpoint_auth_method"))
	}
	if l, ok := r.object.List("grant_types"); !ok || !slices.Contains(l, clientCredentials) {
		faults = append(faults, r.object.Show("grant_types"))
	}

	if len(faults) > 0 {
		return violated("application/json with software_statement and the registered parameters", "%s",
			strings.Join(faults, "; "))
	}
	return shown("members %s", r.object.Names())
}

func withoutClaims(x *examination) answer {
	r := x.register
	var found []string
	for name, v := range r.object {
		empty := string(v) == "null" || string(v) == `""`
		if empty || slices.Contains([]string{"iss", "sub", "aud", "exp", "iat", "jti"}, name) {
			found = append(found, name)
		}
	}
	if len(found) > 0 {
		slices.Sort(found)
		return violated("none of them", "members %s", strings.Join(found, ", "))
	}
	return shown("members %s", r.object.Names())
}

// unknownCertification registers anew with a certification that nobody knows.
func unknownCertification(x *examination) answer {
	now := x.now()
	compact, err := x.self.SignChain(forge.Claims{
		"iss":                x.self.URI,
		"sub":                x.self.URI,
		"iat":                now.Unix(),
		"exp":                now.AddDate(0, 1, 0).Unix(),
		"jti":                forge.JTI(),
		"certification_name": "A certification of an examination",
		"certification_uris": []string{"https://client.example/certifications/examination"},
		"grant_types":        []string{clientCredentials},
	}, x.self.Chain...)
	if err != nil {
		return skipped("no certification could be made: %v", err)
	}

	r := x.registerAs(x.self, x.goodStatement(x.self.Client), compact)
	if r.good() && r.id != "" {
		x.register = r
	}
	return held(r.good(), "201 or 200: the certification is ignored", "%s", r.reply).
		after("the statement again, with a certification that the client signed itself")
}

// working registers a client with a key of a kind, if the destination lists the
// algorithm.
func working(name, title, row string, kind certs.KeyKind, alg string) Check {
	return Check{
		Name:   name,
		Title:  title,
		Rows:   row,
		Rule:   "UDAP Security, General: Signature Algorithm Identifiers",
		Remedy: "accept every algorithm that the metadata lists",
		needs:  aRegistration,
		run: func(x *examination) answer {
			const list = "registration_endpoint_jwt_signing_alg_values_supported"
			if x.meta.object.Has(list) && !x.meta.has(list, alg) {
				return skipped("the destination does not list %s", alg)
			}
			if x.Issuer == nil {
				return skipped("%v", errNoIssuer)
			}

			key, err := x.NewKey(kind)
			if err != nil {
				return skipped("%v", err)
			}
			c, err := issue(x.Issuer, x.template(x.Issuer, renamed(x.self.URI)), key)
			if err != nil {
				return skipped("%v", err)
			}

			m := &member{Client: c}
			r := x.registerAs(m, x.goodStatement(c))
			if r.good() {
				x.cancel(x.ctx, m)
			}
			return held(r.good(), "201", "%s", r.reply).after("a software statement signed with %s", alg)
		},
	}
}
