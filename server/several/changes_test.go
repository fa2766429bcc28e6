package several_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/servertest"
)

// effect is a change at one destination, and what it changes at the other.
type effect struct {
	change        func()
	probe         func() int // what the other answers
	before, after int
}

// refuses is the effect of a change after which what was answered is not authorized.
func refuses(change func(), probe func() int) effect {
	return effect{
		change: change,
		probe:  probe,
		before: http.StatusOK,
		after:  http.StatusUnauthorized,
	}
}

// changes are what is in force at the other destination on its next request. They
// begin with a client and a person of their own.
var changes = []struct {
	name  string
	begin func(d *destinations, uri string, at, other *servertest.Destination) effect
}{
	{"a registration for less", registrationForLess},
	{"a cancellation, for tokens", cancellationForTokens},
	{"a cancellation, for token requests", cancellationForRequests},
	{"a new registration", newRegistration},
	{"a revoked token", revokedToken},
	{"a revoked refresh token", revokedRefresh},
	{"a spent authentication token", spentAssertion},
	{"a spent code", spentCode},
	{"a rotated refresh token", rotatedRefresh},
	{"a withdrawn grant, for tokens", withdrawnForTokens},
	{"a withdrawn grant, for refresh tokens", withdrawnForRefresh},
	{"a sign-in", signIn},
	{"a sign-out", signOut},
	{"a decision on the consent page", decision},
	{"a resource", resource},
	{"a deleted resource", deletedResource},
	{"a label", labelled},
	{"a Consent that denies", consentDenies},
	{"a Consent that is inactive", consentInactive},
	{"a cancelled job", cancelledJob},
}

// What is changed at one destination is in force at the other on its next request, also
// when that one has just answered with what was before; both ways.
//
// Covers: ER-18
func TestChangesAreInForceAtTheOther(t *testing.T) {
	d := newDestinations(t, func(w *servertest.Env) { w.Config.Consents.Default = "permit" })
	for i, c := range changes {
		for _, way := range []struct {
			name      string
			at, other *servertest.Destination
		}{
			{"a to b", d.a, d.b},
			{"b to a", d.b, d.a},
		} {
			t.Run(c.name+" "+way.name, func(t *testing.T) {
				here := *d
				here.t = t
				e := c.begin(&here, fmt.Sprintf("https://%c%d.test/app", way.name[0], i), way.at, way.other)
				for range 3 {
					if e.before == 0 {
						break // it can be asked once
					}
					if status := e.probe(); status != e.before {
						t.Fatalf("before: %d, want %d", status, e.before)
					}
				}
				e.change()
				if status := e.probe(); status != e.after {
					t.Errorf("after the change at the other destination: %d, want %d", status, e.after)
				}
			})
		}
	}
}

// reading is a probe that reads with a token.
func reading(at *servertest.Destination, path, token string) func() int {
	return func() int { return get(at, path, token) }
}

func registrationForLess(d *destinations, uri string, at, other *servertest.Destination) effect {
	a := d.app(uri)
	less := a.reg
	less.Scope = "system/Observation.rs"
	return refuses(func() { a.register(at, less) }, reading(other, "Patient", a.token(at)))
}

func cancellationForTokens(d *destinations, uri string, at, other *servertest.Destination) effect {
	a := d.app(uri)
	return refuses(func() { a.cancel(at) }, reading(other, "Patient", a.token(other)))
}

func cancellationForRequests(d *destinations, uri string, at, other *servertest.Destination) effect {
	a := d.app(uri)
	return effect{
		change: func() { a.cancel(at) },
		probe:  func() int { return statusOf(a.ask(other)) },
		before: http.StatusOK,
		after:  http.StatusBadRequest,
	}
}

func newRegistration(d *destinations, uri string, at, other *servertest.Destination) effect {
	a := d.app(uri)
	a.cancel(other)
	return effect{
		change: func() { a.register(at, a.reg) },
		probe:  func() int { return statusOf(a.ask(other)) },
		before: http.StatusBadRequest,
		after:  http.StatusOK,
	}
}

func revokedToken(d *destinations, uri string, at, other *servertest.Destination) effect {
	a := d.app(uri)
	token := a.token(other)
	return refuses(func() { a.revoke(at, token) }, reading(other, "Patient", token))
}

func revokedRefresh(d *destinations, uri string, at, other *servertest.Destination) effect {
	a := d.forPeople(uri)
	token := a.granted(d.browser(other))
	return refuses(func() { a.revoke(at, token.Refresh) }, reading(other, "Observation", token.Access))
}

func spentAssertion(d *destinations, uri string, at, other *servertest.Destination) effect {
	a := d.app(uri)
	form := authenticated(d.t, at, a.id, a.ID, "/token", url.Values{"grant_type": {"client_credentials"}})
	ask := func(to *servertest.Destination) int {
		res := to.Do("POST", to.Issuer+"/token", strings.NewReader(form),
			"Content-Type", "application/x-www-form-urlencoded")
		return res.StatusCode
	}
	return effect{
		change: func() {
			if status := ask(at); status != http.StatusOK {
				d.t.Errorf("the first: %d", status)
			}
		},
		probe: func() int { return ask(other) },
		after: http.StatusBadRequest,
	}
}

func spentCode(d *destinations, uri string, at, other *servertest.Destination) effect {
	a := d.forPeople(uri)
	code, verifier := a.allowed(d.browser(other))
	return effect{
		change: func() {
			if token := a.exchange(at, code, verifier); token.Access == "" {
				d.t.Errorf("the first: %d %v", statusOf(token), token.Refusal)
			}
		},
		probe: func() int { return statusOf(a.exchange(other, code, verifier)) },
		after: http.StatusBadRequest,
	}
}

func rotatedRefresh(d *destinations, uri string, at, other *servertest.Destination) effect {
	a := d.forPeople(uri)
	token := a.granted(d.browser(other))
	return effect{
		change: func() {
			next := a.refresh(at, token)
			if next = a.refresh(at, next); next.Access == "" { // a token is replaced when its successor is used
				d.t.Errorf("the second: %d %v", statusOf(next), next.Refusal)
			}
		},
		probe: func() int { return statusOf(a.refresh(other, token)) },
		after: http.StatusBadRequest,
	}
}

// withdrawn is a grant that the person takes back on the page of one destination.
func withdrawn(d *destinations, uri string, at, other *servertest.Destination) (*app, string, string, func()) {
	a := d.forPeople(uri)
	b := d.browser(other)
	token := a.granted(b)
	return a, token.Access, token.Refresh, func() {
		b.at = at
		if p := b.send(b.open("grants"), "grants"); p.Status != http.StatusOK {
			d.t.Errorf("the withdrawal: %d %s", p.Status, p.Title)
		}
	}
}

func withdrawnForTokens(d *destinations, uri string, at, other *servertest.Destination) effect {
	_, access, _, change := withdrawn(d, uri, at, other)
	return refuses(change, reading(other, "Observation", access))
}

func withdrawnForRefresh(d *destinations, uri string, at, other *servertest.Destination) effect {
	a, _, refresh, change := withdrawn(d, uri, at, other)
	return effect{
		change: change,
		probe: func() int {
			status, _ := a.post(other, "/token", url.Values{
				"grant_type":    {"refresh_token"},
				"refresh_token": {refresh},
			})
			return status
		},
		after: http.StatusBadRequest,
	}
}

// signedIn is a probe: 200 when the page of grants is shown, else 401.
func signedIn(b *browser, other *servertest.Destination) func() int {
	return func() int {
		b.at = other
		if p := b.open("grants"); p.Title == "Who has access" {
			return http.StatusOK
		}
		return http.StatusUnauthorized
	}
}

func signIn(d *destinations, _ string, at, other *servertest.Destination) effect {
	b := d.browser(other)
	return effect{
		change: func() {
			b.at = at
			b.signIn()
		},
		probe:  signedIn(b, other),
		before: http.StatusUnauthorized,
		after:  http.StatusOK,
	}
}

func signOut(d *destinations, _ string, at, other *servertest.Destination) effect {
	b := d.browser(other)
	b.signIn()
	return effect{
		change: func() {
			b.at = at
			b.send(b.open("signout"), "signout")
		},
		probe:  signedIn(b, other),
		before: http.StatusOK,
		after:  http.StatusUnauthorized,
	}
}

// decision: a person who has allowed an app once is not asked again.
func decision(d *destinations, uri string, at, other *servertest.Destination) effect {
	a := d.forPeople(uri)
	b := d.browser(other)
	b.signIn()
	return effect{
		change: func() {
			b.at = at
			a.granted(b)
		},
		probe: func() int {
			b.at = other
			p, err := b.Open(d.t.Context(), a.request(strings.Repeat("v", 43)))
			must(d.t, err)
			return p.Status
		},
		before: http.StatusOK,
		after:  http.StatusSeeOther,
	}
}

// patient is a Patient with a label or none.
func patient(id, security string) string {
	meta := ""
	if security != "" {
		meta = `"meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"` +
			security + `"}]},`
	}
	return `{"resourceType":"Patient","id":"` + id + `",` + meta + `"active":true}`
}

// own is a name of a patient of a row.
func own(uri string) string {
	return "p-" + strings.TrimSuffix(strings.TrimPrefix(uri, "https://"), ".test/app")
}

// recorded is a patient of a row, whom one destination has stored, with a token and a
// probe that reads the patient at it.
func recorded(d *destinations, uri string, at, other *servertest.Destination) (token, id string, probe func() int) {
	d.t.Helper()
	id = own(uri)
	token = d.app(uri).token(at)
	put(d.t, other, token, "Patient/"+id, patient(id, ""))
	return token, id, reading(other, "Patient/"+id, token)
}

func resource(d *destinations, uri string, at, other *servertest.Destination) effect {
	token := d.app(uri).token(at)
	return effect{
		change: func() { put(d.t, at, token, "Patient/"+own(uri), patient(own(uri), "")) },
		probe:  reading(other, "Patient/"+own(uri), token),
		before: http.StatusNotFound,
		after:  http.StatusOK,
	}
}

func deletedResource(d *destinations, uri string, at, other *servertest.Destination) effect {
	token, id, probe := recorded(d, uri, at, other)
	return effect{
		change: func() { at.Do("DELETE", "/acme/fhir/Patient/"+id, nil, "Authorization", "Bearer "+token) },
		probe:  probe,
		before: http.StatusOK,
		after:  http.StatusGone,
	}
}

func labelled(d *destinations, uri string, at, other *servertest.Destination) effect {
	token, id, probe := recorded(d, uri, at, other)
	return effect{
		change: func() { put(d.t, at, token, "Patient/"+id, patient(id, "R")) },
		probe:  probe,
		before: http.StatusOK,
		after:  http.StatusNotFound,
	}
}

// consent is a Consent of a patient that denies everything while it is active.
func consent(id, status string) string {
	return `{"resourceType":"Consent","id":"` + id + `","status":"` + status + `",
		"scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}]},
		"category":[{"coding":[{"system":"http://loinc.org","code":"59284-0"}]}],
		"patient":{"reference":"Patient/` + id + `"},
		"policyRule":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"OPTOUT"}]}}`
}

func consentDenies(d *destinations, uri string, at, other *servertest.Destination) effect {
	token, id, probe := recorded(d, uri, at, other)
	return effect{
		change: func() { put(d.t, at, token, "Consent/"+id, consent(id, "active")) },
		probe:  probe,
		before: http.StatusOK,
		after:  http.StatusNotFound,
	}
}

func consentInactive(d *destinations, uri string, at, other *servertest.Destination) effect {
	token, id, probe := recorded(d, uri, at, other)
	put(d.t, other, token, "Consent/"+id, consent(id, "active"))
	return effect{
		change: func() { put(d.t, at, token, "Consent/"+id, consent(id, "inactive")) },
		probe:  probe,
		before: http.StatusNotFound,
		after:  http.StatusOK,
	}
}

func cancelledJob(d *destinations, uri string, at, other *servertest.Destination) effect {
	token := d.app(uri).token(at)
	res := other.Do("GET", "/acme/fhir/Patient/$export", nil, "Authorization", "Bearer "+token, "Prefer", "respond-async")
	job := res.Header.Get("Content-Location")
	ask := func(to *servertest.Destination, method string) int {
		return to.Do(method, job, nil, "Authorization", "Bearer "+token).StatusCode
	}
	other.Eventually("the export is done", func() bool { return ask(other, "GET") == http.StatusOK })
	return effect{
		change: func() { ask(at, "DELETE") },
		probe:  func() int { return ask(other, "GET") },
		before: http.StatusOK,
		after:  http.StatusNotFound,
	}
}

// A list that one destination has fetched is the other's, too: a certificate that it
// revokes is refused by the other on the next request, and no earlier list comes back.
func TestRevokedCertificate(t *testing.T) {
	d := newDestinations(t)
	for _, way := range [][2]*servertest.Destination{{d.a, d.b}, {d.b, d.a}} {
		at, other := way[0], way[1]
		a := d.app("https://revoked-" + at.Config.Postgres.Name + ".test/app")
		for range 2 {
			a.token(at)
			a.token(other)
		}

		d.a.Publish("a", d.a.A.Issuing, certs.RevokedEntry{
			Serial: a.id.Chain[0].SerialNumber,
			Time:   time.Now(),
		})
		at.Eventually("the list is in force", func() bool { return statusOf(a.ask(at)) == http.StatusBadRequest })
		if status := statusOf(a.ask(other)); status != http.StatusBadRequest {
			t.Errorf("after it was refused at the other destination: %d", status)
		}
	}
}

// What a destination reads from its own files is its own: a change of them is in force
// at a destination when that one has read them, and at the other when it has.
func TestConfigurationIsEachOnesOwn(t *testing.T) {
	d := newDestinations(t)
	a := d.forPeople("https://online.test/app")
	for name, row := range map[string]struct {
		change func(w *servertest.Env)
		probe  func(b *browser) func(at *servertest.Destination) int
		second int // what the second destination answers before it has read the change
	}{
		"a new password": {
			second: http.StatusUnauthorized, // the first has ended the session, for both
			change: func(w *servertest.Env) { d.write(w, "another horse battery staple", username) },
			probe: func(b *browser) func(*servertest.Destination) int {
				return func(at *servertest.Destination) int { return signedIn(b, at)() }
			},
		},
		"a person who is gone": {
			second: http.StatusOK,
			change: func(w *servertest.Env) { d.write(w, password, "bob") },
			probe: func(b *browser) func(*servertest.Destination) int {
				token := a.granted(b).Access
				return func(at *servertest.Destination) int { return get(at, "Observation", token) }
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := d.browser(d.a)
			b.signIn()
			probe := row.probe(b)
			before := http.StatusOK
			for _, at := range []*servertest.Destination{d.a, d.b} {
				if status := probe(at); status != before {
					t.Errorf("before destination %s has read it: %d", at.Config.Postgres.Name, status)
				}
				row.change(at.Env)
				reload(at)
				if status := probe(at); status != http.StatusUnauthorized {
					t.Errorf("after destination %s has read it: %d", at.Config.Postgres.Name, status)
				}
				before = row.second
			}
			for _, at := range []*servertest.Destination{d.a, d.b} {
				d.write(at.Env, password, username)
				reload(at)
			}
		})
	}
}
