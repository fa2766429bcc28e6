package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"
)

// fault is an answer of the gateway's own.
type fault struct {
	status int
	code   string // of the OperationOutcome's issue
	text   string // fixed: it quotes nothing of the message and names no private host

	// Of a fault of the next hop: why, in a few fixed words, the error for the log, and
	// the fault without them.
	reason   string
	cause    error
	kind     *fault
	endpoint *endpoint // that did not accept a connection
}

var (
	faultRoute = &fault{
		status: 404,
		code:   "not-found",
		text:   "There is no destination under this path.",
	}
	faultTarget = &fault{
		status: 400,
		code:   "invalid",
		text:   "The request target has no form that can be routed.",
	}
	faultUpgrade = &fault{
		status: 400,
		code:   "not-supported",
		text:   "A request with an Upgrade field and a body is not passed.",
	}
	faultHost = &fault{
		status: 421,
		code:   "security",
		text:   "The host named in the request is not served on this connection.",
	}
	faultSlowHead = &fault{
		status: 408,
		code:   "timeout",
		text:   "The head of the request did not arrive in time.",
	}
	faultSlowBody = &fault{
		status: 408,
		code:   "timeout",
		text:   "The body of the request did not arrive in time.",
	}
	faultConnect = &fault{
		status: 502,
		code:   "transient",
		text:   "The next hop could not be reached",
	}
	faultTLS = &fault{
		status: 502,
		code:   "security",
		text:   "The next hop did not prove to be the one that was meant",
	}
	faultClosed = &fault{
		status: 502,
		code:   "transient",
		text:   "The next hop closed the connection without an answer.",
	}
	faultAnswer = &fault{
		status: 502,
		code:   "processing",
		text:   "The next hop's answer cannot be framed without doubt",
	}
	faultSwitch = &fault{
		status: 502,
		code:   "not-supported",
		text:   "The next hop switched to a protocol that is not passed.",
	}
	faultLoop = &fault{
		status: 502,
		code:   "processing",
		text:   "The next hop is this gateway itself.",
	}
	faultNoConnect = &fault{
		status: 504,
		code:   "timeout",
		text:   "The next hop did not accept the connection in time.",
	}
	faultNoAnswer = &fault{
		status: 504,
		code:   "timeout",
		text:   "The next hop did not answer in time.",
	}
	faultBusy = &fault{
		status: 503,
		code:   "throttled",
		text:   "The gateway is at its ceiling of memory or connections.",
	}
	// faultLarge is not faultBusy, as the next hop has acted on the request: to ask again
	// soon, as 503 proposes, would do it twice.
	faultLarge = &fault{
		status: 502,
		code:   "transient",
		text:   "The gateway has no memory for the next hop's answer.",
	}
	faultOwn = &fault{
		status: 500,
		code:   "exception",
		text:   "The gateway failed.",
	}
	faultEvidence = &fault{
		status: 500,
		code:   "exception",
		text:   "The gateway cannot record the exchange and so does not pass it.",
	}

	// faultGone is no answer: the client itself is gone, or the connection must simply be
	// cut.
	faultGone = &fault{text: "The client ended the connection within a request."}
	// faultCut is no answer either, as one has begun.
	faultCut = &fault{text: "The next hop's answer ended before its end"}
)

// why is the reason in a few words, or the whole sentence where there is none.
func (f *fault) why() string {
	if f.reason == "" {
		return f.text
	}
	return f.reason
}

// because returns f with the reason for it.
func (f *fault) because(reason string, cause error) *fault {
	g := *f
	g.reason, g.cause, g.kind = reason, cause, f
	return &g
}

// is reports whether f is of a kind.
func (f *fault) is(kind *fault) bool {
	return f == kind || f.kind == kind
}

// ofNextHop reports whether it is the next hop that failed.
func (f *fault) ofNextHop() bool {
	return (f.status == 502 || f.status == 504 || f.is(faultCut)) && !f.is(faultLarge)
}

// sentence is what the client gets to read.
func (f *fault) sentence() string {
	switch last := f.text[len(f.text)-1]; {
	case last == '.':
		return f.text
	case f.reason == "":
		return f.text + "."
	}
	return f.text + ": " + f.reason + "."
}

// framingFault is the answer to a request that cannot be framed.
func framingFault(status int, reason string) *fault {
	code := map[int]string{
		400: "structure",
		421: "security",
		431: "too-long",
		505: "not-supported",
	}[status]
	return &fault{
		status: status,
		code:   code,
		text:   "The request cannot be framed without doubt: " + reason + ".",
	}
}

// answer is the whole message; a HEAD gets no body.
func (f *fault) answer(method string, now time.Time) []byte {
	body := `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"` +
		f.code + `","diagnostics":` +
		strconv.Quote(f.sentence()) + `}]}`
	later := ""
	if f.status == http.StatusServiceUnavailable {
		later = "Retry-After: 1\r\n"
	}

	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: application/fhir+json\r\n"+
		"Cache-Control: no-store\r\n"+
		"Strict-Transport-Security: max-age=31536000\r\n"+
		"X-Content-Type-Options: nosniff\r\n"+
		"Content-Security-Policy: default-src 'none'; frame-ancestors 'none'; sandbox\r\n"+
		"%sConnection: close\r\nContent-Length: %d\r\n\r\n",
		f.status, http.StatusText(f.status), now.UTC().Format(http.TimeFormat), later, len(body))

	if method == "HEAD" {
		body = ""
	}

	return append([]byte(head), body...)
}

// dialFault returns why no connection came about. That this process has no more descriptors
// is no fault of the next hop.
func dialFault(err error) *fault {
	var dns *net.DNSError
	var e net.Error
	switch {
	case errors.As(err, &dns):
		return faultConnect.because("its name is not known", err)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return faultBusy
	case errors.Is(err, syscall.ECONNREFUSED):
		return faultConnect.because("connection refused", err)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &e) && e.Timeout():
		return faultNoConnect.because("no connection in time", err)
	}

	return faultConnect.because("the network does not lead there", err)
}

// handshakeFault returns why TLS with a next hop failed. What is wrong with a certificate
// explain words, as this package knows nothing of certificates.
func handshakeFault(err error, explain func(error) string) *fault {
	var unverified *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var op *net.OpError
	switch {
	case errors.As(err, &unverified):
		reason := "its certificate is not valid"
		if explain != nil {
			reason = explain(unverified.Err)
		}
		return faultTLS.because(reason, err)

	case errors.As(err, &record):
		return faultTLS.because("it does not speak TLS", err)
	case errors.As(err, &alert), errors.As(err, &op) && op.Op == "remote error":
		return faultTLS.because("it refused the handshake", err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return faultTLS.because("it ended the handshake", err)
	}

	return faultTLS.because("the handshake failed", err)
}
