// Command search writes, one a line, resources of every R4 type with every
// element filled in (a choice's types and required codes by turns, references
// of every kind), and what fhir/search extracts from each for every search
// parameter: {"resource":…,"selected":{"code":["…",…]}}. search.mjs holds that
// against FHIRPath.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
)

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for _, typ := range search.Types() {
		for turn := range turns {
			if err := write(out, typ, turn); err != nil {
				fmt.Fprintln(os.Stderr, "search:", err)
				os.Exit(1)
			}
		}
	}
}

// turns is how many variants of each type are made: the most types that a
// choice with a search parameter has.
const turns = 12

func write(out *bufio.Writer, typ string, turn int) error {
	m := maker{turn: turn}
	res := m.object(table.R4().Type(typ), 0)
	res["resourceType"], res["id"] = typ, fmt.Sprintf("%s-%d", strings.ToLower(typ), turn)
	body, err := json.Marshal(res)
	if err != nil {
		return err
	}

	root, err := tree.Parse(body)
	if err != nil {
		return err
	}

	selected := map[string][]json.RawMessage{}
	for _, p := range search.Params(typ) {
		if p.Kind == search.Composite {
			continue // HL7's expression has no place in it for the two parts
		}

		selected[p.Code] = []json.RawMessage{}
		for _, raw := range p.Select(root) {
			selected[p.Code] = append(selected[p.Code], json.RawMessage(raw))
		}
	}

	line, err := json.Marshal(map[string]any{
		"resource": json.RawMessage(body),
		"selected": selected,
	})
	if err != nil {
		return err
	}

	out.Write(line)
	return out.WriteByte('\n')
}

// maker fills in one variant. Its numbers make values differ.
type maker struct {
	turn, n, refs, codes int
}

const maxDepth = 5

func (m *maker) object(t *table.Type, depth int) map[string]any {
	o := map[string]any{}
	for i := range t.Elements {
		e := &t.Elements[i]
		switch e.Name {
		case "extension", "modifierExtension", "contained", "id", "implicitRules":
			continue
		}

		if depth == 0 && e.Name == "text" { // the narrative
			continue
		}
		if len(e.Types) == 0 {
			continue
		}

		ref := &e.Types[m.turn%len(e.Types)]
		name := e.Name
		if e.Choice() {
			bare := strings.TrimPrefix(ref.Name, "@")
			name = strings.TrimSuffix(name, "[x]") + strings.ToUpper(bare[:1]) + bare[1:]
		}
		v := m.value(e, ref, depth)
		if v == nil {
			continue
		}
		if e.Many() {
			again := m.value(e, ref, depth)
			o[name] = []any{v, again}
			continue
		}

		o[name] = v
	}

	return o
}

func (m *maker) value(e *table.Element, ref *table.TypeRef, depth int) any {
	m.n++
	switch {
	case ref.Name == "Reference":
		return m.reference(ref)
	case ref.Name == "Resource":
		return map[string]any{
			"resourceType": "Basic",
			"id":           fmt.Sprint("r", m.n),
		}

	case !ref.Primitive():
		if depth >= maxDepth || ref.Of == nil {
			return nil
		}
		if o := m.object(ref.Of, depth+1); len(o) > 0 {
			return o
		}

		return nil
	}

	return m.primitive(e, ref.Name)
}

// reference leads to one of the types allowed, in one of the forms allowed.
func (m *maker) reference(ref *table.TypeRef) any {
	targets := ref.Targets
	if len(targets) == 0 {
		targets = []string{"Patient", "Practitioner", "Organization", "Device"}
	}
	m.refs++
	to := targets[(m.refs+m.turn)%len(targets)]
	if to == "Resource" {
		to = "Patient"
	}
	if m.turn%3 == 0 {
		return map[string]any{"reference": fmt.Sprintf("https://other.test/fhir/%s/x%d", to, m.n)}
	}

	return map[string]any{"reference": fmt.Sprintf("%s/x%d", to, m.n)}
}

// kinds are codes that search parameters ask for, by element; the table's code
// sets only decide whether a code belongs to them.
var kinds = map[string][]string{
	"system": {"phone", "email", "fax"},
	"type":   {"depends-on", "composed-of", "derived-from", "predecessor", "successor"},
}

func (m *maker) primitive(e *table.Element, typ string) any {
	switch typ {
	case "boolean":
		return m.n%2 == 0
	case "integer", "positiveInt", "unsignedInt":
		return m.n
	case "decimal":
		return json.RawMessage(fmt.Sprintf("%d.50", m.n))
	case "date":
		return fmt.Sprintf("2020-01-%02d", 1+m.n%28)

	case "dateTime", "instant":
		return fmt.Sprintf("2020-01-%02dT10:00:00Z", 1+m.n%28)
	case "time":
		return "10:00:00"
	case "code":
		if of := kinds[e.Name]; of != nil {
			m.codes++
			code := of[(m.codes+m.turn)%len(of)]
			if e.Codes == nil || e.Codes.Has(code) {
				return code
			}
		}

		return fmt.Sprint("code", m.n)

	case "base64Binary":
		return "AAAA"
	}

	return fmt.Sprintf("%s%d", typ, m.n)
}
