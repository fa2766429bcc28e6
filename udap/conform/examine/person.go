package examine

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/trace"
)

const (
	personTime = 2 * time.Minute // for a person to sign in
	exchange   = "RFC 6749 4.1.2 and 4.1.3"
)

// personChecks need somebody who signs in and agrees.
var personChecks = []Check{
	{
		Name:   "code.returned",
		Title:  "The person comes back with a code",
		Rows:   "S1-134",
		Rule:   exchange,
		Remedy: "redirect with code once the person has agreed",
		run:    signIn,
	},
	{
		Name:   "code.state",
		Title:  "The person comes back with the state of the request",
		Rows:   "S1-138",
		Rule:   exchange,
		Remedy: "repeat state",
		needs:  aCode,
		run: func(x *examination) answer {
			return held(slices.Equal(x.code.back["state"], []string{x.code.state}), "the state that was sent, once",
				"%q", x.code.back["state"])
		},
	},
	redeeming("code.verifier", "A code with another PKCE verifier is refused", "S2-13", "RFC 7636 4.6",
		"compare the hash of code_verifier with code_challenge",
		"code_verifier", strings.Repeat("x", 43)),
	redeeming("code.redirect_uri", "A code without the redirect_uri of its request, or with another, is refused",
		"S1-150", exchange, "require the same redirect_uri", "redirect_uri", "", redirectURI+"/elsewhere"),
	redeeming("code.invalid", "A code that was never issued is refused", "S1-149", exchange,
		"answer invalid_grant", "code", "no-code-of-this-server"),
	{
		Name:   "code.client",
		Title:  "The code of another client is refused",
		Rows:   "S1-148",
		Rule:   exchange,
		Remedy: "remember for which client a code was issued",
		needs:  aCode,
		run:    codeOfAnother,
	},
	{
		Name:   "code.exchange",
		Title:  "A code is exchanged for a token",
		Rows:   "S1-133",
		Rule:   exchange,
		Remedy: "answer 200 with access_token",
		needs:  aCode,
		run:    exchangeCode,
	},
	{
		Name:   "code.once",
		Title:  "A code is refused the second time",
		Rows:   "S1-137",
		Rule:   exchange,
		Remedy: "spend a code in the same transaction that issues its tokens",
		run: func(x *examination) answer {
			if x.code == nil || x.code.tokens == nil || !x.code.tokens.good() {
				return skipped("no code was exchanged")
			}
			return refused(x, redeem(x, x.code.form), "the code that was used")
		},
	},
}

// aCode returns why there is no code to work with.
func aCode(x *examination) string {
	switch {
	case x.code == nil:
		return "no client for people was registered"
	case x.code.why != "":
		return x.code.why
	case !x.reachable(tokenEndpoint):
		return "the metadata names no token endpoint with https"
	case x.Login == nil:
		return "needs a person (-user, -password-file)"
	case x.code.code == "":
		return "the person did not come back with a code"
	}
	return ""
}

func signIn(x *examination) answer {
	if why := aCode(x); why != "" && x.Login == nil || x.code == nil || x.code.why != "" {
		return skipped("%s", why)
	}

	back, err := x.login()
	if err != nil {
		return skipped("the person could not sign in: %v", err)
	}
	x.code.back, x.code.code = back, back.Get("code")
	return held(len(back["code"]) == 1 && x.code.code != "" && !back.Has("error"), "one code, and no error",
		"%d codes, error %q %q", len(back["code"]), back.Get("error"), back.Get("error_description")).
		after("a good authorization request, and a person who signs in and agrees")
}

// login lets the person sign in for one more code.
func (x *examination) login() (url.Values, error) {
	ctx, done := context.WithTimeout(x.ctx, personTime)
	defer done()
	query, err := x.Login(ctx, x.meta.endpoint(authorizationEndpoint)+"?"+x.request().Encode(), redirectURI+"?")
	if err != nil {
		return nil, err
	}
	return url.ParseQuery(query)
}

// redeeming is a check that exchanges a code with one parameter changed, to each of the
// values. A destination may spend the code by that: then there is another one.
func redeeming(name, title, row, rule, remedy, parameter string, values ...string) Check {
	return Check{
		Name:   name,
		Title:  title,
		Rows:   row,
		Rule:   rule,
		Remedy: remedy,
		needs:  aCode,
		run: func(x *examination) (a answer) {
			for _, value := range values {
				form := codeForm(x, x.code.code)
				form.Set(parameter, value)
				if value == "" {
					form.Del(parameter)
				}

				a = refused(x, redeem(x, form), "a code request with "+changeText(map[string]string{parameter: value}))
				if back, err := x.login(); err == nil {
					x.code.code = back.Get("code")
				}
				if a.verdict != conform.Shown {
					return a
				}
			}
			return a
		},
	}
}

// codeOfAnother has another client for people send the code, one that would get a token
// for a code of its own: nothing but the code's owner is wrong.
func codeOfAnother(x *examination) answer {
	c, err := x.mint(x.Issuer, renamed(x.self.URI), nil)
	if err != nil {
		return skipped("%v", err)
	}

	other := &member{Client: c}
	r := x.registerAs(other, codeStatement(x, c))
	if !r.good() || r.id == "" {
		return skipped("a second client for people was not registered: %s", r.reply)
	}
	defer func() { x.cancel(x.ctx, other) }()

	claims := forge.Assertion(r.id, x.meta.endpoint(tokenEndpoint), x.now())
	got := x.askToken(c, codeForm(x, x.code.code), claims)
	return refused(x, got, "the code, by another client for people")
}

func codeForm(x *examination, code string) url.Values {
	return url.Values{
		"grant_type":            {authorizationCode},
		"code":                  {code},
		"redirect_uri":          {redirectURI},
		"code_verifier":         {x.code.verifier},
		"client_assertion_type": {assertionType},
		"udap":                  {"1"},
	}
}

// redeem posts a form with a good authentication token of the client for people.
func redeem(x *examination, form url.Values) *reply {
	claims := forge.Assertion(x.code.id, x.meta.endpoint(tokenEndpoint), x.now()).
		With("extensions", forge.Absent)
	return x.askToken(x.code.member.Client, form, claims)
}

// refused expects that a request was refused.
func refused(x *examination, r *reply, name string) answer {
	if r.err == nil && !r.good() {
		x.note(tokenEndpoint, name, r)
	}
	return held(r.err == nil && !r.good() && r.status < http.StatusInternalServerError, "a refusal",
		"%s", r).after("%s", name)
}

func exchangeCode(x *examination) answer {
	back, err := x.login()
	if err != nil {
		return skipped("the person could not sign in again: %v", err)
	}
	x.code.form = codeForm(x, back.Get("code"))
	x.code.tokens = redeem(x, x.code.form)
	return held(x.code.tokens.good() && x.code.tokens.text("access_token") != "", "200 and a token",
		"%s, members %s", x.code.tokens, trace.Cut(x.code.tokens.object.Names(), 200)).
		after("the code, its redirect_uri and verifier, and a good authentication token")
}
