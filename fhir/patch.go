package fhir

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
)

// maxOperations bounds one patch.
const maxOperations = 500

// preparePatch reads the body as a JSON Patch (RFC 6902).
func (s *service) preparePatch(r *request) error {
	if err := writable(r.path[0]); err != nil {
		return err
	}
	if err := bodyType(r.header, "application/json-patch+json", "application/json"); err != nil {
		return err
	}
	_, err := readPatch(r.body)
	return err
}

// operation is one step of a patch: a test, judged here, or a change.
type operation struct {
	test  bool
	path  string
	value *tree.Value
	patch jsonpatch.Patch
}

func badPatch(detail string) error { return fail(http.StatusBadRequest, "structure", detail) }

// readPatch takes a patch apart, strictly.
func readPatch(body []byte) ([]operation, error) {
	root, err := tree.Parse(append(append([]byte(`{"patch":`), body...), '}'))
	if err != nil {
		return nil, err
	}

	list := root.Get("patch")
	if list.Kind != tree.Array || len(root.Items) != 1 || len(list.Items) > maxOperations {
		return nil, badPatch("A patch is an array of at most " + strconv.Itoa(maxOperations) + " operations.")
	}

	var ops []operation
	for i := range list.Items {
		op, err := readOperation(&list.Items[i])
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}

	return ops, nil
}

func readOperation(v *tree.Value) (operation, error) {
	name, path := v.Get("op").Text(), v.Get("path")
	if path == nil || path.Kind != tree.String || path.Text() != "" && path.Text()[0] != '/' {
		return operation{}, badPatch("An operation of the patch has no JSON pointer as its path.")
	}
	if !pointer(path.Text()) || !pointer(v.Get("from").Text()) {
		return operation{}, badPatch(
			"An operation of the patch has a JSON pointer with an index or escape that is none.")
	}

	op := operation{path: path.Text(), value: v.Get("value"), test: name == "test"}
	switch name {
	case "test", "add", "replace":
		if op.value == nil {
			return op, badPatch("An operation of the patch has no value.")
		}
	case "remove":
	case "move", "copy":
		if from := v.Get("from").Text(); from == "" || from[0] != '/' || head(from) {
			return op, badPatch("An operation of the patch cannot come from there.")
		}

	default:
		return op, badPatch("The patch has an operation that is none of add, remove, replace, move, copy, test.")
	}

	if op.test {
		return op, nil
	}
	if head(op.path) {
		return op, fail(http.StatusUnprocessableEntity, "business-rule",
			"A patch cannot change the whole, resourceType, id or the version.")
	}

	patch, err := jsonpatch.DecodePatch([]byte("[" + v.Raw + "]"))
	if err != nil {
		return op, badPatch("An operation of the patch cannot be read.")
	}

	op.patch = patch
	return op, nil
}

// pointer reports whether every token of a JSON pointer is one: "~" only before
// 0 or 1, and no number with zeros before it, which would be no index (RFC 6901
// 3 and 4; no element of FHIR has such a name).
func pointer(s string) bool {
	for _, token := range strings.Split(s, "/") {
		plain := strings.ReplaceAll(strings.ReplaceAll(token, "~0", ""), "~1", "")
		if strings.Contains(plain, "~") || len(token) > 1 && token[0] == '0' &&
			strings.Trim(token, "0123456789") == "" {
			return false
		}
	}
	return true
}

// head reports whether a pointer leads to what the server alone decides.
func head(pointer string) bool {
	switch pointer {
	case "", "/id", "/resourceType", "/meta/versionId", "/meta/lastUpdated":
		return true
	}
	return false
}

// patch answers PATCH [base]/Type/id (R4 http 3.1.0.8... JSON Patch).
func (s *service) patch(c Change, r *request) (*response, error) {
	filter, err := s.need(r, r.path[0], scope.Update)
	if err != nil {
		return nil, err
	}

	old, ok, err := current(r.ctx, c, r.path[0], r.path[1])
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, notFound()
	}
	if err := s.mustCover(c, r, filter, old); err != nil {
		return nil, err
	}
	if old.Deleted {
		return nil, gone(old)
	}

	return s.patchEntry(c, r, old, filter)
}

// conditionalPatch answers PATCH [base]/Type?criteria.
func (s *service) conditionalPatch(c Change, r *request) (*response, error) {
	filter, err := s.need(r, r.path[0], scope.Update)
	if err != nil {
		return nil, err
	}

	e, n, err := s.matched(c, r, r.path[0], r.criteria())
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, notFound()
	}
	if err := s.mustCover(c, r, filter, e); err != nil {
		return nil, err
	}

	return s.patchEntry(c, r, e, filter)
}

// patchEntry applies the patch to a version that the grant may change. Whoever
// may not read the resource may not test it, and learns nothing of it: neither
// by the answer's body nor by why the patch does not fit.
func (s *service) patchEntry(c Change, r *request, old Entry, filter search.Filter) (*response, error) {
	if err := ifMatch(r, old); err != nil {
		return nil, err
	}

	ops, err := readPatch(r.body)
	if err != nil {
		return nil, err
	}
	if s.filter(r, old.Type, scope.Read).Passes(old.ID, old.Terms) {
		return s.patchWith(c, r, old, ops, filter)
	}

	for _, op := range ops {
		if op.test {
			return nil, forbidden("A patch that tests needs a scope to read.")
		}
	}

	resp, err := s.patchWith(c, r, old, ops, filter)
	if f := (*failure)(nil); errors.As(err, &f) && f.status == http.StatusUnprocessableEntity {
		return nil, fail(f.status, "processing",
			"The patch does not fit the resource. To be told why needs a scope to read.")
	}

	if err == nil && !r.prefers("return=OperationOutcome") {
		resp.body = nil
	}
	return resp, err
}

// patchWith applies operations, and stores what they make of a version.
func (s *service) patchWith(c Change, r *request, old Entry, ops []operation, filter search.Filter) (*response, error) {
	body, err := applyPatch(old.Body, ops)
	if err != nil {
		return nil, err
	}

	in, err := s.readResource(body, r.now, validate.Options{Conditional: r.links != nil})
	if err == nil && r.links != nil {
		if in, err = r.links.patched(in); errors.Is(err, errNotYet) {
			return nil, err
		}
	}
	if err != nil {
		f := asFailure(err)
		f.status = http.StatusUnprocessableEntity
		return nil, f
	}
	if in.typ != old.Type || in.id != old.ID {
		return nil, fail(http.StatusUnprocessableEntity, "business-rule", "A patch cannot change resourceType or id.")
	}

	r.in = in
	return s.putNext(c, r, old, filter)
}

// applyPatch does the operations in order. What they do not touch keeps its
// bytes.
func applyPatch(doc []byte, ops []operation) ([]byte, error) {
	o := jsonpatch.NewApplyOptions()
	o.SupportNegativeIndices, o.EscapeHTML, o.AccumulatedCopySizeLimit = false, false, 1<<20
	doc = bytes.Clone(doc)

	for _, op := range ops {
		if op.test {
			if err := runTest(doc, op); err != nil {
				return nil, err
			}
			continue
		}

		next, err := op.patch.ApplyWithOptions(doc, o)
		if err != nil {
			return nil, fail(http.StatusUnprocessableEntity, "processing",
				"The patch does not fit the resource at "+strconv.QuoteToASCII(op.path)+".")
		}
		doc = next
	}

	return doc, nil
}

// runTest compares by value: 1.5 equals 1.50 (RFC 6902 4.6).
func runTest(doc []byte, op operation) error {
	root, err := tree.Parse(doc)
	if err == nil && equal(pointed(root, op.path), op.value) {
		return nil
	}
	return fail(http.StatusUnprocessableEntity, "processing",
		"The patch's test fails at "+strconv.QuoteToASCII(op.path)+".")
}

// pointed follows a JSON pointer (RFC 6901); nil when it leads nowhere.
func pointed(v *tree.Value, pointer string) *tree.Value {
	if pointer == "" {
		return v
	}

	for _, token := range strings.Split(pointer[1:], "/") {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		if v == nil {
			return nil
		}
		if v.Kind == tree.Array {
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v.Items) || strconv.Itoa(i) != token {
				return nil
			}
			v = &v.Items[i]
			continue
		}

		v = v.Get(token)
	}

	return v
}

// equal compares JSON values; numbers by value, members in any order.
func equal(a, b *tree.Value) bool {
	if a == nil || b == nil || a.Kind != b.Kind {
		return false
	}

	switch a.Kind {
	case tree.Number:
		return sameNumber(a.Raw, b.Raw)
	case tree.String:
		return a.Text() == b.Text()
	case tree.Array, tree.Object:
		if len(a.Items) != len(b.Items) {
			return false
		}

		for i := range a.Items {
			other := &b.Items[i]
			if a.Kind == tree.Object {
				other = b.Get(a.Items[i].Name)
			}
			if !equal(&a.Items[i], other) {
				return false
			}
		}
	}

	return true
}

func sameNumber(a, b string) bool {
	if a == b {
		return true
	}
	x, err1 := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	return err1 == nil && err2 == nil && x == y
}
