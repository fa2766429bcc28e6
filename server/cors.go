package server

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"fhirdest.example/certs/netname"
	"fhirdest.example/gateway/complaint"
	"fhirdest.example/udap/trace"
)

// CORS lists whose pages may use this server from a browser. Metadata and discovery
// documents are open to the pages of any origin (SMART App Launch 2.2).
type CORS struct {
	// Origins are as browsers write them, such as https://app.example.org. On a
	// loopback name the port may be *, for any. Empty: no page may use more than
	// metadata.
	Origins []string `yaml:"origins,omitempty"`
}

// anyPort is the port of an origin that has any.
const anyPort = ":*"

// has reports whether the pages of an origin may use this server.
func (c CORS) has(origin string) bool {
	for _, o := range c.Origins {
		if o == origin && !strings.HasSuffix(o, anyPort) {
			return true
		}

		host, any := strings.CutSuffix(o, anyPort)
		port, on := strings.CutPrefix(origin, host)
		if any && on && isPort(port) {
			return true
		}
	}

	return false
}

// isPort reports whether s is nothing, as the default port is written, or a colon
// and a port as browsers write it.
func isPort(s string) bool {
	if s == "" {
		return true
	}

	digits, on := strings.CutPrefix(s, ":")
	n, err := strconv.ParseUint(digits, 10, 16)
	return on && err == nil && n > 0 && strconv.FormatUint(n, 10) == digits
}

// check complains about what no browser would send.
func (c CORS) check(cs *complaint.List) {
	for i, o := range c.Origins {
		remedy := c.fault(o)
		if remedy != "" {
			cs.Add(remedy, "cors.origins[%d]: %q is not an origin as browsers write it", i, o)
		}
	}
}

// fault returns what to write in place of o; it is empty when o is an origin.
func (c CORS) fault(o string) string {
	if o == "*" || o == "null" {
		return "list each origin: pages of every origin could use a token that they got hold of"
	}

	plain, any := strings.CutSuffix(o, anyPort)
	u, err := url.Parse(plain)
	switch {
	case err != nil || u.Host == "" || u.Scheme+"://"+u.Host != plain || strings.ToLower(plain) != plain ||
		strings.Contains(plain, "*"):
		return "write scheme://host or scheme://host:port in lower case and nothing after it, such as " +
			"https://app.example.org"
	case any && (u.Port() != "" || !netname.Loopback(u.Hostname())):
		return "write the port: any port is for the names of this machine only, such as http://localhost:*"
	case u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80":
		return "leave the port out: browsers do not write a scheme's own"

	case u.Scheme != "https" && (u.Scheme != "http" || !netname.Loopback(u.Hostname())):
		return "write an https origin: what others can change on the way must not use tokens"
	}

	return ""
}

// checkOriginListed is the check of a page that asks whether it may use the server.
var checkOriginListed = trace.NewCheck("cors.origin",
	"The page is of an origin that this server lists", "FS-106")

// audience is the pages of other origins that may read an answer.
type audience int

const (
	nobodysPages audience = iota // what people see: sign-in, consent
	listedPages                  // of the origins that are configured
	anyPages                     // of every origin
)

// sharing decides which pages may read an answer, by the path of the request (Fetch
// standard, 3.3). Nothing that it allows has credentials that a browser adds by
// itself: tokens are put into requests by pages.
type sharing struct {
	cors  CORS
	paths map[string]audience // of what is not the FHIR service's
}

// add notes whose pages may read what is at a path of the public site, and of the
// private one.
func (s sharing) add(c Config, publicPath string, of audience) {
	s.paths[publicPath] = of
	s.paths[c.privatePath(publicPath)] = of
}

// Headers of answers that pages may read, and of requests that they may send.
const (
	exposedHeaders = "Content-Location, ETag, Expires, Last-Modified, Location, Retry-After, " +
		"DPoP-Nonce, Trace-Id, WWW-Authenticate, X-Progress, X-Request-Id"
	allowedHeaders = "Accept, Authorization, Cache-Control, Category, Content-Type, DPoP, " +
		"If-Match, If-Modified-Since, If-None-Exist, If-None-Match, If-Unmodified-Since, " +
		"Prefer, Purpose-Of-Use, Range, X-Provenance, X-Request-Id, X-Security-Context"
)

// preflightAge is for how many seconds a browser need not ask again.
const preflightAge = "600"

// share puts on the headers with which a browser lets a page read the answer. They
// are on refusals too: a page must find out why it was refused.
func (f *front) share(h http.Header, r *http.Request) {
	of := f.audience(r)
	if of == listedPages {
		h["Vary"] = byOrigin
	}

	switch origin := originOf(r); {
	case of == anyPages:
		h["Access-Control-Allow-Origin"] = anyOrigin
	case of == listedPages && origin != "" && f.sharing.cors.has(origin):
		h.Set("Access-Control-Allow-Origin", origin)
	default:
		return
	}

	h["Access-Control-Expose-Headers"] = exposed
}

// These values of headers are shared by all answers: they are replaced, never changed.
var (
	byOrigin  = []string{"Origin"}
	anyOrigin = []string{"*"}
	exposed   = []string{exposedHeaders}
)

// audience returns whose pages may read the answer.
func (f *front) audience(r *http.Request) audience {
	of, known := f.sharing.paths[rawPath(r)]
	if !known && f.belowFHIR(r) {
		return listedPages
	}
	return of
}

// originOf returns the origin of the page that asks; empty when none does, or when
// it is not certain which.
func originOf(r *http.Request) string {
	if fields := r.Header["Origin"]; len(fields) == 1 {
		return fields[0]
	}
	return ""
}

// preflight answers a browser that asks what a page may send, and reports whether it
// was that question. It needs no token and reaches nothing but this (Fetch standard,
// 4.8).
func (f *front) preflight(w http.ResponseWriter, r *http.Request) bool {
	of := f.audience(r)
	if r.Method != http.MethodOptions || r.Header.Get("Origin") == "" ||
		r.Header.Get("Access-Control-Request-Method") == "" || of == nobodysPages {
		return false
	}

	h := w.Header()
	if h.Get("Access-Control-Allow-Origin") == "" {
		f.refuseBy(checkOriginListed, trace.Finding{
			Expected: "an origin of cors.origins",
			Found:    clip(r.Header.Get("Origin")),
			Remedy:   "list the origin under cors.origins if its pages are to use this server",
		}, w, r, refusal{http.StatusForbidden, "pages of this origin may not use this server"})
		return true
	}

	methods := "GET, HEAD"
	if of == listedPages {
		methods = "GET, HEAD, POST, PUT, PATCH, DELETE"
		if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
			h.Set("Access-Control-Allow-Private-Network", "true")
		}
	}

	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", allowedHeaders)
	h.Set("Access-Control-Max-Age", preflightAge)
	w.WriteHeader(http.StatusNoContent)
	return true
}
