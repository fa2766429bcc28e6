package examine

import (
	"errors"
	"net/url"

	"fhirdest.example/udap/fault"
	"fhirdest.example/udap/forge"
)

var errNoOther = errors.New(
	"no certificate of another community is at hand (-other-cert and -other-key, or those of its issuer)")

// wrongAssertions are the groups of mistakes in authentication tokens.
func wrongAssertions() []wrong {
	return append(inBoth(authRules, "S1-173 S1-174"),
		wrong{
			name:   "client",
			title:  "An authentication token of a client_id that is not registered is refused",
			rows:   "S1-147",
			rule:   authRules,
			remedy: "answer invalid_client",
			checks: []string{"assertion.iss"},
			more: func(x *examination, t *tries, send sender) error {
				return send(t, "an unknown client_id", x.self.Client, forge.Claims{
					"iss": "unknown",
					"sub": "unknown",
				})
			},
		},
		wrong{
			name:   "sub",
			title:  "An authentication token whose iss or sub is not the client_id is refused",
			rows:   "S1-147",
			rule:   authRules,
			remedy: "iss and sub must both be the client_id",
			checks: []string{"assertion.sub"},
		},
		wrong{
			name:   "aud",
			title:  "An authentication token for another audience is refused",
			rows:   "S1-147",
			rule:   authRules,
			remedy: "aud must be the URL of the token endpoint",
			checks: []string{"assertion.aud"},
		},
		wrong{
			name:   "exp",
			title:  "An authentication token that has expired, or never does, is refused",
			rows:   "S1-147",
			rule:   authRules,
			remedy: "require exp, a number, in the future",
			checks: []string{"assertion.exp"},
		},
		wrong{
			name:   "nbf",
			title:  "An authentication token that is not valid yet is refused",
			rows:   "S1-001",
			rule:   "RFC 7519 4.1.5",
			remedy: "where nbf is there, it must have passed",
			checks: []string{"assertion.nbf"},
		},
		wrong{
			name:   "times",
			title:  "An authentication token that lives longer than five minutes, or has no good iat, is refused",
			rows:   "S1-172",
			rule:   "UDAP Security: Constructing the Authentication Token (a rule for clients)",
			remedy: "require iat, in the past, and exp at most five minutes after it",
			advice: true,
			checks: []string{"assertion.lifetime", "assertion.iat"},
		},
		wrong{
			name:   "jti",
			title:  "An authentication token without jti is refused",
			rows:   "S1-172",
			rule:   "UDAP Security: Constructing the Authentication Token (a rule for clients)",
			remedy: "require jti: without it a replay cannot be noticed",
			advice: true,
			checks: []string{"assertion.jti"},
		},
	)
}

// assertionChecks are the checks that send wrong token requests.
func assertionChecks() []Check {
	var out []Check
	for _, w := range wrongAssertions() {
		out = append(out, w.check("assertion.", func(x *examination) answer {
			return tryAssertions(x, w)
		}))
	}
	for _, b := range badCertificates {
		out = append(out, b.check("assertion.certificate.", "S1-176", authRules,
			func(x *examination) (*tries, sender) { return x.tokenTries(), x.sendAssertion }))
	}

	return append(out,
		Check{
			Name:   "assertion.certificate.other",
			Title:  "An authentication token of another member is refused",
			Rows:   "S1-147",
			Rule:   authRules + ": the certificate must have the URI of the registration",
			Remedy: "compare the URIs of the certificate with the one that was registered",
			run:    otherMember,
		},
		Check{
			Name:   "assertion.replay",
			Title:  "An authentication token that was used is refused the second time",
			Rows:   "S2-18",
			Rule:   "UDAP Security 2.0, General: JWT Claims (jti); RFC 7523 3",
			Remedy: "remember iss and jti until exp has passed, and refuse both together",
			run:    replayAssertion,
		},
		Check{
			Name:   "token.authentication",
			Title:  "A token request without authentication is refused",
			Rows:   "S1-146",
			Rule:   "RFC 6749 4.1.3 and 4.4.2",
			Remedy: "require client_assertion",
			run: func(x *examination) answer {
				return tryForm(x, "no client_assertion", nil, nil)
			},
		},
		Check{
			Name:   "token.assertion_type",
			Title:  "A token request without the type of its assertion is refused",
			Rows:   "S1-183",
			Rule:   authRules,
			Remedy: "require client_assertion_type " + assertionType,
			run: func(x *examination) answer {
				return tryForm(x, "another client_assertion_type",
					url.Values{"client_assertion_type": {"urn:example:other"}}, mayAssert(x))
			},
		},
		Check{
			Name:   "token.udap",
			Title:  "A token request without udap 1 is refused",
			Rows:   "S1-183",
			Rule:   authRules,
			Remedy: "require the parameter udap, 1",
			run: func(x *examination) answer {
				return tryForm(x, "no udap", url.Values{"udap": nil}, mayAssert(x))
			},
		},
		Check{
			Name:   "token.grant_type",
			Title:  "A token request of a grant type that there is not is refused",
			Rows:   "S1-182",
			Rule:   authRules + "; RFC 6749 5.2",
			Remedy: "answer unsupported_grant_type",
			run: func(x *examination) answer {
				return tryForm(x, "grant_type urn:example:grant",
					url.Values{"grant_type": {"urn:example:grant"}}, mayAssert(x))
			},
		},
		Check{
			Name:   "token.errors",
			Title:  "Refusals of the token endpoint are 400 or 401 with a code in JSON",
			Rows:   "S1-172 S1-229",
			Rule:   "UDAP JWT-Based Client Authentication 7; RFC 6749 5.2",
			Remedy: "answer 400, application/json, with error and error_description",
			run: func(x *examination) answer {
				return errorForm(x, tokenEndpoint, statusesOfToken)
			},
		},
	)
}

// whyNoToken returns why wrong token requests show nothing.
func (x *examination) whyNoToken() string {
	if why, ok := x.mayAsk(); !ok {
		return why
	}
	if x.issued == nil || !x.issued.good() {
		if x.issued == nil {
			return "no good token request was made"
		}
		return "a good token request is refused too: " + x.issued.String()
	}
	return ""
}

// mayAssert returns good claims, if there is a registration; else claims that nobody
// looks at.
func mayAssert(x *examination) forge.Claims {
	if x.whyNoToken() != "" {
		return forge.Claims{}
	}
	return x.goodAssertion(x.register.id)
}

func tryAssertions(x *examination, w wrong) answer {
	t := x.tokenTries()
	if t.why != "" {
		return t.answer("")
	}

	for _, f := range fault.All() {
		if !w.of(f, fault.Assertion) {
			continue
		}
		compact, err := f.Make(x.self.Client, x.goodAssertion(x.register.id), x.now())
		if err != nil {
			return skipped("%s: %v", f.Name, err)
		}
		form := x.tokenForm()
		form.Set("client_assertion", compact)
		t.add(tokenEndpoint, f.Name, x.askToken(x.self.Client, form, nil))
	}
	if w.more != nil {
		if err := w.more(x, t, x.sendAssertion); err != nil {
			return skipped("%v", err)
		}
	}
	return t.answer("authentication tokens with: ")
}

// tokenTries collects what came of wrong token requests.
func (x *examination) tokenTries() *tries {
	t := x.tries()
	t.why = x.whyNoToken()
	return t
}

// sendAssertion is the sender of authentication tokens.
func (x *examination) sendAssertion(t *tries, name string, c *forge.Client, change forge.Claims) error {
	if t.why != "" {
		return nil
	}
	claims := x.goodAssertion(x.register.id)
	for member, value := range change {
		claims = claims.With(member, value)
	}
	t.add(tokenEndpoint, name, x.askToken(c, x.tokenForm(), claims))
	return nil
}

// tryForm sends a token request with some parameters changed.
func tryForm(x *examination, name string, change url.Values, claims forge.Claims) answer {
	t := x.tokenTries()
	if t.why != "" {
		return t.answer("")
	}

	form := x.tokenForm()
	for p, v := range change {
		form[p] = v
		if v == nil {
			form.Del(p)
		}
	}
	t.add(tokenEndpoint, name, x.askToken(x.self.Client, form, claims))
	return t.answer("a token request with ")
}

func otherMember(x *examination) answer {
	t := x.tokenTries()
	if t.why != "" {
		return t.answer("")
	}
	if x.Issuer == nil {
		return skipped("%v", errNoIssuer)
	}

	c, err := x.mint(x.Issuer, renamed(x.self.URI), nil)
	if err != nil {
		return skipped("%v", err)
	}
	if err := x.sendAssertion(t, "the client_id of another member", c, nil); err != nil {
		return skipped("%v", err)
	}
	return t.answer("a good authentication token with ")
}

func replayAssertion(x *examination) answer {
	t := x.tokenTries()
	if t.why != "" {
		return t.answer("")
	}

	claims := x.goodAssertion(x.register.id)
	if r := x.askToken(x.self.Client, x.tokenForm(), claims); !r.good() {
		return skipped("the first use got %s", r)
	}
	t.add(tokenEndpoint, "the jti of a token request that went well",
		x.askToken(x.self.Client, x.tokenForm(), claims))
	return t.answer("")
}
