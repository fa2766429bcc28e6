package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/server/servertest"
)

// When the clock steps back, the versions of a resource still follow one another in
// time, and what was asked for since a moment is not missed; also after a restart.
//
// Covers: FS-107
func TestLastUpdatedGrowsWhenTheClockStepsBack(t *testing.T) {
	w := servertest.NewEnv(t)
	w.Config.Writable = true
	var offset atomic.Int64
	w.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	l := w.Listen()
	d := w.Start(l)
	token := "Bearer " + d.Session(d.A, d.Client(d.A, "https://client1.test/app"), "system/*.cruds").Token.Access
	put := func(d *servertest.Destination, i int) time.Time {
		t.Helper()
		text := fmt.Sprintf(`{"resourceType":"Patient","id":"back","name":[{"family":"HTEST%d"}]}`, i)
		res := d.Do("PUT", "/acme/fhir/Patient/back", strings.NewReader(text), "Authorization", token, "Content-Type",
			"application/fhir+json", "Prefer", "return=representation")
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode > 201 {
			t.Fatalf("%d %v %s", res.StatusCode, err, body)
		}
		var stored struct {
			Meta struct{ LastUpdated time.Time }
		}
		if err := json.Unmarshal(body, &stored); err != nil {
			t.Fatal(err)
		}
		return stored.Meta.LastUpdated
	}

	last := put(d, 0)
	for i, step := range []time.Duration{-10 * time.Second, -30 * time.Second, 0, -20 * time.Second} {
		offset.Store(int64(step))
		at := put(d, i+1)
		if !at.After(last) {
			t.Errorf("clock at %v: %v follows %v", step, at, last)
		}
		last = at
	}

	d.Stop()
	again := w.Start(w.Listen())
	if at := put(again, 9); !at.After(last) {
		t.Errorf("after a restart: %v follows %v", at, last)
	}
	_, text := again.Get("/acme/fhir/Patient/back/_history?_since="+last.UTC().Format("2006-01-02T15:04:05.000Z"),
		"Authorization", token)
	if !strings.Contains(text, "HTEST9") {
		t.Errorf("the newest version is missing: %s", text)
	}
}
