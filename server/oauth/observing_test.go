package oauth_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/oauth/observe"
	"fhirdest.example/udap"
	"fhirdest.example/udap/fault"
	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// observing is an authorization server that observes, or, to compare, one that does
// not, with a client for itself and one for people.
type observing struct {
	*peopled
}

func newObserving(t *testing.T, tolerated trace.Tolerance, policy func(*udap.Policy)) *observing {
	return &observing{newPeople(t, func(c *oauth.Config) {
		c.Tolerated = tolerated
		c.Resources = func([]byte) error { return nil }
		c.Limits = oauth.Limits{}
		if policy != nil {
			policy(&c.Verifier.Communities[0].Policy)
		}
	})}
}

// business registers a client for client_credentials.
func (o *observing) business() (*udaptest.Client, trace.ClientID) {
	c := o.client(o.w.A, udaptest.Client1URI)
	return c, o.registered(c)
}

func (o *observing) person() *app { return o.app(udaptest.Client2URI) }

type edit = func(udaptest.Claims) udaptest.Claims

// statements returns what registers a client for itself, and one for people, by a
// statement that is changed.
func statements(change edit) []func(*observing) answer {
	return []func(*observing) answer{
		func(o *observing) answer {
			c := o.client(o.w.A, udaptest.Client1URI)
			return o.env.register(c, change(c.Statement(o.now())))
		},
		func(o *observing) answer {
			c := o.client(o.w.A, udaptest.Client2URI)
			return o.env.register(c, change(c.Interactive(o.now())))
		},
	}
}

// assertions returns a request of every kind with an authentication token that is
// changed, or with changed parameters.
func assertions(change edit, params ...string) []func(*observing) answer {
	if change == nil {
		change = func(c udaptest.Claims) udaptest.Claims { return c }
	}
	ask := func(endpoint string) func(*observing) answer {
		return func(o *observing) answer {
			c, id := o.business()
			token := o.issued(c, id)
			claims := udaptest.Assertion(id, o.now()).With("aud", issuer+"/"+endpoint)
			form := o.form(c.Sign(o.t, change(claims)))
			form.Del("grant_type")
			form.Del("scope")
			form.Set("token", token)
			set(form, params)
			return o.post("/oauth/"+endpoint, form)
		}
	}

	return []func(*observing) answer{
		business(change, params...),
		func(o *observing) answer {
			a := o.person()
			return o.token(a.Client, change(a.assertion()), append([]string{
				"grant_type", "authorization_code",
				"scope", "-",
				"code", a.code(),
				"redirect_uri", redirectURI,
				"code_verifier", verifier,
			}, params...)...)
		},
		func(o *observing) answer {
			a := o.person()
			_, refresh := a.tokens()
			return o.token(a.Client, change(a.assertion()), append([]string{
				"grant_type", "refresh_token",
				"scope", "-",
				"refresh_token", refresh,
			}, params...)...)
		},
		ask("introspect"),
		ask("revoke"),
	}
}

// business returns a request for client_credentials.
func business(change edit, params ...string) func(*observing) answer {
	return func(o *observing) answer {
		c, id := o.business()
		claims := udaptest.Assertion(id, o.now())
		if change != nil {
			claims = change(claims)
		}
		return o.token(c, claims, params...)
	}
}

// browsed returns an authorization request with changed parameters, by GET and by POST.
func browsed(change func(url.Values)) []func(*observing) answer {
	by := func(method string) func(*observing) answer {
		return func(o *observing) answer {
			q := o.person().query()
			change(q)
			return o.browse(method, q.Encode())
		}
	}
	return []func(*observing) answer{by("GET"), by("POST")}
}

// object returns requests with one member of an extension object changed.
func object(key string, good map[string]any, member string, value any) []func(*observing) answer {
	changed := udaptest.Claims(good).With(member, value)
	extensions := map[string]any{
		udap.B2BKey: udaptest.B2B(),
		key:         map[string]any(changed),
	}
	return []func(*observing) answer{business(with("extensions", extensions))}
}

// tolerances are the mistakes after which an observing destination goes on: each
// tolerated check has one or more.
var tolerances = []struct {
	check  string
	how    string
	policy func(*udap.Policy)
	send   []func(*observing) answer
}{
	{check: "statement.aud", how: "slash", send: statements(with("aud", issuer+"/register/"))},
	{check: "statement.aud", how: "issuer", send: statements(with("aud", issuer))},
	{check: "statement.aud", how: "base", send: statements(with("aud", []string{udaptest.Base}))},
	{check: "statement.exp", how: "absent", send: statements(with("exp", forge.Absent))},
	{check: "statement.exp", how: "a string", send: statements(with("exp", "soon"))},
	{check: "statement.exp", how: "expired", send: statements(expired)},
	{check: "statement.iat", how: "absent", send: statements(with("iat", forge.Absent))},
	{check: "statement.iat", how: "ahead", send: statements(ahead)},
	{check: "statement.lifetime", send: statements(longLived)},
	{check: "statement.nbf", send: statements(with("nbf", 99999999999))},
	{check: "statement.jti", send: statements(with("jti", forge.Absent))},
	{check: "statement.jti", how: "a number", send: statements(with("jti", 7))},
	{check: "register.jti", send: []func(*observing) answer{statementTwice}},
	{check: "assertion.aud", how: "http", send: assertions(with("aud", "http://fhir.test/oauth/token"))},
	{check: "assertion.aud", how: "port", send: assertions(with("aud", "https://FHIR.test:8443/oauth/token"))},
	{
		check: "assertion.aud", how: "two",
		send: assertions(with("aud", []string{issuer + "/token", "https://a.test/"})),
	},
	{check: "assertion.exp", how: "milliseconds", send: assertions(with("exp", 1795348800000))},
	{check: "assertion.exp", how: "expired", send: assertions(expired)},
	{check: "assertion.iat", how: "absent", send: assertions(with("iat", forge.Absent))},
	{check: "assertion.iat", how: "ahead", send: assertions(ahead)},
	{check: "assertion.lifetime", send: assertions(longLived)},
	{check: "assertion.nbf", send: assertions(with("nbf", "now"))},
	{check: "assertion.jti", send: assertions(with("jti", ""))},
	{check: "client.jti", send: []func(*observing) answer{assertionTwice}},
	{check: "assertion.client_id", send: assertions(nil, "client_id", "another")},
	{check: "client.udap", send: assertions(nil, "udap", "2")},
	{check: "client.assertion_type", send: assertions(nil, "client_assertion_type", "jwt-bearer")},
	{check: "client.secret", send: assertions(nil, "client_secret", "a-secret-of-the-test-that-is-long")},
	{check: "request.query", send: []func(*observing) answer{posted("/oauth/token?scope=x", formType)}},
	{check: "request.type", send: []func(*observing) answer{posted("/oauth/token", "text/plain")}},

	{check: "register.udap", send: []func(*observing) answer{version(1), version(forge.Absent)}},
	{check: "register.scope", send: []func(*observing) answer{scopes("system/Patient.rs system/*.cruds")}},
	{check: "registration.client_name", send: statements(with("client_name", forge.Absent))},
	{
		check: "registration.token_endpoint_auth_method",
		send:  statements(with("token_endpoint_auth_method", "client_secret_basic")),
	},
	{
		check: "registration.redirect_uris", how: "none is left",
		send: statements(with("redirect_uris", []string{"http://a.test/cb"})),
	},
	{check: "registration.response_types", send: statements(with("response_types", []string{"token"}))},
	{check: "registration.contacts", send: statements(with("contacts", []string{"op@client1.test"}))},
	{check: "registration.logo_uri", send: statements(with("logo_uri", "http://a.test/logo.png"))},
	{
		check: "registration.scope", how: "two spaces",
		send: []func(*observing) answer{scopes("system/Patient.rs  system/Observation.rs")},
	},
	{check: "registration.uris", send: statements(with("tos_uri", "ftp://a.test/"))},
	{
		check: "registration.required", send: statements(with("x", "y")),
		policy: func(p *udap.Policy) { p.RequiredMetadata = []string{"client_uri"} },
	},
	{
		check: "certification.required", send: statements(with("x", "y")),
		policy: func(p *udap.Policy) { p.CertificationsNeeded = []string{"https://certified.test/"} },
	},

	{check: "authorize.parameters", send: browsed(func(q url.Values) { q.Add("nonce", "a"); q.Add("nonce", "b") })},
	{check: "authorize.response_type", send: browsed(func(q url.Values) { q.Set("response_type", "token") })},
	{check: "authorize.state", send: browsed(func(q url.Values) { q.Del("state") })},
	{check: "authorize.pkce", how: "none", send: browsed(withoutPKCE)},
	{check: "authorize.pkce", how: "plain", send: browsed(func(q url.Values) { q.Set("code_challenge_method", "plain") })},
	{check: "authorize.aud", send: browsed(func(q url.Values) { q.Set("aud", "https://elsewhere.test/") })},
	{check: "authorize.prompt", send: browsed(func(q url.Values) { q.Set("prompt", "often") })},
	{
		check: "authorize.scope", send: browsed(func(q url.Values) { q.Del("scope") }),
		policy: func(p *udap.Policy) { p.ScopeRequired = true },
	},
	{
		check: "token.scope", send: []func(*observing) answer{business(nil, "scope", "-")},
		policy: func(p *udap.Policy) { p.ScopeRequired = true },
	},
	{check: "token.extension", send: object(udap.B2BKey, udaptest.B2B(), "consent_policy", manyURIs())},
	{check: "b2b.object", how: "none", send: []func(*observing) answer{business(with("extensions", forge.Absent))}},
	{
		check: "b2b.object", how: "a string",
		send: []func(*observing) answer{business(with("extensions", map[string]any{udap.B2BKey: "{}"}))},
	},
	{check: "b2b.version", send: object(udap.B2BKey, udaptest.B2B(), "version", 1)},
	{check: "b2b.organization", send: object(udap.B2BKey, udaptest.B2B(), "organization_id", "acme")},
	{check: "b2b.purpose_of_use", send: object(udap.B2BKey, udaptest.B2B(), "purpose_of_use", "TREAT")},
	{check: "b2b.subject", send: object(udap.B2BKey, udaptest.B2B(), "subject_name", 5)},
	{check: "b2b.consent", send: object(udap.B2BKey, udaptest.B2B(), "consent_policy", "urn:a:b")},
	{check: "user.object", policy: userRequired, send: []func(*observing) answer{business(nil)}},
	{check: "user.version", policy: userRequired, send: object(udap.B2BUserKey, user(), "version", 1)},
	{check: "user.purpose_of_use", policy: userRequired, send: object(udap.B2BUserKey, user(), "purpose_of_use", 1)},
	{check: "user.person", policy: userRequired, send: object(udap.B2BUserKey, user(), "user_person", "Ann")},
	{check: "user.consent", policy: userRequired, send: object(udap.B2BUserKey, user(), "consent_policy", "urn:a:b")},
}

func userRequired(p *udap.Policy) { p.B2BUser = udap.UserRequired }

func withoutPKCE(q url.Values) {
	q.Del("code_challenge")
	q.Del("code_challenge_method")
}

func manyURIs() []string {
	return slices.Repeat([]string{"https://a.test/" + strings.Repeat("p", 600)}, 20)
}

// moved returns claims whose times are that far from what they were, and keeps their
// distance.
func moved(c udaptest.Claims, d time.Duration) udaptest.Claims {
	seconds := int64(d / time.Second)
	return c.With("iat", c["iat"].(int64)+seconds).With("exp", c["exp"].(int64)+seconds)
}

func expired(c udaptest.Claims) udaptest.Claims { return moved(c, -time.Hour) }
func ahead(c udaptest.Claims) udaptest.Claims   { return moved(c, time.Hour) }

func longLived(c udaptest.Claims) udaptest.Claims { return c.With("exp", c["iat"].(int64)+301) }

// statementTwice sends a second statement, another one with the same jti.
func statementTwice(o *observing) answer {
	c := o.client(o.w.A, udaptest.Client1URI)
	claims := c.Statement(o.now())
	if first := o.env.register(c, claims); first.status != http.StatusCreated {
		o.t.Fatalf("%d %s", first.status, first.body)
	}
	return o.env.register(c, claims.With("client_name", "Another name"))
}

// assertionTwice sends a second authentication token with the same jti.
func assertionTwice(o *observing) answer {
	c, id := o.business()
	claims := udaptest.Assertion(id, o.now())
	if first := o.token(c, claims); first.status != http.StatusOK {
		o.t.Fatalf("%d %s", first.status, first.body)
	}
	return o.token(c, claims.With("nonce", "another"))
}

func posted(path, contentType string) func(*observing) answer {
	return func(o *observing) answer {
		c, id := o.business()
		form := o.form(c.Sign(o.t, udaptest.Assertion(id, o.now())))
		return o.send("POST", path, contentType, form.Encode(), nil)
	}
}

func version(v any) func(*observing) answer {
	return func(o *observing) answer {
		c := o.client(o.w.A, udaptest.Client1URI)
		body := o.registerBody(c.Sign(o.t, c.Statement(o.now())), map[string]any{"udap": v})
		return o.send("POST", "/oauth/register", "application/json", body, nil)
	}
}

func scopes(text string) func(*observing) answer {
	return func(o *observing) answer {
		c := o.client(o.w.A, udaptest.Client1URI)
		return o.env.register(c, c.Statement(o.now()).With("scope", text))
	}
}

// done reports whether an answer gives what was asked for.
func done(a answer) bool {
	if a.status == http.StatusSeeOther {
		return strings.Contains(a.header.Get("Location"), "code=")
	}
	return a.status < 300
}

// observed returns the names of the checks whose refusals were noted, each once.
func observed(tr *trace.Trace) []string {
	var names []string
	for _, s := range tr.Observations() {
		names = append(names, s.Check)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// A client that has one tolerated mistake is refused by that check, and gets through
// with a note by that check alone where the destination observes.
func TestToleratedMistakesAreNoted(t *testing.T) {
	shown := map[string]bool{}
	for _, row := range tolerances {
		shown[row.check] = true
		for i, send := range row.send {
			t.Run(row.check+" "+row.how+" "+string(rune('a'+i)), func(t *testing.T) {
				strict := newObserving(t, nil, row.policy)
				a := send(strict)
				if tr := strict.lastTrace(); done(a) && row.check != "registration.redirect_uris" || tr.RefusedBy != row.check ||
					len(tr.Observations()) > 0 {
					t.Fatalf("strict: %d %s, refused by %q", a.status, a.body, tr.RefusedBy)
				}

				lenient := newObserving(t, observe.Tolerated, row.policy)
				a = send(lenient)
				tr := lenient.lastTrace()
				if !done(a) || tr.Code != "" || tr.RefusedBy != "" {
					t.Errorf("observing: %d %s %s, refused by %q", a.status, a.header.Get("Location"), a.body, tr.RefusedBy)
				}
				if got := observed(tr); !slices.Equal(got, []string{row.check}) {
					t.Errorf("noted %q", got)
				}
			})
		}
	}

	for _, name := range observe.Names() {
		if !shown[name] {
			t.Errorf("no mistake shows that %s is tolerated", name)
		}
	}
}

// The pages for people parse the request again, with a trace of their own: what was
// noted when it came does not end it then.
func TestObservedRequestsReachTheirEnd(t *testing.T) {
	for _, tolerated := range []trace.Tolerance{nil, observe.Tolerated} {
		o := newObserving(t, tolerated, nil)
		q := o.person().query()
		q.Del("state")
		tr := trace.NewTrace("consent", o.now())
		_, err := o.svc.ParseAuthorization(t.Context(), q.Encode(), tr)
		if (err == nil) != (tolerated != nil) || len(tr.Observations()) == 1 != (tolerated != nil) {
			t.Errorf("observing %v: %v, noted %q", tolerated != nil, err, observed(tr))
		}
	}
}

// What signature, trust and identity refuse is refused where the destination observes,
// too, by the same check; every mistake of the catalogue that is tolerated gets
// through.
func TestObservingNeverTrustsMore(t *testing.T) {
	o := newObserving(t, observe.Tolerated, nil)
	c, id := o.business()
	client := (*forge.Client)(c)
	for _, d := range []fault.Document{fault.Statement, fault.Assertion} {
		for _, f := range fault.All() {
			if !f.In(d) {
				continue
			}
			t.Run(string(d)+"/"+f.Name, func(t *testing.T) {
				good := forge.Statement(c.URI, issuer+"/register", o.now())
				if d == fault.Assertion {
					good = forge.Assertion(id, issuer+"/token", o.now())
				}
				compact, err := f.Make(client, good, o.now())
				if err != nil {
					t.Fatal(err)
				}

				a := o.present(d, compact)
				tr := o.lastTrace()
				tolerated := observe.Tolerated(f.CheckIn(d)) && !strings.Contains(f.Name, "aud")
				if done(a) != tolerated || !tolerated && tr.RefusedBy != f.CheckIn(d) {
					t.Errorf("%d %s, refused by %q, noted %q", a.status, a.body, tr.RefusedBy, observed(tr))
				}
				if tolerated && !slices.Contains(observed(tr), f.CheckIn(d)) {
					t.Errorf("noted %q", observed(tr))
				}
			})
		}
	}
}

// present sends a JWT to the endpoint for its kind.
func (o *observing) present(d fault.Document, compact string) answer {
	if d == fault.Assertion {
		return o.post("/oauth/token", o.form(compact))
	}
	return o.send("POST", "/oauth/register", "application/json", o.registerBody(compact, nil), nil)
}

// Certificates that are not trusted, and other clients' keys, get nothing however much
// else is tolerated.
func TestObservingRefusesStrangers(t *testing.T) {
	o := newObserving(t, observe.Tolerated, nil)
	c, id := o.business()
	claims := udaptest.Assertion(id, o.now()).With("exp", forge.Absent)
	stranger := o.w.ClientWith(t, o.w.X.Int, c.URI, udaptest.Key(t, certs.KeyKind("p256"), 51), nil)
	neighbour := o.client(o.w.A, "https://neighbour.test/app")
	member := o.client(o.w.B, c.URI)
	other := o.registered(neighbour)

	for name, a := range map[string]answer{
		"a stranger's certificate":      o.token(stranger, claims),
		"a neighbour's certificate":     o.token(neighbour, claims),
		"another community's":           o.token(member, claims),
		"a neighbour's client_id":       o.token(c, claims.With("iss", other).With("sub", other)),
		"an unknown client_id":          o.token(c, claims.With("iss", "x").With("sub", "x")),
		"a statement of a stranger":     o.env.register(stranger, stranger.Statement(o.now())),
		"a statement for another's URI": o.env.register(neighbour, c.Statement(o.now())),
		"a JWT for another server":      o.token(c, claims.With("aud", "https://elsewhere.test/oauth/token")),
		"a JWT for other servers":       o.token(c, claims.With("aud", []string{"https://a.test/", "https://b.test/"})),
		"a JWT for any server":          o.token(c, claims.With("aud", forge.Absent)),
		"a statement for another server": o.env.register(c,
			c.Statement(o.now()).With("aud", "https://fhir.test/other/oauth/register")),
	} {
		if done(a) || a.text("access_token")+a.text("client_id") != "" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}

	o.w.Publish(t, o.w.A.Int, c.Leaf().SerialNumber)
	o.advance(time.Second)
	if a := o.token(c, udaptest.Assertion(id, o.now())); done(a) {
		t.Errorf("a revoked certificate: %d %s", a.status, a.body)
	}
}

// The same JWT is never accepted twice, now or much later, whatever times and jti it
// has: those who see it in a session cannot act as its client.
func TestObservedJWTsAreUsedOnce(t *testing.T) {
	for name, change := range map[string]edit{
		"good":         func(c udaptest.Claims) udaptest.Claims { return c },
		"expired":      expired,
		"ahead":        ahead,
		"without exp":  with("exp", forge.Absent),
		"without jti":  with("jti", forge.Absent),
		"of ten years": func(c udaptest.Claims) udaptest.Claims { return c.With("exp", c["iat"].(int64)+10*365*86400) },
	} {
		t.Run(name, func(t *testing.T) {
			o := newObserving(t, observe.Tolerated, nil)
			c, id := o.business()
			compact := c.Sign(t, change(udaptest.Assertion(id, o.now())))
			statement := c.Sign(t, change(c.Statement(o.now())))
			if a := o.present(fault.Assertion, compact); !done(a) {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if a := o.present(fault.Statement, statement); !done(a) {
				t.Fatalf("%d %s", a.status, a.body)
			}

			for _, later := range []time.Duration{0, 10 * time.Minute, 30 * 24 * time.Hour} {
				o.later(later)
				for d, text := range map[fault.Document]string{fault.Assertion: compact, fault.Statement: statement} {
					a := o.present(d, text)
					tr := o.lastTrace()
					if done(a) || !strings.HasSuffix(tr.RefusedBy, ".jti") {
						t.Errorf("after %s, the %s: %d %s, by %q", later, d, a.status, a.body, tr.RefusedBy)
					}
				}
			}
		})
	}
}
