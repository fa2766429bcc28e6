package fhir

import (
	"net/http"

	"fhirdest.example/fhir/view"
)

// asPage turns an answer in FHIR JSON into a page for a person. What cannot be
// shown stays JSON.
func (s *Service) asPage(h http.Header, resp *response) {
	page, err := view.Page(s.PublicBase, resp.body)
	if err != nil {
		return
	}
	resp.body, resp.contentType = page, view.MediaType
	h.Set("Content-Security-Policy", view.Policy)
}
