// Package forms is a browser for programs: it keeps cookies, follows redirects, and
// fills in and sends the forms of pages. It runs no scripts and shows nothing.
package forms

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// Bounds of what is read.
const (
	maxPage      = 4 << 20 // bytes
	maxRedirects = 20
)

// Browser is a person's browser.
type Browser struct {
	http *http.Client
	stop string
}

// New makes a browser that connects by a transport. It does not follow redirects to
// URLs that begin with stop: nobody listens there.
func New(transport http.RoundTripper, stop string) (*Browser, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}

	return &Browser{
		http: &http.Client{
			Transport: transport,
			Jar:       jar,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
		stop: stop,
	}, nil
}

// Page is what a browser shows.
type Page struct {
	URL    *url.URL
	Status int
	Title  string // of its first heading
	Forms  []Form

	// Ended is the query of a redirect to the URL at which the browser stops; then
	// there is no page.
	Ended string
}

// Form is a form of a page.
type Form struct {
	Action  *url.URL
	Post    bool
	Values  url.Values // as they are before anybody has changed them
	Buttons []Button
}

// Button sends a form.
type Button struct{ Name, Value string }

// Has reports whether a form has a field of a name.
func (f Form) Has(name string) bool {
	return f.Values.Has(name)
}

// Open opens a URL.
func (b *Browser) Open(ctx context.Context, target string) (*Page, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	return b.follow(req)
}

// Press sends the form that has a button of this value, with some fields changed.
func (b *Browser) Press(
	ctx context.Context, p *Page, button string, change url.Values,
) (*Page, error) {
	form, pressed := p.Button(button)
	if form == nil {
		return nil, fmt.Errorf("the page %q has no button %q", p.Title, button)
	}

	return b.Send(ctx, p, form, change, url.Values{pressed.Name: {pressed.Value}})
}

// Send sends a form of a page, with some fields changed.
func (b *Browser) Send(
	ctx context.Context, p *Page, form *Form, changes ...url.Values,
) (*Page, error) {
	v := url.Values{}
	for _, values := range append([]url.Values{form.Values}, changes...) {
		for name := range values {
			v[name] = values[name]
		}
	}

	method, target, body := http.MethodGet, *form.Action, io.Reader(nil)
	if form.Post {
		method, body = http.MethodPost, strings.NewReader(v.Encode())
	} else {
		target.RawQuery = v.Encode()
	}

	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, err
	}
	if form.Post {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", p.URL.Scheme+"://"+p.URL.Host)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	return b.follow(req)
}

// Button returns the form that has a button of a value, and the button.
func (p *Page) Button(value string) (*Form, Button) {
	for i, f := range p.Forms {
		for _, b := range f.Buttons {
			if b.Value == value {
				return &p.Forms[i], b
			}
		}
	}
	return nil, Button{}
}

// follow sends a request and follows redirects by GET.
func (b *Browser) follow(req *http.Request) (*Page, error) {
	for range maxRedirects {
		res, err := b.http.Do(req)
		if err != nil {
			return nil, err
		}

		location := res.Header.Get("Location")
		if location == "" {
			return readPage(res)
		}
		if err := discard(res); err != nil {
			return nil, err
		}

		next, err := req.URL.Parse(location)
		if err != nil {
			return nil, err
		}
		if text := next.String(); b.stop != "" && strings.HasPrefix(text, b.stop) {
			return &Page{
				Status: res.StatusCode,
				Ended:  next.RawQuery,
			}, nil
		}
		if req, err = http.NewRequestWithContext(req.Context(), http.MethodGet, next.String(), nil); err != nil {
			return nil, err
		}
	}

	return nil, errors.New("too many redirects")
}

func discard(res *http.Response) error {
	_, err := io.Copy(io.Discard, io.LimitReader(res.Body, maxPage))
	return errors.Join(err, res.Body.Close())
}

func readPage(res *http.Response) (*Page, error) {
	defer res.Body.Close()
	root, err := html.Parse(io.LimitReader(res.Body, maxPage))
	if err != nil {
		return nil, err
	}

	p := &Page{
		URL:    res.Request.URL,
		Status: res.StatusCode,
	}
	for n := range root.Descendants() {
		switch {
		case n.Type != html.ElementNode:
		case n.DataAtom == atom.H1 && p.Title == "":
			p.Title = textOf(n)
		case n.DataAtom == atom.Form:
			f, err := p.readForm(n)
			if err != nil {
				return nil, err
			}
			p.Forms = append(p.Forms, *f)
		}
	}

	return p, nil
}

func (p *Page) readForm(form *html.Node) (*Form, error) {
	action, err := p.URL.Parse(attribute(form, "action"))
	if err != nil {
		return nil, err
	}

	f := &Form{
		Action: action,
		Post:   strings.EqualFold(attribute(form, "method"), "post"),
		Values: url.Values{},
	}
	for n := range form.Descendants() {
		if n.Type != html.ElementNode || has(n, "disabled") {
			continue
		}

		name, value := attribute(n, "name"), attribute(n, "value")
		switch n.DataAtom {
		case atom.Button:
			f.Buttons = append(f.Buttons, Button{name, value})
		case atom.Input:
			box := attribute(n, "type") == "checkbox" || attribute(n, "type") == "radio"
			if name != "" && (!box || has(n, "checked")) {
				f.Values.Add(name, value)
			}
		}
	}

	return f, nil
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}

// textOf returns the text in an element, with single spaces.
func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
