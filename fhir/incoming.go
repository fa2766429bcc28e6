package fhir

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"fhirdest.example/fhir/label"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/signature"
	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
)

// incoming is a resource that a client sent, parsed and validated.
type incoming struct {
	typ, id string // id as sent, "" when there was none
	newID   string // for a create
	body    []byte
	root    *tree.Value

	signed   []*tree.Value // the resources with a signature: this one and those in it
	verified bool          // that they have them, and that these fit
}

// prepareResource reads the body as a resource of the path's type.
func (s *core) prepareResource(r *request) error {
	if r.in != nil {
		return nil // an entry of a transaction was prepared with all others
	}
	if err := writable(r.path[0]); err != nil {
		return err
	}

	body, err := r.sentResource()
	if err != nil {
		return err
	}

	in, err := s.readResource(body, r.now, validate.Options{})
	if err != nil {
		return err
	}
	if in.typ != r.path[0] {
		return fail(http.StatusBadRequest, "invalid", "The body is a "+in.typ+
			", the path says "+r.path[0]+".")
	}

	r.in = in
	return s.verifySigned(r, in)
}

// sentResource returns the JSON of the resource that was sent, or of the Binary
// that holds what was sent.
func (r *request) sentResource() ([]byte, error) {
	contexts := r.header.Values("X-Security-Context")
	if r.path[0] == "Binary" && (len(contexts) > 1 || len(contexts) > 0 && !nativeBinary(r)) {
		return nil, fail(http.StatusBadRequest, "invalid",
			"X-Security-Context goes once with the content of a Binary; a Binary resource has its securityContext.")
	}
	if !nativeBinary(r) {
		return r.resourceBody()
	}

	id := ""
	if len(r.path) > 1 {
		id = r.path[1]
	}
	return wrapBinary(r, id)
}

// readResource parses and validates one resource.
func (s *core) readResource(
	body []byte, now time.Time, o validate.Options,
) (*incoming, error) {
	root, err := tree.Parse(body)
	if err != nil {
		return nil, err
	}

	head, err := splice.Read(root)
	if err != nil {
		return nil, err
	}
	if !search.IsType(head.Type) {
		return nil, fail(
			http.StatusBadRequest,
			"structure",
			"resourceType names no resource type of R4.",
		)
	}
	if f := s.validate(root, o); f != nil {
		return nil, f
	}
	if isSubsetted(root) || label.Redacted(root) {
		return nil, fail(http.StatusUnprocessableEntity, "business-rule",
			"A part of a resource (SUBSETTED, REDACTED, MASKED) cannot be stored.")
	}

	signed := signature.Signed(root)
	if !signsContent(signed) {
		if body, root, err = s.ownURLs(body, root); err != nil {
			return nil, err
		}
		signed = signature.Signed(root)
	}

	return &incoming{
		typ:    head.Type,
		id:     head.ID,
		newID:  newID(now),
		body:   body,
		root:   root,
		signed: signed,
	}, nil
}

// signsContent reports whether a signature is over what is sent, which then stays as it
// is: that of a Bundle. A Provenance signs what it targets.
func signsContent(signed []*tree.Value) bool {
	return slices.ContainsFunc(signed, func(v *tree.Value) bool {
		return v.Get("resourceType").Text() == "Bundle"
	})
}

// readingOnly is what can be done where nothing can be written.
const readingOnly = "GET, HEAD"

// writable refuses types that clients cannot write.
func writable(typ string) error {
	if !readOnly[typ] {
		return nil
	}
	f := fail(
		http.StatusMethodNotAllowed,
		"not-supported",
		typ+" cannot be written by clients.",
	)
	f.allow = readingOnly
	return f
}

// newID makes an id that nobody can guess and that sorts near the others of
// its time (UUID version 7, RFC 9562).
func newID(now time.Time) string {
	var b [16]byte
	rand.Read(b[6:])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli()))
	copy(b[:6], ms[2:])
	b[6], b[8] = b[6]&0x0f|0x70, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// validate checks a resource against R4's definitions; nil when it may be stored.
func (s *core) validate(root *tree.Value, o validate.Options) *failure {
	found := s.validator.Resource(root, o)
	if validate.OK(found) {
		return nil
	}

	f := &failure{
		status: http.StatusUnprocessableEntity,
		issues: asIssues(found),
	}

	for _, is := range found {
		if is.Severity == validate.Error && basic[is.Code] {
			f.status = http.StatusBadRequest
		}
	}

	return f
}

// basic are complaints that a body is no FHIR at all (400); what is well-formed
// FHIR and still not acceptable is 422 (R4 http 3.1.0.8).
var basic = map[string]bool{
	"structure":    true,
	"required":     true,
	"value":        true,
	"code-invalid": true,
}

func asIssues(found []validate.Issue) []issue {
	all := make([]issue, len(found))
	for i, is := range found {
		all[i] = issue{
			severity: string(is.Severity),
			code:     is.Code,
			detail:   is.Text,
			path:     is.Expression,
		}
	}

	return all
}

// issues lists what is wrong with a resource, warnings included.
func (s *core) issues(root *tree.Value) []issue {
	return asIssues(s.validator.Resource(root, validate.Options{}))
}

// A resource that is sent may name this server by its private base, or by the
// other scheme. What is given back names it by the public base alone (exchange
// routing, destination: references to itself), so these are the only bytes of
// a body, id and meta aside, that are not kept as sent.

// ownURL gives a URL of ours under the public base, and any other as it is.
func (s *core) ownURL(u string) string {
	for _, base := range s.ex.Bases {
		if rest, ok := strings.CutPrefix(u, base); ok && base != s.PublicBase && (rest == "" ||
			rest[0] == '/') {
			return s.PublicBase + rest
		}
	}
	return u
}

// ownURLs puts every string of a body that is a URL of ours under the public
// base.
func (s *core) ownURLs(body []byte, root *tree.Value) ([]byte, *tree.Value, error) {
	if !s.namesHost(body) {
		return body, root, nil
	}

	var edits []splice.Edit
	eachString(root, func(v *tree.Value) error {
		text := v.Text()
		if own := s.ownURL(text); own != text {
			edits = append(edits, splice.Edit{
				From: v.From,
				To:   v.To(),
				With: string(appendString(nil, own)),
			})
		}

		return nil
	})

	if len(edits) == 0 {
		return body, root, nil
	}

	body = splice.Apply(body, edits...)
	root, err := tree.Parse(body)
	return body, root, err
}

// namesHost reports whether the host of a base may occur anywhere in a body, where
// it may be written with escapes; in most it does not.
func (s *core) namesHost(body []byte) bool {
	if bytes.Contains(body, []byte(`\u00`)) {
		return true
	}

	for _, base := range s.ex.Bases {
		if u, err := url.Parse(base); err == nil && bytes.Contains(body, []byte(u.Host)) {
			return true
		}
	}
	return false
}

// ownQuery puts URLs of ours in a query under the public base: the self link
// repeats them.
func (s *core) ownQuery(pairs []search.Pair) []search.Pair {
	for i, p := range pairs {
		if !strings.Contains(p.Value, "://") {
			continue
		}

		values := strings.Split(p.Value, ",")
		for j, v := range values {
			values[j] = s.ownURL(v)
		}

		pairs[i].Value = strings.Join(values, ",")
	}

	return pairs
}
