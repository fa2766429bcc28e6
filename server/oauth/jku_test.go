package oauth_test

import (
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// Covers: S2-24, case 028
func TestJKUIsOff(t *testing.T) {
	e := newEnv(t)
	c := e.client(e.w.A, udaptest.Client1URI)
	keys := "https" + strings.TrimPrefix(e.canary, "http") + "/jwks"
	a := e.register(c, c.Statement(e.now()).With("jwks_uri", keys))
	if a.status == 201 && a.member("jwks_uri") != nil {
		t.Error("jwks_uri was granted, and nothing is done with it")
	}
	id := e.registered(c)

	alg := jose.AlgorithmFor(c.Key.Public())
	with := func(more map[string]any) string {
		return udaptest.Raw{
			Alg: alg,
			Key: c.Key,
		}.Sign(t, udaptest.HeaderWith(alg, more, c.Chain...), udaptest.Assertion(id, e.now()).JSON(t))
	}
	e.refused("jku and kid in place of x5c", 400, "invalid_client", spendsNothing, func() answer {
		return e.post("/oauth/token", e.form(with(map[string]any{"jku": keys, "kid": "1", "x5c": udaptest.Absent})))
	})

	if a := e.post("/oauth/token", e.form(with(map[string]any{"jku": keys, "kid": "1"}))); a.status != 200 {
		t.Errorf("jku beside x5c: %d %s", a.status, a.body)
	}
}

// clientKeys serves one key set.
type clientKeys map[string]string

func (k clientKeys) KeySet(_ context.Context, url string) ([]byte, error) { return []byte(k[url]), nil }

// Where the community's policy has the experimental variant, the key set that
// a client registers stands in for x5c, flagged, at the token endpoint alone.
// Covers: S2-24
func TestJKUByPolicy(t *testing.T) {
	const keys = "https://client1.test/jwks"
	sets := clientKeys{}
	e := newEnv(t, func(c *oauth.Config) {
		c.Verifier.Communities[0].Policy.JKU = true
		c.Verifier.KeySets = sets
	})
	c := e.client(e.w.A, udaptest.Client1URI)
	x5c := make([]string, len(c.Chain))

	for i, cert := range c.Chain {
		x5c[i] = base64.StdEncoding.EncodeToString(cert.Raw)
	}
	point, err := c.Key.Public().(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(map[string]any{"keys": []any{map[string]any{
		"kid": "1", "kty": "EC", "crv": "P-256", "x": udaptest.Segment(
			point[1:33]), "y": udaptest.Segment(point[33:]), "x5c": x5c}}})
	if err != nil {
		t.Fatal(err)
	}

	sets[keys] = string(set)
	a := e.register(c, c.Statement(e.now()).With("jwks_uri", keys))
	if a.status != 201 || a.text("jwks_uri") != keys {
		t.Fatalf("registration: %d %s", a.status, a.body)
	}
	id := trace.ClientID(a.text("client_id"))
	sign := func(claims udaptest.Claims) string {
		header := udaptest.HeaderWith("ES256", map[string]any{
			"jku": keys,
			"kid": "1",
			"x5c": udaptest.Absent,
		}, c.Chain...)
		return udaptest.Raw{Alg: "ES256", Key: c.Key}.Sign(t, header, claims.JSON(t))
	}
	if a := e.post("/oauth/token", e.form(sign(udaptest.Assertion(id, e.now())))); a.status != 200 {
		t.Errorf("token: %d %s", a.status, a.body)
	}

	if w := e.lastTrace().Warnings(); len(w) == 0 || w[0].Check != "x5c.jku" {
		t.Errorf("not flagged: %+v", w)
	}
	e.refused("registration by jku", 400, "invalid_software_statement", spendsNothing, func() answer {
		return e.send("POST", "/oauth/register", jsonType,
			`{"udap":"1","software_statement":"`+sign(c.Statement(e.now()))+`"}`, nil)
	})
}
