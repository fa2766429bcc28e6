package view

import (
	"html"
	"regexp"
	"strings"
	"testing"

	"fhirdest.example/fhir/sample"
)

const base = "https://fhir.test/acme/fhir"

func show(t *testing.T, body string) string {
	t.Helper()
	page, err := Page(base, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

var attribute = regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)

// Covers: case 258
func TestEveryLinkStaysUnderTheBase(t *testing.T) {
	bodies := []string{
		`{"resourceType":"Patient","id":"a","managingOrganization":{"reference":"https://elsewhere.test/Organization/1","display":"x"},` +
			`"link":[{"other":{"reference":"Patient/../../admin"},"type":"seealso"},{"other":{"reference":"` + base +
			`/Patient/b"},"type":"seealso"},` +
			`{"other":{"reference":"` + base +
			`.evil.test/Patient/b"},"type":"seealso"},{"other":{"reference":"#c"},"type":"seealso"}]}`,
		`{"resourceType":"Bundle","type":"searchset","link":[{"relation":"next","url":"https://elsewhere.test/x"},` +
			`{"relation":"next","url":"` + base + `/Patient?page=2"},{"relation":"next","url":"javascript:alert(1)"}]}`,
		`{"resourceType":"DocumentReference","id":"d","content":[{"attachment":{"url":"javascript:alert(1)"}},{"attachment":{"url":"Binary/1"}}]}`,
	}
	err := sample.Generate(2, func(_, _ string, json []byte) error {
		bodies = append(bodies, string(json))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	found := 0
	for _, body := range bodies {
		page := show(t, body)
		for _, m := range attribute.FindAllStringSubmatch(
			regexp.MustCompile(`srcdoc="[^"]*"`).ReplaceAllString(page, ""), -1) {
			found++
			href := html.UnescapeString(m[1])
			if !strings.HasPrefix(href, base+"/") || strings.Contains(href, "..") ||
				!strings.Contains(href, "_format=") {
				t.Errorf("a link leads to %s\nin the page of %.200s", href, body)
			}
		}
	}

	if found < len(bodies) {
		t.Errorf("only %d links found", found)
	}
}

func TestLinks(t *testing.T) {
	page := show(t,
		`{"resourceType":"Bundle","type":"searchset","total":1,"link":[{"relation":"next","url":"`+base+
			`/Patient?name=a&page=2"}],`+
			`"entry":[{"search":{"mode":"match"},"resource":{"resourceType":"Patient","id":"a","meta":{"lastUpdated":"2026-01-01T00:00:00Z"},"name":[{"family":"Example"}]}},`+
			`{"search":{"mode":"outcome"},"resource":{"resourceType":"OperationOutcome","issue":[]}},`+
			`{"request":{"method":"DELETE","url":"Patient/b"},"response":{"status":"204"}}]}`)

	for _, want := range []string{`href="` + base + `/Patient?name=a&amp;page=2&amp;_format=html"`, `href="` + base +
		`/Patient/a?_format=html"`,
		"Example", "total 1", "2026-01-01T00:00:00Z", "(outcome)", "DELETE Patient/b"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

// Covers: FS-806, case 258
func TestNothingRuns(t *testing.T) {
	page := show(t, `{"resourceType":"Patient","id":"a","meta":{"security":[{"code":"R","display":"\" onclick=\"x"}]},`+
		`"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">\"><script>alert(1)</script></div>"},`+
		`"name":[{"family":"<script>alert(2)</script>"}],"_gender":{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"<b>"}]}}`)
	if strings.Contains(page, "<script") || strings.Contains(page, `" onclick="`) {
		t.Error("the page carries markup of the resource")
	}
	frame := regexp.MustCompile(`<iframe sandbox="" srcdoc="([^"]*)"`).FindStringSubmatch(page)
	if frame == nil || !strings.Contains(html.UnescapeString(frame[1]), "<script>alert(1)</script></div>") {
		t.Errorf("the narrative is not in a sandboxed frame: %v", frame)
	}

	for _, want := range []string{
		"sandbox;",
		"default-src 'none'",
		"frame-ancestors 'none'",
		"base-uri 'none'",
		"form-action 'none'",
	} {
		if !strings.Contains(Policy, want) {
			t.Errorf("the policy lacks %s", want)
		}
	}

	if strings.Contains(Policy, "script-src") || !strings.Contains(page, `class="label grave"`) {
		t.Error("policy or label")
	}
}

func TestElementsReadAsAPersonReads(t *testing.T) {
	page := html.UnescapeString(
		show(t,
			`{"resourceType":"Observation","id":"o","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8302-2","display":"Body height"}]},`+
				`"subject":{"reference":"Patient/a","display":"Anna"},"effectivePeriod":{"start":"2026-01-01"},"valueQuantity":{"value":170.50,"unit":"cm","comparator":"<"},`+
				`"_issued":{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]},`+
				`"contained":[{"resourceType":"Patient","id":"p","name":[{"given":["B"],"family":"C"}]}],`+
				`"extension":[{"url":"https://x.test/is-so","valueBoolean":true}],"identifier":[{"value":"7","system":"urn:x"}]}`))

	for _, want := range []string{"Body height (LOINC 8302-2)", "Anna (Patient/a)", "2026-01-01 –", "<170.50 cm", "(not given: unknown)",
		"Patient B C", "<dt>is so</dt><dd>true", "7 (urn:x)", "<dt>effective period</dt>", `"value": 170.50`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

func TestOutcomesAndFaults(t *testing.T) {
	page := show(t,
		`{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","details":{"text":"no such thing"},"expression":["Patient.name"]},`+
			`{"severity":"warning","code":"x","diagnostics":"careful"}]}`)

	for _, want := range []string{"no such thing", "Patient.name", "careful", `class="error"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}

	if _, err := Page(base, []byte("{")); err == nil {
		t.Error("half a body has a page")
	}
	if page := show(t, `{"resourceType":"Unknown"}`); !strings.Contains(page, "Unknown") {
		t.Error("a type that is not known has no page")
	}
}
