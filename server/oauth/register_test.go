package oauth_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

const jsonType = "application/json"

func (e *env) postRegistration(body string) answer {
	e.t.Helper()
	return e.send("POST", "/oauth/register", jsonType, body, nil)
}

// changed is a registration by a client whose statement has one claim changed.
func (e *env) changed(c *udaptest.Client, base udaptest.Claims, name string, value any) func() answer {
	return func() answer { return e.register(c, base.With(name, value)) }
}

// Covers: S2-18, case 089, case 095, case 150
func TestStatementReplay(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	claims := c.Statement(e.now())
	body := e.registerBody(c.Sign(t, claims), nil)
	if a := e.postRegistration(body); a.status != 201 {
		t.Fatalf("first: %d %s", a.status, a.body)
	}
	e.advance(time.Second)

	a := e.refused("identical", 400, "invalid_software_statement", spendsNothing, func() answer {
		return e.postRegistration(body)
	})
	if !strings.Contains(a.text("error_description"), "register endpoint") {
		t.Errorf("the refusal does not say where the jti was used: %s", a.body)
	}
	e.refused("another statement with the jti", 400, "invalid_software_statement", spendsNothing, func() answer {
		return e.register(c, c.Statement(e.now()).With("jti", claims["jti"]).With("client_name", "Other"))
	})

	other := e.client(e.w.A, udaptest.Client2URI)
	if a := e.register(other, other.Statement(e.now()).With("jti", claims["jti"])); a.status != 201 {
		t.Errorf("another issuer's jti: %d %s", a.status, a.body)
	}
	e.advance(7 * time.Minute)
	if a := e.register(c, c.Statement(e.now()).With("jti", claims["jti"])); a.status != 200 {
		t.Errorf("after the first one's end: %d %s", a.status, a.body)
	}
}

// Covers: case 092
func TestStatementReplayAfterRestart(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	body := e.registerBody(c.Sign(t, c.Statement(e.now())), nil)
	if a := e.postRegistration(body); a.status != 201 {
		t.Fatalf("first: %d %s", a.status, a.body)
	}
	e.restart()
	e.refused("after a restart", 400, "invalid_software_statement", spendsNothing, func() answer {
		return e.postRegistration(body)
	})
}

// Covers: case 099
func TestStatementReplayWithMovingClock(t *testing.T) {
	for _, step := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		e := newEnv(t)
		c := e.client(e.w.A, udaptest.Client1URI)
		body := e.registerBody(c.Sign(t, c.Statement(e.now())), nil)
		if a := e.postRegistration(body); a.status != 201 {
			t.Fatalf("first: %d %s", a.status, a.body)
		}
		e.advance(step)
		e.registered2(e.client(e.w.A, udaptest.Client2URI)) // something happens while the clock is wrong

		e.refused(fmt.Sprint("clock off by ", step), 400, "invalid_software_statement", spendsNothing, func() answer {
			return e.postRegistration(body)
		})
		e.advance(-step)
		e.refused("clock right again", 400, "invalid_software_statement", spendsNothing, func() answer {
			return e.postRegistration(body)
		})
	}
}

// registered2 registers whether or not the certificate suits the clock.
func (e *env) registered2(c *udaptest.Client) { e.register(c, c.Statement(e.now())) }

// Covers: S1-100, S1-105, S1-288, case 098
func TestRefusedStatementsAreNotRemembered(t *testing.T) {
	e := newEnv(t)
	stranger := e.client(e.w.X, udaptest.Client1URI)
	for range 100 {
		e.refused("untrusted", 400, "unapproved_software_statement", spendsNothing, func() answer {
			return e.register(stranger, stranger.Statement(e.now()))
		})
	}

	c := e.client(e.w.A, udaptest.Client1URI)
	claims := c.Statement(e.now())
	e.refused("bad scope", 400, "invalid_client_metadata", spendsNothing,
		e.changed(c, claims, "scope", "system/Device.rs"))
	if a := e.register(c, claims); a.status != 201 {
		t.Errorf("the jti of a refused registration: %d %s", a.status, a.body)
	}
}

// Covers: S1-100, S1-102, case 101, case 102
func TestRegistrationBody(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	good := c.Sign(t, c.Statement(e.now()))
	evil := e.client(e.w.X, udaptest.Client1URI)
	bad := evil.Sign(t, evil.Statement(e.now()))
	e.secret(good)
	e.secret(bad)

	for name, body := range map[string]string{
		"array": `[]`, "null": `null`, "string": `"x"`, "empty": ``, "two objects": `{"software_statement":"` + good +
			`","udap":"1"}{}`,
		"good and evil": `{"software_statement":"` + good + `","software_statement":"` + bad +
			`","udap":"1"}`,
		"evil and good": `{"software_statement":"` + bad + `","software_statement":"` + good +
			`","udap":"1"}`,
		"escaped twice": `{"software_statement":"` + good + `","software\u005fstatement":"` +
			good + `","udap":"1"}`,
		"case variant": `{"Software_Statement":"` + good + `","udap":"1"}`,
		"case variant beside the good one": `{"software_statement":"` + good + `","SOFTWARE_statement":"` + bad +
			`","udap":"1"}`,
		"case variant of udap":           `{"software_statement":"` + good + `","udap":"1","UDAP":"2"}`,
		"case variant of certifications": `{"software_statement":"` + good + `","udap":"1","Certifications":[]}`,
		"trailing":                       `{"software_statement":"` + good + `","udap":"1"} x`,
		"deep": `{"software_statement":"` + good + `","udap":"1","x":` + strings.Repeat(
			"[", 10_001) + strings.Repeat("]", 10_001) + `}`,
		"no statement": `{"udap":"1"}`, "number": `{"software_statement":1,"udap":"1"}`, "null statement": `{"software_statement":null,"udap":"1"}`,
		"BOM": "\ufeff" + `{"software_statement":"` + good +
			`","udap":"1"}`, "comment": `{/**/"software_statement":"` + good + `","udap":"1"}`,
		"invalid UTF-8":         `{"software_statement":"` + good + `","udap":"1","x":"` + "\xff" + `"}`,
		"trailing comma":        `{"software_statement":"` + good + `","udap":"1",}`,
		"certifications string": `{"software_statement":"` + good + `","udap":"1","certifications":"x"}`,
		"certifications number": `{"software_statement":"` + good + `","udap":"1","certifications":[1]}`,
		"17 certifications": `{"software_statement":"` + good + `","udap":"1","certifications":["` +
			strings.Repeat(`","`, 16) + `"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			e.refused(name, 400, "invalid_client_metadata", spendsNothing, func() answer {
				return e.postRegistration(body)
			})
		})
	}

	for name, version := range map[string]any{
		"absent": udaptest.Absent,
		"number": 1,
		"2":      "2",
		"01":     "01",
		"space":  "1 ",
		"null":   nil,
		"array":  []string{"1"},
	} {
		t.Run(name, func(t *testing.T) {
			e.refused("udap "+name, 400, "invalid_client_metadata invalid_request", spendsNothing, func() answer {
				return e.postRegistration(e.registerBody(good, map[string]any{"udap": version}))
			})
		})
	}

	if a := e.postRegistration(e.registerBody(good, nil)); a.status != 201 {
		t.Errorf("the good one: %d %s", a.status, a.body)
	}
}

// Covers: S1-102, D-31, D-37
func TestRegistrationBodyIsExplained(t *testing.T) {
	e := newEnv(t)
	for body, want := range map[string]string{
		`{"udap":"1"}`:                                    "found no software_statement",
		`{"software_statement":null,"udap":"1"}`:          "found no software_statement",
		`{"Software_Statement":"a","udap":"1"}`:           "the member 'Software_Statement': names are compared with their case",
		`{"software_statement":5}`:                        "JSON number where a string belongs within '/software_statement'",
		`{"software_statement":"a","certifications":"x"}`: "JSON string where an array of strings belongs within '/certifications'",
		`[]`:       "JSON array where an object belongs",
		"\ufeff{}": "U+FEFF (a byte order mark)",
	} {
		t.Run(body, func(t *testing.T) {
			a := e.postRegistration(body)
			var e struct {
				Description string `json:"error_description"`
			}
			if err := json.Unmarshal([]byte(a.body), &e); err != nil || !strings.Contains(e.Description, want) ||
				strings.Contains(e.Description, "Go ") {
				t.Errorf("%s: %q, want %q (%v)", body, e.Description, want, err)
			}
		})
	}

	a := e.send("POST", "/oauth/register", "", `{}`, nil)
	if !strings.Contains(string(a.body), "found no Content-Type") {
		t.Errorf("without a Content-Type: %s", a.body)
	}
}

// What a member says does not depend on how its characters are written.
// Covers: S1-102
func TestEscapesInARegistrationBody(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	body := e.registerBody(c.Sign(t, c.Statement(e.now())), nil)
	body = strings.Replace(body, `"udap":"1"`, `"\u0075dap":"\u0031"`, 1)
	body = strings.Replace(body, `"software_statement":"e`, `"software\u005fstatement":"\u0065`, 1)
	if a := e.postRegistration(body); a.status != 201 {
		t.Errorf("%s: %d %s", body, a.status, a.body)
	}
}

// Covers: case 102
func TestUDAPAsNumberByPolicy(t *testing.T) {
	e := newEnv(t, func(c *oauth.Config) { c.Verifier.Communities[0].Policy.UDAPNumber = true })
	c := e.client(e.w.A, udaptest.Client1URI)
	if a := e.postRegistration(e.registerBody(c.Sign(t, c.Statement(e.now())), map[string]any{
		"udap": 1,
	})); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if !warned(e.lastTrace(), "register.udap") {
		t.Error("the leniency was not flagged")
	}
}

func warned(tr *trace.Trace, check string) bool {
	for _, s := range tr.Warnings() {
		if s.Check == check {
			return true
		}
	}
	return false
}

// Covers: S1-163, case 035, case 101
func TestRegistrationTransport(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	body := e.registerBody(c.Sign(t, c.Statement(e.now())), nil)

	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"} {
		a := e.send(method, "/oauth/register", "", "", nil)
		if a.status != 405 || a.header.Get("Allow") != "POST" {
			t.Errorf("%s: %d, Allow %q", method, a.status, a.header.Get("Allow"))
		}
	}

	for _, contentType := range []string{
		"", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16",
		"application/json, text/plain", "application/jsonx", "application/jwt",
	} {
		e.refused("type "+contentType, 415, "invalid_request", spendsNothing, func() answer {
			return e.send("POST", "/oauth/register", contentType, body, nil)
		})
	}

	e.refused("content encoding", 415, "invalid_request", spendsNothing, func() answer {
		return e.send("POST", "/oauth/register", jsonType, body, http.Header{"Content-Encoding": {"gzip"}})
	})
	e.refused("query", 400, "invalid_request", spendsNothing, func() answer {
		return e.send("POST", "/oauth/register?x=1", jsonType, body, nil)
	})
	a := e.refused("too long", 413, "invalid_request", spendsNothing, func() answer {
		return e.postRegistration(body[:len(body)-1] + `,"x":"` + strings.Repeat("a", 5<<20) + `"}`)
	})
	if !a.closed {
		t.Error("the connection stays open after an over-long body")
	}

	if a := e.send("POST", "/oauth/register", "application/json; charset=UTF-8", body, nil); a.status != 201 {
		t.Errorf("with a charset: %d %s", a.status, a.body)
	}
}

// Covers: S1-083, S1-084, S1-085, S1-086, S1-092, S1-093, S1-094, S1-095, S1-096, S1-097,
// S2-11, S2-14, S2-16, case 105, case 106, case 107, case 108, case 110, case 111,
// case 112, case 113, case 114
func TestRegistrationParameters(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	machine, person := c.Statement(e.now()), c.Interactive(e.now())
	many := func(s string, n int) []string {
		return strings.Split(strings.TrimSuffix(strings.Repeat(s+" ", n), " "), " ")
	}
	cases := []struct {
		claim  string
		base   udaptest.Claims
		values []any
	}{
		{
			"response_types",
			person,
			[]any{udaptest.Absent, []string{"token"}, []string{"code", "token"}, []string{"code id_token"}, []string{}},
		},
		{"response_types", machine, []any{[]string{"code"}, []string{}}},
		{
			"token_endpoint_auth_method",
			machine,
			[]any{udaptest.Absent, "none", "client_secret_basic", "tls_client_auth"},
		},
		{"redirect_uris", person, []any{udaptest.Absent, []string{}, nil, "https://client1.test/cb", []any{1}}},
		{"redirect_uris", machine, []any{[]string{"https://client1.test/cb"}, []string{}}},
		{
			"logo_uri",
			person,
			[]any{
				udaptest.Absent,
				"http://client1.test/logo.png",
				"https://client1.test/logo.svg",
				"data:image/svg+xml;base64,AA==",
			},
		},
		{"contacts", machine, []any{udaptest.Absent, []string{}, []string{"https://client1.test"}, []string{"mailto:"}, []string{"mailto:a@b.test?bcc=x@y.test"},
			[]string{"mailto:a@b.test%0d%0aBcc:x@y.test"}, many("mailto:a@b.test",
				1000), []string{"javascript:alert(1)"}}},
		{
			"client_name",
			machine,
			[]any{udaptest.Absent, "", "   ", strings.Repeat("a", 30_000), "a\x00b", "a\r\nb", "\x1b[31mred"},
		},
		{"scope", machine, []any{udaptest.Absent, "", "system/Patient.rs  system/Patient.rs", "system/Patient.rs\x00", `"`, strings.Repeat("x ", 10_000) + "x", "system/Device.rs other",
			"system/*.*", "system/*.rs system/Patient.rs", "system/Patient.sr", "system/Patient.cruds?x=y", "user/Patient.rs patient/Patient.rs", "openid"}},
		{"scope", person, []any{"system/Patient.rs"}},
		{
			"grant_types",
			machine,
			[]any{
				udaptest.Absent, nil, "client_credentials", []string{"password"},
				[]string{"client_credentials", "authorization_code"},
				[]string{"client_credentials", "refresh_token"}, []string{"refresh_token"},
				[]string{"implicit"},
			},
		},
	}

	for _, claim := range []string{"client_name", "scope", "token_endpoint_auth_method", "grant_types", "contacts"} {
		for _, v := range []any{1, map[string]any{"a": 1}, []any{[]any{}}, true, nil} {
			cases = append(cases, struct {
				claim  string
				base   udaptest.Claims
				values []any
			}{claim, machine, []any{v}})
		}
	}

	for _, tc := range cases {
		t.Run(tc.claim, func(t *testing.T) {
			for _, v := range tc.values {
				name := fmt.Sprintf("%s %.60s", tc.claim, fmt.Sprint(v))
				e.refused(name, 400, "invalid_client_metadata invalid_redirect_uri", spendsNothing,
					e.changed(c, tc.base, tc.claim, v))
			}
		})
	}

	for _, uri := range []string{
		"http://client1.test/cb", "app:/cb", "javascript:alert(1)", "data:text/html,x", "//evil.test", "/cb", "https://client1.test/cb#f", "https://client1.test/cb#",
		"https://u@client1.test/cb", "https:/x", "https:x", "https:///x", "https://client1.test:0/", "https://client1.test:99999/", `https://good.test\@evil.test/`,
		"https://client1.test/a b", "https://client1.test/\t", "https://client1.test/\r\n", "https://client1.test/\x00", "https://*.client1.test/", "https://client1.test/*",
		"https://client1.test./", "https://сlient1.test/", "https://client1.test/../evil", "https://client1.test/" +
			strings.Repeat("a", 10<<10), e.canary + "/cb",
	} {
		e.refused("redirect "+uri[:min(len(uri), 60)], 400, "invalid_redirect_uri", spendsNothing,
			e.changed(c, person, "redirect_uris", []string{"https://client1.test/ok", uri}))
	}

	e.refused("500 redirects", 400, "invalid_redirect_uri invalid_client_metadata", spendsNothing,
		e.changed(c, person, "redirect_uris", many("https://client1.test/cb", 500)))
	e.refused("redirect twice", 400, "invalid_redirect_uri invalid_client_metadata", spendsNothing,
		e.changed(c, person, "redirect_uris", many("https://client1.test/cb", 2)))
}

// Covers: S1-088, S2-11, case 110
func TestLogoIsNotFetched(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	logo := "https" + strings.TrimPrefix(e.canary, "http") + "/logo.png"
	a := e.register(c, c.Interactive(e.now()).With("logo_uri", logo)) // the canary sees nothing, whatever the answer
	if a.status != 201 && a.status != 400 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Covers: S1-036, S1-085, S1-093, case 158
func TestAuthorizationCodeClient(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	a := e.register(c, c.Interactive(e.now()))
	if a.status != 201 || a.text("scope") != "openid user/Patient.rs" || a.text("logo_uri") == "" ||
		a.member("redirect_uris") == nil {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if !warned(e.lastTrace(), "register.grants") {
		t.Error("nothing says that the grant does not work yet")
	}

	id := trace.ClientID(a.text("client_id"))
	e.refused("authorization_code", 400, "unsupported_grant_type", spendsJTI, func() answer {
		return e.token(c, udaptest.Assertion(id, e.now()), "grant_type", "authorization_code", "code", "x")
	})
	e.refused("client_credentials", 400, "unauthorized_client", spendsJTI, func() answer {
		return e.token(c, udaptest.Assertion(id, e.now()))
	})
}

// Covers: S1-098, S2-10, S2-16, case 113
func TestScopeSubset(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	for asked, want := range map[string]string{
		"system/Patient.rs system/Device.rs":                   "system/Patient.rs",
		"system/Patient.cruds openid":                          "system/Patient.rs",
		"system/Patient.read user/Patient.rs":                  "system/Patient.read",
		"system/Observation.rs?category=laboratory system/X.":  "system/Observation.rs?category=laboratory",
		"system/Patient.sr system/Condition.s system/Patient.": "system/Condition.s",
	} {
		t.Run(asked, func(t *testing.T) {
			a := e.register(c, c.Statement(e.now()).With("scope", asked))
			if a.status != 201 && a.status != 200 || a.text("scope") != want {
				t.Errorf("%s: %d, granted %q, want %q", asked, a.status, a.text("scope"), want)
			}
			if !warned(e.lastTrace(), "register.scope") && len(want) < len(asked) && strings.Contains(asked, " ") {
				t.Errorf("%s: nothing says what was not granted", asked)
			}
		})
	}
}

// A scope whose case is wrong is not granted, and the right one is named.
//
// Covers: S2-10, D-31, D-41
func TestScopeWithWrongCase(t *testing.T) {
	e := newEnv(t, func(c *oauth.Config) { c.Personal = catalogue(t, "openid", "fhirUser", "user/Patient.rs") })
	c := e.client(e.w.A, udaptest.Client1URI)
	a := e.register(c, c.Interactive(e.now()).With("scope", "openid fhiruser user/Patient.rs"))
	warnings := e.lastTrace().Warnings()
	told := slices.ContainsFunc(warnings, func(s trace.Step) bool {
		return strings.Contains(s.Remedy, `there is "fhiruser": did you mean "fhirUser"?`)
	})
	if a.status != 201 || a.text("scope") != "openid user/Patient.rs" || !told {
		t.Errorf("%d %s %+v", a.status, a.body, warnings)
	}

	e.refused("alone", 400, "invalid_client_metadata", spendsNothing, func() answer {
		a := e.register(c, c.Statement(e.now()).With("scope", "SYSTEM/Patient.rs"))
		if !strings.Contains(a.text("error_description"), "did you mean 'system/Patient.rs'?") {
			t.Errorf("%s", a.body)
		}
		return a
	})
}

// The assertion's own scope claim may leave nothing of the request: both are
// named.
//
// Covers: case 162
func TestScopeClaimThatLeavesNothing(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	id := e.registered(c)
	e.refused("another scope", 400, "invalid_scope", spendsJTI, func() answer {
		a := e.token(c, udaptest.Assertion(id, e.now()).With("scope", "system/Observation.rs"), "scope",
			"system/Patient.rs")
		if d := a.text("error_description"); !strings.Contains(d,
			"scope claim, system/Observation.rs; found system/Patient.rs") {
			t.Error(d)
		}
		return a
	})
}

// Covers: S2-09, case 115, case 116
func TestUnknownMembersAreDropped(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	claims := c.Statement(e.now())
	hostile := map[string]any{
		"admin":                     true,
		"client_secret":             "x",
		"client_id":                 "mine",
		"registration_access_token": "x",
		"__proto__":                 map[string]any{},
		`x":0,"admin`:               1,
	}

	for i := range 200 {
		hostile[fmt.Sprint("extra", i)] = i
	}

	for k, v := range hostile {
		t.Run(k, func(t *testing.T) {
			claims = claims.With(k, v)
		})
	}

	a := e.postRegistration(e.registerBody(c.Sign(t, claims), hostile))
	if a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}

	var m map[string]any
	if err := json.Unmarshal(a.body, &m); err != nil {
		t.Fatal(err)
	}
	delete(m, "software_statement")

	for k := range hostile {
		t.Run(k, func(t *testing.T) {
			if v, echoed := m[k]; echoed && (k != "client_id" || v == "mine") {
				t.Errorf("echoed: %s", k)
			}
		})
	}
}

// Covers: S1-083, case 112
func TestHostileNamesAreText(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	for _, name := range []string{"<script>alert(1)</script>", "{{.}}", "Acme \u202egro", "zero\u200bwidth"} {
		a := e.register(c, c.Statement(e.now()).With("client_name", name))
		if a.status >= 300 || a.text("client_name") != name {
			t.Errorf("%q: %d %s", name, a.status, a.body)
		}

		for _, s := range e.lastTrace().Steps {
			if strings.ContainsAny(s.Found, "\u202e\u200b") {
				t.Errorf("%q: unescaped in the trace: %q", name, s.Found)
			}
		}
	}
}

// Covers: S1-114, case 119
func TestEveryCodeHasAStatus(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../udap/trace/error.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); !ok || id.Name != "Code" {
			return true
		}

		for _, v := range spec.Values {
			codes++
			code := trace.Code(strings.Trim(v.(*ast.BasicLit).Value, `"`))
			status, sentence := oauth.OutcomeOf(code)
			if status < 400 || status > 599 || sentence == "" {
				t.Errorf("%s: %d %q", code, status, sentence)
			}
		}

		return true
	})

	if codes < 18 {
		t.Errorf("only %d codes found", codes)
	}
}

// Covers: case 119
func TestOperatorExplains(t *testing.T) {
	e := newEnv(t, func(c *oauth.Config) {
		c.Explain = oauth.ExplainOperator
		c.TracePage = func(id string) string { return "https://localhost:9480/traces/" + id }
	})
	stranger := e.client(e.w.X, udaptest.Client1URI)
	a := e.refused("stranger", 400, "unapproved_software_statement", spendsNothing, func() answer {
		return e.register(stranger, stranger.Statement(e.now()))
	})

	if want := "The software statement is not signed by a certificate that this server trusts."; a.text(
		"error_description") != want {
		t.Errorf("error_description %q", a.text("error_description"))
	}
	if want := "https://localhost:9480/traces/" + a.header.Get("Trace-Id"); a.text("error_uri") != want ||
		e.lastTrace().ID != a.header.Get("Trace-Id") {
		t.Errorf("error_uri %q, want %q", a.text("error_uri"), want)
	}
}

// Covers: case 120
func TestRegistrationLimits(t *testing.T) {
	e := newEnv(t, func(c *oauth.Config) {
		c.Limits = oauth.Limits{RegistrationsPerClient: 5, RegistrationsPerCommunity: 8}
	})
	c, other, foreign := e.client(e.w.A,
		udaptest.Client1URI), e.client(e.w.A, udaptest.Client2URI), e.client(e.w.B, udaptest.Client1URI)
	for range 5 {
		e.registered(c)
	}

	a := e.refused("sixth of one certificate", 429, "temporarily_unavailable", spendsNothing, func() answer {
		return e.send("POST", "/oauth/register", jsonType, e.registerBody(c.Sign(t, c.Statement(e.now())), nil),
			http.Header{
				"X-Forwarded-For": {"203.0.113.7"},
			})
	})
	if a.header.Get("Retry-After") != "12" {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}

	for range 3 {
		e.registered(other)
	}
	e.refused("ninth of the community", 429, "temporarily_unavailable", spendsNothing, func() answer {
		return e.register(other, other.Statement(e.now()))
	})
	id := e.registered(foreign)
	e.issued(foreign, id)

	e.advance(12 * time.Second)
	e.registered(c)
}

// Whoever has one IPv6 address has all of its /64.
//
// Covers: case 120
func TestAddressLimitOfNetworks(t *testing.T) {
	for _, c := range []struct {
		first, second string
		one           bool // the two are limited together
	}{
		{"[2001:db8:1:2::1]:1000", "[2001:db8:1:2:ffff::9]:1", true},
		{"[2001:db8:1:2::1]:1000", "[2001:db8:1:3::1]:1000", false},
		{"192.0.2.1:1000", "192.0.2.1:2000", true},
		{"192.0.2.1:1000", "192.0.2.2:1000", false},
		{"192.0.2.1:1000", "[::ffff:192.0.2.1]:1000", true},
		{"[fe80::1%eth0]:1000", "[fe80::1%eth1]:1000", true},
	} {
		t.Run(c.first, func(t *testing.T) {
			e := newEnv(t, func(c *oauth.Config) { c.Limits.RequestsPerAddress = 1 })
			var status []int
			e.svc.Routes(func(u string, h http.Handler) {
				if u != issuer+"/token" {
					return
				}

				for _, from := range []string{c.first, c.second} {
					req := httptest.NewRequest("GET", u, nil)
					req.RemoteAddr = from
					w := httptest.NewRecorder()
					h.ServeHTTP(w, req)
					status = append(status, w.Code)
				}
			})

			want := http.StatusMethodNotAllowed
			if c.one {
				want = http.StatusTooManyRequests
			}
			if !slices.Equal(status, []int{http.StatusMethodNotAllowed, want}) {
				t.Errorf("%s, %s: %v, want the second %d", c.first, c.second, status, want)
			}
		})
	}
}

// Covers: case 120
func TestAddressLimit(t *testing.T) {
	e := newEnv(t, func(c *oauth.Config) { c.Limits.RequestsPerAddress = 3 })
	for range 3 {
		e.send("GET", "/oauth/register", "", "", nil)
	}
	a := e.refused("fourth", 429, "temporarily_unavailable", spendsNothing, func() answer {
		return e.send("GET", "/oauth/register", "", "", http.Header{
			"X-Forwarded-For": {"203.0.113.7"},
			"Forwarded":       {"for=203.0.113.7"},
		})
	})
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}
