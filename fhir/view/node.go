package view

import (
	"strings"

	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
)

// node is one element as it is shown: on a line of its own, or with children.
type node struct {
	Name, Text, Href string
	Children         []node
}

// hidden elements are elsewhere on the page.
var hidden = map[string]bool{
	"resourceType": true,
	"id":           true,
	"meta":         true,
	"text":         true,
}

// children shows the elements of an object.
func (v viewer) children(o *tree.Value, t *table.Type) []node {
	var list []node
	for i := range o.Items {
		m := &o.Items[i]
		member, ok := t.Member(m.Name)
		if !ok || member.Shadow && o.Get(m.Name[1:]) != nil || t.Kind == table.Resource &&
			hidden[m.Name] {
			continue
		}

		for _, item := range m.Each() {
			list = append(list, v.element(words(m.Name), &item, member))
		}
	}

	return list
}

// element shows one value: what has a short form on a line, else in parts.
func (v viewer) element(name string, item *tree.Value, member table.Member) node {
	of := member.Type.Of
	switch {
	case member.Shadow:
		return node{
			Name: name,
			Text: "(not given" + absent(item) + ")",
		}

	case member.Type.Name == "Resource":
		kind := item.Get("resourceType").Text()
		n := node{
			Name: name,
			Text: kind + " " + v.title(item),
		}
		if t := v.table.Type(kind); t != nil {
			n.Children = v.children(item, t)
		}

		return n

	case of == nil:
		text := item.Literal()
		if member.Type.Name == "base64Binary" && len(text) > 60 {
			text = text[:60] + "…"
		}
		href, _ := v.under(text)
		if member.Type.Name != "uri" && member.Type.Name != "url" && member.Type.Name != "canonical" {
			href = ""
		}

		return node{
			Name: name,
			Text: text,
			Href: href,
		}

	case member.Type.Name == "Reference":
		return v.reference(name, item)

	case member.Type.Name == "Extension":
		return v.extension(item, of)
	}

	if text := short(member.Type.Name, item); text != "" {
		return node{
			Name: name,
			Text: text,
		}
	}

	return node{
		Name:     name,
		Children: v.children(item, of),
	}
}

func (v viewer) reference(name string, item *tree.Value) node {
	target := item.Get("reference").Text()
	href, _ := v.under(target)
	text := item.Get("display").Text()
	switch {
	case text == "" && target == "":
		text = short("Identifier", item.Get("identifier"))
	case text == "":
		text = target
	case target != "":
		text += " (" + target + ")"
	}

	return node{
		Name: name,
		Text: text,
		Href: href,
	}
}

// extension shows the end of an extension's URL and its value.
func (v viewer) extension(item *tree.Value, t *table.Type) node {
	address := item.Get("url").Text()
	name := words(address[strings.LastIndexByte(address, '/')+1:])
	for i := range item.Items {
		m := &item.Items[i]
		if member, ok := t.Member(m.Name); ok && member.Element.Choice() && !member.Shadow {
			return v.element(name, m, member)
		}
	}

	n := node{Name: name}
	for _, part := range item.Get("extension").Each() {
		n.Children = append(n.Children, v.extension(&part, t))
	}

	return n
}

// absent returns why a value is not given, if an extension has the reason.
func absent(item *tree.Value) string {
	for _, e := range item.Get("extension").Each() {
		if strings.HasSuffix(e.Get("url").Text(), "/data-absent-reason") {
			return ": " + e.Get("valueCode").Text()
		}
	}
	return ""
}

// words makes a name of JSON readable: "birthDate" becomes "birth date".
func words(name string) string {
	var out strings.Builder
	before := ' '
	for _, r := range strings.TrimPrefix(name, "_") {
		upper := r >= 'A' && r <= 'Z'
		if upper && before >= 'a' && before <= 'z' {
			out.WriteByte(' ')
			r += 'a' - 'A'
		}
		if r == '-' {
			r = ' '
		}

		out.WriteRune(r)
		before = r
	}

	return out.String()
}

// title is the few words by which a person knows a resource: the first of
// these elements that has a value.
func (v viewer) title(r *tree.Value) string {
	for _, name := range []string{"name", "title", "code", "vaccineCode", "medicationCodeableConcept",
		"medicationReference", "type",
		"description", "relationship", "scope", "category"} {
		for _, item := range r.Get(name).Each() {
			if text := caption(&item); text != "" {
				return text
			}
		}
	}

	return ""
}

// caption is a name's, concept's or reference's text without its codes.
func caption(item *tree.Value) string {
	if item.Kind != tree.Object {
		return item.Text()
	}

	coding := item.Get("coding").Each()
	for _, text := range []string{item.Get("text").Text(), item.Get("display").Text(),
		joined(" ", list(item, "given"), item.Get("family").Text())} {
		if text != "" {
			return text
		}
	}

	if len(coding) > 0 {
		return joined("", coding[0].Get("display").Text())
	}
	return ""
}

// value is an observation's result in brief, its components' included.
func value(r *tree.Value) string {
	var all []string
	for _, v := range append([]tree.Value{*orEmpty(r)}, r.Get("component").Each()...) {
		for _, text := range []string{
			short("Quantity", v.Get("valueQuantity")),
			caption(orEmpty(v.Get("valueCodeableConcept"))),
			v.Get("valueString").Text(),
		} {
			if text != "" {
				all = append(all, text)
			}
		}
	}

	return strings.Join(all, ", ")
}

// orEmpty spares callers the question whether there is a value.
func orEmpty(v *tree.Value) *tree.Value {
	if v == nil {
		return &tree.Value{}
	}
	return v
}
