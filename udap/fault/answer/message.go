package answer

import (
	"errors"
	"maps"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Message is one answer before it is written.
type Message struct {
	Request *http.Request // that it answers
	Status  int
	Header  http.Header
	Body    []byte
	Cut     bool // the connection ends in the middle of the body
}

// errNot is why a change leaves an answer as it is: it is not of the kind in which
// the fault can be.
var errNot = errors.New("answer: the fault cannot be in this answer")

// send writes an answer as it was kept.
func (m *Message) send(w http.ResponseWriter) {
	w.WriteHeader(m.Status)
	_, _ = w.Write(m.Body) // a client that has gone needs no answer
}

// write writes an answer with a fault.
func (m *Message) write(w http.ResponseWriter) {
	h := w.Header()
	clear(h)
	maps.Copy(h, m.Header)
	h.Set("Content-Length", strconv.Itoa(len(m.Body)))
	h.Del("Etag")
	w.WriteHeader(m.Status)
	if !m.Cut {
		_, _ = w.Write(m.Body) // as above
		return
	}

	_, _ = w.Write(m.Body[:len(m.Body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler) // net/http ends the connection
}

// members changes the members of an answer that is a JSON object.
func (m *Message) members(f func(map[string]jsontext.Value) error) error {
	var o map[string]jsontext.Value
	if err := json.Unmarshal(m.Body, &o); err != nil || o == nil {
		return errNot
	}
	if err := f(o); err != nil {
		return err
	}

	body, err := json.Marshal(o, json.Deterministic(true))
	m.Body = body
	return err
}

// set encodes a value as a member's.
func set(o map[string]jsontext.Value, name string, value any) error {
	text, err := json.Marshal(value, json.Deterministic(true))
	if err == nil {
		o[name] = text
	}
	return err
}

// text returns a member that is a string; empty if it is anything else.
func text(o map[string]jsontext.Value, name string) string {
	var s string
	if json.Unmarshal(o[name], &s) != nil {
		return ""
	}
	return s
}

// plain returns an answer of our own.
func plain(status int, contentType, body string, header ...string) *Message {
	h := http.Header{
		"Content-Type":  {contentType},
		"Cache-Control": {"no-store"},
	}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}

	return &Message{
		Status: status,
		Header: h,
		Body:   []byte(body),
	}
}

// refusal returns an error of OAuth (RFC 6749 5.2).
func refusal(status int, code, description string, header ...string) *Message {
	return plain(
		status,
		"application/json",
		`{"error":"`+code+`","error_description":"`+description+`"}`,
		header...,
	)
}

// outcome returns an error of FHIR.
func outcome(status int, code, text string, header ...string) *Message {
	return plain(
		status,
		"application/fhir+json",
		`{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"`+code+
			`","diagnostics":"`+text+`"}]}`,
		header...,
	)
}

// become replaces an answer.
func (m *Message) become(other *Message) {
	m.Status, m.Header, m.Body = other.Status, other.Header, other.Body
}

// page is an error page as web servers have them.
const page = "<!DOCTYPE html><html><head><title>Service</title></head>" +
	"<body><h1>It works!</h1></body></html>"
