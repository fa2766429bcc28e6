package answer

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// point is a kind of answer.
type point string

// The kinds of answers that faults change.
const (
	noPoint      point = ""
	document     point = "document" // the UDAP metadata
	keySet       point = "key set"  // the keys of ID tokens
	registering  point = "register" // what answers a software statement
	redirecting  point = "redirect" // what sends a browser back to its client
	tokens       point = "token"    // what answers a request for tokens
	people       point = "userinfo" // what answers who a person is
	resources    point = "resource" // FHIR, metadata apart
	revokedLists point = "revoked"  // the list of revoked certificates
)

// pointOf returns the kind of answer that a request asks for.
func (w *workshop) pointOf(r *http.Request) point {
	at := w.publicPath(r)
	base, issuer := path(w.Base), path(w.Issuer)
	switch at {
	case base + "/.well-known/udap":
		return document
	case issuer + "/jwks":
		return keySet
	case issuer + "/register":
		return registering
	case issuer + "/token":
		return tokens
	case issuer + "/userinfo":
		return people
	case issuer + revokedPath:
		return revokedLists
	}

	switch {
	case strings.HasPrefix(at, issuer+"/"):
		return redirecting
	case !strings.HasPrefix(at, base+"/"),
		strings.HasPrefix(at, base+"/.well-known/"),
		at == base+"/metadata":
		return noPoint
	}
	return resources
}

// change changes one answer. An error leaves the answer as it was.
type change func(*Message, *workshop) error

// decorator is a handler with a fault.
type decorator struct {
	fault *Fault
	next  http.Handler
	shop  *workshop
	spent atomic.Bool // a fault of one answer has been in it
}

func (d *decorator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead || r.Method == http.MethodOptions {
		d.next.ServeHTTP(w, r)
		return
	}

	at := d.shop.pointOf(r)
	if at == revokedLists {
		d.serveList(w, r)
		return
	}

	if instead := d.fault.instead[at]; instead != nil && d.claim() {
		d.applied(r)
		instead(d.shop).write(w)
		return
	}

	alter := d.fault.changes[at]
	if alter == nil || d.spent.Load() {
		d.next.ServeHTTP(w, r)
		return
	}

	k := &keeper{
		ResponseWriter: w,
		wants: func(status int, h http.Header) bool {
			return wanted(at, status, h)
		},
	}
	d.next.ServeHTTP(k, r)
	d.finish(k, r, alter)
}

// wanted reports whether an answer is one of its kind that went well: others are
// left as they are.
func wanted(at point, status int, h http.Header) bool {
	if at == redirecting {
		return status >= 300 && status < 400 && h.Get("Location") != ""
	}
	return status >= 200 && status < 300
}

// claim reports whether this answer shall have the fault.
func (d *decorator) claim() bool {
	return d.fault.Lasts == UntilCleared || d.spent.CompareAndSwap(false, true)
}

func (d *decorator) applied(r *http.Request) {
	if d.shop.Applied != nil {
		d.shop.Applied(r, d.fault.Name)
	}
}

// finish writes an answer that was kept, changed if it can be.
func (d *decorator) finish(k *keeper, r *http.Request, alter change) {
	if !k.keeps {
		return
	}

	m := &Message{
		Request: r,
		Status:  k.status,
		Header:  k.Header(),
		Body:    k.body,
	}
	altered := &Message{
		Request: r,
		Status:  m.Status,
		Header:  maps.Clone(m.Header),
		Body:    m.Body,
	}
	if alter(altered, d.shop) == nil && d.claim() {
		d.applied(r)
		altered.write(k.ResponseWriter)
		return
	}

	m.send(k.ResponseWriter)
}

// serveList serves the list on which a revoked certificate is.
func (d *decorator) serveList(w http.ResponseWriter, r *http.Request) {
	der, err := d.shop.list()
	if err != nil || der == nil {
		d.next.ServeHTTP(w, r)
		return
	}

	w.Header().Set("Content-Type", "application/pkix-crl")
	w.Header().Set("Content-Length", strconv.Itoa(len(der)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(der) // a client that has gone needs no list
}
