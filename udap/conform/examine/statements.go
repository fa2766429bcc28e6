package examine

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"fhirdest.example/udap/fault"
	"fhirdest.example/udap/forge"
)

// attempt is one wrong request.
type attempt struct {
	name  string
	reply *reply
}

// refuse is how the wrong requests to an endpoint were answered.
type refuse []attempt

// note keeps how a request was refused, for the checks on the form of refusals.
func (x *examination) note(endpoint, name string, r *reply) {
	if r.busy() {
		return
	}
	if x.refusals == nil {
		x.refusals = map[string]refuse{}
	}
	x.refusals[endpoint] = append(x.refusals[endpoint], attempt{name, r})
}

// wrong is a group of mistakes that a destination must refuse, or should.
type wrong struct {
	name   string // of the check, without the document
	title  string
	rows   string
	rule   string
	remedy string
	advice bool

	// mistakes are those of the catalogue that belong to it, by the check that
	// catches them at our own destination, and by name where that is not enough.
	checks []string
	only   []string // names; none: all of the checks
	except []string

	more func(*examination, *tries, sender) error // further ones; nil: none
}

// sender sends a good document that a client signed, with some claims changed.
type sender func(t *tries, name string, c *forge.Client, change forge.Claims) error

// of reports whether a mistake of the catalogue is in the group.
func (w wrong) of(f fault.Fault, d fault.Document) bool {
	return f.In(d) && slices.Contains(w.checks, f.CheckIn(d)) &&
		(len(w.only) == 0 || slices.Contains(w.only, f.Name)) &&
		!slices.Contains(w.except, f.Name)
}

// The mistakes that are the same in both documents.
const (
	jwsRules  = "UDAP Security, General: General Requirements and Serialization; RFC 7515 5.2"
	dcrRules  = "UDAP Dynamic Client Registration 4"
	authRules = "UDAP JWT-Based Client Authentication 6"
)

// inBoth are the groups of mistakes in the form and the header.
func inBoth(rule, signature string) []wrong {
	return []wrong{
		{
			name:   "form",
			title:  "What is no strict compact JWS is refused",
			rows:   "S1-003",
			rule:   jwsRules,
			remedy: "decode the three segments strictly; refuse padding, line breaks and an empty signature",
			checks: []string{"jws.form"},
		},
		{
			name:   "alg",
			title:  "Another algorithm than the one that made the signature is refused, none and HS256 too",
			rows:   "S1-007",
			rule:   "UDAP Security, General: Signature Algorithm Identifiers; RFC 7515 10.7",
			remedy: "accept the algorithms of UDAP alone, and the one that fits the certificate's key",
			checks: []string{"jws.alg"},
		},
		{
			name:   "crit",
			title:  "A critical header that is not understood is refused",
			rows:   "S1-002",
			rule:   "RFC 7515 4.1.11",
			remedy: "refuse crit: UDAP defines no extension",
			checks: []string{"jws.header"},
			only:   []string{"crit"},
		},
		{
			name:   "header",
			title:  "A header that belongs to another kind of JWT is refused",
			rows:   "S1-002",
			rule:   "RFC 8725 3.11 and 3.12; RFC 7515 4.1.4, 4.1.8 and 4.1.9",
			remedy: "refuse typ of other kinds of JWT, zip, b64, and members of the wrong type",
			advice: true,
			checks: []string{"jws.header", "x5c.thumbprint"},
			except: []string{"crit"},
		},
		{
			name:   "x5c",
			title:  "A JWT without the signer's certificate in x5c is refused",
			rows:   "S1-008",
			rule:   "UDAP Security, General: JWT Headers",
			remedy: "x5c is an array of base64 DER, the signer's certificate first",
			checks: []string{"x5c.form"},
		},
		{
			name:   "signature",
			title:  "A signature that the certificate's key did not make is refused",
			rows:   signature,
			rule:   rule,
			remedy: "verify the signature by the key of x5c[0], and by no other",
			checks: []string{"jws.signature"},
			more:   byAnotherKey,
		},
	}
}

// wrongStatements are the groups of mistakes in software statements.
func wrongStatements() []wrong {
	return append(inBoth(dcrRules, "S1-105"),
		wrong{
			name:   "iss",
			title:  "A statement whose iss is not in its certificate is refused",
			rows:   "S1-106",
			rule:   dcrRules,
			remedy: "compare iss with the URIs of the Subject Alternative Name, byte for byte",
			checks: []string{"statement.iss"},
		},
		wrong{
			name:   "sub",
			title:  "A statement whose sub is not its iss is refused",
			rows:   "S1-107",
			rule:   dcrRules,
			remedy: "compare sub with iss",
			checks: []string{"statement.sub"},
		},
		wrong{
			name:   "aud",
			title:  "A statement for another audience is refused",
			rows:   "S1-108",
			rule:   dcrRules,
			remedy: "aud must be the URL of the registration endpoint",
			checks: []string{"statement.aud"},
		},
		wrong{
			name:   "exp",
			title:  "A statement that has expired, or never does, is refused",
			rows:   "S1-109",
			rule:   dcrRules,
			remedy: "require exp, a number, in the future",
			checks: []string{"statement.exp"},
		},
		wrong{
			name:   "nbf",
			title:  "A statement that is not valid yet is refused",
			rows:   "S1-001",
			rule:   "RFC 7519 4.1.5",
			remedy: "where nbf is there, it must have passed",
			checks: []string{"statement.nbf"},
		},
		wrong{
			name:   "times",
			title:  "A statement that lives longer than five minutes, or has no good iat, is refused",
			rows:   "S1-105",
			rule:   "UDAP Security, Registration: Software Statement (a rule for clients)",
			remedy: "require iat, in the past, and exp at most five minutes after it",
			advice: true,
			checks: []string{"statement.lifetime", "statement.iat"},
		},
		wrong{
			name:   "jti",
			title:  "A statement without jti is refused",
			rows:   "S1-105",
			rule:   "UDAP Security, Registration: Software Statement (a rule for clients)",
			remedy: "require jti: without it a replay cannot be noticed",
			advice: true,
			checks: []string{"statement.jti"},
		},
		wrong{
			name:   "parameters",
			title:  "Registration parameters that break the rules of the guide are refused",
			rows:   "S1-105",
			rule:   "UDAP Security, Registration: Software Statement (rules for clients)",
			remedy: "check the parameters as the guide asks clients to write them",
			advice: true,
			checks: registrationFaults(),
		},
	)
}

// registrationFaults are the checks of the catalogue on registration parameters.
func registrationFaults() (names []string) {
	for _, f := range fault.All() {
		if strings.HasPrefix(f.Check, "registration.") && !slices.Contains(names, f.Check) {
			names = append(names, f.Check)
		}
	}
	return names
}

// statementChecks are the checks that send wrong software statements.
func statementChecks() []Check {
	var out []Check
	for _, w := range wrongStatements() {
		out = append(out, w.check("statement.", func(x *examination) answer {
			return tryStatements(x, w)
		}))
	}

	return append(out,
		Check{
			Name:   "statement.replay",
			Title:  "A statement that was used is refused the second time",
			Rows:   "S2-18",
			Rule:   "UDAP Security 2.0, General: JWT Claims (jti); UDAP Dynamic Client Registration 3",
			Remedy: "remember iss and jti until exp has passed, and refuse both together",
			run:    replayStatement,
		},
		Check{
			Name:   "register.udap",
			Title:  "A registration without udap 1 is refused",
			Rows:   "S1-105",
			Rule:   "UDAP Security, Registration: Request Body (a rule for clients)",
			Remedy: `require "udap": "1"`,
			Advice: true,
			run:    withoutVersion,
		},
		Check{
			Name:   "register.errors",
			Title:  "Refusals are 400 with a code in JSON",
			Rows:   "S1-114",
			Rule:   "UDAP Dynamic Client Registration 5.2; RFC 7591 3.2.2",
			Remedy: "answer 400, application/json, with error and error_description",
			run: func(x *examination) answer {
				return errorForm(x, registration, []int{http.StatusBadRequest})
			},
		},
	)
}

func (w wrong) check(prefix string, run func(*examination) answer) Check {
	return Check{
		Name:   prefix + w.name,
		Title:  w.title,
		Rows:   w.rows,
		Rule:   w.rule,
		Remedy: w.remedy,
		Advice: w.advice,
		run:    run,
	}
}

// mayRegister returns why nothing can be shown by wrong statements: a destination
// that refuses good ones too shows nothing by it.
func (x *examination) mayRegister() (why string, ok bool) {
	switch {
	case x.register == nil:
		return "nothing could be registered", false
	case !x.register.good():
		return "a good statement is refused too: " + x.register.reply.String(), false
	}
	return "", true
}

// tryStatements sends every mistake of a group.
func tryStatements(x *examination, w wrong) answer {
	t := x.tries()
	for _, f := range fault.All() {
		if !w.of(f, fault.Statement) {
			continue
		}
		with := func(claims forge.Claims) (string, error) { return f.Make(x.self.Client, claims, x.now()) }
		if err := t.statement(f.Name, x.goodStatement(x.self.Client), with); err != nil {
			return skipped("%s: %v", f.Name, err)
		}
	}
	if w.more != nil {
		if err := w.more(x, t, x.sendStatement); err != nil {
			return skipped("%v", err)
		}
	}
	return t.answer("software statements with: ")
}

// sendStatement is the sender of software statements.
func (x *examination) sendStatement(t *tries, name string, c *forge.Client, change forge.Claims) error {
	return t.statement(name, x.goodStatement(c), func(claims forge.Claims) (string, error) {
		for member, value := range change {
			claims = claims.With(member, value)
		}
		return c.SignChain(claims, c.Chain...)
	})
}

// byAnotherKey sends a document with the member's certificate that another key signed.
func byAnotherKey(x *examination, t *tries, send sender) error {
	c, err := borrowed(x)
	if err != nil {
		return err
	}
	return send(t, "the member's certificate, another key", c, nil)
}

// tries collects what came of wrong requests.
type tries struct {
	x        *examination
	why      string // not empty: nothing can be shown
	names    []string
	accepted []string
	lost     error
}

func (x *examination) tries() *tries {
	why, _ := x.mayRegister()
	return &tries{
		x:   x,
		why: why,
	}
}

// statement posts good claims as sign makes them wrong. A statement that is accepted is
// undone: what it registered as another client is cancelled by the same mistake.
func (t *tries) statement(
	name string, good forge.Claims, sign func(forge.Claims) (string, error),
) error {
	if t.why != "" {
		return nil
	}
	compact, err := sign(good)
	if err != nil {
		return err
	}

	r := t.x.postStatement(t.x.ctx, compact)
	if id := r.text("client_id"); r.good() && id != string(t.x.register.id) {
		t.x.strays = append(t.x.strays, &stray{
			id:   id,
			name: name,
			good: good,
			sign: sign,
		})
	}
	t.add(registration, name, r)
	return nil
}

// add notes an answer to a wrong request.
func (t *tries) add(endpoint, name string, r *reply) {
	t.names = append(t.names, name)
	switch {
	case r.err != nil:
		t.lost = fmt.Errorf("%s: %w", name, r.err)
		t.x.note(endpoint, name, r)
	case r.good():
		t.accepted = append(t.accepted, name)
		if endpoint == registration {
			t.x.restore()
		}
	default:
		t.x.note(endpoint, name, r)
	}
}

func (t *tries) answer(sent string) answer {
	a := shown("all %d were refused", len(t.names))
	switch {
	case t.why != "":
		return skipped("%s", t.why)
	case len(t.accepted) > 0:
		a = violated("a refusal", "accepted: %s", strings.Join(t.accepted, "; "))
	case t.lost != nil: // not accepted; that a refusal must be an answer is another rule
		a = skipped("no answer to %v", t.lost)
	case len(t.names) == 0:
		return skipped("there was nothing to send")
	}
	return a.after("%s%s", sent, strings.Join(t.names, "; "))
}

// replayStatement registers anew and posts the same statement again: one of the
// beginning may have expired. Nothing is changed by it, if it is accepted.
func replayStatement(x *examination) answer {
	t := x.tries()
	if t.why == "" {
		x.restore()
		t.add(registration, "the statement that was used", x.postStatement(x.ctx, x.register.statement))
	}
	return t.answer("")
}

func withoutVersion(x *examination) answer {
	t := x.tries()
	for _, version := range []string{"", "2"} {
		if t.why != "" {
			break
		}
		compact, err := x.self.SignChain(x.goodStatement(x.self.Client), x.self.Chain...)
		if err != nil {
			return skipped("%v", err)
		}

		members := map[string]any{"software_statement": compact}
		name := "no udap"
		if version != "" {
			members["udap"] = version
			name = "udap " + version
		}
		body, err := json.Marshal(members)
		if err != nil {
			return skipped("%v", err)
		}
		t.add(registration, name, x.post(x.meta.endpoint(registration), jsonType, body))
	}
	return t.answer("registrations with: ")
}

// errorForm checks the form of the refusals of an endpoint.
func errorForm(x *examination, endpoint string, statuses []int) answer {
	seen := x.refusals[endpoint]
	if len(seen) == 0 {
		return skipped("nothing was refused there")
	}
	for _, a := range seen {
		if !slices.Contains(statuses, a.reply.status) || !a.reply.json() || a.reply.text("error") == "" {
			expected := strings.Trim(fmt.Sprint(statuses), "[]")
			expected = strings.ReplaceAll(expected, " ", " or ") + ", application/json, with error"
			return violated(expected, "to %s: %s", a.name, a.reply).
				after("%d wrong requests of the other checks", len(seen))
		}
	}
	return shown("all %d refusals have a code in JSON", len(seen)).
		after("the wrong requests of the other checks")
}
