package fhir_test

import "testing"

// HEAD is an interaction of an entry too, and has no body there either.
func TestHeadInABundle(t *testing.T) {
	w := newWorld(t, 0)
	w.do("PUT", "/Patient/a", everything, `{"resourceType":"Patient","id":"a","active":true}`).want(201)
	for _, kind := range []string{"batch", "transaction"} {
		b := w.do("POST", "", everything, bundleOf(kind, entryOf("HEAD", "Patient/a", ""), entryOf("GET", "Patient/a", ""))).bundle()
		if b.Entry[0].Resource != nil || b.Entry[1].Resource == nil || b.Entry[0].Response.Etag != `W/"1"` {
			t.Errorf("%s: %s and %s", kind, b.Entry[0].Resource, b.Entry[1].Resource)
		}
	}
}
