package examine_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"

	"crypto/tls"

	"fhirdest.example/server/servertest"
)

// exchange is one request at a destination with a fault, and the answer.
type exchange struct {
	*http.Request
	target string // request target
	sent   []byte

	status int
	header http.Header
	answer []byte
}

// fault is what is wrong with a destination: it may change the request before next, and
// the answer after it.
type fault func(e *exchange, next func())

// faulty stands in front of a destination and has one fault at a time.
type faulty struct {
	address string
	d       *servertest.Destination

	mu    sync.Mutex
	fault fault
}

// newFaulty starts a web server with a certificate of the destination's name.
func newFaulty(t *testing.T, d *servertest.Destination) *faulty {
	t.Helper()
	f := &faulty{d: d}
	s := httptest.NewUnstartedServer(f)
	pair, err := tls.LoadX509KeyPair(d.Dir+"/tls.pem", d.Dir+"/tls.key")
	if err != nil {
		t.Fatal(err)
	}

	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	t.Cleanup(s.Close)
	f.address = s.Listener.Addr().String()
	return f
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent, _ := io.ReadAll(r.Body)
	e := &exchange{
		Request: r,
		target:  r.URL.RequestURI(),
		sent:    sent,
	}

	f.mu.Lock() // the examination asks one thing at a time
	defer f.mu.Unlock()
	next := func() { f.forward(e) }
	if f.fault == nil {
		next()
	} else {
		f.fault(e, next)
	}

	for name, values := range e.header {
		if name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(e.status)
	_, _ = w.Write(e.answer)
}

func (f *faulty) forward(e *exchange) {
	req, err := http.NewRequest(e.Method, "https://fhir.test"+e.target, bytes.NewReader(e.sent))
	if err != nil {
		e.status = http.StatusBadGateway
		return
	}
	req.Header = e.Header.Clone()

	res, err := f.d.HTTP.Do(req)
	if err != nil {
		e.status = http.StatusBadGateway
		return
	}
	defer res.Body.Close()
	e.status, e.header = res.StatusCode, res.Header
	e.answer, _ = io.ReadAll(res.Body)
}

// at reports whether the path ends so.
func (e *exchange) at(end string) bool { return strings.HasSuffix(e.URL.Path, end) }

const (
	metadataPath  = "/.well-known/udap"
	registerPath  = "/oauth/register"
	tokenPath     = "/oauth/token"
	authorizePath = "/oauth/authorize"
)

// members is a JSON object.
type members map[string]any

// object returns the answer as an object; empty if it is none.
func (e *exchange) object() members {
	o := members{}
	_ = json.Unmarshal(e.answer, &o)
	return o
}

// set writes an object as the answer.
func (e *exchange) set(status int, o members) {
	e.status = status
	e.answer, _ = json.Marshal(o)
	if e.header == nil {
		e.header = http.Header{}
	}
	e.header.Set("Content-Type", "application/json")
}

// form returns the parameters that were sent.
func (e *exchange) form() url.Values {
	v, _ := url.ParseQuery(string(e.sent))
	return v
}

// document returns the header and the claims of the JWT that was sent, as far as they
// can be read.
func (e *exchange) document() (head, claims members) {
	compact := e.form().Get("client_assertion")
	if e.at(registerPath) {
		var body struct {
			Statement string `json:"software_statement"`
		}
		_ = json.Unmarshal(e.sent, &body)
		compact = body.Statement
	}

	header, _, _ := strings.Cut(compact, ".")
	return segment(header), claimsOf(compact)
}

// claimsOf returns the claims of a JWT, as far as they can be read.
func claimsOf(compact string) members {
	_, rest, _ := strings.Cut(compact, ".")
	payload, _, _ := strings.Cut(rest, ".")
	return segment(payload)
}

func segment(text string) members {
	o := members{}
	data, _ := base64.RawURLEncoding.DecodeString(text)
	_ = json.Unmarshal(data, &o)
	return o
}

// refusedBy returns the check that refused, as an answer for a client under test has it.
func (e *exchange) refusedBy() string {
	if e.status < http.StatusBadRequest {
		return ""
	}
	text, _ := e.object()["error_description"].(string)
	name, _, _ := strings.Cut(text, ":")
	return name
}

// edited changes the plain metadata.
func edited(change func(members)) fault {
	return func(e *exchange, next func()) {
		next()
		if e.at(metadataPath) && e.status == http.StatusOK {
			o := e.object()
			change(o)
			e.set(e.status, o)
		}
	}
}

// with sets a member of the plain metadata; nil removes it.
func with(name string, value any) fault {
	return edited(func(o members) { put(o, name, value) })
}

func put(o members, name string, value any) {
	o[name] = value
	if value == nil {
		delete(o, name)
	}
}

// lacks is a destination without some checks of ours: what they refuse is accepted. when,
// if not nil, narrows that to some documents.
func lacks(path string, when func(header, claims members) bool, checks ...string) fault {
	return func(e *exchange, next func()) {
		next()
		if !e.at(path) {
			return
		}
		refused := e.refusedBy()
		for _, c := range checks {
			if refused != c && (!strings.HasSuffix(c, ".") || !strings.HasPrefix(refused, c)) {
				continue
			}
			if header, claims := e.document(); when == nil || when(header, claims) {
				e.accept()
			}
			return
		}
	}
}

// accept answers as if the request were good.
func (e *exchange) accept() {
	if e.at(registerPath) {
		_, claims := e.document()
		claims["client_id"] = "accepted"
		e.set(http.StatusCreated, claims)
		return
	}

	e.header.Set("Cache-Control", "no-store")
	e.set(http.StatusOK, members{
		"access_token": "accepted",
		"token_type":   "Bearer",
		"expires_in":   300,
		"scope":        "system/Patient.rs",
	})
}

// answering changes the good answers of an endpoint.
func answering(path string, change func(*exchange, members)) fault {
	return func(e *exchange, next func()) {
		next()
		if e.at(path) && e.status/100 == 2 {
			o := e.object()
			status := e.status
			change(e, o)
			if e.status == status || e.status/100 == 2 {
				e.set(e.status, o)
			}
		}
	}
}

// asks is a fault of requests to an endpoint in which a parameter has a value.
func asks(path, parameter, value string, then func(*exchange)) fault {
	return func(e *exchange, next func()) {
		next()
		if e.at(path) && e.form().Get(parameter) == value {
			then(e)
		}
	}
}
