// Package xmltest compares what went through XML with what it was.
package xmltest

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/tree"
)

// Canonical returns a resource's JSON in the form that does not depend on what XML
// cannot have: no white space, members sorted, numbers as written, arrays beside
// primitives as long as these, no white space around the narrative.
func Canonical(body []byte) (string, error) {
	root, err := tree.Parse(body)
	if err != nil {
		return "", err
	}

	v := jsontext.Value(appendLevel(nil, root))
	err = v.Format(
		jsontext.ReorderRawObjects(true),
		jsontext.CanonicalizeRawInts(false),
		jsontext.CanonicalizeRawFloats(false),
	)
	return string(v), err
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
