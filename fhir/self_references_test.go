package fhir_test

import (
	"fmt"
	"strings"
	"testing"
)

func bodyOf(subject string) string {
	return fmt.Sprintf(`{"resourceType":"Observation", "status":"final","code":{"text":"x"},"valueQuantity":{"value":1.50},"subject":{"reference":%q}}`, subject)
}

// What names this server by its private base, or by the other scheme, is kept
// and told under the public base, and found by a relative reference; all else
// keeps its bytes.
// Covers: ER-02, ER-03
func TestOwnReferencesAreUnderThePublicBase(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/a", everything, strings.Replace(anna, `"id":"x"`, `"id":"a"`, 1)).want(201)
	for sent, kept := range map[string]string{
		publicBase + "/Patient/a":                                        publicBase + "/Patient/a",
		privateBase + "/Patient/a":                                       publicBase + "/Patient/a",
		"http" + strings.TrimPrefix(publicBase, "https") + "/Patient/a":  publicBase + "/Patient/a",
		"http" + strings.TrimPrefix(privateBase, "https") + "/Patient/a": publicBase + "/Patient/a",
		privateBase + "x/Patient/a":                                      privateBase + "x/Patient/a",
		"Patient/a":                                                      "Patient/a",
	} {
		t.Run(sent, func(t *testing.T) {
			a := w.do("POST", "/Observation", everything, bodyOf(sent)).want(201)
			if got := w.get(a.location(), everything).want(200).Body.String(); !strings.Contains(got,
				fmt.Sprintf(`"subject":{"reference":%q}`, kept)) || !strings.Contains(got, `1.50`) {
				t.Errorf("%s: %s", sent, got)
			}
			id := strings.TrimPrefix(a.location(), "/Observation/")
			want := 1
			if strings.Contains(sent, "fhirx/") {
				want = 0
			}

			if b := w.get("/Observation?patient=a&_id="+id, everything).bundle(); *b.Total != want {
				t.Errorf("%s: found %d", sent, *b.Total)
			}
			entry := entryOf("POST", "Observation", bodyOf(sent))
			tx := w.do("POST", "", everything, bundleOf("transaction", entry), "Prefer",
				"return=representation").want(200)
			if !strings.Contains(tx.Body.String(), fmt.Sprintf(`{"reference":%q}`, kept)) {
				t.Errorf("%s in a transaction: %s", sent, tx.Body)
			}
		})
	}

	escaped := strings.NewReplacer("/", `\/`, "private.test", `private\u002etest`)
	body := strings.Replace(bodyOf("X"), "X", escaped.Replace(privateBase+"/Patient/a"), 1)
	a := w.do("POST", "/Observation", everything, body).want(201)
	if got := w.get(a.location(), everything).want(200).Body.String(); !strings.Contains(got,
		publicBase+"/Patient/a") {
		t.Errorf("written with escapes: %s", got)
	}

	if self := w.get("/Observation?patient=b,"+privateBase+"/Patient/a",
		everything).bundle().link("self"); strings.Contains(self, "private.test") {
		t.Errorf("the self link tells the private base: %s", self)
	}
}

func linked(fullURL, entry string) string {
	return strings.Replace(entry, "{", `{"fullUrl":"`+fullURL+`",`, 1)
}

// R4 bundle.html 2.36.4.1: a relative reference is taken from the root of the
// entry's own fullUrl.
func TestTransactionResolvesRelativeReferences(t *testing.T) {
	w := newEnv(t, 0)
	const other = "https://other.test/r4"
	patient := linked(other+"/Patient/p", entryOf("POST", "Patient", `{"resourceType":"Patient","active":true}`))

	for fullURL, rewritten := range map[string]bool{
		other + "/Observation/o":           true,
		"https://third.test/Observation/o": false,
	} {
		tx := w.do("POST", "", everything,
			bundleOf("transaction", patient,
				linked(fullURL,
					entryOf("POST", "Observation", bodyOf("Patient/p")))), "Prefer", "return=representation").want(200)
		if got := !strings.Contains(tx.Body.String(), `"Patient/p"`); got != rewritten {
			t.Errorf("%s: %s", fullURL, tx.Body)
		}
	}

	here := linked(publicBase+"/Patient/p", entryOf("POST", "Patient", `{"resourceType":"Patient","active":true}`))
	tx := w.do("POST", "", everything,
		bundleOf("transaction", here,
			entryOf("POST", "Observation", bodyOf("Patient/p"))), "Prefer", "return=representation").want(200)
	if strings.Contains(tx.Body.String(), `"Patient/p"`) {
		t.Errorf("%s", tx.Body)
	}
}

// Covers: case 246
func TestTransactionsThatContradictThemselves(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Organization/o", everything, `{"resourceType":"Organization","id":"o","name":"N"}`).want(201)
	org := `{"resourceType":"Organization","name":"N"}`
	found := strings.Replace(entryOf("POST", "Organization", org), `"url":`, `"ifNoneExist":"name=N","url":`, 1)
	gone := `{"request":{"method":"DELETE","url":"Organization/o"}}`
	one := linked("urn:uuid:00000000-0000-4000-8000-000000000001", entryOf("POST", "Organization", org))
	for name, entries := range map[string][]string{
		"deleted and found": {gone, found},
		"found and deleted": {found, gone},
		"one fullUrl":       {one, one},
	} {
		t.Run(name, func(t *testing.T) {
			w.do("POST", "", everything, bundleOf("transaction", entries...)).want(400)
			if w.get("/Organization/o", everything).Code != 200 {
				t.Fatal(name, "was done in part")
			}
		})
	}

	w.do("POST", "", everything, bundleOf("transaction", found, found)).want(200)
	for _, entry := range []string{`{}`, `"x"`, `5`} {
		for _, typ := range []string{"batch", "transaction"} {
			w.do("POST", "", everything, `{"resourceType":"Bundle","type":"`+typ+`","entry":`+entry+`}`).want(400)
		}
	}
}

func TestPreconditionsOfWrites(t *testing.T) {
	w := newEnv(t, 0)
	org := `{"resourceType":"Organization","id":"o","name":"N"}`
	w.do("PUT", "/Organization/o", everything, org, "If-None-Match", "*").want(201)
	w.do("PUT", "/Organization/o", everything, org, "If-None-Match", "*").want(412)
	w.do("PUT", "/Organization/o", everything, org, "If-None-Match", `W/"1"`).want(412)
	w.do("PUT", "/Organization/o", everything, org, "If-None-Match", `W/"7"`).want(200)

	for cond, status := range map[string]int{"name=N": 200, "?name=N": 200, "Organization?name=N": 200, "/Organization?name=N": 200, publicBase + "/Organization?name=N": 200,
		privateBase + "/Organization?name=N": 200, "Location?name=N": 400, "https://other.test/Organization?name=N": 400} {
		t.Run(cond, func(t *testing.T) {
			w.do("POST", "/Organization", everything, org, "If-None-Exist", cond).want(status)
		})
	}
}

// A condition without content, or one that cannot be read, is no permission to write
// without a condition.
func TestEmptyConditionsAreRefused(t *testing.T) {
	w := newEnv(t, 0)
	const (
		org   = `{"resourceType":"Organization","id":"o","name":"N"}`
		patch = `[{"op":"replace","path":"/name","value":"M"}]`
	)
	w.do("PUT", "/Organization/o", everything, org).want(201)

	for _, c := range []struct{ method, path, body, condition, value string }{
		{"PUT", "/Organization/o", org, "If-Match", ""},
		{"PUT", "/Organization/o", org, "If-Match", " , "},
		{"PUT", "/Organization/o", org, "If-None-Match", ""},
		{"PUT", "/Organization?name=N", org, "If-Match", ""},
		{"PATCH", "/Organization/o", patch, "If-Match", ""},
		{"PATCH", "/Organization?name=N", patch, "If-Match", ""},
		{"DELETE", "/Organization/o", "", "If-Match", ""},
		{"DELETE", "/Organization?name=N", "", "If-Match", ""},
		{"POST", "/Organization", org, "If-None-Exist", ""},
	} {
		t.Run(c.method+c.path+" "+c.condition+c.value, func(t *testing.T) {
			media := "application/fhir+json"
			if c.method == "PATCH" {
				media = patchType
			}
			w.do(c.method, c.path, everything, c.body, "Content-Type", media, c.condition, c.value).want(400)
		})
	}

	for _, member := range []string{
		`"ifMatch":""`,
		`"ifMatch":1`,
		`"ifMatch":null`,
		`"ifMatch":["W/\"1\""]`,
		`"ifMatch":"W/\"1\"\n"`,
		`"ifmatch":"W/\"9\""`,
		`"if-match":"W/\"9\""`,
		`"ifNoneMatch":" "`,
		`"ifNoneExist":""`,
		`"modifierExtension":[{"url":"http://x.test/not","valueBoolean":true}]`,
	} {
		for _, kind := range []string{"transaction", "batch"} {
			t.Run(kind+" "+member, func(t *testing.T) {
				entry := strings.Replace(entryOf("PUT", "Organization/o", org), `"url":`, member+`,"url":`, 1)
				a := w.do("POST", "", everything, bundleOf(kind, entry))
				if kind == "transaction" && a.Code != 400 || !strings.Contains(a.Body.String(), `"severity":"error"`) {
					t.Errorf("%d %s", a.Code, a.Body)
				}
			})
		}
	}

	if got := w.get("/Organization/o", everything).Header().Get("ETag"); got != `W/"1"` {
		t.Errorf("the resource was changed: %s", got)
	}
}

// What criteria match is found before anything of a transaction is done, and
// two entries about one resource are refused (R4 http 3.1.0.11.2).
func TestTransactionsMatchBeforeTheyChange(t *testing.T) {
	w := newEnv(t, 0)
	org := func(id, n string) string {
		return `{"resourceType":"Organization","id":"` + id + `","name":"` + n + `","active":true}`
	}
	bare := func(n string) string { return `{"resourceType":"Organization","name":"` + n + `"}` }
	exist := func(entry, cond string) string {
		return strings.Replace(entry, `"url":`, `"ifNoneExist":"`+cond+`","url":`, 1)
	}

	w.do("PUT", "/Organization/a", everything, org("a", "A")).want(201)
	for name, c := range map[string]struct {
		entries []string
		status  int
	}{
		"deleted and updated": {
			[]string{entryOf("DELETE", "Organization/a", ""), entryOf("PUT", "Organization?name=A", bare("A"))},
			400,
		},
		"updated twice": {
			[]string{entryOf("PUT", "Organization/a", org("a", "A")), entryOf("PUT", "Organization?name=A", bare("A"))},
			400,
		},
		"created under one name": {
			[]string{
				exist(entryOf("POST", "Organization", bare("B")), "name=B"),
				exist(entryOf("POST", "Organization", bare("B")), "name=B"),
			},
			400,
		},
		"put under one name": {
			[]string{
				entryOf("PUT", "Organization?name=B", bare("B")),
				entryOf("PUT", "Organization?name=B", bare("B")),
			},
			400,
		},
		"matched by a new one": {
			[]string{entryOf("POST", "Organization", bare("C")), entryOf("PUT", "Organization?name=C", bare("C"))},
			200,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if a := w.do("POST", "", everything, bundleOf("transaction", c.entries...)); a.Code != c.status {
				t.Errorf("%s: %d %s", name, a.Code, a.Body)
			}
		})
	}

	if b := w.get("/Organization?name=C", everything).bundle(); *b.Total != 2 {
		t.Errorf("%d resources where one was created and one stored because none matched", *b.Total)
	}
	w.do("POST", "", everything, bundleOf("transaction", entryOf("DELETE", "Organization?name=C", ""))).want(412)
	w.do("DELETE", "/Organization?name=C", everything, "").want(412)
	if b := w.get("/Organization?name=B", everything).bundle(); *b.Total != 0 {
		t.Errorf("%d resources are left of refused transactions", *b.Total)
	}

	if m := w.get("/metadata", "").Body.String(); !strings.Contains(m, `"conditionalDelete":"single"`) ||
		strings.Contains(m, `"conditionalDelete":"multiple"`) {
		t.Error("the CapabilityStatement does not say that a conditional deletion is of one resource")
	}
}

// A reference to an entry is judged by what the entry holds.
func TestTransactionJudgesWhatReferencesLeadTo(t *testing.T) {
	w := newEnv(t, 0)
	const urn, rest = "urn:uuid:6b1b2a7e-3d0c-4b8e-9a3f-0d6a5f8b8a11", "https://other.test/r4/Patient/p"
	practitioner, patient := `{"resourceType":"Practitioner","active":true}`, `{"resourceType":"Patient","active":true}`
	typed := `{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"` + urn +
		`","type":"Group"}}`
	for name, c := range map[string]struct {
		status  int
		entries []string
	}{
		"patient": {
			200,
			[]string{linked(urn, entryOf("POST", "Patient", patient)), entryOf("POST", "Observation", bodyOf(urn))},
		},
		"practitioner": {
			400,
			[]string{
				linked(urn, entryOf("POST", "Practitioner", practitioner)),
				entryOf("POST", "Observation", bodyOf(urn)),
			},
		},
		"practitioner, later": {
			400,
			[]string{
				entryOf("POST", "Observation", bodyOf(urn)),
				linked(urn, entryOf("PUT", "Practitioner?identifier=x", practitioner)),
			},
		},
		"stated type": {
			400,
			[]string{linked(urn, entryOf("POST", "Patient", patient)), entryOf("POST", "Observation", typed)},
		},
		"url that is true": {
			200,
			[]string{linked(rest, entryOf("POST", "Patient", patient)), entryOf("POST", "Observation", bodyOf(rest))},
		},
		"url that lies": {
			400,
			[]string{
				linked(rest, entryOf("POST", "Practitioner", practitioner)),
				entryOf("POST", "Observation", bodyOf(rest)),
			},
		},
		"relative url lies": {
			400,
			[]string{
				linked(rest, entryOf("POST", "Practitioner", practitioner)),
				linked("https://other.test/r4/Observation/o", entryOf("POST", "Observation", bodyOf("Patient/p"))),
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := w.get("?_summary=count", everything).Body.String()
			a := w.do("POST", "", everything, bundleOf("transaction", c.entries...)).want(c.status)
			if c.status == 400 && !strings.Contains(a.Body.String(), "Bundle.entry[") {
				t.Errorf("%s: not said where: %s", name, a.Body)
			}
			if after := w.get("?_summary=count", everything).Body.String(); c.status == 400 && before != after {
				t.Errorf("%s: something was stored", name)
			}
		})
	}
}
