package xml

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"fhirdest.example/fhir/sample"
)

// longBundle returns a Bundle that is written entry by entry, with head before and
// tail after its entries.
func longBundle(t *testing.T, head, tail string) []byte {
	t.Helper()
	b := []byte(head + `"entry" : [`)
	n := 0
	err := sample.History(1, func(s sample.Step) error {
		if s.Delete() {
			return nil
		}
		if n++; n > 1 {
			b = append(b, " ,\n"...)
		}
		b = append(b, `{"resource":`...)
		b = append(append(b, s.JSON...), `,"search":{"mode":"match"}}`...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	b = append(append(b, " ]\n"...), tail...)
	if len(b) <= whole {
		t.Fatalf("%d bytes only", len(b))
	}
	return b
}

func TestLongBundlesBothWays(t *testing.T) {
	for name, body := range map[string][]byte{
		"entries last":  longBundle(t, `{"resourceType":"Bundle","type":"searchset","total":1,`, `}`),
		"entries first": longBundle(t, ` { `, `,"type":"searchset","resourceType":"Bundle"}`),
		"type after a while": longBundle(t, `{"id":"`+strings.Repeat("a", 64)+`",`,
			`,"resourceType":"Bundle","type":"collection","identifier":{"value":"x"},"link":[{"relation":"self","url":"urn:x"}]}`),
		"signed": longBundle(t, `{"resourceType":"Bundle","type":"searchset",`,
			`,"signature":{"type":[{"code":"x"}],"when":"2020-01-01T00:00:00Z","who":{"display":"x"}}}`),
	} {
		t.Run(name, func(t *testing.T) {
			doc := bothWays(t, body)
			if last := bytes.LastIndex(doc, []byte("</entry>")); name != "signed" && !bytes.HasSuffix(doc[last:], []byte("</entry></Bundle>")) {
				t.Errorf("the entries are not last: %s", doc[last:])
			}
		})
	}
}

// A resource that has an element of the name entry, and is no Bundle.
func TestLongListsAreNoBundles(t *testing.T) {
	entry := `{"item":{"reference":"Patient/1","display":"Bundle"}}`
	bothWays(t, []byte(`{"resourceType":"List","status":"current","mode":"working","title":"`+"\u201eBundle\u201c"+`","code":{"text":"Bundle"},"entry":[`+
		strings.Repeat(entry+",", 3000)+entry+`]}`))
	bothWays(t, []byte(`{"resourceType":"Patient","contained":[{"resourceType":"Bundle","type":"collection","entry":[`+
		strings.Repeat(`{"fullUrl":"urn:x"},`, 9000)+`{"fullUrl":"urn:y"}]}]}`))
}

func TestLimitOfWrittenXML(t *testing.T) {
	body := longBundle(t, `{"resourceType":"Bundle","type":"searchset",`, `}`)
	doc, err := Write(body, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Write(body, Options{Limit: len(doc)}); err != nil {
		t.Errorf("at its length: %v", err)
	}
	for _, limit := range []int{1, len(doc) / 2, len(doc) - 1} {
		if _, err := Write(body, Options{Limit: limit}); !errors.Is(err, ErrTooLong) {
			t.Errorf("%d of %d bytes: %v", limit, len(doc), err)
		}
	}
}

// What no resource of R4 looks like is an error, not half a document.
func TestWhatCannotBeWritten(t *testing.T) {
	for name, body := range map[string]string{
		"not JSON":              `<Patient/>`,
		"array":                 `[]`,
		"no type":               `{"id":"x"}`,
		"unknown type":          `{"resourceType":"Nothing"}`,
		"data type":             `{"resourceType":"HumanName"}`,
		"unknown element":       `{"resourceType":"Patient","nothing":1}`,
		"shadow of a complex":   `{"resourceType":"Patient","_name":[{"id":"x"}]}`,
		"shadow of an id":       `{"resourceType":"Patient","name":[{"_id":{"id":"x"}}]}`,
		"two of a choice":       `{"resourceType":"Patient","deceasedBoolean":true,"deceasedDateTime":"2020"}`,
		"two shadows":           `{"resourceType":"Patient","_deceasedBoolean":{"id":"x"},"_deceasedDateTime":{"id":"x"}}`,
		"string for an object":  `{"resourceType":"Patient","name":["x"]}`,
		"object for a string":   `{"resourceType":"Patient","gender":{"id":"x"}}`,
		"array in an array":     `{"resourceType":"Patient","name":[{"given":[["x"]]}]}`,
		"empty place":           `{"resourceType":"Patient","name":[{"given":[null]}]}`,
		"same member twice":     `{"resourceType":"Patient","gender":"male","gender":"male"}`,
		"id is an object":       `{"resourceType":"Patient","name":[{"id":{"x":"\"><y/>"},"family":"z"}]}`,
		"url is an array":       `{"resourceType":"Patient","extension":[{"url":["x"],"valueCode":"y"}]}`,
		"id beside is a number": `{"resourceType":"Patient","_gender":{"id":[1]}}`,
		"shadow is a string":    `{"resourceType":"Patient","_gender":"x"}`,
		"div with more":         `{"resourceType":"Patient","text":{"div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div><div/>"}}`,
		"div without namespace": `{"resourceType":"Patient","text":{"div":"<div>x</div>"}}`,
		"div not closed":        `{"resourceType":"Patient","text":{"div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">x"}}`,
		"div that ends the text": `{"resourceType":"Patient","text":{"div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>` +
			`</text><active value=\"true\"/><text>"}}`,
		"no div":                     `{"resourceType":"Patient","text":{"div":"x"}}`,
		"contained without a type":   `{"resourceType":"Patient","contained":[{"id":"x"}]}`,
		"contained string":           `{"resourceType":"Patient","contained":["x"]}`,
		"a bad entry in a long list": string(longBundle(t, `{"resourceType":"Bundle","type":"batch","link":"x",`, `}`)),
	} {
		t.Run(name, func(t *testing.T) {
			if doc, err := Write([]byte(body), Options{}); err == nil {
				t.Errorf("written as %.300s", doc)
			}
		})
	}
}
