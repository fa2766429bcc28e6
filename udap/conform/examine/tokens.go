package examine

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"fhirdest.example/udap"
	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/trace"
)

const (
	tokenEndpoint = "token_endpoint"
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	maxLife       = 3600 // seconds of an access token

	tokenRules = "UDAP Security, Obtaining an Access Token; UDAP JWT-Based Client Authentication 6 and 7"
	scopeRules = "UDAP Security 2.0, General: Scope Negotiation; RFC 6749 3.3 and 5.1"
)

// goodAssertion returns the claims of a good authentication token.
func (x *examination) goodAssertion(id trace.ClientID) forge.Claims {
	return forge.Assertion(id, x.meta.endpoint(tokenEndpoint), x.now()).
		With("extensions", map[string]any{udap.B2BKey: x.b2b()})
}

func (x *examination) b2b() map[string]any {
	o := forge.B2B()
	o["organization_id"] = x.Organization
	if x.Organization == "" {
		o["organization_id"], _, _ = strings.Cut(x.self.URI, "#")
	}
	o["organization_name"] = "Examination of a destination"
	o["purpose_of_use"] = []string{x.purpose()}
	return o
}

// tefcaPurposes is the code system of TEFCA's exchange purposes; a member's URI has
// its own as its fragment.
const tefcaPurposes = "urn:oid:2.16.840.1.113883.3.7204.1.5.2.1"

// purpose returns the purpose of use: that of the setting, else the one in the URI, else
// treatment.
func (x *examination) purpose() string {
	_, fragment, _ := strings.Cut(x.self.URI, "#")
	switch {
	case x.Purpose != "":
		return x.Purpose
	case strings.HasPrefix(fragment, "T-"):
		return tefcaPurposes + "#" + fragment
	}
	return treatment
}

// tokenForm returns the form of a good token request, but for the authentication.
func (x *examination) tokenForm() url.Values {
	return url.Values{
		"grant_type":            {clientCredentials},
		"scope":                 {x.register.scope},
		"client_assertion_type": {assertionType},
		"udap":                  {"1"},
	}
}

// askToken posts a form to the token endpoint, with an authentication token of these
// claims unless they are nil.
func (x *examination) askToken(m *forge.Client, form url.Values, claims forge.Claims) *reply {
	if claims != nil {
		compact, err := m.SignChain(claims, m.Chain...)
		if err != nil {
			return &reply{err: err}
		}
		form.Set("client_assertion", compact)
	}
	return x.post(x.meta.endpoint(tokenEndpoint), formType, []byte(form.Encode()))
}

// token asks for a token as a good client does.
func (x *examination) token() *reply {
	return x.askToken(x.self.Client, x.tokenForm(), x.goodAssertion(x.register.id))
}

// mayAsk returns why no token can be asked for.
func (x *examination) mayAsk() (why string, ok bool) {
	if why, ok := x.mayRegister(); !ok {
		return why, false
	}
	switch {
	case x.register.id == "":
		return "the registration has no client_id", false
	case !x.offers(clientCredentials):
		return "the destination does not offer client_credentials", false
	case !x.reachable(tokenEndpoint):
		return "the metadata names no token endpoint with https", false
	case strings.HasSuffix(x.purpose(), "#T-IAS"):
		return "individual access needs a person's identity in the extension tefca_ias", false
	}
	return "", true
}

var tokenChecks = []Check{
	{
		Name:   "token.issued",
		Title:  "A good token request of client_credentials is answered with 200",
		Rows:   "S1-172 S1-229",
		Rule:   tokenRules,
		Remedy: "the answer names the reason; a community may demand more of hl7-b2b",
		run: func(x *examination) answer {
			if why, ok := x.mayAsk(); !ok {
				return skipped("%s", why)
			}
			x.issued = x.token()
			ok := x.issued.status == http.StatusOK && x.issued.json()
			return held(x.issued.good() && ok, "200 and a token, of application/json",
				"%s, of %q", x.issued, x.issued.header.Get("Content-Type")).
				after("a good authentication token with hl7-b2b, scope %q", x.register.scope)
		},
	},
	{
		Name:   "token.access_token",
		Title:  "The answer has access_token",
		Rows:   "S1-284",
		Rule:   "RFC 6749 5.1",
		Remedy: "write access_token, a string",
		needs:  aToken,
		run: func(x *examination) answer {
			token := x.issued.text("access_token")
			odd := strings.ContainsFunc(token, func(c rune) bool { return c < ' ' || c > '~' }) // RFC 6749 A.12
			if odd {
				return violated("visible ASCII characters", "a token that cannot be sent in a header")
			}
			return held(token != "", "access_token", "members %s", x.issued.object.Names())
		},
	},
	{
		Name:   "token.token_type",
		Title:  "The answer has token_type",
		Rows:   "S1-285",
		Rule:   "RFC 6749 5.1",
		Remedy: "write token_type, Bearer",
		needs:  aToken,
		run: func(x *examination) answer {
			kind := x.issued.text("token_type")
			return held(strings.EqualFold(kind, "bearer") || strings.EqualFold(kind, "dpop"),
				"token_type Bearer", "%s", x.issued.object.Show("token_type"))
		},
	},
	{
		Name:   "token.lifetime",
		Title:  "An access token lives at most 60 minutes",
		Rows:   "S1-184",
		Rule:   tokenRules,
		Remedy: "write expires_in, 3600 at most",
		needs:  aToken,
		run: func(x *examination) answer {
			if !x.issued.object.Has("expires_in") {
				return skipped("the answer has no expires_in, which RFC 6749 5.1 only recommends")
			}
			until, ok := seconds(x.issued.object, "expires_in")
			return held(ok && until.Before(time.Unix(maxLife+1, 0)) && until.After(time.Unix(0, 0)),
				"a number of seconds, 3600 at most", "%s", x.issued.object.Show("expires_in"))
		},
	},
	{
		Name:   "token.no_store",
		Title:  "The answer with a token is not kept by caches",
		Rows:   "S1-172",
		Rule:   "RFC 6749 5.1",
		Remedy: "write Cache-Control: no-store",
		needs:  aToken,
		run: func(x *examination) answer {
			v := strings.Join(x.issued.header.Values("Cache-Control"), ", ")
			return held(strings.Contains(strings.ToLower(v), "no-store"), "Cache-Control: no-store", "%q", v)
		},
	},
	{
		Name:   "token.scope.none",
		Title:  "A token for no named scope comes with its scope",
		Rows:   "S2-15",
		Rule:   scopeRules,
		Remedy: "write scope whenever it is not the one that was asked for",
		needs:  aToken,
		run: func(x *examination) answer {
			form := x.tokenForm()
			form.Del("scope")
			r := x.askToken(x.self.Client, form, x.goodAssertion(x.register.id))
			if !r.good() {
				return skipped("without scope there is no token: %s", r).after("a token request without scope")
			}
			return held(r.text("scope") != "", "scope", "%s", r.object.Show("scope")).
				after("a token request without scope")
		},
	},
	{
		Name:   "token.scope.subset",
		Title:  "Of scopes of which one can be granted, that one is granted",
		Rows:   "S2-16",
		Rule:   scopeRules,
		Remedy: "grant what can be granted, and name it in scope",
		Advice: true,
		needs:  aToken,
		run: func(x *examination) answer {
			r := askScope(x, x.register.scope+" system/Nothing.rs")
			if r.err != nil {
				return skipped("%s", r)
			}
			return held(r.good() && r.text("scope") != "", "200 and the scope that is granted",
				"%s, %s", r, r.object.Show("scope")).
				after("scope %q and one that there is not", x.register.scope)
		},
	},
	{
		Name:   "token.scope.invalid",
		Title:  "Scopes of which none can be granted are invalid_scope",
		Rows:   "S2-16",
		Rule:   scopeRules,
		Remedy: "answer 400 invalid_scope",
		Advice: true,
		needs:  aToken,
		run: func(x *examination) answer {
			r := askScope(x, "system/Nothing.rs")
			if r.err != nil {
				return skipped("%s", r)
			}
			return held(r.text("error") == "invalid_scope", "invalid_scope", "%s", r).
				after("scope system/Nothing.rs")
		},
	},
	{
		Name:   "token.scope.wildcard",
		Title:  "A wildcard scope that is not supported is invalid_scope",
		Rows:   "S2-14",
		Rule:   scopeRules,
		Remedy: "answer 400 invalid_scope",
		Advice: true,
		needs:  aToken,
		run: func(x *examination) answer {
			const wildcard = "system/*.cruds"
			if x.meta.has("scopes_supported", wildcard) {
				return skipped("the destination supports %s", wildcard)
			}
			r := askScope(x, wildcard)
			if r.err != nil {
				return skipped("%s", r)
			}
			return held(r.text("error") == "invalid_scope", "invalid_scope", "%s", r).after("scope %s", wildcard)
		},
	},
	{
		Name:   "token.b2b.supported",
		Title:  "A server that needs hl7-b2b lists it as supported",
		Rows:   "S1-029",
		Rule:   requiredMetadata,
		Remedy: "list hl7-b2b in udap_authorization_extensions_supported",
		needs:  aToken,
		run: func(x *examination) answer {
			refused := withoutB2B(x)
			listed := x.meta.has("udap_authorization_extensions_supported", udap.B2BKey)
			if !listed && refused.good() {
				return skipped("it is neither listed nor needed")
			}
			return held(listed, "hl7-b2b among the supported extensions", "%s; without it: %s",
				x.meta.object.Show("udap_authorization_extensions_supported"), refused).
				after("a token request without hl7-b2b")
		},
	},
	{
		Name:   "token.b2b.required",
		Title:  "A server that needs hl7-b2b lists it as required",
		Rows:   "S1-032",
		Rule:   requiredMetadata,
		Remedy: "list hl7-b2b in udap_authorization_extensions_required",
		needs:  aToken,
		run: func(x *examination) answer {
			if !x.meta.has("udap_authorization_extensions_supported", udap.B2BKey) {
				return skipped("it is not listed as supported")
			}
			if !x.meta.object.Has("udap_authorization_extensions_required") {
				return skipped("there is no list of required extensions")
			}
			if r := withoutB2B(x); r.good() {
				return skipped("it is not needed")
			}
			return held(x.meta.has("udap_authorization_extensions_required", udap.B2BKey),
				"hl7-b2b among the required extensions", "%s",
				x.meta.object.Show("udap_authorization_extensions_required")).
				after("a token request without hl7-b2b")
		},
	},
	{
		Name:   "token.b2b.enforced",
		Title:  "A server that lists hl7-b2b as required needs it",
		Rows:   "S1-030",
		Rule:   requiredMetadata,
		Remedy: "refuse token requests without hl7-b2b, or do not list it as required",
		Advice: true,
		needs:  aToken,
		run: func(x *examination) answer {
			if !x.meta.has("udap_authorization_extensions_required", udap.B2BKey) {
				return skipped("it is not listed as required")
			}
			return held(!withoutB2B(x).good(), "a refusal: required in every token request", "a token").
				after("a token request without hl7-b2b")
		},
	},
	{
		Name:   "token.b2b.form",
		Title:  "An hl7-b2b object that lacks what it must have is refused",
		Rows:   "S2-21",
		Rule:   "UDAP Security, B2B Authorization Extension Object",
		Remedy: "require version 1, organization_id as a URI and purpose_of_use",
		needs:  aToken,
		run:    wrongB2B,
	},
}

func askScope(x *examination, scope string) *reply {
	form := x.tokenForm()
	form.Set("scope", scope)
	r := x.askToken(x.self.Client, form, x.goodAssertion(x.register.id))
	if !r.good() {
		x.note(tokenEndpoint, "scope "+scope, r)
	}
	return r
}

// withoutB2B asks for a token without the extension object.
func withoutB2B(x *examination) *reply {
	r := x.askToken(x.self.Client, x.tokenForm(), x.goodAssertion(x.register.id).With("extensions", forge.Absent))
	if !r.good() && r.err == nil {
		x.note(tokenEndpoint, "no hl7-b2b", r)
	}
	return r
}

func wrongB2B(x *examination) answer {
	if withoutB2B(x).good() {
		return skipped("the destination does not need hl7-b2b")
	}

	t := x.tries()
	for _, w := range []struct {
		name   string
		member string
		value  any
	}{
		{"no version", "version", nil},
		{"version 2", "version", "2"},
		{"no organization_id", "organization_id", nil},
		{"an organization_id that is no URI", "organization_id", "org 1"},
		{"no purpose_of_use", "purpose_of_use", nil},
		{"an empty purpose_of_use", "purpose_of_use", []string{}},
	} {
		o := x.b2b()
		o[w.member] = w.value
		if w.value == nil {
			delete(o, w.member)
		}
		claims := x.goodAssertion(x.register.id).With("extensions", map[string]any{udap.B2BKey: o})
		t.add(tokenEndpoint, w.name, x.askToken(x.self.Client, x.tokenForm(), claims))
	}
	return t.answer("hl7-b2b with: ")
}

// statusesOfToken are those of a refusal (RFC 6749 5.2).
var statusesOfToken = []int{http.StatusBadRequest, http.StatusUnauthorized}

// lifeChecks are about a registration that is changed and cancelled; the last check
// ends it.
var lifeChecks = []Check{
	{
		Name:   "change.accepted",
		Title:  "Another statement of the same URI changes the registration",
		Rows:   "S1-119",
		Rule:   modifying,
		Remedy: "treat a statement with a known iss, in the same community, as a change",
		run: func(x *examination) answer {
			if why, ok := x.mayRegister(); !ok {
				return skipped("%s", why)
			}
			x.change = x.registerAs(x.self,
				x.goodStatement(x.self.Client).With("client_name", "Examination, changed"))
			return held(x.change.good(), "200 or 201", "%s", x.change.reply).
				after("the statement again, with another client_name")
		},
	},
	{
		Name:   "change.client_id",
		Title:  "A changed registration keeps its client_id",
		Rows:   "S1-120",
		Rule:   modifying,
		Remedy: "answer with the client_id of before",
		Advice: true,
		needs:  aChange,
		run: func(x *examination) answer {
			return held(x.change.id == x.register.id, string(x.register.id), "%s", x.change.id)
		},
	},
	{
		Name:   "change.200",
		Title:  "A change is answered with 200",
		Rows:   "S1-124",
		Rule:   modifying,
		Remedy: "answer 200 where the client_id is the same",
		Advice: true,
		needs:  aChange,
		run: func(x *examination) answer {
			if x.change.id != x.register.id {
				return skipped("the client_id is another one")
			}
			return held(x.change.status == http.StatusOK, "200", "%s", x.change.reply).
				after("the statement again, with another client_name; the client_id stayed the same")
		},
	},
	{
		Name:   "change.previous",
		Title:  "A client_id that was replaced is cancelled",
		Rows:   "S1-121",
		Rule:   modifying,
		Remedy: "cancel the registration of the previous client_id",
		needs:  aChange,
		run: func(x *examination) answer {
			if x.change.id == x.register.id {
				return skipped("the client_id stayed the same")
			}
			if _, ok := x.mayAsk(); !ok {
				return skipped("no token can be asked for")
			}
			r := x.token()
			return held(!r.good(), "a refusal of the previous client_id", "%s", r).
				after("a token request of the previous client_id")
		},
	},
	{
		Name:   "change.community",
		Title:  "A member of another community does not change a registration",
		Rows:   "S2-08",
		Rule:   "UDAP Security 2.0, Registration: Modifying and Cancelling Registrations",
		Remedy: "a registration is identified by community and URI, not by the URI alone",
		run:    otherCommunity,
	},
	{
		Name:   "cancel.accepted",
		Title:  "A statement with empty grant_types cancels the registration",
		Rows:   "S1-122",
		Rule:   modifying,
		Remedy: "treat grant_types [] of a registered client as a cancellation",
		Advice: true,
		run: func(x *examination) answer {
			if why, ok := x.mayRegister(); !ok {
				return skipped("%s", why)
			}
			keepChange(x)
			x.ended = x.cancel(x.ctx, x.self)
			return held(x.ended.done(), "200", "%s", x.ended).after("the statement with grant_types []")
		},
	},
	{
		Name:   "cancel.effective",
		Title:  "A client that was cancelled gets no token",
		Rows:   "S1-122",
		Rule:   modifying,
		Remedy: "refuse a client_id that was cancelled with invalid_client",
		Advice: true,
		run: func(x *examination) answer {
			if x.ended == nil || !x.ended.done() {
				return skipped("nothing was cancelled")
			}
			if why, ok := x.mayAsk(); !ok {
				return skipped("%s", why)
			}
			r := x.token()
			return held(!r.good(), "a refusal", "%s", r).after("a token request of the cancelled client")
		},
	},
}

// keepChange goes on with the client_id of the changed registration.
func keepChange(x *examination) {
	if x.change != nil && x.change.good() && x.change.id != "" {
		x.register = x.change
	}
}

// otherCommunity registers the same URI in another community: the registration of the
// first must go on as it was.
func otherCommunity(x *examination) answer {
	if why := x.whyNoToken(); why != "" {
		return skipped("%s", why)
	}
	c, err := outsider(x)
	if err != nil {
		return skipped("%v", err)
	}
	keepChange(x)

	other := &member{Client: c}
	r := x.registerAs(other, x.goodStatement(c).With("client_name", "Examination, of another community"))
	defer func() {
		if other.left && r.good() {
			x.cancel(x.ctx, other)
		}
	}()
	if r.good() && r.id == x.register.id {
		return violated("another registration", "the same client_id %s", r.id)
	}

	again := x.token()
	return held(again.good(), "a token of the first registration, as before",
		"%s to the other community; then %s", r.reply, again).
		after("a statement of the same URI, signed by a member of another community")
}

// outsider is a member of another community under our URI.
func outsider(x *examination) (*forge.Client, error) {
	if x.OtherIssuer != nil {
		return x.mint(x.OtherIssuer, x.self.URI, nil)
	}
	if x.Other == nil {
		return nil, errNoOther
	}
	return &forge.Client{
		URI:   x.self.URI,
		Key:   x.Other.Key,
		Chain: x.Other.Chain,
	}, nil
}
