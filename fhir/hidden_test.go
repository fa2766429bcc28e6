package fhir_test

import (
	"strings"
	"testing"
)

const patchType = "application/json-patch+json"

// A token to update is no token to read: neither a patch's answer nor the
// reasons for refusing one may show what is stored.
// Covers: cases 233, 236
func TestPatchesTellNothingToWhoMayNotRead(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/a", everything, strings.Replace(anna, `"id":"x"`, `"id":"a"`, 1)).want(201)
	const blind = "system/Patient.u"

	for _, patch := range []string{
		`[]`,
		`[{"op":"copy","from":"/birthDate","path":"/gender"}]`,
		`[{"op":"copy","from":"/name","path":"/contact"}]`,
		`[{"op":"remove","path":"/name/0/period"}]`,
		`[{"op":"remove","path":"/multipleBirthInteger"}]`,
	} {
		a := w.do("PATCH", "/Patient/a", blind, patch, "Content-Type", patchType)
		if a.Code >= 500 || strings.Contains(a.Body.String(), "1990") || strings.Contains(a.Body.String(), "Anna") ||
			strings.Contains(a.Body.String(), "family") {
			t.Errorf("%s: %d %s", patch, a.Code, a.Body)
		}
	}

	w.do("PATCH", "/Patient/a", blind, `[{"op":"test","path":"/active","value":true}]`, "Content-Type",
		patchType).want(403)
	if a := w.do("PATCH", "/Patient/a", "system/Patient.ru", `[]`, "Content-Type",
		patchType).want(200); !strings.Contains(a.Body.String(), "Anna") {
		t.Errorf("a reader's patch gave %s", a.Body)
	}
	b := bundleOf("batch",
		`{"request":{"method":"PATCH","url":"Patient/a"},"resource":{"resourceType":"Binary","contentType":"`+
			patchType+`","data":"W10="}}`)
	if a := w.do("POST", "", blind, b, "Prefer",
		"return=representation").want(200); strings.Contains(a.Body.String(), "Anna") {
		t.Errorf("a batch gave %s", a.Body)
	}
}

// RFC 6901 section 4: an index has no zeros before it.
func TestPatchPointersAreStrict(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/a", everything, strings.Replace(anna, `"id":"x"`, `"id":"a"`, 1)).want(201)
	for _, path := range []string{"/name/00", "/name/0/given/00", "/name~2"} {
		w.do("PATCH", "/Patient/a", everything, `[{"op":"remove","path":"`+path+`"}]`, "Content-Type",
			patchType).want(400)
	}
}

// Covers: cases 236, 241, 251
func TestHistoryOfHiddenResourcesIsNotFound(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/a", everything, strings.Replace(anna, `"id":"x"`, `"id":"a"`, 1)).want(201)
	const others = "system/Patient.rs?gender=male"
	hidden, none := w.get("/Patient/a/_history", others).want(404), w.get("/Patient/b/_history", others).want(404)
	if hidden.Body.String() != none.Body.String() {
		t.Errorf("hidden: %s, none: %s", hidden.Body, none.Body)
	}
	male := strings.NewReplacer(`"id":"x"`, `"id":"a"`, "female", "male").Replace(anna)
	w.do("PUT", "/Patient/a", everything, male).want(200)

	if b := w.get("/Patient/a/_history", others).bundle(); len(b.Entry) != 1 {
		t.Errorf("%d versions", len(b.Entry))
	}
	w.do("PUT", "/Patient/a", everything, strings.Replace(anna, `"id":"x"`, `"id":"a"`, 1)).want(200)
	w.get("/Patient/a/_history", others).want(200) // a version of it was theirs
}
