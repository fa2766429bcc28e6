package fhir

import (
	"net/http"
	"strconv"
	"strings"
)

// formats maps what _format and Accept may say to what is written.
var formats = map[string]string{
	"json": "json", "application/json": "json", "application/fhir+json": "json", "text/json": "json",
	"html": "html", "text/html": "html", "application/json+fhir": "json", "*/*": "json", "application/*": "json", "text/*": "json",
}

// negotiate chooses the form of the answer: _format wins over Accept (R4 http
// 3.1.0.1.11). Nothing acceptable is 406.
func negotiate(r *http.Request, format string) (string, error) {
	if format != "" {
		if f, ok := mediaFormat(strings.ReplaceAll(format, " ", "+")); ok {
			return f, nil
		}
		return "", notAcceptable()
	}
	accept := r.Header.Values("Accept")
	if len(accept) == 0 || len(accept) == 1 && accept[0] == "application/fhir+json" {
		return "json", nil
	}
	best, bestQ := "", 0.0
	for _, one := range strings.Split(strings.Join(accept, ","), ",") {
		if f, ok := mediaFormat(one); ok {
			if q := quality(one); q > bestQ {
				best, bestQ = f, q
			}
		}
	}
	if best == "" {
		return "", notAcceptable()
	}
	return best, nil
}

func notAcceptable() *failure {
	return fail(http.StatusNotAcceptable, "not-supported", "The server writes application/fhir+json of FHIR 4.0, and text/html for people.")
}

// mediaFormat reads one media type; one that asks for another FHIR version is
// not ours.
func mediaFormat(s string) (string, bool) {
	parts := strings.Split(strings.ToLower(s), ";")
	for _, p := range parts[1:] {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		if k == "fhirversion" && strings.Trim(v, `"`) != "4.0" && strings.Trim(v, `"`) != "4.0.1" {
			return "", false
		}
	}
	f, ok := formats[strings.TrimSpace(parts[0])]
	return f, ok
}

func quality(s string) float64 {
	for _, p := range strings.Split(s, ";")[1:] {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(k, "q") {
			q, err := strconv.ParseFloat(v, 64)
			if err != nil || q < 0 || q > 1 {
				return 0
			}
			return q
		}
	}
	return 1
}

// bodyType says whether a request's body is of a type that an interaction
// takes.
func bodyType(header http.Header, allowed ...string) error {
	ct := header.Get("Content-Type")
	media, _, _ := strings.Cut(ct, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	for _, a := range allowed {
		if media == a {
			if _, ok := mediaFormat(ct); ok || !strings.Contains(strings.ToLower(ct), "fhirversion") {
				return nil
			}
		}
	}
	return fail(http.StatusUnsupportedMediaType, "not-supported", "The body must be one of "+strings.Join(allowed, ", ")+".")
}
