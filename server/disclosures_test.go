package server_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/console"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// accounted is a Bundle of disclosures.
type accounted struct {
	Total int
	Link  []struct{ Relation, URL string }
	Entry []struct {
		FullURL  string
		Resource struct {
			Meta    struct{ Profile []string }
			Subtype []struct{ Code string }
			Agent   []struct {
				Who struct{ Identifier struct{ Value string } }
			}
		}
	}
}

func accountOf(t *testing.T, s *servertest.Session, path string) (a accounted) {
	t.Helper()
	err := json.Unmarshal(fetched(t, s, path), &a, json.MatchCaseInsensitiveNames(true))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// aPatient returns the id of a patient whom a client may read.
func aPatient(t *testing.T, s *servertest.Session) string {
	t.Helper()
	text := string(fetched(t, s, "Patient?_elements=id&_count=1"))
	return regexp.MustCompile(`/Patient/([^"]+)"`).FindStringSubmatch(text)[1]
}

// A patient's disclosures are one Bundle: an AuditEvent for each recipient, in pages,
// of the time that is asked for. An auditor gets it, before and after a restart;
// another client does not.
//
// Covers: FS-412
func TestDisclosuresOfAPatient(t *testing.T) {
	day := time.Now().UTC().Format(time.DateOnly)
	d, reader := auditor(t)
	one := d.Session(d.A, d.Client(d.A, "https://client.test/one"), "system/Patient.rs system/AuditEvent.rs")
	two := d.Session(d.B, d.Client(d.B, "https://client.test/two"), "system/Patient.rs")
	id := aPatient(t, one)
	for _, s := range []*servertest.Session{one, one, two} {
		fetched(t, s, "Patient/"+id)
	}

	path := "Patient/" + id + "/$disclosures"
	all := accountOf(t, reader, path)
	if all.Total != 2 || len(all.Entry) != 2 {
		t.Fatalf("%+v", all)
	}
	recipients := map[string]bool{}
	for _, e := range all.Entry {
		r := e.Resource
		recipients[r.Agent[1].Who.Identifier.Value] = true
		if r.Subtype[0].Code != "disclose" || !strings.Contains(r.Meta.Profile[0], "PrivacyDisclosure.Source") {
			t.Errorf("entry %+v", e)
		}
	}
	if !recipients[string(one.Registered.ClientID)] || !recipients[string(two.Registered.ClientID)] {
		t.Errorf("recipients %v", recipients)
	}

	first := accountOf(t, reader, path+"?_count=1")
	next := first.Link[len(first.Link)-1]
	if len(first.Entry) != 1 || next.Relation != "next" {
		t.Fatalf("a page of one: %+v", first)
	}
	second := accountOf(t, reader, strings.TrimPrefix(next.URL, d.Base+"/"))
	if len(second.Entry) != 1 || second.Entry[0].FullURL != all.Entry[1].FullURL || len(second.Link) != 1 {
		t.Errorf("the next page: %+v", second)
	}

	last := time.Now().UTC().Format(time.DateOnly)
	for query, want := range map[string]int{
		"?start=" + day:                 2,
		"?end=" + last:                  2,
		"?end=2020-01-01":               0,
		"?start=2020-01-01&end=" + last: 2,
		"?start=" + day + "T00:00:00Z":  2,
	} {
		if got := accountOf(t, reader, path+query).Total; got != want {
			t.Errorf("%s: %d", query, got)
		}
	}
	if found := auditOf(t, reader, "patient="+id+"&subtype=disclose&date=ge"+day); len(found) < 3 {
		t.Errorf("the search for disclosures finds %d", len(found))
	}

	for _, row := range []struct {
		name   string
		s      *servertest.Session
		path   string
		status int
	}{
		{"not an auditor", one, path, http.StatusForbidden},
		{"no scope", two, path, http.StatusForbidden},
		{"another type", reader, "Group/" + id + "/$disclosures", http.StatusNotFound},
		{"no date", reader, path + "?start=soon", http.StatusBadRequest},
		{"no date at the end", reader, path + "?end=2026-13-01", http.StatusBadRequest},
	} {
		res, _ := row.s.Client.Get(t.Context(), row.path, row.s.Token.Access)
		if res.Reply.Status != row.status {
			t.Errorf("%s: %d", row.name, res.Reply.Status)
		}
	}

	d.Stop()
	d = d.Env.Start(d.Listen())
	reader = d.Session(d.A, d.Client(d.A, "https://client.test/auditor"), "system/AuditEvent.rs")
	if got := accountOf(t, reader, path).Total; got != 2 {
		t.Errorf("after a restart: %d", got)
	}
}

// The console has the same as JSON and as CSV, with the names of clients, of which
// none becomes a formula.
func TestDisclosuresOnTheConsole(t *testing.T) {
	d, _ := auditor(t)
	one := d.Session(d.A, d.Client(d.A, "https://client.test/one"), "system/Patient.rs")
	id := aPatient(t, one)
	fetched(t, one, "Patient/"+id)

	var all []console.Disclosure
	_, text := page(t, d, "/disclosures?patient="+id)
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) != 1 || all[0].Count != 2 ||
		all[0].Client != "HTEST client" || all[0].URI != "https://client.test/one" || all[0].What[0] != "Patient" {
		t.Errorf("%v %s", err, text)
	}
	_, csv := page(t, d, "/disclosures?format=csv&patient=Patient/"+id)
	lines := strings.Split(csv, "\r\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "first,last,count,client,") ||
		!strings.Contains(lines[1], ",2,HTEST client,") || !strings.Contains(lines[1], "#TREAT") {
		t.Errorf("CSV: %q", lines)
	}

	for path, want := range map[string]int{
		"/disclosures?patient=" + id + "&start=soon": http.StatusBadRequest,
		"/disclosures?patient=%3Cscript%3E":          http.StatusBadRequest,
		"/disclosures?patient=nobody":                http.StatusOK,
		"/disclosures":                               http.StatusOK,
	} {
		if status, text := page(t, d, path); status != want || strings.Contains(text, "<script>") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}

// A patient whose data was exported with that of everybody finds the export.
//
// Covers: FS-412
func TestExportsAreDisclosures(t *testing.T) {
	d, reader := auditor(t)
	s := d.Session(d.A, d.Client(d.A, "https://client.test/bulk"), "system/Patient.rs")
	bulk := client.Bulk{Client: s.Client}
	begun, err := bulk.Export(t.Context(), client.ExportRequest{
		Path:  "Patient/$export",
		Token: s.Token.Access,
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Eventually("the export is done", func() bool {
		status, err := bulk.ExportStatus(t.Context(), begun.Status, s.Token.Access)
		return err == nil && status.Manifest != nil
	})

	id := aPatient(t, s)
	d.Eventually("it is accounted for", func() bool {
		return strings.Contains(string(fetched(t, reader, "Patient/"+id+"/$disclosures")), `"name":"export"`)
	})
}
