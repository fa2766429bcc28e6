package fhir

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
)

// reduction selects which elements of a resource are shown (_summary, _elements).
type reduction struct {
	keep func(t *table.Type, depth int, e *table.Element) bool
}

// reductionOf gives what a query leaves of each resource; nil for all of it.
func reductionOf(summary search.Summary, elements []string) *reduction {
	switch {
	case summary == "true":
		return &reduction{func(_ *table.Type, _ int, e *table.Element) bool {
			return e.Summary || e.Min > 0 || e.Modifier
		}}
	case summary == "text":
		return &reduction{func(_ *table.Type, depth int, e *table.Element) bool {
			return depth > 0 || e.Name == "text" || e.Name == "id" || e.Name == "meta" || e.Min > 0
		}}

	case summary == "data":
		return &reduction{func(_ *table.Type, depth int, e *table.Element) bool {
			return depth > 0 || e.Name != "text"
		}}
	case len(elements) > 0:
		return &reduction{func(_ *table.Type, depth int, e *table.Element) bool {
			return depth > 0 || e.Min > 0 || e.Modifier || e.Name == "id" || e.Name == "meta" ||
				named(elements, e.Name)
		}}
	}

	return nil
}

// Elements cuts a resource down to some of its elements, the mandatory ones and those
// that modify others' meaning, and marks it SUBSETTED (R4 search 3.1.1.5.9).
func Elements(body []byte, elements []string) ([]byte, error) {
	return reductionOf("", elements).apply(body)
}

func named(elements []string, name string) bool {
	for _, e := range elements {
		if e == name || e+"[x]" == name {
			return true
		}
	}
	return false
}

const subsetted = `{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}`

// apply writes a resource cut down, marked as such (R4 search 3.1.1.5.7). What
// is kept keeps its bytes.
func (rd *reduction) apply(body []byte) ([]byte, error) {
	root, err := tree.ParseStored(body)
	if err != nil {
		return nil, err
	}

	t := table.R4().Resource(root.Get("resourceType").Text())
	if t == nil {
		return body, nil
	}

	b := append(make([]byte, 0, len(body)), `{"resourceType":`...)
	b = append(b, root.Get("resourceType").Raw...)
	marked := false

	for i := range root.Items {
		m := &root.Items[i]
		if m.Name == "resourceType" {
			continue
		}

		member, ok := t.Member(m.Name)
		if !ok || !rd.keep(t, 0, member.Element) {
			continue
		}

		b = appendName(append(b, ','), m.Name)
		if m.Name == "meta" {
			b, marked = appendSubsetted(b, m), true
			continue
		}
		b = rd.appendValue(b, member, m)
	}

	if !marked {
		b = append(append(append(b, `,"meta":{"tag":[`...), subsetted...), `]}`...)
	}
	return append(b, '}'), nil
}

func appendName(b []byte, name string) []byte {
	b, _ = jsontext.AppendQuote(b, name)
	return append(b, ':')
}

// appendValue writes a kept element; inside backbone elements the rule goes on.
func (rd *reduction) appendValue(b []byte, member table.Member, v *tree.Value) []byte {
	if member.Shadow || member.Type == nil || member.Type.Of == nil ||
		member.Type.Of.Kind != table.Backbone {
		return append(b, v.Raw...)
	}
	if v.Kind != tree.Array {
		return rd.appendBackbone(b, member.Type.Of, v)
	}

	b = append(b, '[')
	for i := range v.Items {
		if i > 0 {
			b = append(b, ',')
		}
		b = rd.appendBackbone(b, member.Type.Of, &v.Items[i])
	}

	return append(b, ']')
}

func (rd *reduction) appendBackbone(b []byte, t *table.Type, v *tree.Value) []byte {
	if v.Kind != tree.Object {
		return append(b, v.Raw...)
	}

	start := len(b)
	for i := range v.Items {
		m := &v.Items[i]
		member, ok := t.Member(m.Name)
		if !ok || !rd.keep(t, 1, member.Element) {
			continue
		}

		b = appendName(append(b, ','), m.Name)
		b = rd.appendValue(b, member, m)
	}

	if len(b) == start {
		return append(b, v.Raw...) // an empty object would be illegal
	}

	b[start] = '{'
	return append(b, '}')
}

// appendSubsetted writes meta with the mark among its tags.
func appendSubsetted(b []byte, meta *tree.Value) []byte {
	if tags := meta.Get("tag"); tags != nil && len(tags.Items) > 0 {
		at := tags.To() - 1 - meta.From
		b = append(b, meta.Raw[:at]...)
		b = append(append(b, ','), subsetted...)
		return append(b, meta.Raw[at:]...)
	}

	b = append(b, bytes.TrimRight([]byte(meta.Raw[:len(meta.Raw)-1]), " \t\r\n")...)
	if len(meta.Items) > 0 {
		b = append(b, ',')
	}
	return append(append(append(b, `"tag":[`...), subsetted...), `]}`...)
}

// isSubsetted reports whether a body is a cut-down one, which must not replace
// the whole.
func isSubsetted(root *tree.Value) bool {
	tags := root.At("meta", "tag").Each()
	for i := range tags {
		if tags[i].Get("code").Text() == "SUBSETTED" {
			return true
		}
	}
	return false
}

// pretty writes JSON with line breaks and indents.
func pretty(body []byte) []byte {
	v := jsontext.Value(bytes.Clone(body))
	if err := v.Indent(jsontext.WithIndent("  ")); err != nil {
		return body
	}
	return v
}
