package fhir

import (
	"net/http"
	"strconv"
	"strings"

	"fhirdest.example/fhir/search"
)

func etag(version uint64) string {
	return `W/"` + strconv.FormatUint(version, 10) + `"`
}

// tags lists what a header of entity tags names, in all its lines (RFC 9110
// 13.1.1 and 13.1.2).
func tags(h http.Header, name string) []string {
	var all []string
	for _, line := range h.Values(name) {
		for _, tag := range strings.Split(line, ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				all = append(all, tag)
			}
		}
	}

	return all
}

// names reports whether a tag is the one wanted, "*" included. All are compared
// weakly; an unquoted version is taken too.
func names(tag, want string) bool {
	return tag == "*" || tag == want || tag == want[2:] || tag == strings.Trim(
		want[2:],
		`"`,
	)
}

func sameTag(tag string, version uint64) bool {
	return names(tag, etag(version))
}

// ifMatch evaluates If-Match: 412 when it names other versions only (R4 http
// 3.1.0.5.2).
func ifMatch(r *request, e Entry) error {
	all := tags(r.header, "If-Match")
	for _, tag := range all {
		if sameTag(tag, e.Version) {
			return nil
		}
	}

	for _, tag := range all {
		if !wellFormedTag(tag) {
			return fail(
				http.StatusBadRequest,
				"value",
				"If-Match is no version of a resource.",
			)
		}
	}

	if len(all) == 0 {
		return nil
	}
	return fail(
		http.StatusPreconditionFailed,
		"conflict",
		"The resource has another version.",
	)
}

func wellFormedTag(tag string) bool {
	return search.ValidID(strings.Trim(strings.TrimPrefix(tag, "W/"), `"`))
}

// nothingToMatch refuses If-Match where there is no version to match.
func nothingToMatch(r *request) error {
	if len(tags(r.header, "If-Match")) == 0 {
		return nil
	}
	return fail(
		http.StatusPreconditionFailed,
		"conflict",
		"There is no current version to match.",
	)
}
