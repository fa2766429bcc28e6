package fhir_test

import (
	"encoding/base64"
	"encoding/json"
	"testing"
)

// HEAD is an interaction of an entry too, and has no body there either.
func TestHeadInABundle(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/a", everything, `{"resourceType":"Patient","id":"a","active":true}`).want(201)
	for _, kind := range []string{"batch", "transaction"} {
		b := w.do("POST", "", everything,
			bundleOf(kind, entryOf("HEAD", "Patient/a", ""), entryOf("GET", "Patient/a", ""))).bundle()
		if b.Entry[0].Resource != nil || b.Entry[1].Resource == nil || b.Entry[0].Response.Etag != `W/"1"` {
			t.Errorf("%s: %s and %s", kind, b.Entry[0].Resource, b.Entry[1].Resource)
		}
	}
}

// A search may be posted in an entry; its form then stands in a Binary.
func TestSearchesInABundle(t *testing.T) {
	w := newEnv(t, 0)
	for _, id := range []string{"a", "b"} {
		w.do("PUT", "/Patient/"+id, everything, `{"resourceType":"Patient","id":"`+id+`","active":true}`).want(201)
	}
	form := `{"resourceType":"Binary","contentType":"application/x-www-form-urlencoded","data":"` +
		base64.StdEncoding.EncodeToString([]byte("_id=a,b&_count=1")) + `"}`
	entries := []string{
		entryOf("POST", "Patient/_search?_id=a", ""), entryOf("POST", "Patient/_search", form), entryOf("POST",
			"_search?_type=Patient&_id=a", ""),
		entryOf("GET", "?_type=Patient", ""), entryOf("GET", "Patient/_search?active=true", ""), entryOf("POST",
			"Patient", `{"resourceType":"Patient","active":true}`),
	}
	batch := w.do("POST", "", everything, bundleOf("batch", entries...)).bundle()

	transaction := w.do("POST", "", everything, bundleOf("transaction", entries...)).bundle()
	for i, want := range [][2]int{{1, 1}, {2, 2}, {1, 1}, {2, 4}, {2, 4}} { // a transaction reads last
		for j, b := range []bundle{batch, transaction} {
			var got struct {
				Total int
				Entry []json.RawMessage
			}
			if err := json.Unmarshal(b.Entry[i].Resource, &got); err != nil || got.Total != want[j] {
				t.Errorf("entry %d: %v, %s", i, err, b.Entry[i].Resource)
			}
			if i == 1 && len(got.Entry) != 1 {
				t.Errorf("the form's _count is not seen: %s", b.Entry[i].Resource)
			}
		}
	}

	refused := w.do("POST", "", "system/Observation.rs", bundleOf("batch", entries[:5]...)).bundle()
	for i, e := range refused.Entry {
		if want := map[bool]string{true: "403 Forbidden"}[i < 5]; e.Response.Status != want {
			t.Errorf("entry %d without a scope: %s", i, e.Response.Status)
		}
	}

	for _, url := range []string{"", "..", "//x", "Patient/$x", "Nonsense/_search"} {
		b := w.do("POST", "", everything,
			bundleOf("batch", entryOf("POST", url, ""), entryOf("POST", "Patient/_search", anna))).bundle()
		for _, e := range b.Entry {
			if e.Response.Status[:1] != "4" {
				t.Errorf("%q: %s", url, e.Response.Status)
			}
		}
	}
}
