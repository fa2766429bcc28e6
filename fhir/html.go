package fhir

import (
	"net/http"
	"strings"

	"fhirdest.example/fhir/view"
)

// wantsHTML tells whether a person's browser asks: _format=html, or text/html
// before JSON in Accept.
func wantsHTML(r *http.Request) bool {
	_, rawQuery := rawTarget(r)
	if !strings.Contains(rawQuery, "html") && !strings.Contains(r.Header.Get("Accept"), "html") {
		return false // nearly every request
	}
	format := ""
	if query, err := parseQuery(rawQuery); err == nil {
		format = (&request{query: query}).get("_format")
	}
	form, err := negotiate(r, format)
	return err == nil && form == "html"
}

// asPage turns an answer in FHIR JSON into a page for a person. What cannot be
// shown stays JSON.
func (s *service) asPage(h http.Header, resp *response) {
	page, err := view.Page(s.PublicBase, resp.body)
	if err != nil {
		return
	}
	resp.body, resp.contentType = page, view.MediaType
	h.Set("Content-Security-Policy", view.Policy)
}
