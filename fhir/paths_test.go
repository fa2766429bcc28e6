package fhir_test

import (
	"fmt"
	"strings"
	"testing"
)

// RFC 3986 6.2.2.2: a path with an escape of a character that needs none is the
// same path. Other escapes are no part of a type, an id or an operation.
func TestEscapesOfUnreservedCharacters(t *testing.T) {
	for path, status := range map[string]int{
		"/Patient/p%2d1.%78":             200,
		"/%50atient/p-1.x":               200,
		"/Patient/p-1.x/%5fhistory":      200,
		"/Patient/p-1.x/_history/%31":    200,
		"/Patient/p%2D1%2Ex/$everything": 200,
		"/Patient/p-1.x/%24everything":   200,
		"/Patient%2Fp-1.x":               404,
		"/Patient/p-1.x%20":              404,
		"/Patient/p-1.x%00":              404,
		"/Patient/p-1.x%":                404,
		"/Patient/p-1.x%2":               404,
		"/Patient/p%252d1.x":             404,
		"/Patient/%2e%2e":                404,
		"/Patient/..":                    404,
	} {
		t.Run(path, func(t *testing.T) {
			w := newEnv(t, 0)
			w.do("PUT", "/Patient/p-1.x", everything, `{"resourceType":"Patient","id":"p-1.x","active":true}`).want(201)
			w.get(path, everything).want(status)
			w.get("!"+strings.Replace("/acme/fhir", "fhir", "%66hir", 1)+path, everything).want(status)

			entry := w.do("POST", "", everything, bundleOf("batch", entryOf("GET", path[1:], ""))).bundle()
			if got := entry.Entry[0].Response.Status; (status == 200) != strings.HasPrefix(got, "200") {
				t.Errorf("in a batch: %s", got)
			}
		})
	}
}

// A chain through a type that the token may not search is refused by name: an
// empty result would look like an answer.
//
// Covers: case 251
func TestChainsThroughForbiddenTypes(t *testing.T) {
	const observations = "system/Observation.cruds"
	for name, c := range map[string]struct {
		query, token, refused string // refused: the type named, "" for 200
	}{
		"chain":               {"/Observation?patient.name=x", observations, "Patient"},
		"chain, allowed":      {"/Observation?patient.name=x", observations + " system/Patient.s", ""},
		"chain, only to read": {"/Observation?patient.name=x", observations + " system/Patient.r", "Patient"},
		"chain, two links": {
			"/Observation?patient.organization.name=x",
			observations + " system/Patient.s",
			"Organization",
		},
		"chain, typed": {
			"/Observation?subject:Group.identifier=x",
			observations + " system/Patient.s",
			"Group",
		},
		"chain, one of several": {"/Observation?subject.identifier=x", observations + " system/Patient.s", ""},
		"has":                   {"/Patient?_has:Observation:patient:code=x", "system/Patient.s", "Observation"},
		"has, allowed":          {"/Patient?_has:Observation:patient:code=x", "system/Patient.s " + observations, ""},
		"has, a link more": {
			"/Patient?_has:Observation:patient:encounter.status=finished",
			"system/Patient.s " + observations,
			"Encounter",
		},
		"the type itself": {"/Patient?name=x", observations, "Patient"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, 0)
			a := w.get(c.query, c.token)
			if c.refused == "" {
				a.want(200)
				return
			}
			if a.want(403); !strings.Contains(a.Body.String(), fmt.Sprintf("on %s.", c.refused)) ||
				a.Header().Get("Trace-Id") == "" {
				t.Errorf("%v %s", a.Header(), a.Body)
			}
		})
	}

	t.Run("conditional forms", func(t *testing.T) {
		w := newEnv(t, 0)
		const criteria = "Observation?patient.name=x"
		w.do("DELETE", "/"+criteria, observations, "").want(403)
		w.do("PUT", "/"+criteria, observations, bodyOf("Patient/p")).want(403)
		w.do("POST", "/Observation", observations, bodyOf("Patient/p"), "If-None-Exist", "patient.name=x").want(403)
		w.do("PATCH", "/"+criteria, observations, `[]`, "Content-Type", patchType).want(403)
		w.do("POST", "", observations, bundleOf("transaction", entryOf("DELETE", criteria, ""))).want(403)
	})
}
