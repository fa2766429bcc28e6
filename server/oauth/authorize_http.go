package oauth

import (
	"errors"
	"net/http"

	"fhirdest.example/udap/trace"
)

// authorizeHandler is the HTTP shell of the authorization endpoint: GET with the
// parameters in the query, or POST with them in a form (RFC 6749 3.1).
func (s shell) authorizeHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tr := s.cfg.newTrace("authorize")
		tr.Address = PeerAddress(r)
		defer s.Record(tr)
		defer tr.Detach() // from a query that may be long

		w.Header().Set("Trace-Id", tr.ID)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("X-Content-Type-Options", "nosniff")

		query, err := s.authorizeQuery(w, r, tr)
		var req *AuthorizationRequest
		if err == nil {
			req, err = s.ParseAuthorization(r.Context(), query, tr)
		}

		var redirect *RedirectRefusal
		switch {
		case err == nil:
			s.cfg.Interaction.Authorize(w, r, req)
		case errors.As(err, &redirect):
			SeeOther(w, redirect.Location)
		default:
			s.cfg.Interaction.Refuse(w, r, RefusalOf(err), tr)
		}
	})
}

// authorizeQuery returns the parameters of an authorization request, encoded.
func (s shell) authorizeQuery(w http.ResponseWriter, r *http.Request, tr *trace.Trace) (string, error) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if err := limited(tr, s.limits.address, "address", s.address(r), tr.Time); err != nil {
			return "", err
		}
		return r.URL.RawQuery, nil

	case http.MethodPost:
		e := endpoint{
			mediaType: formType,
			limit:     maxAuthorizeBody,
		}
		charset, err := s.checkHead(e, r, tr)
		if err != nil {
			return "", err
		}

		c := &call{
			r:     r,
			trace: tr,
		}
		if err := c.readBody(e, w); err != nil {
			return "", err
		}
		return c.body.String(), checkCharset(charset, c.body.Bytes(), tr)
	}

	return "", &Refusal{
		Of: tr.Refuse(checkMethod, trace.InvalidRequest, trace.Finding{
			Expected: "GET or POST",
			Found:    r.Method,
		}),
		Status: http.StatusMethodNotAllowed,
		Header: http.Header{"Allow": {"GET, HEAD, POST"}},
	}
}

// maxAuthorizeBody bounds the form of an authorization request, in bytes.
const maxAuthorizeBody = 64 << 10

// SeeOther redirects a browser to a URL of this server's own making, always by GET
// (RFC 9700 4.12: never 307).
func SeeOther(w http.ResponseWriter, location string) {
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}
