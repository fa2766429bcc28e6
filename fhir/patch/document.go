package patch

import (
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/tree"
)

// document is a resource while a patch changes it.
type document struct {
	root   *node
	copied int // bytes that copies have added
}

// node is one value of a document. Until something below it is changed it is
// what was parsed; then it has children of its own.
type node struct {
	name     string // of a member; "" for an item of an array
	source   *tree.Value
	children []*node // of an opened object or array
	opened   bool
	changed  bool // something below it is not as it was sent
}

func (n *node) kind() tree.Kind { return n.source.Kind }

// open gives an object or array children that can be changed.
func (n *node) open() {
	if n.opened {
		return
	}

	n.opened = true
	n.children = make([]*node, len(n.source.Items))
	all := make([]node, len(n.source.Items))

	for i := range n.source.Items {
		v := &n.source.Items[i]
		all[i].name, all[i].source = v.Name, v
		n.children[i] = &all[i]
	}
}

// find returns the place of a child by the last token of a pointer.
func (n *node) find(token string) (int, bool) {
	switch n.kind() {
	case tree.Object:
		i := slices.IndexFunc(n.children, func(c *node) bool {
			return c.name == token
		})
		return i, i >= 0

	case tree.Array:
		i, ok := index(token)
		return i, ok && i < len(n.children)
	}

	return 0, false
}

// index reads an index of an array; leading zeros were refused before.
func index(token string) (int, bool) {
	if token == "" || strings.Trim(token, "0123456789") != "" {
		return 0, false
	}
	i, err := strconv.Atoi(token)
	return i, err == nil
}

// parent opens the values on the way to what a pointer names, and returns the
// last but one. With change they will no longer be as they were sent.
func (d *document) parent(path []string, change bool) (*node, bool) {
	n := d.root
	n.open()
	n.changed = n.changed || change

	for _, token := range path[:len(path)-1] {
		i, ok := n.find(token)
		if !ok {
			return nil, false
		}

		n = n.children[i]
		n.open()
		n.changed = n.changed || change
	}

	return n, true
}

// value returns what a pointer names without opening anything but its parents.
func (d *document) value(path []string) (*node, bool) {
	if len(path) == 0 {
		return d.root, true
	}

	n, ok := d.parent(path, false)
	if !ok {
		return nil, false
	}

	i, ok := n.find(path[len(path)-1])
	if !ok {
		return nil, false
	}
	return n.children[i], true
}

func (d *document) apply(op *operation) error {
	ok := false
	switch op.name {
	case "test":
		n, found := d.value(op.path)
		if !found || !n.equal(op.value) {
			return unfit("The patch's test fails at %s.", op.text)
		}
		return nil

	case "add":
		ok = d.add(op.path, &node{source: op.value})
	case "replace":
		ok = d.replace(op.path, &node{source: op.value})
	case "remove":
		_, ok = d.remove(op.path)
	case "move":
		ok = d.move(op.from, op.path)

	case "copy":
		return d.copy(op)
	}

	if !ok {
		return unfit("The patch does not fit the resource at %s.", op.text)
	}
	return nil
}

// add sets a member, or inserts an item before the one of that index; "-" is
// the end (RFC 6902 4.1).
func (d *document) add(path []string, n *node) bool {
	in, ok := d.parent(path, true)
	if !ok {
		return false
	}

	last := path[len(path)-1]
	switch in.kind() {
	case tree.Object:
		n.name = last
		if i, found := in.find(last); found {
			in.children[i] = n
		} else {
			in.children = append(in.children, n)
		}

		return true

	case tree.Array:
		i, ok := index(last)
		if last == "-" {
			i, ok = len(in.children), true
		}
		if !ok || i > len(in.children) {
			return false
		}

		n.name = ""
		in.children = slices.Insert(in.children, i, n)
		return true
	}

	return false
}

func (d *document) replace(path []string, n *node) bool {
	in, ok := d.parent(path, true)
	if !ok {
		return false
	}

	i, ok := in.find(path[len(path)-1])
	if ok {
		n.name = in.children[i].name
		in.children[i] = n
	}

	return ok
}

func (d *document) remove(path []string) (*node, bool) {
	in, ok := d.parent(path, true)
	if !ok {
		return nil, false
	}

	i, ok := in.find(path[len(path)-1])
	if !ok {
		return nil, false
	}

	n := in.children[i]
	in.children = slices.Delete(in.children, i, i+1)
	return n, true
}

// move refuses to put a value inside itself (RFC 6902 4.4).
func (d *document) move(from, to []string) bool {
	if len(from) < len(to) && slices.Equal(from, to[:len(from)]) {
		return false
	}
	n, ok := d.remove(from)
	return ok && d.add(to, n)
}

func (d *document) copy(op *operation) error {
	n, ok := d.value(op.from)
	if ok {
		if d.copied += n.size(maxCopied); d.copied > maxCopied {
			return &Error{
				"processing",
				"The patch copies more than " + strconv.Itoa(maxCopied) + " bytes.",
			}
		}
		ok = d.add(op.path, n.clone())
	}

	if !ok {
		return unfit("The patch does not fit the resource at %s.", op.text)
	}
	return nil
}

// size returns about how many bytes a value has; it stops counting over limit.
func (n *node) size(limit int) int {
	if !n.opened {
		return len(n.source.Raw)
	}

	size := 2
	for i := range n.children {
		if size += len(n.children[i].name) + 4 + n.children[i].size(limit); size > limit {
			break
		}
	}

	return size
}

// clone copies what was opened; what was only parsed is shared.
func (n *node) clone() *node {
	out := *n
	out.children = make([]*node, len(n.children))
	for i := range n.children {
		out.children[i] = n.children[i].clone()
	}
	return &out
}

// append writes a value: as it was sent, or from its children.
func (n *node) append(b []byte) []byte {
	if !n.changed {
		return append(b, n.source.Raw...)
	}

	b = append(b, byte(n.kind()))
	for i := range n.children {
		if i > 0 {
			b = append(b, ',')
		}
		if n.kind() == tree.Object {
			b, _ = jsontext.AppendQuote(b, n.children[i].name) // names come from valid JSON
			b = append(b, ':')
		}
		b = n.children[i].append(b)
	}

	return append(b, byte(n.kind())+2) // '{' and '[' are two before '}' and ']'
}
