package fhir_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// A small request gets no more than a bounded answer, however often it names
// what is large.
// Covers: cases 246, 268
func TestAnswersAreBounded(t *testing.T) {
	w := newEnv(t, 0)
	const size, limit = 3 << 20, 32 << 20
	binary := `{"resourceType":"Binary","contentType":"application/octet-stream","data":"` +
		base64.StdEncoding.EncodeToString(make([]byte, size)) + `"}`
	var last answer
	for range 9 {
		last = w.do("POST", "/Binary", everything, binary, "Prefer", "return=minimal").want(201)
	}

	tooCostly := func(a answer) {
		t.Helper()
		if !strings.Contains(a.want(400).Body.String(), "too-costly") {
			t.Errorf("%s", a.Body)
		}
	}
	tooCostly(w.get("/Binary?_count=100", everything))
	tooCostly(w.get("/Binary/_history?_count=100", everything))

	w.get("/Binary?_count=2", everything).want(200)
	read := fmt.Sprintf(`{"request":{"method":"GET","url":"%s"}}`, strings.TrimPrefix(last.location(), "/"))
	reads := []string{read}
	for len(reads) < 12 {
		reads = append(reads, read)
	}
	write := entryOf("POST", "Organization", `{"resourceType":"Organization","name":"Late"}`)
	batch := w.do("POST", "", everything, bundleOf("batch", append(reads, write)...)).want(200)
	if got := batch.Body.Len(); got > limit+1<<20 || got < limit/2 {
		t.Errorf("%d bytes", got)
	}

	if b := w.get("/Organization?name=late", everything).bundle(); *b.Total != 0 {
		t.Error("an entry was done that could not be answered")
	}
	tooCostly(w.do("POST", "", everything, bundleOf("transaction", append(reads, write)...)))
	if b := w.get("/Organization?name=late", everything).bundle(); *b.Total != 0 {
		t.Error("a refused transaction was done")
	}
	var writes []string

	for range 3 {
		writes = append(writes, strings.Replace(write, "Late", "Large", 1))
	}
	w.do("POST", "", everything, bundleOf("batch", append(writes, reads[:8]...)...)).want(200)
	if b := w.get("/Organization?name=large", everything).bundle(); *b.Total != 3 {
		t.Errorf("%d written", *b.Total)
	}
}

// An answer that is within the bound in JSON and far beyond it in XML stays JSON.
func TestAnswersInXMLAreBounded(t *testing.T) {
	w := newEnv(t, 0)
	long := `{"resourceType":"Basic","code":{"text":"` + strings.Repeat("&", 1<<20) + `"}}`
	for range 20 {
		w.do("POST", "/Basic", everything, long, "Prefer", "return=minimal").want(201)
	}

	w.get("/Basic?_count=5", everything, asksXML...).inXML(200)
	a := w.get("/Basic?_count=20", everything, asksXML...).want(200)
	if got := a.Header().Get("Content-Type"); got != "application/fhir+json; charset=utf-8" {
		t.Errorf("%d bytes of %s", a.Body.Len(), got)
	}
	if b := a.bundle(); len(b.Entry) != 20 {
		t.Errorf("%d entries", len(b.Entry))
	}
}
