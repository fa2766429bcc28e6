package label_test

import (
	"regexp"
	"slices"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async/asyncenv"
)

// A Provenance that was made before its target was labelled is hidden with it, on
// every way to it.
//
// Covers: FS-704, FS-708, case 251
func TestProvenanceFollowsTheLabelsOfItsTarget(t *testing.T) {
	e := asyncenv.New(t, func(e *asyncenv.Env) {
		e.Change = func(c *fhir.Config) {
			c.Labels = policy()
			c.Provenance = true
		}
	})
	put(t, e, patient)
	put(t, e, observation("o", "-"))

	ways := []string{
		"/Provenance?target=Observation/o",
		"/Observation?_id=o&_revinclude=Provenance:target",
		"/Provenance/_history",
		"/Patient/p/$everything",
	}
	made := bundleOf(t, e.Do("GET", ways[0], uncleared, "")).ids("match")
	if len(made) != 1 {
		t.Fatalf("made %v", made)
	}
	shows := func(token string) (all []string) {
		for _, way := range ways {
			if regexp.MustCompile(made[0]).MatchString(e.Do("GET", way, token, "").Body.String()) {
				all = append(all, way)
			}
		}
		return all
	}
	if !slices.Equal(shows(uncleared), ways) {
		t.Fatalf("shown by %v only", shows(uncleared))
	}

	put(t, e, observation("o", "R"))
	if ways := shows(uncleared); len(ways) > 0 {
		t.Errorf("shown by %v", ways)
	}
	want(t, e.Do("GET", "/"+made[0], uncleared, ""), 404)
	want(t, e.Do("GET", "/"+made[0]+"/_history/1", uncleared, ""), 404)
	want(t, e.Do("GET", "/"+made[0], cleared, ""), 200)
	if all := shows(cleared); !slices.Equal(all, ways) {
		t.Errorf("shown to the cleared by %v only", all)
	}
}

// The labels of what is in a stored Bundle are those of the whole, and cannot be taken
// away either.
//
// Covers: FS-707
func TestLabelsInsideAreKept(t *testing.T) {
	collection := func(labels string) string {
		return `{"resourceType":"Bundle","id":"b","type":"collection","entry":[{"resource":` +
			observation("o", labels) + `}]}`
	}
	const removal = `[{"op":"remove","path":"/entry/0/resource/meta"}]`

	for _, token := range []string{cleared, labeller} {
		status := 403
		if token == labeller {
			status = 200
		}
		e := newEnv(t, policy())
		put(t, e, collection("R,PSY"))
		want(t, e.Do("PUT", "/Bundle/b", cleared, collection("PSY,R")), 200)
		want(t, e.Do("GET", "/Bundle/b", uncleared, ""), 404)
		want(t, e.Do("PUT", "/Bundle/b", token, collection("N,PSY")), status)

		put(t, e, collection("R,PSY"))
		want(t, e.Do("PATCH", "/Bundle/b", token, removal, "Content-Type", "application/json-patch+json"), status)
		if token == cleared {
			want(t, e.Do("GET", "/Bundle/b", uncleared, ""), 404)
		}
	}
}

// Deleting a Binary that is hidden is answered as deleting one that is not there.
//
// Covers: case 241, case 251
func TestHiddenBinariesAreNotThere(t *testing.T) {
	e := newEnv(t, policy())
	put(t, e, patient)
	put(t, e, observation("o", "R"))
	for id, member := range map[string]string{
		"labelled": `"meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"R"}]}`,
		"context":  `"securityContext":{"reference":"Observation/o"}`,
	} {
		put(t, e, `{"resourceType":"Binary","id":"`+id+`","contentType":"text/plain","data":"aGk=",`+member+`}`)
		for _, path := range []string{"/Binary/" + id, "/Binary/missing"} {
			want(t, e.Do("DELETE", path, uncleared, ""), 404)
		}
		want(t, e.Do("DELETE", "/Binary/"+id, cleared, ""), 204)
		want(t, e.Do("DELETE", "/Binary/"+id, cleared, ""), 204)
	}
}
