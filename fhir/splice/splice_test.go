package splice

import (
	"errors"
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir/tree"
)

var to = Identity{
	ID:          "b7",
	VersionID:   "3",
	LastUpdated: time.Date(2026, 1, 2, 3, 4, 5, 6_700_000, time.FixedZone("", 3600)),
}

const meta3 = `"versionId":"3","lastUpdated":"2026-01-02T02:04:05.006Z"`

func parse(t *testing.T, body string) *tree.Value {
	t.Helper()
	root, err := tree.Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestSet(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"nothing there": {`{"resourceType":"Basic"}`,
			`{"resourceType":"Basic","id":"b7","meta":{` + meta3 + `}}`},
		"all there": {`{"meta":{"lastUpdated":"x" , "versionId" : "y"},"id":"z", "resourceType":"Basic"}`,
			`{"meta":{"lastUpdated":"2026-01-02T02:04:05.006Z" , "versionId" : "3"},"id":"b7", "resourceType":"Basic"}`},
		"meta with others": {`{"resourceType":"Basic","meta":{ "tag":[{"code":"a"}]},"id":"q","x":1.50}`,
			`{"resourceType":"Basic","meta":{` + meta3 + `, "tag":[{"code":"a"}]},"id":"b7","x":1.50}`},
		"one of two": {`{"resourceType":"Basic","meta":{"versionId":"9","source":"#1"}}`,
			`{"resourceType":"Basic","id":"b7","meta":{"lastUpdated":"2026-01-02T02:04:05.006Z","versionId":"3","source":"#1"}}`},
		"empty meta": {`{"resourceType":"Basic","id":"1","meta":{  }}`,
			`{"resourceType":"Basic","id":"b7","meta":{` + meta3 + `}}`},
		"late resourceType, odd spacing, escapes": {"{\n \"\\u0069d\":\"old\",\t\"b\":-0.0e1,\"c\":\"\\u00e9\\/\",\"resourceType\" : \"Basic\"\n}",
			"{\n \"\\u0069d\":\"b7\",\"meta\":{" + meta3 +
				"},\t\"b\":-0.0e1,\"c\":\"\\u00e9\\/\",\"resourceType\" : \"Basic\"\n}"},
		"inner ids stay": {`{"resourceType":"Basic","contained":[{"resourceType":"Basic","id":"in","meta":{}}]}`,
			`{"resourceType":"Basic","id":"b7","meta":{` + meta3 +
				`},"contained":[{"resourceType":"Basic","id":"in","meta":{}}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Set([]byte(c.in), parse(t, c.in), to)
			if err != nil || string(got) != c.want {
				t.Errorf("%s:\n got %s %v\nwant %s", name, got, err, c.want)
			}
			if h, err := Read(parse(t, string(got))); err != nil || h.ID != "b7" || h.Type != "Basic" ||
				h.Meta.Get("versionId").Text() != "3" {
				t.Errorf("%s: read again as %+v %v", name, h, err)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	for body, expression := range map[string]string{
		`{}`:                                                 "resourceType",
		`{"resourceType":1}`:                                 "resourceType",
		`{"resourceType":""}`:                                "resourceType",
		`{"resourceType":"patient"}`:                         "resourceType",
		`{"resourceType":"Pat/1"}`:                           "resourceType",
		`{"ResourceType":"Patient"}`:                         "resourceType",
		`{"resourceType":"A","id":1}`:                        "A.id",
		`{"resourceType":"A","id":null}`:                     "A.id",
		`{"resourceType":"A","meta":[]}`:                     "A.meta",
		`{"resourceType":"A","meta":"x"}`:                    "A.meta",
		`{"resourceType":"A","meta":{"versionId":3}}`:        "A.meta.versionId",
		`{"resourceType":"A","meta":{"lastUpdated":[null]}}`: "A.meta.lastUpdated",
	} {
		t.Run(body, func(t *testing.T) {
			_, err := Read(parse(t, body))
			var e *Error
			if !errors.As(err, &e) || e.Expression != expression {
				t.Errorf("%s: %v, want %s", body, err, expression)
			}
			if _, err := Set([]byte(body), parse(t, body), to); err == nil {
				t.Errorf("%s: was spliced", body)
			}
		})
	}
}

// Covers: case 259, case 260, FS-903
func TestValidID(t *testing.T) {
	for _, id := range []string{"a", "A-1.b", strings.Repeat("x", 64), "1", "...a"} {
		if !ValidID(id) {
			t.Errorf("%q refused", id)
		}
	}

	for _, id := range []string{"", ".", "..", "...", "a/b", "a|b", "_history", "$everything", "a b", "é", "a\x00", ";x=y",
		"%2e", "..%2f..%2fconsole", strings.Repeat("x", 65), "1/x", "1|2"} {
		if ValidID(id) {
			t.Errorf("%q accepted", id)
		}
		root := parse(t, `{"resourceType":"Basic"}`)
		if _, err := Set([]byte(root.Raw), root, Identity{ID: id, VersionID: "1"}); err == nil {
			t.Errorf("%q spliced in", id)
		}
	}
}

func TestApply(t *testing.T) {
	got := Apply([]byte("abcdef"), Edit{4, 5, "X"}, Edit{0, 0, "1"}, Edit{0, 0, "2"}, Edit{1, 3, ""})
	if string(got) != "12adXf" {
		t.Errorf("got %s", got)
	}
}

// FuzzSet: whatever is accepted keeps every member but id and meta, byte for
// byte and in order.
func FuzzSet(f *testing.F) {
	f.Add([]byte(`{"resourceType":"Basic","meta":{"tag":[]},"x":1.50}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		before, err := tree.Parse(body)
		if err != nil {
			return
		}

		out, err := Set(body, before, to)
		if err != nil {
			return
		}

		after, err := tree.Parse(out)
		if err != nil {
			t.Fatalf("%s became %s: %v", body, out, err)
		}
		if a, b := rest(before), rest(after); a != b {
			t.Fatalf("%s became %s", a, b)
		}
	})
}

func rest(root *tree.Value) string {
	var b strings.Builder
	for _, m := range root.Items {
		if m.Name != "id" && m.Name != "meta" {
			b.WriteString(m.Name + m.Raw + "\n")
		}
	}
	return b.String()
}
