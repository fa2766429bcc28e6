package examine

import (
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"fhirdest.example/udap/client"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/trace"
)

const (
	authorizationEndpoint = "authorization_endpoint"
	redirectURI           = "https://client.example/examination/callback"

	codeRules = "RFC 6749 4.1.2.1"
)

// codeFlow is a registration for authorization_code.
type codeFlow struct {
	member *member
	*registered
	why string // not empty: there is none

	state, verifier string
	code            string // of the person; used once
	back            url.Values
	form            url.Values // of the token request that went well
	tokens          *reply
}

// codeChecks are those that need no person.
var codeChecks = []Check{
	{
		Name:   "authorize.registered",
		Title:  "A client for people can be registered",
		Rows:   "S1-068",
		Rule:   "UDAP Security, Registration",
		Remedy: "register clients with authorization_code, one https redirect_uri and a logo",
		run:    registerCode,
	},
	{
		Name:   "authorize.client",
		Title:  "For an unknown client_id nobody is redirected",
		Rows:   "S1-242",
		Rule:   codeRules,
		Remedy: "show a page, and do not redirect",
		needs:  clientForPeople,
		run: func(x *examination) answer {
			return notRedirected(x, map[string]string{"client_id": "unknown"})
		},
	},
	{
		Name:   "authorize.redirect_uri",
		Title:  "For a redirect_uri that is not registered nobody is redirected",
		Rows:   "S1-242 S1-251",
		Rule:   codeRules,
		Remedy: "compare redirect_uri as a string with those registered",
		needs:  clientForPeople,
		run: func(x *examination) answer {
			for _, uri := range []string{
				"https://client.example/elsewhere",
				redirectURI + "/",
				redirectURI + "?a=b",
				strings.Replace(redirectURI, "client", "CLIENT", 1),
			} {
				a := notRedirected(x, map[string]string{"redirect_uri": uri})
				if a.found != "" && a.expected != "" {
					return a
				}
			}
			return shown("nobody was redirected").after("other redirect URIs: another path, a slash, a query, capitals")
		},
	},
	{
		Name:   "authorize.state",
		Title:  "A request without state is refused with invalid_request",
		Rows:   "S2-12",
		Rule:   "UDAP Security 2.0, General: State Parameter",
		Remedy: "require state",
		needs:  clientForPeople,
		run: func(x *examination) answer {
			return redirectedWith(x, map[string]string{"state": ""}, "invalid_request")
		},
	},
	{
		Name:   "authorize.pkce",
		Title:  "A request without code_challenge, or with one that is not S256, is refused",
		Rows:   "S2-13",
		Rule:   "UDAP Security 2.0, General: PKCE; RFC 7636 4.4.1",
		Remedy: "require code_challenge with S256",
		Advice: true,
		needs:  clientForPeople,
		run: func(x *examination) answer {
			a := redirectedWith(x, map[string]string{
				"code_challenge":        "",
				"code_challenge_method": "",
			}, "invalid_request")
			if a.verdict != conform.Shown {
				return a
			}
			return redirectedWith(x, map[string]string{"code_challenge_method": "plain"}, "invalid_request")
		},
	},
	{
		Name:   "authorize.response_type",
		Title:  "Another response_type than code is refused",
		Rows:   "S1-258 S1-260 S1-264",
		Rule:   codeRules,
		Remedy: "answer unsupported_response_type",
		needs:  clientForPeople,
		run: func(x *examination) answer {
			return redirectedWith(x, map[string]string{"response_type": "coupon"},
				"unsupported_response_type", "invalid_request")
		},
	},
	{
		Name:   "authorize.error.state",
		Title:  "An error comes back with the state of the request",
		Rows:   "S1-133 S1-190",
		Rule:   codeRules,
		Remedy: "repeat state in every redirect",
		needs:  clientForPeople,
		run: func(x *examination) answer {
			r := x.authorize(http.MethodGet, map[string]string{"response_type": "coupon"})
			back, ok := redirected(r)
			if !ok {
				return skipped("no error was redirected: %s", r)
			}
			return held(back.Get("state") == x.code.state, "the state that was sent", "%q", back.Get("state"))
		},
	},
	{
		Name:   "authorize.methods",
		Title:  "The authorization endpoint has GET and POST",
		Rows:   "S1-246",
		Rule:   "OpenID Connect Core 3.1.2.1",
		Remedy: "accept both methods",
		needs:  clientForPeople,
		run: func(x *examination) answer {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				r := x.authorize(method, nil)
				if r.err != nil || r.status >= http.StatusBadRequest {
					return violated("a page, or a redirect to one", "%s: %s", method, r)
				}
			}
			return shown("both lead to a page").after("a good authorization request by GET and by POST")
		},
	},
	{
		Name:   "authorize.sign_in",
		Title:  "Somebody who is not signed in is asked to, and no code is issued before",
		Rows:   "S1-265",
		Rule:   "OpenID Connect Core 3.1.2.3",
		Remedy: "show a page for signing in",
		needs:  clientForPeople,
		run: func(x *examination) answer {
			r := x.authorize(http.MethodGet, nil)
			back, _ := redirected(r)
			return held(r.err == nil && !back.Has("code"), "no code", "%s", r).
				after("a good authorization request without a session")
		},
	},
	{
		Name:   "authorize.frames",
		Title:  "The pages may not be shown in frames",
		Rows:   "S1-269",
		Rule:   "RFC 6749 10.13",
		Remedy: "send Content-Security-Policy frame-ancestors 'none'",
		needs:  clientForPeople,
		run:    noFrames,
	},
	{
		Name:   "authorize.prompt_none",
		Title:  "With prompt none nobody is asked, and the answer is an error",
		Rows:   "S1-267 S1-268",
		Rule:   "OpenID Connect Core 3.1.2.1 and 3.1.2.6",
		Remedy: "redirect with login_required",
		needs:  clientForPeople,
		run: func(x *examination) answer {
			if !strings.Contains(x.code.scope, "openid") {
				return skipped("the scope openid could not be registered")
			}
			return redirectedWith(x, map[string]string{"prompt": "none"},
				"login_required", "interaction_required", "consent_required", "account_selection_required")
		},
	},
	{
		Name:   "authorize.idp",
		Title:  "An identity provider that is not trusted is refused with invalid_idp",
		Rows:   "S1-238 S1-240 S1-241",
		Rule:   "UDAP Security, Tiered OAuth for User Authentication",
		Remedy: "redirect with the error invalid_idp",
		needs:  clientForPeople,
		run:    untrustedProvider,
	},
}

// registerCode registers a client for people. With an issuer it is another client;
// else it is the same, whose registration is changed for a while.
func registerCode(x *examination) answer {
	x.code = &codeFlow{
		state:    client.NewSecret(),
		verifier: client.NewSecret(),
	}
	if !x.offers(authorizationCode) || !x.reachable(authorizationEndpoint) {
		x.code.why = "the destination does not offer authorization_code"
		return skipped("%s", x.code.why)
	}
	if why, ok := x.mayRegister(); !ok {
		x.code.why = why
		return skipped("%s", why)
	}
	if x.Issuer == nil {
		x.code.why = "no second client is at hand: its certificate is made by an issuer (-issuer-cert, -issuer-key)"
		return skipped("%s", x.code.why)
	}

	c, err := x.mint(x.Issuer, renamed(x.self.URI), nil)
	if err != nil {
		x.code.why = err.Error()
		return skipped("%v", err)
	}
	x.code.member = &member{Client: c}
	x.code.registered = x.registerAs(x.code.member, codeStatement(x, c))
	switch {
	case !x.code.good():
		x.code.why = "the registration was refused"
	case x.code.id == "":
		x.code.why = "the registration has no client_id"
	}
	a := held(x.code.good(), "201 and a client_id", "%s", x.code.reply)
	if l, ok := x.code.object.List("redirect_uris"); x.code.good() && ok && !slices.Equal(l, []string{redirectURI}) {
		a = violated("the redirect_uris that were sent", "%s", x.code.object.Show("redirect_uris"))
	}
	return a.after("a software statement for authorization_code")
}

func codeStatement(x *examination, c *forge.Client) forge.Claims {
	return x.goodStatement(c).
		With("grant_types", []string{authorizationCode}).
		With("response_types", []string{"code"}).
		With("redirect_uris", []string{redirectURI}).
		With("logo_uri", "https://client.example/logo.png").
		With("scope", personScope(x))
}

// personScope returns scopes of people that the destination lists.
func personScope(x *examination) string {
	var out []string
	for _, s := range []string{
		"openid",
		"fhirUser",
		"launch/patient",
		"udap",
		"patient/Patient.rs",
		"patient/Patient.read",
		"user/Patient.rs",
	} {
		if x.meta.has("scopes_supported", s) {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return "openid"
	}
	return strings.Join(out, " ")
}

// request returns the parameters of a good authorization request.
func (x *examination) request() url.Values {
	sum := sha256.Sum256([]byte(x.code.verifier))
	scopes := slices.DeleteFunc(strings.Fields(x.code.scope), func(s string) bool { return s == "udap" })
	return url.Values{
		"response_type":         {"code"},
		"client_id":             {string(x.code.id)},
		"redirect_uri":          {redirectURI},
		"scope":                 {strings.Join(scopes, " ")},
		"state":                 {x.code.state},
		"aud":                   {x.Client.Base},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(sum[:])},
		"code_challenge_method": {"S256"},
	}
}

// authorize sends an authorization request with some parameters changed; an empty one
// is left out.
func (x *examination) authorize(method string, change map[string]string) *reply {
	q := x.request()
	for name, value := range change {
		q.Set(name, value)
		if value == "" {
			q.Del(name)
		}
	}

	target := x.meta.endpoint(authorizationEndpoint)
	if method == http.MethodPost {
		return x.post(target, formType, []byte(q.Encode()))
	}
	return x.get(target + "?" + q.Encode())
}

// redirected returns the query of a redirect to the client.
func redirected(r *reply) (url.Values, bool) {
	if r.err != nil || r.status/100 != 3 {
		return nil, false
	}
	u, err := url.Parse(r.header.Get("Location"))
	if err != nil || !strings.EqualFold(u.Hostname(), "client.example") {
		return nil, false
	}
	return u.Query(), true
}

func changeText(change map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(change)) {
		if change[name] == "" {
			out = append(out, "no "+name)
			continue
		}
		out = append(out, name+" "+change[name])
	}
	return strings.Join(out, ", ")
}

func notRedirected(x *examination, change map[string]string) answer {
	r := x.authorize(http.MethodGet, change)
	_, back := redirected(r)
	if back || r.err != nil || r.status/100 == 2 || r.status/100 == 3 {
		return violated("a page with the error, without redirect", "%s, Location %q",
			r, trace.Cut(r.header.Get("Location"), 200)).after("%s", changeText(change))
	}
	return shown("%s", r).after("%s", changeText(change))
}

// redirectedWith sends a wrong request, which must come back with one of the errors.
func redirectedWith(x *examination, change map[string]string, errors ...string) answer {
	r := x.authorize(http.MethodGet, change)
	back, ok := redirected(r)
	if !ok {
		return violated("a redirect with "+strings.Join(errors, " or "), "%s", r).after("%s", changeText(change))
	}
	return held(slices.Contains(errors, back.Get("error")) && !back.Has("code"),
		strings.Join(errors, " or "), "error %q, code: %v", back.Get("error"), back.Has("code")).
		after("%s", changeText(change))
}

// noFrames follows redirects to the page that a person sees first.
func noFrames(x *examination) answer {
	r := x.authorize(http.MethodGet, nil)
	at, err := url.Parse(x.meta.endpoint(authorizationEndpoint))
	for n := 0; err == nil && r.err == nil && r.status/100 == 3 && n < 5; n++ {
		if _, back := redirected(r); back {
			break
		}
		if at, err = at.Parse(r.header.Get("Location")); err == nil {
			r = x.get(at.String())
		}
	}
	if err != nil || r.err != nil || r.status/100 != 2 {
		return skipped("there is no page: %s", r)
	}

	csp, options := r.header.Get("Content-Security-Policy"), r.header.Get("X-Frame-Options")
	return held(framesRefused(csp, options),
		"frame-ancestors 'none' or 'self' in Content-Security-Policy, or X-Frame-Options DENY or SAMEORIGIN",
		"Content-Security-Policy %q, X-Frame-Options %q", csp, options).
		after("a good authorization request")
}

// framesRefused reports whether pages of other sites may not show a page in a frame.
// frame-ancestors counts before X-Frame-Options.
func framesRefused(csp, options string) bool {
	for directive := range strings.SplitSeq(csp, ";") {
		words := strings.Fields(strings.ToLower(directive))
		if len(words) > 0 && words[0] == "frame-ancestors" {
			return !slices.ContainsFunc(words[1:], func(source string) bool {
				return source == "*" || strings.HasSuffix(source, ":")
			})
		}
	}

	options = strings.ToUpper(strings.TrimSpace(options))
	return options == "DENY" || options == "SAMEORIGIN"
}

func untrustedProvider(x *examination) answer {
	if !x.meta.has("udap_profiles_supported", "udap_to") {
		return skipped("the destination does not list the profile udap_to")
	}
	if !strings.Contains(x.code.scope, "udap") {
		return skipped("the scope udap could not be registered")
	}

	change := map[string]string{
		"idp":   "https://idp.invalid/examination",
		"scope": x.code.scope,
	}
	r := x.authorize(http.MethodGet, change)
	back, ok := redirected(r)
	if !ok && r.err == nil && r.status < http.StatusBadRequest {
		return skipped("the destination goes on with another identity provider, which the guide allows: %s", r)
	}
	return held(back.Get("error") == "invalid_idp", "a redirect with invalid_idp",
		"%s, error %q", r, back.Get("error")).after("%s", changeText(change))
}
