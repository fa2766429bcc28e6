package fhir

import (
	"net/http"
	"strconv"
	"strings"
)

// formats maps the values of _format and Accept to what is written.
var formats = map[string]string{
	"json": "json", "application/json": "json", "application/fhir+json": "json", "text/json": "json",
	"html": "html", "text/html": "html", "application/json+fhir": "json", "*/*": "json", "application/*": "json",
	"text/*": "json",
}

// form is how an answer is written: as FHIR JSON, or as a page for a person.
type form struct {
	html      bool
	versioned bool // fhirVersion was asked for, and is told
}

// negotiate chooses the form of the answer: _format wins over Accept (R4 http
// 3.1.0.1.11). Nothing acceptable is 406.
func (r *request) negotiate() (err error) {
	r.form, err = chooseForm(r.header.Values("Accept"), r.get("_format"))
	return err
}

func chooseForm(accept []string, format string) (form, error) {
	if format != "" {
		media, params, _ := strings.Cut(format, ";")
		media = strings.ReplaceAll(strings.TrimSpace(media), " ", "+") // a plus that was sent unescaped
		if f, ok := mediaForm(media + ";" + params); ok {
			return f, nil
		}

		return form{}, notAcceptable()
	}

	var best form
	bestQ, asked := 0.0, false
	for _, line := range accept {
		for _, one := range strings.Split(line, ",") {
			if strings.TrimSpace(one) == "" {
				continue // an empty list accepts what an absent one does
			}

			asked = true
			if f, ok := mediaForm(one); ok {
				if q := quality(one); q > bestQ {
					best, bestQ = f, q
				}
			}
		}
	}

	if asked && bestQ == 0 {
		return form{}, notAcceptable()
	}
	return best, nil
}

func notAcceptable() *failure {
	return fail(http.StatusNotAcceptable, "not-supported",
		"The server writes application/fhir+json of FHIR 4.0, and text/html for people.")
}

// mediaForm reads one media type; one that asks for another FHIR version is
// not ours.
func mediaForm(s string) (f form, ok bool) {
	parts := strings.Split(strings.ToLower(s), ";")
	for _, p := range parts[1:] {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.TrimSpace(k) != "fhirversion" {
			continue
		}
		if v = strings.Trim(strings.TrimSpace(v), `"`); v != "4.0" && v != "4.0.1" {
			return form{}, false
		}
		f.versioned = true
	}

	name, ok := formats[strings.TrimSpace(parts[0])]
	f.html = name == "html"
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

// inUTF8 reports whether a Content-Type names no other character set than that
// of FHIR (R4 http 3.1.0.1.11).
func inUTF8(contentType string) bool {
	for _, p := range strings.Split(contentType, ";")[1:] {
		k, v, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(k), "charset") {
			v = strings.Trim(strings.TrimSpace(v), `"`)
			return strings.EqualFold(v, "utf-8") || strings.EqualFold(v, "utf8") ||
				strings.EqualFold(v, "us-ascii")
		}
	}

	return true
}

// bodyType refuses a body of a type that an interaction does not accept.
func bodyType(header http.Header, allowed ...string) error {
	ct := header.Get("Content-Type")
	media, _, _ := strings.Cut(ct, ";")
	media = strings.ToLower(strings.TrimSpace(media))

	for _, a := range allowed {
		if media == a && inUTF8(ct) {
			if _, ok := mediaForm(ct); ok || !strings.Contains(strings.ToLower(ct), "fhirversion") {
				return nil
			}
		}
	}

	return fail(http.StatusUnsupportedMediaType, "not-supported",
		"The body must be one of "+strings.Join(allowed, ", ")+".")
}
