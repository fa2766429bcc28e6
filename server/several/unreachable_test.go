package several_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/server/postgres/postgrestest"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// While PostgreSQL does not answer, every endpoint that needs it answers 503 with
// Retry-After, in bounded time, the destination is not ready, and what needs no store
// works; the next request after its return works. A server that is stopped as a whole
// keeps its connections open and takes new ones: nothing is refused, nothing comes.
func TestStoppedDatabase(t *testing.T) {
	a := servertest.Start(t, servertest.Database, func(w *servertest.Env) { w.Config.Writable = true })
	id := a.Client(a.A, "https://client.test/app")
	s := a.Session(a.A, id, "system/*.cruds")
	bearer := []string{"Authorization", "Bearer " + s.Token.Access}
	if status := read(a, s.Token.Access); status != http.StatusOK {
		t.Fatalf("before: %d", status)
	}

	resume := pause(t)
	t.Cleanup(resume)

	for _, row := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/acme/fhir/metadata", "", 200},
		{"GET", "/acme/fhir/Patient", "", 503},
		{"GET", "/acme/fhir/Patient/p0001", "", 503},
		{"POST", "/acme/fhir/Patient", `{"resourceType":"Patient"}`, 503},
		{"POST", "/acme/fhir", `{"resourceType":"Bundle","type":"batch"}`, 503},
		{"POST", "/acme/oauth/token", tokenRequest(t, a, id, s), 503},
	} {
		t.Run(row.method+" "+row.path, func(t *testing.T) {
			header := append([]string{"Content-Type", "application/fhir+json"}, bearer...)
			if strings.HasPrefix(row.path, "/acme/oauth") {
				header = []string{"Content-Type", "application/x-www-form-urlencoded"}
			}
			req, err := http.NewRequest(row.method, "https://fhir.test"+row.path, strings.NewReader(row.body))
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(header); i += 2 {
				req.Header.Set(header[i], header[i+1])
			}
			res, err := a.HTTP.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != row.status || row.status == 503 && res.Header.Get("Retry-After") == "" {
				t.Errorf("%s, Retry-After %q", res.Status, res.Header.Get("Retry-After"))
			}
		})
	}
	res, err := http.Get(a.Admin + "/ready")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/ready: %s", res.Status)
	}

	resume()
	if status := read(a, s.Token.Access); status != http.StatusOK {
		t.Errorf("after the return: %d", status)
	}
}

// pause stops every process of PostgreSQL, and returns what has them go on.
func pause(t *testing.T) (resume func()) {
	t.Helper()
	first := strconv.Itoa(postgrestest.Server(t).PID())
	text, err := os.ReadFile("/proc/" + first + "/task/" + first + "/children")
	if err != nil {
		t.Fatal(err)
	}

	all := append(strings.Fields(string(text)), first)
	signal := func(sig syscall.Signal) {
		for _, word := range all {
			if pid, err := strconv.Atoi(word); err == nil {
				_ = syscall.Kill(pid, sig) // one may have ended
			}
		}
	}
	signal(syscall.SIGSTOP)
	return func() { signal(syscall.SIGCONT) }
}

// tokenRequest is the form of a request for a token.
func tokenRequest(t *testing.T, d *servertest.Destination, id *certs.Identity, s *servertest.Session) string {
	t.Helper()
	return authenticated(t, d, id, s.Registered.ClientID, "/token", url.Values{
		"grant_type": {"client_credentials"},
	})
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
