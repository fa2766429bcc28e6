package oauth_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// clientEnv is an environment with client1 of community A registered.
func clientEnv(t *testing.T, edit ...func(*oauth.Config)) (*env, *udaptest.Client, trace.ClientID) {
	t.Helper()
	e := newEnv(t, edit...)
	c := e.client(e.w.A, udaptest.Client1URI)
	return e, c, e.registered(c)
}

// Covers: S1-172, S1-173, S1-174, S1-176, S1-229, case 016, case 037, case 041, case 044, case 057, case 059, case 136
func TestAssertionSignatureAndTrust(t *testing.T) {
	e, c, id := clientEnv(t)
	claims := udaptest.Assertion(id, e.now())
	alg := jose.AlgorithmFor(c.Key.Public())
	good := c.Sign(t, claims)
	segments := strings.Split(good, ".")
	for name, jws := range map[string]string{
		"alg none":      udaptest.Segment([]byte(`{"alg":"none"}`)) + "." + segments[1] + ".",
		"four segments": good + ".x",
		"no signature":  segments[0] + "." + segments[1] + ".",
		"payload changed": segments[0] + "." + udaptest.Segment(
			claims.With("scope", "system/Patient.rs").JSON(t)) + "." + segments[2],
		"other key": udaptest.Raw{
			Alg: alg,
			Key: udaptest.Key(t, e.w.Kind, 40),
		}.Sign(t, udaptest.Header(alg, c.Chain...), claims.JSON(t)),
		"issuer's key": udaptest.Raw{
			Alg: alg,
			Key: e.w.A.Int.Key,
		}.Sign(t, udaptest.Header(alg, c.Chain...), claims.JSON(t)),
		"no x5c":          udaptest.Raw{Alg: alg, Key: c.Key}.Sign(t, udaptest.Header(alg), claims.JSON(t)),
		"leaf not first":  c.SignChain(t, claims, c.Chain[1], c.Chain[0]),
		"untrusted root":  e.client(e.w.X, udaptest.Client1URI).Sign(t, claims),
		"other community": e.client(e.w.B, udaptest.Client1URI).Sign(t, claims),
		"client2's leaf":  e.client(e.w.A, udaptest.Client2URI).Sign(t, claims),
		"expired leaf": e.w.Client(t, e.w.A.Int, udaptest.Client1URI, func(tpl *certs.Template) {
			tpl.NotAfter = e.w.Now.Add(-time.Second)
		}).Sign(t, claims),
		"DNS name only": e.w.Client(t, e.w.A.Int, "", func(tpl *certs.Template) {
			tpl.URIs, tpl.DNS = nil, []string{"client1.test"}
		}).Sign(t, claims),
		"not a JWS at all": "x",
		"a statement":      c.Sign(t, c.Statement(e.now())),
	} {
		t.Run(name, func(t *testing.T) {
			e.refused(name, 400, "invalid_client", spendsNothing, func() answer {
				return e.post("/oauth/token", e.form(jws))
			})
		})
	}

	if a := e.post("/oauth/token", e.form(good)); a.status != 200 {
		t.Errorf("the good one: %d %s", a.status, a.body)
	}
}

// Covers: case 070
func TestRevokedAfterRegistration(t *testing.T) {
	e, c, id := clientEnv(t)
	e.issued(c, id)
	e.w.Publish(t, e.w.A.Int, c.Leaf().SerialNumber)
	e.refused("token", 400, "invalid_client", spendsNothing, func() answer {
		return e.token(c, udaptest.Assertion(id, e.now()))
	})
	e.refused("registration", 400, "unapproved_software_statement", spendsNothing, func() answer {
		return e.register(c, c.Statement(e.now()))
	})
}

// Covers: S1-153, S1-154, S1-155, S1-157, S1-158, S1-160, S1-177, S1-178, S1-179, S1-180,
// S1-181, S2-19, case 143, case 144, case 145, case 148, case 149, case 150
func TestAssertionClaims(t *testing.T) {
	e, c, id := clientEnv(t)
	other := e.registered(e.client(e.w.A, udaptest.Client2URI))
	foreign := e.registered(e.client(e.w.B, udaptest.Client1URI))
	now := e.now().Unix()
	for _, tc := range []struct {
		claim  string
		values []any
	}{
		{"iss", []any{udaptest.Client1URI, udaptest.Absent, nil, 1, string(other)}},
		{
			"sub",
			[]any{udaptest.Client1URI, udaptest.Absent, nil, string(other), "unknown", strings.ToUpper(string(id))},
		},
		{"aud", []any{udaptest.Registration, udaptest.Base, issuer, e.server.URL + "/oauth/token", issuer +
			"/introspect", "https://other.test/token", []string{udaptest.Token, udaptest.Base},
			udaptest.Token + "/", strings.ToUpper(udaptest.Token), []string{}, udaptest.Absent, nil}},
		{
			"exp",
			[]any{
				udaptest.Absent, nil, fmt.Sprint(now + 300), -1, 0, true, now - 61, now + 301,
				now + 3600, json.Number("1e400"), float64(1 << 53), (now + 300) * 1000,
			},
		},
		{"iat", []any{udaptest.Absent, fmt.Sprint(now), now + 61, now + 3600, now - 86400, nil}},
		{"nbf", []any{now + 120, fmt.Sprint(now)}},
		{"jti", []any{udaptest.Absent, "", nil, 1, []string{"x"}}},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			for _, v := range tc.values {
				name := fmt.Sprintf("%s %v", tc.claim, v)
				if n, ok := v.(json.Number); ok && n == "1e400" {
					continue // what Go cannot write a client in another language can: the udap tests send it raw
				}
				e.refused(name, 400, "invalid_client", spendsNothing, func() answer {
					return e.token(c, udaptest.Assertion(id, e.now()).With(tc.claim, v))
				})
			}
		})
	}

	for _, pair := range []trace.ClientID{
		"unknown", trace.ClientID(strings.ToUpper(string(id))), trace.ClientID(udaptest.Client1URI),
		other, foreign,
	} {
		e.refused("iss and sub "+string(pair), 400, "invalid_client", spendsNothing, func() answer {
			return e.token(c, udaptest.Assertion(pair, e.now()))
		})
	}

	e.refused("client_id", 400, "invalid_client", spendsNothing, func() answer {
		return e.token(c, udaptest.Assertion(id, e.now()), "client_id", string(other))
	})
	if a := e.token(c, udaptest.Assertion(id, e.now()).With("aud", []string{udaptest.Token}), "client_id",
		string(id)); a.status != 200 {
		t.Errorf("aud as an array of one, and client_id: %d %s", a.status, a.body)
	}
}

// Covers: S1-146, S1-147, S1-164, S1-165, S1-169, S1-172, S1-170, S1-171, S1-183, S1-203,
// S1-209, S2-20, case 137, case 138, case 139, case 140, case 141, case 154
func TestTokenParameters(t *testing.T) {
	e, c, id := clientEnv(t)
	assertion := c.Sign(t, udaptest.Assertion(id, e.now()))
	send := func(params ...string) func() answer {
		form := e.form(assertion)
		set(form, params)
		return func() answer { return e.post("/oauth/token", form) }
	}

	for name, tc := range map[string]struct {
		codes  string
		params []string
	}{
		"client_secret": {
			"invalid_request",
			[]string{"client_secret", "x"},
		},
		"no udap": {"invalid_request", []string{"udap", "-"}}, "udap 2": {"invalid_request", []string{"udap", "2"}}, "udap empty": {"invalid_request", []string{"udap", ""}},
		"no type": {
			"invalid_request",
			[]string{"client_assertion_type", "-"},
		}, "empty type": {"invalid_request", []string{"client_assertion_type", ""}},
		"grant as type": {
			"invalid_request",
			[]string{"client_assertion_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"},
		},
		"saml": {
			"invalid_request",
			[]string{"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
		},
		"no assertion": {
			"invalid_request",
			[]string{"client_assertion", "-"},
		}, "empty assertion": {"invalid_request", []string{"client_assertion", ""}},
		"no grant": {"invalid_request", []string{"grant_type", "-"}},
		"password": {"unsupported_grant_type", []string{"grant_type", "password"}},
		"implicit": {"unsupported_grant_type", []string{"grant_type", "implicit"}},
		"jwt-bearer": {
			"unsupported_grant_type",
			[]string{"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"},
		},
		"exchange": {
			"unsupported_grant_type",
			[]string{"grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"},
		},
		"device code": {
			"unsupported_grant_type",
			[]string{"grant_type", "urn:ietf:params:oauth:grant-type:device_code"},
		},
		"upper case": {"unsupported_grant_type", []string{"grant_type", "CLIENT_CREDENTIALS"}},
	} {
		t.Run(name, func(t *testing.T) {
			e.refused(name, 400, tc.codes, spendsNothing, send(tc.params...))
		})
	}

	for _, name := range []string{
		"grant_type", "scope", "client_assertion", "udap", "client_assertion_type", "unknown",
	} {
		form := e.form(assertion)
		form.Set("unknown", "x")
		form.Add(name, form.Get(name))
		e.refused(name+" twice", 400, "invalid_request", spendsNothing, func() answer {
			return e.post("/oauth/token", form)
		})
		single := e.form(assertion)
		e.refused(name+" in the query", 400, "invalid_request", spendsNothing, func() answer {
			return e.post("/oauth/token?"+name+"="+url.QueryEscape(single.Get(name)), single)
		})
	}

	for header, challenge := range map[string]string{
		"Basic Y2xpZW50OnNlY3JldA==": "Basic",
		"Bearer junk":                "Bearer",
		"":                           "Bearer",
		"DPoP x":                     "Bearer",
	} {
		t.Run(header, func(t *testing.T) {
			a := e.refused("Authorization "+header, 401, "invalid_client", spendsNothing, func() answer {
				return e.send("POST", "/oauth/token", "application/x-www-form-urlencoded", e.form(assertion).Encode(),
					http.Header{
						"Authorization": {header},
					})
			})
			if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), challenge+" ") {
				t.Errorf("%q: WWW-Authenticate %q", header, a.header.Get("WWW-Authenticate"))
			}
		})
	}

	if a := send("unknown", "ignored")(); a.status != 200 {
		t.Errorf("after all these the assertion is good still: %d %s", a.status, a.body)
	}
}

// Covers: S1-163, S1-183, case 141, case 142
func TestTokenTransport(t *testing.T) {
	e, c, id := clientEnv(t)
	form := e.form(c.Sign(t, udaptest.Assertion(id, e.now())))

	for _, method := range []string{"GET", "HEAD", "PUT", "OPTIONS", "TRACE"} {
		if a := e.send(method, "/oauth/token?"+form.Encode(), "", "", nil); a.status != 405 ||
			a.header.Get("Allow") != "POST" {
			t.Errorf("%s: %d, Allow %q", method, a.status, a.header.Get("Allow"))
		}
	}

	for _, contentType := range []string{
		"application/json", "multipart/form-data; boundary=x", "", "text/plain",
		formType + "; charset=utf-16",
	} {
		e.refused("type "+contentType, 415, "invalid_request", spendsNothing, func() answer {
			return e.send("POST", "/oauth/token", contentType, form.Encode(), nil)
		})
	}

	long := e.form(form.Get("client_assertion"))
	long.Set("x", strings.Repeat("a", 5<<20))
	e.refused("5 MiB", 413, "invalid_request", spendsNothing, func() answer { return e.post("/oauth/token", long) })
	many := e.form(form.Get("client_assertion"))
	for i := range 20_000 {
		many.Set(fmt.Sprint("p", i), "1")
	}
	e.refused("20,000 parameters", 400, "invalid_request", spendsNothing, func() answer {
		return e.post("/oauth/token", many)
	})

	e.refused("loose percent", 400, "invalid_request", spendsNothing, func() answer {
		return e.send("POST", "/oauth/token", formType, form.Encode()+"&x=%zz", nil)
	})
	e.truncated("/oauth/token", form.Encode())
	if a := e.post("/oauth/token", form); a.status != 200 {
		t.Errorf("after all these the assertion is good still: %d %s", a.status, a.body)
	}
}

// truncated sends a body that ends before its Content-Length and asserts that
// nothing came of it.
func (e *env) truncated(path, body string) {
	e.t.Helper()
	before, jti := e.dump(), e.store.LiveJTI()
	c := e.dial()
	fmt.Fprintf(c,
		"POST %s HTTP/1.1\r\nHost: fhir.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", path, len(body)+10, body)
	_ = c.CloseWrite()
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Minute))
	answer, _ := io.ReadAll(c)

	_ = c.Close()
	if bytes.Contains(answer, []byte("access_token")) || bytes.Contains(answer, []byte(" 200 ")) {
		e.t.Errorf("a truncated body was acted on: %s", answer)
	}

	if e.dump() != before || e.store.LiveJTI() != jti {
		e.t.Error("a truncated body left something behind")
	}
}

// Covers: case 089, case 092, case 150, case 152
func TestAssertionIsSpentOnce(t *testing.T) {
	e, c, id := clientEnv(t)
	good := e.form(c.Sign(t, udaptest.Assertion(id, e.now())))
	if a := e.post("/oauth/token", good); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	a := e.refused("again", 400, "invalid_client", spendsNothing, func() answer {
		return e.post("/oauth/token", good)
	})
	if !strings.Contains(a.text("error_description"), "token endpoint") {
		t.Errorf("where it was used: %s", a.body)
	}

	for name, params := range map[string][]string{
		"bad scope": {"scope", "system/Device.rs"},
		"wildcard":  {"scope", "system/*.rs"},
		"grant":     {"grant_type", "refresh_token"},
	} {
		t.Run(name, func(t *testing.T) {
			form := e.form(c.Sign(t, udaptest.Assertion(id, e.now())))
			bad := url.Values{}
			for k, v := range form {
				bad[k] = slices.Clone(v)
			}
			set(bad, params)
			e.refused(name, 400, "invalid_scope unauthorized_client", spendsJTI, func() answer {
				return e.post("/oauth/token", bad)
			})

			e.refused("the same with a good request", 400, "invalid_client", spendsNothing, func() answer {
				return e.post("/oauth/token", form)
			})
		})
	}

	e.restart()
	e.refused("after a restart", 400, "invalid_client", spendsNothing, func() answer {
		return e.post("/oauth/token", good)
	})
	same := udaptest.Assertion(id, e.now())
	same2 := e.registered(e.client(e.w.A, udaptest.Client2URI))
	c2 := e.client(e.w.A, udaptest.Client2URI)
	e.token(c, same)

	if a := e.token(c2, udaptest.Assertion(same2, e.now()).With("jti", same["jti"])); a.status != 200 {
		t.Errorf("another client's jti: %d %s", a.status, a.body)
	}
}

// Covers: case 089, case 150
func TestOneAssertionManyTimes(t *testing.T) {
	e, c, id := clientEnv(t)
	form := e.form(c.Sign(t, udaptest.Assertion(id, e.now())))
	var good, refused atomic.Int32
	var wg sync.WaitGroup

	for range 200 {
		wg.Go(func() {
			a := e.post("/oauth/token", form)
			switch {
			case a.status == 200:
				good.Add(1)
				e.secret(a.text("access_token"))
			case a.status == 400 && a.text("error") == "invalid_client":
				refused.Add(1)
			}
		})
	}

	wg.Wait()
	if good.Load() != 1 || refused.Load() != 199 {
		t.Errorf("%d tokens, %d refusals of 200 copies", good.Load(), refused.Load())
	}
}

// Covers: S1-182, S2-15, S2-16, S2-14, case 153, case 155, case 162
func TestTokenScope(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	id := e.registered(c, with("scope", "system/Patient.rs system/Observation.rs?category=laboratory"))

	for asked, want := range map[string]string{
		"system/Patient.rs": "system/Patient.rs", "system/Patient.r": "system/Patient.r", "system/Patient.read": "system/Patient.read",
		"system/Patient.cruds": "system/Patient.rs", "system/Patient.rs system/Condition.rs openid user/Patient.rs": "system/Patient.rs",
		"system/Observation.rs": "system/Observation.rs?category=laboratory", "system/Observation.rs?category=laboratory": "system/Observation.rs?category=laboratory",
	} {
		t.Run(asked, func(t *testing.T) {
			a := e.token(c, udaptest.Assertion(id, e.now()), "scope", asked)
			if a.status != 200 || a.text("scope") != want {
				t.Errorf("%s: %d, %q, want %q", asked, a.status, a.text("scope"), want)
			}
		})
	}

	for _, asked := range []string{"system/Condition.rs", "patient/Patient.rs", "user/Patient.rs", "openid", "offline_access launch", "system/*.rs", "system/Patient.rs system/*.read", "system/Patient.*",
		"system/Patient.rs?_id=1", "system/Patient.rs  system/Patient.r", " system/Patient.rs", "system/Patient.sr", "system/Observation.rs?category=vital-signs", strings.Repeat("system/Patient.rs ", 1001) + "x"} {
		e.refused("scope "+asked[:min(len(asked), 60)], 400, "invalid_scope", spendsJTI, func() answer {
			return e.token(c, udaptest.Assertion(id, e.now()), "scope", asked)
		})
	}

	narrow := udaptest.Assertion(id, e.now()).With("scope", "system/Patient.r")
	e.refused("beyond the scope claim", 400, "invalid_scope", spendsJTI, func() answer { return e.token(c, narrow) })
	if a := e.token(c, narrow.With("jti", udaptest.JTI()), "scope",
		"system/Patient.r system/Patient.rs"); a.status != 200 || a.text("scope") != "system/Patient.r" {
		t.Errorf("narrowed by the scope claim: %d %s", a.status, a.body)
	}

	for _, grant := range []string{"authorization_code", "refresh_token"} {
		e.refused(grant, 400, "unauthorized_client", spendsJTI, func() answer {
			return e.token(c, udaptest.Assertion(id, e.now()), "grant_type", grant)
		})
	}
}

// A token request without scope gets the registered ones, with a warning, and is
// refused where the community's policy says so (UDAP Security 2.0, 7.3).
//
// Covers: S2-15, case 155, D-44
func TestTokenWithoutScope(t *testing.T) {
	for _, edition := range []int{1, 2} {
		for _, required := range []bool{false, true} {
			for _, absent := range []string{"-", ""} {
				name := fmt.Sprintf("edition %d, required %v, %q", edition, required, absent)
				t.Run(name, func(t *testing.T) { testTokenWithoutScope(t, edition, required, absent) })
			}
		}
	}
}

func testTokenWithoutScope(t *testing.T, edition int, required bool, absent string) {
	e, c, id := clientEnv(t, func(c *oauth.Config) {
		p := &c.Verifier.Communities[0].Policy
		p.Edition, p.ScopeRequired = edition, required
	})
	if required {
		e.refused("no scope", 400, "invalid_scope", spendsJTI, func() answer {
			return e.token(c, udaptest.Assertion(id, e.now()), "scope", absent)
		})
		return
	}

	const registered = "system/Patient.rs system/Observation.rs"
	a := e.token(c, udaptest.Assertion(id, e.now()), "scope", absent)
	if a.status != 200 || a.text("scope") != registered || !warned(e.lastTrace(), "token.scope") {
		t.Errorf("%d %s, warnings %+v", a.status, a.body, e.lastTrace().Warnings())
	}
	narrow := udaptest.Assertion(id, e.now()).With("scope", "system/Patient.rs")
	if a := e.token(c, narrow, "scope", absent); a.text("scope") != "system/Patient.rs" {
		t.Errorf("narrowed by the scope claim: %d %s", a.status, a.body)
	}
}

// A request that would take too long to compare is refused, and not granted in part.
//
// Covers: case 155, case 237, D-39
func TestTooManyScopes(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	var many []string
	for i := range 800 {
		many = append(many, fmt.Sprintf("system/Observation.rs?category=c%d", i))
	}
	id := e.registered(c, with("scope", strings.Join(many, " ")))
	e.refused("a type, of 800 scopes", 400, "invalid_scope", spendsJTI, func() answer {
		return e.token(c, udaptest.Assertion(id, e.now()), "scope", "system/Observation.rs")
	})

	if a := e.token(c, udaptest.Assertion(id, e.now()), "scope", many[7]); a.text("scope") != many[7] {
		t.Errorf("one of them: %d %s", a.status, a.body)
	}
}

// Covers: S2-03, S2-14, case 155
func TestWildcardsWhereSupported(t *testing.T) {
	e := newEnv(t, func(c *oauth.Config) { c.Scopes = catalogue(t, "system/*.rs", "system/Patient.rs") })
	c := e.client(e.w.A, udaptest.Client1URI)
	id := e.registered(c, with("scope", "system/*.rs"))
	if a := e.token(c, udaptest.Assertion(id, e.now()), "scope", "system/*.rs"); a.text("scope") != "system/*.rs" {
		t.Errorf("%d %s", a.status, a.body)
	}
	id = e.registered(c, with("scope", "system/Patient.rs"))
	if a := e.token(c, udaptest.Assertion(id, e.now()), "scope",
		"system/*.rs"); a.text("scope") != "system/Patient.rs" {
		t.Errorf("a wildcard is expanded to what was registered: %d %s", a.status, a.body)
	}
}

// Covers: S2-15, case 155
func TestEditionOne(t *testing.T) {
	e, c, id := clientEnv(t, func(c *oauth.Config) {
		c.Verifier.Communities[0].Policy = udap.Policy{Edition: 1, PurposeCodes: udap.PurposeAny}
	})
	b2b := udaptest.B2B()
	b2b["purpose_of_use"] = []string{"TREAT"}
	a := e.token(c, udaptest.Assertion(id, e.now()).With("extensions", map[string]any{udap.B2BKey: b2b}), "scope", "-")
	if a.status != 200 || a.text("scope") != "system/Patient.rs system/Observation.rs" {
		t.Fatalf("%d %s", a.status, a.body)
	}

	if tr := e.lastTrace(); !warned(tr, "token.scope") || !warned(tr, "b2b.purpose_of_use") {
		t.Errorf("what edition 2 will want is not said: %+v", tr.Warnings())
	}
}

// Covers: S1-198, S1-202, S1-210, S1-215, S1-217, S2-21, case 156, case 157
func TestB2B(t *testing.T) {
	e, c, id := clientEnv(t)
	refuse := func(name string, claims udaptest.Claims) {
		t.Helper()
		e.refused(name, 400, "invalid_grant", spendsJTI, func() answer { return e.token(c, claims) })
	}
	good := func() udaptest.Claims { return udaptest.Assertion(id, e.now()) }
	refuse("no extensions", good().With("extensions", udaptest.Absent))
	refuse("Extensions", good().With("extensions", udaptest.Absent).With("Extensions", map[string]any{
		udap.B2BKey: udaptest.B2B(),
	}))

	refuse("top level", good().With("extensions", udaptest.Absent).With(udap.B2BKey, udaptest.B2B()))
	refuse("extensions null", good().With("extensions", nil))
	refuse("extensions array", good().With("extensions", []any{}))
	for _, v := range []any{nil, []any{}, "x", 1} {
		refuse(fmt.Sprintf("hl7-b2b %v", v), good().With("extensions", map[string]any{udap.B2BKey: v}))
	}
	member := func(name string, values ...any) {
		for _, v := range values {
			b := udaptest.B2B()
			b[name] = v
			if v == udaptest.Absent {
				delete(b, name)
			}
			refuse(fmt.Sprintf("%s %.40s", name, fmt.Sprint(v)), good().With("extensions", map[string]any{
				udap.B2BKey: b,
			}))
		}
	}
	member("version", udaptest.Absent, 1, "2")

	member("organization_id", udaptest.Absent, "", "Acme", "/org", "https://a b.test")
	member("purpose_of_use", udaptest.Absent, []string{}, "urn:x#TREAT", []string{""}, []any{1}, []string{"TREAT"},
		make([]string, 1000))
	member("subject_id", "urn:x")
	member("subject_role", "207Q00000X")
	member("consent_policy", "x", []string{"x y"})
	member("consent_reference", []string{"https://a.test/Consent/1"})
	b := udaptest.B2B()
	b["consent_policy"], b["consent_reference"] = []string{"urn:policy"}, []string{e.canary + "/Consent/1"}

	if a := e.token(c, good().With("extensions", map[string]any{udap.B2BKey: b})); a.status != 200 && a.status != 400 {
		t.Errorf("consent_reference to the canary: %d", a.status) // and the canary saw nothing
	}
}

// Covers: case 156
func TestB2BOptionalByPolicy(t *testing.T) {
	e, c, id := clientEnv(t, func(c *oauth.Config) { c.Verifier.Communities[0].Policy.B2BOptional = true })
	if a := e.token(c, udaptest.Assertion(id, e.now()).With("extensions", udaptest.Absent)); a.status != 200 ||
		!warned(e.lastTrace(), "b2b.object") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Covers: S2-22, case 159, case 160, case 228
func TestContextBindsTheToken(t *testing.T) {
	e, c, id := clientEnv(t)
	tokens := map[string]string{}
	for _, purpose := range []string{"TREAT", "HPAYMT"} {
		b := udaptest.B2B()
		b["purpose_of_use"] = []string{"urn:oid:2.16.840.1.113883.5.8#" + purpose}
		a := e.token(c, udaptest.Assertion(id, e.now()).With("extensions", map[string]any{
			udap.B2BKey: b,
			"foo":       map[string]any{},
		}))
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}

		if !warned(e.lastTrace(), "token.extension") {
			t.Error("an unknown extension object was not noted")
		}
		tokens[purpose] = a.text("access_token")
	}

	many := map[string]any{udap.B2BKey: udaptest.B2B()}
	for i := range 1000 {
		many[fmt.Sprintf("%s-%d", strings.Repeat("x", 20), i)] = map[string]any{}
	}
	if a := e.token(c, udaptest.Assertion(id, e.now()).With("extensions", many)); a.status != 200 ||
		len(e.lastTrace().Steps) > 60 {
		t.Errorf("a thousand unknown extension objects: %d, a trace of %d steps", a.status, len(e.lastTrace().Steps))
	}

	for purpose, token := range tokens {
		access, err := e.bearer(token)
		if err != nil || !slices.Equal(access.Purposes, []string{"urn:oid:2.16.840.1.113883.5.8#" + purpose}) {
			t.Errorf("%s: %+v, %v", purpose, access, err)
		}
		a := e.tell("/oauth/introspect", c, id, token)
		if !bytes.Contains(a.body, []byte("#"+purpose)) || bytes.Contains(a.body, []byte("foo")) {
			t.Errorf("%s: introspection %s", purpose, a.body)
		}
	}
}

// Covers: S1-182, case 161
func TestResourcesClaim(t *testing.T) {
	e, c, id := clientEnv(t)
	e.refused("resources", 400, "invalid_request", spendsJTI, func() answer {
		return e.token(c, udaptest.Assertion(id, e.now()).With("resources", []any{"https://fhir.test/fhir/Patient/1"}))
	})
}

// Covers: case 179
func TestTokensAreRandomAndHashed(t *testing.T) {
	e, c, id := clientEnv(t)
	seen, half := map[string]bool{}, map[string]bool{}
	for range 300 {
		token := e.issued(c, id)
		if len(token) != 64 || seen[token] || half[token[:8]] || half[token[56:]] {
			t.Fatalf("token %s", token)
		}
		seen[token], half[token[:8]], half[token[56:]] = true, true, true
	}

	if d := e.dump(); slices.ContainsFunc(keys(seen), func(s string) bool {
		return strings.Contains(d, s) || strings.Contains(d, s[22:])
	}) {
		t.Error("a token's text is in the file")
	}
}

func keys(m map[string]bool) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	return out
}

// Covers: case 180
func TestNoOracleForClients(t *testing.T) {
	e, c, id := clientEnv(t, func(c *oauth.Config) { c.Explain = oauth.ExplainOperator })
	stranger := e.client(e.w.X, udaptest.Client1URI)
	var bodies []string

	for _, claims := range []udaptest.Claims{udaptest.Assertion(id, e.now()), udaptest.Assertion("unknown", e.now())} {
		for _, signer := range []*udaptest.Client{stranger, e.client(e.w.A, udaptest.Client2URI)} {
			bodies = append(bodies, string(e.refused("oracle", 400, "invalid_client", spendsNothing, func() answer {
				return e.token(signer, claims)
			}).body))
		}
	}

	bodies = append(bodies, string(e.refused("expired", 400, "invalid_client", spendsNothing, func() answer {
		return e.token(c, udaptest.Assertion(id, e.now().Add(-time.Hour)))
	}).body))
	for _, b := range bodies {
		if b != bodies[0] {
			t.Errorf("told apart: %s and %s", bodies[0], b)
		}
	}
}

// Covers: case 181, case 229
func TestTokenLimit(t *testing.T) {
	e, c, id := clientEnv(t, func(c *oauth.Config) { c.Limits.TokensPerClient = 10 })
	for range 5 {
		e.issued(c, id)
		e.tell("/oauth/introspect", c, id, "x")
	}

	a := e.refused("eleventh", 429, "temporarily_unavailable", spendsJTI, func() answer {
		return e.token(c, udaptest.Assertion(id, e.now()))
	})
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	e.refused("introspection too", 429, "temporarily_unavailable", spendsJTI, func() answer {
		return e.tell("/oauth/introspect", c, id, "x")
	})

	other := e.client(e.w.A, udaptest.Client2URI)
	e.issued(other, e.registered(other))
}
