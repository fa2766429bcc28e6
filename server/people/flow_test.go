package people_test

import (
	"net/http"
	"testing"
)

const scopes = "openid launch/patient patient/Observation.rs patient/Condition.rs"

// A person signs in, sees who asks for what, and the client gets a code.
func TestSignInAndAllow(t *testing.T) {
	e := newEnv(t)
	a := e.app("https://client.test/app")
	b := e.browser()

	b.open(a.authorize(scopes))
	b.shows(http.StatusOK, "Sign in", "Health Companion")
	b.signIn("alice")
	b.shows(http.StatusOK, "Health Companion", "HTEST", "Measurements and test results",
		"Conditions and diagnoses", "Community a", "Alice Patient")
	b.send("approve")

	if b.code() == "" {
		t.Error("the client got no code")
	}
}
