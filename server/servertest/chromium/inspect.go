package chromium

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// windows are the sizes at which a page is inspected: a desk and a phone.
var windows = []struct {
	name          string
	width, height int64
}{
	{"1440", 1440, 900},
	{"390", 390, 844},
}

// phone is the width from which on targets need not be as large as a finger.
const phone = 640

// Inspect inspects the page as every person may see it: on a desk and on a phone, in
// light and dark. axe-core must find nothing, nothing may be wider than the window,
// and on a phone each control must be at least 44 pixels high. It leaves a picture of
// each under name, as Picture does.
func (b *Browser) Inspect(name string) {
	b.tb.Helper()
	script := b.axe()
	for _, w := range windows {
		for _, scheme := range []string{"light", "dark"} {
			b.Look(w.width, w.height, scheme)
			at := name + " at " + w.name + " px, " + scheme
			if found := b.violations(script); found != "" {
				b.tb.Errorf("%s:\n%s", at, found)
			}

			if wide := Get(b, "measure", chromedp.Evaluate[int64](
				`document.documentElement.scrollWidth`,
			)); wide > w.width {
				b.tb.Errorf("%s: the page is %d px wide", at, wide)
			}
			if small := b.smallTargets(); w.width < phone && small != "" {
				b.tb.Errorf("%s: less than 44 px high: %s", at, small)
			}
			b.Picture(name + "-" + w.name + "-" + scheme)
		}
	}
}

// Show starts a Chromium that shows a page of HTML which needs no other file.
func Show(tb testing.TB, page []byte) *Browser {
	tb.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	}))
	tb.Cleanup(server.Close)

	b := Start(tb, map[string]string{
		"page.test": server.Listener.Addr().String(),
	})
	b.Open("http://page.test/")
	return b
}

// axe returns the checker of accessibility, which scripts/test installs.
func (b *Browser) axe() string {
	b.tb.Helper()
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			b.tb.Fatal("the test does not run inside the module")
		}
		dir = filepath.Dir(dir)
	}

	text, err := os.ReadFile(filepath.Join(dir, "scripts/npm/node_modules/axe-core/axe.min.js"))
	if err != nil {
		b.tb.Fatalf("%v; scripts/test installs it: npm ci in scripts/npm", err)
	}
	return string(text)
}

// violations returns what axe-core finds on a page: its violations, and texts of
// whose contrast it cannot be sure. Exempt are those that are no text (too short, or
// signs) and the texts of pictures, whose ground it never knows.
func (b *Browser) violations(script string) string {
	b.tb.Helper()
	Get(
		b,
		"load axe-core",
		chromedp.Evaluate[bool](script+"; true"),
	)

	return Get(b, "run axe-core", chromedp.Evaluate[string](`
		(async () => {
			const message = n => (n.any[0] || {message: ''}).message;
			const exempt = n => /too short|only non-text/.test(message(n)) || /^<(text|tspan)/.test(n.html);
			const found = await axe.run(document, {resultTypes: ['violations', 'incomplete']});
			const unsure = found.incomplete
				.filter(i => i.id === 'color-contrast')
				.map(i => ({...i, nodes: i.nodes.filter(n => !exempt(n))}))
				.filter(i => i.nodes.length > 0);
			return found.violations.concat(unsure)
				.map(v => v.id + ': ' + v.help + ' ' + v.nodes.map(n => n.html + ' ' + message(n)).join(' | '))
				.join('\n');
		})()`, chromedp.EvalAwaitPromise))
}

// smallTargets returns the controls of a page that a finger hits badly. Links within
// a text are exempt (WCAG 2.2, 2.5.5), and a box is as large as its label.
func (b *Browser) smallTargets() string {
	b.tb.Helper()
	found := Get(b, "measure the controls", chromedp.Evaluate[[]string](`
		[...document.querySelectorAll('button, summary, select, textarea, nav a, a.button, ' +
			'input:not([type=hidden]):not([type=checkbox]):not([type=radio])')]
		.filter(e => { const h = e.getBoundingClientRect().height; return h > 0 && h < 43.5 })
		.map(e => e.outerHTML.slice(0, 120))`))
	return strings.Join(found, " | ")
}

// ForPrint shows the page as it is on paper, until the next Look.
func (b *Browser) ForPrint() {
	b.tb.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	if err != nil {
		b.tb.Fatal(err)
	}
}
