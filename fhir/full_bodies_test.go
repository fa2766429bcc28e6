package fhir_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/tree"
)

// fullBody is a resource that is as long, or has as many values, as may be
// sent. Stored, with its version, it is larger.
func fullBody(kind string) string {
	head, foot := `{"resourceType":"Basic","id":"x","code":{"text":"x"}`, `}`
	if kind == "bytes" {
		return head + strings.Repeat(" ", tree.MaxBytes-len(head)-len(foot)) + foot
	}

	head += `,"extension":[`
	const each, rest = 3, 6 // an extension with its url and value; all before them
	one := `{"url":"urn:x","valueBoolean":true}`
	n := (tree.MaxValues - rest) / each
	return head + strings.Repeat(one+",", n-1) + one + `]` + foot
}

// What was accepted can be read, searched, changed and indexed anew, though what
// the server adds makes it larger than what may be sent.
func TestFullBodiesStayReadable(t *testing.T) {
	for _, kind := range []string{"bytes", "values"} {
		t.Run(kind, func(t *testing.T) {
			w := newEnv(t, 0)
			w.do("PUT", "/Basic/x", everything, fullBody(kind), "Prefer", "return=minimal").want(http.StatusCreated)
			w.do("PUT", "/Basic/y", everything, `{"resourceType":"Basic","id":"y","code":{"text":"y"}}`).
				want(http.StatusCreated)

			for _, path := range []string{
				"/Basic/x?_elements=code",
				"/Basic?_elements=code&_count=1",
				"/Basic/x/_history",
			} {
				w.get(path, everything).want(http.StatusOK)
			}

			w.do("PATCH", "/Basic/x", everything, `[{"op":"replace","path":"/code/text","value":"z"},`+
				`{"op":"remove","path":"/meta"}]`, "Content-Type", "application/json-patch+json",
				"Prefer", "return=minimal").want(http.StatusOK)
		})
	}
}

// An index that is made anew, as after an upgrade, needs every resource.
func TestFullBodiesAreIndexedAnew(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Basic/x", everything, fullBody("bytes"), "Prefer", "return=minimal").want(http.StatusCreated)
	err := w.store.Update(t.Context(), func(c fhir.Change) error {
		return c.SetSetting(t.Context(), "index-version", make([]byte, 8))
	})
	if err != nil {
		t.Fatal(err)
	}

	s, err := fhir.New(fhir.Config{
		PublicBase: publicBase,
		Store:      w.store,
		Authorize:  authorize,
		Now:        time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}

	s.Close()
}
