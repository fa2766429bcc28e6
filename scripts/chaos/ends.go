package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"

	"fhirdest.example/udap/client/forms"
)

// end is what has no effect any more, as a client or a person was told: a request that
// must not succeed from then on, anywhere.
type end struct {
	by  string // what has ended it
	ask func(ctx context.Context, c *http.Client) answer
}

// refused sends the request again, and reports whether it is refused; false: there is no
// answer now. Whatever else comes is noted as a violation.
func (e end) refused(ctx context.Context, b *book, c *http.Client, where string) bool {
	got := e.ask(ctx, c)
	b.note("a request after "+e.by+" "+where, got)
	switch {
	case got.status == http.StatusUnauthorized, got.status == http.StatusBadRequest:
		return true
	case got.status > 0 && got.status < 500:
		b.violate("after %s, what it has ended is answered %s with status %d: %s", e.by, where, got.status, got.text())
		return true
	}
	return false
}

// withToken is a request with an access token.
func withToken(by, token string) end {
	return end{
		by: by,
		ask: func(ctx context.Context, c *http.Client) answer {
			return send(ctx, c, "GET", base+"/Basic?_summary=count", "", token, "")
		},
	}
}

// withForm is a token request of a client, each with a new authentication token.
func withForm(by string, o originator, form url.Values) end {
	return end{
		by: by,
		ask: func(ctx context.Context, c *http.Client) answer {
			text, err := o.authenticated(tokenURL, form)
			if err != nil {
				return answer{}
			}
			return send(ctx, c, "POST", tokenURL, formType, "", text)
		},
	}
}

// revoke revokes a token, and reports whether that was acknowledged.
func (o *originator) revoke(ctx context.Context, b *book, token string) bool {
	form, err := o.authenticated(revokeURL, url.Values{"token": {token}})
	if err != nil {
		b.violate("%s cannot sign: %v", o.name, err)
		return false
	}

	got := send(ctx, o.http, "POST", revokeURL, formType, "", form)
	b.note("a revocation", got)
	switch {
	case got.status == http.StatusOK:
		b.ended(withToken("the revocation of a token of "+o.name, token))
	case got.status > 0 && got.status < 500:
		b.violate("a revocation: status %d: %s", got.status, got.text())
	}
	return got.status == http.StatusOK
}

// statement is a registration request.
func (o *originator) statement(more map[string]any) (string, error) {
	claims := o.claims(registerURL)
	claims["iss"], claims["sub"] = o.uri, o.uri
	claims["client_name"] = o.name
	claims["contacts"] = []string{"mailto:chaos@client.test"}
	claims["token_endpoint_auth_method"] = "private_key_jwt"
	for name, value := range more {
		claims[name] = value
	}

	signed, err := o.sign(claims)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(map[string]string{
		"software_statement": signed,
		"udap":               "1",
	})
	return string(body), err
}

// register registers, changes or cancels the client, as more says, and reports whether that
// was acknowledged.
func (o *originator) register(ctx context.Context, b *book, more map[string]any) bool {
	body, err := o.statement(more)
	if err != nil {
		b.violate("%s cannot sign: %v", o.name, err)
		return false
	}

	got := send(ctx, o.http, "POST", registerURL, "application/json", "", body)
	b.note("a registration", got)
	if got.status != http.StatusOK && got.status != http.StatusCreated {
		return false
	}
	var registered struct {
		ClientID string `json:"client_id"`
	}
	if err := json.Unmarshal(got.body, &registered); err != nil || registered.ClientID == "" {
		b.violate("a registration is answered with %v: %s", err, got.text())
		return false
	}
	o.clientID = registered.ClientID
	return true
}

// machine is the registration of a client without people.
var machine = map[string]any{
	"grant_types": []string{"client_credentials"},
	"scope":       everything,
}

// cancel registers a client, gets tokens and cancels its registration, again and again: what
// it had ends with that.
func (l *load) cancel(ctx context.Context, o *originator) {
	for ctx.Err() == nil {
		ok := o.register(ctx, l.book, machine)
		var ends []end
		for n := 0; ok && n < 3; n++ {
			var token string
			if token, ok = l.token(ctx, o); ok {
				ends = append(ends, withToken("the cancellation of "+o.name, token))
			}
		}
		ends = append(ends, withForm("the cancellation of "+o.name, *o, credentials))

		if ok = ok && o.register(ctx, l.book, map[string]any{"grant_types": []string{}}); ok {
			l.book.ended(ends...)
			l.book.add(func(c *counts) { c.cancelled++ })
		}
		o.rest(ctx, ok)
	}
}

// personal is the registration of an application for people.
var personal = map[string]any{
	"grant_types":    []string{"authorization_code", "refresh_token"},
	"response_types": []string{"code"},
	"redirect_uris":  []string{callback},
	"logo_uri":       "https://client.test/logo.png",
	"scope":          personalScope,
}

const (
	callback      = "https://client.test/callback"
	personalScope = "openid offline_access user/Basic.rs"
)

// withdraw has a person grant an application access and withdraw that, again and again.
func (l *load) withdraw(ctx context.Context, o *originator) {
	b, err := forms.New(noted{l.book, o.http.Transport}, callback+"?")
	if err != nil {
		l.book.violate("%s has no browser: %v", o.name, err)
		return
	}
	for registered := false; ctx.Err() == nil; {
		registered = registered || o.register(ctx, l.book, personal)
		ok := registered
		var ends []end
		if ok {
			ends, ok = l.grant(ctx, o, b)
		}
		if ok = ok && takeBack(ctx, b); ok {
			l.book.ended(ends...)
			l.book.add(func(c *counts) { c.withdrawn++ })
		}
		o.rest(ctx, ok)
	}
}

// grant has the person of a browser sign in where that is asked for, and allow access. It
// returns what a withdrawal ends.
func (l *load) grant(ctx context.Context, o *originator, b *forms.Browser) ([]end, bool) {
	verifier := rand.Text() + rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	person := forms.Person{
		Username: username,
		Password: password,
	}
	back, err := person.Visit(ctx, b, authorizeURL+"?"+url.Values{
		"response_type":         {"code"},
		"client_id":             {o.clientID},
		"redirect_uri":          {callback},
		"scope":                 {personalScope},
		"state":                 {rand.Text()},
		"aud":                   {base},
		"code_challenge":        {base64.RawURLEncoding.EncodeToString(challenge[:])},
		"code_challenge_method": {"S256"},
	}.Encode())
	if err != nil {
		return nil, false // a page that says that the database is away
	}

	query, _ := url.ParseQuery(back) // without a code nothing is given
	form, err := o.authenticated(tokenURL, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          query["code"],
		"redirect_uri":  {callback},
		"code_verifier": {verifier},
	})
	if err != nil {
		return nil, false
	}
	got := send(ctx, o.http, "POST", tokenURL, formType, "", form)
	l.book.note("a code", got)
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if got.status != http.StatusOK || json.Unmarshal(got.body, &tokens) != nil || tokens.Refresh == "" {
		return nil, false
	}

	const by = "the withdrawal of access"
	return []end{
		withToken(by, tokens.Access),
		withForm(by, *o, url.Values{
			"grant_type":    {"refresh_token"},
			"refresh_token": {tokens.Refresh},
		}),
	}, true
}

// takeBack withdraws what the person of a browser has granted, and reports whether the page
// acknowledges that.
func takeBack(ctx context.Context, b *forms.Browser) bool {
	p, err := b.Open(ctx, grantsURL)
	if err != nil || p.Status != http.StatusOK {
		return false
	}
	for i, f := range p.Forms {
		if !f.Has("client") {
			continue
		}
		p, err = b.Send(ctx, p, &p.Forms[i])
		return err == nil && p.Status == http.StatusOK && p.Title == "Who has access"
	}
	return false
}

// noted is a transport whose answers are held to what every answer must be.
type noted struct {
	book *book
	to   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (n noted) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := n.to.RoundTrip(r)
	if err != nil {
		n.book.note("a page", answer{})
		return nil, err
	}
	n.book.note("the page "+r.URL.Path, answer{
		status: res.StatusCode,
		header: res.Header,
	})
	return res, nil
}

// verifyEnds has what has ended refused at a destination.
func (l *load) verifyEnds(ctx context.Context, i int, ends []end) error {
	where := "at destination " + l.env.destinations[i].name
	for _, e := range ends {
		if err := patiently(ctx, "an answer after "+e.by+" "+where, func() error {
			if !e.refused(ctx, l.book, l.direct[i], where) {
				return fmt.Errorf("none")
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// verifyWrites finds writes at a destination, many at once, by a search for their ids.
func (l *load) verifyWrites(ctx context.Context, i int, token string, writes []write) error {
	where := "at destination " + l.env.destinations[i].name
	for len(writes) > 0 {
		n := min(len(writes), writesEachSearch)
		batch := writes[:n]
		writes = writes[n:]
		if err := patiently(ctx, "writes are found "+where, func() error {
			return l.find(ctx, i, token, batch)
		}); err != nil {
			return err
		}
	}
	return nil
}

// find searches for writes; each that is missing is noted as a violation.
func (l *load) find(ctx context.Context, i int, token string, batch []write) error {
	var ids []string
	for _, w := range batch {
		ids = append(ids, w.id)
	}
	query := url.Values{
		"_id":    {strings.Join(ids, ",")},
		"_count": {fmt.Sprint(len(ids))},
	}
	got := send(ctx, l.direct[i], "GET", base+"/Basic?"+query.Encode(), "", token, "")
	l.book.note("a search", got)
	if got.status != http.StatusOK {
		return fmt.Errorf("status %d: %s", got.status, got.text())
	}

	var bundle struct {
		Entry []struct {
			Resource struct {
				ID         string `json:"id"`
				Identifier []struct {
					Value string `json:"value"`
				} `json:"identifier"`
			} `json:"resource"`
		} `json:"entry"`
	}
	if err := json.Unmarshal(got.body, &bundle); err != nil {
		return err
	}
	found := map[write]bool{}
	for _, e := range bundle.Entry {
		for _, identifier := range e.Resource.Identifier {
			found[write{e.Resource.ID, identifier.Value}] = true
		}
	}
	for _, w := range batch {
		if !found[w] {
			l.book.violate("an acknowledged write, Basic/%s, is not found at destination %s", w.id,
				l.env.destinations[i].name)
		}
	}
	l.book.add(func(c *counts) { c.reads += len(found) })
	return nil
}

// anyOf returns one of a list.
func anyOf[T any](list []T) T { return list[mathrand.IntN(len(list))] }
