package examine_test

import (
	"net/http"
	"net/url"
	"strings"

	"fhirdest.example/udap/conform/examine"
)

// tokenFaults are what can be wrong with the token endpoint.
func tokenFaults() []row {
	answer := func(name string, value any) fault {
		return answering(tokenPath, func(e *exchange, o members) {
			if e.form().Get("grant_type") == "client_credentials" {
				put(o, name, value)
			}
		})
	}
	lacking := func(check string, checks ...string) row {
		return row{check: check, fault: lacks(tokenPath, nil, checks...)}
	}
	unknown := func(_, claims members) bool { return claims["iss"] == "unknown" || claims["iss"] == nil }
	extended := func(_, claims members) bool { return claims["extensions"] != nil }
	bare := func(_, claims members) bool { return claims["extensions"] == nil }
	return []row{
		{check: "token.issued", fault: refusesTokens("client_credentials", "invalid_client")},
		{check: "token.issued", name: "with 201", fault: answering(tokenPath, func(e *exchange, _ members) {
			e.status = http.StatusCreated
		})},
		{check: "token.issued", name: "as a page", fault: func(e *exchange, next func()) {
			if next(); e.at(tokenPath) && e.status == http.StatusOK {
				e.header.Set("Content-Type", "text/html")
			}
		}},
		{check: "token.access_token", fault: answer("access_token", nil)},
		{check: "token.access_token", name: "with a line break", fault: answer("access_token", "a\r\nb")},
		{check: "token.token_type", fault: answer("token_type", nil)},
		{check: "token.lifetime", fault: answer("expires_in", 7200)},
		{check: "token.no_store", fault: answering(tokenPath, func(e *exchange, _ members) {
			e.header.Del("Cache-Control")
		})},
		{check: "token.scope.none", fault: answering(tokenPath, func(e *exchange, o members) {
			if !e.form().Has("scope") {
				delete(o, "scope")
			}
		})},
		{check: "token.scope.subset", fault: func(e *exchange, next func()) {
			if scope := e.form().Get("scope"); e.at(tokenPath) && strings.Contains(scope, " system/Nothing") {
				e.refuse("invalid_scope")
				return
			}
			next()
		}},
		{check: "token.scope.invalid", fault: asks(tokenPath, "scope", "system/Nothing.rs", (*exchange).accept)},
		{check: "token.scope.wildcard", fault: asks(tokenPath, "scope", "system/*.cruds", (*exchange).accept)},
		{check: "token.b2b.supported", fault: edited(func(o members) {
			o["udap_authorization_extensions_supported"] = []string{}
			o["udap_authorization_extensions_required"] = []string{}
		})},
		{check: "token.b2b.required", fault: with("udap_authorization_extensions_required", []string{})},
		{check: "token.b2b.enforced", fault: lacks(tokenPath, bare, "b2b.")},
		{check: "token.b2b.form", fault: lacks(tokenPath, extended, "b2b.")},
		{check: "token.errors", fault: page(tokenPath)},
		{check: "assertion.client", fault: lacks(tokenPath, unknown, "assertion.iss")},
		lacking("assertion.certificate.other", "assertion.certificate"),
		lacking("assertion.replay", "client.jti"),
		lacking("token.authentication", "client.assertion"),
		lacking("token.assertion_type", "client.assertion_type"),
		lacking("token.udap", "client.udap"),
		lacking("token.grant_type", "token.grant_type"),
	}
}

// refusesTokens is a destination that refuses a grant.
func refusesTokens(grant, code string) fault {
	return func(e *exchange, next func()) {
		if e.at(tokenPath) && e.form().Get("grant_type") == grant {
			e.refuse(code)
			return
		}
		next()
	}
}

const redirect = "https://client.example/examination/callback"

// redirectTo answers with a redirect.
func (e *exchange) redirectTo(target string, q url.Values) {
	e.status = http.StatusFound
	e.header = http.Header{"Location": {target + "?" + q.Encode()}}
	e.answer = nil
}

// repaired is a destination that goes on where a parameter of the authorization request
// is wrong: it looks at another value.
func repaired(parameter string, wrong func(string) bool, right string) fault {
	return func(e *exchange, next func()) {
		q := e.URL.Query()
		if e.at(authorizePath) && e.Method == http.MethodGet && q.Has("client_id") && wrong(q.Get(parameter)) {
			q.Set(parameter, right)
			e.target = e.URL.Path + "?" + q.Encode()
		}
		next()
	}
}

func is(value string) func(string) bool {
	return func(s string) bool { return s == value }
}

// authorizeFaults are what can be wrong with the authorization endpoint.
func authorizeFaults() []row {
	return []row{
		{check: "authorize.registered", fault: refuses("invalid_client_metadata", func(_, claims members) bool {
			return claims["redirect_uris"] != nil
		})},
		{
			check: "authorize.registered",
			name:  "another redirect URI",
			fault: answering(registerPath, func(_ *exchange, o members) {
				if o["redirect_uris"] != nil {
					o["redirect_uris"] = []string{"https://elsewhere.test/"}
				}
			}),
		},
		{check: "authorize.client", fault: onAuthorize(func(e *exchange, q url.Values) {
			if q.Get("client_id") == "unknown" {
				e.redirectTo(redirect, url.Values{"error": {"unauthorized_client"}})
			}
		})},
		{check: "authorize.redirect_uri", fault: onAuthorize(func(e *exchange, q url.Values) {
			if uri := q.Get("redirect_uri"); uri == redirect+"/" {
				e.redirectTo(uri, url.Values{"error": {"invalid_request"}})
			}
		})},
		{check: "authorize.state", fault: repaired("state", is(""), "a state")},
		{check: "authorize.pkce", fault: onAuthorize(func(e *exchange, q url.Values) {
			if q.Has("client_id") && !q.Has("code_challenge") {
				e.status, e.header, e.answer = http.StatusOK, http.Header{}, []byte("<h1>Sign in</h1>")
			}
		})},
		{check: "authorize.pkce", name: "plain", fault: repaired("code_challenge_method", is("plain"), "S256")},
		{check: "authorize.response_type", fault: repaired("response_type", is("coupon"), "code")},
		{check: "authorize.error.state", fault: onAuthorize(func(e *exchange, q url.Values) {
			if q.Get("response_type") == "coupon" {
				e.redirectTo(redirect, url.Values{"error": {"unsupported_response_type"}})
			}
		})},
		{check: "authorize.methods", fault: func(e *exchange, next func()) {
			if next(); e.at(authorizePath) && e.Method == http.MethodPost && e.Header.Get("Cookie") == "" {
				e.status = http.StatusMethodNotAllowed
			}
		}},
		{check: "authorize.sign_in", fault: onAuthorize(func(e *exchange, q url.Values) {
			if e.status/100 == 2 {
				e.redirectTo(redirect, url.Values{"code": {"a-code"}, "state": q["state"]})
			}
		})},
		{check: "authorize.frames", fault: func(e *exchange, next func()) {
			next()
			e.header.Del("Content-Security-Policy")
			e.header.Del("X-Frame-Options")
		}},
		{check: "authorize.frames", name: "of every site", fault: func(e *exchange, next func()) {
			next()
			if e.header.Get("Content-Security-Policy") != "" {
				e.header.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors *")
			}
		}},
		{check: "authorize.prompt_none", fault: repaired("prompt", is("none"), "consent")},
		{check: "authorize.idp", fault: func(e *exchange, next func()) {
			edited(func(o members) {
				o["udap_profiles_supported"] = append(o["udap_profiles_supported"].([]any), "udap_to")
				o["scopes_supported"] = append(o["scopes_supported"].([]any), "udap")
			})(e, next)
			if scope, ok := e.object()["scope"].(string); ok && e.at(registerPath) && e.status/100 == 2 {
				o := e.object()
				o["scope"] = scope + " udap"
				e.set(e.status, o)
			}
			if q := e.URL.Query(); e.at(authorizePath) && q.Has("idp") {
				e.redirectTo(redirect, url.Values{"error": {"access_denied"}, "state": q["state"]})
			}
		}},
	}
}

// onAuthorize changes the answer to an authorization request.
func onAuthorize(change func(*exchange, url.Values)) fault {
	return func(e *exchange, next func()) {
		if next(); e.at(authorizePath) && e.Method == http.MethodGet {
			change(e, e.URL.Query())
		}
	}
}

// codeFaults are what can be wrong with authorization codes.
func codeFaults() []row {
	lacking := func(check string, when func(url.Values) bool) row {
		return row{check: check, fault: func(e *exchange, next func()) {
			next()
			if f := e.form(); e.at(tokenPath) && f.Get("grant_type") == "authorization_code" &&
				e.status >= http.StatusBadRequest && when(f) {
				e.accept()
			}
		}}
	}
	spent := map[string]bool{}
	return []row{
		{check: "code.returned", fault: returning(func(q url.Values) {
			q.Del("code")
			q.Set("error", "access_denied")
		})},
		{check: "code.returned", name: "two codes", fault: returning(func(q url.Values) { q.Add("code", "another") })},
		{check: "code.state", name: "twice", fault: returning(func(q url.Values) { q.Add("state", "another") })},
		{check: "code.state", fault: returning(func(q url.Values) { q.Set("state", "another") })},
		lacking("code.verifier", func(f url.Values) bool {
			return strings.HasPrefix(f.Get("code_verifier"), "xxxx")
		}),
		lacking("code.redirect_uri", func(f url.Values) bool { return !f.Has("redirect_uri") }),
		{
			check: "code.redirect_uri",
			name:  "another",
			fault: lacking("", func(f url.Values) bool {
				return strings.HasSuffix(f.Get("redirect_uri"), "/elsewhere")
			}).fault,
		},
		lacking("code.invalid", func(f url.Values) bool { return f.Get("code") == "no-code-of-this-server" }),
		{check: "code.client", fault: codeOfAnother()},
		{check: "code.exchange", fault: refusesTokens("authorization_code", "invalid_grant")},
		{check: "code.once", fault: func(e *exchange, next func()) {
			next()
			if f := e.form(); e.at(tokenPath) && f.Has("code") {
				code := f.Get("code")
				if e.status >= http.StatusBadRequest && spent[code] {
					e.accept()
				}
				spent[code] = spent[code] || e.status == http.StatusOK
			}
		}},
	}
}

// returning changes the redirect with which a person comes back with a code.
func returning(change func(url.Values)) fault {
	return func(e *exchange, next func()) {
		next()
		u, err := url.Parse(e.header.Get("Location"))
		if err != nil || !strings.HasPrefix(u.String(), redirect) || !u.Query().Has("code") {
			return
		}
		q := u.Query()
		change(q)
		u.RawQuery = q.Encode()
		e.header.Set("Location", u.String())
	}
}

// codeOfAnother accepts a good code from every client for people, and from no other.
func codeOfAnother() fault {
	var owner any
	others := map[any]bool{}
	return func(e *exchange, next func()) {
		next()
		_, claims := e.document()
		if e.at(registerPath) && e.status/100 == 2 && claims["redirect_uris"] != nil {
			id := e.object()["client_id"]
			if owner == nil {
				owner = id
			}
			others[id] = id != owner
		}
		if e.at(tokenPath) && e.form().Has("code") && e.status >= http.StatusBadRequest && others[claims["iss"]] {
			e.accept()
		}
	}
}

// lifeFaults are what can be wrong with changes and cancellations.
func lifeFaults() []row {
	changed := func(_, claims members) bool { return claims["client_name"] == "Examination, changed" }
	return []row{
		{check: "change.accepted", fault: refuses("invalid_client_metadata", changed)},
		{check: "change.client_id", fault: replaced(true)},
		{check: "change.previous", fault: replaced(false), also: []string{"change.client_id"}},
		{check: "change.200", fault: answering(registerPath, func(e *exchange, _ members) {
			if _, claims := e.document(); changed(nil, claims) {
				e.status = http.StatusCreated
			}
		})},
		{check: "change.community", fault: mixed()},
		{check: "cancel.accepted", fault: refuses("invalid_client_metadata", cancels)},
		{check: "cancel.effective", fault: undead()},
		{
			check: "cancel.effective",
			name:  "of a replaced client_id",
			fault: immortal(),
			also:  []string{"change.client_id"},
			change: func(s *examine.Setting) {
				s.OtherIssuer = nil
			},
		},
	}
}

// cancels reports whether a statement has empty grant_types.
func cancels(_, claims members) bool {
	grants, ok := claims["grant_types"].([]any)
	return ok && len(grants) == 0
}

// replaced is a destination that gives a changed registration another client_id.
// The previous one ends, or goes on.
func replaced(ends bool) fault {
	var previous, uri any
	ended := false
	return func(e *exchange, next func()) {
		next()
		_, claims := e.document()
		switch {
		case e.at(registerPath) && claims["client_name"] == "Examination, changed" && e.status/100 == 2:
			o := e.object()
			previous, uri = o["client_id"], claims["iss"]
			o["client_id"] = further
			e.set(e.status, o)
		case e.at(registerPath) && cancels(nil, claims) && claims["iss"] == uri:
			ended = true
		case e.at(tokenPath) && claims["iss"] == further && !ended:
			e.accept()
		case e.at(tokenPath) && previous != nil && claims["iss"] == previous && ends:
			e.refuse("invalid_client")
		}
	}
}

// immortal is a destination that gives a changed registration another client_id, which
// gets tokens for ever; the previous one ends.
func immortal() fault {
	replace := replaced(true)
	return func(e *exchange, next func()) {
		replace(e, next)
		if _, claims := e.document(); e.at(tokenPath) && claims["iss"] == further {
			e.accept()
		}
	}
}

// further is the client_id of a registration that was replaced.
const further = "the-next-client-id"

// mixed is a destination that takes the URI of a member of another community for that of
// the first.
func mixed() fault {
	first := map[any]any{}
	return func(e *exchange, next func()) {
		next()
		if !e.at(registerPath) || e.status/100 != 2 {
			return
		}
		_, claims := e.document()
		o := e.object()
		if first[claims["iss"]] == nil {
			first[claims["iss"]] = o["client_id"]
		}
		if claims["client_name"] == "Examination, of another community" {
			o["client_id"] = first[claims["iss"]]
			e.set(e.status, o)
		}
	}
}

// undead is a destination at which cancelled clients get tokens.
func undead() fault {
	gone := map[any]bool{}
	return func(e *exchange, next func()) {
		next()
		_, claims := e.document()
		switch {
		case e.at(registerPath) && cancels(nil, claims):
			gone[e.object()["client_id"]] = true
		case e.at(tokenPath) && e.status >= http.StatusBadRequest && gone[claims["iss"]]:
			e.accept()
		}
	}
}
