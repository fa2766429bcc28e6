package server_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"fhirdest.example/server/servertest"
)

// A reference or an attachment at another server is kept as it was written, and nobody
// goes there: not when it is stored, read, searched through, included or exported. A
// reference under our own base is the same as a relative one, and scripts are no URLs.
//
// Covers: FS-606, FS-904
func TestForeignReferencesAreNotFollowed(t *testing.T) {
	var asked atomic.Int32
	canary := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer canary.Close()
	d := servertest.Start(t, func(w *servertest.Env) { w.Config.Writable = true })
	token := "Bearer " + d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/*.cruds").Token.Access
	send := func(method, path, body string) (int, string) {
		res := d.Do(method, "/acme/fhir"+path, strings.NewReader(body), "Authorization", token, "Content-Type",
			"application/fhir+json", "Prefer", "return=representation")
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}

	const document = `{"resourceType":"DocumentReference","id":"far","status":"current","subject":{"reference":%q},` +
		`"author":[{"reference":%q}],"content":[{"attachment":{"url":%q,"contentType":"text/plain"}}]}`
	foreign := canary.URL + "/fhir/Patient/1"
	status, text := send("PUT", "/DocumentReference/far", fmt.Sprintf(document, foreign, canary.URL+"/fhir/Practitioner/1",
		canary.URL+"/file"))
	if status != 201 || !strings.Contains(text, foreign) || !strings.Contains(text, canary.URL+"/file") {
		t.Fatalf("%d %s", status, text)
	}

	for _, path := range []string{
		"/DocumentReference/far",
		"/DocumentReference/far/_history",
		"/DocumentReference?_id=far&_include=*",
		"/DocumentReference?subject=" + foreign,
		"/DocumentReference?subject:Patient.name=x",
		"/Patient?_revinclude=DocumentReference:subject",
		"/DocumentReference?subject:Patient.name=x&_include:iterate=DocumentReference:author",
	} {
		if status, text := send("GET", path, ""); status != 200 {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}

	for _, bad := range []string{"javascript:alert(1)", "vbscript:x", "file:///etc/passwd"} {
		for i := range 2 {
			urls := []any{"Patient/p0001", "Practitioner/1", canary.URL}
			urls[i] = bad
			if status, text := send("PUT", "/DocumentReference/far", fmt.Sprintf(document, urls...)); status/100 != 4 {
				t.Errorf("%s: %d %s", bad, status, text)
			}
		}
	}

	status, text = send("PUT", "/DocumentReference/near", strings.Replace(fmt.Sprintf(document, d.Base+"/Patient/near",
		"Practitioner/1", "Binary/1"), "far", "near", 1))
	if found, hits := send("GET", "/DocumentReference?subject=Patient/near", ""); status != 201 || found != 200 ||
		!strings.Contains(hits, `"near"`) {
		t.Errorf("%d %s, then %s", status, text, hits)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the other server was asked %d times", n)
	}
}
