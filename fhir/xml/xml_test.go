package xml

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/sample"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
)

// bothWays writes a body in XML, plain and pretty, reads each again, and compares
// what comes back with the body.
func bothWays(t *testing.T, body []byte) (plain []byte) {
	t.Helper()
	want := canonical(t, body)
	for _, pretty := range []bool{true, false} {
		doc, err := Write(body, Options{Pretty: pretty})
		if err != nil {
			t.Fatalf("write: %v\n%.2000s", err, body)
		}

		back, err := Read(doc)
		if err != nil {
			t.Fatalf("read: %v\n%.2000s", err, doc)
		}
		if got := canonical(t, back); got != want {
			t.Fatalf("pretty %v: came back as\n%.3000s\nwas\n%.3000s\nXML\n%.3000s", pretty, got, want, doc)
		}
		plain = doc
	}

	return plain
}

// canonical returns a body's bytes in the form that does not depend on what XML
// cannot have: no white space, members sorted, numbers as written, arrays beside
// primitives as long as these, no white space around the narrative.
func canonical(t *testing.T, body []byte) string {
	t.Helper()
	root, err := tree.Parse(body)
	if err != nil {
		t.Fatalf("%v\n%.2000s", err, body)
	}

	v := jsontext.Value(appendLevel(nil, root))
	err = v.Format(jsontext.ReorderRawObjects(true), jsontext.CanonicalizeRawInts(false),
		jsontext.CanonicalizeRawFloats(false))
	if err != nil {
		t.Fatal(err)
	}

	return string(v)
}

// appendLevel writes a value without what canonical levels.
func appendLevel(b []byte, v *tree.Value) []byte {
	switch v.Kind {
	case tree.Array:
		b = append(b, '[')
		for i := range v.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendLevel(b, &v.Items[i])
		}

		return append(b, ']')

	case tree.Object:
		b = append(b, '{')
		for i := range v.Items {
			m := &v.Items[i]
			if m.Kind == tree.Array && strings.Count(m.Raw, "null") == len(m.Items) && len(m.Items) > 0 &&
				m.Items[0].Kind == tree.Null {
				continue // nothing but places
			}

			if b[len(b)-1] != '{' {
				b = append(b, ',')
			}
			b, _ = jsontext.AppendQuote(b, m.Name)
			b = appendLevel(append(b, ':'), m)
			if twin := v.Get(strings.TrimPrefix(m.Name, "_")); strings.HasPrefix(m.Name, "_") && twin != nil {
				b = bytes.TrimSuffix(b, []byte("]"))
				for n := len(m.Items); n < len(twin.Items); n++ {
					b = append(b, ",null"...)
				}
				if m.Kind == tree.Array {
					b = append(b, ']')
				}
			}
		}

		return append(b, '}')

	case tree.String:
		text := v.Text()
		if v.Name == "div" {
			text = strings.Trim(text, " \t\r\n")
		}
		b, _ = jsontext.AppendQuote(b, text)
		return b
	}

	return append(b, v.Raw...)
}

// vectors returns the bodies that a file of package validate lists.
func vectors(t testing.TB, name string) [][]byte {
	t.Helper()
	raw, err := os.ReadFile("../validate/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}

	var all [][]byte
	for _, line := range bytes.Split(raw, []byte("\n")) {
		if len(line) > 0 && line[0] == '{' {
			all = append(all, line)
		}
	}

	if len(all) == 0 {
		t.Fatalf("%s has no body", name)
	}
	return all
}

func TestSamplePopulationBothWays(t *testing.T) {
	n := 0
	err := sample.History(sample.DefaultPatients, func(s sample.Step) error {
		if !s.Delete() {
			bothWays(t, s.JSON)
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	if n < 1000 {
		t.Errorf("%d resources only", n)
	}
}

func TestVectorsBothWays(t *testing.T) {
	v := validate.New(table.R4())
	for _, body := range append(vectors(t, "accepted.txt"), odd...) {
		t.Run("", func(t *testing.T) {
			root, err := tree.Parse(body)
			if err != nil {
				t.Fatal(err)
			}
			if found := v.Resource(root, validate.Options{}); !validate.OK(found) {
				t.Fatalf("the vector itself is refused: %v", found)
			}
			bothWays(t, body)
		})
	}
}

// odd are valid bodies that XML has a form of its own for.
var odd = [][]byte{
	[]byte(`{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.50}}`),
	[]byte(`{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":0.00}}`),
	[]byte(`{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1E+5}}`),
	[]byte(`{"resourceType":"Patient","name":[{"family":" \t a\r\nb\n ","given":["<&>\"'","]]>","\u00e9\ud83d\ude00"]}]}`),
	[]byte(`{"resourceType":"Patient","name":[{"id":"n","_given":[{"id":"g"},{"extension":[{"url":"urn:x","valueCode":"y"}]}]}]}`),
	[]byte(`{"resourceType":"Patient","name":[{"given":["a","b"],"_given":[{"id":"g"}]},{"given":["c"]}]}`),
	[]byte(`{"resourceType":"Patient","id":"p","_id":{"extension":[{"url":"urn:x","valueCode":"y"}]}}`),
	[]byte(`{"resourceType":"Patient","_active":{"extension":[{"url":"urn:x","_valueString":{"id":"deep","extension":` +
		`[{"url":"urn:y","valueString":"v","_valueString":{"id":"deeper"}}]}}]}}`),
	[]byte(`{"resourceType":"Patient","text":{"status":"generated","div":" <div xmlns=\"http://www.w3.org/1999/xhtml\">` +
		`<p title='a > b'>1 &lt; 2\r\n<!-- <b> --><br/></p></div>\n"}}`),
	[]byte(`{"resourceType":"Parameters","parameter":[{"name":"a","resource":{"resourceType":"Binary","contentType":"a/b"}}]}`),
	[]byte(`{"resourceType":"Bundle","type":"batch-response","entry":[{"response":{"status":"400 Bad Request","outcome":` +
		`{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid"}]}}}]}`),
	[]byte(`{"resourceType":"Patient","contained":[{"resourceType":"Organization","id":"o","name":"x"},` +
		`{"resourceType":"Organization","id":"p","name":"y"}],"managingOrganization":{"reference":"#o"},` +
		`"generalPractitioner":[{"reference":"#p"}]}`),
}
