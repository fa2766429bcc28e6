package tiered_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/server/people/users"
	"fhirdest.example/udap/udaptest"
)

// Only the pair of iss and sub links an account with a user; nothing else that a
// provider claims does, and least of all an e-mail address.
//
// Covers: S1-292, S1-293, S1-296, case 214
func TestAccounts(t *testing.T) {
	e := newEnv(t)
	for name, row := range map[string]struct {
		subject string
		persona map[string]any
		idp     *udaptest.IDP
	}{
		"an unknown person":    {"person-2", nil, e.idp},
		"a user's subject":     {"subject-ana", nil, e.idp},
		"a user's name":        {"ana", map[string]any{"preferred_username": "ana", "name": "ana"}, e.idp},
		"a user's e-mail":      {"x", map[string]any{"email": "ana@fhir.test", "email_verified": true}, e.idp},
		"a user's resource":    {"x", map[string]any{"fhirUser": "Patient/1"}, e.idp},
		"the sub of another":   {"person-1", nil, e.other},
		"another case":         {"Person-1", nil, e.idp},
		"a look-alike":         {"person-\u0661", nil, e.idp},
		"with something after": {"person-1 ", nil, e.idp},
	} {
		t.Run(name, func(t *testing.T) {
			row.idp.Change(func() { row.idp.Subject, row.idp.Persona = row.subject, row.persona })
			b := e.browser()
			p := e.get(b, e.get(b, e.get(b, e.request(row.idp.Base)).location).location)
			want := "access_denied"
			if strings.ContainsFunc(row.subject, func(r rune) bool { return r <= ' ' || r > '~' }) {
				want = "invalid_idp" // no sub that can be compared
			}
			if got := e.told(p); got != want || e.who() != nil {
				t.Errorf("told %s", got)
			}
			if strings.Contains(p.location, "ana") && !strings.Contains(row.subject, "ana") {
				t.Errorf("the client learns of a user: %s", p.location)
			}
		})
	}

	e.idp.Change(func() { e.idp.Subject = "person-1" })
	b := e.browser()
	if e.get(b, e.trip(b)); e.who() == nil {
		t.Error("the person who is linked is not signed in")
	}
}

// matching is an environment with a rule by which people are found. records are the
// claims of each user.
func matching(t *testing.T, records map[string]map[string]string) *env {
	t.Helper()
	return newEnv(t, func(e *env) {
		e.users = nil
		for _, subject := range slices.Sorted(maps.Keys(records)) {
			u := users.User{Username: subject, Subject: subject}
			if subject == "linked" {
				u.Identities = []users.Identity{{Issuer: e.idp.Base, Subject: "somebody-else"}}
			}
			e.users = append(e.users, u)
		}

		e.config.Providers[0].Match = []string{"family_name", "birthdate"}
		e.config.Match = func(_ context.Context, claims map[string]string) (found []string, err error) {
			if claims["family_name"] == "Trouble" {
				return nil, errors.New("no record can be read")
			}
			for subject, r := range records {
				if maps.Equal(r, claims) {
					found = append(found, subject)
				}
			}
			return found, nil
		}
	})
}

// A person who is not linked is found by the configured claims, when they fit exactly
// one user; in every doubt nobody is.
//
// Covers: S1-292, S1-296, case 214, case 215
func TestMatching(t *testing.T) {
	record := func(family, born string) map[string]string {
		return map[string]string{"family_name": family, "birthdate": born}
	}
	e := matching(t, map[string]map[string]string{
		"ana":    record("Alvarez", "1980-01-02"),
		"twin1":  record("Twin", "1990-01-01"),
		"twin2":  record("Twin", "1990-01-01"),
		"linked": record("Linked", "1970-01-01"),
	})

	for name, row := range map[string]struct {
		token, info map[string]any
		want        string // the user, or the error that the client gets
	}{
		"by the ID token":    {persona("Alvarez", "1980-01-02"), nil, "ana"},
		"by userinfo":        {nil, persona("Alvarez", "1980-01-02"), "ana"},
		"by both":            {persona("Alvarez", ""), persona("Other", "1980-01-02"), "ana"},
		"no claims":          {nil, nil, "access_denied"},
		"one is missing":     {persona("Alvarez", ""), nil, "access_denied"},
		"another birthdate":  {persona("Alvarez", "1980-01-03"), nil, "access_denied"},
		"two users":          {persona("Twin", "1990-01-01"), nil, "access_denied"},
		"linked to another":  {persona("Linked", "1970-01-01"), nil, "access_denied"},
		"a list as a claim":  {map[string]any{"family_name": []string{"Alvarez"}, "birthdate": "1980-01-02"}, nil, "access_denied"},
		"records in trouble": {persona("Trouble", "1980-01-02"), nil, "temporarily_unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			e.idp.Change(func() { e.idp.Subject = "not-linked" })
			e.idp.Change(func() { e.idp.IDToken = func(c udaptest.Claims) { maps.Copy(c, row.token) } })
			e.idp.Change(func() { e.idp.UserInfo = func(c udaptest.Claims) { maps.Copy(c, row.info) } })
			b := e.browser()
			p := e.get(b, e.trip(b))
			if who := e.who(); who != nil {
				if who.Subject != row.want || who.IdPSubject != "not-linked" {
					t.Errorf("signed in %+v", who)
				}
			} else if got := e.told(p); got != row.want {
				t.Errorf("told %s, want %s", got, row.want)
			}
		})
	}

	if scope := e.idp.Seen()[0].Get("scope"); scope != "openid udap fhirUser profile" {
		t.Errorf("asked for %q", scope)
	}
}

func persona(family, born string) map[string]any {
	p := map[string]any{"email": "ana@fhir.test"}
	if family != "" {
		p["family_name"] = family
	}
	if born != "" {
		p["birthdate"] = born
	}
	return p
}

// What userinfo says about somebody else, or in another form, finds nobody.
// Covers: case 215
func TestUserInfoRefused(t *testing.T) {
	e := matching(t, map[string]map[string]string{"ana": {"family_name": "Alvarez", "birthdate": "1980-01-02"}})
	e.idp.Change(func() { e.idp.Subject, e.idp.Persona = "not-linked", map[string]any{} })
	good := `{"sub":"not-linked","family_name":"Alvarez","birthdate":"1980-01-02"}`
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"another sub": page200("application/json", strings.Replace(good, "not-linked", "another", 1)),
		"no sub":      page200("application/json", strings.Replace(good, `"sub":"not-linked",`, "", 1)),
		"a claim twice": page200("application/json",
			strings.Replace(good, `"birthdate"`, `"family_name":"Other","birthdate"`, 1)),
		"a JWT": page200("application/jwt", udaptest.Segment([]byte(`{"alg":"none"}`))+"."+
			udaptest.Segment([]byte(good))+"."),
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, e.other.Base+"/userinfo", http.StatusFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e.idp.Change(func() { e.idp.Answer["userinfo"] = answer })
			b := e.browser()
			if got := e.told(e.get(b, e.trip(b))); got != "invalid_idp" || e.who() != nil {
				t.Errorf("told %s", got)
			}
		})
	}

	if e.other.Count("userinfo") != 0 {
		t.Error("a redirect was followed with an access token")
	}
	e.idp.Change(func() { e.idp.Answer["userinfo"] = page200("application/json", good) })
	b := e.browser()
	if e.get(b, e.trip(b)); e.who() == nil {
		t.Error("a good answer finds nobody")
	}
}

// However many people come at once to a provider that is not known yet, it is asked
// once, and registered with once.
// Covers: case 218
func TestRegistrationStorm(t *testing.T) {
	e := newEnv(t)
	const people = 200
	var wg sync.WaitGroup
	for range people {
		wg.Go(func() { e.depart(e.browser()) })
	}

	wg.Wait()
	if m, r := e.idp.Count("udap"), e.idp.Count("register"); m != 1 || r != 1 {
		t.Errorf("metadata %d times, registration %d times", m, r)
	}
}

// One client cannot fill the list of those who are under way: what it sends beyond
// its share is refused for a while, and other clients' people go on.
// Covers: case 203
func TestShareOfAClient(t *testing.T) {
	e := newEnv(t)
	other := e.register(e.w.B, "https://client2.test/app", "openid udap user/Patient.rs")
	b := e.browser()
	refused := 0
	for range 640 {
		if p := e.get(b, e.request(e.idp.Base)); strings.HasPrefix(p.location, back) {
			if got := e.told(p); got != "temporarily_unavailable" {
				t.Fatalf("told %s", got)
			}
			refused++
		}
		b = e.browser()
	}
	if refused == 0 || refused > 60 {
		t.Errorf("%d of 640 refused", refused)
	}

	e.client = other
	e.depart(b)
}

// A provider that does not answer costs ten seconds at most, and only those who go
// there; when it is back, people are sent there again.
// Covers: case 219
func TestProviderDown(t *testing.T) {
	e := newEnv(t, func(e *env) { e.config.Timeout = 500 * time.Millisecond })
	for row := range 2 * 3 {
		endpoint := []string{"udap", "openid-configuration", "register"}[row/2]
		answer := []func(http.ResponseWriter, *http.Request){never, half}[row%2]
		e.idp.Change(func() { e.idp.Answer = map[string]func(http.ResponseWriter, *http.Request){endpoint: answer} })
		e.advance(2 * time.Minute)
		udaptest.Quick(t, endpoint, 10*time.Second, func() {
			e.advance(5 * time.Second) // a fault is remembered for a moment
			if got := e.told(e.get(e.browser(), e.request(e.idp.Base))); got != "temporarily_unavailable" {
				t.Errorf("%s hangs: told %s", endpoint, got)
			}
		})
		e.eventually(e.other)
	}

	e.idp.Change(func() { e.idp.Answer = nil })
	e.eventually(e.idp)
}

// eventually fails unless people are sent to a provider within a minute: the time that
// it has for an answer may be too short for a machine that is busy.
func (e *env) eventually(idp *udaptest.IDP) {
	e.t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		e.advance(5 * time.Second)
		got := e.get(e.browser(), e.request(idp.Base)).location
		if strings.HasPrefix(got, idp.Base) {
			return
		}
		if time.Now().After(end) {
			e.t.Fatalf("nobody is sent to %s: %s", idp.Base, got)
		}
	}
}
