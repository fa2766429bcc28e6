package narrative

import "strings"

// Relink returns div with the links that f changes, those of href and src, put
// in place of what is there; f gets each link decoded and returns what becomes
// of it. All other bytes stay. A div that Check refuses is returned as it is.
func Relink(div string, f func(link string) string) string {
	var out strings.Builder
	at := 0
	s := scanner{src: div, link: func(from, to int, value string) {
		if now := f(value); now != value {
			out.WriteString(div[at:from])
			out.WriteString(escaper.Replace(now))
			at = to
		}
	}}

	if s.document() != nil {
		return div
	}

	out.WriteString(div[at:])
	return out.String()
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", `"`, "&quot;", "'", "&apos;")
