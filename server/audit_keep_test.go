package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server"
	"fhirdest.example/server/servertest"
)

// auditReport has a running destination verify its audit record.
func auditReport(t *testing.T, d *servertest.Destination) (r server.AuditReport) {
	t.Helper()
	res, err := http.Get(d.Admin + "/audit/verify")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.UnmarshalRead(res.Body, &r); err != nil || res.StatusCode != 200 {
		t.Fatalf("%s %v", res.Status, err)
	}
	return r
}

// Audit records that are older than audit.keep go; that they went is recorded, and the
// chain is whole. Without audit.keep they stay.
//
// Covers: FS-401
func TestAuditRecordsAreKeptForATime(t *testing.T) {
	for _, keep := range []time.Duration{0, time.Hour} {
		d := servertest.Start(t, func(w *servertest.Env) { w.Config.Audit.Keep = keep })
		s := d.Session(d.A, d.Client(d.A, "https://client.test/kept"), "system/Patient.rs")
		for range 3 {
			fetched(t, s, "Patient?_count=1")
		}
		before := auditReport(t, d)
		if !before.Intact || before.Records < 3 || before.Removed != 0 {
			t.Fatalf("%+v", before)
		}
		d.Stop()

		d.Now = func() time.Time { return time.Now().Add(3 * time.Hour) }
		d = d.Env.Start(d.Listen())
		if keep == 0 {
			if r := auditReport(t, d); !r.Intact || r.Records < before.Records {
				t.Errorf("kept for ever: %+v", r)
			}
			continue
		}

		var after server.AuditReport
		d.Eventually("the old records go", func() bool {
			after = auditReport(t, d)
			return after.Removed >= before.Records && after.Records > 0
		})
		if !after.Intact || !strings.Contains(d.Log.String(), "audit records that were too old were removed") {
			t.Errorf("%+v", after)
		}
	}
}

// A time that is too short for audit.keep is refused.
func TestAuditKeepIsChecked(t *testing.T) {
	w := servertest.NewEnv(t)
	w.Listen()
	w.Config.Audit.Keep = time.Minute
	err := w.Config.Check(time.Now())
	if err == nil || !strings.Contains(err.Error(), "audit.keep: 1m0s is too short") {
		t.Errorf("%v", err)
	}
}
