package xml

import (
	"bytes"
	"os"
	"testing"

	"fhirdest.example/fhir/sample"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
	"fhirdest.example/fhir/xml/xmltest"
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

// canonical is xmltest.Canonical.
func canonical(t *testing.T, body []byte) string {
	t.Helper()
	text, err := xmltest.Canonical(body)
	if err != nil {
		t.Fatalf("%v\n%.2000s", err, body)
	}
	return text
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
