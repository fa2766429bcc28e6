package client

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"fhirdest.example/udap/trace"
)

// Refusal is a refusal by the destination or by an intermediary.
type Refusal struct {
	Status      int        `json:"status"`
	Code        trace.Code `json:"error,omitempty"`
	Description string     `json:"errorDescription,omitempty"`
	Page        string     `json:"errorUri,omitempty"`
	TraceID     string     `json:"traceId,omitempty"`
	Hint        string     `json:"hint,omitempty"` // ours: what to try
}

// refused records a refusal with its text and a hint.
func refused(tr *trace.Trace, c trace.Check, r *Reply, expected string) (*Refusal, error) {
	f := readRefusal(r)
	f.Hint = hint(c, r, f)
	code := f.Code
	if code == "" {
		code = CodeStopped
	}

	return f, tr.Refuse(c, code, trace.Finding{
		Expected: expected,
		Found:    f.String(),
		Remedy:   f.Hint,
	})
}

func readRefusal(r *Reply) *Refusal {
	f := &Refusal{
		Status:  r.Status,
		TraceID: r.TraceID,
	}
	o, err := parseObject(r.Body)
	if err != nil {
		return f
	}

	f.Code, f.Description, f.Page = trace.Code(o.text("error")), o.text("error_description"), o.text("error_uri")
	if o.text("resourceType") == "OperationOutcome" {
		f.Description = outcome(r.Body)
	}
	return f
}

// String is the refusal as one line.
func (f *Refusal) String() string {
	parts := []string{fmt.Sprintf("%d %s", f.Status, http.StatusText(f.Status))}
	if f.Code != "" {
		parts = append(parts, string(f.Code))
	}
	if f.TraceID != "" {
		parts = append(parts, "the destination's Trace-Id is "+f.TraceID)
	}
	if f.Page != "" {
		parts = append(parts, "explained at "+f.Page)
	}

	if f.Description != "" { // last, because it is the one that a trace may cut
		parts = append(parts, f.Description)
	}
	return strings.Join(parts, "; ")
}

// Reason is the refusal of a redirect as one line, which has no status.
func (f *Refusal) Reason() string {
	if f.Description == "" {
		return string(f.Code)
	}
	return string(f.Code) + ": " + f.Description
}

// outcome is the text of an OperationOutcome's issues.
func outcome(body []byte) string {
	var o struct {
		Issue []struct {
			Code        string `json:"code"`
			Diagnostics string `json:"diagnostics"`
			Details     struct {
				Text string `json:"text"`
			} `json:"details"`
		} `json:"issue"`
	}
	if json.Unmarshal(body, &o) != nil {
		return ""
	}

	var parts []string
	for _, i := range o.Issue {
		parts = append(parts,
			strings.TrimSpace(strings.Join([]string{i.Code, i.Details.Text, i.Diagnostics}, " ")))
	}

	return "OperationOutcome: " + strings.Join(parts, "; ")
}

// hint returns what may help: first for answers that plainly are not the
// destination's own, then by the code.
func hint(c trace.Check, r *Reply, f *Refusal) string {
	switch {
	case r.Status >= 300 && r.Status < 400:
		return "a redirect is never followed with a signed assertion or a token in hand; use the URL it points " +
			"to if that is the destination: " + r.header.Get("Location")
	case r.Status == http.StatusTooManyRequests:
		return "too many requests; wait " + r.header.Get("Retry-After") + " s"
	case r.Status == http.StatusMisdirectedRequest:
		return "the host of the URL is not one that this gateway or destination serves: check the base URL, and " +
			"the address connected to"

	case r.Status == http.StatusBadGateway || r.Status == http.StatusGatewayTimeout:
		return "an intermediary got no whole answer from its next hop. It is unknown whether the destination " +
			"acted on " +
			"the request: its operator can look for it by this time"

	case r.Status >= 500:
		return "a fault of the destination or of an intermediary: give its operator the time and the Trace-Id"
	case f.Code == "" && strings.HasPrefix(f.Description, "OperationOutcome") &&
		r.Status != http.StatusUnauthorized && c.Name != checkRead.Name:
		return "an intermediary seems to have answered, not the destination: it has no route for this URL"
	}

	return codeHint(c, f.Code)
}

// codeHints are what to look at for each code of an authorization server.
var codeHints = map[trace.Code]string{
	trace.InvalidSoftwareStatement: "the statement itself was not accepted: compare iss, sub, aud, iat and " +
		"exp with what is said above, and the clocks",
	trace.UnapprovedSoftwareStatement: "the certificate is not trusted there: ask whether the destination lists " +
		"your community's anchor, send the intermediates too, look at revocation and dates (doctor)",
	trace.InvalidClientMetadata: "a registration parameter was refused: compare grant types, scopes and " +
		"contacts with the discovery document; some communities also demand client_uri, tos_uri and policy_uri",
	trace.InvalidRedirectURI: "each redirect URI must be https, absolute and without fragment",
	trace.InvalidClient: "not authenticated: the client_id may be of another destination or " +
		"cancelled (register again), the certificate revoked or expired, or the clocks apart",
	trace.InvalidGrant: "an extension object was not accepted: look at organization_id, purpose_of_use and what the " +
		"community demands; or a code or refresh token is no longer good: let the person sign in again",
	trace.InvalidScope:            "ask for scopes that were registered and that scopes_supported lists",
	trace.UnauthorizedClient:      "this client is not registered for this grant type: register again with it",
	trace.UnsupportedGrantType:    "grant_types_supported of the discovery document does not list it",
	trace.InvalidRequest:          "a parameter is missing, unknown to this server or sent twice",
	trace.InvalidCertification:    "a certification was not accepted: look at its signature, sub and dates",
	trace.UnapprovedCertification: "a certification is required that was not sent, or its signer is not trusted",
	trace.InvalidToken: "the access token has expired, was revoked, or is of another destination: " +
		"get a new one (token)",
	trace.InsufficientScope: "the token does not cover this request: register and ask for a scope that does",
}

func codeHint(c trace.Check, code trace.Code) string {
	if h, ok := codeHints[code]; ok {
		return h
	}

	switch c.Name {
	case checkRead.Name:
		return "look at the path, which starts at the FHIR base, and at the token's scopes"
	case checkFound.Name:
		return "is this the FHIR base URL, with its whole path?"
	}

	return ""
}
