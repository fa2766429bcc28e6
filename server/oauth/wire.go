package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/udap/trace"
)

// outcome is what a code means on the wire: its HTTP status, and the sentence that
// describes it where the reasons are for the operator alone.
type outcome struct {
	status   int
	sentence string
}

// outcomes is the one table from code to status (RFC 6749 5.2, RFC 7591 3.2.2,
// RFC 6750 3.1). A test holds that no code is missing.
var outcomes = map[trace.Code]outcome{
	trace.InvalidSoftwareStatement: {
		http.StatusBadRequest,
		"The software statement is not valid.",
	},
	trace.UnapprovedSoftwareStatement: {
		http.StatusBadRequest,
		"The software statement is not signed by a certificate that this server trusts.",
	},
	trace.InvalidClientMetadata: {
		http.StatusBadRequest,
		"The registration parameters are not acceptable.",
	},
	trace.InvalidRedirectURI:   {http.StatusBadRequest, "A redirect URI is not acceptable."},
	trace.InvalidCertification: {http.StatusBadRequest, "A certification is not valid."},
	trace.UnapprovedCertification: {
		http.StatusBadRequest,
		"A required certification is not signed by a party that this server trusts.",
	},
	trace.InvalidClient:  {http.StatusBadRequest, "The client could not be authenticated."},
	trace.InvalidRequest: {http.StatusBadRequest, "The request is malformed."},
	trace.InvalidGrant:   {http.StatusBadRequest, "The grant is not valid."},
	trace.InvalidScope: {
		http.StatusBadRequest,
		"None of the requested scopes can be granted, or a wildcard scope is not supported.",
	},
	trace.UnauthorizedClient: {
		http.StatusBadRequest,
		"The client is not registered for this grant type.",
	},
	trace.UnsupportedGrantType: {http.StatusBadRequest, "This grant type is not supported."},
	trace.InvalidToken:         {http.StatusUnauthorized, "The access token is not valid."},
	trace.InsufficientScope:    {http.StatusForbidden, "The access token does not allow this."},
	trace.InvalidIDP: {
		http.StatusBadRequest,
		"The identity provider is not trusted.",
	},
	trace.UnsupportedResponseType: {http.StatusBadRequest, "The response type must be code."},
	trace.RequestNotSupported:     {http.StatusBadRequest, "Request objects are not supported."},
	trace.RequestURINotSupported:  {http.StatusBadRequest, "Request objects are not supported."},
	trace.LoginRequired:           {http.StatusBadRequest, "The person must sign in."},
	trace.ConsentRequired:         {http.StatusBadRequest, "The person must be asked for consent."},
	trace.InteractionRequired:     {http.StatusBadRequest, "The person must be asked."},
	trace.AccessDenied:            {http.StatusForbidden, "Access was denied."},
	trace.ServerError:             {http.StatusInternalServerError, "The server failed."},
	trace.InvalidDPoPProof: {
		http.StatusBadRequest,
		"The DPoP proof is not valid.",
	},
	trace.UseDPoPNonce: {
		http.StatusBadRequest,
		"The DPoP proof needs the nonce of this answer.",
	},
	trace.TemporarilyUnavailable: {
		http.StatusServiceUnavailable,
		"The server cannot do this now; try again later.",
	},
}

// Refusal is a refusal as HTTP writes it.
type Refusal struct {
	Of     *trace.Error
	Status int
	Header http.Header // fields of the answer, such as WWW-Authenticate, Allow and Retry-After
	Trace  string      // id of its trace; empty where the shell that writes it has the trace
}

func (r *Refusal) Error() string { return r.Of.Error() }

func (r *Refusal) Unwrap() error { return r.Of }

// RefusalOf brings any error of a Service into the form in which it is written.
// An error that is no refusal is a fault of the server, of which the client
// learns nothing.
func RefusalOf(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}

	var e *trace.Error
	if !errors.As(err, &e) {
		e = &trace.Error{
			Code:  trace.ServerError,
			Check: checkInternal.Name,
			Err:   err,
		}
	}

	r = &Refusal{
		Of:     e,
		Status: outcomes[e.Code].status,
		Header: http.Header{},
	}
	if r.Status == http.StatusServiceUnavailable {
		r.Header.Set("Retry-After", seconds(retryAfter))
	}

	return r
}

// retryAfter is how long a client waits before it tries again when the server
// could not do its part.
const retryAfter = 5 * time.Second

// wireError is the body of a refusal (RFC 6749 5.2): these members and no others.
type wireError struct {
	Error       trace.Code `json:"error"`
	Description string     `json:"error_description"`
	URI         string     `json:"error_uri,omitzero"`
}

func (s shell) wireError(r *Refusal, tr *trace.Trace) wireError {
	text := outcomes[r.Of.Code].sentence
	if s.cfg.Explain == ExplainClient && r.Of.Detail != "" {
		text = explanation(r.Of, tr)
	}
	w := wireError{
		Error:       r.Of.Code,
		Description: describe(text),
	}

	if s.cfg.TracePage != nil {
		w.URI = s.cfg.TracePage(tr.ID)
	}
	return w
}

// maxExplained bounds the further mistakes that one answer explains, in bytes.
const maxExplained = 4 << 10

// explanation is what the refusing check found, and every further mistake that
// was seen in the same request: a client that is under test mends them at once.
func explanation(e *trace.Error, tr *trace.Trace) string {
	text := e.Check + ": " + e.Detail
	left := maxExplained
	for _, s := range tr.Further() {
		more := " | " + s.Check + ": " + s.Detail()
		if left -= len(more); left < 0 {
			return text + " | and more"
		}
		text += more
	}

	return text
}

// describe converts a text into the characters of error_description (RFC 6749
// 5.2): %x20-21 / %x23-5B / %x5D-7E; all others are percent-encoded.
func describe(text string) string {
	text = strings.NewReplacer(`"`, "'", `\`, "%5C").Replace(text)
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < 0x20 || c > 0x7e {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}

	return b.String()
}

// seconds is the value of Retry-After, at least 1.
func seconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}
