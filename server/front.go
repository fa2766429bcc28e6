package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
)

// front precedes every handler of the public listener: it decides, before
// anything is read for its meaning, whether a request is one for this server at
// all, and puts the headers on that every answer has.
type front struct {
	public  authorities
	private authorities
	toPub   http.Handler // requests under the public authority
	toPriv  http.Handler // requests under the private one
	fhir    []string     // paths of the FHIR bases: errors below them are OperationOutcomes
	sharing sharing
	pools   pools
	room    *room  // of long bodies
	limits  Limits // with defaults, as the next
	times   Timeouts
	log     *slog.Logger
	meter   *meter
	record  func(*trace.Trace)
	await   func(context.Context) // has stores that could not be reached try again
	now     func() time.Time
	warned  atomic.Bool // of a field that names another host
}

// checkFront is the one check of the front: whether a request is one for this server.
var checkFront = trace.NewCheck("front.request",
	"The request is one that this server reads: its host, target, method, encoding and size", "")

// pools are the bounds on what is worked on at once: the authorization server
// and the FHIR service do not take each other's places.
type pools struct{ oauth, fhir *pool }

func newPools(l Limits) pools {
	return pools{
		oauth: newPool(l.TokenRequests, l.RequestsPerAddress, l.RequestsPerClient),
		fhir:  newPool(l.Requests, l.RequestsPerAddress, l.RequestsPerClient),
	}
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := &answer{
		ResponseWriter: w,
		overloaded:     f.meter.overloaded,
	}
	defer f.finish(out, r)
	f.dress(out.Header(), r)

	// A client that ends its side of the connection may still read its answer:
	// net/http would cancel the work on it.
	out.base = base{r.Context(), out}
	ctx, cancel := context.WithTimeout(&out.base, f.times.Write)
	defer cancel()

	f.initTurn(out, r)
	f.initBody(ctx, out, r)
	to := f.check(out, r)
	if to == nil {
		return
	}

	// net/http must keep its own body on its own request: it then knows whether
	// a client still waits for 100 Continue.
	r = r.WithContext(ctx)
	switch {
	case r.Body != nil && r.Body != http.NoBody:
		r.Body = &out.body
	case f.belowFHIR(r) && r.Header.Get("Authorization") != "": // begins when the client is known
	case out.beginTurn(ctx) != nil:
		return
	}

	f.await(ctx)
	to.ServeHTTP(out, r)
}

func (f *front) initTurn(out *answer, r *http.Request) {
	t := &out.turn
	t.pool = f.pools.oauth
	if f.belowFHIR(r) {
		t.pool = f.pools.fhir
	}
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		t.address = oauth.Customer(from.Addr())
	}
}

func (f *front) initBody(ctx context.Context, out *answer, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		out.body.whole = true
		return
	}

	out.body = body{
		from:    r.Body,
		most:    int64(f.limits.Body),
		control: *http.NewResponseController(out.ResponseWriter),
		expects: r.Header.Get("Expect") != "",
		slow:    f.times.Slow,
		rate:    f.limits.Rate,
		until:   time.Now().Add(f.times.Read),
		ctx:     ctx,
		answer:  out,
		room:    f.room,
	}
}

// dress sets the headers that every answer has, and those for pages of other origins.
// Handlers may sharpen them.
func (f *front) dress(h http.Header, r *http.Request) {
	maps.Copy(h, common)
	f.share(h, r)
}

// common is shared by all answers: a header that differs is set, never added to.
var common = http.Header{
	"Strict-Transport-Security": {"max-age=31536000"},
	"X-Content-Type-Options":    {"nosniff"},
	"Content-Security-Policy":   {"default-src 'none'; frame-ancestors 'none'; sandbox"},
	"X-Frame-Options":           {"DENY"},
	"Referrer-Policy":           {"no-referrer"},
}

// allMethods are the methods that some resource here answers.
var allMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// check returns the handler for the authority that a request names, or refuses
// the request and returns nil.
func (f *front) check(w http.ResponseWriter, r *http.Request) http.Handler {
	to := f.handler(r)
	switch {
	// else the resource's own handler answers 405
	case !slices.Contains(allMethods, r.Method) && (to == nil || !plainTarget(r)):
		w.Header().Set("Allow", strings.Join(allMethods, ", "))
		f.refuse(w, r, http.StatusMethodNotAllowed, "no resource here has this method")
	case to == nil:
		f.misdirected(w, r)
	case r.RequestURI == "*" && r.Method == http.MethodOptions:
		w.Header().Set("Allow", strings.Join(allMethods, ", "))
		w.WriteHeader(http.StatusNoContent)

	case !plainTarget(r):
		f.refuse(
			w,
			r,
			http.StatusBadRequest,
			"the request target is not a path of this server",
		)
	case r.Header.Get("Content-Encoding") != "":
		f.refuse(w, r, http.StatusUnsupportedMediaType,
			"bodies are read as they are: send this one without a Content-Encoding")
	case hides(r.Header) != "":
		f.refuse(w, r, http.StatusBadRequest,
			"Connection names the field "+hides(r.Header)+
				", which is for this server and not for a hop")

	case r.ContentLength > int64(f.limits.Body):
		f.refuse(w, r, http.StatusRequestEntityTooLarge,
			fmt.Sprintf("the body is longer than %d bytes", f.limits.Body))
	case f.preflight(w, r):
	default:
		f.noteForwarded(r)
		return to
	}

	return nil
}

// misdirected answers a request for a name that is none of ours (RFC 9110 15.5.20).
// The answer does not have them: the operator finds both names in the trace.
func (f *front) misdirected(w http.ResponseWriter, r *http.Request) {
	found := trace.Finding{
		Expected: "the host of the public base URL, " + f.public[0],
		Found:    "the host " + clip(r.Host),
		Remedy:   "an intermediary must forward the Host field as the client sent it",
	}
	f.refuseBy(checkFront, found, w, r, refusal{
		http.StatusMisdirectedRequest,
		"this server does not answer for the host that the request names",
	})
}

func (f *front) handler(r *http.Request) http.Handler {
	switch {
	case f.public.has(r.Host):
		return f.toPub
	case f.private.has(r.Host):
		return f.toPriv
	}
	return nil
}

// plainTarget reports whether the target is an origin-form path, or an
// absolute-form https URL (its authority is r.Host and has been checked).
// net/http takes a fragment for part of the path.
func plainTarget(r *http.Request) bool {
	scheme := r.URL.Scheme == "" || r.URL.Scheme == "https" && r.URL.User == nil
	return scheme && r.URL.Opaque == "" && strings.HasPrefix(r.URL.Path, "/") &&
		!strings.Contains(r.RequestURI, "#")
}

// hopByHop are the options of Connection that mean something to one hop.
var hopByHop = []string{
	"close", "keep-alive", "te", "trailer", "upgrade", "http2-settings", "proxy-connection",
	"transfer-encoding",
}

// hides returns the first field that Connection would have a hop remove and
// that is present and ours to read (case 301); empty when there is none.
func hides(h http.Header) string {
	for _, line := range h["Connection"] {
		for _, option := range strings.Split(line, ",") {
			option = strings.ToLower(strings.Trim(option, " \t"))
			if !slices.Contains(hopByHop, option) && (h.Get(option) != "" || option == "host" ||
				option == "content-length") {
				return http.CanonicalHeaderKey(option)
			}
		}
	}

	return ""
}

// noteForwarded counts requests whose forwarding fields name another host than
// ours: nothing is derived from them, but a client may expect it.
func (f *front) noteForwarded(r *http.Request) {
	host := r.Header.Get("X-Forwarded-Host")
	if host == "" || f.public.has(host) {
		return
	}
	f.meter.forwarded.Inc()
	level := slog.LevelDebug
	if !f.warned.Swap(true) { // clients could fill the log
		level = slog.LevelWarn
	}
	f.log.Log(
		r.Context(),
		level,
		"X-Forwarded-Host disagrees with the public base URL and is not used; further ones are counted",
		"expected",
		f.public[0],
		"found",
		clip(host),
	)
}

// clip bounds what a client sent for the log, where slog escapes it.
func clip(s string) string { return s[:min(len(s), 100)] }

// refuse answers an error of the server itself, in the words of whoever asked:
// an OperationOutcome below a FHIR base, else an OAuth error.
// Like every decision it leaves a trace.
func (f *front) refuse(w http.ResponseWriter, r *http.Request, status int, text string) {
	f.refuseBy(checkFront, trace.Finding{Found: text}, w, r, refusal{status, text})
}

// refuseBy is refuse for another check, whose trace has more than the answer.
func (f *front) refuseBy(
	by trace.Check, found trace.Finding, w http.ResponseWriter, r *http.Request, as refusal,
) {
	w.Header().Set("Trace-Id", f.trace(by, as.status, found))
	if f.belowFHIR(r) {
		writeOutcome(w, r, as.status, as.text)
		return
	}
	writeError(w, r, as.status, as.text)
}

// trace records a refusal of the server itself and returns the trace's id.
func (f *front) trace(by trace.Check, status int, found trace.Finding) string {
	tr := trace.NewTrace("request", f.now())
	tr.Refuse(by, trace.Code(codes[status].oauth), found)
	f.record(tr)
	return tr.ID
}

func (f *front) belowFHIR(r *http.Request) bool {
	if r.URL == nil {
		return false
	}
	return slices.ContainsFunc(f.fhir, func(base string) bool {
		rest, ok := strings.CutPrefix(r.URL.Path, base)
		return ok && (rest == "" || rest[0] == '/')
	})
}

// finish ends a request whatever happened: it turns a panic into a 500, or
// into a cut connection if the answer has begun, and counts.
func (f *front) finish(w *answer, r *http.Request) {
	defer w.turn.end()
	defer w.body.abandon()
	if v := recover(); v != nil {
		if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(v) // a handler's way to cut the connection
		}
		f.meter.panics.Inc()
		f.log.Error("panic", "route", w.route, "method", clip(r.Method), "what", panicText(v), "stack",
			string(debug.Stack()))
		if w.status != 0 {
			panic(http.ErrAbortHandler)
		}

		w.instead = &refusal{
			http.StatusInternalServerError,
			"the server failed; the operator can see why",
		}
	}

	if instead := w.instead; instead != nil && w.status == 0 {
		w.instead = nil
		retry := w.Header().Get("Retry-After")
		clear(w.Header())
		f.dress(w.Header(), r)
		if retry != "" {
			w.Header().Set("Retry-After", retry)
		}
		f.refuse(w, r, instead.status, instead.text)
	}

	f.meter.answered(w.route, r.Method, w.status)
}

// panicText never quotes a value that could hold what a client sent.
func panicText(v any) string {
	if err, ok := v.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", v)
}

// refusal is an answer of the server itself.
type refusal struct {
	status int
	text   string
}

// answer remembers what went out. Its beginning ends the request's turn, as the
// work is done then: the FHIR service and the authorization server write whole
// answers.
type answer struct {
	http.ResponseWriter
	overloaded prometheus.Counter // of requests that get no turn
	turn       turn
	body       body
	base       base
	status     int
	route      string   // name of the route that matched, for metrics
	instead    *refusal // what is answered instead of what the handler writes
}

// answerKey is the key of the *answer in a request's context.
type answerKey struct{}

// base is the context below that of the work on a request: it has the values of
// net/http's context and the *answer, and does not end.
type base struct {
	values context.Context
	answer *answer
}

// Deadline implements context.Context.
func (b *base) Deadline() (deadline time.Time, ok bool) { return time.Time{}, false }

// Done implements context.Context.
func (b *base) Done() <-chan struct{} { return nil }

// Err implements context.Context.
func (b *base) Err() error { return nil }

// Value implements context.Context.
func (b *base) Value(key any) any {
	if key == (answerKey{}) {
		return b.answer
	}
	return b.values.Value(key)
}

// beginTurn begins the request's turn, unless it has begun. With errBusy the request
// must not be worked on.
func (a *answer) beginTurn(ctx context.Context) error {
	if a.turn.begin(ctx) {
		return nil
	}
	return a.busy("too many requests are being answered; try again shortly")
}

// busy has the request refused until others are done, and returns errBusy.
func (a *answer) busy(text string) error {
	a.overloaded.Inc()
	a.Header().Set("Retry-After", "1")
	a.instead = &refusal{
		http.StatusServiceUnavailable,
		text,
	}
	return errBusy
}

func (a *answer) WriteHeader(status int) {
	if a.instead != nil {
		return
	}
	if a.status == 0 && status >= 200 {
		a.begin(status)
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.instead != nil {
		return len(p), nil
	}
	if a.status == 0 {
		a.begin(http.StatusOK)
	}
	return a.ResponseWriter.Write(p)
}

// begin is called once, before anything of the final answer is written.
func (a *answer) begin(status int) {
	a.status = status
	a.turn.end()
	a.body.vacate()
	if !a.body.finish() {
		a.Header().Set("Connection", "close")
	}
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter {
	return a.ResponseWriter
}

// Flush lets handlers that stream do so.
func (a *answer) Flush() {
	if a.instead != nil {
		return
	}
	if a.status == 0 {
		a.begin(http.StatusOK)
	}
	_ = http.NewResponseController(a.ResponseWriter).Flush() // a connection that cannot flush has nothing held back
}

// authorities are the spellings of one host and port.
type authorities []string

// authoritiesOf gives the host of a base URL as Host fields may write it: the
// default port may be there or not (RFC 9110 4.2.2).
func authoritiesOf(base string) authorities {
	host := authority(base)
	switch {
	case host == "":
		return nil
	case strings.HasSuffix(host, ":443"):
		return authorities{host, strings.TrimSuffix(host, ":443")}
	case !strings.Contains(host[strings.LastIndexByte(host, ']')+1:], ":"):
		return authorities{host, host + ":443"}
	}

	return authorities{host}
}

func (a authorities) has(host string) bool {
	return slices.ContainsFunc(a, func(s string) bool {
		return strings.EqualFold(s, host)
	})
}
