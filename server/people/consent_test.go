package people_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// allow opens an authorization request in a browser in which its person is signed in
// or signs in, and allows it.
func (b *browser) allow(location, username string) {
	b.t.Helper()
	b.open(location)
	if strings.Contains(b.page, `name="password"`) {
		b.signIn(username)
	}
	b.send("approve")
}

// What is unticked is not granted, what is required is, and nothing is no choice.
func TestScopesCanBeUnticked(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	b.open(a.authorize(scopes))
	b.signIn("alice")

	b.send("approve", "scope", "")
	b.shows(http.StatusUnprocessableEntity, "Please tick at least one thing to share")
	b.send("approve", "scope", "patient/Condition.rs")
	e.grants(t, a, b, "openid launch/patient patient/Condition.rs")

	b.open(a.authorize(scopes, "prompt", "consent"))
	b.send("approve", "scope", "patient/Patient.cruds system/*.rs patient/Condition.rs")
	e.grants(t, a, b, "openid launch/patient patient/Condition.rs")
}

// To stay connected is no choice by itself, where it is all that is ticked and where it
// is all that is left of a remembered decision; leaving it out is one.
func TestStayingConnectedAlone(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	const both = "user/Patient.rs offline_access"
	b.open(a.authorize(both))
	b.signIn("alice")
	b.send("approve", "scope", "offline_access")
	b.shows(http.StatusUnprocessableEntity, "Please tick at least one thing to share")

	const more = "openid fhirUser patient/Condition.rs " + both
	b.open(a.authorize(more))
	b.send("approve", "scope", "patient/Condition.rs offline_access")
	b.code()
	b.open(a.authorize(both))
	b.shows(http.StatusOK, "Allow access")

	const identity = "openid offline_access"
	b.open(a.authorize(identity, "prompt", "consent"))
	b.send("approve", "scope", "")
	e.grants(t, a, b, "openid")
}

// grants fails unless the code that a browser brings back is worth a scope.
func (e *env) grants(t *testing.T, a *app, b *browser, scope string) {
	t.Helper()
	e.granted(t, a, b.code(), scope)
}

// A client that asks only who the person is does not ask for health information.
func TestIdentityOnly(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	b.open(a.authorize("openid fhirUser"))
	b.signIn("visitor")
	b.shows(http.StatusOK, "Tell this application who you are?")
	b.send("approve")
	e.grants(t, a, b, "openid fhirUser")
}

// The person can say no, at sign-in and afterwards, and the client learns no more.
func TestDoNotAllow(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	b.open(a.authorize(scopes))
	b.send("cancel")
	if q := b.answer(); q.Get("error") != "access_denied" {
		t.Errorf("cancelled at sign-in: %v", q)
	}

	b.open(a.authorize(scopes))
	b.signIn("alice")
	b.send("deny")
	if q := b.answer(); q.Get("error") != "access_denied" || q.Get("code") != "" {
		t.Errorf("denied: %v", q)
	}
}

// A person who agreed is not asked again for the same; prompt and max_age have the last
// word.
//
// Covers: S1-265, S1-266, S1-267, S1-268, case 193
func TestPromptAndMaxAge(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	refused := func(name, code string, further ...string) {
		t.Helper()
		b.open(a.authorize(scopes, further...))
		if q := b.answer(); q.Get("error") != code {
			t.Errorf("%s: %v, want %s", name, q, code)
		}
	}

	refused("nobody is signed in", "login_required", "prompt", "none")
	refused("none beside another", "invalid_request", "prompt", "none login")
	b.open(a.authorize(scopes))
	b.signIn("alice")
	refused("not agreed to", "consent_required", "prompt", "none")
	b.allow(a.authorize(scopes), "alice")
	e.grants(t, a, b, scopes)

	b.open(a.authorize(scopes, "prompt", "none"))
	e.grants(t, a, b, scopes)
	b.open(a.authorize(scopes))
	e.grants(t, a, b, scopes)
	b.open(a.authorize("openid patient/Condition.rs", "prompt", "none"))
	e.grants(t, a, b, "openid patient/Condition.rs")
	b.open(a.authorize(scopes+" fhirUser", "prompt", "none"))
	if q := b.answer(); q.Get("error") != "consent_required" {
		t.Errorf("more than was agreed to: %v", q)
	}
	refused("signed in too long ago", "login_required", "prompt", "none", "max_age", "0")

	b.open(a.authorize(scopes, "prompt", "consent"))
	b.shows(http.StatusOK, "Allow access")
	for _, further := range [][]string{{"prompt", "login"}, {"prompt", "select_account"}, {"max_age", "0"}} {
		b.open(a.authorize(scopes, further...))
		b.shows(http.StatusOK, "Sign in", "Health Companion")
		b.signIn("alice")
		e.grants(t, a, b, scopes)
	}

	b.open(a.authorize(scopes, "max_age", "3600"))
	e.grants(t, a, b, scopes)
	b.open(a.authorize(scopes, "prompt", "login consent"))
	b.signIn("alice")
	b.shows(http.StatusOK, "Allow access")
}

// A client that names whom it is about gets no other person's grant, and the right
// person can sign in.
//
// Covers: S1-262
func TestHintOfAnotherPerson(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	b.allow(a.authorize("openid"), "alice")
	token, err := a.exchange(b.code(), "openid")
	if err != nil {
		t.Fatal(err)
	}

	hint := []string{"id_token_hint", token.Text("id_token")}
	b.open(a.authorize("openid", append(hint, "prompt", "none")...))
	e.grants(t, a, b, "openid")

	b = e.browser()
	b.allow(a.authorize("openid"), "doctor")
	b.code()
	b.open(a.authorize("openid", append(hint, "prompt", "none")...))
	if q := b.answer(); q.Get("error") != "login_required" {
		t.Errorf("prompt=none: %v", q)
	}
	b.open(a.authorize("openid", hint...))
	b.shows(http.StatusOK, "Sign in", "Health Companion")
	b.signIn("alice")
	b.code()
	b.open(a.authorize("openid", append(hint, "prompt", "login")...))
	b.signIn("doctor")
	if q := b.answer(); q.Get("error") != "login_required" {
		t.Errorf("another person signed in: %v", q)
	}
}

// A parent, and staff, must choose a patient: prompt=none cannot.
func TestPromptNoneWithoutPatient(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	for _, username := range []string{"parent", "doctor", "visitor"} {
		b := e.browser()
		b.open(site + "/signin")
		b.signIn(username)
		b.open(a.authorize(scopes, "prompt", "none"))
		if q := b.answer(); q.Get("error") != "interaction_required" {
			t.Errorf("%s: %v", username, q)
		}
	}
}

// The person is asked again when who asks, or what they may do with an answer, has
// changed. A renewed certificate of the same names is no change.
//
// Covers: case 134
func TestChangesAreAskedAgain(t *testing.T) {
	e := newEnv(t)
	id := e.Client(e.A, "https://client.test/app")
	a := e.appOf(e.A, id, registration())
	b := e.browser()
	b.allow(a.authorize(scopes), "alice")
	b.code()

	renewed := e.Issue("client", e.A, e.Key("p256"), "https://client.test/app")
	a.client = e.Originator(e.A, renewed)
	a.register(registration())
	b.open(a.authorize(scopes))
	b.code()

	renamed := e.Issue("another name", e.A, e.Key("p256"), "https://client.test/app")
	for _, row := range []struct {
		name   string
		change func(*client.Registration)
	}{
		{"name", func(r *client.Registration) { r.ClientName = "Your Hospital Login" }},
		{"logo", func(r *client.Registration) { r.LogoURI = "https://client.test/other.png" }},
		{"redirect", func(r *client.Registration) { r.RedirectURIs = append(r.RedirectURIs, "https://other.test/cb") }},
		{"home", func(r *client.Registration) { r.ClientURI = "https://client.test/home" }},
		{"certificate", func(*client.Registration) { a.client = e.Originator(e.A, renamed) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := registration()
			row.change(&r)
			a.register(r)
			b.t = t
			b.open(a.authorize(scopes))
			b.shows(http.StatusOK, "Allow access")
			b.send("approve")
			b.code()
			b.open(a.authorize(scopes))
			b.code()
		})
	}
}

// What is not to be remembered is not.
func TestNotRemembered(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	b.open(a.authorize(scopes))
	b.signIn("alice")
	b.send("approve", "remember", "")
	b.code()
	b.open(a.authorize(scopes))
	b.shows(http.StatusOK, "Allow access")
}

// A client that changes, or is cancelled, while its page is open gets nothing by that
// page.
//
// Covers: case 202
func TestChangeWhilePageIsOpen(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	b.open(a.authorize(scopes))
	b.signIn("alice")

	r := registration()
	r.ClientName = "Your Hospital Login"
	a.register(r)
	b.send("approve")
	b.shows(http.StatusConflict, "The application has changed", "Your Hospital Login", "Health")
	if b.leap != "" {
		t.Errorf("the client got an answer: %s", b.leap)
	}
	b.send("approve")
	b.code()

	b.open(a.authorize(scopes, "prompt", "consent"))
	if _, err := a.client.Cancel(context.Background(), a.found, registration()); err != nil {
		t.Fatal(err)
	}
	b.send("approve")
	b.shows(http.StatusBadRequest, "is not known to this server")
	if b.leap != "" {
		t.Errorf("a cancelled client got an answer: %s", b.leap)
	}
}

// A person gives access to the patients that they may share, and to no others,
// whatever the form has.
func TestPatients(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	chosen := func(b *browser) string {
		t.Helper()
		token, err := a.exchange(b.code(), scopes)
		if err != nil {
			t.Fatal(err)
		}
		return token.Text("patient")
	}

	b := e.browser()
	b.open(a.authorize(scopes))
	b.signIn("alice")
	b.send("approve", "patient", e.patients[1])
	b.shows(http.StatusForbidden)
	b.open(a.authorize(scopes))
	b.send("approve")
	if got := chosen(b); got != e.patients[0] {
		t.Errorf("alice: patient %s", got)
	}

	b = e.browser()
	b.open(a.authorize(scopes))
	b.signIn("parent")
	b.shows(http.StatusOK, "Whose record is this about?")
	b.send("choose", "patient", e.patients[2])
	b.shows(http.StatusForbidden)
	b.open(a.authorize(scopes))
	b.send("choose", "patient", e.patients[1])
	b.shows(http.StatusOK, "Choose another patient")
	b.send("other")
	b.shows(http.StatusOK, "Whose record is this about?")
	b.send("choose", "patient", e.patients[0])
	b.send("approve", "patient", e.patients[1]) // not the one of the page
	b.shows(http.StatusConflict, "has changed")
	b.open(a.authorize(scopes))
	b.send("choose", "patient", e.patients[1])
	b.send("approve")
	if got := chosen(b); got != e.patients[1] {
		t.Errorf("parent: patient %s", got)
	}
	b.open(a.authorize(scopes))
	b.send("choose", "patient", e.patients[0]) // remembered: the choice is all that is asked
	if got := chosen(b); got != e.patients[0] {
		t.Errorf("parent, again: patient %s", got)
	}

	b = e.browser()
	b.open(a.authorize(scopes))
	b.signIn("visitor")
	b.shows(http.StatusOK, "There is no health record for your account")
	b.send("cancel")
	if q := b.answer(); q.Get("error") != "access_denied" {
		t.Errorf("visitor: %v", q)
	}
}

// Staff search for a patient by name, birth date or number.
func TestPatientSearch(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	b.open(a.authorize(scopes))
	b.signIn("doctor")
	for _, row := range []struct {
		name, text string
		status     int
		shows      []string
	}{
		{"nothing", " ", http.StatusUnprocessableEntity, []string{"Please write a name"}},
		{"a number", "MRN000002", http.StatusOK, []string{"One patient found", "MRN000002"}},
		{"nobody", "Nobodyofthisname", http.StatusOK, []string{"No patient found"}},
		{"signs of the search's own", `a,b|c$d\ %00 _has:x ":exact`, http.StatusOK, []string{"No patient found"}},
		{"a date", "1800-01-01", http.StatusOK, []string{"No patient found"}},
		{"very long", strings.Repeat("x ", 2000), http.StatusOK, []string{"No patient found"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			b.t = t
			b.send("search", "text", row.text)
			b.shows(row.status, row.shows...)
			if strings.Contains(b.last, "text=") {
				t.Error("what was searched for is in the address")
			}
		})
	}

	b.t = t
	b.send("search", "text", "MRN000002")
	b.send("choose")
	b.shows(http.StatusOK, "MRN000002")
	b.send("approve")
	b.code()
}

// A person who is not staff finds nobody, whatever the form has.
func TestOnlyStaffSearch(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	b.open(a.authorize(scopes))
	b.signIn("parent")
	b.send("choose", "do", "search", "text", "MRN000003", "patient", "")
	b.shows(http.StatusOK, "Please choose from the list")
	if strings.Contains(b.page, "MRN000003") {
		t.Error("a person who is not staff found a patient")
	}
}

// The person can sign in as somebody else for the same request.
func TestSwitchAccount(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	b.open(a.authorize(scopes))
	b.signIn("parent")
	before := b.named("session")
	b.send("switch")
	b.shows(http.StatusOK, "Sign in", "Health Companion")
	if b.named("session") == before {
		t.Error("the session goes on")
	}
	b.signIn("alice")
	b.shows(http.StatusOK, "Alice Patient", "Allow access")
	b.send("approve")
	b.code()
}

// A form of another site brings no cookie; the person is not asked to sign in again for
// that.
func TestPostedRequest(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	b.open(site + "/signin")
	b.signIn("alice")
	jar := b.http.Jar

	location := a.authorize(scopes)
	endpoint, query, _ := strings.Cut(location, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	bare := e.browser() // as the browser sends the form: without the cookies
	req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(values.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", "https://client.test")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	res, err := bare.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusSeeOther {
		t.Fatalf("%s, want 303 to the same request by GET", res.Status)
	}

	b.http.Jar = jar
	b.open(res.Header.Get("Location"))
	b.shows(http.StatusOK, "Allow access", "Alice Patient")
	b.send("approve")
	b.code()
}

// Two communities' clients of one URI are two clients: what is remembered of one is
// not of the other, and each page names its own community.
func TestTwoCommunities(t *testing.T) {
	e := newEnv(t)
	const uri = "https://client.test/app"
	one := e.appOf(e.A, e.Client(e.A, uri), registration())
	two := e.appOf(e.B, e.Client(e.B, uri), registration())
	b := e.browser()
	b.open(one.authorize(scopes))
	b.signIn("alice")
	b.shows(http.StatusOK, "Community a")
	b.send("approve")
	e.grants(t, one, b, scopes)

	b.open(two.authorize(scopes))
	b.shows(http.StatusOK, "Allow access", "Community b")
	b.send("approve")
	e.grants(t, two, b, scopes)
}

// What was remembered, and who is signed in, is there after a restart.
func TestRememberedAfterRestart(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	b.allow(a.authorize(scopes), "alice")
	b.code()
	b.open(a.authorize(scopes, "prompt", "consent"))

	e.restart()
	b.http.Transport = e.HTTP.Transport
	b.send("approve") // the page was shown before
	b.code()
	b.open(a.authorize(scopes))
	b.code()
}

// Every decision is in the record, with the person and without a secret.
//
// Covers: case 200
func TestDecisionsAreRecorded(t *testing.T) {
	e := newEnv(t, func(w *servertest.Env) { w.Config.Explain = "operator" })
	a := e.app("https://client.test/app")
	b := e.browser()
	b.allow(a.authorize(scopes), "alice")
	code := b.code()

	id := b.res.Header.Get("Trace-Id")
	res, err := http.Get(e.Admin + "/traces/" + id)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	text := string(body)
	for _, want := range []string{"subject-of-alice", "consent.choice", "authorize.approved", string(a.ClientID)} {
		if !strings.Contains(text, want) {
			t.Errorf("the trace has no %s: %s", want, text)
		}
	}
	for _, secret := range []string{code, password, b.named("session"), b.named("visit")} {
		if strings.Contains(text, secret) || strings.Contains(e.Log.String(), secret) {
			t.Errorf("a secret is in the record: %.12s", secret)
		}
	}
}
