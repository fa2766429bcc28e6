package fhir

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/label"
	matching "fhirdest.example/fhir/match"
	"fhirdest.example/fhir/patch"
	"fhirdest.example/fhir/search"
)

// request is one interaction asked for: by HTTP, or by an entry of a batch or
// transaction.
type request struct {
	ctx      context.Context
	method   string
	path     []string // segments below the base, undecoded
	query    []search.Pair
	rawQuery string
	header   http.Header // for entries, only those that an entry may carry
	body     []byte
	grant    *Grant
	now      time.Time
	address  string            // of the client, as the connection has it
	ex       *search.Extractor // for the audit record, of versions without terms
	form     form              // how the answer is written

	in *incoming // the resource that the body holds, once prepared

	signed *atomic.Int64 // what signable returns, once asked for

	provenance *incoming // that of the header X-Provenance, once prepared
	subject    Entry     // of $sign: the version that is signed

	patch  patch.Patch       // the patch that the body holds, once prepared
	types  map[string]string // of a transaction's entry: types by fullUrl
	opened *opened           // what the page link of the request holds

	binding []byte // of the grant, for page links, once it is needed
	draft   *draft // what a write will most likely store
	kept    *kept  // what it stores with the labels of the version before

	links      *transaction      // of a patch in a transaction: links what the patch makes
	match      *match            // of a transaction's entry: what its criteria matched
	matching   *matching.Request // what Patient/$match is asked for, once prepared
	inner      bool              // an entry of a batch or transaction
	since      time.Time         // its ifModifiedSince
	bundleType string
	entries    []*batchEntry
	answered   int // bytes that its entries' answers have so far

	timeout time.Duration                 // of work in the background; 0 for the service's
	mark    func(Change, *response) error // stores the outcome of a change with it

	access *access.Reader // decides what the grant allows
	labels *label.Holder  // what the grant is cleared for
	notes  notes
}

// addressOf returns the IP address of a connection's far end, without the port.
func addressOf(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return ""
	}
	return host
}

// rawTarget gives the path and query of a request as they were sent.
func rawTarget(r *http.Request) (path, query string) {
	target := r.RequestURI
	if target == "" {
		target = r.URL.RequestURI()
	}
	target, query, _ = strings.Cut(target, "?")
	if !strings.HasPrefix(target, "/") { // absolute form
		if _, rest, ok := strings.Cut(target, "://"); ok {
			if i := strings.IndexByte(rest, '/'); i >= 0 {
				return rest[i:], query
			}
		}

		return "", query
	}

	return target, query
}

// below cuts the base's path off; false when the path is not under a base.
// What is under it may still be no path of ours: see shape.
// Segments stay undecoded: no type, id or operation needs an escape but "$".
func (s *Service) below(path string) ([]string, bool) {
	path = plainPath(path)
	for _, p := range s.prefixes {
		rest, ok := strings.CutPrefix(path, p)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		return splitPath(strings.TrimPrefix(rest, "/")), true
	}

	return nil, false
}

func splitPath(rest string) []string {
	if rest == "" {
		return nil
	}

	segs := strings.Split(rest, "/")
	for i, seg := range segs {
		if op, ok := strings.CutPrefix(seg, "%24"); ok {
			segs[i] = "$" + op
		}
	}

	return segs
}

// plainPath decodes the escapes of characters that need none: a URL with them
// and one without are the same (RFC 3986 6.2.2.2). All others stay as they are.
func plainPath(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}

	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			n, err := strconv.ParseUint(path[i+1:i+3], 16, 8)
			if c := byte(n); err == nil && (c == '-' || c == '.' || c == '_' || c == '~' ||
				'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9') {
				b.WriteByte(c)
				i += 2
				continue
			}
		}

		b.WriteByte(path[i])
	}

	return b.String()
}

// parseQuery reads name=value pairs in their order. Control characters and bad
// escapes are refused.
func parseQuery(raw string) ([]search.Pair, error) {
	var pairs []search.Pair
	for raw != "" {
		var one string
		one, raw, _ = strings.Cut(raw, "&")
		if one == "" {
			continue
		}

		k, v, _ := strings.Cut(one, "=")
		name, err1 := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err1 != nil || err2 != nil || hasControl(name) || hasControl(value) {
			return nil, fail(
				http.StatusBadRequest,
				"value",
				"The query is not well-formed.",
			)
		}
		pairs = append(pairs, search.Pair{
			Name:  name,
			Value: value,
		})
	}

	return pairs, nil
}

func hasControl(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool {
		return r < ' ' || r == 0x7f || r == '\uFFFD'
	}) >= 0
}

// get gives the first value of a parameter.
func (r *request) get(name string) string {
	for _, p := range r.query {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// prefers reports whether the Prefer header has that item.
func (r *request) prefers(item string) bool {
	for _, line := range r.header.Values("Prefer") {
		for _, p := range strings.FieldsFunc(line, func(c rune) bool {
			return c == ',' || c == ';'
		}) {
			name, value, _ := strings.Cut(p, "=") // RFC 7240 2: a token or a quoted string, white space beside "="
			if strings.EqualFold(strings.TrimSpace(name)+"="+
				strings.Trim(strings.TrimSpace(value), `"`),
				item) {
				return true
			}
		}
	}

	return false
}
