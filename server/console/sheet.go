package console

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode"

	"fhirdest.example/udap/look"
)

// sheet is what an operator hands to originators: the destination's addresses
// and by what they know it. A browser gets a page, for print; without one, or with
// text=1, it is text for mail.
func (c *console) sheet(w http.ResponseWriter, r *http.Request) {
	if wantsHTML(r) && r.URL.Query().Get("text") == "" {
		c.html(w, r, "sheet", c.Ready())
		return
	}

	var b bytes.Buffer
	writeSheet(&b, c.Ready())
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Vary", "Accept")
	write(w, r, http.StatusOK, b.Bytes())
}

func writeSheet(w io.Writer, s Readiness) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-16s%s\n", name, oneLine(value))
		}
	}
	line("FHIR base", s.PublicBase)
	line("Discovery", s.PublicBase+"/.well-known/udap")
	line("Issuer", s.Issuer)

	for _, m := range s.Communities {
		fmt.Fprintln(w)
		line("Community", m.URI)
		line("Name", m.Name)
		line("Profile", m.Profile)
		line("Not served", m.Withheld)

		for _, a := range m.Anchors {
			line("Anchor", a.Subject)
			line("  serial", a.Serial)
			line("  SHA-256", look.Fingerprint(a.Fingerprint))
		}

		for _, own := range m.Certificates {
			line("Our certificate", own.Subject)
			line("  key", own.Key)
			line("  SAN URIs", strings.Join(own.Names, " "))
			line("  SHA-256", look.Fingerprint(own.Fingerprint))
			line("  expires", own.Expires.UTC().Format("2006-01-02"))
		}
	}
}

// oneLine keeps names that others chose on their line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, s)
}
