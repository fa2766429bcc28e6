package fhir

import (
	"maps"
	"net/http"
	"strconv"
	"time"

	"fhirdest.example/fhir/view"
)

const jsonType = "application/fhir+json; charset=utf-8"

// response is an answer before it is written: nothing in it points into the
// store.
type response struct {
	status      int
	body        []byte
	contentType string // "" for FHIR JSON
	version     uint64 // for ETag; 0 for none
	modified    time.Time
	location    string
	header      http.Header // further headers
	wrote       bool        // something was stored
	failed      *failure    // why an entry failed
	file        *File       // instead of a body
}

func (resp *response) write(w http.ResponseWriter, r *http.Request) {
	if resp.file != nil {
		resp.file.serve(w, r)
		return
	}

	h := w.Header()
	for k, v := range resp.header {
		h[k] = v
	}

	if resp.version > 0 {
		h.Set("ETag", etag(resp.version))
	}
	if !resp.modified.IsZero() {
		h.Set("Last-Modified", resp.modified.UTC().Format(http.TimeFormat))
	}

	if resp.location != "" {
		h.Set("Location", resp.location)
	}
	if resp.body != nil {
		if resp.contentType == "" {
			resp.contentType = jsonType
		}
		h.Set("Content-Type", resp.contentType)
	}

	if resp.status != http.StatusNoContent && resp.status != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(resp.body)))
	}
	w.WriteHeader(resp.status)
	if r.Method != http.MethodHead && resp.body != nil && resp.status != http.StatusNotModified {
		w.Write(resp.body)
	}
}

// answer is a failure as a response.
func (f *failure) response() *response {
	resp := &response{
		status: f.status,
		body:   outcome(f.issues),
		header: http.Header{},
	}
	maps.Copy(resp.header, f.header)
	if f.www != "" {
		resp.header.Set("WWW-Authenticate", f.www)
	}

	if f.allow != "" {
		resp.header.Set("Allow", f.allow)
	}
	if f.retry > 0 {
		resp.header.Set("Retry-After", strconv.Itoa(f.retry))
	}

	if f.trace != "" {
		resp.header.Set("Trace-Id", f.trace)
	}
	return resp
}

// commonHeaders go with every answer: health data is for its asker alone, and
// nothing in it may run in a browser.
func commonHeaders(h http.Header) {
	for k, v := range common {
		h[k] = v
	}
}

// common is shared by all answers: a header that differs is set, never added
// to.
var common = http.Header{
	"Cache-Control":           {"no-store"},
	"X-Content-Type-Options":  {"nosniff"},
	"Content-Security-Policy": {"sandbox; default-src 'none'"},
	"Vary":                    {"Accept, Authorization, Origin, Prefer"},
}

// resourceURL is the URL of a resource under the public base.
func (s *core) resourceURL(typ, id string) string {
	return s.PublicBase + "/" + typ + "/" + id
}

func (s *core) versionURL(typ, id string, version uint64) string {
	return s.resourceURL(typ, id) + "/_history/" + strconv.FormatUint(version, 10)
}

// asPage turns an answer in FHIR JSON into a page for a person. What cannot be
// shown stays JSON.
func (s *Service) asPage(h http.Header, resp *response) {
	page, err := view.Page(s.PublicBase, resp.body)
	if err != nil {
		return
	}
	resp.body, resp.contentType = page, view.MediaType
	h.Set("Content-Security-Policy", view.Policy)
}
