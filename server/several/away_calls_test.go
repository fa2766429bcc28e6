package several_test

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// identity is a client with its certificate.
type identity struct {
	*certs.Identity
	uri string
}

// call is a request.
type call struct {
	method, target string // path under the public host, or a URL
	header         []string
	body           string

	needs  bool   // a store: while there is none the answer is 503
	free   bool   // of stores: it is answered as ever
	format string // what a 503 has in its body
}

func (c call) String() string {
	return strings.Join(append([]string{c.method, c.target}, c.header...), " ")[:min(len(c.method+c.target)+1, 150)]
}

// call sends a request, and returns the answer. A 503 must have Retry-After.
func (a *away) call(c call) (status int, body string) {
	target := c.target
	if strings.HasPrefix(target, "/") {
		target = "https://fhir.test" + target
	}
	req, err := http.NewRequest(c.method, target, strings.NewReader(c.body))
	if err != nil {
		a.t.Error(err)
		return 0, ""
	}
	for i := 0; i+1 < len(c.header); i += 2 {
		req.Header.Set(c.header[i], c.header[i+1])
	}
	by := a.HTTP
	if strings.HasPrefix(target, "http://") {
		by = http.DefaultClient
	}

	res, err := by.Do(req)
	if err != nil {
		a.t.Errorf("%s: %v", c, err)
		return 0, ""
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Errorf("%s: %v", c, err)
	}
	if res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") == "" {
		a.t.Errorf("%s: 503 without Retry-After: %s", c, text)
	}
	return res.StatusCode, string(text)
}

// calls are requests to every endpoint. One without a request here fails the test.
func (a *away) calls() []call {
	var all []call
	for _, p := range a.Endpoints.Public {
		all = append(all, a.oauthCalls(p)...)
	}
	for _, p := range a.Endpoints.Console {
		all = append(all, a.consoleCalls(p)...)
	}
	all = append(all, call{method: "GET", target: "http://" + a.Health + "/health", free: true},
		call{method: "GET", target: "http://" + a.Health + "/ready", needs: true})
	if a.isProvider() {
		return all
	}
	return slices.Concat(all, a.fhirCalls(), a.labCalls())
}

// labPages are the pages of a session of the lab and what programs get of it. Events are
// left out: they do not end.
var labPages = []string{
	"", "requests", "rows", "faults", "client", "bring", "report",
	"api/session", "api/exchanges", "api/faults", "api/report.json", "api/report.html", "api/report.xml",
	"api/badge.svg",
}

// labCalls are requests for the pages of the lab, at the console and at the public site,
// and to the site of a session. None of them needs the database.
func (a *away) labCalls() []call {
	id := a.lab.Session.ID + "/"
	all := []call{
		{method: "GET", target: a.Admin + "/lab/day", free: true},
		{method: "GET", target: a.Admin + "/lab/api/sessions", free: true},
		{method: "GET", target: a.lab.Session.Base + "/metadata", free: true},
		{method: "GET", target: a.lab.Session.Base + "/.well-known/udap", free: true},
		{
			method: "GET",
			target: a.lab.Session.Base + "/Patient",
			header: []string{"Authorization", "Bearer none"},
			free:   true,
		},
		{
			method: "POST",
			target: a.lab.Session.Issuer + "/token",
			header: []string{"Content-Type", "application/x-www-form-urlencoded"},
			body: authenticated(a.t, a.lab.Destination, a.client.Identity, "nobody", "/token",
				url.Values{"grant_type": {"client_credentials"}}),
			free: true,
		},
	}
	for _, root := range []string{a.Admin + "/lab/", "/acme/lab/"} {
		for _, page := range []string{"", "look.css", "board.css", "board.js"} {
			all = append(all, call{
				method: "GET",
				target: root + page,
				free:   true,
			})
		}
		for _, page := range labPages {
			all = append(all, call{
				method: "GET",
				target: root + id + page,
				free:   true,
			})
		}
	}
	return all
}

// Claims of a software statement: what a client registers for.
const (
	ofSystems = `"grant_types":["client_credentials"],"scope":"system/*.cruds"`
	ofPeople  = `"grant_types":["authorization_code"],"response_types":["code"],"scope":"openid",
		"redirect_uris":["` + callback + `"],"logo_uri":"https://client.test/logo.png"`
)

// registration is the body of one, with a new software statement.
func registration(t *testing.T, d *servertest.Destination, id *identity, grants string) string {
	t.Helper()
	now := d.Now().Unix()
	statement, err := udap.Sign(id.Key, id.Chain[:2], "", fmt.Appendf(nil, `{"iss":%q,"sub":%[1]q,"aud":%q,
		"client_name":"HTEST client","contacts":["mailto:test@client.test"],
		"token_endpoint_auth_method":"private_key_jwt","iat":%d,"exp":%d,"jti":%q,`+grants+`}`,
		id.uri, d.Issuer+"/register", now, now+300, rand.Text()))
	must(t, err)
	return fmt.Sprintf(`{"software_statement":%q,"udap":"1"}`, statement)
}

// form is a request of the client, authenticated, to an endpoint that needs a store.
func (a *away) form(endpoint string, fields url.Values) call {
	a.t.Helper()
	return call{
		method: "POST",
		target: a.Issuer + "/" + endpoint,
		header: []string{"Content-Type", "application/x-www-form-urlencoded"},
		body:   authenticated(a.t, a.Destination, a.client.Identity, a.id, "/"+endpoint, fields),
		needs:  true,
		format: `"error":`,
	}
}

// treatment is an hl7-b2b object.
const treatment = `{"version":"1","organization_name":"Clinic","organization_id":"https://clinic.test/1",
	"purpose_of_use":["urn:oid:2.16.840.1.113883.5.8#TREAT"]}`

// authenticated is a form for an endpoint of the authorization server, with a new
// authentication token.
func authenticated(
	t *testing.T, d *servertest.Destination, id *certs.Identity, of trace.ClientID, endpoint string, form url.Values,
) string {
	t.Helper()
	now := d.Now().Unix()
	claims := fmt.Sprintf(`{"iss":%q,"sub":%[1]q,"aud":%q,"iat":%d,"exp":%d,"jti":%q,"extensions":{"hl7-b2b":%s}}`,
		of, d.Issuer+endpoint, now, now+300, rand.Text(), treatment)
	assertion, err := udap.Sign(id.Key, id.Chain[:2], "", []byte(claims))
	must(t, err)

	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", assertion)
	form.Set("udap", "1")
	return form.Encode()
}

// registerCall is a registration of the other client.
func (a *away) registerCall(target string) call {
	return call{
		method: "POST",
		target: target,
		header: []string{"Content-Type", "application/json"},
		body:   registration(a.t, a.Destination, a.other, cmp.Or(a.grants, ofSystems)),
		needs:  true,
		format: `"error":`,
	}
}

func (a *away) tokenCall() call {
	return a.form("token", url.Values{"grant_type": {"client_credentials"}})
}

// oauthCalls are requests to an endpoint of the authorization server, or for a document.
func (a *away) oauthCalls(p string) []call {
	token := url.Values{"token": {"none"}}
	get := call{method: "GET", target: p}
	switch last := path.Base(p); last {
	case "register":
		return []call{a.registerCall(p)}
	case "token":
		all := []call{a.form(last, url.Values{"grant_type": {"authorization_code"}, "code": {"none"}})}
		if a.access != "" {
			all = append(all, a.tokenCall(),
				a.form(last, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"none"}}))
		}
		return all
	case "introspect", "revoke":
		return []call{a.form(last, token)}
	case "userinfo":
		get.header = []string{"Authorization", a.bearer()}
		get.needs = a.access != "" // a token that can be none is not looked up
	case "authorize":
		get.target += "?" + url.Values{"client_id": {string(a.id)}, "response_type": {"code"}}.Encode()
		get.needs, get.format = true, "<html"
	case "signin", "consent", "grants", "signout": // of people: see the tests of package people
	case "jwks", "logo.png", "openid-configuration", "udap", "smart-configuration", "oauth", "fhir", "acme", "idp":
		get.free = true
	default:
		if !strings.HasSuffix(last, ".css") {
			a.t.Errorf("there is no request to %s in this test", p)
		}
		get.free = true
	}
	return []call{get}
}

// consoleCalls are requests for a page of the console, by a program and by a person.
func (a *away) consoleCalls(p string) []call {
	c := call{method: "GET", target: a.Admin + p}
	switch p {
	case "/", "/health", "/style.css", "/sheet", "/metrics":
		c.free = true
	case "/traces":
		some := c
		some.target += "/0123456789abcdef01234567"
		c.free, some.needs = true, true
		stored := some
		stored.target = a.Admin + p + "?stored=1"
		return []call{c, some, stored}
	case "/disclosures":
		c.target += "?patient=p0001"
		c.needs = !a.isProvider()
	case "/launch":
		c.needs = !a.isProvider()
	case "/ready", "/audit/verify":
		c.needs = true
	case "/refresh":
		c.method, c.header = "POST", []string{"Origin", a.Admin}
		return []call{c}
	default:
		a.t.Errorf("there is no request to %s of the console in this test", p)
	}

	page := c
	page.header = []string{"Accept", "text/html"}
	if c.needs && p != "/audit/verify" && p != "/traces" {
		page.format = "<main"
	}
	return []call{c, page}
}

// fhirCalls are requests for every interaction. Each has a token, which must be looked
// up.
func (a *away) fhirCalls() []call {
	all := []call{{method: "GET", target: "/acme/fhir/metadata", free: true}}
	for shape, methods := range a.Endpoints.FHIR {
		for _, method := range methods {
			all = append(all, a.fhirCall(shape, method))
		}
	}
	xml := a.fhirCall("/Type", "POST")
	xml.header = append(slices.Clone(xml.header), "Accept", "application/fhir+xml")
	xml.format = "<OperationOutcome"
	return append(all, xml)
}

func (a *away) fhirCall(shape, method string) call {
	target := strings.NewReplacer("version", "1", "_jobs/id/file", "_jobs/"+a.job+"/none", "_jobs/id", "_jobs/"+a.job,
		"id/Type", "p0001/Observation", "Type", "Patient").Replace(shape)
	c := call{
		method: method,
		target: "/acme/fhir" + target,
		header: []string{"Authorization", a.bearer(), "Content-Type", "application/fhir+json", "Prefer", "respond-async"},
		needs:  true,
		format: `"OperationOutcome"`,
	}
	id := "p0001"
	if method == http.MethodDelete || method == http.MethodPut {
		id = "none"
	}
	c.target = strings.Replace(c.target, "/id", "/"+id, 1)

	switch {
	case method == http.MethodPatch:
		c.header[3], c.body = "application/json-patch+json", `[]`
	case shape == "" && method == http.MethodPost:
		c.body = `{"resourceType":"Bundle","type":"transaction"}`
	case strings.HasSuffix(shape, "_search"):
		c.header[3] = "application/x-www-form-urlencoded"
	case method == http.MethodPost, method == http.MethodPut:
		c.body = `{"resourceType":"Patient"}`
	}
	if !strings.Contains(shape, "$export") && !strings.Contains(shape, "$import") {
		c.header = c.header[:4]
	}
	return c
}
