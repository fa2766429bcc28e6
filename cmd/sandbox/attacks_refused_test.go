package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/udaptest"
)

// Other people's attack programs against the finished programs: straight and
// through the intermediaries, with each kind of key, before and after a kill.
//
// Covers: case 016, case 018, case 023, case 032, case 036, case 041, case 089, case 092,
// case 121, case 128, case 129, case 131, case 143, case 150, case 222, case 225, D-11,
// D-18, D-26
func TestAttacksFromOutside(t *testing.T) {
	ownTemp(t)
	st, d := bedFor(t, testbed.Config{Separate: true}, nil)
	a := newAttacker(t, d.dir, d.manifest)
	var members []victim

	for i, k := range attackerKeys {
		for _, role := range []string{"public", "private"} {
			uri := fmt.Sprintf("https://attacker.example/%d/%s", i, role)
			members = append(members, a.join(role, a.leaf(0, uri, udaptest.Key(t, k.kind, 1), nil), k.alg))
		}
	}

	twin := a.join("public", a.leaf(1, members[0].client.URI, udaptest.Key(t, certs.P384, 2), nil), "ES384")

	for _, role := range []string{"public", "private"} {
		for _, m := range members[2:] {
			for _, f := range forgeries {
				name := fmt.Sprintf("%s, %s, %s", f.name, jose.AlgorithmFor(m.client.Key.Public()), role)
				a.refused(name, a.register(role, f.make(a, m.client, a.statement(m.client).JSON(t))),
					"invalid_software_statement", f.check)
				a.refused(name, a.form(role, "/token", a.params(f.make(a, m.client, a.assertion(m.id).JSON(t)))),
					"invalid_client", f.check)
			}
		}

		a.crossings(role, members[0], twin)
		a.replays(role, members)
	}

	a.race(members[0])
	a.ends(members[1])

	killDestination(t, st, d)
	a.http["private"].CloseIdleConnections() // which the kill has ended
	for _, role := range []string{"public", "private"} {
		a.replays(role, members[2:])
		a.crossings(role, members[0], twin)
	}

	if a.read("public", members[1].token) != http.StatusUnauthorized ||
		a.read("private", members[2].token) != http.StatusOK {
		t.Error("a token that was ended works after the kill, or one that was not does not")
	}
	a.logs()
}

// crossings: one client URI in two communities is two clients.
func (a *attacker) crossings(role string, one, twin victim) {
	a.t.Helper()
	if r := a.ask(role, "/introspect", one.client, one.id, twin.token); r.body != `{"active":false}` {
		a.t.Errorf("%s: the twin's token: %s", role, r.body)
	}
	if r := a.ask(role, "/revoke", one.client, one.id, twin.token); r.status != http.StatusOK {
		a.t.Errorf("%s: revoking the twin's token: %d %s", role, r.status, r.body)
	}
	if r := a.ask(role, "/introspect", twin.client, twin.id, twin.token); r.json["active"] != true {
		a.t.Errorf("%s: the twin's own token: %s", role, r.body)
	}

	a.refused("as the twin", a.form(role, "/token", a.params(a.sign(one.client, a.assertion(twin.id)))),
		"invalid_client", "chain.path")
	a.refused("the twin as the other", a.form(role, "/token", a.params(a.sign(twin.client, a.assertion(one.id)))),
		"invalid_client", "chain.path")
}

// replays: what was used once is used, at every endpoint.
func (a *attacker) replays(role string, members []victim) {
	a.t.Helper()
	for _, m := range members {
		a.refused("assertion again", a.form(role, "/token", a.params(m.spent)), "invalid_client", "client.jti")
		a.refused("statement again", a.register(role, m.statement), "invalid_software_statement", "register.jti")
		jti := udaptest.JTI()
		first := a.form(role, "/token", a.params(a.sign(m.client, a.assertion(m.id).With("jti", jti))))
		p := a.params(a.sign(m.client, a.assertion(m.id).With("jti", jti).With("aud", a.oauth+"/introspect")), "token",
			m.token)
		r := a.form(role, "/introspect", p)
		if first.status != http.StatusOK || !strings.Contains(r.description(), "at the token endpoint") {
			a.t.Errorf("%d; the same jti at another endpoint: %s", first.status, r.body)
		}

		a.refused("the same jti at another endpoint", r, "invalid_client", "client.jti")
	}
}

// race: one assertion, sent many times at once by both ways, gets one token.
func (a *attacker) race(m victim) {
	a.t.Helper()
	assertion := a.sign(m.client, a.assertion(m.id))
	var all sync.WaitGroup
	var good atomic.Int32

	for i := range 32 {
		all.Go(func() {
			if r := a.form([]string{"public", "private"}[i%2], "/token",
				a.params(assertion)); r.status == http.StatusOK {
				good.Add(1)
			}
		})
	}

	all.Wait()
	if good.Load() != 1 {
		a.t.Errorf("one assertion got %d tokens", good.Load())
	}
}

// ends: a change that takes rights away, and a cancel, end tokens at once; who
// registers again is another client.
func (a *attacker) ends(m victim) {
	a.t.Helper()
	uri := m.client.URI
	person := m.client.Interactive(time.Now()).With("aud", a.oauth+"/register").With("scope", "openid user/Patient.rs")
	if r := a.register("public", a.sign(m.client, person)); r.status != http.StatusOK || r.text("client_id") != m.id {
		a.t.Errorf("change of grant type: %d %s", r.status, r.body)
	}
	if got := a.read("private", m.token); got != http.StatusUnauthorized {
		a.t.Errorf("a token of the former grant type: %d", got)
	}

	a.refused("former grant type", a.form("public", "/token", a.params(a.sign(m.client, a.assertion(m.id)))),
		"unauthorized_client", "token.grant")
	now := time.Now().Unix()
	cancel := udaptest.Claims{
		"iss":         uri,
		"sub":         uri,
		"aud":         a.oauth + "/register",
		"jti":         udaptest.JTI(),
		"iat":         now,
		"exp":         now + 60,
		"grant_types": []string{},
		"client_name": 5,
	}
	if r := a.register("private", a.sign(m.client, cancel)); r.status != http.StatusOK {
		a.t.Errorf("cancel: %d %s", r.status, r.body)
	}

	a.refused("cancelled", a.form("public", "/token", a.params(a.sign(m.client, a.assertion(m.id)))), "invalid_client",
		"assertion.iss")
	again := a.register("public", a.sign(m.client, a.statement(m.client)))
	if again.status != http.StatusCreated || again.text("client_id") == m.id {
		a.t.Errorf("registered again: %d %s", again.status, again.body)
	}
	a.refused("the former identifier", a.form("public", "/token", a.params(a.sign(m.client, a.assertion(m.id)))),
		"invalid_client", "assertion.iss")
}
