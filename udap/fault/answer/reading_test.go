package answer_test

import (
	"testing"
	"time"

	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/fault/answer"
)

// A request is read for what it shows: one that was under way already when the fault
// was answered shows nothing, nor does the same search that was sent once more.
func TestRequestsThatShowNothing(t *testing.T) {
	const page, link = "/fhir/Patient?_count=3", "/fhir/Patient?_count=3&_format=%6Ason"
	begin := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name  string
		fault string
		first string        // the read that was answered with the fault
		next  string        // the one that followed
		after time.Duration // when that was received, after the fault
		want  answer.Verdict
	}{
		{"a read that followed", "fhir-html", page, "/fhir/Condition", time.Second, answer.Ignored},
		{"a read under way", "fhir-html", page, "/fhir/Condition", -time.Millisecond, answer.Noticed},
		{"too soon after 429", "fhir-429", page, page, time.Second, answer.Ignored},
		{"under way with 429", "fhir-429", page, page, -time.Millisecond, answer.Noticed},
		{"the search again", "fhir-page-repeated", page, page, time.Second, answer.Noticed},
		{"a link for the first time", "fhir-page-repeated", page, link, time.Second, answer.Noticed},
		{"the same link again", "fhir-page-repeated", link, link, time.Second, answer.Ignored},
		{"from the beginning", "fhir-page-repeated", link, page, time.Second, answer.Noticed},
	} {
		t.Run(c.name, func(t *testing.T) {
			faulty := &conform.Exchange{
				N:         1,
				Received:  begin.Add(-time.Second),
				Answered:  begin.Add(time.Millisecond),
				Step:      conform.Read,
				Target:    c.first,
				Fault:     c.fault,
				FaultFrom: begin,
			}
			next := &conform.Exchange{
				N:        2,
				Received: begin.Add(c.after),
				Step:     conform.Read,
				Target:   c.next,
			}
			all := []*conform.Exchange{faulty, next}
			out := answer.Find(c.fault).Read(all, begin.Add(time.Hour))
			if out.Verdict != c.want {
				t.Errorf("%+v", out)
			}
		})
	}
}
