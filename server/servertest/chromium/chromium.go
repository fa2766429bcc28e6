// Package chromium drives a real browser in tests.
package chromium

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Browser is a tab of a Chromium that runs for one test.
type Browser struct {
	tb  testing.TB
	ctx context.Context
}

// patience is how long a test waits for what must come, on a busy machine too.
const patience = 2 * time.Minute

// pause is how long it waits before it looks again.
const pause = 20 * time.Millisecond

// Start starts a Chromium that finds hosts (host:port) at the addresses given and
// no others, and accepts every certificate. It ends with the test.
func Start(tb testing.TB, hosts map[string]string) *Browser {
	tb.Helper()
	var rules []string
	for host, address := range hosts {
		rules = append(rules, "MAP "+host+" "+address)
	}
	rules = append(rules, "MAP * ~NOTFOUND")

	options := append(
		chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox,
		chromedp.IgnoreCertErrors,
		chromedp.WSURLReadTimeout(patience), // for its start
		chromedp.UserDataDir(tb.TempDir()),
		chromedp.Flag("host-resolver-rules", strings.Join(rules, ", ")),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		// A page that is kept for going back would not be asked for again.
		chromedp.Flag("disable-features", "Translate,BackForwardCache"),
		chromedp.Flag("force-color-profile", "srgb"),
	)
	alloc, end := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, closeTab := chromedp.NewContext(alloc)
	tb.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil && !errors.Is(err, context.Canceled) {
			tb.Logf("the browser's end: %v", err)
		}
		closeTab()
		end()
	})

	b := &Browser{
		tb:  tb,
		ctx: ctx,
	}
	b.Do("start the browser", chromedp.Navigate("about:blank"))
	return b
}

// Tab opens another tab of the same browser, which has the same cookies.
func (b *Browser) Tab() *Browser {
	b.tb.Helper()
	ctx, closeTab := chromedp.NewContext(b.ctx)
	b.tb.Cleanup(closeTab)
	other := &Browser{
		tb:  b.tb,
		ctx: ctx,
	}
	other.Do("open a tab", chromedp.Navigate("about:blank"))
	return other
}

// Do takes steps; what names them when they fail.
func (b *Browser) Do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.tb.Helper()
	if err := b.within(func(ctx context.Context) error {
		return chromedp.Do(ctx, steps...)
	}); err != nil {
		b.tb.Fatalf("%s: %v\n%s", what, err, b.state())
	}
}

// within runs f with a deadline. chromedp ties the browser to the first context that
// it is used with, so that one has none.
func (b *Browser) within(f func(context.Context) error) error {
	if c := chromedp.FromContext(b.ctx); c == nil || c.Target == nil {
		return f(b.ctx)
	}

	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	return f(ctx)
}

// state describes the page that is open, for a test that fails.
func (b *Browser) state() string {
	var location, text string
	_ = b.within(func(ctx context.Context) (err error) {
		if location, err = chromedp.Run(ctx, chromedp.Location()); err == nil {
			text, err = chromedp.Run(
				ctx,
				chromedp.Evaluate[string]("document.body.innerText"),
			)
		}
		return err
	})
	return fmt.Sprintf("at %s:\n%.2000s", location, text)
}

// Get returns what an action returns.
func Get[T any](b *Browser, what string, action chromedp.Action[T]) (v T) {
	b.tb.Helper()
	err := b.within(func(ctx context.Context) (err error) {
		v, err = chromedp.Run(ctx, action)
		return err
	})
	if err != nil {
		b.tb.Fatalf("%s: %v\n%s", what, err, b.state())
	}
	return v
}

// Load takes steps that lead to another page, waits for it and returns its status.
func (b *Browser) Load(what string, steps ...chromedp.Action[chromedp.Void]) (status int64) {
	b.tb.Helper()
	err := b.within(func(ctx context.Context) error {
		res, err := chromedp.RunResponse(ctx, steps...)
		if err == nil {
			status = res.Status
		}
		return err
	})
	if err != nil {
		b.tb.Fatalf("%s: %v\n%s", what, err, b.state())
	}
	return status
}

// Open loads a page and returns its status.
func (b *Browser) Open(url string) int64 {
	b.tb.Helper()
	return b.Load("open "+url, chromedp.Navigate(url))
}

// Press clicks the element of a CSS selector and waits for the page to which that
// leads.
func (b *Browser) Press(selector string) (status int64) {
	b.tb.Helper()
	return b.Load("press "+selector, Click(selector))
}

// Fill writes a text into the field of a CSS selector.
func (b *Browser) Fill(selector, text string) {
	b.tb.Helper()
	b.Do(
		"fill "+selector,
		empty(selector),
		chromedp.KeyEvent(text),
	)
}

// URL returns the address of the page.
func (b *Browser) URL() string {
	b.tb.Helper()
	return Get(b, "look at the address", chromedp.Location())
}

// Text returns what a person reads on the page.
func (b *Browser) Text() string {
	b.tb.Helper()
	return Get(
		b,
		"read the page",
		chromedp.Evaluate[string]("document.body.innerText"),
	)
}

// Eventually waits until a script's expression is true on the page, which may be
// loaded again meanwhile: that ends the script that waits, so it is started anew.
func (b *Browser) Eventually(expression string) {
	b.tb.Helper()
	wait := chromedp.Evaluate[bool](
		`new Promise(done => {
			const look = () => (`+expression+`) ? done(true) : requestAnimationFrame(look);
			look();
		})`,
		chromedp.EvalAwaitPromise,
	)
	err := b.within(func(ctx context.Context) error {
		for {
			_, err := chromedp.Run(ctx, wait)
			if err == nil {
				return nil
			}

			select {
			case <-ctx.Done():
				return err
			case <-time.After(pause):
			}
		}
	})
	if err != nil {
		b.tb.Fatalf("wait for %s: %v\n%s", expression, err, b.state())
	}
}

// WithoutScripts has the browser run no script of a page.
func (b *Browser) WithoutScripts() {
	b.tb.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled,
		emulation.SetScriptExecutionDisabledParams{Value: true})
	if err != nil {
		b.tb.Fatal(err)
	}
}

// Look sets the size of the window, in CSS pixels, and the person's preference for
// "light" or "dark".
func (b *Browser) Look(width, height int64, scheme string) {
	b.tb.Helper()
	b.Do("resize", chromedp.EmulateViewport(width, height))
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{
			Name:  "prefers-color-scheme",
			Value: scheme,
		}},
	})
	if err != nil {
		b.tb.Fatal(err)
	}
}

// Picture writes a picture of the whole page into the directory that the environment
// variable SCREENSHOTS names; without it there is none.
func (b *Browser) Picture(name string) {
	b.tb.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}

	const png = 100 // the quality that makes PNG
	data := Get(
		b,
		"take a picture",
		chromedp.FullScreenshot(png),
	)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), data, 0o600); err != nil {
		b.tb.Fatal(err)
	}
}
