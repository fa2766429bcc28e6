// Package look has the visual language of every page: one style sheet, and the
// template functions and parts that write verdicts, digests and times alike.
package look

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"html/template"
	"net/http"
	"regexp"
	"strconv"
)

//go:embed look.css
var source string

//go:embed parts.html
var parts string

// sheet is the style sheet as it is sent.
var sheet = compact(source)

// version changes with the style sheet.
var version = func() string {
	sum := sha256.Sum256([]byte(sheet))
	return hex.EncodeToString(sum[:6])
}()

var (
	comments = regexp.MustCompile(`(?s)/\*.*?\*/`)
	breaks   = regexp.MustCompile(`\s*\n\s*`)
)

// compact returns a style sheet without comments and indentation.
func compact(css string) string {
	return breaks.ReplaceAllString(comments.ReplaceAllString(css, ""), "\n")
}

// Sheet returns the style sheet, for a page that must not need another file.
func Sheet() template.CSS {
	return template.CSS(sheet)
}

// Version returns a short text that changes with the style sheet. As a query of
// the sheet's URL it lets browsers keep the sheet.
func Version() string {
	return version
}

// ServeSheet answers with the style sheet. Other fields of the header, above all
// those about security and Cache-Control, are set by its caller before.
func ServeSheet(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}

	h.Set("Content-Type", "text/css; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(sheet)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(sheet)) // the reader is gone
	}
}

// Template returns an empty template that has Funcs and the common parts, to
// which a package adds its own:
//
//	{{template "look-head" "Title"}}   head of a page that needs no other file
//	{{template "look-site" "Name"}}    the mark and the name of the site
//	{{template "look-icon"}}           the mark as the icon of a page that may have links
func Template(name string) *template.Template {
	return template.Must(template.New(name).Funcs(Funcs()).Parse(parts))
}
