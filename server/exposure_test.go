package server_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/udaptest"
)

// A destination's tokens mean nothing at another one, even where both trust
// the same communities and the client is registered at both.
//
// Covers: case 253, FS-204
func TestTokensAreForOneDestination(t *testing.T) {
	w := servertest.NewEnv(t)
	servertest.OnFiles("two destinations, each with its own")(w)
	token := map[string]string{}
	at := map[string]*servertest.Destination{}
	id := w.Client(w.A, "https://client1.test/app")

	for _, data := range []string{"one", "two"} {
		l := w.Listen()
		w.Config.Data = data
		at[data] = w.Start(l)
		token[data] = at[data].Session(w.A, id, "system/*.rs").Token.Access
	}

	for where, d := range at {
		for whose, tok := range token {
			want := 401
			if whose == where {
				want = 200
			}
			res, _ := d.Get("/acme/fhir/Patient", "Authorization", "Bearer "+tok)
			if res.StatusCode != want || want == 401 &&
				res.Header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` {
				t.Errorf("token of %s at %s: %d %q", whose, where, res.StatusCode, res.Header.Get("WWW-Authenticate"))
			}
		}
	}
}

// A pattern or a filter as long as a request may hold takes no more than a
// moment, whatever it looks like.
//
// Covers: case 262, FS-906
func TestLongPatternsAreQuick(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) { w.Config.Patients = 25 })
	token := d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/*.rs").Token.Access
	const room = 50 << 10
	for name, c := range map[string]struct {
		query string
		want  int
	}{
		"contains": {"name:contains=" + strings.Repeat("a", room), 200},
		"many contains": {
			strings.Repeat("name:contains=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa&", 50) + "x=",
			400,
		},
		"many values":      {"name:contains=" + strings.Repeat("aaaaaaaaa,", room/10) + "b", 400},
		"regex modifier":   {"name:regex=" + url.QueryEscape(strings.Repeat("(a+)+", room/16)+"$"), 400},
		"filter":           {"_filter=" + url.QueryEscape(`name re "`+strings.Repeat("(a+)+", room/16)+`$"`), 400},
		"exponential text": {"name:contains=" + url.QueryEscape(strings.Repeat("(a+)+", room/16)+"$"), 200},
	} {
		t.Run(name, func(t *testing.T) {
			var res *http.Response
			var body string
			udaptest.Quick(t, name, 2*time.Second, func() { // backtracking or a quadratic would take minutes
				res, body = d.Get("/acme/fhir/Patient?"+c.query, "Authorization", "Bearer "+token, "Prefer",
					"handling=strict")
			})
			if res.StatusCode != c.want {
				t.Errorf("%s: %d, want %d: %.300s", name, res.StatusCode, c.want, body)
			}
		})
	}
}

// What a client writes into ids, versions and conditions never becomes a header
// of an answer, and the references in headers start at the public base, under
// whatever name the request came.
//
// Covers: ER-03, case 264, FS-905
func TestHeadersOfAnswers(t *testing.T) {
	d := servertest.Start(t, func(w *servertest.Env) { w.Config.Writable = true })
	token := "Bearer " + d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/*.cruds").Token.Access
	private := strings.TrimSuffix(d.Config.Private, "/fhir")
	const patient = `{"resourceType":"Patient","name":[{"family":"HTEST"}]}`
	const named = `{"resourceType":"Patient","id":"mine","name":[{"family":"HTEST"}]}`
	for _, c := range []struct {
		method, path, body string
		header             []string
		want               int
		location           bool
	}{
		{"POST", "/Patient", patient, nil, 201, true},
		{"PUT", "/Patient/mine", named, nil, 201, true},
		{"PUT", "/Patient/mine", strings.Replace(named, "HTEST", "HTEST2", 1), nil, 200, false},
		{"POST", "/Patient", patient, []string{"If-None-Exist", "identifier=a%0d%0aX-Injected:%201"}, 400, false},
		{"POST", "/Patient", patient, []string{"If-None-Exist", "identifier=a\tb\"c"}, 400, false},
		{"POST", "/Patient", patient, []string{"If-None-Exist", "identifier=X-Injected:1\""}, 201, true},
		{"PUT", "/Patient/a%0d%0aX-Injected:%201", named, nil, 404, false},
		{"GET", "/Patient/a%22%0aX-Injected:%201", "", nil, 404, false},
		{"GET", "/Patient/mine/_history/1%22", "", nil, 404, false},
		{"GET", "/Patient/mine", "", []string{"If-None-Match", `W/"1"x", "X-Injected: 1`}, 200, false},
		{"PUT", "/Patient/mine", named, []string{"If-Match", `W/"2"; X-Injected: 1`}, 400, false},
		{"GET", "/Patient?_format=" + url.QueryEscape("application/fhir+json\r\nX-Injected: 1"), "", nil, 400, false},
		{"GET", "/Patient", "", []string{"X-Request-Id", "a\" b; X-Injected"}, 200, false},
		{"GET", "/Patient", "", []string{"Origin", "https://x-injected.example"}, 200, false},
	} {
		t.Run(c.method, func(t *testing.T) {
			for _, base := range []string{"https://fhir.test/acme", private} {
				header := append([]string{
					"Authorization", token, "Content-Type", "application/fhir+json",
					"X-Forwarded-Host", "evil.example", "Forwarded", "host=evil.example",
				}, c.header...)
				res := d.Do(c.method, base+"/fhir"+c.path, strings.NewReader(c.body), header...)
				// made under the other name before
				if res.StatusCode != c.want && (c.want != 201 || res.StatusCode != 200) {
					t.Errorf("%s %s %q: %d, want %d", c.method, c.path, c.header, res.StatusCode, c.want)
				}

				at := res.Header.Get("Location")
				if at == "" && c.location && res.StatusCode == 201 || at != "" &&
					!strings.HasPrefix(at, servertest.Base+"/Patient/") {
					t.Errorf("%s %s under %s: Location %q", c.method, c.path, base, at)
				}
				headersAreOurs(t, c.method+" "+c.path, res.Header)
			}
		})
	}
}

var eTag = regexp.MustCompile(`^(W/"[0-9]{1,19}")?$`)

func headersAreOurs(t *testing.T, what string, h http.Header) {
	t.Helper()
	for name, values := range h {
		for _, v := range append(values, name) {
			if low := strings.ToLower(v); strings.Contains(low, "injected") ||
				strings.Contains(low, "evil.example") || strings.Contains(low, "destination.test") {
				t.Errorf("%s: header %s: %s", what, name, v)
			}
		}
	}

	if got := h.Get("ETag"); !eTag.MatchString(got) {
		t.Errorf("%s: ETag %q", what, got)
	}
}

// JSON is what a client gets that asks for it, or for nothing, or for anything.
//
// Covers: ER-04
func TestJSONIsServed(t *testing.T) {
	d := servertest.Start(t)
	token := "Bearer " + d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/*.rs").Token.Access
	for _, path := range []string{
		"/metadata", "/Patient", "/Patient/p0001", "/Patient/none", "/Patient/p0001/_history",
	} {
		for _, accept := range []string{
			"", "application/fhir+json", "application/json", "*/*",
			"application/fhir+json;q=0.9, application/fhir+xml;q=0.1",
			"application/fhir+json; fhirVersion=4.0",
		} {
			res, body := d.Get("/acme/fhir"+path, "Authorization", token, "Accept", accept)
			if ct := res.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/fhir+json") ||
				!strings.HasPrefix(body, `{"resourceType":`) {
				t.Errorf("%s, Accept %q: %d %s %.60s", path, accept, res.StatusCode, ct, body)
			}
		}
	}

	if res, _ := d.Get("/acme/fhir/metadata", "Accept", "application/fhir+turtle"); res.StatusCode != 406 {
		t.Errorf("Turtle alone, which is not offered: %d", res.StatusCode)
	}
}

// No page of the console shows a token, a whole assertion or statement, or a
// private key, whoever looks and however.
//
// Covers: case 287, FS-206
func TestConsoleShowsNoSecret(t *testing.T) {
	d := servertest.Start(t)
	id := d.Client(d.A, "https://client1.test/app")
	s := d.Session(d.A, id, "system/*.rs")
	form := assertion(t, d, id, s.Registered.ClientID, "shown")
	second := ask(t, d, form)
	replayed := ask(t, d, form)
	if second.Token == "" || replayed.Error != "invalid_client" {
		t.Fatalf("%+v %+v", second, replayed)
	}

	d.Get("/acme/fhir/Patient", "Authorization", "Bearer "+second.Token+"x")
	if _, err := s.Client.Register(context.Background(), s.Discovered, client.Registration{
		ClientName: "<b>",
		Contacts:   []string{"mailto:a@b.test"},
		Scope:      "system/*.rs",
	}); err != nil {
		t.Fatal(err)
	}

	secrets := secretsOf(t, d, form, s.Token.Access, second.Token)
	pages := consolePages(t, d)
	if len(pages) < 12 {
		t.Fatalf("only %d pages", len(pages))
	}

	for where, page := range pages {
		for what, secret := range secrets {
			if strings.Contains(page, secret) {
				t.Errorf("%s shows %s", where, what)
			}
		}
	}

	log := d.Log.String()
	for what, secret := range secrets {
		if strings.Contains(log, secret) {
			t.Errorf("the log shows %s", what)
		}
	}
}

// secretsOf lists what may be seen nowhere: the secret half of each token, the
// signature of an assertion, and the lines of each private key.
func secretsOf(t *testing.T, d *servertest.Destination, form string, tokens ...string) map[string]string {
	t.Helper()
	values, err := url.ParseQuery(form)
	if err != nil {
		t.Fatal(err)
	}
	signature := values.Get("client_assertion")
	out := map[string]string{"an assertion's signature": signature[strings.LastIndexByte(signature, '.')+1:]}
	for _, tok := range tokens {
		out["a token's end "+tok[:4]] = tok[len(tok)-16:]
	}

	keys, err := filepath.Glob(filepath.Join(d.Dir, "*.key"))
	if err != nil || len(keys) < 3 {
		t.Fatalf("keys %v, %v", keys, err)
	}

	for _, name := range keys {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(name)] = strings.Split(string(b), "\n")[1][:40]
	}

	return out
}

// consolePages reads every page of the console, for people and for programs.
func consolePages(t *testing.T, d *servertest.Destination) map[string]string {
	t.Helper()
	paths := []string{"/", "/traces", "/traces?stored=1", "/ready", "/health", "/metrics"}
	for _, m := range regexp.MustCompile(`"id": "([^"]+)"`).FindAllStringSubmatch(adminGet(t, d, "/traces"), -1) {
		paths = append(paths, "/traces/"+m[1])
	}
	if len(paths) < 10 {
		t.Fatalf("few traces: %v", paths)
	}

	pages := map[string]string{}
	for _, path := range paths {
		for _, accept := range []string{"text/html", "application/json"} {
			req, err := http.NewRequest("GET", d.Admin+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", accept)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}

			b, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != 200 {
				t.Fatalf("%s: %d %v", path, res.StatusCode, err)
			}
			res.Body.Close()
			pages[path+" as "+accept] = string(b)
		}
	}

	return pages
}
