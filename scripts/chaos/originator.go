package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/fetch"
)

// originator is one client of the destinations.
type originator struct {
	name     string
	uri      string
	id       *certs.Identity
	clientID string
	http     *http.Client // through the gateway, on a connection of its own
}

// answer is that to one request; status 0: none came.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// text is the beginning of the body.
func (a answer) text() string { return fmt.Sprintf("%.300s", a.body) }

// patience ends what hangs.
const patience = 2 * time.Minute

// httpClient dials one address, whatever host a URL names. It sends nothing twice: POST is
// not idempotent.
func (e *env) httpClient(address string) *http.Client {
	return &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, network, address)
			},
			TLSClientConfig: e.tlsConfig(),
		},
	}
}

// newOriginator makes a member of the community.
func (e *env) newOriginator(name string) (*originator, error) {
	uri := "https://" + name + ".test/client"
	id, err := e.member(certs.P256, uri)
	if err != nil {
		return nil, err
	}
	return &originator{
		name: name,
		uri:  uri,
		id:   id,
		http: e.httpClient(e.address),
	}, nil
}

// registered makes a member of the community, and registers it as clients of others do, by
// what it discovers.
func (e *env) registered(ctx context.Context, name string) (*originator, error) {
	o, err := e.newOriginator(name)
	if err != nil {
		return nil, err
	}
	source, err := fetch.New(fetch.Config{
		Allow: []string{e.listsURL},
		Now:   time.Now,
	})
	if err != nil {
		return nil, err
	}

	c, err := client.New(client.Config{
		Base:      base,
		Community: community,
		Chain:     o.id.Chain,
		Key:       o.id.Key,
		TLSRoots:  e.roots,
		Dial:      e.address,
		Now:       time.Now,
		Verifier:  e.verifier(source),
	})
	if err != nil {
		return nil, err
	}
	defer c.Close()

	d, err := c.Discover(ctx)
	if err != nil {
		return nil, err
	}
	r, err := c.Register(ctx, d, client.Registration{
		ClientName: name,
		Contacts:   []string{"mailto:chaos@client.test"},
		Scope:      everything,
	})
	if err != nil {
		return nil, err
	}
	o.clientID = string(r.ClientID)
	return o, nil
}

// everything is the scope of clients without people.
const everything = "system/*.cruds"

// claims are those of a new JWT of the client, for an endpoint.
func (o *originator) claims(endpoint string) map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": o.clientID,
		"sub": o.clientID,
		"aud": endpoint,
		"iat": now.Unix(),
		"exp": now.Add(4 * time.Minute).Unix(),
		"jti": rand.Text(),
	}
}

func (o *originator) sign(claims map[string]any) (string, error) {
	text, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return udap.Sign(o.id.Key, o.id.Chain, "", text)
}

// authenticated is a form for an endpoint with a new authentication token.
func (o *originator) authenticated(endpoint string, form url.Values) (string, error) {
	claims := o.claims(endpoint)
	if form.Get("grant_type") == "client_credentials" {
		claims["extensions"] = map[string]any{"hl7-b2b": map[string]any{
			"version":           "1",
			"organization_name": "Chaos clinic",
			"organization_id":   "https://clinic.test/organization/1",
			"purpose_of_use":    []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
		}}
	}
	signed, err := o.sign(claims)
	if err != nil {
		return "", err
	}

	all := url.Values{
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {signed},
		"udap":                  {"1"},
	}
	maps.Copy(all, form)
	return all.Encode(), nil
}

// credentials ask for a token without a person.
var credentials = url.Values{
	"grant_type": {"client_credentials"},
	"scope":      {everything},
}

// tokenForm is a token request with a new authentication token.
func (o *originator) tokenForm() (string, error) { return o.authenticated(tokenURL, credentials) }

// rest waits a little after a failure; the next connection may lead to the other
// destination.
func (o *originator) rest(ctx context.Context, ok bool) {
	if !ok {
		o.http.CloseIdleConnections()
		sleep(ctx, pause)
	}
}

// send sends a request and returns what came of it.
func send(ctx context.Context, c *http.Client, method, to, media, token, body string) answer {
	r, err := http.NewRequestWithContext(ctx, method, to, strings.NewReader(body))
	if err != nil {
		return answer{}
	}
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}

	res, err := c.Do(r)
	if err != nil {
		return answer{}
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}
	}
	return answer{
		status: res.StatusCode,
		header: res.Header,
		body:   got,
	}
}

const (
	formType = "application/x-www-form-urlencoded"
	fhirType = "application/fhir+json"
)

// ask asks for a token with an assertion, and returns the token, or empty.
func (a *assertion) ask(ctx context.Context, b *book, c *http.Client, where string) (string, answer) {
	got := send(ctx, c, "POST", tokenURL, formType, "", a.form)
	b.note("a token request "+where, got)
	if got.status != http.StatusOK {
		return "", got
	}

	b.accept(a, where)
	var t struct {
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal(got.body, &t); err != nil || t.Access == "" {
		b.violate("a token response %s: %v: %s", where, err, got.text())
	}
	return t.Access, got
}

// create stores a resource with a value that no other has, and notes it once it is
// acknowledged. It reports whether that was so.
func (o *originator) create(ctx context.Context, b *book, token string) bool {
	w := write{value: rand.Text()}
	b.add(func(c *counts) { c.sent++ })
	got := send(ctx, o.http, "POST", base+"/Basic", fhirType, token,
		`{"resourceType":"Basic","code":{"text":"chaos"},"identifier":[{"value":"`+w.value+`"}]}`)
	b.note("a create", got)
	if got.status != http.StatusCreated {
		if got.status > 0 && got.status < 500 {
			b.violate("a create: status %d: %s", got.status, got.text())
		}
		return false
	}

	_, rest, _ := strings.Cut(got.header.Get("Location"), "/Basic/")
	w.id, _, _ = strings.Cut(rest, "/")
	if w.id == "" {
		b.violate("a create: the Location is %q", got.header.Get("Location"))
		return false
	}
	b.acknowledge(w)
	return true
}

// read reads a write back; false: it could not be read now, or is noted as a violation.
func (w write) read(ctx context.Context, b *book, c *http.Client, token, where string) bool {
	got := send(ctx, c, "GET", base+"/Basic/"+w.id, "", token, "")
	b.note("a read "+where, got)
	switch {
	case got.status == http.StatusOK && bytes.Contains(got.body, []byte(w.value)):
		b.add(func(c *counts) { c.reads++ })
		return true
	case got.status > 0 && got.status < 500:
		b.violate("an acknowledged write, Basic/%s, is read %s with status %d: %s", w.id, where, got.status, got.text())
	}
	return false
}
