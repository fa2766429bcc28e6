package people_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"fhirdest.example/udap/client"
)

// withdrawal shows the form of the page that takes a grant back.
func (b *browser) withdrawal(name string) {
	b.t.Helper()
	b.open(site + "/grants")
	for _, article := range regexp.MustCompile(`(?s)<article.*?</article>`).FindAllString(b.page, -1) {
		if strings.Contains(article, name) {
			i := strings.Index(article, `<form method="post" action="`+site+`/grants"`)
			b.page = article[i:]
			return
		}
	}
	b.t.Fatalf("no grant of %q on %s", name, b.page)
}

// A person sees what they granted and takes it back: no token of it works from then on,
// and the person is asked again. Other grants stay.
//
// Covers: case 176, case 225
func TestWithdraw(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	r := registration()
	r.ClientName = "Other Companion"
	other := e.appOf(e.A, e.Client(e.A, "https://client.test/other"), r)
	all := scopes + " offline_access"
	b := e.browser()
	b.open(site + "/signin")
	b.signIn("alice")
	b.open(site + "/grants")
	b.shows(http.StatusOK, "No application has access")

	tokens := map[*app]*client.Token{}
	for _, one := range []*app{a, other} {
		b.allow(one.authorize(all), "alice")
		var err error
		if tokens[one], err = one.exchange(b.code(), all); err != nil {
			t.Fatal(err)
		}
	}
	b.open(site + "/grants")
	b.shows(http.StatusOK, "Health Companion", "Other Companion", "Measurements and test results",
		"also while you are away")

	b.withdrawal("Health Companion")
	b.send("")
	b.shows(http.StatusOK, "Access was withdrawn", "Other Companion")
	if strings.Contains(b.page, "Health Companion") {
		t.Error("the grant is still on the page")
	}

	if status := e.read(tokens[a].Access); status != http.StatusUnauthorized {
		t.Errorf("the access token: %d", status)
	}
	if _, err := a.client.Refresh(t.Context(), a.found, client.RefreshRequest{
		ClientID: a.ClientID,
		Refresh:  tokens[a].Refresh,
	}); err == nil {
		t.Error("the refresh token works")
	}
	if status := e.read(tokens[other].Access); status != http.StatusOK {
		t.Errorf("the other application's token: %d", status)
	}
	b.open(a.authorize(all))
	b.shows(http.StatusOK, "Allow access")

	e.restart()
	if status := e.read(tokens[a].Access); status != http.StatusUnauthorized {
		t.Errorf("the access token after a restart: %d", status)
	}
}

// All that a client was granted is one entry, and ends with it.
func TestGrantsOfOneClient(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	b.open(site + "/signin")
	b.signIn("parent")
	var access []string
	for n, scope := range []string{"openid patient/Observation.rs", "openid patient/Condition.rs"} {
		b.open(a.authorize(scope))
		b.send("choose", "patient", e.patients[n])
		b.send("approve")
		token, err := a.exchange(b.code(), scope)
		if err != nil {
			t.Fatal(err)
		}
		access = append(access, token.Access)
	}

	b.open(site + "/grants")
	b.shows(http.StatusOK, "Patients</dt>", "Measurements and test results", "Conditions and diagnoses")
	if n := strings.Count(b.page, "<article"); n != 1 {
		t.Errorf("%d entries for one client", n)
	}
	b.withdrawal("Health Companion")
	b.send("")
	for _, token := range access {
		if status := e.read(token); status != http.StatusUnauthorized {
			t.Errorf("a token after the withdrawal: %d", status)
		}
	}
}

// Nobody takes back, or sees, what another person granted.
func TestOthersGrants(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	alice, doctor := e.browser(), e.browser()
	alice.allow(a.authorize(scopes), "alice")
	token, err := a.exchange(alice.code(), scopes)
	if err != nil {
		t.Fatal(err)
	}

	doctor.open(site + "/signin")
	doctor.signIn("doctor")
	doctor.open(site + "/grants")
	doctor.shows(http.StatusOK, "No application has access")
	alice.withdrawal("Health Companion")
	action, fields := alice.form("")
	doctor.do(http.MethodPost, action, fields)
	doctor.shows(http.StatusForbidden, "out of date")
	if status := e.read(token.Access); status != http.StatusOK {
		t.Errorf("alice's grant was withdrawn by the doctor: %d", status)
	}

	alice.do(http.MethodPost, action, fields)
	alice.shows(http.StatusOK, "Access was withdrawn")
	alice.do(http.MethodPost, action, fields)
	alice.shows(http.StatusOK, "withdrawn or had ended already")
}

// What was granted until sign-out ends with it, and what was granted beyond stays.
func TestSignOutEndsOnlineAccess(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()
	all := scopes + " offline_access"
	b.allow(a.authorize(all), "alice")
	token, err := a.exchange(b.code(), all)
	if err != nil {
		t.Fatal(err)
	}

	b.open(site + "/signout")
	b.shows(http.StatusOK, "Sign out?")
	b.send("")
	b.shows(http.StatusOK, "You are signed out")
	if status := e.read(token.Access); status != http.StatusOK {
		t.Errorf("offline access after sign-out: %d", status)
	}
	b.open(site + "/grants")
	b.shows(http.StatusOK, "Sign in")
}
