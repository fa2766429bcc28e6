// Package patch parses JSON patches (RFC 6902) and applies them to FHIR
// resources. A resource is parsed once, whatever the number of operations;
// values that no operation changes keep their bytes.
package patch

import (
	"fmt"
	"strconv"
	"strings"

	"fhirdest.example/fhir/tree"
)

// MaxOperations bounds one patch.
const MaxOperations = 500

// maxMembers bounds the members of each object in a patch, as they are compared
// and looked for one by one. No element of FHIR has so many.
const maxMembers = 1000

// maxCopied bounds the bytes that the copy operations of one patch add.
const maxCopied = 1 << 20

// Error is a patch that is refused. Code is an OperationOutcome issue code:
// "structure" for what is no patch, "business-rule" for a change that clients
// cannot make, "processing" for a patch that does not fit the resource.
type Error struct{ Code, Detail string }

func (e *Error) Error() string { return e.Detail }

func malformed(detail string) error {
	return &Error{"structure", detail}
}

// unfit is the error of an operation that does not fit the resource.
func unfit(format, path string) error {
	return &Error{"processing", fmt.Sprintf(format, strconv.QuoteToASCII(path))}
}

// Patch is a parsed patch.
type Patch []operation

// operation is one step of a patch.
type operation struct {
	name       string
	path, from []string    // tokens of the pointers
	text       string      // the path as it was sent
	value      *tree.Value // of test, add and replace
}

// Parse reads a patch. Its errors are *Error and *tree.Error.
func Parse(body []byte) (Patch, error) {
	root, err := tree.Parse(append(append([]byte(`{"patch":`), body...), '}'))
	if err != nil {
		return nil, err
	}

	list := root.Get("patch")
	if list.Kind != tree.Array || len(root.Items) != 1 || len(list.Items) > MaxOperations {
		return nil, malformed(fmt.Sprintf("A patch is an array of at most %d operations.", MaxOperations))
	}

	p := make(Patch, len(list.Items))
	for i := range list.Items {
		if p[i], err = parseOperation(&list.Items[i]); err != nil {
			return nil, err
		}
	}

	return p, nil
}

// Tests reports whether the patch tests the resource.
func (p Patch) Tests() bool {
	for i := range p {
		if p[i].name == "test" {
			return true
		}
	}
	return false
}

func parseOperation(v *tree.Value) (operation, error) {
	path, from := v.Get("path"), v.Get("from").Text()
	op := operation{
		name:  v.Get("op").Text(),
		text:  path.Text(),
		value: v.Get("value"),
	}
	if path == nil || path.Kind != tree.String || op.text != "" && op.text[0] != '/' {
		return op, malformed("An operation of the patch has no JSON pointer as its path.")
	}

	if wide(op.value) {
		return op, malformed(fmt.Sprintf(
			"An operation of the patch has an object of more than %d members.", maxMembers))
	}

	var ok, okFrom bool
	op.path, ok = tokens(op.text)
	op.from, okFrom = tokens(from)
	if !ok || !okFrom {
		return op, malformed("An operation of the patch has a JSON pointer with an invalid index or escape.")
	}

	switch op.name {
	case "test", "add", "replace":
		if op.value == nil {
			return op, malformed("An operation of the patch has no value.")
		}
	case "remove":
	case "move", "copy":
		if from == "" || from[0] != '/' || reserved(from) {
			return op, malformed("An operation of the patch cannot come from there.")
		}

	default:
		return op, malformed("The patch has an operation other than add, remove, replace, move, copy and test.")
	}

	if op.name != "test" && reserved(op.text) {
		return op, &Error{
			"business-rule",
			"A patch cannot change the whole, resourceType, id or the version.",
		}
	}

	return op, nil
}

// wide reports whether a value is or has an object of more than maxMembers.
func wide(v *tree.Value) bool {
	if v == nil {
		return false
	}
	if v.Kind == tree.Object && len(v.Items) > maxMembers {
		return true
	}

	for i := range v.Items {
		if wide(&v.Items[i]) {
			return true
		}
	}

	return false
}

// tokens splits a JSON pointer, and reports whether it is one: "~" only before 0
// or 1, and no number with leading zeros, which would be no index (RFC 6901 3
// and 4; no element of FHIR has such a name).
func tokens(pointer string) ([]string, bool) {
	if pointer == "" {
		return nil, true
	}

	all := strings.Split(pointer, "/")[1:]
	for i, token := range all {
		plain := strings.ReplaceAll(strings.ReplaceAll(token, "~0", ""), "~1", "")
		if strings.Contains(plain, "~") ||
			len(token) > 1 && token[0] == '0' && strings.Trim(token, "0123456789") == "" {
			return nil, false
		}
		all[i] = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
	}

	return all, true
}

// reserved reports whether a pointer leads to what the server alone decides.
func reserved(pointer string) bool {
	switch pointer {
	case "", "/id", "/resourceType", "/meta/versionId", "/meta/lastUpdated":
		return true
	}
	return false
}

// Apply returns the resource with the operations done in their order, or an
// *Error when one does not fit. A narrative that the patch does not change is left
// out if the patch changes what it may describe: it would show a person what is no
// longer so (R4 http.html 3.1.0.11, PATCH and narrative).
func (p Patch) Apply(root *tree.Value) ([]byte, error) {
	d := document{root: &node{source: root}}
	for i := range p {
		if err := d.apply(&p[i]); err != nil {
			return nil, err
		}
	}
	if _, ok := d.value([]string{narrative}); ok && p.outdatesNarrative() {
		d.remove([]string{narrative})
	}
	return d.root.append(make([]byte, 0, len(root.Raw)+1024)), nil
}

const narrative = "text"

// outdatesNarrative reports whether the patch changes data and leaves the narrative.
func (p Patch) outdatesNarrative() bool {
	data := false
	for i := range p {
		op := &p[i]
		if op.name == "test" {
			continue
		}

		changed := [][]string{op.path}
		if op.name == "move" {
			changed = append(changed, op.from)
		}

		for _, path := range changed {
			switch path[0] {
			case narrative, "_" + narrative:
				return false
			case "meta":
			default:
				data = true
			}
		}
	}

	return data
}
