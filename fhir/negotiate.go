package fhir

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"fhirdest.example/fhir/xml"
)

// format is a way to write a resource.
type format int

const (
	inJSON format = iota
	inXML
	inHTML // a page for a person
)

// formats are the values of _format, and the media types of Accept and
// Content-Type, with what they name (R4 http 3.1.0.1.11).
var formats = map[string]format{
	"json":                  inJSON,
	"application/json":      inJSON,
	"application/fhir+json": inJSON,
	"application/json+fhir": inJSON, // DSTU2
	"text/json":             inJSON,

	"xml":                  inXML,
	"application/xml":      inXML,
	"application/fhir+xml": inXML,
	"application/xml+fhir": inXML, // DSTU2
	"text/xml":             inXML,

	"html":      inHTML,
	"text/html": inHTML,
}

// ranges are the ranges of media types with the formats in them, the server's
// preference first.
var ranges = map[string][]format{
	"*/*":           {inJSON, inXML, inHTML},
	"application/*": {inJSON, inXML},
	"text/*":        {inJSON, inXML, inHTML},
}

// form is how an answer is written.
type form struct {
	format    format
	versioned bool // fhirVersion was asked for, and is named
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
		if list, f, _ := mediaForms(media + ";" + params); len(list) > 0 {
			f.format = list[0]
			return f, nil
		}

		return form{}, notAcceptable()
	}

	var offers [inHTML + 1]offer
	place := 0
	for _, line := range accept {
		for _, one := range strings.Split(line, ",") {
			if strings.TrimSpace(one) == "" {
				continue // an empty list accepts what an absent one does
			}

			list, f, exact := mediaForms(one)
			for _, f.format = range list {
				offers[f.format].improve(offer{f, exact, quality(one), place})
				place++
			}

			place++
		}
	}

	if place == 0 {
		return form{}, nil
	}

	best := slices.MinFunc(offers[:], compareOffers)
	if best.quality == 0 {
		return form{}, notAcceptable()
	}
	return best.form, nil
}

// offer is a form with how much the client likes it.
type offer struct {
	form
	exact   int // how exactly it was named; 0 for not at all
	quality float64
	place   int // among all that were named
}

// improve keeps the more exact one of two entries for a format (RFC 9110 12.5.1),
// and the one of higher quality where both are as exact.
func (o *offer) improve(other offer) {
	if other.exact > o.exact || other.exact == o.exact && other.quality > o.quality {
		*o = other
	}
}

// compareOffers puts first what is liked better; among equals what was named more
// exactly, then what was named first.
func compareOffers(a, b offer) int {
	return cmp.Or(
		cmp.Compare(b.quality, a.quality),
		cmp.Compare(b.exact, a.exact),
		cmp.Compare(a.place, b.place),
	)
}

func notAcceptable() *failure {
	return fail(http.StatusNotAcceptable, "not-supported",
		"The server writes application/fhir+json and application/fhir+xml of FHIR 4.0, and text/html for people.")
}

// mediaForms reads a media type or a range of them: the formats that it names, and
// how exactly. One that asks for another FHIR version names none.
func mediaForms(s string) (list []format, f form, exact int) {
	media, more, _ := strings.Cut(strings.ToLower(s), ";")
	for p := range strings.SplitSeq(more, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.TrimSpace(k) != "fhirversion" {
			continue
		}
		if v = strings.Trim(strings.TrimSpace(v), `"`); v != "4.0" && v != "4.0.1" {
			return nil, form{}, 0
		}
		f.versioned = true
	}

	media = strings.TrimSpace(media)
	if one, ok := formats[media]; ok {
		return []format{one}, f, 3
	}
	if media == "*/*" {
		return ranges[media], f, 1
	}

	return ranges[media], f, 2
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
	if slices.Contains(allowed, mediaOf(header)) && inUTF8(ct) && ofR4(ct) {
		return nil
	}
	return fail(http.StatusUnsupportedMediaType, "not-supported",
		"The body must be one of "+strings.Join(allowed, ", ")+".")
}

// ofR4 reports whether a media type names no other version of FHIR.
func ofR4(media string) bool {
	_, params, _ := strings.Cut(media, ";")
	list, _, _ := mediaForms("json;" + params)
	return len(list) > 0
}

// mediaOf is the media type of a body, without its parameters.
func mediaOf(header http.Header) string {
	media, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// resourceTypes are the media types of a body that holds a resource.
var resourceTypes = []string{
	"application/fhir+json",
	"application/json",
	"text/json",
	"application/json+fhir",
	"application/fhir+xml",
	"application/xml",
	"text/xml",
	"application/xml+fhir",
}

// resourceBody returns the JSON of a body that holds a resource: a body in XML
// becomes the JSON that R4 maps it to, which is then what counts.
func (r *request) resourceBody() ([]byte, error) {
	if err := bodyType(r.header, resourceTypes...); err != nil {
		return nil, err
	}
	if formats[mediaOf(r.header)] == inXML {
		return xml.Read(r.body)
	}
	return r.body, nil
}
