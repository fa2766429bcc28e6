package people_test

import (
	"net/http"
	"slices"
	"testing"

	"fhirdest.example/server/people/users"
)

// A new password ends the sessions that began with the former one, and the access that
// was granted for their time, at once and after a restart. It ends nobody else's, and
// nothing that was granted for longer; other changes of a person's entry end nothing.
//
// Covers: case 275
func TestNewPasswordEndsSessions(t *testing.T) {
	e := newEnv(t)
	a := e.online()
	all := population(t, e.patients)
	e.repopulate(all)
	alice, doctor := e.browser(), e.browser()
	alice.allow(a.authorize(onlineScope), "alice")
	online, err := a.exchange(alice.code(), onlineScope)
	if err != nil {
		t.Fatal(err)
	}

	offline := a.tokens("alice", "", scopes+" offline_access")
	doctor.open(site + "/signin")
	doctor.signIn("doctor")

	renamed := slices.Clone(all)
	renamed[0].Name = "Alice Other"
	e.repopulate(renamed)
	alice.open(site + "/grants")
	alice.shows(http.StatusOK, "Who has access</h1>", "Alice Other")

	const another = "another horse battery staple"
	changed := slices.Clone(all)
	if changed[0].Password, err = users.Hash(another); err != nil {
		t.Fatal(err)
	}
	e.repopulate(changed)
	a.over("after the new password", online)
	e.restart()
	alice.http.Transport, doctor.http.Transport = e.HTTP.Transport, e.HTTP.Transport
	a.over("after a restart", online)

	alice.open(site + "/grants")
	alice.shows(http.StatusOK, "Sign in")
	doctor.open(site + "/grants")
	doctor.shows(http.StatusOK, "Who has access</h1>")
	if _, err := a.refresh(offline); err != nil {
		t.Errorf("offline access: %v", err)
	}

	alice.send("signin", "username", "alice", "password", another)
	alice.open(site + "/grants")
	alice.shows(http.StatusOK, "Who has access</h1>")
}
