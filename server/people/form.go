package people

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
)

// Bounds of a form.
const (
	maxForm   = 256 << 10 // bytes
	maxFields = 600
)

// form is what a page of ours sent, or the query of a URL.
type form struct{ url.Values }

// one returns a field that is there once.
func (f form) one(name string) string {
	if v := f.Values[name]; len(v) == 1 {
		return v[0]
	}
	return ""
}

// readForm reads the form of a POST. It is refused unless a page of this server
// sent it: see sameOrigin.
func (s *shell) readForm(w http.ResponseWriter, r *http.Request, tr *trace.Trace) (form, error) {
	if found, ok := s.sameOrigin(r); !ok {
		return form{}, s.refuseForm(tr, http.StatusForbidden, "Origin: "+s.origin, found,
			"send the form from the page that has it", nil)
	}

	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" || r.URL.RawQuery != "" {
		return form{}, s.refuseForm(tr, http.StatusForbidden, "a form as this server's pages send it",
			"another media type, or a query in the URL", "send the form from the page that has it", nil)
	}

	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	err = r.ParseForm()
	var long *http.MaxBytesError
	fields := 0
	for _, values := range r.PostForm {
		fields += len(values)
	}

	switch {
	case errors.As(err, &long) || fields > maxFields:
		w.Header().Set("Connection", "close")
		return form{}, s.refuseForm(tr, http.StatusRequestEntityTooLarge,
			fmt.Sprintf("at most %d bytes and %d fields", maxForm, maxFields), "more", "", nil)
	case err != nil:
		return form{}, s.refuseForm(
			tr,
			http.StatusBadRequest,
			"a well-formed form",
			"another",
			"",
			err,
		)
	}

	return form{r.PostForm}, nil
}

// sameOrigin asks for the proof that a page of this server sent a form. Browsers
// write who did into Sec-Fetch-Site, which no page can set; Origin is then ours,
// or null because of our Referrer-Policy. Without that field Origin itself must
// name us: other sites cannot forge it, and its absence proves nothing.
func (s *shell) sameOrigin(r *http.Request) (found string, ok bool) {
	origins := r.Header["Origin"]
	if len(origins) > 1 {
		return "two Origin fields", false
	}

	origin, from := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	switch from {
	case "same-origin", "none": // none: the person reloads a page of a form
		ok = origin == s.origin || origin == "null" || origin == ""
	case "":
		ok = origin == s.origin
	}

	return fmt.Sprintf("Origin %q, Sec-Fetch-Site %q", origin, from), ok
}

func (s *shell) refuseForm(tr *trace.Trace, status int, expected, found, remedy string, err error) error {
	return &oauth.Refusal{
		Of: tr.Refuse(checkForm, trace.InvalidRequest, trace.Finding{
			Expected: expected,
			Found:    found,
			Remedy:   remedy,
			Err:      err,
		}),
		Status: status,
	}
}

// outdated notes that a form's token is not that of its page in this browser:
// what it asks for is not done, and the page is shown again.
func outdated(tr *trace.Trace) {
	tr.Refuse(checkForm, trace.InvalidRequest, trace.Finding{
		Expected: "the token of a page that was shown in this browser, about the same",
		Found:    "another",
		Remedy:   "the page is shown again",
	})
}
