package lab

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// at is what a request target leads to.
type at struct {
	lab   bool   // it is below the lab, of whatever session
	live  *live  // the session; nil: none that there is
	plain bool   // it is below the destination's own base or issuer
	id    string // first segment below the lab
	rest  string // what follows it, as it was sent, without query
}

// bases are the paths below which the lab and the destination are, without a slash at
// the end.
type bases struct {
	labs  []string // of the lab, under the public and the private site
	plain []string // of the destination's own base and issuer
	hosts []string // as Host fields may write them
}

func newBases(cfg Config) bases {
	var b bases
	for _, site := range []string{cfg.Public, cfg.Private} {
		u, err := url.Parse(site)
		if err != nil {
			continue
		}

		b.labs = append(b.labs, u.EscapedPath()+"/lab")
		b.hosts = append(b.hosts, u.Host, strings.TrimSuffix(u.Host, ":443"))
		if u.Port() == "" {
			b.hosts = append(b.hosts, u.Host+":443")
		}

		for _, own := range []string{cfg.Plain, cfg.Own} {
			if rest, ok := strings.CutPrefix(own, cfg.Public); ok {
				b.plain = append(b.plain, u.EscapedPath()+rest)
			}
		}
	}

	return b
}

// locate finds out where a request target leads, from its bytes alone.
func (s *Service) locate(target string) at {
	path := pathOf(target)
	if rest, ok := strings.CutPrefix(path, "/.well-known/"); ok {
		// RFC 8414 3: the path of an issuer follows the name of the document.
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			path = rest[i:]
		}
	}

	for _, base := range s.bases.labs {
		below, ok := strings.CutPrefix(path, base+"/")
		if !ok {
			continue
		}

		id, _, _ := strings.Cut(below, "/")
		found := at{
			lab:  true,
			id:   id,
			rest: below[len(id):],
		}

		if l, err := s.find(id); err == nil {
			found.live = l
		}
		return found
	}

	for _, base := range s.bases.plain {
		if rest, ok := strings.CutPrefix(path, base); ok && (rest == "" || rest[0] == '/') {
			l, err := s.find(Plain)
			return at{
				live:  l,
				plain: err == nil,
				rest:  rest,
			}
		}
	}

	return at{}
}

// pathOf returns the path of a request target as it was sent.
func pathOf(target string) string {
	path, _, _ := strings.Cut(target, "?")
	if _, rest, absolute := strings.Cut(path, "://"); absolute && path[0] != '/' {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			return rest[i:]
		}
		return "/"
	}
	return path
}

// Pages returns the handler of the lab's pages for people, below the path of the lab.
// missing answers what is no page.
type Pages func(missing http.Handler) http.Handler

// Handler returns the handler of the public listener: next, the destination's own, with
// the lab below it. What is below no session goes to next, which knows no such path.
func (s *Service) Handler(next http.Handler, pages Pages) http.Handler {
	h := &handler{
		Service: s,
		next:    next,
		pages:   http.HandlerFunc(http.NotFound),
	}
	h.pages = pages(http.HandlerFunc(h.missing))
	return h
}

type handler struct {
	*Service
	next  http.Handler
	pages http.Handler
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found := h.locate(r.RequestURI)
	switch {
	case found.plain:
		h.captured(h.next, w, r)
	case !found.lab:
		h.next.ServeHTTP(w, r)
	case found.live != nil && h.site(found.rest):
		h.serveSession(found, w, r)
	case !slices.Contains(h.bases.hosts, strings.ToLower(r.Host)) || r.RequestURI[0] != '/':
		h.missing(w, r)

	case found.id == Plain && h.cfg.Settings.Open != "public":
		h.next.ServeHTTP(w, r)
	default:
		h.page(w, r)
	}
}

// site reports whether the rest of a path is below the bases of a session's site.
func (h *handler) site(rest string) bool {
	for _, base := range []string{"/fhir", "/oauth"} {
		if below, ok := strings.CutPrefix(rest, base); ok && (below == "" || below[0] == '/') {
			return true
		}
	}
	return false
}

// page serves a page, under the path of the public site.
func (h *handler) page(w http.ResponseWriter, r *http.Request) {
	public := h.bases.labs[0]
	if private := h.bases.labs[1]; private != public && strings.HasPrefix(r.URL.Path, private+"/") {
		u := *r.URL
		u.Path = public + strings.TrimPrefix(r.URL.Path, private)
		u.RawPath = ""
		clone := r.WithContext(r.Context())
		clone.URL = &u
		r = clone
	}

	c := captureOf(r)
	c.begin(false)
	defer c.done()
	h.pages.ServeHTTP(w, r)
}

// missing answers what is no page: the session's own site, which has nothing there
// either, or the destination.
func (h *handler) missing(w http.ResponseWriter, r *http.Request) {
	found := h.locate(r.RequestURI)
	if found.live == nil || found.id == Plain {
		h.next.ServeHTTP(w, r)
		return
	}
	h.serveSession(found, w, r)
}

// serveSession serves a request by the site of a session.
func (h *handler) serveSession(found at, w http.ResponseWriter, r *http.Request) {
	if found.id == Plain {
		h.next.ServeHTTP(w, r)
		return
	}

	l := found.live
	release, err := h.sites.acquire(l)
	if err != nil {
		h.unavailable(w, l, err)
		return
	}
	defer release()

	h.captured(l.faulty(l.place.site), w, r)
}

// captured serves a captured request.
func (h *handler) captured(by http.Handler, w http.ResponseWriter, r *http.Request) {
	c := captureOf(r)
	c.begin(true)
	defer c.done()
	by.ServeHTTP(w, r)
}

// unavailable answers for a session whose site is not to be had now.
func (h *handler) unavailable(w http.ResponseWriter, l *live, err error) {
	h.cfg.Log.Warn("a session of the lab has no site", "session", l.state().ID[:4], "cause", err)
	w.Header().Set("Retry-After", "1")
	fail(w, http.StatusServiceUnavailable, "the session is not ready; try again in a moment")
}

// fail answers an error of the lab itself, in the form of OAuth's.
func fail(w http.ResponseWriter, status int, text string) {
	code := "invalid_request"
	if status >= http.StatusInternalServerError {
		code = "temporarily_unavailable"
	}

	dress(w.Header())
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":%q,"error_description":%q}`, code, text)
}

// dress sets the headers of every answer of the lab itself.
func dress(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Strict-Transport-Security", "max-age=31536000")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

// plainPerMinute bounds how many exchanges of the destination's own base are kept.
const plainPerMinute = 6000
