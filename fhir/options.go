package fhir

import (
	"net/http"
)

// options answers what a path can do, to anybody: the answer does not depend on data.
func (s *Service) options(h http.Header, segs []string) (*response, error) {
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
	return &response{status: http.StatusNoContent}, nil
}

func isMetadata(segs []string) bool {
	return len(segs) == 1 && segs[0] == "metadata"
}
