package dpop_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/oauth/dpop"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

const (
	target = "https://fhir.test/acme/fhir/Patient/1"
	access = "an-access-token"
)

var (
	now  = time.Unix(1_800_000_000, 0)
	key  = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	rsa2 = must(rsa.GenerateKey(rand.Reader, 2048))
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// good returns the claims of a proof that fits expected.
func good() map[string]any {
	return map[string]any{
		"jti": "one",
		"htm": "GET",
		"htu": target,
		"iat": now.Unix(),
		"ath": dpop.Hash(access),
	}
}

func expected() dpop.Expect {
	return dpop.Expect{
		Method:      "GET",
		URL:         target,
		Now:         now,
		AccessToken: access,
	}
}

// with returns the claims of good with some of them changed; nil removes one.
func with(changes map[string]any) map[string]any {
	claims := good()
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

func sign(t testing.TB, k crypto.Signer, claims map[string]any) string {
	t.Helper()
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := jose.Sign(k, jose.Header{
		Type: "dpop+jwt",
		JWK:  true,
	}, "", body)
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

func verify(values ...string) (*dpop.Proof, *trace.Trace, error) {
	tr := trace.NewTrace("test", now)
	p, err := dpop.Verify(values, expected(), tr)
	return p, tr, err
}

// TestProofsAccepted verifies proofs of each algorithm, and each spelling that is as
// good as the usual one.
func TestProofsAccepted(t *testing.T) {
	for name, proof := range map[string]string{
		"ES256": sign(t, key, good()),
		"ES384": sign(t, must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)), good()),
		"RS256": sign(t, rsa2, good()),

		"a URL with a query":          sign(t, key, with(map[string]any{"htu": target + "?a=b"})),
		"a URL with a fragment":       sign(t, key, with(map[string]any{"htu": target + "#x"})),
		"a URL with the port":         sign(t, key, with(map[string]any{"htu": "https://fhir.test:443/acme/fhir/Patient/1"})),
		"a URL in capitals":           sign(t, key, with(map[string]any{"htu": "HTTPS://FHIR.test/acme/fhir/Patient/1"})),
		"a URL with an escape":        sign(t, key, with(map[string]any{"htu": "https://fhir.test/acme/fhir/%50atient/1"})),
		"a clock that is behind":      sign(t, key, with(map[string]any{"iat": now.Add(-119 * time.Second).Unix()})),
		"a clock that is ahead":       sign(t, key, with(map[string]any{"iat": now.Add(time.Minute).Unix()})),
		"a fraction of a second":      sign(t, key, with(map[string]any{"iat": float64(now.Unix()) + 0.5})),
		"exp and nbf":                 sign(t, key, with(map[string]any{"exp": now.Unix() + 60, "nbf": now.Unix()})),
		"a nonce nobody asked for":    sign(t, key, with(map[string]any{"nonce": "x"})),
		"further claims":              sign(t, key, with(map[string]any{"x": map[string]any{"y": 1}})),
		"a jti of the longest length": sign(t, key, with(map[string]any{"jti": strings.Repeat("j", 256)})),
	} {
		t.Run(name, func(t *testing.T) {
			p, tr, err := verify(proof)
			if err != nil {
				t.Fatal(err)
			}
			if p.JTI == "" || p.IssuedAt.IsZero() || tr.Code != "" {
				t.Errorf("%+v, code %q", p, tr.Code)
			}
		})
	}

	p, _, err := verify(sign(t, key, good()))
	jwk := must(jose.EncodeKey(key.Public()))
	if err != nil || p.Thumbprint != jwk.Thumbprint() {
		t.Errorf("thumbprint of %+v, %v; the key has %s", p, err, jwk.Thumbprint())
	}
}

// TestProofsRefusedForTheirClaims changes one claim of a good proof.
func TestProofsRefusedForTheirClaims(t *testing.T) {
	for check, rows := range map[string]map[string]map[string]any{
		"dpop.htm": {
			"none":       {"htm": nil},
			"another":    {"htm": "POST"},
			"lower case": {"htm": "get"},
			"a list":     {"htm": []string{"GET"}},
		},
		"dpop.htu": {
			"none":             {"htu": nil},
			"another path":     {"htu": "https://fhir.test/acme/fhir/Patient/2"},
			"case of the path": {"htu": "https://fhir.test/acme/fhir/patient/1"},
			"another host":     {"htu": "https://destination.localhost/acme/fhir/Patient/1"},
			"another port":     {"htu": "https://fhir.test:8443/acme/fhir/Patient/1"},
			"http":             {"htu": "http://fhir.test/acme/fhir/Patient/1"},
			"a user":           {"htu": "https://fhir.test@fhir.test/acme/fhir/Patient/1"},
			"a slash more":     {"htu": target + "/"},
			"an escaped slash": {"htu": "https://fhir.test/acme/fhir/Patient%2F1"},
			"a prefix":         {"htu": "https://fhir.test/acme/fhir"},
			"a path alone":     {"htu": "/acme/fhir/Patient/1"},
			"a number":         {"htu": 1},
			"very long":        {"htu": target + "?" + strings.Repeat("a", 8<<10)},
		},
		"dpop.iat": {
			"none":          {"iat": nil},
			"old":           {"iat": now.Add(-2 * time.Minute).Unix()},
			"in the future": {"iat": now.Add(61 * time.Second).Unix()},
			"milliseconds":  {"iat": now.UnixMilli()},
			"a string":      {"iat": "1800000000"},
			"negative":      {"iat": -1},
			"expired":       {"exp": now.Add(-time.Minute).Unix()},
			"not yet":       {"nbf": now.Add(2 * time.Minute).Unix()},
			"exp as text":   {"exp": "never"},
		},
		"dpop.id": {
			"none":     {"jti": nil},
			"empty":    {"jti": ""},
			"a number": {"jti": 7},
			"too long": {"jti": strings.Repeat("j", 257)},
		},
		"dpop.ath": {
			"none":          {"ath": nil},
			"another token": {"ath": dpop.Hash("another")},
			"the token":     {"ath": access},
			"a number":      {"ath": 7},
		},
	} {
		for name, change := range rows {
			t.Run(check+" "+name, func(t *testing.T) {
				_, tr, err := verify(sign(t, key, with(change)))
				refusedBy(t, tr, err, trace.InvalidDPoPProof, "dpop.form", check)
			})
		}
	}
}

// TestRecordHasNoURLOfData refuses a proof for another URL: the record names the
// origins, and nothing that says whose data was asked for. That of the token endpoint is
// shown whole.
func TestRecordHasNoURLOfData(t *testing.T) {
	secret := "https://evil.test/fhir/Patient/12345?name=Smith"
	_, tr, err := verify(sign(t, key, with(map[string]any{"htu": secret})))
	refusedBy(t, tr, err, trace.InvalidDPoPProof, "", "dpop.htu")
	record := fmt.Sprint(tr.Steps, err)
	for _, part := range []string{"12345", "Smith", "Patient"} {
		if strings.Contains(record, part) {
			t.Errorf("the record has %q: %s", part, record)
		}
	}
	if !strings.Contains(record, "https://evil.test/") || !strings.Contains(record, "from character 9 on") {
		t.Errorf("the record does not show the difference: %s", record)
	}

	e := expected()
	e.AccessToken = ""
	_, err = dpop.Verify([]string{sign(t, key, with(map[string]any{"htu": secret}))}, e, tr)
	if err == nil || !strings.Contains(err.Error(), "https://evil.test/fhir/Patient/12345,") {
		t.Errorf("at the token endpoint: %v", err)
	}
}

// refusedBy asserts the code and the check of a refusal; other may refuse instead,
// when a proof is too long to be looked at.
func refusedBy(t *testing.T, tr *trace.Trace, err error, code trace.Code, other, check string) {
	t.Helper()
	var refusal *trace.Error
	if !errors.As(err, &refusal) || refusal.Code != code || refusal.Check != check && refusal.Check != other {
		t.Fatalf("error %v, want %s by %s", err, code, check)
	}
	if tr.Code != code || refusal.Detail == "" {
		t.Errorf("the trace has %q, the refusal %q", tr.Code, refusal.Detail)
	}
}

// encoded returns the JWK of a key as text.
func encoded(k crypto.Signer) string {
	return string(must(json.Marshal(must(jose.EncodeKey(k.Public())))))
}

// TestProofsRefusedForTheirForm damages the header, the key and the signature.
func TestProofsRefusedForTheirForm(t *testing.T) {
	proof := sign(t, key, good())
	segments := strings.Split(proof, ".")
	jwk := encoded(key)
	foreign := encoded(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))
	headed := func(header string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + segments[1] + "." + segments[2]
	}

	plain := must(jose.Sign(key, jose.Header{JWK: true}, "", must(json.Marshal(good()))))
	keyless := must(jose.Sign(key, jose.Header{Type: "dpop+jwt"}, "", must(json.Marshal(good()))))
	for name, values := range map[string][]string{
		"no header":         {},
		"two headers":       {proof, proof},
		"two in one":        {proof + ", " + proof},
		"empty":             {""},
		"two segments":      {segments[0] + "." + segments[1]},
		"no signature":      {segments[0] + "." + segments[1] + "."},
		"another body":      {segments[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"jti":"x"}`)) + "." + segments[2]},
		"no typ":            {plain},
		"typ JWT":           {headed(`{"typ":"JWT","alg":"ES256","jwk":` + jwk + `}`)},
		"no key":            {keyless},
		"key as text":       {headed(`{"typ":"dpop+jwt","alg":"ES256","jwk":"x"}`)},
		"alg none":          {headed(`{"typ":"dpop+jwt","alg":"none","jwk":` + jwk + `}`)},
		"HS256":             {headed(`{"typ":"dpop+jwt","alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}`)},
		"alg of RSA":        {headed(`{"typ":"dpop+jwt","alg":"RS256","jwk":` + jwk + `}`)},
		"a private key":     {headed(`{"typ":"dpop+jwt","alg":"ES256","jwk":` + jwk[:len(jwk)-1] + `,"d":"AAAA"}}`)},
		"crit":              {headed(`{"typ":"dpop+jwt","alg":"ES256","crit":["jwk"],"jwk":` + jwk + `}`)},
		"a member twice":    {headed(`{"typ":"dpop+jwt","alg":"ES256","alg":"ES256","jwk":` + jwk + `}`)},
		"x5c beside it":     {headed(`{"typ":"dpop+jwt","alg":"ES256","x5c":["AAAA"],"jwk":` + jwk + `}`)},
		"another key in it": {headed(`{"typ":"dpop+jwt","alg":"ES256","jwk":` + foreign + `}`)},
		"too long":          {proof + strings.Repeat("A", 8<<10)},
	} {
		t.Run(name, func(t *testing.T) {
			if p, tr, err := verify(values...); err == nil || tr.Code != trace.InvalidDPoPProof {
				t.Errorf("accepted: %+v, code %q", p, tr.Code)
			}
		})
	}
}

// TestNonces asks for a nonce: without one of this server, of these minutes, a proof
// that is good otherwise is asked for again; one that is bad otherwise is not.
func TestNonces(t *testing.T) {
	nonces, foreign := dpop.NewNonces(), dpop.NewNonces()
	for name, row := range map[string]struct {
		nonce any
		code  trace.Code
	}{
		"fresh":                 {nonces.New(now), ""},
		"of four minutes ago":   {nonces.New(now.Add(-4 * time.Minute)), ""},
		"none":                  {nil, trace.UseDPoPNonce},
		"empty":                 {"", trace.UseDPoPNonce},
		"a number":              {7, trace.UseDPoPNonce},
		"old":                   {nonces.New(now.Add(-6 * time.Minute)), trace.UseDPoPNonce},
		"of the future":         {nonces.New(now.Add(2 * time.Minute)), trace.UseDPoPNonce},
		"of another server":     {foreign.New(now), trace.UseDPoPNonce},
		"cut":                   {nonces.New(now)[:20], trace.UseDPoPNonce},
		"with something behind": {nonces.New(now) + "A", trace.UseDPoPNonce},
	} {
		t.Run(name, func(t *testing.T) {
			e, tr := expected(), trace.NewTrace("test", now)
			e.Nonces = nonces
			_, err := dpop.Verify([]string{sign(t, key, with(map[string]any{"nonce": row.nonce}))}, e, tr)
			if tr.Code != row.code || (err == nil) != (row.code == "") {
				t.Errorf("code %q, want %q: %v", tr.Code, row.code, err)
			}

			_, err = dpop.Verify([]string{sign(t, key, with(map[string]any{"nonce": row.nonce, "htm": "PUT"}))}, e, tr)
			refusedBy(t, tr, err, trace.InvalidDPoPProof, "", "dpop.htm")
		})
	}
}

// FuzzVerify holds for whatever is accepted that its key did sign exactly those
// bytes, that its claims are those expected, and that a changed character is refused.
func FuzzVerify(f *testing.F) {
	f.Add(sign(f, key, good()), 10)
	f.Add(sign(f, rsa2, good()), 400)
	f.Add(sign(f, key, with(map[string]any{"htu": "https://fhir.test:443/acme/fhir/%50atient/1?x#y"})), 100)
	f.Add("eyJhbGciOiJub25lIn0.e30.", 0)
	f.Fuzz(func(t *testing.T, proof string, at int) {
		p, tr, err := verify(proof)
		if err != nil {
			if p != nil || tr.Code != trace.InvalidDPoPProof {
				t.Fatalf("refused with %+v and %q", p, tr.Code)
			}
			return
		}

		jws, fault := jose.Open(proof, nil)
		if fault != nil {
			t.Fatalf("accepted, though it is no JWS: %v", fault)
		}
		if jti, _ := jws.Claims.Text("jti"); jti != p.JTI {
			t.Errorf("jti %q of a proof that has %q", p.JTI, jti)
		}

		if at = int(uint(at) % uint(len(proof))); proof[at] != 'x' {
			changed := proof[:at] + "x" + proof[at+1:]
			if p, _, err := verify(changed); err == nil {
				t.Errorf("accepted after character %d was changed: %+v", at, p)
			}
		}
	})
}
