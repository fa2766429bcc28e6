package yamlfile

import (
	"errors"
	"fmt"
	"reflect"
	"sort"
	"strings"
	"time"

	"fhirdest.example/gateway/complaint"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Decode is Read for bytes that are already at hand; name precedes the
// line number in complaints.
func Decode(name string, data []byte, into any) error {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return problem(name, 0, err)
	}
	if len(file.Docs) > 1 {
		return complaint.New(
			name+" holds more than one YAML document",
			"keep one document in a file",
		)
	}

	var body ast.Node
	if len(file.Docs) == 1 {
		body = file.Docs[0].Body
	}
	if body == nil {
		return complaint.New(
			name+" is empty",
			"write the settings as KEY: VALUE lines",
		)
	}

	w := walker{name: name}
	w.walk(body, reflect.TypeOf(into).Elem(), "")
	// The walk has complained about every value that does not fit; this fills
	// in the rest, and its error, the first of them, is one of those.
	if err := yaml.UnmarshalWithOptions(data, into); err != nil && len(w.complaints) == 0 {
		w.complaints = append(w.complaints, problem(name, 0, err))
	}

	return errors.Join(w.complaints...)
}

// walker compares a document with the Go type that it is to fill, so that
// every fault is found in one pass and not only the first.
type walker struct {
	name       string
	complaints []error
}

func (w *walker) walk(n ast.Node, t reflect.Type, at string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}

	if _, null := n.(*ast.NullNode); null {
		return
	}

	switch {
	case decodesItself(t):
		w.leaf(n, t, at)
	case t.Kind() == reflect.Struct:
		w.mapping(n, t, at)
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		w.sequence(n, t, at)
	default:
		w.leaf(n, t, at)
	}
}

func decodesItself(t reflect.Type) bool {
	if t == reflect.TypeFor[time.Duration]() || t == reflect.TypeFor[time.Time]() {
		return true
	}
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[yaml.BytesUnmarshaler]()) ||
		p.Implements(reflect.TypeFor[yaml.InterfaceUnmarshaler]()) ||
		p.Implements(reflect.TypeFor[interface{ UnmarshalText([]byte) error }]())
}

func (w *walker) mapping(n ast.Node, t reflect.Type, at string) {
	m, ok := n.(ast.MapNode)
	if !ok {
		w.wrong(n, at, "a mapping of "+strings.Join(keysOf(t), ", "))
		return
	}

	fields := fieldsOf(t)
	for it := m.MapRange(); it.Next(); {
		key := keyText(it.Key())
		ft, known := fields[key]
		if !known {
			w.unknown(it.Key(), at, key, keysOf(t))
			continue
		}
		w.walk(it.Value(), ft, join(at, key))
	}
}

func (w *walker) sequence(n ast.Node, t reflect.Type, at string) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		w.wrong(n, at, "a list")
		return
	}
	for i, v := range s.Values {
		w.walk(v, t.Elem(), fmt.Sprintf("%s[%d]", at, i))
	}
}

func (w *walker) leaf(n ast.Node, t reflect.Type, at string) {
	if err := yaml.NodeToValue(n, reflect.New(t).Interface()); err != nil {
		w.wrong(n, at, kindName(t))
	}
}

func (w *walker) wrong(n ast.Node, at, want string) {
	w.complaints = append(w.complaints, complaint.New(
		fmt.Sprintf("%s:%d: %s: %s is not %s", w.name, line(n), orDocument(at), shown(n), want),
		example(want),
	))
}

func (w *walker) unknown(n ast.Node, at, key string, keys []string) {
	hint := "known here: " + strings.Join(keys, ", ")
	if best := nearest(key, keys); best != "" {
		hint = fmt.Sprintf("did you mean %q? %s", best, hint)
	}
	w.complaints = append(w.complaints, complaint.New(
		fmt.Sprintf("%s:%d: unknown key %q", w.name, line(n), join(at, key)),
		hint,
	))
}

func problem(name string, at int, err error) *complaint.Complaint {
	text := err.Error()
	if ye := (yaml.Error)(nil); errors.As(err, &ye) {
		text = ye.GetMessage()
		if tok := ye.GetToken(); tok != nil {
			at = tok.Position.Line
		}
	}

	if at > 0 {
		name = fmt.Sprintf("%s:%d", name, at)
	}
	return complaint.New(name+": "+text, "correct the YAML at this line")
}

func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case strings.Contains(options, "inline"):
			for k, v := range fieldsOf(f.Type) {
				out[k] = v
			}
		case name == "":
			out[strings.ToLower(f.Name)] = f.Type
		default:
			out[name] = f.Type
		}
	}

	return out
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for k := range fieldsOf(t) {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func keyText(k ast.MapKeyNode) string {
	if s, ok := k.(*ast.StringNode); ok {
		return s.Value
	}
	return k.String()
}

func line(n ast.Node) int {
	if tok := n.GetToken(); tok != nil {
		return tok.Position.Line
	}
	return 0
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

func orDocument(at string) string {
	if at == "" {
		return "the document"
	}
	return at
}

// shown is a value as a complaint prints it: scalars in full, else their kind.
func shown(n ast.Node) string {
	switch v := n.(type) {
	case *ast.StringNode:
		return fmt.Sprintf("%q", v.Value)
	case ast.ScalarNode:
		return v.String()
	case ast.MapNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	}

	return "this"
}
