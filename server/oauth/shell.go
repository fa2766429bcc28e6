package oauth

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/netip"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// endpoint is what differs between the HTTP shells of the four endpoints.
type endpoint struct {
	action    string // of the trace
	mediaType string
	limit     int64 // bytes of a body
	serve     func(*call) (status int, body any, err error)
}

// call is one request whose body has been read to its end. It and its body are there
// until the endpoint returns.
type call struct {
	r     *http.Request
	body  bytes.Buffer
	rest  io.LimitedReader // of the request's body, while it is read
	trace *trace.Trace
}

// Bounds of request bodies. A software statement with a chain of ten
// certificates and a page of scopes is a fifth of the first; an introspected
// "token" may be anything at all.
const (
	maxRequestBody    = 256 << 10
	maxIntrospectBody = 2 << 20
)

const (
	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded"
)

// shell is the HTTP side of a Service's endpoints: media type, limits, decoding,
// one call, and the answer.
type shell struct{ *Service }

// handler is the HTTP shell around an endpoint: method, rate, content type and
// body are checked, the core is called, and one answer is written and one trace
// recorded, whatever happened.
func (s shell) handler(e endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tr := s.cfg.newTrace(e.action)
		tr.Address = PeerAddress(r)
		defer s.Record(tr)

		h := w.Header()
		h["Trace-Id"] = []string{tr.ID}
		maps.Copy(h, sharedHeader)
		status, body, err := s.answer(e, w, r, tr)
		if err != nil {
			s.writeRefusal(w, RefusalOf(err), tr)
			return
		}

		writeJSON(w, status, body)
	})
}

// sharedHeader is on all answers: a header that differs is set, never added to.
var sharedHeader = http.Header{
	"Cache-Control":          {"no-store"},
	"Pragma":                 {"no-cache"},
	"X-Content-Type-Options": {"nosniff"},
}

// ofJSON is the header Content-Type of an answer.
var ofJSON = []string{jsonType}

// answer checks the request's head, reads its body and calls the core. A panic in
// there is a fault of the server that goes into the trace.
func (s shell) answer(
	e endpoint, w http.ResponseWriter, r *http.Request, tr *trace.Trace,
) (status int, body any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = tr.Refuse(checkInternal, trace.ServerError, trace.Finding{
				Found: "a fault of the server",
				Err:   &fault{p, debug.Stack()},
			})
		}
	}()

	charset, err := s.checkHead(e, r, tr)
	if err != nil {
		return 0, nil, err
	}

	c := calls.Get().(*call)
	c.r, c.trace = r, tr
	defer c.release()
	if err := c.readBody(e, w); err != nil {
		return 0, nil, err
	}
	if err := checkCharset(charset, c.body.Bytes(), tr); err != nil {
		return 0, nil, err
	}

	tr.Time = s.cfg.Now() // a body can be slow: it is validated at the time of its end
	return e.serve(c)
}

// calls are used again, for the sake of their bodies. One whose body grew beyond the
// usual size is not.
var calls = sync.Pool{New: func() any { return new(call) }}

const maxKeptBody = 16 << 10

// release ends a call: nothing that it had may be used afterwards. The trace remains, and
// must not keep a large body in memory.
func (c *call) release() {
	if c.body.Cap() > maxKeptBody {
		c.trace.Detach()
		return
	}
	c.r, c.trace, c.rest.R = nil, nil, nil
	c.body.Reset()
	calls.Put(c)
}

// fault is a panic as an error.
type fault struct {
	value any
	stack []byte
}

func (f *fault) Error() string {
	return "panic: " + strings.TrimSpace(string(f.stack))
}

// checkHead checks a request before its body is read, and returns the charset
// that the body claims to have (see charsetOf).
func (s shell) checkHead(e endpoint, r *http.Request, tr *trace.Trace) (charset string, err error) {
	if err := limited(tr, s.limits.address, "address", s.address(r), tr.Time); err != nil {
		return "", err
	}
	if r.Method != http.MethodPost {
		err := tr.Refuse(checkMethod, trace.InvalidRequest, trace.Finding{
			Expected: "POST",
			Found:    r.Method,
		})
		return "", &Refusal{
			Of:     err,
			Status: http.StatusMethodNotAllowed,
			Header: http.Header{"Allow": {http.MethodPost}},
		}
	}
	if err := tr.Note(noQuery(r, tr)); err != nil {
		return "", err
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" {
		return "", unsupportedType(tr, "no Content-Encoding", coding)
	}

	charset, err = charsetOf(r.Header.Values("Content-Type"), e.mediaType)
	if err != nil {
		return "", tr.Note(unsupportedType(tr, "Content-Type: "+e.mediaType, err.Error()))
	}
	return charset, nil
}

// noQuery refuses parameters in the URL. They are never read.
func noQuery(r *http.Request, tr *trace.Trace) error {
	if r.URL.RawQuery == "" && !r.URL.ForceQuery {
		return nil
	}
	return tr.Refuse(checkQuery, trace.InvalidRequest, trace.Finding{
		Expected: "no query",
		Found:    "a query in the URL",
		Remedy:   "send parameters in the body only (RFC 6749 3.2)",
	})
}

// unsupportedType refuses the form of a body: 415.
func unsupportedType(tr *trace.Trace, expected, found string) error {
	err := tr.Refuse(checkType, trace.InvalidRequest, trace.Finding{
		Expected: expected,
		Found:    found,
	})
	return &Refusal{
		Of:     err,
		Status: http.StatusUnsupportedMediaType,
	}
}

// address returns the function that names the party that limits per address count.
func (s shell) address(r *http.Request) func() string {
	return func() string {
		if s.cfg.Address != nil {
			return s.cfg.Address(r)
		}
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return r.RemoteAddr
		}
		return Customer(peer.Addr()).String()
	}
}

// PeerAddress returns the IP address of the other side of a request's connection;
// empty when it has none.
func PeerAddress(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	switch {
	case err != nil:
		return ""
	case peer.Addr().Is4(): // has one spelling
		return r.RemoteAddr[:strings.IndexByte(r.RemoteAddr, ':')]
	}
	return peer.Addr().Unmap().String()
}

// Customer is the party that limits per address count: the /64 of an IPv6
// address, since one customer has all addresses of it.
func Customer(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	return netip.PrefixFrom(a, 64).Masked().Addr()
}

// charsetOf returns the charset of a request's Content-Type, in lower case;
// empty for UTF-8. It is an error if there is not exactly one Content-Type, if
// it is not the one expected, or if its charset has other bytes for ASCII.
func charsetOf(values []string, want string) (string, error) {
	switch {
	case len(values) == 0:
		return "", errors.New("no Content-Type")
	case len(values) == 1 && values[0] == want:
		return "", nil
	}

	found := errors.New(strings.Join(values, ", "))
	if len(values) != 1 {
		return "", found
	}

	got, params, err := mime.ParseMediaType(values[0])
	charset, named := params["charset"]
	if err != nil || got != want || len(params) > 1 || len(params) == 1 && !named {
		return "", found
	}

	switch charset = strings.ToLower(charset); {
	case charset == "utf-8" || charset == "utf8" || !named:
		return "", nil
	case asciiCharset.MatchString(charset):
		return charset, nil
	}

	return "", found
}

// asciiCharset matches the charsets in which the bytes 0x00 to 0x7f are ASCII.
// HTTP libraries add one of them to types that have no charset (RFC 8259 11,
// and the form type of HTML).
var asciiCharset = regexp.MustCompile(
	`^(us-?ascii|ascii|latin-?1|iso[-_]?8859[-_]?[0-9]{1,2}|(windows|cp)-?125[0-8])$`)

// checkCharset refuses a body that is not UTF-8. A body of ASCII alone is the
// same bytes in most other charsets, so those are accepted for it.
func checkCharset(charset string, body []byte, tr *trace.Trace) error {
	if charset == "" {
		return nil
	}
	if bytes.IndexFunc(body, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
		return unsupportedType(tr, "a body in UTF-8", "one with characters outside ASCII in "+charset)
	}

	tr.Warn(checkType, trace.Finding{
		Expected: "a body in UTF-8",
		Found:    "the charset " + charset,
		Remedy:   "accepted because all of the body is ASCII; leave the charset out",
	})

	return nil
}

// readBody reads a body to its end. One that is too long or cut off is refused
// before anything in it is looked at, and the connection closed.
func (c *call) readBody(e endpoint, w http.ResponseWriter) error {
	tr := c.trace
	c.rest = io.LimitedReader{
		R: c.r.Body,
		N: e.limit + 1,
	}
	n, err := c.body.ReadFrom(&c.rest)
	if err == nil && n <= e.limit {
		return nil
	}

	var tooLong *http.MaxBytesError
	switch {
	case n > e.limit || errors.As(err, &tooLong):
		w.Header().Set("Connection", "close")
		refused := tr.Refuse(checkBody, trace.InvalidRequest, trace.Finding{
			Expected: "a body of at most " + strconv.FormatInt(e.limit, 10) + " bytes",
			Found:    "a longer one",
		})
		return &Refusal{
			Of:     refused,
			Status: http.StatusRequestEntityTooLarge,
		}

	case errors.Is(err, udap.ErrUnavailable): // the request's turn did not come
		return tr.Refuse(checkBody, trace.TemporarilyUnavailable, trace.Finding{
			Found:  "too many requests are being answered",
			Remedy: "try again shortly",
			Err:    err,
		})
	}

	w.Header().Set("Connection", "close")
	return tr.Refuse(checkBody, trace.InvalidRequest, trace.Finding{
		Expected: "a whole body",
		Found:    "one that ends early",
		Err:      err,
	})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	out := answers.Get().(*bytes.Buffer)
	defer keep(out)
	if err := json.MarshalWrite(out, body, json.Deterministic(true)); err != nil {
		status = http.StatusInternalServerError
		out.Reset()
		out.WriteString(`{"error":"server_error","error_description":"The server failed."}`)
	}

	b := out.Bytes()
	h := w.Header()
	h["Content-Type"] = ofJSON
	if len(b) > ownLength {
		h["Content-Length"] = []string{strconv.Itoa(len(b))}
	}
	w.WriteHeader(status)

	_, _ = w.Write(b) // the client is gone
}

// answers are buffers in which answers are written, used again while they have the
// usual size.
var answers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func keep(out *bytes.Buffer) {
	if out.Cap() <= maxKeptBody {
		out.Reset()
		answers.Put(out)
	}
}

// ownLength is a length, in bytes, up to which net/http adds the Content-Length of an
// answer that is written at once.
const ownLength = 2048

func (s shell) writeRefusal(w http.ResponseWriter, r *Refusal, tr *trace.Trace) {
	maps.Copy(w.Header(), r.Header)
	writeJSON(w, r.Status, s.wireError(r, tr))
}

// Routes mounts the endpoints by their public paths.
func (s *Service) Routes(mount func(url string, h http.Handler)) {
	h := shell{s}
	mount(s.urls.Register, h.handler(endpoint{
		"register",
		jsonType,
		maxRequestBody,
		h.serveRegister,
	}))

	mount(s.urls.Token, h.handler(endpoint{"token", formType, maxRequestBody, h.serveToken}))
	mount(s.urls.Introspect, h.handler(endpoint{
		"introspect",
		formType,
		maxIntrospectBody,
		h.serveIntrospect,
	}))

	mount(s.urls.Revoke, h.handler(endpoint{
		"revoke",
		formType,
		maxIntrospectBody,
		h.serveRevoke,
	}))

	if s.cfg.people() {
		mount(s.urls.Authorize, h.authorizeHandler())
	}
	if (openid{s}).offered() {
		mount(s.urls.UserInfo, h.userInfoHandler())
	}
}

// clientCall reads the form of an endpoint that authenticates clients.
func clientCall(c *call) (ClientRequest, error) {
	p, err := parseForm(c.body.String())
	if err != nil {
		return ClientRequest{}, c.trace.Refuse(checkBody, trace.InvalidRequest, trace.Finding{
			Expected: "a form with each parameter once",
			Found:    err.Error(),
			Err:      err,
		})
	}

	return ClientRequest{
		Params:        p,
		Authorization: c.r.Header.Values("Authorization"),
		Proofs:        c.r.Header.Values("DPoP"),
		Trace:         c.trace,
	}, nil
}

func (s shell) serveToken(c *call) (int, any, error) {
	req, err := clientCall(c)
	if err != nil {
		return 0, nil, err
	}
	answer, err := s.Token(c.r.Context(), req)
	return http.StatusOK, answer, err
}

func (s shell) serveIntrospect(c *call) (int, any, error) {
	req, err := clientCall(c)
	if err != nil {
		return 0, nil, err
	}
	answer, err := s.Introspect(c.r.Context(), req)
	return http.StatusOK, answer, err
}

// serveRevoke answers 200 with an empty object: RFC 7009 2.2 leaves the body
// to be ignored, and clients parse it as JSON all the same.
func (s shell) serveRevoke(c *call) (int, any, error) {
	req, err := clientCall(c)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, struct{}{}, s.Revoke(c.r.Context(), req)
}

func (s shell) serveRegister(c *call) (int, any, error) {
	req, err := parseRegistration(c.body.Bytes(), c.trace)
	if err != nil {
		return 0, nil, err
	}

	answer, err := s.Register(c.r.Context(), req)
	if err != nil {
		return 0, nil, err
	}
	return answer.Status, answer, nil
}
