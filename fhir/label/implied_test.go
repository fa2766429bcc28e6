package label_test

import (
	"strings"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/label"
)

const hivCode = `"code":{"coding":[{"system":"http://loinc.org","code":"7917-8"}]}`

// rules imply labels by code, by the beginning of a code, and by type.
func rules() label.Policy {
	p := policy()
	p.Rules = []label.Rule{
		{
			Codes:  []string{"http://loinc.org|7917-8"},
			Labels: []string{"R", "HIV"},
		},
		{
			Types:  []string{"Condition"},
			Codes:  []string{"http://hl7.org/fhir/sid/icd-10-cm|F1*"},
			Labels: []string{"R", "SUD"},
		},
		{
			Types:  []string{"FamilyMemberHistory"},
			Labels: []string{"R"},
		},
	}

	return p
}

// coded is a resource with a code instead of a text.
func coded(body, code string) string {
	return strings.Replace(body, `"code":{"text":"x"}`, code, 1)
}

// Rules imply labels by type and content: of what was stored before there were rules as
// well, once the index is made by them. They are shown, found by _security, and hold
// whatever labels the resource itself has.
//
// Covers: FS-704, FS-706, FS-708
func TestImpliedLabels(t *testing.T) {
	e := newEnv(t, policy())
	put(t, e, patient)
	put(t, e, coded(observation("hiv", "-"), hivCode))
	put(t, e, coded(observation("lowered", "U"), hivCode))
	put(t, e, observation("part", "-"))
	put(t, e,
		strings.Replace(observation("part", "-"), `"status"`, `"component":[{`+hivCode+`,"valueInteger":1}],"status"`,
			1))

	put(t, e, `{"resourceType":"Condition","id":"c","subject":{"reference":"Patient/p"},
		"code":{"coding":[{"system":"http://hl7.org/fhir/sid/icd-10-cm","code":"F10.20"}]}}`)
	put(t, e, `{"resourceType":"FamilyMemberHistory","id":"f","status":"completed",
		"relationship":{"text":"aunt"},"patient":{"reference":"Patient/p"}}`)
	put(t, e, observation("plain", "-"))
	put(t, e, strings.Replace(observation("holder", "-"), `"status"`, `"contained":[{"resourceType":"Observation",
		"id":"in","status":"final",`+hivCode+`}],"hasMember":[{"reference":"#in"}],"status"`, 1))

	hidden := []string{"Observation/hiv", "Observation/lowered", "Observation/part", "Condition/c", "FamilyMemberHistory/f",
		"Observation/holder"}
	for _, id := range hidden {
		want(t, e.Do("GET", "/"+id, uncleared, ""), 200)
	}

	e.Change = func(c *fhir.Config) { c.Labels = rules() }
	e.Reopen()
	e.Run()

	for _, id := range hidden {
		t.Run(id, func(t *testing.T) {
			typ, only, _ := strings.Cut(id, "/")
			for _, path := range []string{"/" + id, "/" + id + "/_history/1", "/" + id + "/_history"} {
				want(t, e.Do("GET", path, uncleared, ""), 404)
				w := want(t, e.Do("GET", path, cleared, ""), 200)
				if only != "holder" && path != "/Observation/part/_history/1" &&
					!strings.Contains(w.Body.String(), `"code":"R"`) {
					t.Errorf("%s: the label is not shown: %s", path, w.Body)
				}
			}

			query := "/" + typ + "?_id=" + only
			if b := bundleOf(t, e.Do("GET", query, uncleared, "")); b.Total != 0 {
				t.Errorf("found %v", b.ids(""))
			}
			if b := bundleOf(t, e.Do("GET", query, cleared, "")); b.Total != 1 || b.level() != "R" {
				t.Errorf("total %d, label %q", b.Total, b.level())
			}
			if b := bundleOf(t, e.Do("GET", query+"&_security=R", cleared, "")); only != "holder" && b.Total != 1 {
				t.Errorf("not found by its label")
			}
		})
	}

	want(t, e.Do("GET", "/Observation/plain", uncleared, ""), 200)
	if got := codes(t, e, cleared, "/Observation/lowered"); got != "U,R,HIV" {
		t.Errorf("labels %s", got)
	}
	want(t, e.Do("PUT", "/Observation/hiv", labeller, coded(observation("hiv", "N"), hivCode)), 200)
	want(t, e.Do("GET", "/Observation/hiv", uncleared, ""), 404)
}

// A Bundle is as confidential as the most confidential resource in it, whatever makes
// the Bundle; without labels it has none.
//
// Covers: FS-702
func TestBundlesAreAsConfidentialAsWhatIsInThem(t *testing.T) {
	e := newEnv(t, policy())
	put(t, e, patient)
	put(t, e, observation("n", "N"))
	put(t, e, observation("m", "M"))
	put(t, e, observation("r", "R"))
	put(t, e, observation("s", "PSY"))

	get := func(kind string, urls ...string) string {
		b := `{"resourceType":"Bundle","type":"` + kind + `","entry":[`
		for i, url := range urls {
			if i > 0 {
				b += ","
			}
			b += `{"request":{"method":"GET","url":"` + url + `"}}`
		}

		return b + `]}`
	}
	for _, c := range []struct{ name, method, path, body, want string }{
		{"all", "GET", "/Observation", "", "R"},
		{"page", "GET", "/Observation?_count=1&_id=m", "", "M"},
		{"by the level", "GET", "/Observation?_security=N", "", "N"},
		{"none has a level", "GET", "/Observation?_id=s", "", ""},
		{"moderate and none", "GET", "/Observation?_id=m,s", "", "N"},
		{"no labels", "GET", "/Patient?_id=p", "", ""},
		{"nothing", "GET", "/Patient?_id=none", "", ""},
		{"count", "GET", "/Observation?_summary=count", "", ""},
		{"included", "GET", "/Patient?_revinclude=Observation:subject", "", "R"},
		{"history", "GET", "/Observation/_history", "", "R"},
		{"instance history", "GET", "/Observation/m/_history", "", "M"},
		{"system history", "GET", "/_history", "", "R"},
		{"everything", "GET", "/Patient/p/$everything", "", "R"},
		{"batch", "POST", "", get("batch", "Observation/m", "Observation/r"), "R"},
		{"batch with a search", "POST", "", get("batch", "Patient/p", "Observation?_id=m"), "N"},
		{"transaction", "POST", "", get("transaction", "Observation/m"), "M"},
		{"batch of what is not there", "POST", "", get("batch", "Observation/none"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bundleOf(t, e.Do(c.method, c.path, cleared, c.body))
			if b.level() != c.want {
				t.Errorf("%q, want %q", b.level(), c.want)
			}
			if xml := e.Do(c.method, c.path, cleared, c.body, "Accept", "application/fhir+xml"); c.want != "" &&
				!strings.Contains(xml.Body.String(), `<code value="`+c.want+`"`) {
				t.Errorf("in XML: %s", xml.Body)
			}

			open := bundleOf(t, e.Do(c.method, c.path, uncleared, c.body))
			if open.level() == "R" {
				t.Error("the label of what is hidden is shown")
			}
		})
	}
}
