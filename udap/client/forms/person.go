package forms

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// MostPages is how many pages a person looks at before giving up.
const MostPages = 8

// Person signs in where a page asks for it, and agrees to what a client asks for.
type Person struct {
	Username string
	Password string
	Hosts    []string // that pages with a password came from
}

// Visit opens a URL and does what its pages ask for, until the browser is redirected
// to where it stops. It returns the query of that redirect.
func (v *Person) Visit(ctx context.Context, b *Browser, target string) (query string, err error) {
	p, err := b.Open(ctx, target)
	for n := 0; err == nil && p.Ended == ""; n++ {
		if n == MostPages {
			return "", fmt.Errorf("the pages do not end, the last is %q", p.Title)
		}
		p, err = v.FillIn(ctx, b, p)
	}
	if err != nil {
		return "", err
	}
	return p.Ended, nil
}

// FillIn does what the person does with one page, and returns the next one.
func (v *Person) FillIn(ctx context.Context, b *Browser, p *Page) (*Page, error) {
	if f, _ := p.Button("signin"); f != nil {
		if len(v.Hosts) == MostPages/2 || p.Status >= http.StatusBadRequest && len(v.Hosts) > 0 {
			return nil, fmt.Errorf("%s refused the sign-in of %s", p.URL.Host, v.Username)
		}

		v.Hosts = append(v.Hosts, p.URL.Host)
		return b.Press(ctx, p, "signin", url.Values{
			"username": {v.Username},
			"password": {v.Password},
		})
	}

	if f, _ := p.Button("approve"); f != nil {
		return b.Press(ctx, p, "approve", nil)
	}
	return nil, fmt.Errorf("%d %q at %s: a page that nobody can go on from", p.Status, p.Title, p.URL.Host)
}
