package oauth_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// Covers: S1-105, S2-08, case 121
func TestAnotherCommunityDoesNotTouchARegistration(t *testing.T) {
	e := newEnv(t)
	a, b := e.client(e.w.A, udaptest.Client1URI), e.client(e.w.B, udaptest.Client1URI)
	id := e.registered(a)
	token := e.issued(a, id)
	before, err := e.store.Client(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}

	x := e.register(b, b.Statement(e.now()).With("client_name", "Usurper"))
	if x.status != 201 || x.text("client_id") == string(id) {
		t.Fatalf("%d %s", x.status, x.body)
	}
	e.refused("B's certificate with A's id", 400, "invalid_client", spendsNothing, func() answer {
		return e.token(b, udaptest.Assertion(id, e.now()))
	})
	if y := e.register(b, b.Statement(e.now()).With("grant_types", []string{})); y.status != 200 ||
		y.text("client_id") != x.text("client_id") {
		t.Errorf("B cancels its own: %d %s", y.status, y.body)
	}

	e.refused("B cancels again", 400, "invalid_client_metadata", spendsNothing, func() answer {
		return e.register(b, b.Statement(e.now()).With("grant_types", []string{}))
	})
	after, err := e.store.Client(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	x1, _ := json.Marshal(before)

	x2, _ := json.Marshal(after)
	if !bytes.Equal(x1, x2) {
		t.Errorf("A's record was %s and is %s", x1, x2)
	}
	if _, err := e.bearer(token); err != nil {
		t.Errorf("A's token: %v", err)
	}
}

// Covers: S1-106, case 123
func TestAnotherClientsName(t *testing.T) {
	e := newEnv(t)
	e.registered(e.client(e.w.A, udaptest.Client1URI))
	c2 := e.client(e.w.A, udaptest.Client2URI)
	e.refused("client2 as client1", 400, "invalid_software_statement", spendsNothing, func() answer {
		return e.register(c2, c2.Statement(e.now()).With("iss", udaptest.Client1URI).With("sub", udaptest.Client1URI))
	})
}

// Covers: S1-119, S1-120, S1-124, case 124, case 147, D-21
func TestRenewedKey(t *testing.T) {
	e := newEnv(t)
	old := e.client(e.w.A, udaptest.Client1URI)
	id := e.registered(old)
	renewed := e.w.ClientWith(t, e.w.A.Int, udaptest.Client1URI, udaptest.Key(t, certs.KeyKind("p256"), 11), nil)
	e.issued(renewed, id) // bound to the URI, not to the key
	a := e.register(renewed, renewed.Statement(e.now()).With("client_name", "New"))
	if a.status != 200 || a.text("client_id") != string(id) || a.text("client_name") != "New" {
		t.Fatalf("%d %s", a.status, a.body)
	}

	noted := false
	for _, s := range e.lastTrace().Steps {
		noted = noted || s.Check == "register.certificate" && strings.Contains(s.Found, "another one")
	}
	if !noted {
		t.Error("the renewed certificate was not noted")
	}
	stored, err := e.store.Client(t.Context(), id)
	if err != nil || !bytes.Equal(stored.Leaf, renewed.Leaf().Raw) {
		t.Errorf("the stored certificate is not the renewed one: %v", err)
	}
}

// Covers: S2-08, case 125
func TestCommunityByOrder(t *testing.T) {
	e := newEnv(t)
	tpl := e.w.Template("Int A")
	cross, err := e.w.B.Root.NewCA(tpl, udaptest.Key(t, e.w.Kind, 1)) // A's issuing key under B's root
	if err != nil {
		t.Fatal(err)
	}
	e.w.B.Community.Intermediates = append(e.w.B.Community.Intermediates, cross.Cert)
	e.w.Publish(t, cross)

	c := e.client(e.w.A, udaptest.Client1URI)
	both := &udaptest.Client{URI: c.URI, Key: c.Key, Chain: append(c.Chain[:1:1], e.w.A.Int.Cert, cross.Cert)}
	id := e.registered(both)
	reg, err := e.store.Client(t.Context(), id)
	if err != nil || reg.Community != udaptest.CommunityA {
		t.Fatalf("community %v, %v", reg, err)
	}
	onlyB := &udaptest.Client{URI: c.URI, Key: c.Key, Chain: []*x509.Certificate{c.Chain[0], cross.Cert}}
	if again := e.registered(onlyB); again != id {
		t.Errorf("the order of communities decides, not what is sent: %s, then %s", id, again)
	}
}

// Covers: S1-119, S2-10, case 127, case 128, D-35
func TestChangeReplaces(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	full := c.Interactive(e.now()).With("client_uri", "https://client1.test").With("tos_uri",
		"https://client1.test/tos").With("policy_uri", "https://client1.test/policy")
	a := e.register(c, full)
	if a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}

	for _, change := range []struct {
		claim string
		value any
		want  any
	}{
		{"client_uri", udaptest.Absent, nil}, {"tos_uri", udaptest.Absent, nil}, {"policy_uri", udaptest.Absent, nil},
		{"client_name", "Another", "Another"}, {"contacts", []string{"mailto:x@y.test"}, []any{"mailto:x@y.test"}},
		{"redirect_uris", []string{"https://client1.test/other"}, []any{"https://client1.test/other"}},
		{"logo_uri", "https://client1.test/new.png", "https://client1.test/new.png"}, {"scope", "openid", "openid"},
		{"grant_types", []string{"authorization_code"}, []any{"authorization_code"}},
	} {
		t.Run(change.claim, func(t *testing.T) {
			b := e.register(c, full.With("jti", udaptest.JTI()).With(change.claim, change.value))
			got, _ := json.Marshal(b.member(change.claim))
			want, _ := json.Marshal(change.want)
			if b.status != 200 || b.text("client_id") != a.text("client_id") || !bytes.Equal(got, want) {
				t.Errorf("%s: %d %s, want %s", change.claim, b.status, got, want)
			}
		})
	}

	m := e.register(c, c.Statement(e.now())) // another grant type
	if m.status != 200 || m.text("client_id") != a.text("client_id") || m.member("redirect_uris") != nil ||
		m.member("logo_uri") != nil || m.member("response_types") != nil {
		t.Errorf("now for machines: %d %s", m.status, m.body)
	}
}

// Covers: S1-122, S1-125, case 129, case 130, case 131, case 132
func TestCancel(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	bare := func() udaptest.Claims {
		claims := c.Statement(e.now()).With("grant_types", []string{})
		for _, name := range []string{"scope", "client_name", "contacts", "token_endpoint_auth_method"} {
			claims = claims.With(name, udaptest.Absent)
		}
		return claims
	}
	e.refused("cancel of nothing", 400, "invalid_client_metadata", spendsNothing, func() answer {
		return e.register(c, bare())
	})

	id := e.registered(c)
	token := e.issued(c, id)
	a := e.register(c, bare())
	grants, isList := a.member("grant_types").([]any)
	if a.status != 200 || a.text("client_id") != string(id) || !isList || len(grants) != 0 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	e.refused("token of a cancelled client", 400, "invalid_client", spendsNothing, func() answer {
		return e.token(c, udaptest.Assertion(id, e.now()))
	})

	if _, err := e.bearer(token); err == nil {
		t.Error("its access token is still good")
	}
	again := e.registered(c)
	if again == id {
		t.Error("the client_id was used again")
	}
	if e.active(c, again, token) {
		t.Error("introspection: still active")
	}

	e.refused("the old id", 400, "invalid_client", spendsNothing, func() answer {
		return e.token(c, udaptest.Assertion(id, e.now()))
	})
	e.refused("a second cancel with the old jti", 400, "invalid_software_statement", spendsNothing, func() answer {
		return e.postRegistration(
			e.registerBody(c.Sign(t, bare().With("jti", jtiOf(t, a.text("software_statement")))), nil))
	})
}

func jtiOf(t *testing.T, compact string) any {
	_, claims := claimsOf(t, compact)
	return claims["jti"]
}

// Covers: S1-121, case 133
func TestUpdateRace(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	first := e.registered(c)
	names := []string{"system/Patient.rs", "system/Observation.rs", "system/Condition.rs"}
	var wg sync.WaitGroup

	for i := range 100 {
		scope := names[i%3]
		body := e.registerBody(c.Sign(t, c.Statement(e.now()).With("scope", scope).With("client_name", scope)), nil)
		if i == 50 {
			body = e.registerBody(c.Sign(t, c.Statement(e.now()).With("grant_types", []string{})), nil)
		}
		wg.Go(func() {
			if a := e.postRegistration(body); a.status != 200 && a.status != 201 {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}

	wg.Wait()
	live := 0
	err := e.store.Expiring(t.Context(), time.Now().AddDate(100, 0, 0), func(reg *oauth.Registration) bool {
		live++
		if reg.Granted.ClientName != reg.Granted.Scope {
			t.Errorf("a mixture: %+v", reg.Granted)
		}
		if old, err := e.store.Client(t.Context(), first); err != nil || old != nil && reg.ID != first {
			t.Errorf("two live identifiers, %v", err)
		}

		return true
	})
	if err != nil || live > 1 {
		t.Errorf("%d registrations, %v", live, err)
	}
}

// Covers: S1-112, case 135
func TestIdentifiersAreNotReused(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	seen := map[trace.ClientID]bool{}

	for range 30 {
		id := e.registered(c)
		if seen[id] || len(id) < 27 {
			t.Fatalf("client_id %s", id)
		}
		seen[id] = true
		e.register(c, c.Statement(e.now()).With("grant_types", []string{}))
	}
}

// Covers: case 061
func TestTwoNamesInOneCertificate(t *testing.T) {
	e := newEnv(t)
	two := e.w.Client(t, e.w.A.Int, udaptest.Client1URI, func(tpl *certs.Template) {
		tpl.URIs = append(tpl.URIs, udaptest.Client2URI)
	})
	id1 := e.registered(two)
	id2 := e.registered(two, with("iss", udaptest.Client2URI), with("sub", udaptest.Client2URI))
	if id1 == id2 {
		t.Fatal("one registration for two names")
	}

	only2 := e.client(e.w.A, udaptest.Client2URI)
	e.issued(only2, id2)
	e.refused("the second name alone as the first client", 400, "invalid_client", spendsNothing, func() answer {
		return e.token(only2, udaptest.Assertion(id1, e.now()))
	})
}

// Covers: S1-112, case 134
func TestNameChangeIsVisible(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	id := e.registered(c)
	if again := e.registered(c, with("client_name", "Your Hospital Login")); again != id {
		t.Fatal("another client_id")
	}
	said := false
	for _, s := range e.lastTrace().Steps {
		said = said || s.Check == "register.done" && strings.Contains(s.Found, `client_name`)
	}

	if !said {
		t.Error("the trace does not say that the name changed")
	}
}
