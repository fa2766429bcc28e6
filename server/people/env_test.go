package people_test

import (
	"context"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/people/users"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/trace"
)

const (
	password = "correct horse battery staple"
	verifier = "0123456789-0123456789-0123456789-0123456789"
	site     = "https://fhir.test/acme/oauth"
	callback = "https://client.test/cb"
)

// The people of every destination here. The ids are those of its synthetic patients.
func population(t testing.TB, patients []string) []users.User {
	t.Helper()
	hash, err := users.Hash(password)
	if err != nil {
		t.Fatal(err)
	}

	return []users.User{
		{
			Username: "alice",
			Name:     "Alice Patient",
			Subject:  "subject-of-alice",
			FHIRUser: "Patient/" + patients[0],
			Password: hash,
		},
		{
			Username: "parent",
			Name:     "Pat Parent",
			Subject:  "subject-of-parent",
			FHIRUser: "RelatedPerson/1",
			Patients: patients[:2],
			Password: hash,
		},
		{
			Username: "doctor",
			Name:     "Dr. Dora Ctor",
			Subject:  "subject-of-doctor",
			FHIRUser: "Practitioner/1",
			Password: hash,
		},
		{
			Username: "visitor",
			Name:     "Vic Visitor",
			Subject:  "subject-of-visitor",
			Password: hash,
		},
	}
}

// env is a destination with people.
type env struct {
	*servertest.Destination
	t        testing.TB
	patients []string // ids
}

// newEnv starts a destination with people, after change has had its way.
func newEnv(t testing.TB, change ...func(*servertest.Env)) *env {
	t.Helper()
	e := &env{
		t:        t,
		patients: []string{"none-0", "none-1", "none-2"},
	}
	change = append(change, func(w *servertest.Env) {
		w.Config.Users = "users.json"
		w.Config.Name = "Mercy Hospital"
		e.write(w, population(t, e.patients))
	})
	e.Destination = servertest.Start(t, change...)

	s := e.Session(
		e.A,
		e.Client(e.A, "https://reader.test/app"),
		"system/Patient.rs",
	)
	_, text := e.Get(
		"/acme/fhir/Patient?_elements=id",
		"Authorization",
		"Bearer "+s.Token.Access,
	)
	e.patients = nil
	for _, m := range regexp.MustCompile(`"fullUrl":"[^"]*/Patient/([^"]+)"`).FindAllStringSubmatch(text, -1) {
		e.patients = append(e.patients, m[1])
	}
	if len(e.patients) < 3 {
		t.Fatalf("patients %v of %s", e.patients, text)
	}

	e.repopulate(population(t, e.patients))
	return e
}

func (e *env) write(w *servertest.Env, all []users.User) {
	e.t.Helper()
	if err := users.Write(filepath.Join(w.Dir, "users.json"), all); err != nil {
		e.t.Fatal(err)
	}
}

// repopulate replaces the users of a destination that runs.
func (e *env) repopulate(all []users.User) {
	e.t.Helper()
	e.write(e.Env, all)
	e.Reload <- struct{}{}
	e.Reload <- struct{}{} // received when the first has been done
}

// app is a registered client with a redirect URI.
type app struct {
	*env
	id        *certs.Identity
	community *certs.Community
	client    *client.Client
	found     *client.Discovery
	ClientID  trace.ClientID
}

// registration is what an app registers.
func registration() client.Registration {
	return client.Registration{
		ClientName:   "Health Companion",
		Contacts:     []string{"mailto:help@client.test"},
		LogoURI:      "https://client.test/logo.png",
		ClientURI:    "https://client.test/",
		TosURI:       "https://client.test/terms",
		PolicyURI:    "https://client.test/privacy",
		RedirectURIs: []string{callback},
		GrantTypes:   []string{"authorization_code", "refresh_token"},
		Scope: "openid fhirUser launch/patient offline_access patient/Observation.rs patient/Condition.rs " +
			"patient/MedicationRequest.rs user/Patient.rs",
	}
}

// app registers a client of community A.
func (e *env) app(uri string) *app {
	e.t.Helper()
	return e.appOf(e.A, e.Client(e.A, uri), registration())
}

func (e *env) appOf(c *certs.Community, id *certs.Identity, r client.Registration) *app {
	e.t.Helper()
	a := &app{
		env:       e,
		id:        id,
		community: c,
		client:    e.Originator(c, id),
	}

	var err error
	if a.found, err = a.client.Discover(context.Background()); err != nil {
		e.t.Fatal(err)
	}
	a.register(r)

	return a
}

func (a *app) register(r client.Registration) {
	a.t.Helper()
	registered, err := a.client.Register(
		context.Background(),
		a.found,
		r,
	)
	if err != nil {
		a.t.Fatal(err)
	}
	a.ClientID = registered.ClientID
}

// authorize returns the URL to which the app sends a browser; further are name, value
// pairs.
func (a *app) authorize(scope string, further ...string) string {
	a.t.Helper()
	more := url.Values{}
	for i := 0; i+1 < len(further); i += 2 {
		more.Set(further[i], further[i+1])
	}
	location, err := a.client.AuthorizationURL(a.found, client.Authorization{
		ClientID:    a.ClientID,
		RedirectURI: callback,
		Scope:       scope,
		State:       "state-of-the-app-0123456789",
		Verifier:    verifier,
		Further:     more,
	}, trace.NewTrace("test", time.Now()))
	if err != nil {
		a.t.Fatal(err)
	}

	return location
}

// exchange redeems a code.
func (a *app) exchange(code, scope string) (*client.Token, error) {
	a.t.Helper()
	return a.client.Exchange(context.Background(), a.found, client.CodeRequest{
		ClientID:    a.ClientID,
		Code:        code,
		RedirectURI: callback,
		Verifier:    verifier,
		Scope:       scope,
	})
}

// browser is a program that keeps cookies and sends forms as browsers do.
type browser struct {
	t    testing.TB
	http *http.Client
	page string // the last page
	res  *http.Response
	last string // the last URL
	leap string // the URL outside of the destination to which it was redirected
}

func (e *env) browser() *browser {
	e.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		e.t.Fatal(err)
	}
	c := *e.HTTP
	c.Jar = jar

	return &browser{
		t:    e.t,
		http: &c,
	}
}

func (b *browser) do(method, target string, body url.Values, header ...string) {
	b.t.Helper()
	for hops := 0; ; hops++ {
		var text io.Reader
		if body != nil {
			text = strings.NewReader(body.Encode())
		}
		req, err := http.NewRequest(method, target, text)
		if err != nil {
			b.t.Fatal(err)
		}

		if body != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("Origin", "null")
			req.Header.Set("Sec-Fetch-Site", "same-origin")
		}

		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Del(header[i])
			if header[i+1] != "" {
				req.Header.Set(header[i], header[i+1])
			}
		}

		res, err := b.http.Do(req)
		if err != nil {
			b.t.Fatal(err)
		}
		content, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode >= 500 && res.StatusCode != http.StatusServiceUnavailable || hops > 10 {
			b.t.Fatalf(
				"%s %s: %s, %v, %d hops",
				method,
				target,
				res.Status,
				err,
				hops,
			)
		}

		b.res, b.page, b.last, b.leap = res, string(content), target, ""
		location := res.Header.Get("Location")
		if location == "" {
			return
		}

		if res.StatusCode != http.StatusSeeOther {
			b.t.Errorf(
				"%s %s redirects with %s, want 303",
				method,
				target,
				res.Status,
			)
		}
		if !strings.HasPrefix(location, site+"/") {
			b.leap = location
			return
		}
		method, target, body, header = http.MethodGet, location, nil, nil
	}
}

func (b *browser) open(target string, header ...string) {
	b.t.Helper()
	b.do(http.MethodGet, target, nil, header...)
}

var (
	formPattern   = regexp.MustCompile(`(?s)<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>`)
	inputPattern  = regexp.MustCompile(`<input[^>]*>`)
	buttonPattern = regexp.MustCompile(`<button[^>]*value="([^"]*)"`)
)

func attribute(tag, name string) string {
	m := regexp.MustCompile(` ` + name + `="([^"]*)"`).FindStringSubmatch(tag)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

// form returns the fields of the page's form that has a button of a value ("" for a
// button without one), as a browser would send them, and where it goes.
func (b *browser) form(do string) (action string, fields url.Values) {
	b.t.Helper()
	for _, f := range formPattern.FindAllStringSubmatch(b.page, -1) {
		var values []string
		for _, m := range buttonPattern.FindAllStringSubmatch(f[2], -1) {
			values = append(values, m[1])
		}
		has := do == "" && len(values) == 0
		for _, v := range values {
			has = has || v == do && do != ""
		}
		if !has {
			continue
		}

		fields = url.Values{}
		for _, tag := range inputPattern.FindAllString(f[2], -1) {
			if attribute(tag, "type") == "checkbox" && !strings.Contains(tag, " checked") {
				continue
			}
			fields.Add(attribute(tag, "name"), attribute(tag, "value"))
		}

		if do != "" {
			fields.Set("do", do)
		}
		return html.UnescapeString(f[1]), fields
	}

	b.t.Fatalf(
		"no form with a button %q on %s:\n%s",
		do,
		b.last,
		b.page,
	)
	return "", nil
}

// send sends a form of the page, with some fields changed: name, value pairs; an empty
// value removes the field.
func (b *browser) send(do string, changes ...string) {
	b.t.Helper()
	action, fields := b.form(do)
	for i := 0; i+1 < len(changes); i += 2 {
		fields.Del(changes[i])
		if changes[i+1] != "" {
			fields.Set(changes[i], changes[i+1])
		}
	}
	b.do(http.MethodPost, action, fields)
}

// signIn signs a person in on the page that is open.
func (b *browser) signIn(username string) {
	b.t.Helper()
	b.send("signin", "username", username, "password", password)
}

// shows fails unless the page has a status and a text.
func (b *browser) shows(status int, texts ...string) {
	b.t.Helper()
	if b.res.StatusCode != status {
		b.t.Errorf(
			"%s: %s, want %d\n%s",
			b.last,
			b.res.Status,
			status,
			b.page,
		)
	}
	for _, text := range texts {
		if !strings.Contains(b.page, text) {
			b.t.Errorf(
				"%s does not show %q:\n%s",
				b.last,
				text,
				b.page,
			)
		}
	}
}

// answer returns the parameters with which the browser came back to the client.
func (b *browser) answer() url.Values {
	b.t.Helper()
	if !strings.HasPrefix(b.leap, callback+"?") {
		b.t.Fatalf(
			"%s does not lead to the client: %s %q\n%s",
			b.last,
			b.res.Status,
			b.leap,
			b.page,
		)
	}
	u, err := url.Parse(b.leap)
	if err != nil {
		b.t.Fatal(err)
	}

	q := u.Query()
	if q.Get("state") != "state-of-the-app-0123456789" || q.Get("iss") != site {
		b.t.Errorf("%s has another state or iss", b.leap)
	}
	return q
}

// code returns the code that the client got.
func (b *browser) code() string {
	b.t.Helper()
	q := b.answer()
	if q.Get("code") == "" {
		b.t.Errorf("no code: %v", q)
	}
	return q.Get("code")
}
