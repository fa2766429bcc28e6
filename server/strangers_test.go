package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"fhirdest.example/server/servertest"
)

// interactions are what may be asked of a type.
var interactions = []struct{ method, path string }{
	{"GET", "/{type}"},
	{"POST", "/{type}"},
	{"POST", "/{type}/_search"},
	{"PUT", "/{type}?identifier=x"},
	{"GET", "/{type}/x"},
	{"HEAD", "/{type}/x"},
	{"PUT", "/{type}/x"},
	{"PATCH", "/{type}/x"},
	{"DELETE", "/{type}/x"},
	{"GET", "/{type}/_history"},
	{"GET", "/{type}/x/_history"},
	{"GET", "/{type}/x/_history/1"},
}

// Without a token every interaction that the CapabilityStatement names is refused with a
// challenge, before anything else is looked at, and metadata and discovery are not.
// Nothing below the FHIR base sets a cookie, or runs when it is shown in a browser.
//
// Covers: FS-109, FS-201, FS-202, case 232
func TestStrangersGetMetadataOnly(t *testing.T) {
	d := servertest.Start(t)
	for _, path := range []string{
		"/metadata", "/.well-known/udap", "/.well-known/smart-configuration",
	} {
		res, _ := d.Get("/acme/fhir" + path)
		if res.StatusCode != 200 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
		harmless(t, res)
	}

	_, text := d.Get("/acme/fhir/metadata")
	var statement struct {
		Rest []struct {
			Resource  []struct{ Type string }
			Operation []struct{ Name string }
		}
	}
	if err := json.Unmarshal([]byte(text), &statement); err != nil || len(statement.Rest) != 1 {
		t.Fatal(err, text)
	}
	rest := statement.Rest[0]
	if len(rest.Resource) < 100 {
		t.Fatalf("only %d types", len(rest.Resource))
	}

	for _, r := range rest.Resource {
		for _, i := range interactions {
			refusedAsStranger(t, d, i.method, strings.ReplaceAll(i.path, "{type}", r.Type))
		}
	}
	for _, path := range []string{
		"", "/_history", "/_search", "/$export", "/$import", "/Patient/$export", "/Group/x/$export",
		"/Patient/x/$everything", "/Patient/$match", "/Patient/$validate", "/Patient/x/Observation", "/_jobs/x",
		"/_jobs/x/files/0",
	} {
		for _, method := range []string{"GET", "POST"} {
			refusedAsStranger(t, d, method, path)
		}
	}
}

func refusedAsStranger(t *testing.T, d *servertest.Destination, method, path string) {
	t.Helper()
	res := d.Do(method, "/acme/fhir"+path, nil)
	challenge := res.Header.Get("WWW-Authenticate")
	if res.StatusCode != http.StatusUnauthorized || challenge != `Bearer realm="fhir"` {
		t.Errorf("%s %s: %d %q", method, path, res.StatusCode, challenge)
	}
	harmless(t, res)
	_ = res.Body.Close()
}

// harmless fails when an answer could do something in a browser.
func harmless(t *testing.T, res *http.Response) {
	t.Helper()
	h := res.Header
	if len(h.Values("Set-Cookie")) > 0 || h.Get("X-Content-Type-Options") != "nosniff" ||
		!strings.Contains(h.Get("Content-Security-Policy"), "sandbox") ||
		!strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%s %s: %v", res.Request.Method, res.Request.URL, h)
	}
}

// What is read with a token, as a resource, as a page or as a file, is as harmless.
//
// Covers: FS-109, FS-203
func TestAnswersAreHarmlessInABrowser(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) { w.Config.Writable = true })
	token := d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/*.cruds").Token.Access
	res := d.Do("POST", "/acme/fhir/Binary", strings.NewReader("<script>alert(1)</script>"), "Content-Type", "text/html",
		"Authorization", "Bearer "+token)
	binary := strings.TrimPrefix(res.Header.Get("Location"), d.Base)
	binary, _, _ = strings.Cut(binary, "/_history")
	for path, want := range map[string]int{
		"/Patient":                         200,
		"/Patient/none":                    404,
		"/Patient?_format=html":            200,
		"/Patient?name=%zz":                400,
		"/Observation?_count=1":            200,
		binary:                             200,
		"/Patient?access_token=" + token:   400,
		"/metadata?_format=html":           200,
		"/metadata?access_token=" + token:  200,
		"/Patient/x?access_token=" + token: 400,
	} {
		t.Run(path, func(t *testing.T) {
			for _, accept := range []string{"*/*", "text/html"} {
				res, body := d.Get("/acme/fhir"+path, "Authorization", "Bearer "+token, "Accept", accept)
				harmless(t, res)
				if res.StatusCode != want {
					t.Errorf("%s: %d, want %d", accept, res.StatusCode, want)
				}
				if strings.Contains(body, token) {
					t.Errorf("%s: the answer quotes the token", accept)
				}
				if strings.Contains(body, "<script") && res.Header.Get("Content-Disposition") != "attachment" {
					t.Errorf("%s: a script is shown inline", accept)
				}
			}
		})
	}
}
