package observe_test

import (
	"strings"
	"testing"

	_ "fhirdest.example/server" // its checks, and those of all that it links
	_ "fhirdest.example/server/doctor"
	"fhirdest.example/server/oauth/observe"
	_ "fhirdest.example/udap/client"
	"fhirdest.example/udap/trace"
)

// Every check of the program has a rule, with a reason.
func TestEveryCheckIsInAList(t *testing.T) {
	checks := trace.Checks()
	if len(checks) < 200 {
		t.Fatalf("%d checks are linked", len(checks))
	}

	for _, c := range checks {
		r, tolerated, ok := observe.Of(c.Name)
		if !ok || r.Reason == "" {
			t.Errorf("%s (%s) is in no list", c.Name, c.Title)
		}
		if tolerated != observe.Tolerated(c.Name) {
			t.Errorf("%s: the lists differ from what is tolerated", c.Name)
		}
	}

	if _, _, ok := observe.Of("unheard.of"); ok || observe.Tolerated("unheard.of") {
		t.Error("a check that is in no list is tolerated")
	}
}

// Nothing that decides which client asks, or whether it is trusted, is tolerated.
func TestIdentityIsNeverTolerated(t *testing.T) {
	for _, c := range trace.Checks() {
		for _, part := range []string{
			"jws.", "x5c.", "chain.", "community.", "bearer.", "dpop.", "access.", ".iss", ".sub", ".certificate",
			"code", "refresh_token", ".launch", "id_token",
		} {
			decides := strings.HasPrefix(c.Name, part) || strings.HasSuffix(c.Name, part)
			if decides && observe.Tolerated(c.Name) {
				t.Errorf("%s is tolerated", c.Name)
			}
		}
	}
}

// Every tolerated check exists.
func TestToleratedChecksExist(t *testing.T) {
	known := map[string]bool{}
	for _, c := range trace.Checks() {
		known[c.Name] = true
	}
	for _, name := range observe.Names() {
		if !known[name] {
			t.Errorf("no package declares %s", name)
		}
	}
}
