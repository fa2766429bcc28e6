package fhir

import (
	"errors"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	"fhirdest.example/fhir/view"
	"fhirdest.example/fhir/xml"
)

// The media types of answers in FHIR's formats.
const (
	jsonType = "application/fhir+json; charset=utf-8"
	xmlType  = "application/fhir+xml; charset=utf-8"
)

// response is an answer before it is written: nothing in it points into the
// store.
type response struct {
	status      int
	body        []byte
	contentType string // "" for FHIR JSON
	tag         string // ETag; "" for none
	modified    time.Time
	location    string
	header      http.Header // further headers
	wrote       bool        // something was stored
	failed      *failure    // why an entry failed
	file        *File       // instead of a body
	buffer      *[]byte     // of bodies: holds the body; nil if no buffer is used again
}

// bodies are buffers of answers, each for one request at a time.
var bodies = sync.Pool{New: func() any {
	return new([]byte)
}}

// maxKeptBody bounds a buffer that is kept for another answer, in bytes.
const maxKeptBody = 64 << 10

// copyBody gives an answer a copy of a body that points into the store, in a buffer
// that release gives back.
func (resp *response) copyBody(body []byte) {
	buffer := bodies.Get().(*[]byte)
	*buffer = append((*buffer)[:0], body...)
	resp.buffer = buffer
	resp.body = *buffer
}

// release ends the use of an answer that was written.
func (resp *response) release() {
	if resp.buffer != nil && cap(*resp.buffer) <= maxKeptBody {
		bodies.Put(resp.buffer)
	}
	resp.buffer = nil
	resp.body = nil
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

	if resp.tag != "" {
		h.Set("ETag", resp.tag)
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

// dress gives an answer in FHIR JSON the form that was asked for. What cannot have
// that form stays JSON, and names that; an error is one that the server is to blame
// for.
func (r *request) dress(base string, h http.Header, resp *response) (err error) {
	resp.contentType = jsonType
	switch lines := r.get("_pretty") == "true"; {
	case r.form.format == inHTML:
		if page, err := view.Page(base, resp.body); err == nil {
			resp.body = page
			resp.contentType = view.MediaType
			h.Set("Content-Security-Policy", view.Policy)
			return nil
		}

	case r.form.format == inXML:
		var doc []byte
		doc, err = xml.Write(resp.body, xml.Options{
			Pretty: lines,
			Limit:  maxXML,
		})
		if err == nil {
			resp.body = doc
			resp.contentType = xmlType
		}

	case lines:
		resp.body = pretty(resp.body)
	}

	if r.form.versioned {
		resp.contentType += "; fhirVersion=4.0"
	}
	if errors.Is(err, xml.ErrTooLong) {
		err = nil
	}

	return err
}

// maxXML bounds an answer in XML, which is a little longer than in JSON, unless it
// is made of nothing but short values.
const maxXML = 3 * maxAnswer

// Represent gives an answer in FHIR JSON, made outside this package, the form that
// its request asks for, and returns it with its media type.
func Represent(r *http.Request, body []byte) (represented []byte, mediaType string) {
	_, rawQuery := rawTarget(r)
	req := &request{header: r.Header}
	_ = req.readURL(rawQuery) // what is not understood is answered in JSON
	if req.form.format == inHTML {
		req.form.format = inJSON
	}

	resp := &response{body: body}
	_ = req.dress("", nil, resp) // stays JSON
	return resp.body, resp.contentType
}
