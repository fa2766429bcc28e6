package fhir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/trail"
)

// ServeHTTP answers one request under either base.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	commonHeaders(w.Header())
	if id := requestID(r.Header); id != "" {
		w.Header().Set("X-Request-Id", id)
	}
	req := &request{
		ctx:     r.Context(),
		method:  r.Method,
		header:  r.Header,
		now:     s.Now(),
		address: addressOf(r.RemoteAddr),
		ex:      s.ex,
	}
	resp, err := s.serve(w, r, req)
	if err != nil {
		f := s.explain(req, asFailure(err))
		if f.cause != nil && s.Failed != nil {
			s.Failed(r, f.cause)
		}
		resp = f.response()
	}

	if resp.body != nil && resp.contentType == "" {
		if err := req.dress(s.PublicBase, w.Header(), resp); err != nil && s.Failed != nil {
			s.Failed(r, err)
		}
	}

	resp.write(w, r)
	resp.release()
}

// serve reads the request, asks who sends it, and does it.
func (s *Service) serve(
	w http.ResponseWriter, r *http.Request, req *request,
) (*response, error) {
	path, rawQuery := rawTarget(r)
	segs, ok := s.below(path)
	req.path = segs
	unclear := req.readURL(rawQuery)
	if !ok {
		return nil, s.nowhere(path)
	}
	if r.Method == http.MethodOptions {
		return s.options(w.Header(), segs)
	}

	if isMetadata(segs) {
		if unclear != nil {
			return nil, unclear
		}
		return s.describer.serveCapability(w, req)
	}
	if req.get("access_token") != "" {
		return nil, fail(http.StatusBadRequest, "login",
			"A token is sent in the Authorization header, not in the URL.")
	}

	grant, denial := s.Authorize(r)
	if denial != nil || grant == nil {
		if slices.Contains(segs, "") { // who writes the base URL wrong is told so without a token
			return nil, s.nowhere(path)
		}

		if denial == nil {
			denial = &Denial{
				Status: http.StatusUnauthorized,
				Text:   "A token is needed.",
			}
		}

		refused := denied(denial)
		s.denials.audit(s, req, refused)
		return nil, refused
	}

	req.grant = grant
	s.admit(req)
	if unclear == nil {
		unclear = req.emergencyRefused()
	}
	if unclear == nil {
		unclear = emptyCondition(req)
	}
	if unclear == nil {
		unclear = s.readBody(w, r, req)
	}
	if unclear != nil {
		return nil, s.refused(req, unclear)
	}

	if s.wantsJob(req) {
		return s.background(req)
	}
	return s.do(req)
}

// nowhere is the answer for a path of no interaction.
func (s *Service) nowhere(path string) error {
	text := "There is nothing under this path."
	if strings.Contains(path, "//") { // a base URL was probably written with a slash at its end
		text += " It has a doubled slash: the FHIR base URL is " + s.PublicBase +
			", without a slash at its end."
	}
	return fail(http.StatusNotFound, "not-found", text)
}

// readURL parses the query, and negotiates the form of the answer, which a refusal
// of the query has as well.
func (r *request) readURL(rawQuery string) (err error) {
	r.rawQuery = rawQuery
	r.query, err = parseQuery(rawQuery)
	none := r.negotiate()
	if err != nil || r.readsBinary() || r.readsFile() {
		return err
	}
	return none
}

// readBody reads the body, bounded, and the form of a search in it.
func (s *Service) readBody(w http.ResponseWriter, r *http.Request, req *request) error {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if r.Header.Get("Content-Encoding") != "" {
		return fail(
			http.StatusUnsupportedMediaType,
			"not-supported",
			"Compressed bodies are not taken.",
		)
	}

	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.MaxBody))
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return fail(http.StatusRequestEntityTooLarge, "too-long",
			fmt.Sprintf("The body is longer than %d bytes, the most that the server accepts.", s.MaxBody))
	}
	if err != nil {
		return fail(http.StatusBadRequest, "structure", "The body did not arrive whole.")
	}

	req.body = body
	if n := len(req.path); r.Method == http.MethodPost && n > 0 && req.path[n-1] == "_search" {
		return req.readForm()
	}
	return nil
}

// readForm adds a POSTed search's parameters to those of the URL.
func (r *request) readForm() error {
	if len(r.body) == 0 {
		return nil
	}

	ct, _, _ := strings.Cut(r.header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(ct), "application/x-www-form-urlencoded") {
		return fail(http.StatusUnsupportedMediaType, "not-supported",
			"A search is posted as application/x-www-form-urlencoded.")
	}

	pairs, err := parseQuery(string(r.body))
	if err != nil {
		return err
	}

	for _, p := range pairs {
		if p.Name == "access_token" {
			return fail(http.StatusBadRequest, "login",
				"A token is sent in the Authorization header, not in the form.")
		}
	}

	r.query = append(r.query, pairs...)
	return r.negotiate()
}

// do finds the interaction, does it over one state of the store, and keeps the
// record of it.
func (s *Service) do(req *request) (*response, error) {
	in, err := s.find(req.method, req.path)
	if err != nil {
		return nil, s.refused(req, err)
	}
	if err := s.auditReady(); err != nil {
		return nil, err
	}

	if in.name == "$disclosures" || len(req.path) > 0 && req.path[0] == "AuditEvent" {
		if err := s.FlushAudit(); err != nil {
			return nil, err
		}
	}

	resp, recorded, err := s.perform(in, req)
	if !recorded {
		if failed := s.auditLater(s.auditRecords(req, in, err)...); failed != nil {
			return nil, failed
		}
	}

	return resp, err
}

// perform does an interaction; recorded reports whether its audit record was
// stored with it.
func (s *Service) perform(
	in *interaction, req *request,
) (resp *response, recorded bool, err error) {
	if in.prepare != nil {
		if err := in.prepare(req); err != nil {
			return nil, false, err
		}
	}

	if err := s.prepareProvenance(in, req); err != nil {
		return nil, false, err
	}

	if in.entries && req.bundleType == "batch" {
		return s.batch(req), true, nil
	}

	if in.answer != nil {
		resp, err = in.answer(req)
		return resp, false, err
	}

	if !in.short {
		cancel := req.limit(max(s.Timeout, req.timeout))
		defer cancel()
	}

	switch {
	case in.entries:
		if err := s.transactor.prepareTransaction(req); err != nil {
			return nil, false, err
		}
		resp, err = s.changing(req, s.transactor.transaction)
		return resp, err == nil, err

	case in.change != nil:
		if err := s.writer.prepareDraft(req); err != nil {
			return nil, false, err
		}

		resp, err = s.changing(req, func(c Change, req *request) (*response, error) {
			req.notes = notes{}
			resp, err := in.change(c, req)
			if err == nil {
				err = s.writer.prove(c, req, req.notes.changes)
			}
			if err == nil {
				err = s.auditWith(c, req, in)
			}

			return resp, err
		})
		return resp, err == nil, err
	}

	req.notes.query = trail.IsQuery(in.name)
	before := req.notes
	err = s.Store.View(req.ctx, func(sn Snapshot) (err error) {
		req.notes = before
		resp, err = in.read(sn, req)
		return err
	})
	return resp, false, err
}

// perEntry is what each entry adds to a transaction's time.
const perEntry = 4 * time.Millisecond

// limit bounds the time of a request, that in the writer and that of waiting
// for it included.
func (r *request) limit(timeout time.Duration) context.CancelFunc {
	timeout += time.Duration(len(r.entries)) * perEntry
	ctx, cancel := context.WithTimeout(r.ctx, timeout)
	r.ctx = ctx
	for _, e := range r.entries {
		e.req.ctx = ctx
	}
	return cancel
}

func (s *Service) changing(
	req *request, change func(Change, *request) (*response, error),
) (resp *response, err error) {
	err = s.Store.Update(req.ctx, func(c Change) error {
		err := unsettle(req, c)
		if err == nil {
			resp, err = change(c, req)
		}
		if err == nil && req.mark != nil {
			err = req.mark(c, resp)
		}
		return err
	})
	return resp, err
}

// auditWith stores the record of a change with the change.
func (s *core) auditWith(c Change, req *request, in *interaction) error {
	return c.Append(req.ctx, s.auditRecords(req, in, nil))
}

// interaction is one thing that can be done at a kind of path.
type interaction struct {
	name string
	// validates the request before a state of the store is held
	prepare func(*request) error
	read    func(Snapshot, *request) (*response, error) // one of these three
	change  func(Change, *request) (*response, error)
	answer  func(*request) (*response, error) // of jobs: needs no state of the store
	short   bool                              // reads one resource, so that its time needs no limit
	entries bool                              // the body is a batch or transaction
}

// shape returns the kind of a path.
func shape(path []string) string {
	var b strings.Builder
	for i, seg := range path {
		switch {
		case seg == "":
			return "?"
		case seg[0] == '$':
			b.WriteString("/" + seg)
		case seg[0] == '_':
			b.WriteString("/" + seg)
		case i == 0 && search.IsType(seg), i == 2 && search.IsType(seg) && path[1][0] != '_':
			b.WriteString("/Type")

		case i == 1 && splice.ValidID(seg):
			b.WriteString("/id")
		case i == 3 && path[2] == "_history" && search.ValidID(seg):
			b.WriteString("/version")
		case i == 2 && path[0] == jobsPath && splice.ValidID(seg):
			b.WriteString("/file")
		default:
			return "?"
		}
	}

	return b.String()
}

// find gives the interaction of a method at a path: 404 for a path that is
// none of ours, 405 for a method that it does not have.
func (s *Service) find(method string, path []string) (*interaction, error) {
	methods, ok := s.routes[shape(path)]
	if !ok {
		return nil, s.nowhere("/" + strings.Join(path, "/"))
	}

	if method == http.MethodHead {
		method = http.MethodGet
	}
	in, ok := methods[method]
	if !ok {
		f := fail(
			http.StatusMethodNotAllowed,
			"not-supported",
			"This path does not have that method.",
		)
		f.allow = allowed(methods)
		return nil, f
	}

	return in, nil
}

func allowed(methods map[string]*interaction) string {
	var all []string
	for _, m := range []string{
		http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	} {
		if _, ok := methods[m]; ok {
			all = append(all, m)
			if m == http.MethodGet {
				all = append(all, http.MethodHead)
			}
		}
	}

	return strings.Join(all, ", ")
}
