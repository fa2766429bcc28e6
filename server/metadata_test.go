package server_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/servertest"
)

const wellKnown = "/acme/fhir/.well-known/udap"

// document is a discovery document, and the claims of its signed metadata.
type document struct {
	text   string
	plain  map[string]any
	header map[string]any
	claims map[string]any
}

func parse(t *testing.T, text string) document {
	t.Helper()
	d := document{text: text}
	if err := json.Unmarshal([]byte(text), &d.plain); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	signed, _ := d.plain["signed_metadata"].(string)
	parts := strings.Split(signed, ".")
	if len(parts) != 3 {
		return d
	}

	for i, into := range []*map[string]any{&d.header, &d.claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, into); err != nil {
			t.Fatal(err)
		}
	}

	return d
}

func (d document) signer(t *testing.T) (chain []string) {
	t.Helper()
	list, _ := d.header["x5c"].([]any)
	for _, c := range list {
		chain = append(chain, c.(string))
	}
	if len(chain) == 0 {
		t.Fatal("no x5c")
	}
	return chain
}

func adminGet(t *testing.T, d *servertest.Destination, path string) string {
	t.Helper()
	res, err := http.Get(d.Admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()

	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Covers: case 001, case 014
func TestMetadataURLsComeFromConfiguration(t *testing.T) {
	d := servertest.Start(t)
	_, want := d.Get(wellKnown)
	for name, header := range map[string][]string{
		"forwarded": {
			"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http", "Forwarded",
			"host=evil.example;proto=http", "X-Forwarded-Port", "1", "X-Forwarded-Prefix", "/x",
		},
		"private": {"Host", strings.TrimPrefix(strings.TrimSuffix(d.Config.Private, "/acme/fhir"), "https://")},
	} {
		if res, got := d.Get(wellKnown, header...); res.StatusCode != 200 || got != want {
			t.Errorf("%s: %d, another document:\n%s\n%s", name, res.StatusCode, got, want)
		}
	}

	for _, text := range []string{
		request("GET", wellKnown, "evil.example"),
		request("GET", "http://evil.example"+wellKnown, "fhir.test"),
		request("GET", "https://evil.example"+wellKnown, "evil.example"),
	} {
		if got := d.Raw(text); status(t, got) != 421 || strings.Contains(got, "evil") {
			t.Errorf("a foreign host:\n%s", got)
		}
	}

	doc := parse(t, want)
	for _, of := range []map[string]any{doc.plain, doc.claims} {
		for name, v := range of {
			if u, ok := v.(string); ok && strings.Contains(u, "://") && name != "signed_metadata" &&
				!strings.HasPrefix(u, "https://fhir.test/acme/") {
				t.Errorf("%s is %s", name, u)
			}
		}
	}

	for _, leak := range []string{"destination.test", d.Addr, "127.0.0.1", d.Dir} {
		if strings.Contains(want, leak) {
			t.Errorf("the document tells %q", leak)
		}
	}
}

// Covers: case 002, case 003, case 005
func TestMetadataByCommunity(t *testing.T) {
	d := servertest.Start(t)
	ask := func(query string) document {
		res, text := d.Get(wellKnown + query)
		if res.StatusCode != 200 || !strings.Contains(res.Header.Get("Cache-Control"), "private") {
			t.Fatalf("%s: %d, Cache-Control %q", query, res.StatusCode, res.Header.Get("Cache-Control"))
		}
		return parse(t, text)
	}

	own := map[string]string{}
	for _, name := range []string{"a", "b"} {
		chain, err := certs.LoadCertificates(d.Dir + "/" + name + ".pem")
		if err != nil {
			t.Fatal(err)
		}
		own[name] = base64.StdEncoding.EncodeToString(chain[0].Raw)
	}

	for range 3 {
		for query, name := range map[string]string{
			"?community=" + url.QueryEscape(servertest.URIB): "b",
			"":                              "a",
			"?community=" + servertest.URIA: "a",
		} {
			doc := ask(query)
			if doc.signer(t)[0] != own[name] || doc.claims["iss"] != servertest.Base ||
				doc.claims["sub"] != servertest.Base {
				t.Errorf("%s: not signed by our certificate of community %s, or for %v", query, name, doc.claims["iss"])
			}
		}
	}

	for range 2 {
		if res, text := d.Get(wellKnown + "?community=urn:nope"); res.StatusCode != 204 || text != "" {
			t.Errorf("an unknown community: %d %s", res.StatusCode, text)
		}
	}

	fallback := servertest.Start(t, func(w *servertest.Env) { w.Config.UnknownCommunity = "default" })
	_, want := fallback.Get(wellKnown)
	if res, text := fallback.Get(wellKnown + "?community=urn:nope"); res.StatusCode != 200 || text != want {
		t.Errorf("an unknown community, answered by default: %d", res.StatusCode)
	}
}

// Covers: case 004
func TestOddCommunityValues(t *testing.T) {
	d := servertest.Start(t)
	for _, query := range []string{
		"community=" + servertest.URIA + "&community=" + servertest.URIB, "community=", "community=" + strings.Repeat(
			"x", 60<<10),
		"community=%00", "community=%0d%0aX-Evil:%20y", "community=urn:a%23fragment", "community=%3Cscript%3E", "community=%zz", "community=a;b", "%63ommunity=x",
	} {
		res, text := d.Get(wellKnown + "?" + query)
		switch res.StatusCode {
		case 200, 204, 400:
		default:
			t.Errorf("%.40s: %d", query, res.StatusCode)
		}

		if strings.Contains(text, "<script>") || res.Header.Get("X-Evil") != "" || strings.Contains(text, "xxxxxxxx") {
			t.Errorf("%.40s is reflected: %.200s", query, text)
		}
	}

	if strings.Contains(d.Log.String(), "\nX-Evil") || strings.Contains(d.Log.String(), "\x00") {
		t.Error("a value stands unescaped in the log")
	}
}

// Covers: case 006
func TestSignedMetadataProfile(t *testing.T) {
	d := servertest.Start(t)
	_, text := d.Get(wellKnown)
	doc := parse(t, text)
	exp, iat := int64(doc.claims["exp"].(float64)), int64(doc.claims["iat"].(float64))
	if doc.header["alg"] != "RS256" || exp-iat > 366*24*3600 || exp <= iat || iat > time.Now().Unix() {
		t.Errorf("alg %v, iat %d, exp %d", doc.header["alg"], iat, exp)
	}

	for _, name := range []string{"token_endpoint", "registration_endpoint", "authorization_endpoint"} {
		if doc.claims[name] != doc.plain[name] {
			t.Errorf("%s: signed %v, plain %v", name, doc.claims[name], doc.plain[name])
		}
	}

	for i, c := range doc.signer(t) {
		der, err := base64.StdEncoding.DecodeString(c)
		if err != nil {
			t.Errorf("x5c[%d] is not in the standard alphabet: %v", i, err)
		}
		list, err := certs.ParseCertificates(der)
		if err != nil || list[0].IsCA != (i > 0) {
			t.Errorf("x5c[%d]: %v", i, err)
		}
	}

	again := servertest.Start(t)
	_, text = again.Get(wellKnown)
	if other := parse(t, text); other.claims["jti"] == doc.claims["jti"] || doc.claims["jti"] == "" {
		t.Error("two signings have one jti")
	}
}

// A community whose certificate is revoked while the server runs is withheld,
// alone, and /ready has the reason.
//
// Covers: case 007
func TestCommunityIsWithheld(t *testing.T) {
	var revoked *certs.Identity
	d := servertest.Start(t, func(w *servertest.Env) {
		id, err := certs.LoadIdentity(w.Dir+"/b.pem", w.Dir+"/b.key")
		if err != nil {
			t.Fatal(err)
		}
		revoked = id
		w.Publish("b", w.B.Issuing, certs.RevokedEntry{
			Serial: id.Leaf().SerialNumber,
			Time:   time.Now().Add(-time.Minute),
		})
	})
	if res, _ := d.Get(wellKnown + "?community=" + servertest.URIB); res.StatusCode != 204 {
		t.Errorf("metadata signed with a revoked certificate (%s): %d", certs.Describe(revoked.Leaf()), res.StatusCode)
	}

	if res, _ := d.Get(wellKnown + "?community=" + servertest.URIA); res.StatusCode != 200 {
		t.Errorf("the other community: %d", res.StatusCode)
	}
	var ready struct {
		Ready       bool
		Communities []struct{ URI, Withheld string }
	}
	if err := json.Unmarshal([]byte(adminGet(t, d, "/ready")), &ready); err != nil {
		t.Fatal(err)
	}

	if !ready.Ready || ready.Communities[0].Withheld != "" || !strings.Contains(ready.Communities[1].Withheld, "revo") {
		t.Errorf("readiness: %+v", ready)
	}
}

// Covers: case 008, case 009, case 011
func TestMetadataMethodsAndOrigins(t *testing.T) {
	d := servertest.Start(t)
	full, text := d.Get(wellKnown)
	head := d.Do("HEAD", wellKnown, nil)
	if head.StatusCode != 200 || head.ContentLength != int64(len(text)) ||
		head.Header.Get("ETag") != full.Header.Get("ETag") || head.Header.Get("Content-Type") != "application/json" {
		t.Errorf("HEAD: %d %v", head.StatusCode, head.Header)
	}

	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} {
		if res := d.Do(method, wellKnown, nil); res.StatusCode != 405 || res.Header.Get("Allow") == "" {
			t.Errorf("%s: %d, Allow %q", method, res.StatusCode, res.Header.Get("Allow"))
		}
	}

	for _, junk := range []string{"Bearer junk", "Basic eDp5", "x"} {
		if res, got := d.Get(wellKnown, "Authorization", junk); res.StatusCode != 200 || got != text {
			t.Errorf("with Authorization %q: %d", junk, res.StatusCode)
		}
	}

	if res, _ := d.Get(wellKnown, "If-None-Match", full.Header.Get("ETag")); res.StatusCode != 304 {
		t.Errorf("not modified: %d", res.StatusCode)
	}

	for _, path := range []string{wellKnown, metadata, "/acme/fhir/Patient", "/acme/oauth/token"} {
		for _, method := range []string{"GET", "OPTIONS", "POST"} {
			res := d.Do(method, path, nil, "Origin", "https://evil.example", "Access-Control-Request-Method", "GET",
				"Access-Control-Request-Headers", "Authorization")
			if allowed := res.Header.Get("Access-Control-Allow-Origin"); res.Header.Get(
				"Access-Control-Allow-Credentials") != "" || allowed != "" && allowed != "*" {
				t.Errorf("%s %s: %v", method, path, res.Header)
			}
		}
	}
}

// Covers: case 010
func TestMetadataPathVariants(t *testing.T) {
	d := servertest.Start(t)
	for _, path := range []string{
		"/acme/fhir//.well-known/udap", "/acme/fhir/.well-known/udap/", "/acme/fhir/%2ewell-known/udap", "/acme/fhir/x/../.well-known/udap",
		"/acme/fhir/.WELL-KNOWN/UDAP", "/acme/fhir/.well-known%2Fudap", "//evil/acme/fhir/.well-known/udap", "/.well-known/udap",
	} {
		text := d.Raw(request("GET", path, "fhir.test"))
		if got := status(t, text); got < 400 || got > 404 || strings.Contains(text, "\r\nLocation") {
			t.Errorf("%s: %d\n%s", path, got, text)
		}
	}

	// A base URL written with a slash at its end (D-04).
	if _, text := d.Get("/acme/fhir//.well-known/udap"); !strings.Contains(text,
		"the FHIR base URL is "+servertest.Base+", without a slash at its end") {
		t.Errorf("the canonical base is not named: %s", text)
	}
}

// Many requests cost one signature: they all get the same one.
//
// Covers: case 013
func TestMetadataIsSignedOnce(t *testing.T) {
	d := servertest.Start(t)
	var mu sync.Mutex
	seen := map[string]bool{}
	var all sync.WaitGroup

	for range 8 {
		all.Go(func() {
			for range 60 {
				_, text := d.Get(wellKnown)
				mu.Lock()
				seen[text] = true
				mu.Unlock()
			}
		})
	}

	all.Wait()
	if len(seen) != 1 {
		t.Errorf("%d different documents", len(seen))
	}
}

// Covers: case 015
func TestDiscoveryDocumentsAgree(t *testing.T) {
	d := servertest.Start(t)
	_, text := d.Get(wellKnown)
	udap := parse(t, text)

	for _, path := range []string{
		"/acme/fhir/.well-known/smart-configuration",
		"/.well-known/oauth-authorization-server/acme/oauth",
	} {
		res, text := d.Get(path)
		if res.StatusCode != 200 {
			t.Fatalf("%s: %d %s", path, res.StatusCode, text)
		}
		other := parse(t, text)

		for _, name := range []string{
			"token_endpoint", "registration_endpoint", "authorization_endpoint",
			"introspection_endpoint", "revocation_endpoint", "scopes_supported",
			"grant_types_supported", "token_endpoint_auth_methods_supported",
		} {
			if !reflect.DeepEqual(other.plain[name], udap.plain[name]) {
				t.Errorf("%s: %s is %v, in UDAP's document %v", path, name, other.plain[name], udap.plain[name])
			}
		}

		if m := other.plain["code_challenge_methods_supported"]; !reflect.DeepEqual(m, []any{"S256"}) {
			t.Errorf("%s: challenge methods %v", path, m)
		}
	}

	for _, s := range udap.plain["scopes_supported"].([]any) {
		if s == "udap" {
			t.Error("scope udap without udap_to")
		}
	}

	_, text = d.Get(metadata)
	for _, name := range []string{"token_endpoint", "registration_endpoint"} {
		if !strings.Contains(text, udap.plain[name].(string)) {
			t.Errorf("the CapabilityStatement lacks %s", name)
		}
	}
}
