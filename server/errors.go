package server

import (
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"

	"fhirdest.example/fhir"
)

// codes are the OAuth error and FHIR issue codes of the statuses that the
// server itself answers. A status that is not in it is a 500.
var codes = map[int]struct{ oauth, issue string }{
	http.StatusBadRequest:                  {"invalid_request", "invalid"},
	http.StatusForbidden:                   {"access_denied", "forbidden"},
	http.StatusNotFound:                    {"invalid_request", "not-found"},
	http.StatusMethodNotAllowed:            {"invalid_request", "not-supported"},
	http.StatusRequestTimeout:              {"invalid_request", "timeout"},
	http.StatusRequestEntityTooLarge:       {"invalid_request", "too-long"},
	http.StatusUnsupportedMediaType:        {"invalid_request", "not-supported"},
	http.StatusMisdirectedRequest:          {"invalid_request", "not-found"},
	http.StatusExpectationFailed:           {"invalid_request", "not-supported"},
	http.StatusTooManyRequests:             {"temporarily_unavailable", "throttled"},
	http.StatusRequestHeaderFieldsTooLarge: {"invalid_request", "too-long"},
	http.StatusHTTPVersionNotSupported:     {"invalid_request", "not-supported"},
	http.StatusInternalServerError:         {"server_error", "exception"},
	http.StatusServiceUnavailable:          {"temporarily_unavailable", "transient"},
}

// writeError answers as an authorization server does (RFC 6749 5.2).
func writeError(w http.ResponseWriter, r *http.Request, status int, text string) {
	body, err := json.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{codes[status].oauth, text})
	send(w, r, status, "application/json", body, err)
}

type outcome struct {
	ResourceType string  `json:"resourceType"`
	Issue        []issue `json:"issue"`
}

type issue struct {
	Severity    string `json:"severity"`
	Code        string `json:"code"`
	Diagnostics string `json:"diagnostics"`
}

// writeOutcome answers as a FHIR server does, in the format that was asked for.
func writeOutcome(w http.ResponseWriter, r *http.Request, status int, text string) {
	body, err := json.Marshal(outcome{
		"OperationOutcome",
		[]issue{{"error", codes[status].issue, text}},
	})
	body, mediaType := fhir.Represent(r, body)
	send(w, r, status, mediaType, body, err)
}

func send(
	w http.ResponseWriter, r *http.Request, status int, mediaType string, body []byte, err error,
) {
	if err != nil {
		status = http.StatusInternalServerError
		body = nil
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)

	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client is gone; net/http closes
	}
}
