package doctor

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fhirdest.example/udap/trace"
)

// answer is one answer to a stranger.
type answer struct {
	what    string // that was asked for, for people
	open    bool   // it is for anybody: metadata
	fhir    bool   // below the FHIR base
	none    bool   // to what is no request: many servers have no headers of their own there
	status  int
	header  http.Header
	body    string
	elapsed time.Duration
	came    time.Time
}

// question is one request of a stranger.
type question struct {
	what    string
	method  string
	url     string
	body    string
	header  http.Header
	open    bool
	fhir    bool
	refused bool // net/http would not send it: text is written as it is
	text    string
}

const (
	stranger  = "https://doctor.invalid" // an origin that nobody lists
	maxBody   = 1 << 20                  // of an answer that is read
	maxAnswer = 4 << 20                  // of one connection, with the head of the answer
	maxHead   = 64 << 10                 // that no server here accepts
)

// Two answers that are looked at by themselves.
const (
	forAnybody = "the metadata"
	forNobody  = "a search without a token"
)

func (e *examination) questions() []question {
	from := http.Header{"Origin": {stranger}}
	root := "https://" + strings.TrimSuffix(e.addr, ":443")
	metadata := e.Base + "/metadata"
	if e.NoFHIR {
		metadata = e.Base + "/.well-known/udap"
	}

	list := []question{
		{what: forAnybody, method: "GET", url: metadata, header: from, open: true, fhir: true},
		{
			what:   "a read with a bad token",
			method: "GET",
			url:    e.Base + "/Patient/doctor",
			header: http.Header{"Authorization": {"Bearer doctor"}},
			fhir:   true,
		},
		{what: "no such path", method: "GET", url: root + "/doctor/finds/nothing"},
		{
			what:   "a path with a mistake",
			method: "GET",
			url:    e.Base + "/%00/..%2f..%2fetc",
			fhir:   true,
		},
		{what: "TRACE", method: "TRACE", url: metadata, fhir: true},
		{what: "a request that is none", refused: true, text: "GET doctor\r\n\r\n"},
		{
			what:    "a head that is too long",
			refused: true,
			text: "GET / HTTP/1.1\r\nHost: " + strings.TrimPrefix(root, "https://") + "\r\nX-Doctor: " +
				strings.Repeat("x", maxHead) + "\r\n\r\n",
		},
	}

	if e.Token != "" {
		list = append(list, question{
			what:   "a token without authentication",
			method: "POST",
			url:    e.Token,
			header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
			body:   "grant_type=client_credentials&client_assertion=doctor",
		})
	}

	if !e.NoFHIR {
		list = append(list, question{
			what:   forNobody,
			method: "GET",
			url:    e.Base + "/Patient",
			header: from,
			fhir:   true,
		})
	}

	return list
}

// named returns the answer to one question; nil when it was not asked.
func named(answers []*answer, what string) *answer {
	for _, a := range answers {
		if a.what == what {
			return a
		}
	}
	return nil
}

// examineHTTP asks what a stranger may ask, and examines the answers together.
func (e *examination) examineHTTP(ctx context.Context) {
	var answers []*answer
	for _, q := range e.questions() {
		a, err := e.ask(ctx, q)
		if err != nil && q.refused { // closed without a word
			continue
		}
		if err != nil {
			e.refuse(checkAnswers, trace.Finding{
				Expected: "an answer to " + q.what,
				Found:    err.Error(),
				Remedy:   "see the server's log",
			})
			return
		}

		answers = append(answers, a)
	}

	e.examineStatus(answers)
	e.examineHSTS(answers)
	e.examineHeaders(answers)
	e.examineCookies(answers)
	e.examineServer(answers)
	e.examineDisclosure(answers)
	e.examineHidden(answers)
	e.examineTrace(named(answers, "TRACE"))

	metadata, data := named(answers, forAnybody), named(answers, forNobody)
	e.examineAnonymous(data)
	e.examineOrigins(metadata, data)
	e.examineClock(metadata)
}

// examineStatus fails where a stranger makes the server fail.
func (e *examination) examineStatus(answers []*answer) {
	for _, a := range answers {
		if a.status >= http.StatusInternalServerError && a.status != http.StatusNotImplemented {
			e.refuse(checkAnswers, trace.Finding{
				Expected: "an answer that is no failure of the server",
				Found:    fmt.Sprintf("%d for %s", a.status, a.what),
				Remedy:   "see the log of the server, and of the hops before it",
			})
			return
		}
	}

	e.trace.Pass(checkAnswers, "", fmt.Sprintf("%d questions were answered", len(answers)))
}

// ask sends one request on a connection of its own.
func (e *examination) ask(ctx context.Context, q question) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	plain, err := e.Dial(ctx, "tcp", e.addr)
	if err != nil {
		return nil, err
	}

	c := tls.Client(plain, e.tlsConfig(tls.VersionTLS10, tls.VersionTLS13, []string{"http/1.1"}, nil))
	defer c.Close()

	_ = c.SetDeadline(time.Now().Add(patience)) // else what is read below is what waits
	began := e.Now()
	request, err := e.write(ctx, c, q)
	if err != nil && !q.refused {
		return nil, err
	}

	res, err := http.ReadResponse(bufio.NewReader(io.LimitReader(c, maxAnswer)), request)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()

	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil && !q.refused {
		return nil, err
	}

	came := e.Now()
	return &answer{
		what:    q.what,
		open:    q.open,
		fhir:    q.fhir,
		none:    q.refused,
		status:  res.StatusCode,
		header:  res.Header,
		body:    string(body),
		elapsed: came.Sub(began),
		came:    came,
	}, nil
}

// write sends the question, and returns the request that it is, where it is one.
func (e *examination) write(ctx context.Context, w io.Writer, q question) (*http.Request, error) {
	if q.refused {
		_, err := io.WriteString(w, q.text)
		return nil, err
	}

	request, err := http.NewRequestWithContext(ctx, q.method, q.url, strings.NewReader(q.body))
	if err != nil {
		return nil, err
	}

	if q.header != nil {
		request.Header = q.header.Clone()
	}
	request.Close = true
	return request, request.Write(w)
}

// examinePlain asks in plain HTTP, on the port of TLS and on port 80.
func (e *examination) examinePlain(ctx context.Context, base *url.URL) {
	res, err := e.askPlain(ctx, e.addr, base)
	switch {
	case err == nil && res.StatusCode != http.StatusBadRequest:
		e.refuse(checkPlain, trace.Finding{
			Expected: "400, or no answer",
			Found:    res.Status,
			Remedy:   "serve TLS alone on this port",
		})

	default:
		e.trace.Pass(checkPlain, "", "it is not answered, or refused")
	}

	if base.Port() != "" && base.Port() != "443" {
		e.trace.Skip(checkRedirect, "the base URL is not at the usual port")
		return
	}

	res, err = e.askPlain(ctx, net.JoinHostPort(e.host, "80"), base)
	if err != nil {
		e.trace.Pass(checkRedirect, "", "there is no answer at port 80")
		return
	}
	e.examineRedirect(base, res)
}

func (e *examination) examineRedirect(base *url.URL, res *http.Response) {
	const remedy = "answer 403 or 404 there, or redirect to the start page of https: a client that was configured " +
		"with http must fail, before it sends more names and tokens in the clear"
	to := res.Header.Get("Location")
	location, err := url.Parse(to)
	switch {
	case res.StatusCode < http.StatusMultipleChoices:
		e.refuse(checkRedirect, trace.Finding{
			Expected: "no data over plain HTTP",
			Found:    res.Status,
			Remedy:   remedy,
		})

	case to == "":
		e.trace.Pass(checkRedirect, "", res.Status)
	case strings.Contains(to, base.Path) || strings.Contains(to, secretQuery):
		e.refuse(checkRedirect, trace.Finding{
			Expected: "no redirect, or one without the path and query of the request",
			Found:    to,
			Remedy:   remedy,
		})

	case err != nil || location.Scheme != "https" || location.Hostname() != e.host:
		e.refuse(checkRedirect, trace.Finding{
			Expected: "https://" + e.host,
			Found:    to,
			Remedy:   "redirect to the fixed name of this host, by https",
		})

	default:
		e.trace.Pass(checkRedirect, "", to)
	}
}

// secretQuery stands for what a client's query discloses of a patient.
const secretQuery = "doctor-asks"

// askPlain asks for the base with a query, without TLS.
func (e *examination) askPlain(ctx context.Context, addr string, base *url.URL) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := e.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()

	_ = c.SetDeadline(time.Now().Add(patience)) // else what is read below is what waits
	_, err = fmt.Fprintf(c, "GET %s/Patient?name=%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
		base.EscapedPath(), secretQuery, base.Hostname())
	if err != nil {
		return nil, err
	}

	return http.ReadResponse(bufio.NewReader(io.LimitReader(c, maxAnswer)), nil)
}
