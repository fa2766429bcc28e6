package fhir_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const (
	urnA = "urn:uuid:0d4f7a52-6c0e-4a1c-9d9b-0c5f7f3a1a01"
	urnB = "urn:oid:1.2.840.99.7"
	far  = "https://far.test/r4"
)

// made returns what the entries of a transaction have made: the version's
// path below the base, by entry.
func made(b bundle) []string {
	var all []string
	for _, e := range b.Entry {
		all = append(all, strings.TrimPrefix(e.Response.Location, publicBase+"/"))
	}
	return all
}

// R4 http 3.1.0.11.2: links to entries are replaced in references, in elements
// of type uri, url, oid, uuid and id, and in the narrative; never in canonicals
// or in any other text.
func TestTransactionReplacesLinksOnly(t *testing.T) {
	const patient = `{"resourceType":"Patient","active":true}`
	ext := func(value string) string {
		return `{"resourceType":"Basic","code":{"text":"x"},"extension":[{"url":"urn:x:e",` + value + `}]}`
	}
	text := func(div string) string {
		return `{"resourceType":"Basic","code":{"text":"x"},"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">` +
			div + `</div>"}}`
	}
	for name, c := range map[string]struct {
		patient, patientURL string // how the patient is sent
		other, otherURL     string
		want                string // in what is stored; $ is the patient's type and id
	}{
		"reference": {patient, urnA, bodyOf(urnA), "", `"reference":"$"`},
		"reference with a fragment": {
			patient, far + "/Patient/1", bodyOf(far + "/Patient/1#x"), "", `"reference":"$#x"`,
		},
		"reference in an extension": {patient, urnA, ext(`"valueReference":{"reference":"` + urnA + `"}`), "",
			`{"reference":"$"}`},
		"reference beside a primitive": {
			patient,
			urnA,
			`{"resourceType":"Patient","active":true,"_active":{"extension":[{"url":"urn:x:e","valueUri":"` + urnA +
				`"}]}}`,
			"",
			`"valueUri":"$"`,
		},
		"contained": {
			patient,
			urnA,
			`{"resourceType":"Basic","code":{"text":"x"},"contained":[{"resourceType":"Basic","id":"c","code":{"text":"y"},` +
				`"subject":{"reference":"` + urnA + `"}}],"subject":{"reference":"#c"}}`,
			"",
			`"subject":{"reference":"$"}`,
		},
		"uri":  {patient, urnA, ext(`"valueUri":"` + urnA + `"`), "", `"valueUri":"$"`},
		"url":  {patient, urnA, ext(`"valueUrl":"` + urnA + `"`), "", `"valueUrl":"$"`},
		"uuid": {patient, urnA, ext(`"valueUuid":"` + urnA + `"`), "", `"valueUuid":"$"`},
		"oid":  {patient, urnB, ext(`"valueOid":"` + urnB + `"`), "", `"valueOid":"$"`},
		"url of an attachment": {patient, far + "/Patient/1",
			ext(`"valueAttachment":{"url":"` + far + `/Patient/1"}`), "", `"url":"$"`},
		"source": {patient, urnA,
			`{"resourceType":"Basic","meta":{"source":"` + urnA + `"},"code":{"text":"x"}}`, "", `"source":"$"`},
		"link in the narrative": {patient, urnA, text(`<a href=\"` + urnA + `\">p</a>`), "", `<a href=\"$\">p</a>`},
		"image in the narrative": {
			patient,
			far + "/Patient/1",
			text(`<b>x</b><img src=\"Patient/1\" alt=\"y\"/><i>z</i>`),
			far + "/Basic/2",
			`<b>x</b><img src=\"$\" alt=\"y\"/><i>z</i>`,
		},

		"canonical":  {patient, urnA, ext(`"valueCanonical":"` + urnA + `"`), "", `"valueCanonical":"` + urnA + `"`},
		"string":     {patient, urnA, ext(`"valueString":"` + urnA + `"`), "", `"valueString":"` + urnA + `"`},
		"markdown":   {patient, urnA, ext(`"valueMarkdown":"` + urnA + `"`), "", `"valueMarkdown":"` + urnA + `"`},
		"identifier": {patient, urnA, ext(`"valueIdentifier":{"value":"` + urnA + `"}`), "", `"value":"` + urnA + `"`},
		"name of a code system": {patient, far + "/Patient/1",
			ext(`"valueCoding":{"system":"` + far + `/Patient/1"}`), "", `"system":"` + far + `/Patient/1"`},
		"text of the narrative": {patient, urnA, text("<p>" + urnA + "</p>"), "", "<p>" + urnA + "</p>"},
		"urn of nothing":        {patient, urnA, bodyOf("urn:uuid:0d4f7a52-6c0e-4a1c-9d9b-0c5f7f3a1a99"), "", `1a99"`},
		"url of nothing":        {patient, far + "/Patient/1", bodyOf(far + "/Patient/12"), "", far + `/Patient/12"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, 0)
			typ, _, _ := strings.Cut(strings.TrimPrefix(c.other, `{"resourceType":"`), `"`)
			other := entryOf("POST", typ, c.other)
			if c.otherURL != "" {
				other = linked(c.otherURL, other)
			}

			at := made(w.do("POST", "", everything, bundleOf("transaction", other,
				linked(c.patientURL, entryOf("POST", "Patient", c.patient)))).want(200).bundle())
			id, _, _ := strings.Cut(at[1], "/_history")
			path, _, _ := strings.Cut(at[0], "/_history")
			want := strings.ReplaceAll(c.want, "$", id)
			if got := w.get("/"+path, everything).Body.String(); !strings.Contains(got, want) {
				t.Errorf("got %s, want in it %s", got, want)
			}
		})
	}
}

// A reference to a version stays one, of the version that the entry makes: left
// as it is, an Observation would be another person's.
func TestTransactionReplacesVersionedReferences(t *testing.T) {
	for name, c := range map[string]struct {
		patientURL, method, url string
		reference, from         string
		want                    string // $ is the new id
	}{
		"relative, here": {
			publicBase + "/Patient/1", "POST", "Patient", "Patient/1/_history/3", "",
			"Patient/$/_history/1",
		},
		"relative, there": {
			far + "/Patient/1", "POST", "Patient", "Patient/1/_history/3", far + "/Observation/9",
			"Patient/$/_history/1",
		},
		"absolute, here": {
			publicBase + "/Patient/1", "POST", "Patient", publicBase + "/Patient/1/_history/3", "",
			"Patient/$/_history/1",
		},
		"absolute, there": {
			far + "/Patient/1", "POST", "Patient", far + "/Patient/1/_history/3", "",
			"Patient/$/_history/1",
		},
		"updated": {
			far + "/Patient/7", "PUT", "Patient/1", far + "/Patient/7/_history/3", "",
			"Patient/1/_history/2",
		},
		"updated by a match": {
			far + "/Patient/7", "PUT", "Patient?active=true", far + "/Patient/7/_history/3", "",
			"Patient/1/_history/2",
		},
		"of another": {
			far + "/Patient/7", "POST", "Patient", "Patient/1/_history/1", "",
			"Patient/1/_history/1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, 0)
			w.do("PUT", "/Patient/1", everything, `{"resourceType":"Patient","id":"1","active":true}`).want(201)
			sent := `{"resourceType":"Patient","gender":"other"}`
			if c.method == "PUT" {
				sent = `{"resourceType":"Patient","id":"1","gender":"other"}`
			}
			observation := entryOf("POST", "Observation", bodyOf(c.reference))
			if c.from != "" {
				observation = linked(c.from, observation)
			}

			at := made(w.do("POST", "", everything, bundleOf("transaction", observation,
				linked(c.patientURL, entryOf(c.method, c.url, sent)))).want(200).bundle())
			path, _, _ := strings.Cut(at[0], "/_history")
			want := `"reference":"` + c.want + `"`
			if c.method == "POST" {
				id, _, _ := strings.Cut(strings.TrimPrefix(at[1], "Patient/"), "/")
				want = strings.ReplaceAll(want, "$", id)
			}

			if got := w.get("/"+path, everything).Body.String(); !strings.Contains(got, want) {
				t.Errorf("got %s, want in it %s", got, want)
			}
		})
	}
}

// identified is a resource with an identifier, and more members when more is not empty.
func identified(typ, value, more string) string {
	return fmt.Sprintf(`{"resourceType":%q,"identifier":[{"system":"urn:n","value":%q}]%s}`, typ, value, more)
}

// encounterOf is an Encounter with an identifier and a reference to its subject.
func encounterOf(value, reference string) string {
	return identified("Encounter", value, `,"status":"finished","class":{"code":"AMB"},"subject":{"reference":"`+
		reference+`"}`)
}

// newReferenceEnv has the Patient p, whose identifier is 0, and the Observation o about it.
func newReferenceEnv(t *testing.T) *env {
	t.Helper()
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/p", everything, identified("Patient", "0", `,"id":"p"`)).want(201)
	w.do("PUT", "/Observation/o", everything,
		strings.Replace(bodyOf("Patient/p"), "{", `{"id":"o",`, 1)).want(201)
	return w
}

// R4 http 3.1.0.11.2: conditional references are resolved after the
// interactions, against what these have made.
func TestTransactionResolvesConditionalReferencesLast(t *testing.T) {
	about := bodyOf("Patient?identifier=urn:n|1")
	seen := func(reference string) string {
		return strings.TrimSuffix(about, "}") + `,"encounter":{"reference":"` + reference + `"}}`
	}

	for name, c := range map[string]struct {
		entries []string
		finds   string // a search that then finds one
	}{
		"stored before": {[]string{entryOf("POST", "Observation", bodyOf("Patient?identifier=urn:n|0"))},
			"/Observation?subject=Patient/p"},
		"created after it": {
			[]string{entryOf("POST", "Observation", about), entryOf("POST", "Patient", identified("Patient", "1", ""))},
			"/Observation?patient.identifier=urn:n|1",
		},
		"put": {
			[]string{
				entryOf("POST", "Observation", about),
				entryOf("PUT", "Patient/p", identified("Patient", "1", `,"id":"p"`)),
			},
			"/Observation?subject=Patient/p",
		},
		"by way of another": {
			[]string{
				entryOf("POST", "Observation", seen("Encounter?identifier=urn:n|e")),
				entryOf("POST", "Encounter", encounterOf("e", "Patient?identifier=urn:n|1")),
				entryOf("POST", "Patient", identified("Patient", "1", "")),
			},
			"/Observation?encounter.identifier=urn:n|e&encounter.subject:Patient.identifier=urn:n|1",
		},
		"patched in": {
			[]string{
				patchEntry("Observation/o",
					`[{"op":"replace","path":"/subject/reference","value":"Patient?identifier=urn:n|1"}]`),
				entryOf("POST", "Patient", identified("Patient", "1", "")),
			},
			"/Observation?patient.identifier=urn:n|1",
		},
		"patched in, with an escape": {
			[]string{
				patchEntry("Observation/o",
					`[{"op":"replace","path":"/subject/reference","value":"Patient\u003fidentifier=urn:n|1"}]`),
				entryOf("POST", "Patient", identified("Patient", "1", "")),
			},
			"/Observation?patient.identifier=urn:n|1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newReferenceEnv(t)
			if strings.HasPrefix(c.finds, "/Observation?subject") {
				w.do("DELETE", "/Observation/o", everything, "").want(204)
			}

			w.do("POST", "", everything, bundleOf("transaction", c.entries...)).want(200)
			if b := w.get(c.finds, everything).bundle(); *b.Total != 1 {
				t.Errorf("%s finds %d: %s", c.finds, *b.Total, w.get("/Observation", everything).Body)
			}
		})
	}
}

// A transaction with a conditional reference that does not find exactly one resource
// after the interactions is refused, and changes nothing.
func TestTransactionWithUnresolvedConditionalReferenceIsRefused(t *testing.T) {
	for name, entries := range map[string][]string{
		"deleted": {
			entryOf("POST", "Observation", bodyOf("Patient?identifier=urn:n|0")),
			entryOf("DELETE", "Patient/p", ""),
		},
		"put to another identifier": {
			entryOf("POST", "Observation", bodyOf("Patient?identifier=urn:n|0")),
			entryOf("PUT", "Patient/p", identified("Patient", "2", `,"id":"p"`)),
		},
		"two": {
			entryOf("POST", "Observation", bodyOf("Patient?identifier=urn:n|0")),
			entryOf("POST", "Patient", identified("Patient", "0", "")),
		},
		"two, the second late": {
			entryOf("POST", "Observation", bodyOf("Patient?identifier=urn:n|0")),
			entryOf("POST", "Patient", identified("Patient", "0",
				`,"managingOrganization":{"reference":"Organization?identifier=urn:n|o"}`)),
			entryOf("POST", "Organization", identified("Organization", "o", "")),
		},
		"none": {entryOf("POST", "Observation", bodyOf("Patient?identifier=urn:n|1"))},
		"of itself": {
			entryOf("POST", "Encounter", encounterOf("e", "Patient?_has:Encounter:subject:identifier=urn:n|e")),
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newReferenceEnv(t)
			w.do("POST", "", everything, bundleOf("transaction", entries...)).want(412)
			if n := w.get("?_summary=count", everything).bundle().Total; *n != 2 {
				t.Errorf("%d resources after a refused transaction", *n)
			}
		})
	}
}

// patchEntry is an entry that patches: the patch travels as a Binary.
func patchEntry(url, patch string) string {
	return entryOf("PATCH", url, `{"resourceType":"Binary","contentType":"application/json-patch+json","data":"`+
		base64.StdEncoding.EncodeToString([]byte(patch))+`"}`)
}

func TestTransactionLinksWhatPatchesMake(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Observation/o", everything,
		strings.Replace(bodyOf(far+"/Patient/9"), "{", `{"id":"o",`, 1)).want(201)
	at := made(w.do("POST", "", everything, bundleOf("transaction",
		patchEntry("Observation/o", `[{"op":"add","path":"/focus","value":[{"reference":"`+urnA+`"}]}]`),
		linked(urnA, entryOf("POST", "Patient", `{"resourceType":"Patient","active":true}`)))).want(200).bundle())
	id, _, _ := strings.Cut(at[1], "/_history")
	if got := w.get("/Observation/o", everything).Body.String(); !strings.Contains(got,
		`"focus":[{"reference":"`+id+`"}]`) ||
		!strings.Contains(got, far+"/Patient/9") {
		t.Errorf("got %s, want a focus on %s", got, id)
	}
}

// R4 http 3.1.0.11.2: what is preferred holds for each entry; a read that fails
// makes the whole transaction fail.
func TestEntriesAnswerAsPreferred(t *testing.T) {
	const patient = `{"resourceType":"Patient","active":true}`
	for name, c := range map[string]struct {
		prefer            string
		resource, outcome bool
	}{
		"nothing":        {"", false, false},
		"minimal":        {"return=minimal", false, false},
		"representation": {"return=representation", true, false},
		"outcome":        {"return=OperationOutcome", false, true},
	} {
		for _, kind := range []string{"batch", "transaction"} {
			t.Run(name+" of a "+kind, func(t *testing.T) {
				w := newEnv(t, 0)
				w.do("PUT", "/Patient/d", everything, `{"resourceType":"Patient","id":"d","active":true}`).want(201)
				a := w.do("POST", "", everything, bundleOf(kind,
					entryOf("POST", "Patient", patient),
					entryOf("PUT", "Patient/p", strings.Replace(patient, "{", `{"id":"p",`, 1)),
					entryOf("DELETE", "Patient/d", "")), "Prefer", c.prefer).want(200)
				if got := strings.Count(a.Body.String(), `"resource":{`); got != 2 && c.resource || got != 0 &&
					!c.resource {
					t.Errorf("%d resources: %s", got, a.Body)
				}

				if got := strings.Count(a.Body.String(), `"outcome":{`); got != 3 && c.outcome || got != 0 &&
					!c.outcome {
					t.Errorf("%d outcomes: %s", got, a.Body)
				}
			})
		}
	}
}

func TestFailedReadFailsTheTransaction(t *testing.T) {
	for name, read := range map[string]string{
		"not found": "Patient/none",
		"gone":      "Patient/d",
		"version":   "Patient/p/_history/9",
		"search":    "Patient?_sort=name&birthdate=x",
		"history":   "Patient/none/_history",
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, 0)
			w.do("PUT", "/Patient/d", everything, `{"resourceType":"Patient","id":"d","active":true}`).want(201)
			w.do("DELETE", "/Patient/d", everything, "").want(204)
			w.do("POST", "", everything, bundleOf("transaction",
				entryOf("PUT", "Patient/p", `{"resourceType":"Patient","id":"p","active":true}`),
				entryOf("GET", read, ""))).want(400)
			w.get("/Patient/p", everything).want(404)
		})
	}
}

func TestLimitsAreDeclared(t *testing.T) {
	w := newEnv(t, 0)
	if text := w.get("/metadata", "").Body.String(); !strings.Contains(text, "33554432 bytes") ||
		!strings.Contains(text, "at most 5000 entries") {
		t.Error("the CapabilityStatement does not declare the limits of a Bundle")
	}
	long := w.do("POST", "", everything, strings.Repeat(" ", 33<<20)).want(413)
	if !strings.Contains(long.Body.String(), "33554432") {
		t.Errorf("the limit is not named: %s", long.Body)
	}

	many := make([]string, 5000)
	for i := range many {
		many[i] = entryOf("POST", "Basic", `{"resourceType":"Basic","code":{"text":"x"}}`)
	}
	if n := len(w.do("POST", "", everything, bundleOf("transaction", many...)).want(200).bundle().Entry); n != 5000 {
		t.Errorf("%d entries of 5000 were answered", n)
	}
}

// Entries that refer to later ones over many steps would have the writer go through
// all that wait at each step.
func TestConditionalReferencesAgainstTheOrderAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		entries int
		against bool // each refers to the next one, not to the one before
		status  int
	}{
		"with the order":        {200, false, http.StatusOK},
		"against it, 32 steps":  {33, true, http.StatusOK},
		"against it, 33 steps":  {34, true, http.StatusBadRequest},
		"against it, 199 steps": {200, true, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			var entries []string
			for i := range c.entries {
				of := i - 1
				if c.against {
					of = i + 1
				}
				part := ""
				if of >= 0 && of < c.entries {
					part = fmt.Sprintf(`,"partOf":{"reference":"Organization?identifier=urn:n|%d"}`, of)
				}

				entries = append(entries, entryOf("POST", "Organization", fmt.Sprintf(
					`{"resourceType":"Organization","identifier":[{"system":"urn:n","value":"%d"}]%s}`, i, part)))
			}

			w := newEnv(t, 0)
			a := w.do("POST", "", everything, bundleOf("transaction", entries...)).want(c.status)
			stored := c.entries
			if c.status != http.StatusOK {
				stored = 0
				if !strings.Contains(a.Body.String(), `"code":"too-costly"`) {
					t.Error(a.Body)
				}
			}

			if n := w.get("/Organization?_summary=count", everything).bundle().Total; *n != stored {
				t.Errorf("%d are stored, want %d", *n, stored)
			}
		})
	}
}
