package fhir

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"fhirdest.example/fhir/access"
	"fhirdest.example/fhir/label"
	"fhirdest.example/fhir/search"
)

// Jobs does work after the request for it was answered (R4 async.html; Bulk Data
// Access 2.0). Package fhir/async implements it. An error is the answer of the
// request: one that Refuse made, or a failure of the server.
type Jobs interface {
	// Start stores the job of a request and returns its id. The job is on disk
	// when Start returns.
	Start(ctx context.Context, a *Asked) (id string, err error)
	// Status returns how far a job is.
	Status(ctx context.Context, a *Asked, id string) (*Status, error)
	// Cancel ends a job and removes its files.
	Cancel(ctx context.Context, a *Asked, id string) error
	// File opens one of the files that a finished job has made.
	File(ctx context.Context, a *Asked, id, name string) (*File, error)
}

// Asked is a request as jobs keep it: what was asked, and what its token allowed.
type Asked struct {
	Interaction string        `json:"interaction"` // name of the interaction
	Method      string        `json:"method"`
	Path        []string      `json:"path"`            // segments below the base, undecoded
	Query       []search.Pair `json:"query,omitempty"` // those of a body of Parameters included
	RawQuery    string        `json:"rawQuery,omitzero"`
	Header      http.Header   `json:"header,omitempty"` // the fields that keptHeaders lists
	Grant       *Grant        `json:"grant"`
	Address     string        `json:"address,omitzero"` // the client's, as the connection had it
	At          time.Time     `json:"at"`
	Body        []byte        `json:"-"`

	// Access decides for the request; nil in work that is done later.
	Access *access.Reader `json:"-"`
}

// keptHeaders are the fields that may change what an interaction does.
var keptHeaders = []string{
	"Accept", "Category", "Content-Type", "If-Match", "If-Modified-Since", "If-None-Exist",
	"If-None-Match", "If-Unmodified-Since", "Prefer", label.PurposeHeader, "X-Provenance",
	"X-Request-Id", "X-Security-Context",
}

// URL is the request's URL under a base, with its query as it was sent.
func (a *Asked) URL(base string) string {
	u := base
	if len(a.Path) > 0 {
		u += "/" + strings.Join(a.Path, "/")
	}
	if a.RawQuery != "" {
		u += "?" + a.RawQuery
	}
	return u
}

// Strict reports whether unknown parameters must be refused (Prefer:
// handling=strict).
func (a *Asked) Strict() bool {
	r := &request{header: a.Header}
	return r.prefers("handling=strict")
}

// Status is how far a job is.
type Status struct {
	Done        bool
	Progress    string        // for X-Progress; of a job under way
	Retry       time.Duration // when to ask again
	Expires     time.Time     // when the result is removed
	ContentType string        // of the result; "" for FHIR JSON
	Body        []byte        // the result
}

// File is an open file of a job.
type File struct {
	Name        string // unique within the server
	ContentType string
	Modified    time.Time
	Content     io.ReadSeekCloser
}

// Refuse makes the error of a request that is refused: the status, an issue code of
// OperationOutcome, a sentence, and the id of the trace, if there is one.
func Refuse(status int, code, text, trace string) error {
	f := fail(status, code, text)
	f.trace = trace
	return f
}

// RefuseLater is Refuse for a request that may be sent again after some seconds.
func RefuseLater(status int, code, text string, seconds int) error {
	f := fail(status, code, text)
	f.retry = seconds
	return f
}

// Explain returns an error as the answer that it would be: its status, its issue
// code and its text.
func Explain(err error) (status int, code, text string) {
	f := asFailure(err)
	return f.status, f.issues[0].code, f.issues[0].detail
}

// Warning writes an OperationOutcome that warns of something.
func Warning(code, text string) []byte {
	return outcome([]issue{{
		severity: "warning",
		code:     code,
		detail:   text,
	}})
}

// CheckBody refuses a body whose Content-Type is none of those allowed, or names
// another character set than UTF-8 or another version of FHIR.
func CheckBody(h http.Header, allowed ...string) error { return bodyType(h, allowed...) }

// ParseQuery parses the query of a search. Its error is the answer to who sent it.
func ParseQuery(raw string) ([]search.Pair, error) {
	return parseQuery(raw)
}

// asAsked is the request as jobs keep it.
func (r *request) asAsked(name string) *Asked {
	header := http.Header{}
	for _, k := range keptHeaders {
		if v := r.header.Values(k); len(v) > 0 {
			header[k] = v
		}
	}

	return &Asked{
		Interaction: name,
		Method:      r.method,
		Path:        r.path,
		Query:       r.query,
		RawQuery:    r.rawQuery,
		Header:      header,
		Grant:       r.grant,
		Address:     r.address,
		At:          r.now,
		Body:        r.body,
		Access:      r.access,
	}
}

// wantsJob reports whether a request is to be done in the background. What asks for
// a job itself is answered at once, and so is HEAD, which must leave nothing behind.
func (s *Service) wantsJob(r *request) bool {
	if s.Jobs == nil || r.method == http.MethodHead || !r.prefers("respond-async=") {
		return false
	}
	in, err := s.find(r.method, r.path)
	return err == nil && in.answer == nil
}

// background has an interaction done later: 202, with the URL of its status.
func (s *Service) background(r *request) (*response, error) {
	in, err := s.find(r.method, r.path)
	if err != nil {
		return nil, err
	}
	return s.desk.startJob(r, in.name)
}

func (s *desk) startJob(r *request, name string) (*response, error) {
	asked := r.asAsked(name)
	for field, values := range asked.Header {
		if !utf8.ValidString(strings.Join(values, "")) { // it could not be kept as it is
			return nil, fail(http.StatusBadRequest, "value", "The header "+field+" is not UTF-8.")
		}
	}

	id, err := s.Jobs.Start(r.ctx, asked)
	if err != nil {
		return nil, err
	}

	return &response{
		status: http.StatusAccepted,
		body:   information("Accepted: its status is at the URL in Content-Location."),
		header: http.Header{"Content-Location": {s.PublicBase + "/" + jobsPath + "/" + id}},
	}, nil
}

// jobsPath is where jobs are, below the base.
const jobsPath = "_jobs"

// kickOff answers the operations that are done in the background only.
func (s *desk) kickOff(r *request) (*response, error) {
	if r.method == http.MethodHead { // it is safe (RFC 9110 9.2.1)
		f := fail(http.StatusMethodNotAllowed, "not-supported", "HEAD begins no work: send GET or POST.")
		f.allow = "GET, POST"
		return nil, f
	}

	if !r.prefers("respond-async=") {
		return nil, fail(http.StatusBadRequest, "required",
			"This operation is asynchronous: send the header Prefer: respond-async.")
	}
	return s.startJob(r, r.path[len(r.path)-1])
}

// jobStatus answers GET on the status URL of a job.
func (s *desk) jobStatus(r *request) (*response, error) {
	st, err := s.Jobs.Status(r.ctx, r.asAsked(""), r.path[1])
	if err != nil {
		return nil, err
	}

	if !st.Done {
		return &response{
			status: http.StatusAccepted,
			header: http.Header{
				"X-Progress":  {st.Progress},
				"Retry-After": {strconv.Itoa(int(st.Retry.Seconds()))},
			},
		}, nil
	}

	return &response{
		status:      http.StatusOK,
		body:        st.Body,
		contentType: st.ContentType,
		header:      http.Header{"Expires": {st.Expires.UTC().Format(http.TimeFormat)}},
	}, nil
}

// jobCancel answers DELETE on the status URL of a job (Bulk Data 2.0, "Bulk Data
// Delete Request").
func (s *desk) jobCancel(r *request) (*response, error) {
	if err := s.Jobs.Cancel(r.ctx, r.asAsked(""), r.path[1]); err != nil {
		return nil, err
	}
	return &response{
		status: http.StatusAccepted,
		body:   information("The job has ended, and its files are removed."),
	}, nil
}

// readsFile reports whether a request is for a file of a job, which has one form
// only, whatever Accept names.
func (r *request) readsFile() bool {
	return len(r.path) == 3 && r.path[0] == jobsPath
}

// jobFile answers GET on the URL of a file of a job.
func (s *desk) jobFile(r *request) (*response, error) {
	f, err := s.Jobs.File(r.ctx, r.asAsked(""), r.path[1], r.path[2])
	if err != nil {
		return nil, err
	}
	return &response{file: f}, nil
}

// serve writes a file, in part if that is asked for, or compressed.
func (f *File) serve(w http.ResponseWriter, r *http.Request) {
	defer f.Content.Close()
	h := w.Header()
	h.Set("Content-Type", f.ContentType)
	h.Add("Vary", "Accept-Encoding")
	h.Set("ETag", `"`+f.Name+`"`)

	if !acceptsGzip(r.Header) || r.Header.Get("Range") != "" {
		f.servePart(w, r)
		return
	}

	tag := `"` + f.Name + `-gzip"`
	h.Set("ETag", tag)
	h.Set("Last-Modified", f.Modified.UTC().Format(http.TimeFormat))
	if f.known(r.Header, tag) {
		h.Del("Content-Type")
		w.WriteHeader(http.StatusNotModified)
		return
	}

	h.Set("Content-Encoding", "gzip")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}

	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err == nil {
		_, err = io.Copy(z, f.Content)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		panic(http.ErrAbortHandler) // half a file must not look whole
	}
}

// servePart writes the file, or what Range asks of it.
func (f *File) servePart(w http.ResponseWriter, r *http.Request) {
	size, err := f.Content.Seek(0, io.SeekEnd)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	http.ServeContent(&ranged{
		ResponseWriter: w,
		size:           size,
	}, r, "", f.Modified, f.Content)
}

// ranged writes a file, or part of it. Where there is no such part, it answers as FHIR
// does, and not in plain text.
type ranged struct {
	http.ResponseWriter
	size    int64
	refused bool
}

func (w *ranged) WriteHeader(status int) {
	w.refused = status == http.StatusRequestedRangeNotSatisfiable
	if !w.refused {
		w.ResponseWriter.WriteHeader(status)
		return
	}

	commonHeaders(w.Header()) // ServeContent has removed some of them
	w.Header().Set("Content-Type", jsonType)
	w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", w.size))
	w.ResponseWriter.WriteHeader(status)
	_, _ = w.ResponseWriter.Write(outcome([]issue{{
		code:   "value",
		detail: "The file has no such range: its length is in Content-Range.",
	}}))
}

func (w *ranged) Write(b []byte) (int, error) {
	if w.refused {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *ranged) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// known reports whether the client has a file already, by its ETag or by the time
// (RFC 9110 13.2.2).
func (f *File) known(h http.Header, tag string) bool {
	all := tags(h, "If-None-Match")
	if len(all) == 0 {
		return unmodified(h, f.Modified)
	}

	return slices.ContainsFunc(all, func(one string) bool {
		return one == "*" || strings.TrimPrefix(one, "W/") == tag
	})
}

// acceptsGzip reports whether Accept-Encoding allows gzip (RFC 9110 12.5.3).
func acceptsGzip(h http.Header) bool {
	best := -1.0
	for _, line := range h.Values("Accept-Encoding") {
		for _, one := range strings.Split(line, ",") {
			name, _, _ := strings.Cut(one, ";")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") {
				best = max(best, quality(one))
			}
		}
	}
	return best > 0
}

// PerformOptions are how an accepted request is done.
type PerformOptions struct {
	// Mark is the name under which the outcome of a change is stored in the
	// transaction of the change, so that it is never done twice.
	Mark    string
	Timeout time.Duration // of the interaction
}

// ErrUnclear is the error of Perform for a batch that was begun before: some of its
// entries may have been done.
var ErrUnclear = fail(http.StatusInternalServerError, "incomplete",
	"The server stopped while the batch was being done: some of its entries may have been done.")

// ErrOvertaken is the error of work whose change another destination has made
// meanwhile, under the same mark.
var ErrOvertaken = errors.New("another destination has done it meanwhile")

// Perform does a request that was accepted before and returns what the answer would
// have been, as a Bundle of type batch-response with one entry. What it has done
// once under a mark it does not do again: it returns the same outcome. again
// reports that it was begun before.
func (s *Service) Perform(
	ctx context.Context, a *Asked, again bool, o PerformOptions,
) ([]byte, error) {
	done, err := s.marked(ctx, o.Mark)
	if err != nil || done != nil {
		return done, err
	}

	r := &request{
		ctx:      ctx,
		method:   a.Method,
		path:     a.Path,
		query:    a.Query,
		header:   a.Header,
		body:     a.Body,
		grant:    a.Grant,
		address:  a.Address,
		ex:       s.ex,
		rawQuery: a.RawQuery,
		now:      s.Now(),
		inner:    true,
		timeout:  o.Timeout,
	}
	s.admit(r)
	r.mark = func(c Change, resp *response) error {
		if was, err := c.Setting(ctx, o.Mark); err != nil || len(was) > 0 {
			return cmp.Or(err, ErrOvertaken)
		}
		return c.SetSetting(ctx, o.Mark, performed(r, resp))
	}

	in, err := s.find(r.method, r.path)
	if err == nil && again && in.entries && s.prepareBundle(r) == nil && r.bundleType == "batch" &&
		r.writes() {
		return nil, ErrUnclear
	}

	r.entries = nil
	resp, err := s.do(r)
	switch {
	case errors.Is(err, ErrOvertaken):
		return s.marked(ctx, o.Mark)
	case ctx.Err() != nil && err != nil:
		return nil, err
	}

	if err != nil {
		f := s.explain(r, asFailure(err))
		if f.cause != nil && s.Failed != nil {
			s.Failed(nil, f.cause)
		}
		resp = f.response()
	}

	return performed(r, resp), nil
}

// Act does a request that the server makes itself, for the grant that it names, with
// its audit record. Its error is what the answer would have been.
func (s *Service) Act(ctx context.Context, a *Asked) error {
	r := &request{
		ctx:    ctx,
		method: a.Method,
		path:   a.Path,
		header: a.Header,
		body:   a.Body,
		grant:  a.Grant,
		now:    s.Now(),
		inner:  true,
	}
	s.admit(r)
	_, err := s.do(r)
	return err
}

// performed is an answer as the entry of a batch-response.
func performed(r *request, resp *response) []byte {
	b := []byte(`{"resourceType":"Bundle","type":"batch-response","entry":[`)
	b = appendResult(b, &batchEntry{
		req:  r,
		resp: resp,
	})
	return append(b, `]}`...)
}

// writes reports whether an entry of a batch may change something.
func (r *request) writes() bool {
	return slices.ContainsFunc(r.entries, func(e *batchEntry) bool {
		return e.in != nil && e.in.change != nil
	})
}

// marked returns the outcome that a mark holds, nil when there is none.
func (s *Service) marked(ctx context.Context, mark string) (body []byte, err error) {
	err = s.Store.View(ctx, func(sn Snapshot) error {
		v, err := sn.Setting(ctx, mark)
		if len(v) > 0 {
			body = append([]byte(nil), v...)
		}
		return err
	})
	return body, err
}

// Forget removes a mark. With retire it leaves of it that its work is over, so that a
// destination that was cut off and still does the work changes nothing any more.
func (s *Service) Forget(ctx context.Context, mark string, retire bool) error {
	body, err := s.marked(ctx, mark)
	if err != nil || body == nil && !retire {
		return err
	}

	var left []byte
	if retire {
		left = []byte("{}")
	}
	return s.Store.Update(ctx, func(c Change) error {
		return c.SetSetting(ctx, mark, left)
	})
}

// Bases are the base URLs of the service, for references to its own resources.
func (s *Service) Bases() search.Bases {
	return s.ex.Bases
}

// Disclose keeps the audit record of work that was done for a request: the
// patients that it was about, or why it failed.
func (s *Service) Disclose(a *Asked, patients []string, why error) error {
	r := &request{
		method:   a.Method,
		path:     a.Path,
		query:    a.Query,
		rawQuery: a.RawQuery,
		header:   a.Header,
		grant:    a.Grant,
		address:  a.Address,
		ex:       s.ex,
		now:      s.Now(),
	}
	r.notes.patients = patients
	return s.auditLater(s.auditRecords(r, &interaction{name: a.Interaction}, why)...)
}

// SettledSetting is the name of the setting that has the settled moment, in
// milliseconds since 1970. Every change reads it.
const SettledSetting = "settled"

// Settle returns the present moment, at which no resource will be changed any more: a
// change that is committed later, by any destination, gets a later lastUpdated.
func (s *Service) Settle(ctx context.Context) (at time.Time, err error) {
	err = s.Store.Update(ctx, func(c Change) error {
		at = s.Now().UTC().Truncate(time.Millisecond)
		before, err := settled(ctx, c)
		if err == nil && at.After(before) {
			return c.SetSetting(ctx, SettledSetting, binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli())))
		}

		at = before // the clock stepped back, or is behind another destination's
		return err
	})
	return at, err
}

// settled returns the last settled moment; the zero time when there is none.
func settled(ctx context.Context, c Change) (time.Time, error) {
	v, err := c.Setting(ctx, SettledSetting)
	if err != nil || len(v) != 8 {
		return time.Time{}, err
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(v))).UTC(), nil
}

// unsettle gives a request that changes something, and all its entries, a time after
// the last moment that is settled.
func unsettle(r *request, c Change) error {
	at, err := settled(r.ctx, c)
	if err != nil || r.now.Truncate(time.Millisecond).After(at) {
		return err
	}

	r.now = at.Add(time.Millisecond)
	for _, e := range r.entries {
		e.req.now = r.now
	}
	return nil
}
