package chromium

import (
	"context"
	"fmt"
	"time"

	"github.com/chromedp/chromedp"
)

// Elements are found by scripts. The actions of chromedp that take a selector find the
// number of a node first and use it in a second message; all numbers become void
// whenever chromedp reads the document anew, which may be between the two.

// Click clicks the element of a CSS selector as soon as it is shown.
func Click(selector string) chromedp.Action[chromedp.Void] {
	center := onElement[float64](selector, `
		e.scrollIntoView({block: "center", behavior: "instant"});
		const box = e.getClientRects()[0];
		return [box.x + box.width/2, box.y + box.height/2];
	`)
	return chromedp.Func(func(ctx context.Context, page *chromedp.Target) error {
		at, err := center(ctx, page)
		if err != nil {
			return err
		}

		_, err = chromedp.MouseClickXY(at[0], at[1])(ctx, page)
		return err
	})
}

// empty gives the focus to the field of a CSS selector, and no text.
func empty(selector string) chromedp.Action[chromedp.Void] {
	emptied := onElement[bool](selector, `
		e.focus();
		e.value = "";
		return [true];
	`)
	return chromedp.Func(func(ctx context.Context, page *chromedp.Target) error {
		_, err := emptied(ctx, page)
		return err
	})
}

// onElement waits until the element of a CSS selector is shown, runs a script's body
// with it as e, and returns the list that the script returns, which is not empty.
func onElement[E any](selector, body string) chromedp.Action[[]E] {
	look := chromedp.Evaluate[[]E](fmt.Sprintf(
		`(() => {
			const e = document.querySelector(%q);
			if (!e || e.getClientRects().length === 0) return [];
			%s
		})()`,
		selector,
		body,
	))
	return func(ctx context.Context, page *chromedp.Target) ([]E, error) {
		for {
			list, err := look(ctx, page)
			if err != nil || len(list) > 0 {
				return list, err
			}

			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(pause):
			}
		}
	}
}
