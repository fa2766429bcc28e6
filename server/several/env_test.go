package several_test

import (
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/fhir/sample"
	"fhirdest.example/server/people/users"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/client/forms"
	"fhirdest.example/udap/trace"
)

const (
	username = "alice"
	password = "correct horse battery staple"
	callback = "https://client.test/callback"
	system   = "system/*.cruds"
	personal = "openid fhirUser offline_access launch/patient patient/Observation.rs user/Patient.rs"
)

// destinations are two on one database, with a person.
type destinations struct {
	t    *testing.T
	a, b *servertest.Destination

	hashes map[string]string // of passwords: another hash of one would end its sessions
}

// people has a person who can sign in: a change of an Env for Start.
func people(w *servertest.Env) {
	w.Config.Users = "users.json"
	w.Config.Writable = true
}

func newDestinations(t *testing.T, change ...func(*servertest.Env)) *destinations {
	t.Helper()
	d := &destinations{
		t:      t,
		hashes: map[string]string{},
	}
	change = append(change, people, func(w *servertest.Env) { d.write(w, password, username) })
	d.a = servertest.Start(t, append(change, servertest.Database)...)

	of := *d.a.Env // the second has a users file of its own
	of.Config.Users = "users-of-b.json"
	d.write(&of, password, username)
	beside := *d.a
	beside.Env = &of
	d.b = beside.Beside()
	return d
}

// write writes the users file.
func (d *destinations) write(w *servertest.Env, password string, names ...string) {
	d.t.Helper()
	if d.hashes[password] == "" {
		hash, err := users.Hash(password)
		must(d.t, err)
		d.hashes[password] = hash
	}

	var all []users.User
	for _, name := range names {
		all = append(all, users.User{
			Username: name,
			Subject:  "subject-of-" + name,
			FHIRUser: "Patient/" + sample.PatientID(0),
			Password: d.hashes[password],
		})
	}
	must(d.t, users.Write(filepath.Join(w.Dir, w.Config.Users), all))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reload has a destination read its configuration again.
func reload(d *servertest.Destination) {
	d.Reload <- struct{}{}
	d.Reload <- struct{}{} // received when the first has been done
}

// app is a client of both destinations.
type app struct {
	*destinations
	id    *certs.Identity
	at    map[*servertest.Destination]*client.Client
	found *client.Discovery
	reg   client.Registration
	ID    trace.ClientID
}

// app registers a client at the first destination.
func (d *destinations) app(uri string, grants ...string) *app {
	d.t.Helper()
	a := &app{
		destinations: d,
		id:           d.a.Client(d.a.A, uri),
		at:           map[*servertest.Destination]*client.Client{},
		reg: client.Registration{
			ClientName: "Companion",
			Contacts:   []string{"mailto:help@client.test"},
			GrantTypes: grants,
			Scope:      system,
		},
	}
	if len(grants) > 0 {
		a.reg.Scope = personal
		a.reg.RedirectURIs = []string{callback}
		a.reg.LogoURI = "https://client.test/logo.png"
	}
	for _, at := range []*servertest.Destination{d.a, d.b} {
		a.at[at] = at.Originator(at.A, a.id)
	}

	var err error
	a.found, err = a.at[d.a].Discover(d.t.Context())
	must(d.t, err)
	a.register(d.a, a.reg)
	return a
}

// forPeople is an app with a person in front of it.
func (d *destinations) forPeople(uri string) *app {
	d.t.Helper()
	return d.app(uri, "authorization_code", "refresh_token")
}

// register registers the app, or changes its registration.
func (a *app) register(at *servertest.Destination, r client.Registration) {
	a.t.Helper()
	registered, err := a.at[at].Register(a.t.Context(), a.found, r)
	must(a.t, err)
	a.ID = registered.ClientID
}

// cancel cancels the registration.
func (a *app) cancel(at *servertest.Destination) {
	a.t.Helper()
	_, err := a.at[at].Cancel(a.t.Context(), a.found, a.reg)
	must(a.t, err)
}

// statusOf is that of the answer to a token request.
func statusOf(t *client.Token) int {
	if t.Reply == nil {
		return 0
	}
	return t.Reply.Status
}

// ask asks for a token without a person.
func (a *app) ask(at *servertest.Destination) *client.Token {
	a.t.Helper()
	token, _ := a.at[at].Token(a.t.Context(), a.found, client.TokenRequest{ // the status says it
		ClientID: a.ID,
		Scope:    system,
		B2B:      servertest.Treatment(),
	})
	return token
}

// token gets a token without a person.
func (a *app) token(at *servertest.Destination) string {
	a.t.Helper()
	token := a.ask(at)
	if token.Access == "" {
		a.t.Fatalf("no token: %d %v", statusOf(token), token.Refusal)
	}
	return token.Access
}

// get reads, and returns the status.
func get(d *servertest.Destination, path, token string) int {
	res, _ := d.Get("/acme/fhir/"+path, "Authorization", "Bearer "+token)
	return res.StatusCode
}

// put stores a resource.
func put(t *testing.T, d *servertest.Destination, token, path, body string) {
	t.Helper()
	res := d.Do("PUT", "/acme/fhir/"+path, strings.NewReader(body),
		"Authorization", "Bearer "+token, "Content-Type", "application/fhir+json")
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(res.Body) // the status is the failure
		t.Fatalf("PUT %s: %s %s", path, res.Status, text)
	}
}

// browser is a person's, which asks one destination or the other.
type browser struct {
	*forms.Browser
	t  *testing.T
	at *servertest.Destination
}

// RoundTrip implements http.RoundTripper.
func (b *browser) RoundTrip(r *http.Request) (*http.Response, error) {
	return b.at.HTTP.Transport.RoundTrip(r)
}

func (d *destinations) browser(at *servertest.Destination) *browser {
	d.t.Helper()
	b := &browser{
		t:  d.t,
		at: at,
	}
	var err error
	b.Browser, err = forms.New(b, callback+"?")
	must(d.t, err)
	return b
}

// open opens a page of the authorization server.
func (b *browser) open(name string) *forms.Page {
	b.t.Helper()
	p, err := b.Open(b.t.Context(), b.at.Issuer+"/"+name)
	must(b.t, err)
	return p
}

// signIn signs the person in.
func (b *browser) signIn() {
	b.t.Helper()
	p, err := b.Press(b.t.Context(), b.open("signin"), "signin", url.Values{
		"username": {username},
		"password": {password},
	})
	must(b.t, err)
	if p.Status != http.StatusOK {
		b.t.Fatalf("the sign-in: %d %s", p.Status, p.Title)
	}
}

// send sends the form of a page whose action ends with a name.
func (b *browser) send(p *forms.Page, action string) *forms.Page {
	b.t.Helper()
	i := slices.IndexFunc(p.Forms, func(f forms.Form) bool {
		return f.Post && strings.HasSuffix(f.Action.Path, "/"+action)
	})
	if i < 0 {
		b.t.Fatalf("%q has no form %s", p.Title, action)
	}
	next, err := b.Send(b.t.Context(), p, &p.Forms[i])
	must(b.t, err)
	return next
}

// request is an authorization request of the app.
func (a *app) request(verifier string) string {
	a.t.Helper()
	location, err := a.at[a.a].AuthorizationURL(a.found, client.Authorization{
		ClientID:    a.ID,
		RedirectURI: callback,
		Scope:       personal,
		State:       client.NewSecret(),
		Verifier:    verifier,
		Further:     url.Values{"aud": {a.a.Base}},
	}, trace.NewTrace("test", time.Now()))
	must(a.t, err)
	return location
}

// allowed has the person allow what the app asks for, and returns the code and its
// verifier.
func (a *app) allowed(b *browser) (code, verifier string) {
	a.t.Helper()
	verifier = client.NewSecret()
	person := forms.Person{
		Username: username,
		Password: password,
	}
	back, err := person.Visit(a.t.Context(), b.Browser, a.request(verifier))
	must(a.t, err)
	query, err := url.ParseQuery(back)
	must(a.t, err)
	if code = query.Get("code"); code == "" {
		a.t.Fatalf("the person came back with %v", query)
	}
	return code, verifier
}

// exchange redeems a code.
func (a *app) exchange(at *servertest.Destination, code, verifier string) *client.Token {
	a.t.Helper()
	token, _ := a.at[at].Exchange(a.t.Context(), a.found, client.CodeRequest{ // the status says it
		ClientID:    a.ID,
		Code:        code,
		RedirectURI: callback,
		Verifier:    verifier,
		Scope:       personal,
	})
	return token
}

// refresh asks for tokens by a refresh token.
func (a *app) refresh(at *servertest.Destination, token *client.Token) *client.Token {
	a.t.Helper()
	next, _ := a.at[at].Refresh(a.t.Context(), a.found, client.RefreshRequest{ // the status says it
		ClientID: a.ID,
		Refresh:  token.Refresh,
	})
	return next
}

// granted has the person of a browser allow the app, which gets its tokens where the
// browser is.
func (a *app) granted(b *browser) *client.Token {
	a.t.Helper()
	code, verifier := a.allowed(b)
	token := a.exchange(b.at, code, verifier)
	if token.Refresh == "" {
		a.t.Fatalf("no tokens: %d %v", statusOf(token), token.Refusal)
	}
	return token
}

// post posts an authenticated form to an endpoint of the authorization server.
func (a *app) post(at *servertest.Destination, endpoint string, form url.Values) (status int, text string) {
	a.t.Helper()
	res := at.Do("POST", at.Issuer+endpoint, strings.NewReader(authenticated(a.t, at, a.id, a.ID, endpoint, form)),
		"Content-Type", "application/x-www-form-urlencoded")
	b, err := io.ReadAll(res.Body)
	must(a.t, err)
	return res.StatusCode, string(b)
}

// revoke revokes a token.
func (a *app) revoke(at *servertest.Destination, token string) {
	a.t.Helper()
	if status, text := a.post(at, "/revoke", url.Values{"token": {token}}); status != http.StatusOK {
		a.t.Fatalf("the revocation: %d %s", status, text)
	}
}
