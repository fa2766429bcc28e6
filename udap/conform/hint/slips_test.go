package hint_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/hint"
	"fhirdest.example/udap/trace"
)

const (
	id    = "0123456789abcdef0123456789abcdef"
	other = "ffffffffffffffffffffffffffffffff"
	site  = "/acme/lab/" + id
	base  = site + "/fhir"
	oauth = site + "/oauth"
	urn   = "urn:oid:2.16.840.1.113883.3.9999.1"
)

var place = hint.Place{
	Base:        "https://localhost:8443" + base,
	Issuer:      "https://localhost:8443" + oauth,
	Communities: []trace.CommunityURI{urn},
}

// slip is a request with one mistake, and the words that the hint must have.
type slip struct {
	hint   string
	method string // GET, if empty
	target string
	head   string // field lines, for a form or JSON those of its kind if empty
	body   string
	status int // 404, if 0
	words  string
}

func (s slip) exchange() *conform.Exchange {
	e := &conform.Exchange{
		N:      7,
		Method: "GET",
		Target: s.target,
		Status: 404,
	}

	if s.method != "" {
		e.Method = s.method
	}
	if s.status != 0 {
		e.Status = s.status
	}

	head := s.head
	if !strings.Contains(head, "Host:") {
		head += "Host: localhost:8443\n"
	}
	e.Request.Head = []byte(e.Method + " " + e.Target + " HTTP/1.1\r\n" + strings.ReplaceAll(head, "\n",
		"\r\n") + "\r\n")
	e.Request.Body = []byte(s.body)
	e.Request.Length = int64(len(s.body))

	return e
}

const (
	asForm = "Content-Type: application/x-www-form-urlencoded\n"
	asJSON = "Content-Type: application/json\n"
)

// jwt returns a compact JWT with this payload, signed by nobody.
func jwt(payload string) string {
	e := base64.RawURLEncoding
	return e.EncodeToString([]byte(`{"alg":"ES256"}`)) + "." + e.EncodeToString([]byte(payload)) + ".c2ln"
}

// form is a good token request up to one parameter.
func form(more string) string {
	return "grant_type=client_credentials&udap=1&client_assertion_type=" +
		"urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&" + more
}

func asked(name, target, words string) slip {
	return slip{hint: name, target: target, words: words}
}

func posted(name, body, words string) slip {
	return slip{
		hint:   name,
		method: "POST",
		target: oauth + "/token",
		head:   asForm,
		body:   body,
		status: 400,
		words:  words,
	}
}

func registered(name, body, words string) slip {
	return slip{
		hint:   name,
		method: "POST",
		target: oauth + "/register",
		head:   asJSON,
		body:   body,
		status: 400,
		words:  words,
	}
}

var paths = []slip{
	asked("another-session", "/acme/lab/"+other+"/fhir", "another session"),
	asked("another-session", "/acme/lab/"+strings.ToUpper(id)+"/fhir/metadata", "in another case"),
	asked("another-session", "/acme/lab/"+id[:20]+"/fhir", "cut off"),
	asked("placeholder", base+"/Patient/%7Bid%7D", "{id}"),
	asked("placeholder", base+"/Patient/undefined", "undefined"),
	asked("url-in-path", base+"/https://localhost:8443"+base+"/Patient", "whole URL"),
	asked("well-known-twice", base+"/.well-known/udap/.well-known/udap", "twice"),
	asked("base-twice", base+base+"/metadata", "twice"),
	asked("base-twice", base+"/fhir/metadata", "/fhir twice"),
	asked("base-twice", oauth+"/oauth/token", "/oauth twice"),
	asked("question-mark-encoded", base+"/.well-known/udap%3Fcommunity=x", "%3F"),
	asked("ampersand-for-question-mark", base+"/.well-known/udap&community=x", "&"),
	asked("fragment-in-path", base+"/.well-known/udap%23top", "fragment"),
	asked("space-in-path", base+"/.well-known/udap%20", "space"),
	asked("space-in-path", base+"/.well-known/%E2%80%8Budap", "invisible"),
	asked("pasted-punctuation", base+"/.well-known/udap%22", "quote"),
	asked("pasted-punctuation", oauth+"/token).", "bracket"),
	asked("semicolon-in-path", base+"/metadata;jsessionid=1", "semicolon"),
	asked("backslash-in-path", base+"%5C.well-known%5Cudap", "backslash"),
	asked("slash-encoded", base+"%2F.well-known%2Fudap", "%2F"),
	asked("letters-encoded", base+"/.well-known/%75dap", "percent-encoded"),
	asked("dot-segments", base+"/x/../.well-known/udap", ". or .."),
	asked("slash-doubled", base+"//.well-known/udap", "two slashes"),
	asked("slash-at-end", base+"/", "slash at its end"),
	asked("slash-at-end", oauth+"/token/", "slash at its end"),
	asked("file-extension", base+"/.well-known/udap.json", "extension"),
	asked("case-of-path", base+"/.well-known/UDAP", "other letters"),
	asked("case-of-path", site+"/FHIR/Patient", "other letters"),
	asked("well-known-before-path", "/.well-known/udap"+base, "RFC 8414"),
	asked("well-known-at-issuer", oauth+"/.well-known/udap", "at the issuer"),
	asked("well-known-at-issuer", oauth+"/.well-known/oauth-authorization-server", "RFC 8414"),
	asked("well-known-without-fhir", site+"/.well-known/udap", "lacks /fhir"),
	asked("well-known-of-issuer-at-base", base+"/.well-known/openid-configuration", "at the issuer"),
	asked("well-known-misspelt", base+"/well-known/udap", "written otherwise"),
	asked("well-known-misspelt", base+"/.wellknown/udap-metadata", "written otherwise"),
	asked("endpoint-below-base", base+"/token", "beside it"),
	asked("endpoint-below-base", base+"/oauth/register", "beside it"),
	asked("endpoint-misspelt", site+"/auth/token", "not that of an endpoint"),
	asked("endpoint-misspelt", oauth+"/registration", "not that of an endpoint"),
	asked("endpoint-misspelt", oauth+"/tokn", "not that of an endpoint"),
	asked("fhir-missing", site+"/Patient/1", "lacks /fhir"),
	asked("records-at-issuer", oauth+"/Patient/1", "below the authorization server"),
	asked("version-in-path", base+"/R4/Patient/1", "version of FHIR"),
	asked("capability-statement", base+"/conformance", "CapabilityStatement"),
	asked("operation-without-dollar", base+"/Patient/export", "without $"),
	asked("resource-type-misspelt", base+"/patient/1", "type of resource"),
	asked("resource-type-misspelt", base+"/Observations?code=1", "type of resource"),
	asked("resource-type-misspelt", base+"/Medicationrequest", "type of resource"),
	asked("root-of-session", site, "not the FHIR base URL"),
}

var queries = []slip{
	{hint: "community-misspelt", target: base + "/.well-known/udap?comunity=" + urn, status: 200, words: "comunity"},
	{hint: "community-misspelt", target: base + "/.well-known/udap?Community=" + urn, status: 200, words: "Community"},
	{hint: "community-empty", target: base + "/.well-known/udap?community=", status: 400, words: "without a value"},
	{
		hint:   "community-twice",
		target: base + "/.well-known/udap?community=a:b&community=c:d",
		status: 400,
		words:  "once",
	},
	{hint: "community-quoted", target: base + "/.well-known/udap?community=%22" + urn + "%22", words: "quotes"},
	{
		hint:   "community-encoded-twice",
		target: base + "/.well-known/udap?community=urn%253Aoid%253A" + urn[8:],
		status: 204,
		words:  "encoded twice",
	},
	{
		hint:   "community-nearly-ours",
		target: base + "/.well-known/udap?community=" + urn[:len(urn)-2],
		status: 204,
		words:  "not quite",
	},
	{hint: "community-not-a-uri", target: base + "/.well-known/udap?community=acme", status: 400, words: "no URI"},
	{hint: "ampersand-as-html", target: base + "/Patient?name=a&amp;birthdate=b", status: 400, words: "HTML"},
	{hint: "question-mark-twice", target: base + "/Patient?name=a?birthdate=b", status: 400, words: "second"},
	{
		hint:   "parameters-in-url",
		method: "POST",
		target: oauth + "/token?grant_type=client_credentials",
		head:   asForm,
		body:   "a=b",
		status: 400,
		words:  "in the URL",
	},
}

var methods = []slip{
	{hint: "method-in-small-letters", method: "get", target: base + "/Patient", status: 405, words: "small letters"},
	{hint: "get-for-post", target: oauth + "/token", status: 405, words: "POST alone"},
	{hint: "get-for-post", method: "HEAD", target: oauth + "/register", status: 405, words: "POST alone"},
	{
		hint:   "put-for-register",
		method: "PUT",
		target: oauth + "/register",
		head:   asJSON,
		body:   "{}",
		status: 405,
		words:  "A PUT came",
	},
	{hint: "delete-for-register", method: "DELETE", target: oauth + "/register/abc", status: 404, words: "DELETE"},
	{hint: "post-for-get", method: "POST", target: base + "/.well-known/udap", status: 405, words: "GET alone"},
	{
		hint:   "preflight",
		method: "OPTIONS",
		target: oauth + "/token",
		head:   "Origin: https://a.test\n",
		status: 403,
		words:  "CORS",
	},
	{
		hint:   "search-by-post",
		method: "POST",
		target: base + "/Patient",
		head:   asForm,
		body:   "name=a",
		status: 415,
		words:  "/_search",
	},
}

var heads = []slip{
	{hint: "host-differs", target: base + "/metadata", head: "Host: LOCALHOST:8443\n", status: 421, words: "letters"},
	{hint: "host-differs", target: base + "/metadata", head: "Host: localhost\n", status: 421, words: "another port"},
	{
		hint:   "host-differs",
		target: base + "/metadata",
		head:   "Host: 127.0.0.1:8443\n",
		status: 421,
		words:  "another one",
	},
	{hint: "plain-http", target: base + "/metadata", head: "X-Forwarded-Proto: http\n", words: "by http"},
	{
		hint:   "form-as-json",
		method: "POST",
		target: oauth + "/token",
		head:   asJSON,
		body:   `{"grant_type":"x"}`,
		status: 415,
		words:  "JSON was posted",
	},
	{
		hint:   "json-as-form",
		method: "POST",
		target: oauth + "/register",
		head:   asForm,
		body:   "software_statement=a",
		status: 415,
		words:  "A form was posted",
	},
	{
		hint:   "content-type-missing",
		method: "POST",
		target: oauth + "/token",
		body:   form("a=b"),
		status: 415,
		words:  "no Content-Type",
	},
	{
		hint:   "content-type-twice",
		method: "POST",
		target: oauth + "/token",
		head:   asForm + asForm,
		body:   form("a=b"),
		status: 415,
		words:  "more than once",
	},
	{
		hint:   "content-type-other",
		method: "POST",
		target: oauth + "/token",
		head:   "Content-Type: multipart/form-data\n",
		body:   "--x",
		status: 415,
		words:  "multipart",
	},
	{
		hint:   "content-type-other",
		method: "POST",
		target: oauth + "/register",
		head:   "Content-Type: text/plain\n",
		body:   "{}",
		status: 415,
		words:  "text/plain",
	},
	{
		hint:   "body-compressed",
		method: "POST",
		target: oauth + "/register",
		head:   asJSON + "Content-Encoding: gzip\n",
		body:   "\x1f\x8bx",
		status: 415,
		words:  "compressed",
	},
	{hint: "secret-in-authorization", method: "POST", target: oauth + "/token", head: asForm +
		"Authorization: Basic YWJj…\n", body: form("a=b"), status: 401, words: "client secret"},
	{
		hint:   "bearer-at-endpoint",
		method: "POST",
		target: oauth + "/register",
		head: asJSON +
			"Authorization: Bearer abcd…\n",
		body:   `{"udap":"1","software_statement":"a.b.c"}`,
		status: 401,
		words:  "An Authorization header",
	},
	{
		hint:   "bearer-missing",
		target: base + "/Patient",
		head:   "Authorization: abcd…\n",
		status: 401,
		words:  "no scheme",
	},
	{
		hint:   "bearer-missing",
		target: base + "/Patient",
		head:   "Authorization: Bearer: abcd…\n",
		status: 401,
		words:  "after Bearer",
	},
	{
		hint:   "bearer-twice",
		target: base + "/Patient",
		head:   "Authorization: Bearer Bear…\n",
		status: 401,
		words:  "Bearer twice",
	},
	{
		hint:   "bearer-placeholder",
		target: base + "/Patient",
		head:   "Authorization: Bearer unde…\n",
		status: 401,
		words:  "placeholder",
	},
	{
		hint:   "bearer-placeholder",
		target: base + "/Patient",
		head:   "Authorization: Bearer …\n",
		status: 401,
		words:  "too short for a token",
	},
}

var bodies = []slip{
	registered("body-empty", "", "no body"),
	posted("body-empty", "", "no body"),
	registered("json-byte-order-mark", "\ufeff{}", "byte order mark"),
	registered("json-in-utf16", "{\x00\"\x00", "UTF-16"),
	registered("body-is-jwt", jwt("{}"), "JWT alone"),
	registered("body-is-pem", "-----BEGIN CERTIFICATE-----\n", "PEM"),
	registered("json-in-base64", base64.StdEncoding.EncodeToString([]byte(`{"udap":"1"}`)), "base64 of JSON"),
	registered("json-as-string", `"{\"udap\":\"1\"}"`, "encoded twice"),
	registered("json-array", `[{"udap":"1"}]`, "array"),
	registered("json-two-values", `{"udap":"1"}{}`, "follows"),
	registered("json-member-twice", `{"udap":"1","udap":"1"}`, "udap twice"),
	registered("json-curly-quotes", `{“udap”:"1"}`, "typographic"),
	registered("json-comment", "{\n// the version\n\"udap\":\"1\"}", "comment"),
	registered("json-trailing-comma", `{"udap":"1",}`, "comma"),
	registered("json-of-python", `{"udap":None}`, "None"),
	registered("json-single-quotes", `{'udap':'1'}`, "single quotes"),
	registered("json-names-unquoted", `{udap:"1"}`, "without quotes"),
	registered("json-line-break-in-string", "{\"software_statement\":\"abc\ndef\"}", "line break"),
	registered("json-not-utf8", "{\"udap\":\"\xe9\"}", "not UTF-8"),
	registered("json-cut-off", `{"udap":"1","software_statement":"a.b`, "ends before"),
	registered("json-broken", `{"udap" "1"}`, "no JSON"),
	registered("register-member-misspelt", `{"softwareStatement":"a.b.c","udap":"1"}`, "softwareStatement"),
	registered("register-parameters-unsigned", `{"client_name":"a","udap":"1"}`, "RFC 7591"),
	registered("register-parameters-unsigned", `{"jwt":"a.b.c","udap":"1"}`, "member jwt"),
	registered("register-statement-as-object", `{"software_statement":{"iss":"a"},"udap":"1"}`, "nobody signed"),
	registered("register-udap-as-number", `{"software_statement":"a.b.c","udap":1}`, "no string"),
	{
		hint:   "json-trailing-comma",
		method: "PUT",
		target: base + "/Patient/1",
		status: 400,
		words:  "comma",
		head:   "Content-Type: application/fhir+json\n",
		body:   `{"resourceType":"Patient",}`,
	},
}

var forms = []slip{
	posted("form-field-twice", form("scope=a&scope=b"), "scope twice"),
	posted("form-question-mark", "?"+form("scope=a"), "question mark"),
	posted("form-semicolons", "grant_type=client_credentials;scope=a", "semicolons"),
	posted("form-html-ampersand", "grant_type=client_credentials&amp;scope=a", "HTML"),
	posted("form-colons", "grant_type: client_credentials", "name: value"),
	posted("form-line-break-at-end", form("scope=a\n"), "line break"),
	posted("form-spaces", form("scope=a+"), "space around"),
	posted("form-encoded-twice", form("redirect_uri=https%253A%252F%252Fa.test"), "encoded twice"),
	posted("form-field-misspelt", form("clientAssertion=a.b.c"), "clientAssertion"),
	posted("form-field-misspelt", form("client_assertions=a.b.c"), "client_assertions"),
	posted("form-grant-type", "grant_type=client-credentials", "nearly client_credentials"),
	posted("form-assertion-type", "client_assertion_type=jwt-bearer", "RFC 7523"),
	posted("form-assertion-type", "client_assertion_type=urn:ietf:params:oauth:grant-type:jwt-bearer", "RFC 7523"),
}

var jwts = []slip{
	posted("jwt-quoted", form("client_assertion=%22"+jwt("{}")+"%22"), "quotes"),
	posted("jwt-with-bearer", form("client_assertion=Bearer+"+jwt("{}")), "Bearer"),
	posted("jwt-with-spaces", form("client_assertion=a.b%0A.c"), "line break"),
	posted("jwt-with-padding", form("client_assertion=a%3D.b%3D%3D.c"), "padding"),
	posted("jwt-standard-base64", form("client_assertion=a.b%2Bb.c"), "standard alphabet"),
	posted("jwt-placeholder", form("client_assertion=undefined"), "placeholder"),
	posted("jwt-encrypted", form("client_assertion=a.b.c.d.e"), "encrypted"),
	posted("jwt-segments", form("client_assertion=a.b"), "2 segments"),
	registered("jwt-segments", `{"software_statement":"a.b","udap":"1"}`, "2 segments"),
	posted("jwt-of-other-kind", form("client_assertion="+jwt(`{"grant_types":[]}`)), "software statement"),
	registered("jwt-of-other-kind", `{"udap":"1","software_statement":"`+jwt(`{"extensions":{}}`)+`"}`, "token"),
	posted("jwt-of-other-session", form("client_assertion="+jwt(`{"aud":"https://localhost:8443/acme/lab/`+other+
		`/oauth/token"}`)), "another session"),
	posted("jwt-by-http", form("client_assertion="+jwt(`{"aud":["http://localhost:8443`+oauth+`/token"]}`)), "http://"),
}

// Each slip is named, and every hint has a slip.
func TestSlipsAreNamed(t *testing.T) {
	known := hint.Names()
	shown := map[string]bool{}
	for _, s := range slices.Concat(paths, queries, methods, heads, bodies, forms, jwts) {
		shown[s.hint] = true
		t.Run(fmt.Sprintf("%s/%.60s", s.hint, s.target+s.body), func(t *testing.T) {
			found := place.Find(s.exchange())
			at := slices.IndexFunc(found, func(f conform.Finding) bool { return f.Check == "hint."+s.hint })
			if at < 0 {
				t.Fatalf("found %+v", found)
			}

			f := found[at]
			if !strings.Contains(f.Text, s.words) || f.Remedy == "" || f.Verdict != conform.Warned || f.Exchange != 7 {
				t.Errorf("%+v, want the words %q", f, s.words)
			}
			if at > 0 {
				t.Errorf("%s comes first", found[0].Check)
			}
		})
	}

	for _, name := range known {
		if !shown[name] {
			t.Errorf("no slip shows the hint %s", name)
		}
	}

	if len(known) < 40 || len(slices.Compact(slices.Sorted(slices.Values(known)))) != len(known) {
		t.Errorf("%d hints, or a name twice", len(known))
	}
}

// A request that is as it should be has no hint.
func TestGoodRequestsHaveNoHint(t *testing.T) {
	good := form("scope=system%2FPatient.rs&client_assertion=" + jwt(`{"aud":"`+place.Issuer+`/token"}`))
	for _, s := range []slip{
		{target: base + "/.well-known/udap", status: 200},
		{target: base + "/.well-known/udap?community=urn%3Aoid%3A" + urn[8:], status: 200},
		{target: base + "/.well-known/udap?community=urn:example:unknown", status: 204},
		{target: base + "/metadata", status: 200},
		{target: "/.well-known/oauth-authorization-server" + oauth, status: 200},
		{target: oauth + "/authorize?client_id=a&scope=b", status: 303},
		{target: base + "/Patient?name=a%26b", head: "Authorization: Bearer abcd…\n", status: 200},
		{target: base + "/Patient/1/_history/2", head: "Authorization: DPoP abcd…\n", status: 200},
		{target: base + "/Patient/nobody", head: "Authorization: Bearer abcd…\n", status: 404},
		{target: base, status: 401},
		{method: "POST", target: oauth + "/token", head: asForm, body: good, status: 200},
		{method: "POST", target: oauth + "/register", head: asJSON, status: 201,
			body: `{"software_statement":"` + jwt("{}") + `","udap":"1","certifications":[]}`},
		{
			method: "PUT",
			target: base + "/Patient/1",
			head:   "Content-Type: application/fhir+json\n",
			body:   `{"resourceType":"Patient"}`,
			status: 200,
		},
	} {
		if found := place.Find(s.exchange()); len(found) > 0 {
			t.Errorf("%s %s: %+v", s.method, s.target, found)
		}
	}
}

// No request makes it panic, loop or quote without bounds.
func FuzzFind(f *testing.F) {
	for _, s := range slices.Concat(paths, queries, methods, heads, bodies, forms, jwts) {
		f.Add(s.method, s.target, s.head, s.body)
	}
	f.Fuzz(func(t *testing.T, method, target, head, body string) {
		s := slip{
			method: method,
			target: target,
			head:   head,
			body:   body,
		}
		for _, found := range place.Find(s.exchange()) {
			if found.Text == "" || len(found.Text) > 800 || len(found.Found) > 800 {
				t.Errorf("%+v", found)
			}

			for _, text := range []string{found.Text, found.Found} {
				if strings.ContainsFunc(text, func(r rune) bool { return !trace.Visible(r) && r != '\uFFFD' }) {
					t.Errorf("%q", text)
				}
			}
		}
	})
}
