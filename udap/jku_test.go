package udap_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

const keysURL = "https://client1.test/jwks"

// registeredURL is keysURL as the store has it.
var registeredURL = strings.Clone(keysURL)

// keySets is what stands at keysURL, and what was asked for.
type keySets struct {
	set   string
	err   error
	asked []string
}

func (k *keySets) KeySet(_ context.Context, url string) ([]byte, error) {
	k.asked = append(k.asked, url)
	return []byte(k.set), k.err
}

func keySet(t *testing.T, keys ...map[string]any) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// jwk is the entry of a certificate, with one member changed.
func jwk(t *testing.T, kid string, chain []*x509.Certificate, change ...any) map[string]any {
	t.Helper()
	var x5c []string
	for _, c := range chain {
		x5c = append(x5c, base64.StdEncoding.EncodeToString(c.Raw))
	}
	out := map[string]any{"kid": kid, "use": "sig", "x5c": x5c}

	switch k := chain[0].PublicKey.(type) {
	case *rsa.PublicKey:
		out["kty"], out["n"], out["e"] = "RSA", udaptest.Segment(k.N.Bytes()), udaptest.Segment(
			big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		out["kty"], out["crv"], out["x"], out["y"] = "EC", "P-256", udaptest.Segment(
			point[1:33]), udaptest.Segment(point[33:])
	}

	if len(change) == 2 {
		out[change[0].(string)] = change[1]
	}
	return out
}

func jkuLookup(id trace.ClientID) (udap.Binding, bool) {
	b, ok := lookup(id)
	if id == clientID {
		b.JWKSURI = registeredURL
	}
	return b, ok
}

// An authentication token may carry jku and kid in place of x5c where the
// community's policy says so, and then only as the client registered it; the
// certificates found there are judged like any others.
// Covers: S2-24, case 028
func TestJKU(t *testing.T) {
	eachKind(t, func(t *testing.T, w *udaptest.Env) {
		c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
		elsewhere := w.Client(t, w.B.Int, udaptest.Client1URI, nil)
		for _, row := range jkuRows(t, w, c) {
			t.Run(row.name, func(t *testing.T) { row.run(t, w, c) })
		}
		jkuIsNoTrust(t, w, elsewhere)
	})
}

// jkuRow is one use of jku and kid in place of x5c.
type jkuRow struct {
	name   string
	off    bool
	header map[string]any
	sub    trace.ClientID
	keys   keySets
	asked  bool
	want   expectation
}

func jkuRows(t *testing.T, w *udaptest.Env, c *udaptest.Client) []jkuRow {
	kind := map[string]certs.KeyKind{"RS256": "rsa2048", "ES256": "p256"}[alg(c)]
	other := w.ClientWith(t, w.A.Int, udaptest.Client2URI, udaptest.Key(t, kind, 60), nil)
	good := jwk(t, "1", c.Chain)
	return []jkuRow{
		{"good", false, nil, "", keySets{set: keySet(t, jwk(t, "2", other.Chain), good)}, true, expectation{}},
		{
			"off", true, nil, "", keySets{set: keySet(t, good)}, false,
			expectation{code: trace.InvalidClient, check: "x5c.form"},
		},
		{
			"another URL", false, map[string]any{"jku": keysURL + "/"}, "",
			keySets{set: keySet(t, good)}, false,
			expectation{code: trace.InvalidClient, check: "x5c.form"},
		},
		{
			"no registered URL", false, nil, "client-2", keySets{set: keySet(t, good)}, false,
			expectation{code: trace.InvalidClient, check: "x5c.form"},
		},
		{
			"unknown client", false, nil, "nobody", keySets{set: keySet(t, good)}, false,
			expectation{code: trace.InvalidClient, check: "x5c.form"},
		},
		{
			"no kid", false, map[string]any{"kid": udaptest.Absent}, "",
			keySets{set: keySet(t, good)}, false,
			expectation{code: trace.InvalidClient, check: "x5c.form"},
		},
		{
			"kid not there", false, map[string]any{"kid": "9"}, "",
			keySets{set: keySet(t, good)}, true,
			expectation{code: trace.InvalidClient, check: "x5c.form"},
		},
		{
			"kid twice", false, nil, "", keySets{set: keySet(t, good, good)}, true,
			expectation{code: trace.InvalidClient, check: "x5c.form"},
		},
		{
			"not available", false, nil, "", keySets{err: errors.New("refused")}, true,
			expectation{code: trace.InvalidClient, check: "x5c.form"},
		},
		{
			"too long", false, nil, "",
			keySets{set: `{"keys":[],"x":"` + strings.Repeat("x", 256<<10) + `"}`}, true,
			expectation{code: trace.InvalidClient, check: "x5c.form", says: "more than"},
		},
		{
			"too many", false, nil, "",
			keySets{set: `{"keys":[` + strings.Repeat("{},", 50) + `{}]}`}, true,
			expectation{code: trace.InvalidClient, check: "x5c.form", says: "more than 50"},
		},
		{
			"no JSON", false, nil, "", keySets{set: `<html>`}, true,
			expectation{code: trace.InvalidClient, check: "x5c.form"},
		},
		{
			"a key of no object", false, nil, "", keySets{set: `{"keys":["x"]}`}, true,
			expectation{code: trace.InvalidClient, check: "x5c.form"},
		},
		{
			"a member twice", false, nil, "", keySets{set: `{"keys":[],"keys":[]}`}, true,
			expectation{code: trace.InvalidClient, check: "x5c.form", says: "duplicate"},
		},
		{
			"no set", false, nil, "", keySets{set: `{"keys":{}}`}, true,
			expectation{code: trace.InvalidClient, check: "x5c.form"},
		},
		{
			"without x5c", false, nil, "",
			keySets{set: keySet(t, jwk(t, "1", c.Chain, "x5c", nil))}, true,
			expectation{code: trace.InvalidClient, check: "x5c.form"},
		},
		{
			"x5c of another key", false, nil, "",
			keySets{set: keySet(t, jwk(t, "1", c.Chain, "x5c", jwk(t, "1", other.Chain)["x5c"]))},
			true, expectation{code: trace.InvalidClient, check: "x5c.form"},
		},
		{
			"another's key", false, nil, "", keySets{set: keySet(t, jwk(t, "1", other.Chain))},
			true, expectation{code: trace.InvalidClient, check: "jws.signature"},
		},
		{
			"key of another kind", false, nil, "",
			keySets{set: keySet(t, jwk(t, "1", c.Chain, "kty", "oct"))}, true,
			expectation{code: trace.InvalidClient, check: "x5c.form"},
		},
	}
}

func (row *jkuRow) run(t *testing.T, w *udaptest.Env, c *udaptest.Client) {
	t.Helper()
	v := w.Verifier()
	policied := *w.A.Community
	policied.Policy.JKU = !row.off
	v.Communities = []*udap.Community{&policied, w.B.Community}
	v.KeySets = &row.keys
	id := clientID
	if row.sub != "" {
		id = row.sub
	}

	header := map[string]any{"jku": keysURL, "kid": "1", "x5c": udaptest.Absent}
	for k, h := range row.header {
		header[k] = h
	}
	token := udaptest.Raw{
		Alg: alg(c),
		Key: c.Key,
	}.Sign(t, udaptest.HeaderWith(alg(c), header, c.Chain...), udaptest.Assertion(id, w.Now).JSON(t))

	tr := trace.NewTrace("token", w.Now)
	_, err := v.Assertion(ctx, token, "", udap.Expect{Now: w.Now, Audience: udaptest.Token}, jkuLookup, tr)
	expectRefusal(t, tr, err, row.want)
	if got := len(row.keys.asked) > 0; got != row.asked ||
		slices.ContainsFunc(row.keys.asked, func(u string) bool {
			return unsafe.StringData(u) != unsafe.StringData(registeredURL) // not that of a header, which would be kept
		}) {
		t.Errorf("asked %v", row.keys.asked)
	}

	flagged := slices.ContainsFunc(tr.Warnings(), func(s trace.Step) bool { return s.Check == "x5c.jku" })
	if accepted := err == nil; accepted && !flagged {
		t.Error("accepted without a flag")
	}
}

// jkuIsNoTrust: a certificate of another community, found by jku, leads
// nowhere; and a software statement never has its certificates elsewhere.
func jkuIsNoTrust(t *testing.T, w *udaptest.Env, c *udaptest.Client) {
	v := w.Verifier()
	policied := *w.A.Community
	policied.Policy.JKU = true
	v.Communities = []*udap.Community{&policied, w.B.Community}
	keys := &keySets{set: keySet(t, jwk(t, "1", c.Chain))}
	v.KeySets = keys
	sign := func(claims udaptest.Claims) string {
		header := udaptest.HeaderWith(alg(c), map[string]any{
			"jku": keysURL,
			"kid": "1",
			"x5c": udaptest.Absent,
		}, c.Chain...)
		return udaptest.Raw{Alg: alg(c), Key: c.Key}.Sign(t, header, claims.JSON(t))
	}

	tr := trace.NewTrace("token", w.Now)
	_, err := v.Assertion(ctx, sign(udaptest.Assertion(clientID, w.Now)), "", udap.Expect{
		Now:      w.Now,
		Audience: udaptest.Token,
	}, jkuLookup, tr)
	expectRefusal(t, tr, err, expectation{code: trace.InvalidClient, check: "chain.path"})
	keys.asked = nil
	tr = trace.NewTrace("register", w.Now)
	_, err = v.Statement(ctx, sign(c.Statement(w.Now)), udap.Expect{Now: w.Now, Audience: udaptest.Registration}, tr)
	expectRefusal(t, tr, err, expectation{code: trace.InvalidSoftwareStatement, check: "x5c.form"})

	if len(keys.asked) > 0 {
		t.Errorf("asked %v for a software statement", keys.asked)
	}
}

// Keys that leave the set no longer sign: nothing is remembered by the header.
// Covers: S2-24
func TestJKUIsReadAnew(t *testing.T) {
	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	v := w.Verifier()
	v.Communities[0].Policy.JKU = true
	keys := &keySets{set: keySet(t, jwk(t, "1", c.Chain))}
	v.KeySets = keys
	judge := func() error {
		header := udaptest.HeaderWith(alg(c), map[string]any{
			"jku": keysURL,
			"kid": "1",
			"x5c": udaptest.Absent,
		}, c.Chain...)
		token := udaptest.Raw{Alg: alg(c), Key: c.Key}.Sign(t, header, udaptest.Assertion(clientID, w.Now).JSON(t))
		_, err := v.Assertion(ctx, token, "", udap.Expect{Now: w.Now, Audience: udaptest.Token}, jkuLookup, nil)
		return err
	}
	if err := judge(); err != nil {
		t.Fatal(err)
	}

	keys.set = keySet(t)
	if err := judge(); err == nil {
		t.Error("a key that left the set is still believed")
	}
}
