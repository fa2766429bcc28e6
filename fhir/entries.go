package fhir

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/fhir/label"
	"fhirdest.example/fhir/tree"
)

// maxEntries bounds a batch or transaction.
const maxEntries = 5000

// maxBundleValues bounds the JSON values of a batch or transaction: a body of
// the usual limit has fewer unless it is made of nothing but punctuation.
const maxBundleValues = 3 << 19

// batchEntry is one entry of a batch or transaction, taken apart.
type batchEntry struct {
	index   int
	fullURL string
	req     *request
	in      *interaction
	failed  *failure // judged before anything was done

	resp *response
	done bool // nothing is left to do: If-None-Exist found it
}

// prepareBundle reads the body as a batch or transaction.
func (s *Service) prepareBundle(r *request) error {
	body, err := r.resourceBody()
	if err != nil {
		return err
	}

	root, err := tree.ParseWithin(body, tree.Limits{
		Bytes:  len(body),
		Values: maxBundleValues,
	})
	if err != nil {
		return err
	}
	if root.Get("resourceType").Text() != "Bundle" {
		return fail(http.StatusBadRequest, "invalid", "The body is no Bundle.")
	}
	if list := root.Get("entry"); list != nil && list.Kind != tree.Array {
		return fail(http.StatusBadRequest, "structure", "The Bundle's entry is no array.")
	}

	entries := root.Get("entry").Each()
	if len(entries) > maxEntries {
		return fail(http.StatusRequestEntityTooLarge, "too-costly", fmt.Sprintf(
			"The Bundle has %d entries; a batch or transaction may have %d at most.", len(entries), maxEntries))
	}

	switch r.bundleType = root.Get("type").Text(); r.bundleType {
	case "batch", "transaction":
	default:
		return fail(
			http.StatusBadRequest,
			"value",
			"The Bundle is neither a batch nor a transaction.",
		)
	}
	if err := s.verifyWhole(r, root); err != nil {
		return err
	}

	for i := range entries {
		r.entries = append(r.entries, s.readEntry(r, i, &entries[i]))
	}

	return nil
}

// readEntry makes a request of an entry. Nothing of the outer request's
// headers goes with it, and none of its own but the conditional ones count.
func (s *Service) readEntry(r *request, index int, v *tree.Value) *batchEntry {
	e := &batchEntry{
		index:   index,
		fullURL: s.ownURL(v.Get("fullUrl").Text()),
	}
	req := v.Get("request")
	method, url := req.Get("method").Text(), req.Get("url").Text()
	sub := &request{
		ctx:     r.ctx,
		method:  method,
		grant:   r.grant,
		address: r.address,
		ex:      r.ex,
		now:     r.now,
		header:  http.Header{},
		access:  r.access,
		labels:  r.labels,
		signed:  r.signable(),
		inner:   true,
	}
	e.req = sub

	sub.header.Set("Prefer", r.entryPreference())
	if id := requestID(r.header); id != "" {
		sub.header.Set("X-Request-Id", id)
	}
	if resource := v.Get("resource"); resource != nil {
		sub.body = []byte(resource.Raw)
		sub.header.Set("Content-Type", "application/fhir+json")
	}
	if err := cmp.Or(readConditions(sub, req), s.aimEntry(e, method, url)); err != nil {
		e.failed = asFailure(err)
	}

	return e
}

// entryConditions are the headers that an entry's request has instead of its own.
var entryConditions = map[string]string{
	"ifNoneMatch": "If-None-Match",
	"ifMatch":     "If-Match",
	"ifNoneExist": "If-None-Exist",
}

// readConditions makes headers of an entry's conditions. What it cannot read is
// refused, misspelt members included: the entry would be done without a condition.
func readConditions(r *request, entry *tree.Value) error {
	if entry == nil || entry.Kind != tree.Object {
		return nil // aimEntry refuses it
	}

	for i := range entry.Items {
		member := &entry.Items[i]
		name := strings.TrimPrefix(member.Name, "_") // with "_", what extends the element

		switch {
		case slices.Contains([]string{"method", "url", "id", "extension"}, name):
		case name != "ifModifiedSince" && entryConditions[name] == "":
			return fail(http.StatusBadRequest, "structure",
				"An entry's request has no element "+strconv.Quote(member.Name)+".")
		case entry.Get(name) == nil:
			return fail(http.StatusBadRequest, "value",
				"The entry's "+name+" has extensions, but no value.")
		case name == member.Name:
			if err := setCondition(r, name, member.Text()); err != nil {
				return err
			}
		}
	}

	return emptyCondition(r)
}

// setCondition sets a condition of an entry. The time of ifModifiedSince is an instant,
// to the millisecond as lastUpdated is; a header could not hold it.
func setCondition(r *request, name, text string) error {
	if strings.TrimSpace(text) == "" || hasControl(text) {
		return fail(http.StatusBadRequest, "value", name+" is no text of one line.")
	}
	if name != "ifModifiedSince" {
		r.header.Set(entryConditions[name], text)
		return nil
	}

	var err error
	if r.since, err = time.Parse(time.RFC3339, text); err != nil {
		return fail(http.StatusBadRequest, "value",
			name+" is no instant, such as 2026-03-01T12:00:00.000Z.")
	}
	return nil
}

// entryPreference is what the entries of a Bundle prefer: what the Bundle's
// request does, and no bodies of what is written when it asks for none.
func (r *request) entryPreference() string {
	preference := "return=minimal"
	for _, p := range []string{"return=representation", "return=OperationOutcome"} {
		if r.prefers(p) {
			preference = p
		}
	}

	if r.prefers("handling=strict") {
		preference += ", handling=strict"
	}
	return preference
}

// aimEntry reads where an entry goes: below the base, and nowhere else.
func (s *Service) aimEntry(e *batchEntry, method, url string) error {
	if url == "" || method == "" {
		return fail(
			http.StatusBadRequest,
			"required",
			"The entry has no request with a method and a url.",
		)
	}

	path, query, _ := strings.Cut(url, "?")
	for _, base := range s.ex.Bases {
		if rest, ok := strings.CutPrefix(path, base+"/"); ok {
			path = rest
			break
		}
	}

	segs := splitPath(plainPath(path))
	e.req.path = segs
	var err error
	if e.req.query, err = parseQuery(query); err != nil {
		return err
	}

	at := shape(segs)
	if at == "?" {
		return fail(http.StatusBadRequest, "value",
			"The entry's url leads nowhere below the base that an entry may go.")
	}

	e.in, err = s.find(method, segs)
	switch {
	case err != nil:
	case e.in.entries:
		err = fail(
			http.StatusBadRequest,
			"not-supported",
			"A Bundle cannot be done inside a Bundle.",
		)
	case e.in.answer != nil:
		err = fail(
			http.StatusBadRequest,
			"not-supported",
			"Work in the background cannot be begun by a Bundle.",
		)
	case method == http.MethodPatch:
		err = e.req.unwrap("application/json-patch+json")
	case strings.HasSuffix(at, "/_search") && len(e.req.body) > 0:
		if err = e.req.unwrap("application/x-www-form-urlencoded"); err == nil {
			err = e.req.readForm()
		}
	}

	return err
}

// unwrap extracts a body that is no resource from the Binary that carries it in
// a Bundle (R4 http 3.1.0.11.2).
func (r *request) unwrap(media string) error {
	root, err := tree.Parse(r.body)
	if err != nil || root.Get("resourceType").Text() != "Binary" {
		return fail(http.StatusBadRequest, "structure",
			"What is no resource stands in a Bundle as a Binary of "+media+".")
	}

	resp := &response{body: r.body}
	if err := native(resp); err != nil {
		return err
	}

	r.body = resp.body
	r.header.Set("Content-Type", media)
	return nil
}

// appendResult writes what came of an entry.
func appendResult(b []byte, e *batchEntry) []byte {
	resp := e.resp
	b = append(b, '{')
	outcomeBody := resp.status >= 400 ||
		strings.HasPrefix(string(resp.body), `{"resourceType":"OperationOutcome"`)
	if resp.body != nil && !outcomeBody {
		b = append(append(append(b, `"resource":`...), resp.body...), ',')
	}
	b = append(b, `"response":{"status":`...)
	b = appendString(b, fmt.Sprintf("%d %s", resp.status, http.StatusText(resp.status)))

	if resp.location != "" {
		b = appendString(append(b, `,"location":`...), resp.location)
	}
	if resp.tag != "" {
		b = appendString(append(b, `,"etag":`...), resp.tag)
	}
	if !resp.modified.IsZero() {
		b = appendString(append(b, `,"lastModified":`...),
			resp.modified.UTC().Format("2006-01-02T15:04:05.000Z"))
	}

	if outcomeBody && resp.body != nil {
		b = append(append(b, `,"outcome":`...), resp.body...)
	}
	return append(b, `}}`...)
}

func results(r *request, typ string) *response {
	b := []byte(`{"resourceType":"Bundle","type":"` + typ + `"`)
	for i, e := range r.entries {
		if i == 0 {
			b = append(b, `,"entry":[`...)
		} else {
			b = append(b, ',')
		}

		b = appendResult(b, e)
	}

	if len(r.entries) > 0 {
		b = append(b, ']')
	}

	var security label.Security
	for _, e := range r.entries {
		if e.resp.body != nil {
			security.Join(e.req.notes.security)
		}
	}
	return &response{
		status: http.StatusOK,
		body:   security.Mark(append(b, '}')),
	}
}

// count adds what an entry answers to the length of the whole answer, and drops
// what is not shown. A write that was done never fails afterwards.
func (r *request) count(e *batchEntry) error {
	if e.req.method == http.MethodHead {
		e.resp.body = nil
	}
	if r.answered += len(e.resp.body); r.answered <= maxAnswer {
		return nil
	}
	if e.resp.wrote {
		e.resp.body = nil
		return nil
	}

	return tooMuch()
}

// batch does each entry for itself, until the answer is as long as it may be.
func (s *Service) batch(r *request) *response {
	for _, e := range r.entries {
		err := error(nil)
		switch {
		case e.failed != nil:
			err = s.refused(e.req, e.failed)
		case r.answered > maxAnswer:
			err = tooMuch()
		default:
			if e.resp, err = s.do(e.req); err == nil {
				err = r.count(e)
			}
		}

		if err != nil {
			e.resp = asFailure(err).response()
			e.resp.failed = asFailure(err)
		}
	}

	return results(r, "batch-response")
}
