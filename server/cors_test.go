package server_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/server"
	"fhirdest.example/server/servertest"
)

const (
	listedOrigin = "https://app.example"
	otherOrigin  = "https://evil.example"
)

func withOrigins(w *servertest.Env) {
	w.Config.CORS.Origins = []string{listedOrigin, "http://localhost:*"}
}

// preflight asks as a browser does before a page's request.
func preflight(d *servertest.Destination, target, origin, method string) *http.Response {
	return d.Do(
		http.MethodOptions,
		target,
		nil,
		"Origin", origin,
		"Access-Control-Request-Method", method,
		"Access-Control-Request-Headers", "authorization, content-type",
		"Access-Control-Request-Private-Network", "true",
	)
}

// allowed returns whose pages may read an answer, which never has credentials.
func allowed(t *testing.T, res *http.Response) string {
	t.Helper()
	if res.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%s %s: credentials are allowed", res.Request.Method, res.Request.URL)
	}
	if n := len(res.Header.Values("Access-Control-Allow-Origin")); n > 1 {
		t.Errorf("%s %s: %d origins", res.Request.Method, res.Request.URL, n)
	}
	return res.Header.Get("Access-Control-Allow-Origin")
}

// Whose pages may use what: metadata and discovery are for anybody, the FHIR service
// and the endpoints of programs for listed origins, pages for people for nobody. That
// holds under either base, and the question needs no token.
//
// Covers: FS-106, case 009, case 254
func TestPreflight(t *testing.T) {
	d := servertest.Start(t, withOrigins, withPeople(t))
	private := strings.TrimSuffix(d.Config.Private, "/acme/fhir")
	for path, of := range map[string]struct {
		method        string
		anyone, loved bool
	}{
		"/acme/fhir/metadata":                                      {"GET", true, true},
		"/acme/fhir/.well-known/udap":                              {"GET", true, true},
		"/acme/fhir/.well-known/smart-configuration":               {"GET", true, true},
		"/.well-known/oauth-authorization-server/acme/oauth":       {"GET", true, true},
		"/acme/oauth/.well-known/openid-configuration":             {"GET", true, true},
		"/acme/oauth/jwks":                                         {"GET", true, true},
		"/acme/fhir/Patient":                                       {"POST", false, true},
		"/acme/fhir/Patient/1/_history/1":                          {"GET", false, true},
		"/acme/fhir/nothing/of/ours":                               {"DELETE", false, true},
		"/acme/oauth/token":                                        {"POST", false, true},
		"/acme/oauth/register":                                     {"POST", false, true},
		"/acme/oauth/revoke":                                       {"POST", false, true},
		"/acme/oauth/userinfo":                                     {"GET", false, true},
		"/acme/oauth/authorize":                                    {"GET", false, false},
		"/acme/oauth/signin":                                       {"POST", false, false},
		"/acme/oauth/consent":                                      {"POST", false, false},
		"/acme/oauth/grants":                                       {"POST", false, false},
		"/nothing":                                                 {"GET", false, false},
		"/acme/fhirx/Patient":                                      {"GET", false, false},
		"/acme/fhir/.well-known/udap?community=" + servertest.URIA: {"GET", true, true},
	} {
		t.Run(path, func(t *testing.T) {
			for _, base := range []string{"https://fhir.test", private} {
				for _, origin := range []string{listedOrigin, "http://localhost:3000", otherOrigin, "null"} {
					want := ""
					switch {
					case of.anyone:
						want = "*"
					case of.loved && (origin == listedOrigin || origin == "http://localhost:3000"):
						want = origin
					}

					res := preflight(d, base+path, origin, of.method)
					got := allowed(t, res)
					if got != want || (got != "") != (res.StatusCode == 204) {
						t.Errorf("%s for %s: %d, allowed is %q, want %q", base, origin, res.StatusCode, got, want)
					}

					methods := strings.Split(res.Header.Get("Access-Control-Allow-Methods"), ", ")
					if (got != "") != slices.Contains(methods, of.method) {
						t.Errorf("%s for %s: methods %q", base, origin, methods)
					}
					if of.loved && !of.anyone && res.Header.Get("Vary") == "" {
						t.Errorf("%s for %s: no Vary", base, origin)
					}

					net := res.Header.Get("Access-Control-Allow-Private-Network") != ""
					if net != (got != "" && got != "*") {
						t.Errorf("%s for %s: private network %v", base, origin, net)
					}
				}
			}
		})
	}
}

// Any port is any port that a browser writes, and a name is the whole name.
//
// Covers: FS-106, case 254
func TestAnyPortIsAPort(t *testing.T) {
	d := servertest.Start(t, withOrigins)
	for port, want := range map[string]bool{
		"":                             true,
		":1":                           true,
		":65535":                       true,
		":0":                           false,
		":080":                         false,
		":65536":                       false,
		":+80":                         false,
		":":                            false,
		":*":                           false,
		":3000/":                       false,
		":3000.evil.example":           false,
		":3000@evil.example":           false,
		".evil.example:3000":           false,
		":3000 http://evil.example":    false,
		":3000, http://localhost:3001": false,
	} {
		origin := "http://localhost" + port
		got := allowed(t, preflight(d, "/acme/fhir/Patient", origin, "GET"))
		if (got == origin) != want || !want && got != "" {
			t.Errorf("%s: %q is allowed", origin, got)
		}
	}
}

// A page learns why it was refused, from whichever part of the server the refusal is.
//
// Covers: FS-106, case 254, FS-310
func TestPagesReadTheirRefusals(t *testing.T) {
	d := servertest.Start(t, withOrigins, func(w *servertest.Env) {
		w.Config.Limits.Body = 20_000
		w.Config.Rates.RequestsPerAddress = 40
	})
	token := "Bearer " + d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/Patient.rs").Token.Access
	for name, c := range map[string]struct {
		method, path, body, token, media string
		status                           int
		exposes                          string
	}{
		"no token":      {"GET", "/acme/fhir/Patient", "", "", "", 401, "WWW-Authenticate"},
		"no scope":      {"GET", "/acme/fhir/Observation", "", token, "", 403, "WWW-Authenticate"},
		"no resource":   {"GET", "/acme/fhir/Patient/none", "", token, "", 404, ""},
		"no such path":  {"GET", "/acme/fhir/a/b/c/d/e", "", token, "", 404, ""},
		"wrong method":  {"PUT", "/acme/oauth/token", "", "", "", 405, ""},
		"too long":      {"POST", "/acme/fhir/Patient", strings.Repeat("x", 30_000), token, "", 413, "Trace-Id"},
		"long, oauth":   {"POST", "/acme/oauth/token", strings.Repeat("x", 30_000), "", "", 413, "Trace-Id"},
		"no media type": {"POST", "/acme/oauth/token", "{}", "", "text/plain", 415, "Trace-Id"},
		"no assertion": {"POST", "/acme/oauth/token", "grant_type=client_credentials", "",
			"application/x-www-form-urlencoded", 400, "Trace-Id"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, origin := range []string{listedOrigin, otherOrigin} {
				header := []string{"Origin", origin, "Content-Type", c.media}
				if c.token != "" {
					header = append(header, "Authorization", c.token)
				}
				res := d.Do(c.method, c.path, strings.NewReader(c.body), header...)
				readable(t, res, origin, c.status, c.exposes)
			}
		})
	}

	t.Run("too many", func(t *testing.T) {
		for range 100 {
			res := d.Do("POST", "/acme/oauth/token", nil, "Origin", listedOrigin)
			if res.StatusCode == 429 {
				readable(t, res, listedOrigin, 429, "Retry-After")
				return
			}
		}

		t.Error("never 429")
	})
}

// readable fails unless an answer has the status, and pages of listed origins alone
// may read it with the header named.
func readable(t *testing.T, res *http.Response, origin string, status int, header string) {
	t.Helper()
	want := ""
	if origin == listedOrigin {
		want = origin
	}

	if got := allowed(t, res); res.StatusCode != status || got != want {
		t.Errorf("%s: %d, allowed is %q", origin, res.StatusCode, got)
	}
	if !slices.Contains(strings.Split(strings.Join(res.Header.Values("Vary"), ", "), ", "), "Origin") {
		t.Errorf("%s: Vary is %q", origin, res.Header.Values("Vary"))
	}

	exposed := strings.Split(res.Header.Get("Access-Control-Expose-Headers"), ", ")
	if header != "" && (res.Header.Get(header) == "" || want != "" && !slices.Contains(exposed, header)) {
		t.Errorf("%s: %s is %q, exposed are %q", origin, header, res.Header.Get(header), exposed)
	}
}

// A preflight of a page that is not listed leaves a trace with the remedy.
func TestForeignPreflightIsTraced(t *testing.T) {
	d := servertest.Start(t, withOrigins)
	res := preflight(d, "/acme/fhir/Patient", otherOrigin, "GET")
	text := adminGet(t, d, "/traces/"+res.Header.Get("Trace-Id"))
	for _, part := range []string{"cors.origin", otherOrigin, "cors.origins"} {
		if !strings.Contains(text, part) {
			t.Errorf("the trace has no %q: %s", part, text)
		}
	}
}

// Origins in the configuration are as browsers write them.
func TestOriginsAreChecked(t *testing.T) {
	for origin, good := range map[string]bool{
		"https://app.example":      true,
		"https://app.example:8443": true,
		"http://localhost:3000":    true,
		"http://localhost:*":       true,
		"https://127.0.0.1:*":      true,
		"http://[::1]:*":           true,
		"*":                        false,
		"null":                     false,
		"https://*":                false,
		"https://app.example/":     false,
		"https://app.example:443":  false,
		"https://app.example:*":    false,
		"http://app.example":       false,
		"https://APP.example":      false,
		"https://u@app.example":    false,
		"app.example":              false,
		"file://":                  false,
		"http://localhost:80":      false,
		"http://localhost:3000:*":  false,
		"":                         false,
	} {
		t.Run(origin, func(t *testing.T) {
			w := servertest.NewEnv(t)
			w.Config.CORS = server.CORS{Origins: []string{origin}}
			err := w.Config.Check(w.Now())
			if bad := err != nil && strings.Contains(err.Error(), "cors.origins[0]"); bad == good {
				t.Errorf("complaints: %v", err)
			}
		})
	}
}
