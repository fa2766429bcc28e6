package fhir

import (
	"net/http"
	"slices"
)

// cors lets pages of the listed origins ask, and nobody's credentials travel by
// themselves: tokens are put in by the page. What is open to anybody is open
// to any page.
func (s *Service) cors(h http.Header, r *http.Request, open bool) {
	origin := r.Header.Get("Origin")
	switch {
	case open:
		h.Set("Access-Control-Allow-Origin", "*")
	case origin != "" && slices.Contains(s.Origins, origin):
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers",
			"ETag, Location, Content-Location, Last-Modified, X-Request-Id, X-Progress, Expires, Retry-After, "+
				"Trace-Id, WWW-Authenticate, DPoP-Nonce")
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Headers",
				"Authorization, DPoP, Content-Type, Accept, Prefer, If-Match, If-None-Match, If-None-Exist, "+
					"If-Modified-Since, X-Request-Id")
		}
	}
}

// options answers what a path can do, to anybody: the answer does not depend on data.
func (s *Service) options(h http.Header, r *http.Request, segs []string) (*response, error) {
	methods, ok := s.routes[shape(segs)]
	open := isMetadata(segs)
	if !ok && !open {
		return nil, fail(
			http.StatusNotFound,
			"not-found",
			"There is nothing under this path.",
		)
	}

	allow := "GET, HEAD"
	if !open {
		allow = allowed(methods)
		if len(segs) > 0 && readOnly[segs[0]] {
			allow = readingOnly
		}
	}

	h.Set("Allow", allow+", OPTIONS")
	s.cors(h, r, open)
	if h.Get("Access-Control-Allow-Origin") != "" {
		h.Set("Access-Control-Allow-Methods", allow)
	}

	return &response{status: http.StatusNoContent}, nil
}

func isMetadata(segs []string) bool {
	return len(segs) == 1 && segs[0] == "metadata"
}
