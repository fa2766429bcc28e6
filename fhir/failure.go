package fhir

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"context"

	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/patch"
	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/splice"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/udap/trace"
)

// issue is one entry of an OperationOutcome.
type issue struct {
	severity string // fatal, error, warning, information; "" is error
	code     string // of the value set issue-type
	detail   string
	path     string // FHIRPath of the element, "" for none
}

// failure is a refusal as an answer: a status and its OperationOutcome.
type failure struct {
	status int
	issues []issue
	header http.Header // further fields of the answer
	www    string      // WWW-Authenticate
	allow  string      // Allow
	retry  int         // Retry-After, seconds
	trace  string      // Trace-Id
	cause  error       // for the log
}

func (f *failure) Error() string {
	return f.issues[0].detail
}

func (f *failure) Unwrap() error { return f.cause }

func fail(status int, code, detail string) *failure {
	return &failure{
		status: status,
		issues: []issue{{
			code:   code,
			detail: detail,
		}},
	}
}

func notFound() *failure {
	return fail(http.StatusNotFound, "not-found", "There is no such resource.")
}

func forbidden(detail string) *failure {
	f := fail(http.StatusForbidden, "forbidden", detail)
	f.www = `Bearer error="insufficient_scope"`
	return f
}

// asFailure turns any error into an answer. What is not the client's doing is
// reported to the operator, not to the client.
func asFailure(err error) *failure {
	var f *failure
	var q *search.Error
	var t *tree.Error
	var h *splice.Error
	var p *patch.Error
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &q) && q.Code == search.Forbidden:
		return forbidden(q.Detail)
	case errors.As(err, &q):
		return fail(http.StatusBadRequest, q.Code, q.Detail)
	case errors.As(err, &t) && t.Code == "too-long":
		return fail(http.StatusRequestEntityTooLarge, t.Code, t.Error())

	case errors.As(err, &t):
		return fail(http.StatusBadRequest, t.Code, t.Error())

	case errors.As(err, &p) && p.Code == "structure":
		return fail(http.StatusBadRequest, p.Code, p.Detail)
	case errors.As(err, &p):
		return fail(http.StatusUnprocessableEntity, p.Code, p.Detail)

	case errors.As(err, &h):
		f := fail(http.StatusBadRequest, h.Code, h.Detail)
		f.issues[0].path = h.Expression
		return f
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		f := fail(http.StatusServiceUnavailable, "too-costly",
			"The request took too long: narrow it, or try later.")
		f.retry = 10
		return f
	}

	if errors.Is(err, ErrUnavailable) {
		f = fail(http.StatusServiceUnavailable, "transient",
			"The server cannot store anything at present: try again later.")
		f.retry = 10
		f.cause = err
		return f
	}

	f = fail(
		http.StatusInternalServerError,
		"exception",
		"The server failed; nothing was changed.",
	)
	f.cause = err
	return f
}

// information writes an OperationOutcome that only informs.
func information(text string) []byte {
	return outcome([]issue{{
		severity: "information",
		code:     "informational",
		detail:   text,
	}})
}

// outcome writes an OperationOutcome.
func outcome(issues []issue) []byte {
	b := []byte(`{"resourceType":"OperationOutcome","issue":[`)
	for i, is := range issues {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendIssue(b, is)
	}
	return append(b, `]}`...)
}

func appendIssue(b []byte, is issue) []byte {
	if is.severity == "" {
		is.severity = "error"
	}
	b = append(append(append(b, `{"severity":"`...), is.severity...), `","code":"`...)
	b = append(append(b, is.code...), `","diagnostics":`...)
	b = appendString(b, is.detail)
	if is.path != "" {
		b = appendString(append(b, `,"expression":[`...), is.path)
		b = append(b, ']')
	}

	return append(b, '}')
}

// appendString writes a JSON string; what is not UTF-8 is replaced.
func appendString(b []byte, s string) []byte {
	out, err := jsontext.AppendQuote(b, s)
	if err != nil && len(out) == len(b) {
		return append(b, strconv.QuoteToASCII("")...)
	}
	return out
}

// maxDenied is how many requests with a token that was not accepted are recorded in
// a minute, and maxDeniedQuery how many bytes of what each asked for. Anybody can send
// them, so the record of them is bounded; how many were left out is in the next one.
const (
	maxDenied      = 20
	maxDeniedQuery = 512
)

// denials count the requests with a token that was not accepted.
type denials struct {
	mu     sync.Mutex
	minute time.Time // when the present minute began
	n      int       // recorded in it
	missed int       // not recorded since the last that was
}

// next reports whether a request is recorded, and how many before it were not.
func (d *denials) next(now time.Time) (missed int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if since := now.Sub(d.minute); since < 0 || since >= time.Minute {
		d.minute, d.n = now, 0
	}
	if d.n >= maxDenied {
		d.missed++
		return 0, false
	}

	d.n++
	missed, d.missed = d.missed, 0
	return missed, true
}

// audit keeps the record of a request whose token was not accepted. One without a
// token is nobody's, and one that could not be decided is not refused.
func (d *denials) audit(s *Service, r *request, f *failure) {
	if r.header.Get("Authorization") == "" || f.status >= http.StatusInternalServerError {
		return
	}

	missed, ok := d.next(r.now)
	if !ok {
		return
	}

	in, err := s.find(r.method, r.path)
	if err != nil {
		in = &interaction{}
	}
	of := *r
	of.grant = &Grant{}

	for _, rec := range s.auditRecords(&of, in, f) {
		rec.Trace = f.trace
		rec.Query, rec.Clean = trace.Cut(rec.Query, maxDeniedQuery), ""
		if missed > 0 {
			rec.Failure += fmt.Sprintf(", after %d like it that were not recorded", missed)
		}
		_ = s.auditLater(rec) // its error is seen by whoever is served next
	}
}
