package look

import (
	"fmt"
	"html/template"
	"strings"
	"time"
	"unicode"

	"fhirdest.example/udap/trace"
)

// Tone is how a verdict is shown: its class in the style sheet.
type Tone string

// The tones.
const (
	Good Tone = "good"
	Warn Tone = "warn"
	Bad  Tone = "bad"
	None Tone = "none" // nothing is known, or nothing was tried
)

// signs go with a verdict's word, so that its colour is never the only sign.
var signs = map[Tone]string{
	Good: "✓",
	Warn: "!",
	Bad:  "✕",
	None: "–",
}

// tones are the tones of the words that this project uses for verdicts, in lower
// case.
var tones = map[string]Tone{
	"shown":     Good,
	"passed":    Good,
	"granted":   Good,
	"held":      Good,
	"identical": Good,
	"noticed":   Good,
	"ready":     Good,
	"served":    Good,
	"accepts":   Good,
	"usable":    Good,

	"warned":      Warn,
	"observed":    Warn,
	"warning":     Warn,
	"runs out":    Warn,
	"not shown":   Warn,
	"waiting":     Warn,
	"information": None,

	"violated":  Bad,
	"refused":   Bad,
	"failed":    Bad,
	"differs":   Bad,
	"ignored":   Bad,
	"not ready": Bad,
	"withheld":  Bad,
	"unusable":  Bad,
	"error":     Bad,
	"fatal":     Bad,
}

// ToneOf returns the tone of a verdict's word; None for a word it does not know.
func ToneOf(word string) Tone {
	if tone, ok := tones[strings.ToLower(word)]; ok {
		return tone
	}
	return None
}

// Funcs returns the functions of templates:
//
//	verdict WORD            badge of a verdict: sign, word and colour
//	badge TONE TEXT         the same with a tone and any text
//	tone WORD               its class in the style sheet
//	sign TONE               its sign
//	digest HEX              beginning of a digest; the whole is its title
//	fingerprint HEX         as people compare it: AB:CD:EF
//	instant TIME            <time>, to the second, in UTC; a dash for zero
//	day TIME                <time>, such as 2 January 2006
//	visible TEXT            a text of somebody else's, safe to read, cut at MaxShown
//	sheet                   the style sheet
//	style                   version of the style sheet, for its URL
func Funcs() template.FuncMap {
	return template.FuncMap{
		"verdict":     Verdict,
		"badge":       Badge,
		"tone":        func(word any) Tone { return ToneOf(fmt.Sprint(word)) },
		"sign":        func(tone Tone) string { return signs[tone] },
		"digest":      Digest,
		"fingerprint": Fingerprint,
		"instant":     Instant,
		"day":         Day,
		"visible":     Visible,
		"sheet":       Sheet,
		"style":       Version,
	}
}

// Verdict returns the badge of a verdict.
func Verdict(word any) template.HTML {
	text := fmt.Sprint(word)
	return Badge(ToneOf(text), text)
}

// Badge returns a text in a badge with a tone's sign and colour.
func Badge(tone Tone, text any) template.HTML {
	sign, ok := signs[tone]
	if !ok {
		tone = None
		sign = signs[None]
	}

	return template.HTML(fmt.Sprintf(
		`<span class="verdict %s"><span class="sign" aria-hidden="true">%s</span>%s</span>`,
		tone,
		sign,
		template.HTMLEscapeString(Visible(fmt.Sprint(text))),
	))
}

// shortDigest is how much of a digest is read at once, in characters.
const shortDigest = 12

// Digest returns the beginning of a digest; the whole one is in its title.
func Digest(hex string) template.HTML {
	if hex == "" {
		return ""
	}

	return template.HTML(fmt.Sprintf(
		`<code class="digest" title="%s">%s</code>`,
		template.HTMLEscapeString(Visible(hex)),
		template.HTMLEscapeString(VisibleTo(hex, shortDigest)),
	))
}

// Fingerprint writes a digest in hexadecimal as people compare it: AB:CD:EF.
func Fingerprint(hex string) string {
	var out strings.Builder
	for i, r := range strings.ToUpper(hex) {
		if i > 0 && i%2 == 0 {
			out.WriteByte(':')
		}
		out.WriteRune(r)
	}

	return out.String()
}

// Instant writes a time to the second, in UTC.
func Instant(t time.Time) template.HTML {
	return moment(t, "2006-01-02 15:04:05Z")
}

// Day writes a date, in UTC.
func Day(t time.Time) template.HTML {
	return moment(t, "2 January 2006")
}

func moment(t time.Time, layout string) template.HTML {
	if t.IsZero() {
		return "–"
	}

	t = t.UTC()
	return template.HTML(fmt.Sprintf(
		`<time datetime="%s">%s</time>`,
		t.Format(time.RFC3339),
		t.Format(layout),
	))
}

// MaxShown bounds a text of somebody else's on a page, in characters.
const MaxShown = 300

// Visible makes a text that somebody else chose safe to read: characters that are
// not seen, or that turn the direction of what follows, are shown as a sign each,
// and the text is cut at MaxShown.
func Visible(text string) string {
	return VisibleTo(text, MaxShown)
}

// VisibleTo is Visible with another bound, in characters.
func VisibleTo(text string, most int) string {
	n := 0
	var b strings.Builder
	for _, r := range text {
		if n++; n > most {
			b.WriteString("…")
			break
		}

		if !trace.Visible(r) {
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}

	return b.String()
}
