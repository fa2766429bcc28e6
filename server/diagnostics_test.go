package server_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/forge"
	"fhirdest.example/udap/trace"
)

// testTable is one place at a connectathon: a destination, and a client with a mistake.
type testTable struct {
	*servertest.Destination
	t      *testing.T
	client *forge.Client
	id     trace.ClientID
}

const tableURI = "https://client1.test/app"

func newTable(t *testing.T, change ...func(*servertest.Env)) *testTable {
	t.Helper()
	d := servertest.Start(t, change...)
	x := &testTable{
		Destination: d,
		t:           t,
	}
	x.client = x.with(d.Client(d.A, tableURI), tableURI)
	answer := x.register(x.sign("register", x.client, nil, nil))
	x.id = trace.ClientID(answer["client_id"])
	if x.id == "" {
		t.Fatalf("registration: %v", answer)
	}

	return x
}

func (x *testTable) with(id *certs.Identity, uri string) *forge.Client {
	return &forge.Client{
		URI:   uri,
		Key:   id.Key,
		Chain: id.Chain,
	}
}

// places are the endpoints that verify JWTs, and the token endpoint for each grant.
var places = []string{
	"register", "client_credentials", "authorization_code", "refresh_token", "introspect", "revoke",
}

func (x *testTable) endpoint(place string) string {
	switch place {
	case "register", "introspect", "revoke":
		return x.Issuer + "/" + place
	}
	return x.Issuer + "/token"
}

type change = func(forge.Claims) forge.Claims

// sign makes the JWT for a place, with changed claims and further header members.
func (x *testTable) sign(place string, c *forge.Client, edit change, header map[string]any) string {
	x.t.Helper()
	claims := forge.Assertion(x.id, x.endpoint(place), x.Now())
	if place == "register" {
		claims = forge.Statement(c.URI, x.endpoint(place), x.Now())
	}
	if edit != nil {
		claims = edit(claims)
	}

	payload, err := claims.JSON()
	if err != nil {
		x.t.Fatal(err)
	}
	compact, err := c.Raw().Sign(forge.HeaderWith(c.Algorithm(), header, c.Chain...), payload)
	if err != nil {
		x.t.Fatal(err)
	}
	return compact
}

// send sends a JWT to a place, with parameters as name, value pairs; "-" leaves one out.
func (x *testTable) send(place, compact string, params ...string) map[string]string {
	x.t.Helper()
	if place == "register" {
		return x.register(compact)
	}

	form := url.Values{
		"udap":                  {"1"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {compact},
	}
	switch place {
	case "introspect", "revoke":
		form.Set("token", "x")
	case "client_credentials":
		form.Set("scope", "system/Patient.rs")
		form.Set("grant_type", place)
	case "authorization_code":
		form.Set("code", "x")
		form.Set("grant_type", place)
	default:
		form.Set("refresh_token", "x")
		form.Set("grant_type", place)
	}
	for i := 0; i+1 < len(params); i += 2 {
		form.Set(params[i], params[i+1])
		if params[i+1] == "-" {
			form.Del(params[i])
		}
	}

	return x.answer(x.endpoint(place), "application/x-www-form-urlencoded", form.Encode())
}

func (x *testTable) register(compact string) map[string]string {
	x.t.Helper()
	body, err := json.Marshal(map[string]string{
		"software_statement": compact,
		"udap":               "1",
	})
	if err != nil {
		x.t.Fatal(err)
	}
	return x.answer(x.endpoint("register"), "application/json", string(body))
}

// answer posts a body and returns the text members of the answer, which must be JSON.
func (x *testTable) answer(target, contentType, body string) map[string]string {
	x.t.Helper()
	res := x.Do(http.MethodPost, target, strings.NewReader(body), "Content-Type", contentType)
	b, err := io.ReadAll(res.Body)
	if err != nil {
		x.t.Fatal(err)
	}

	var members map[string]any
	if err := json.Unmarshal(b, &members); err != nil || res.Header.Get("Content-Type") != "application/json" {
		x.t.Fatalf("%s: no JSON: %s", target, b)
	}
	out := map[string]string{}
	for name, value := range members {
		if text, ok := value.(string); ok {
			out[name] = text
		}
	}
	return out
}

func set(name string, value any) change {
	return func(c forge.Claims) forge.Claims { return c.With(name, value) }
}

// slips are mistakes in JWTs, by the row of the list of diagnostics that they are, and
// the words that the client must be answered with at every place.
var slips = []struct {
	row    string
	edit   change
	header func(*testTable) map[string]any
	only   []string // places; nil: every one
	words  []string
}{
	{
		row: "7 registration endpoint", edit: aud("register"), only: places[1:],
		words: []string{"registration endpoint", "/oauth/"},
	},
	{
		row: "7 token endpoint", edit: aud("token"), only: places[:1],
		words: []string{"token endpoint"},
	},
	{row: "7 issuer", edit: aud(""), only: places[:4], words: []string{"this is the issuer"}},
	{
		row: "7 FHIR base", edit: set("aud", servertest.Base),
		words: []string{"this is the FHIR base"},
	},
	{
		row: "8 scheme", edit: replaced("aud", "https://", "http://"),
		words: []string{"only the scheme differs"},
	},
	{
		row: "8 port", edit: replaced("aud", "fhir.test", "fhir.test:8443"),
		words: []string{"only the port differs", "8443"},
	},
	{
		row: "8 case", edit: replaced("aud", "fhir.test", "FHIR.test"),
		words: []string{"only upper and lower case differ"},
	},
	{row: "8 slash", edit: added("aud", "/"), words: []string{"only the trailing slash differs"}},
	{
		row: "8 space", edit: added("aud", " "),
		words: []string{"only white space around it differs"},
	},
	{
		row: "25", edit: shifted(200 * time.Second),
		words: []string{"your clock is ", " s ahead of ours"},
	},
	{
		row: "25 behind", edit: shifted(-20 * time.Minute),
		words: []string{"your clock is 120", " s behind ours"},
	},
	{row: "27 lifetime", edit: lives(301 * time.Second), words: []string{"301 s", "300 s"}},
	{row: "27 milliseconds", edit: millis("exp"), words: []string{"milliseconds"}},
	{row: "27 iat in milliseconds", edit: millis("iat"), words: []string{"milliseconds"}},
	{
		row: "27 a string", edit: set("iat", "1795348800"),
		words: []string{"iat is a JSON number", "string"},
	},
	{
		row: "27 a fraction", edit: set("exp", 1795348800.5),
		words: []string{"whole number of seconds"},
	},
	{
		row: "28", edit: names(tableURI), only: places[1:],
		words: []string{"client's URI", "client_id that registration returned"},
	},
	{
		row: "28 the reverse", edit: names("a-client-id"), only: places[:1],
		words: []string{"client_id", "are the client's URI"},
	},
	{row: "30 base64url", header: x5c(base64.URLEncoding), words: []string{"base64url"}},
	{row: "30 line breaks", header: brokenX5C, words: []string{"line break"}},
	{row: "30 PEM", header: pemX5C, words: []string{"PEM"}},
	{row: "31 scopes", edit: scopes, only: places[:1], words: []string{"did you mean", "scopes"}},
	{row: "33", edit: lives(-60 * time.Second), words: []string{"exp is not after iat"}},
	{
		row: "34", edit: set("grant_types", forge.Absent), only: places[:1],
		words: []string{"grant_types", "[] cancels"},
	},
	{
		row: "34 null", edit: set("grant_types", nil), only: places[:1],
		words: []string{"grant_types", "[] cancels"},
	},
	{row: "18", header: alg("ES384"), words: []string{"ES384 needs P-384", "P-256"}},
	{row: "18 RSA", header: alg("RS256"), words: []string{"RS256 needs", "P-256"}},
	{row: "11", header: reversed, words: []string{"x5c[0] is a CA"}},
}

func aud(last string) change {
	return func(c forge.Claims) forge.Claims {
		return c.With("aud", strings.TrimRight("https://fhir.test/acme/oauth/"+last, "/"))
	}
}

func replaced(name, old, text string) change {
	return func(c forge.Claims) forge.Claims {
		return c.With(name, strings.Replace(c[name].(string), old, text, 1))
	}
}

func added(name, text string) change {
	return func(c forge.Claims) forge.Claims { return c.With(name, c[name].(string)+text) }
}

func shifted(d time.Duration) change {
	return func(c forge.Claims) forge.Claims {
		s := int64(d / time.Second)
		return c.With("iat", c["iat"].(int64)+s).With("exp", c["exp"].(int64)+s)
	}
}

func lives(d time.Duration) change {
	return func(c forge.Claims) forge.Claims { return c.With("exp", c["iat"].(int64)+int64(d/time.Second)) }
}

func millis(name string) change {
	return func(c forge.Claims) forge.Claims { return c.With(name, c[name].(int64)*1000) }
}

func names(id string) change {
	return func(c forge.Claims) forge.Claims { return c.With("iss", id).With("sub", id) }
}

func scopes(c forge.Claims) forge.Claims {
	return c.With("scopes", c["scope"]).With("scope", forge.Absent)
}

func alg(name string) func(*testTable) map[string]any {
	return func(*testTable) map[string]any { return map[string]any{"alg": name} }
}

func x5c(e *base64.Encoding) func(*testTable) map[string]any {
	return func(x *testTable) map[string]any {
		var out []string
		for _, c := range x.client.Chain {
			out = append(out, e.EncodeToString(c.Raw))
		}
		return map[string]any{"x5c": out}
	}
}

func brokenX5C(x *testTable) map[string]any {
	text := base64.StdEncoding.EncodeToString(x.client.Chain[0].Raw)
	return map[string]any{"x5c": []string{text[:64] + "\n" + text[64:]}}
}

func pemX5C(x *testTable) map[string]any {
	block := pem.EncodeToMemory(&pem.Block{
		Type:  "CERTIFICATE",
		Bytes: x.client.Chain[0].Raw,
	})
	return map[string]any{"x5c": []string{string(block)}}
}

func reversed(x *testTable) map[string]any {
	chain := slices.Clone(x.client.Chain)
	slices.Reverse(chain)
	return map[string]any{"x5c": encoded(chain)}
}

func encoded(chain []*x509.Certificate) []string {
	var out []string
	for _, c := range chain {
		out = append(out, base64.StdEncoding.EncodeToString(c.Raw))
	}
	return out
}

// Each mistake in a JWT is named in the answer, wherever the JWT is verified.
//
// Covers: D-07, D-08, D-11, D-18, D-25, D-27, D-28, D-30, D-31, D-33, D-34
func TestSlipsInJWTsAreNamed(t *testing.T) {
	x := newTable(t)
	for _, s := range slips {
		only := s.only
		if only == nil {
			only = places
		}
		for _, place := range only {
			t.Run(s.row+"/"+place, func(t *testing.T) {
				var header map[string]any
				if s.header != nil {
					header = s.header(x)
				}
				got := x.send(place, x.sign(place, x.client, s.edit, header))
				for _, words := range s.words {
					if text := got["error_description"]; !strings.Contains(text, words) {
						t.Errorf("no %q in: %s", words, text)
					}
				}
			})
		}
	}
}

// issue has community A issue a certificate for the table's client.
func (x *testTable) issue(change func(*certs.Template), uris ...string) *forge.Client {
	x.t.Helper()
	key := x.Key("p256")
	t := certs.Template{
		CommonName: "client",
		URIs:       uris,
		NotBefore:  x.Now().Add(-time.Hour),
		NotAfter:   x.Now().Add(time.Hour),
		CRL:        []string{x.Lists.URL + "/a.crl"},
	}
	if change != nil {
		change(&t)
	}
	leaf, err := x.A.Issuing.Issue(t, key.Public())
	if err != nil {
		x.t.Fatal(err)
	}

	return &forge.Client{
		URI:   tableURI,
		Key:   key,
		Chain: x.A.Issuing.Chain(leaf),
	}
}

// Each mistake in a certificate is named in the answer, wherever it is verified. The
// registration that the tokens are for has the URI of the table's client.
//
// Covers: D-01, D-02, D-11, D-12, D-13, D-15, D-17
func TestSlipsInCertificatesAreNamed(t *testing.T) {
	x := newTable(t)
	serial := func(c *forge.Client) []string {
		n := c.Chain[0].SerialNumber
		return []string{"CN=client", "serial " + n.Text(16), "decimal " + n.String()}
	}

	expired := x.issue(func(c *certs.Template) { c.NotAfter = x.Now().Add(-time.Minute) }, tableURI)
	unlisted := x.issue(func(c *certs.Template) { c.CRL = []string{x.Lists.URL + "/missing.crl"} }, tableURI)
	issuers := x.issue(nil, tableURI)
	issuers.Key = x.A.Issuing.Key
	incomplete := x.with(x.Client(x.Community("c"), tableURI), tableURI)
	incomplete.Chain = incomplete.Chain[:1]

	for _, row := range []struct {
		row    string
		client *forge.Client
		only   []string
		words  []string
	}{
		{"1", x.issue(nil, tableURI+"/"), places[:1], []string{tableURI + "/", "only the trailing slash differs"}},
		{"1 at tokens", x.issue(nil, tableURI+"/"), places[1:], []string{tableURI + "/", "only the trailing slash"}},
		{
			"2", x.issue(nil, "https://a.test/x", tableURI+"x"), nil,
			[]string{"https://a.test/x", tableURI + "x", "compared with https://a.test/x"},
		},
		{"11", issuers, nil, []string{"a signature made by the key of x5c[1], 'CN=Community a Issuing CA"}},
		{"12", incomplete, nil, []string{"issuer", "Community c", "key id", "send the missing intermediate"}},
		{"13", unlisted, nil, []string{"missing.crl", "404"}},
		{"15", expired, nil, append(serial(expired), "certificate 0 of the path")},
		{"17", x.issue(nil, tableURI+"#T-TREAT"), nil, []string{"only the fragment differs", tableURI + "#T-TREAT"}},
	} {
		only := row.only
		if only == nil {
			only = places
		}
		for _, place := range only {
			t.Run(row.row+"/"+place, func(t *testing.T) {
				got := x.send(place, x.sign(place, row.client, nil, nil))["error_description"]
				for _, words := range row.words {
					if !strings.Contains(got, words) {
						t.Errorf("no %q in: %s", words, got)
					}
				}
			})
		}
	}
}

// A jti that was used is refused with when and where it was first seen, harmless
// headers are accepted, and a request without a client_id of this server names the server.
//
// Covers: D-10, D-26, D-29
func TestSecondUsesAreNamed(t *testing.T) {
	x := newTable(t)
	harmless := map[string]any{
		"typ": "JWT",
		"kid": "key-1",
		"cty": "json",
	}

	for _, place := range []string{"register", "client_credentials", "introspect", "revoke"} {
		t.Run(place, func(t *testing.T) {
			compact := x.sign(place, x.client, nil, harmless)
			if got := x.send(place, compact); got["error"] != "" {
				t.Fatalf("the first time: %v", got)
			}

			got := x.send(place, compact)["error_description"]
			endpoint := strings.TrimPrefix(x.endpoint(place), x.Issuer+"/")
			for _, words := range []string{"used before", x.Now().UTC().Format("2006-01-02T"), endpoint} {
				if !strings.Contains(got, words) {
					t.Errorf("no %q in: %s", words, got)
				}
			}
		})
	}

	got := x.send("client_credentials", x.sign("client_credentials", x.client, names("of-another-server"), nil))
	if text := got["error_description"]; !strings.Contains(text, "registered at the server of "+x.Issuer) {
		t.Errorf("the server is not named: %s", text)
	}
}

// Each mistake in a registration request is named, and every stored parameter echoed.
//
// Covers: D-32, D-36
func TestSlipsInRegistrationsAreNamed(t *testing.T) {
	x := newTable(t)
	body := func(version any, edit change) string {
		b, err := json.Marshal(map[string]any{
			"software_statement": x.sign("register", x.client, edit, nil),
			"udap":               version,
		})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}

	got := x.answer(x.endpoint("register"), "application/json", body(1, nil))
	if !strings.Contains(got["error_description"], `it must be the string '1'`) {
		t.Errorf("udap as a number: %v", got)
	}
	got = x.answer(x.endpoint("register"), "application/json", body("1", set("scope", "system/Patient.rs junk")))
	if got["scope"] != "system/Patient.rs" || got["client_name"] != "Test client" || got["client_id"] != string(x.id) {
		t.Errorf("what was stored is not echoed: %v", got)
	}
	for _, absent := range []string{"logo_uri", "client_uri", "jwks_uri", "tos_uri"} {
		if _, ok := got[absent]; ok {
			t.Errorf("%s is echoed, and was not sent", absent)
		}
	}
}

// A host that is not the public base's is named beside it, for the operator.
//
// Covers: D-06
func TestHostsThatDifferAreNamed(t *testing.T) {
	x := newTable(t)
	res, _ := x.Get("/acme/fhir/metadata", "Host", "elsewhere.test")
	page := adminGet(t, x.Destination, "/traces/"+res.Header.Get("Trace-Id"))
	if res.StatusCode != http.StatusMisdirectedRequest ||
		!strings.Contains(page, "the host elsewhere.test") ||
		!strings.Contains(page, "the public base URL, fhir.test") {
		t.Errorf("%d: %s", res.StatusCode, page)
	}

	for range 3 {
		if res, _ := x.Get("/acme/fhir/metadata", "X-Forwarded-Host", "proxy.test"); res.StatusCode != http.StatusOK {
			t.Errorf("a field of a proxy: %d", res.StatusCode)
		}
	}
	log := x.Log.String()
	once := strings.Count(log, "level=WARN msg=\"X-Forwarded") == 1
	if !once || !strings.Contains(log, "expected=fhir.test found=proxy.test") {
		t.Errorf("the log does not have both hosts, or not once as a warning: %s", log)
	}
}
