package fhir

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/consent"
	"fhirdest.example/fhir/label"
	"fhirdest.example/fhir/scope"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// Grant is what a request's token allows. The zero value allows nothing.
type Grant = access.Grant

// Reader returns what decides about access for a request: its grant, and what the
// request itself states in its header.
func (s *core) Reader(g *Grant, h http.Header) *access.Reader {
	r := &request{
		grant:  g,
		header: h,
	}
	s.admit(r)
	return r.access
}

// Viewer decides about access for work that is done later than its request, and shows
// what it allows.
type Viewer struct {
	*access.Reader
	r *request
}

// Viewer returns the Viewer of a request that was accepted.
func (s *core) Viewer(ctx context.Context, g *Grant, h http.Header) *Viewer {
	r := &request{
		ctx:    ctx,
		grant:  g,
		header: h,
	}
	s.admit(r)
	return &Viewer{
		Reader: r.access,
		r:      r,
	}
}

// In returns what a Viewer sees of one state of the store.
func (v *Viewer) In(sn Snapshot) *View {
	return &View{
		Source: source{sn},
		viewer: v,
	}
}

// View is one state of the store as a Viewer sees it.
type View struct {
	access.Source
	viewer *Viewer
}

// Finds reports whether the grant both reads and finds a version.
func (v *View) Finds(ctx context.Context, e Entry) (bool, error) {
	return v.viewer.Reader.Finds(ctx, v.Source, resourceOf(e))
}

// Show returns a version that the grant allows reading as it may be shown: without what
// is masked, and with the labels that rules imply.
func (v *View) Show(e Entry) ([]byte, error) {
	seen, err := v.viewer.r.show(v.Source, e)
	return seen.body, err
}

// Security returns the label of all together that was shown, nil for none.
func (v *Viewer) Security() []search.Coding {
	if l := v.r.notes.security.Level(); l > 0 {
		return []search.Coding{l.Coding()}
	}
	return nil
}

// admit makes what decides about access for a request that has a grant.
func (s *core) admit(r *request) {
	r.labels = s.labels.Holder(r.grant, r.emergency())
	r.access = access.NewReader(r.grant, s.ex.Bases, r.labels, s.consentRule(r.grant, r.emergency()))
}

// emergency reports whether the request states emergency access, and may have it.
func (r *request) emergency() bool {
	return label.Stated(r.header) && label.May(r.grant)
}

// emergencyRefused refuses a request that states emergency access with a token that was
// not issued for it.
func (r *request) emergencyRefused() error {
	if !label.Stated(r.header) || r.emergency() {
		return nil
	}

	r.access.Refuse(label.RefuseGlass(r.grant))
	return forbidden("The request states emergency access, and the token's purposes of use " +
		"have neither BTG nor ETREAT.")
}

// purposes are those that the request is made for.
func (r *request) purposes() []string {
	if !r.emergency() || slices.ContainsFunc(r.grant.Purposes, func(p string) bool {
		return strings.HasSuffix(p, "BTG")
	}) {
		return r.grant.Purposes
	}
	return append(slices.Clone(r.grant.Purposes), label.Emergency)
}

// consentRule returns the rule of the patients' Consents for the party of a grant.
// emergency is that the request is emergency access.
func (s *core) consentRule(g *Grant, emergency bool) *consent.Rule {
	asker := &consent.Asker{
		Client:    g.Client,
		ClientURI: g.Party,
		User:      g.User,
		Personal:  g.Subject != "",
		Emergency: emergency,
	}
	if g.Asserted != nil {
		asker.Organization = g.Asserted.Organization
		asker.Subject = g.Asserted.SubjectID
	}
	for _, p := range g.Purposes {
		asker.Purposes = append(asker.Purposes, consent.Purpose(p))
	}

	return &consent.Rule{
		Asker:  asker,
		Policy: &s.Consents,
		Bases:  s.ex.Bases,
		Now:    s.Now(),
		Cache:  s.compiled,
		Labels: s.labels.All,
	}
}

// may refuses what the grant allows on no resource of a type.
func (r *request) may(p scope.Permission, typ string) error {
	return refusedAccess(r.access.May(p, typ))
}

// mayFollow refuses a query whose chains go through a type that the grant may
// not search: it would find nothing, as if nothing were there.
func (r *request) mayFollow(q *search.Query) error {
	typ := q.Through(func(typ string) bool {
		return r.access.Can(scope.Search, typ)
	})
	if typ != "" {
		return r.may(scope.Search, typ)
	}
	return r.mayInclude(q)
}

// mayInclude refuses includes that could bring nothing along for the grant, if the
// request wants strict handling; else they are left out.
func (r *request) mayInclude(q *search.Query) error {
	if !r.prefers("handling=strict") {
		return nil
	}

	for _, inc := range q.Includes {
		types := inc.Brings()
		if len(types) > 0 && !slices.ContainsFunc(types, func(typ string) bool {
			return r.access.Can(scope.Read, typ)
		}) {
			return r.may(scope.Read, types[0])
		}
	}
	return nil
}

// RefusedAccess makes the answer of a refusal that an access.Reader returned.
func RefusedAccess(err error) error {
	return refusedAccess(err)
}

// refusedAccess makes an answer of a refusal: 403, with all the scopes that
// would do (RFC 6750 3.1).
func refusedAccess(err error) error {
	if err == nil {
		return nil
	}

	var refusal *access.Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	f := forbidden(refusal.Error() + " Any of these would: " + strings.Join(refusal.Scopes, ", ") + ".")
	f.www = fmt.Sprintf(
		`Bearer error="insufficient_scope", scope=%q`,
		strings.Join(refusal.Scopes, " "),
	)
	return f
}

// explain gives a refusal of access the id of its trace, and hands the trace to
// the operator. What is not there and what may not be seen both have one.
func (s *Service) explain(r *request, f *failure) *failure {
	if r.access == nil || !r.access.Consulted() || f.status != http.StatusForbidden &&
		f.status != http.StatusNotFound {
		return f
	}

	if !r.access.Refused() {
		r.access.Missed(strings.Join(r.path, "/"))
	}
	t := r.access.Trace(r.now)
	if s.Decided != nil {
		s.Decided(t)
	}

	out := *f
	out.trace = t.ID
	return &out
}

// sees returns notFound for a version that the grant does not allow p on: what
// may not be seen looks like what is not there, and who may not see a resource
// may not change it either.
func (r *request) sees(sn Snapshot, p scope.Permission, e Entry) error {
	ok, err := r.shows(sn, p, e)
	if err == nil && !ok {
		err = notFound()
	}
	return err
}

// shown is a version as the reader may see it. Nothing in it may be changed, and it
// may point into the store.
type shown struct {
	body []byte
	tag  string // its ETag
}

// show returns a version that the grant allows reading: without what is masked, and
// with the labels that rules imply. It notes how confidential that is.
func (r *request) show(src access.Source, e Entry) (shown, error) {
	out, level, err := r.look(src, e)
	if err == nil && e.Type != "AuditEvent" && !e.Deleted {
		r.notes.security.Take(level)
	}
	return out, err
}

// shownTree is what show shows, parsed. It notes nothing.
func (r *request) shownTree(sn Snapshot, e Entry) (*tree.Value, error) {
	out, _, err := r.look(source{sn}, e)
	if err != nil {
		return nil, err
	}

	e.Body = out.body
	return stored(e)
}

func (r *request) look(src access.Source, e Entry) (out shown, level label.Level, err error) {
	out = shown{
		body: e.Body,
		tag:  etag(e.Version),
	}
	if e.Type == "AuditEvent" || e.Deleted {
		return out, 0, nil
	}

	v := resourceOf(e)
	level, implied, err := r.labels.Labels(src, v)
	if err == nil {
		out.body, err = label.Add(out.body, implied)
	}
	if err != nil {
		return out, level, err
	}

	masks, err := r.access.MasksOf(r.ctx, src, v)
	if err != nil || len(masks) == 0 {
		return out, level, err
	}

	body, masked, err := label.Redact(out.body, masks)
	if masked {
		out.body = body
		out.tag = label.Tag(e.Version, masks)
	}
	return out, level, err
}

// changes returns notFound for a version that the grant may not change, and refuses the
// change of one that it sees in part: what it does not see would be lost.
func (r *request) changes(sn Snapshot, e Entry) error {
	if err := r.sees(sn, scope.Update, e); err != nil || e.Deleted {
		return err
	}

	s, _, err := r.look(source{sn}, e)
	if err == nil && s.tag != etag(e.Version) {
		err = forbidden("The token sees this resource in part only, and cannot change it.")
	}
	return err
}

// shows reports whether the grant allows p on a version.
func (r *request) shows(sn Snapshot, p scope.Permission, e Entry) (bool, error) {
	ok, _, err := r.access.Sees(r.ctx, source{sn}, p, resourceOf(e))
	return ok, err
}

// AccessTo returns a version, and a state of the store, as decisions on access see
// them.
func AccessTo(sn Snapshot, e Entry) (access.Source, access.Resource) {
	return source{sn}, resourceOf(e)
}

func resourceOf(e Entry) access.Resource {
	return access.Resource{
		Doc:     e.Doc,
		Type:    e.Type,
		ID:      e.ID,
		Version: e.Version,
		Updated: e.Updated,
		Deleted: e.Deleted,
		Terms:   e.Terms,
		Body:    e.Body,
	}
}

// source is a state of the store as decisions on access see it.
type source struct{ Snapshot }

func (s source) Current(ctx context.Context, typ, id string) (access.Resource, bool, error) {
	e, ok, err := current(ctx, s.Snapshot, typ, id)
	return resourceOf(e), ok, err
}

func (s source) Version(
	ctx context.Context, doc, version uint64,
) (access.Resource, bool, error) {
	e, ok, err := s.Snapshot.Version(ctx, doc, version)
	return resourceOf(e), ok, err
}

func (s source) Resource(ctx context.Context, doc uint64) (access.Resource, error) {
	e, ok, err := s.Entry(ctx, doc)
	if err == nil && !ok {
		err = fmt.Errorf("%w: there is no resource %d", ErrDamaged, doc)
	}
	return resourceOf(e), err
}

func (s source) Resources(
	ctx context.Context, docs []uint64, f func(access.Resource) bool,
) error {
	return s.Entries(ctx, docs, func(e Entry) bool { return f(resourceOf(e)) })
}

func (source) Parse(v access.Resource) (*tree.Value, error) {
	return stored(Entry{
		Type:    v.Type,
		ID:      v.ID,
		Version: v.Version,
		Body:    v.Body,
	})
}

func (s source) Having(ctx context.Context, c search.Clause, f func(doc uint64) bool) error {
	return c.Each(ctx, s.Snapshot, f)
}

func (s source) Prepare(ctx context.Context, clauses []search.Clause) error {
	store := aheadOf(s.Snapshot)
	if store == nil {
		return nil
	}
	return store.ReadAhead(ctx, termsOf(clauses))
}

func termsOf(clauses []search.Clause) (terms [][]byte) {
	for i := range clauses {
		terms = clauses[i].AppendTerms(terms)
	}
	return terms
}

// expect notes that a request is about resources of some patients, and that the first n
// above a number of those that it finds are shown.
func expect(sn Snapshot, r *request, patients []string, after uint64, n int) {
	if store := aheadOf(sn); store != nil {
		store.Expect(termsOf(r.access.Ahead(r.ctx, source{sn}, patients)), after, n)
	}
}

// LastChange implements consent.Dated.
func (s source) LastChange(ctx context.Context, typ string) (number uint64, log any) {
	dated, ok := s.Snapshot.(Dated)
	if !ok {
		return 0, nil
	}
	return dated.LastChange(ctx, typ)
}

func (s source) State() any {
	if _, changing := s.Snapshot.(Change); changing {
		return nil
	}
	return s.Snapshot
}

func (s source) Consents() any {
	if c, ok := s.Snapshot.(*change); ok {
		return consentState{c, c.consents}
	}
	return s.State()
}

// binding identifies a grant for page links: the same client with the same
// scopes and patient may go on with a newer token.
func binding(g *Grant) [32]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q", g.Client, g.Patient)
	for _, sc := range g.Scopes {
		fmt.Fprintf(h, " %q", sc.String())
	}
	return [32]byte(h.Sum(nil))
}

func denied(d *Denial) *failure {
	code := d.Code
	if code == "" {
		code = "login"
	}
	f := fail(d.Status, code, d.Text)
	f.header, f.trace = maps.Clone(d.Header), d.Trace

	switch {
	case d.Status == http.StatusServiceUnavailable:
		f.retry = 5
		return f
	case d.Status < 400 || d.Status > 499:
		f.status = http.StatusUnauthorized
	}

	if f.status == http.StatusUnauthorized && f.header.Get("WWW-Authenticate") == "" {
		f.www = `Bearer realm="fhir"`
	}
	return f
}
