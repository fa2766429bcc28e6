package look_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"fhirdest.example/udap/look"
	"fhirdest.example/udap/trace"
)

// render executes a template that has the common parts.
func render(t *testing.T, text string, data any) string {
	t.Helper()
	page, err := look.Template("page").Parse(text)
	if err != nil {
		t.Fatal(err)
	}

	var b strings.Builder
	if err := page.Execute(&b, data); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestVerdictsHaveSignWordAndColour(t *testing.T) {
	for word, want := range map[string]string{
		"shown":         `<span class="verdict good"><span class="sign" aria-hidden="true">✓</span>shown</span>`,
		"warned":        `<span class="verdict warn"><span class="sign" aria-hidden="true">!</span>warned</span>`,
		"violated":      `<span class="verdict bad"><span class="sign" aria-hidden="true">✕</span>violated</span>`,
		"FAILED":        `<span class="verdict bad"><span class="sign" aria-hidden="true">✕</span>FAILED</span>`,
		"not exercised": `<span class="verdict none"><span class="sign" aria-hidden="true">–</span>not exercised</span>`,
	} {
		if got := render(t, `{{verdict .}}`, word); got != want {
			t.Errorf("%s is written as %s", word, got)
		}
	}
}

// TestForeignTextIsHarmless: whatever somebody else wrote is neither markup nor
// able to turn the direction of what follows.
func TestForeignTextIsHarmless(t *testing.T) {
	const hostile = "<script>alert(1)</script>\u202e\x00\"'"
	for _, text := range []string{
		`{{verdict .}}`,
		`{{badge "good" .}}`,
		`{{digest .}}`,
		`{{visible .}}`,
		`{{template "look-site" .}}`,
		`{{fingerprint .}}`,
		`{{template "look-head" .}}`,
	} {
		got := render(t, text, hostile)
		if strings.Contains(got, "<script>") || strings.Contains(got, "\x00") {
			t.Errorf("%s lets through %q", text, got)
		}
	}

	if got := look.Visible(hostile); strings.ContainsAny(got, "\u202e\x00") {
		t.Errorf("a character that turns the direction is left in %q", got)
	}
	if got := look.Visible(strings.Repeat("a", 2*look.MaxShown)); len(got) > look.MaxShown+len("…") {
		t.Errorf("a long text has %d bytes on the page", len(got))
	}
}

func TestTimesAndDigestsAreWrittenOnce(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600))
	for text, want := range map[string]string{
		`{{instant .}}`: `<time datetime="2026-03-04T04:06:07Z">2026-03-04 04:06:07Z</time>`,
		`{{day .}}`:     `<time datetime="2026-03-04T04:06:07Z">4 March 2026</time>`,
	} {
		if got := render(t, text, at); got != want {
			t.Errorf("%s is %s", text, got)
		}
		if got := render(t, text, time.Time{}); got != "–" {
			t.Errorf("%s of no time is %s", text, got)
		}
	}

	const sum = "0123456789abcdef0123456789abcdef"
	if got, want := render(t, `{{digest .}}`, sum), `<code class="digest" title="`+sum+`">0123456789ab…</code>`; got != want {
		t.Errorf("a digest is %s", got)
	}
	if got := look.Fingerprint("ab12cd"); got != "AB:12:CD" {
		t.Errorf("a fingerprint is %s", got)
	}
}

func TestSheetIsServed(t *testing.T) {
	for method, want := range map[string]int{
		"GET":  http.StatusOK,
		"HEAD": http.StatusOK,
		"POST": http.StatusMethodNotAllowed,
	} {
		w := httptest.NewRecorder()
		look.ServeSheet(w, httptest.NewRequest(method, "/style.css", nil))
		if w.Code != want {
			t.Errorf("%s is answered %d", method, w.Code)
		}
		if has := w.Body.Len() > 0; has != (method == "GET") {
			t.Errorf("%s has %d bytes", method, w.Body.Len())
		}
	}

	if s := string(look.Sheet()); strings.Contains(s, "/*") || strings.Contains(s, "</") {
		t.Error("the sheet has comments, or what ends a style element")
	}
	if len(look.Version()) != 12 {
		t.Errorf("the version is %q", look.Version())
	}
}

// FuzzVisible: whatever a client chose is printable, turns no direction and is bounded, and
// what was so already is unchanged.
func FuzzVisible(f *testing.F) {
	for _, seed := range []string{
		"",
		"Ana Ley",
		"\u202egnihsihp",
		"a\x00\r\nb",
		strings.Repeat("é", 400),
		"\xff",
		"x\u200by",
		"x\u3164y",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := look.Visible(text)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > look.MaxShown+1 {
			t.Errorf("%q", got)
		}
		for _, r := range got {
			if r != unicode.ReplacementChar && !trace.Visible(r) {
				t.Errorf("%q has %U", got, r)
			}
		}
		if again := look.Visible(got); utf8.RuneCountInString(got) <= look.MaxShown && again != got {
			t.Errorf("%q becomes %q", got, again)
		}
	})
}
