package server_test

import (
	"slices"
	"strings"
	"testing"

	"fhirdest.example/server/servertest"
)

// Two destinations on one database have one audit record: what one records is read,
// found, disclosed and verified at the other, each with a chain of its own, and reaches
// the collectors once, also when the one that sends has ended.
//
// Covers: FS-401, FS-402
func TestAuditRecordOfTwoDestinations(t *testing.T) {
	var syslog, feed *collected
	first := servertest.Start(t, servertest.Database, func(w *servertest.Env) {
		syslog, feed = withCollectors(t, w)
		w.Config.AuditReaders = []string{"https://client.test/auditor"}
	})
	second := first.Beside()
	s := first.Session(first.A, first.Client(first.A, "https://client.test/auditor"),
		"system/Patient.rs system/AuditEvent.rs")
	bearer := "Bearer " + s.Token.Access

	for _, d := range []*servertest.Destination{first, second} {
		if res, text := d.Get("/acme/fhir/Patient?_count=1", "Authorization", bearer); res.StatusCode != 200 {
			t.Fatalf("%s %s", res.Status, text)
		}
	}
	searches := func(of *collected) int {
		n := 0
		for _, body := range of.all() {
			if strings.Contains(body, `"code":"search-type"`) {
				n++
			}
		}
		return n
	}
	first.Eventually("both searches are collected", func() bool {
		return searches(syslog) >= 2 && searches(feed) >= 2
	})
	first.Eventually("one waits for the other, at each collector", func() bool {
		waits := 0
		for _, d := range []*servertest.Destination{first, second} {
			_, ready := page(t, d, "/ready")
			waits += strings.Count(ready, `"waits": true`)
		}
		return waits == 2
	})

	for _, d := range []*servertest.Destination{first, second} {
		r := auditReport(t, d)
		if !r.Intact || len(r.Chains) != 2 || r.Chains[0].Name != "a" || r.Chains[1].Name != "b" ||
			!strings.Contains(r.Checkpoint, "a=") || !strings.Contains(r.Checkpoint, ",b=") {
			t.Errorf("%+v", r)
		}
		_, text := d.Get("/acme/fhir/AuditEvent?subtype=search-type&_summary=count", "Authorization", bearer)
		if strings.Contains(text, `"total":0`) || strings.Contains(text, `"total":1}`) {
			t.Errorf("searches found: %s", text)
		}
	}

	first.Stop()
	second.Get("/acme/fhir/Patient?_count=1", "Authorization", bearer)
	second.Eventually("the other goes on", func() bool { return searches(syslog) >= 3 && searches(feed) >= 3 })
	for _, of := range []*collected{syslog, feed} {
		all := of.all()
		if sorted := slices.Compact(slices.Sorted(slices.Values(all))); len(sorted) != len(all) {
			t.Errorf("%d records arrived, %d of them different", len(all), len(sorted))
		}
	}
	if r := auditReport(t, second); !r.Intact {
		t.Errorf("%+v", r.Findings)
	}
}

// A patient's disclosures by one destination are in the account of each, for clients and
// on the console.
//
// Covers: FS-412
func TestDisclosuresOfTwoDestinations(t *testing.T) {
	first := servertest.Start(t, servertest.Database, func(w *servertest.Env) {
		w.Config.AuditReaders = []string{"https://client.test/auditor"}
	})
	second := first.Beside()
	auditor := first.Session(first.A, first.Client(first.A, "https://client.test/auditor"), "system/AuditEvent.rs")
	one := first.Session(first.A, first.Client(first.A, "https://client.test/one"), "system/Patient.rs")
	two := first.Session(first.A, first.Client(first.A, "https://client.test/two"), "system/Patient.rs")

	id := aPatient(t, one)
	get := func(d *servertest.Destination, s *servertest.Session, path string) string {
		res, text := d.Get("/acme/fhir/Patient/"+id+path, "Authorization", "Bearer "+s.Token.Access)
		if res.StatusCode != 200 {
			t.Errorf("%s %s", res.Status, text)
		}
		return text
	}
	get(first, one, "")
	get(second, two, "")

	for name, d := range map[string]*servertest.Destination{
		"first":  first,
		"second": second,
	} {
		has := func(text string) bool {
			return strings.Contains(text, string(one.Registered.ClientID)) &&
				strings.Contains(text, string(two.Registered.ClientID))
		}
		d.Eventually("both reads are accounted for at the "+name, func() bool {
			return has(get(d, auditor, "/$disclosures"))
		})
		_, text := page(t, d, "/disclosures?patient="+id)
		if !strings.Contains(text, "client.test/one") || !strings.Contains(text, "client.test/two") {
			t.Errorf("the console of the %s: %s", name, text)
		}
	}
}
