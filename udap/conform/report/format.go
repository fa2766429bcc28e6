package report

import (
	"fmt"
	"strings"
)

// formats are the forms of a report by the end of a file's name.
var formats = []struct {
	end    string
	media  string
	render func(*Report) ([]byte, error)
}{
	{".html", "text/html; charset=utf-8", (*Report).HTML},
	{".json", "application/json", (*Report).JSON},
	{".xml", "application/xml", (*Report).JUnit},
	{".svg", "image/svg+xml", (*Report).Badge},
}

// Render returns the report in the form that the end of name asks for (.html,
// .json, .xml for JUnit, or .svg for the badge), and that form's media type.
func (r *Report) Render(name string) (text []byte, media string, err error) {
	for _, f := range formats {
		if strings.HasSuffix(name, f.end) {
			text, err = f.render(r)
			return text, f.media, err
		}
	}
	return nil, "", fmt.Errorf("%q has none of the ends .html, .json, .xml and .svg", name)
}

// Known reports whether Render has a form for the name.
func Known(name string) bool {
	for _, f := range formats {
		if strings.HasSuffix(name, f.end) {
			return true
		}
	}
	return false
}
