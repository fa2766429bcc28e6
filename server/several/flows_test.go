package several_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir/sample"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// flows are those of clients and people, from the beginning to the end. Their requests
// go to the first destination, behind which both answer in turn.
var flows = map[string]func(t *testing.T, d *destinations){
	"registrations":               registrations,
	"sign-in, code and refresh":   codeAndRefresh,
	"proofs with nonces":          proofsWithNonces,
	"introspection and the end":   introspection,
	"emergency access":            emergency,
	"pages of a search":           searchPages,
	"pages of $everything":        everythingPages,
	"pages of a history":          historyPages,
	"versions and conditions":     versions,
	"an export":                   export,
	"an interaction done later":   later,
	"a withdrawal and a sign-out": grantsAndExit,
}

// Every flow works when each of its requests is answered by the other destination than
// the one before, whichever is first.
//
// Covers: ER-18
func TestFlowsInTurn(t *testing.T) {
	d := newDestinations(t, func(w *servertest.Env) {
		w.Config.Patients = 6
		w.Config.DPoP.Nonce = "required"
	})
	d.a.Alternate(d.b)
	for name, flow := range flows {
		for turn := range 2 {
			t.Run(fmt.Sprintf("%s, turn %d", name, turn), func(t *testing.T) {
				here := *d
				here.t = t
				for range turn {
					d.a.Get("/acme/fhir/metadata") // the other destination begins
				}
				flow(t, &here)
			})
		}
	}
}

// uri is that of a client of a test.
func uri(t *testing.T) string {
	name := strings.NewReplacer("/", "", ",", "", "_", "", "$", "").Replace(t.Name())
	return "https://" + strings.ToLower(name) + ".test/app"
}

// bundle is a page of results.
type bundle struct {
	Total int `json:"total"`
	Link  []struct {
		Relation string `json:"relation"`
		URL      string `json:"url"`
	} `json:"link"`
	Entry []struct {
		FullURL string `json:"fullUrl"`
	} `json:"entry"`
}

// follow reads pages until there is no next one, and returns how many entries they have
// in all, none twice, and how many pages there are.
func follow(t *testing.T, d *servertest.Destination, token, target string, twice bool) (entries, pages int) {
	t.Helper()
	seen := map[string]bool{}
	for target != "" {
		res, text := d.Get(target, "Authorization", "Bearer "+token)
		var page bundle
		if err := json.Unmarshal([]byte(text), &page); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %v %s", target, res.Status, err, text)
		}
		for _, e := range page.Entry {
			if seen[e.FullURL] && !twice {
				t.Errorf("%s is on two pages", e.FullURL)
			}
			seen[e.FullURL] = true
		}
		entries += len(page.Entry)
		pages++

		target = ""
		for _, l := range page.Link {
			if l.Relation == "next" {
				target = l.URL
			}
		}
	}
	return entries, pages
}

func registrations(t *testing.T, d *destinations) {
	a := d.app(uri(t))
	first := a.ID
	token := a.token(d.a)
	a.register(d.a, a.reg)
	a.cancel(d.a)
	for range 2 {
		if status := get(d.a, "Patient", token); status != http.StatusUnauthorized {
			t.Errorf("after the cancellation: %d", status)
		}
	}
	a.register(d.a, a.reg)
	if a.ID == first {
		t.Error("a cancelled client_id is given again")
	}
	a.token(d.a)
}

func codeAndRefresh(t *testing.T, d *destinations) {
	a := d.forPeople(uri(t))
	b := d.browser(d.a)
	token := a.granted(b)
	for range 3 {
		if status := get(d.a, "Observation", token.Access); status != http.StatusOK {
			t.Errorf("a read: %d", status)
		}
		res, text := d.a.Get(d.a.Issuer+"/userinfo", "Authorization", "Bearer "+token.Access)
		if res.StatusCode != http.StatusOK || !strings.Contains(text, sample.PatientID(0)) {
			t.Errorf("userinfo: %s %s", res.Status, text)
		}

		if token = a.refresh(d.a, token); token.Access == "" {
			t.Fatalf("refreshed: %d %v", statusOf(token), token.Refusal)
		}
	}

	again := a.granted(b) // of the person who is signed in
	if again.IDToken == "" || again.Text("patient") != sample.PatientID(0) {
		t.Errorf("the second grant is for %q", again.Text("patient"))
	}
}

func proofsWithNonces(t *testing.T, d *destinations) {
	proofs, err := client.NewProofs()
	must(t, err)
	there := *d.a
	there.Proofs = proofs
	s := there.Session(d.a.A, d.a.Client(d.a.A, uri(t)), "system/Patient.rs")
	for range 4 {
		r, err := s.Client.Get(t.Context(), "Patient", s.Token.Access)
		if err != nil || r.Reply.Status != http.StatusOK {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if status := get(d.a, "Patient", s.Token.Access); status != http.StatusUnauthorized {
		t.Errorf("without a proof: %d", status)
	}
}

func introspection(t *testing.T, d *destinations) {
	a := d.app(uri(t))
	token := a.token(d.a)
	active := func(want bool) {
		t.Helper()
		status, text := a.post(d.a, "/introspect", url.Values{"token": {token}})
		if status != http.StatusOK || strings.Contains(text, `"active":true`) != want {
			t.Errorf("active %v: %d %s", want, status, text)
		}
	}

	active(true)
	active(true)
	a.revoke(d.a, token)
	active(false)
	active(false)
}

func emergency(t *testing.T, d *destinations) {
	a := d.app(uri(t))
	id := own("https://" + strings.ToLower(a.id.Chain[0].SerialNumber.Text(36)) + ".test/app")
	put(t, d.a, a.token(d.a), "Patient/"+id, patient(id, "R"))

	b2b := servertest.Treatment()
	b2b.PurposeOfUse = []string{"urn:oid:2.16.840.1.113883.5.8#BTG"}
	token, err := a.at[d.a].Token(t.Context(), a.found, client.TokenRequest{
		ClientID: a.ID,
		Scope:    system,
		B2B:      b2b,
	})
	must(t, err)
	glass := []string{"Category", "http://terminology.hl7.org/CodeSystem/v3-ActReason#BTG"}
	for range 2 {
		res, _ := d.a.Get("/acme/fhir/Patient/"+id, "Authorization", "Bearer "+token.Access)
		stated, text := d.a.Get("/acme/fhir/Patient/"+id,
			append(glass, "Authorization", "Bearer "+token.Access)...)
		if res.StatusCode != http.StatusNotFound || stated.StatusCode != http.StatusOK {
			t.Errorf("%s, and %s when it is stated: %s", res.Status, stated.Status, text)
		}
	}
}

func searchPages(t *testing.T, d *destinations) {
	token := d.app(uri(t)).token(d.a)
	entries, pages := follow(t, d.a, token, "/acme/fhir/Observation?_count=7&_sort=-date", false)
	res, text := d.a.Get("/acme/fhir/Observation?_summary=count", "Authorization", "Bearer "+token)
	if want := fmt.Sprintf(`"total":%d`, entries); !strings.Contains(text, want) || pages < 3 {
		t.Errorf("%d entries on %d pages; %s %s", entries, pages, res.Status, text)
	}
}

func everythingPages(t *testing.T, d *destinations) {
	token := d.app(uri(t)).token(d.a)
	target := "/acme/fhir/Patient/" + sample.PatientID(1) + "/$everything"
	entries, pages := follow(t, d.a, token, target+"?_count=10", false)
	if whole, _ := follow(t, d.a, token, target, false); entries != whole || pages < 3 {
		t.Errorf("%d entries on %d pages, and %d at once", entries, pages, whole)
	}
}

func historyPages(t *testing.T, d *destinations) {
	token := d.app(uri(t)).token(d.a)
	id := own(uri(t))
	for range 9 {
		put(t, d.a, token, "Basic/"+id, `{"resourceType":"Basic","id":"`+id+`","code":{"text":"`+
			client.NewSecret()+`"}}`)
	}
	entries, pages := follow(t, d.a, token, "/acme/fhir/Basic/"+id+"/_history?_count=2", true)
	if entries != 9 || pages != 5 {
		t.Errorf("%d versions on %d pages", entries, pages)
	}
}

func versions(t *testing.T, d *destinations) {
	token := d.app(uri(t)).token(d.a)
	id := own(uri(t))
	body := `{"resourceType":"Basic","id":"` + id + `","code":{"text":"x"}}`
	put(t, d.a, token, "Basic/"+id, body)
	send := func(match string) int {
		return d.a.Do("PUT", "/acme/fhir/Basic/"+id, strings.NewReader(body), "If-Match", match,
			"Authorization", "Bearer "+token, "Content-Type", "application/fhir+json").StatusCode
	}
	for _, step := range []struct {
		match string
		want  int
	}{
		{`W/"1"`, http.StatusOK},
		{`W/"1"`, http.StatusPreconditionFailed},
		{`W/"2"`, http.StatusOK},
		{`W/"2"`, http.StatusPreconditionFailed},
	} {
		if status := send(step.match); status != step.want {
			t.Errorf("If-Match %s: %d, want %d", step.match, status, step.want)
		}
	}
	for version := range 3 {
		if status := get(d.a, fmt.Sprintf("Basic/%s/_history/%d", id, version+1), token); status != http.StatusOK {
			t.Errorf("version %d: %d", version+1, status)
		}
	}
}

// done waits until a job has ended, and returns its answer.
func done(t *testing.T, d *servertest.Destination, job, token string) string {
	t.Helper()
	var res *http.Response
	var text string
	d.Eventually("the job has ended", func() bool {
		res, text = d.Get(job, "Authorization", "Bearer "+token)
		return res.StatusCode != http.StatusAccepted
	})
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s", res.Status, text)
	}
	return text
}

func export(t *testing.T, d *destinations) {
	token := d.app(uri(t)).token(d.a)
	res := d.a.Do("GET", "/acme/fhir/$export?_type=Patient,Observation", nil, "Authorization", "Bearer "+token,
		"Prefer", "respond-async")
	job := res.Header.Get("Content-Location")
	var manifest struct {
		Output []struct {
			URL   string `json:"url"`
			Count int    `json:"count"`
		} `json:"output"`
	}
	must(t, json.Unmarshal([]byte(done(t, d.a, job, token)), &manifest))
	if len(manifest.Output) != 2 {
		t.Fatalf("%+v", manifest)
	}

	for _, f := range manifest.Output {
		_, plain := d.a.Get(f.URL, "Authorization", "Bearer "+token)
		_, packed := d.a.Get(f.URL, "Authorization", "Bearer "+token, "Accept-Encoding", "gzip")
		r, err := gzip.NewReader(bytes.NewReader([]byte(packed)))
		must(t, err)
		unpacked, err := io.ReadAll(r)
		must(t, err)
		if strings.Count(plain, "\n") != f.Count || string(unpacked) != plain {
			t.Errorf("%s: %d lines of %d", f.URL, strings.Count(plain, "\n"), f.Count)
		}
	}
	for _, want := range []int{http.StatusAccepted, http.StatusNotFound} {
		if res := d.a.Do("DELETE", job, nil, "Authorization", "Bearer "+token); res.StatusCode != want {
			t.Errorf("removed: %s, want %d", res.Status, want)
		}
	}
}

func later(t *testing.T, d *destinations) {
	token := d.app(uri(t)).token(d.a)
	id := own(uri(t))
	res := d.a.Do("PUT", "/acme/fhir/Basic/"+id,
		strings.NewReader(`{"resourceType":"Basic","id":"`+id+`","code":{"text":"later"}}`),
		"Authorization", "Bearer "+token, "Content-Type", "application/fhir+json", "Prefer", "respond-async")
	text := done(t, d.a, res.Header.Get("Content-Location"), token)
	if !strings.Contains(text, `"201 Created"`) {
		t.Errorf("%s", text)
	}
	for range 2 {
		if status := get(d.a, "Basic/"+id, token); status != http.StatusOK {
			t.Errorf("what was stored: %d", status)
		}
	}
}

func grantsAndExit(t *testing.T, d *destinations) {
	a := d.forPeople(uri(t))
	b := d.browser(d.a)
	token := a.granted(b)
	p := b.open("grants")
	if len(p.Forms) == 0 {
		t.Fatalf("%d %q has no form", p.Status, p.Title)
	}

	for _, f := range p.Forms {
		if f.Has("client") && f.Values.Get("client") == string(a.ID) {
			p, err := b.Send(t.Context(), p, &f)
			must(t, err)
			if p.Status != http.StatusOK {
				t.Errorf("the withdrawal: %d %s", p.Status, p.Title)
			}
		}
	}
	for range 2 {
		if status := get(d.a, "Observation", token.Access); status != http.StatusUnauthorized {
			t.Errorf("after the withdrawal: %d", status)
		}
	}

	b.send(b.open("signout"), "signout")
	for range 2 {
		if p := b.open("grants"); p.Title == "Who has access" {
			t.Error("the person is still signed in")
		}
	}
}
