package oauth_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// nobody is an Interaction that asks nobody: it answers with what it was given.
type nobody struct{}

func (nobody) Authorize(w http.ResponseWriter, _ *http.Request, _ *oauth.AuthorizationRequest) {
	w.WriteHeader(http.StatusOK)
}

func (nobody) Refuse(w http.ResponseWriter, _ *http.Request, refusal *oauth.Refusal, _ *trace.Trace) {
	w.WriteHeader(refusal.Status)
}

func (nobody) Reach(context.Context, *oauth.Grant) (oauth.Reach, error) {
	return oauth.Reach{
		Enabled:     true,
		AllPatients: true,
	}, nil
}

// peopled is an environment in which a person agrees at once to whatever a client
// asks for.
type peopled struct {
	*env

	mu       sync.Mutex // guards all below
	disabled bool       // the person may no longer sign in
	patients []string   // whose data the person may see
	session  oauth.Session
	asked    *oauth.AuthorizationRequest // of the last page
	edit     func(*oauth.Approval)       // of what the person agrees to; may be nil
}

// scopeOfPeople is what the clients of these tests register for.
const scopeOfPeople = "openid fhirUser offline_access online_access launch/patient patient/Patient.rs " +
	"patient/Observation.rs user/Patient.rs"

func newPeople(t *testing.T, edit ...func(*oauth.Config)) *peopled {
	t.Helper()
	p := &peopled{patients: []string{"pat-1"}}
	set := func(c *oauth.Config) {
		c.Interaction = p
		c.Personal = catalogue(t, strings.Fields(scopeOfPeople)...)
	}
	p.env = newEnv(t, append([]func(*oauth.Config){set}, edit...)...)
	return p
}

// Authorize implements oauth.Interaction.
func (p *peopled) Authorize(w http.ResponseWriter, r *http.Request, req *oauth.AuthorizationRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = req
	a := oauth.Approval{
		Person: oauth.Person{
			Subject:  "person-1",
			FHIRUser: "Patient/pat-1",
			Name:     "A Person",
			SignedIn: p.now(),
		},
		Session: p.session,
		Patient: "pat-1",
		Scope:   req.Scope,
	}

	if p.edit != nil {
		p.edit(&a)
	}

	location, err := p.svc.Approve(r.Context(), req, a)
	if err != nil {
		p.Refuse(w, r, oauth.RefusalOf(err), req.Trace)
		return
	}
	oauth.SeeOther(w, location)
}

// Refuse implements oauth.Interaction.
func (p *peopled) Refuse(w http.ResponseWriter, _ *http.Request, refusal *oauth.Refusal, _ *trace.Trace) {
	for name, values := range refusal.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(refusal.Status)
	_, _ = io.WriteString(w, "page: "+refusal.Error())
}

// Reach implements oauth.Interaction.
func (p *peopled) Reach(_ context.Context, g *oauth.Grant) (oauth.Reach, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return oauth.Reach{
		Enabled:   !p.disabled,
		SignedOut: g.Session != "" && g.Session != p.session.ID,
		Patients:  p.patients,
	}, nil
}

// app is a client for people.
type app struct {
	*udaptest.Client
	id trace.ClientID
	p  *peopled
}

const redirectURI = "https://client1.test/cb"

// app registers a client of community A.
func (p *peopled) app(uri string, edit ...func(udaptest.Claims) udaptest.Claims) *app {
	p.t.Helper()
	return p.appOf(p.w.A, uri, edit...)
}

func (p *peopled) appOf(h *udaptest.Hierarchy, uri string, edit ...func(udaptest.Claims) udaptest.Claims) *app {
	p.t.Helper()
	c := p.client(h, uri)
	a := &app{
		Client: c,
		p:      p,
	}
	a.register(edit...)
	return a
}

// register registers an app, or changes its registration.
func (a *app) register(edit ...func(udaptest.Claims) udaptest.Claims) {
	a.p.t.Helper()
	claims := a.Interactive(a.p.now()).With("scope", scopeOfPeople).
		With("grant_types", []string{"authorization_code", "refresh_token"}).
		With("redirect_uris", []string{redirectURI, "https://client1.test/other?x=1"})
	for _, f := range edit {
		claims = f(claims)
	}
	answer := a.p.env.register(a.Client, claims)
	if answer.status != 201 && answer.status != 200 {
		a.p.t.Fatalf("registration: %d %s", answer.status, answer.body)
	}

	a.id = trace.ClientID(answer.text("client_id"))
}

const verifier = "a-verifier-of-the-test-with-43-characters-or-more"

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// query returns the parameters of a good authorization request, changed.
func (a *app) query(params ...string) url.Values {
	v := url.Values{
		"response_type":         {"code"},
		"client_id":             {string(a.id)},
		"redirect_uri":          {redirectURI},
		"state":                 {"the state"},
		"scope":                 {scopeOfPeople},
		"code_challenge":        {challengeOf(verifier)},
		"code_challenge_method": {"S256"},
	}
	set(v, params)

	return v
}

// browse asks the authorization endpoint as a browser does, by GET or by POST.
func (p *peopled) browse(method, query string) answer {
	p.t.Helper()
	target, body := p.server.URL+"/oauth/authorize", io.Reader(nil)
	if method == "POST" {
		body = strings.NewReader(query)
	} else {
		target += "?" + query
	}

	req, err := http.NewRequest(method, target, body)
	if err != nil {
		p.t.Fatal(err)
	}
	if method == "POST" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}

	client := *p.server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()

	b, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if res.StatusCode >= 500 || res.Header.Get("Trace-Id") == "" || res.Header.Get("Cache-Control") != "no-store" ||
		res.Header.Get("Referrer-Policy") != "no-referrer" {
		p.t.Errorf("answered %d with %v: %s", res.StatusCode, res.Header, b)
	}

	return answer{
		status: res.StatusCode,
		header: res.Header,
		body:   b,
	}
}

// redirected returns the parameters of a redirect to the client.
func (p *peopled) redirected(a answer, to string) url.Values {
	p.t.Helper()
	location := a.header.Get("Location")
	rest, ok := strings.CutPrefix(location, to)
	if a.status != http.StatusSeeOther || !ok {
		p.t.Fatalf("answered %d %s: %s", a.status, location, a.body)
	}
	v, err := url.ParseQuery(rest[1:])
	if err != nil {
		p.t.Fatal(err)
	}

	if v.Get("iss") != issuer {
		p.t.Errorf("iss %q in %s", v.Get("iss"), location)
	}
	return v
}

// code has the person agree and returns the code.
func (a *app) code(params ...string) string {
	a.p.t.Helper()
	v := a.p.redirected(a.p.browse("GET", a.query(params...).Encode()), redirectURI)
	if v.Get("code") == "" {
		a.p.t.Fatalf("no code: %v", v)
	}
	return a.p.secret(v.Get("code"))
}

// redeem sends a code to the token endpoint.
func (a *app) redeem(code string, params ...string) answer {
	a.p.t.Helper()
	params = append([]string{
		"grant_type", "authorization_code",
		"scope", "-",
		"code", code,
		"redirect_uri", redirectURI,
		"code_verifier", verifier,
	}, params...)
	return a.kept(a.p.token(a.Client, a.assertion(), params...))
}

// assertion is the authentication token of a client for people.
func (a *app) assertion() udaptest.Claims {
	return udaptest.Assertion(a.id, a.p.now()).With("extensions", udaptest.Absent)
}

// refresh sends a refresh token to the token endpoint.
func (a *app) refresh(token string, params ...string) answer {
	a.p.t.Helper()
	params = append([]string{"grant_type", "refresh_token", "scope", "-", "refresh_token", token}, params...)
	return a.kept(a.p.token(a.Client, a.assertion(), params...))
}

// kept remembers what must not come into a trace.
func (a *app) kept(answer answer) answer {
	if text := answer.text("refresh_token"); text != "" {
		a.p.secret(text)
	}
	return answer
}

// tokens has the person agree and redeems the code.
func (a *app) tokens(params ...string) (access, refresh string) {
	a.p.t.Helper()
	got := a.redeem(a.code(params...))
	if got.status != 200 {
		a.p.t.Fatalf("%d %s", got.status, got.body)
	}
	return got.text("access_token"), got.text("refresh_token")
}

// works reports whether an access token does, as data and introspection agree.
func (a *app) works(token string) bool {
	a.p.t.Helper()
	_, err := a.p.bearer(token)
	if active := a.p.active(a.Client, a.id, token); active != (err == nil) {
		a.p.t.Errorf("active %v at introspection, and for data: %v", active, err)
	}
	return err == nil
}

// refusedCode asserts that a token request is refused with a code.
func (a *app) refusedCode(name, code string, got answer) {
	a.p.t.Helper()
	if got.status != 400 || got.text("error") != code {
		a.p.t.Errorf("%s: %d %s, want %s", name, got.status, got.body, code)
	}
	if got.text("access_token")+got.text("refresh_token") != "" {
		a.p.t.Errorf("%s: tokens in a refusal", name)
	}
}

// signIn has the person be in a session that ends after d.
func (p *peopled) signIn(session string, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.session = oauth.Session{
		ID:      session,
		Expires: p.now().Add(d),
	}
}

// later lets days go by, with current lists of revoked certificates.
func (p *peopled) later(d time.Duration) {
	p.t.Helper()
	p.advance(d)
	p.w.Now = p.now()
	p.w.Publish(p.t, p.w.A.Root)
	p.w.Publish(p.t, p.w.A.Int)
}

// change changes something that answers depend on.
func (p *peopled) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}
