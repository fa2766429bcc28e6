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
