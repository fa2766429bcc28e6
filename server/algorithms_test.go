package server_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/client"
)

// Each algorithm that the metadata lists works at registration and token
// endpoint.
//
// Covers: case 012
func TestListedAlgorithmsWork(t *testing.T) {
	d := servertest.Start(t)
	_, text := d.Get(wellKnown)
	doc := parse(t, text)
	kinds := map[string]certs.KeyKind{"RS256": "rsa2048", "RS384": "rsa2048", "ES256": "p256", "ES384": "p384"}

	for _, list := range []string{
		"registration_endpoint_jwt_signing_alg_values_supported",
		"token_endpoint_auth_signing_alg_values_supported",
	} {
		if got, ok := doc.plain[list].([]any); !ok || len(got) == 0 || got[0] != "RS256" {
			t.Errorf("%s is %v, want RS256 first", list, got)
		}
	}

	for _, alg := range doc.plain["token_endpoint_auth_signing_alg_values_supported"].([]any) {
		id := d.Issue("client", d.A, d.Key(kinds[alg.(string)]), "https://client.test/"+alg.(string))
		o := d.OriginatorWith(d.A, id, alg.(string))
		ctx := context.Background()
		found, err := o.Discover(ctx)
		if err != nil {
			t.Fatal(err)
		}
		reg, err := o.Register(ctx, found, client.Registration{
			ClientName: "HTEST",
			Contacts:   []string{"mailto:test@client.test"},
			Scope:      "system/*.read",
		})
		if err != nil {
			t.Errorf("%s at registration: %v", alg, err)
			continue
		}

		if _, err := o.Token(ctx, found, client.TokenRequest{
			ClientID: reg.ClientID,
			Scope:    "system/*.read",
			B2B:      servertest.Treatment(),
		}); err != nil {
			t.Errorf("%s at the token endpoint: %v", alg, err)
		}
	}
}

// compact makes a JWS with any header and any signature.
func compact(t *testing.T, header map[string]any, claims map[string]any, sign func([]byte) []byte) string {
	t.Helper()
	var parts []string
	for _, v := range []any{header, claims} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(b))
	}

	input := strings.Join(parts, ".")
	return input + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(input)))
}

// An algorithm that is not listed is refused, with a good signature too.
//
// Covers: case 012
func TestUnlistedAlgorithmsAreRefused(t *testing.T) {
	d := servertest.Start(t)
	rsaKey := d.Key("rsa2048").(*rsa.PrivateKey)
	p256 := d.Key("p256").(*ecdsa.PrivateKey)
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	raw := func(k *ecdsa.PrivateKey, digest []byte, size int) []byte {
		r, s, err := ecdsa.Sign(rand.Reader, k, digest)
		if err != nil {
			t.Fatal(err)
		}
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	}

	must := func(b []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return b
	}

	s256 := func(b []byte) []byte { s := sha256.Sum256(b); return s[:] }
	s512 := func(b []byte) []byte { s := sha512.Sum512(b); return s[:] }
	for _, c := range []struct {
		alg  string
		key  crypto.Signer
		sign func([]byte) []byte
	}{
		{"RS512", rsaKey, func(b []byte) []byte {
			return must(rsa.SignPKCS1v15(rand.Reader, rsaKey, crypto.SHA512, s512(b)))
		}},
		{"PS256", rsaKey, func(b []byte) []byte {
			return must(rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA256, s256(b), &rsa.PSSOptions{SaltLength: 32}))
		}},
		{"ES512", p521, func(b []byte) []byte { return raw(p521, s512(b), 66) }},
		{"EdDSA", ed, func(b []byte) []byte { return ed25519.Sign(ed, b) }},
		{"ES256K", p256, func(b []byte) []byte { return raw(p256, s256(b), 32) }},
		{"HS256", p256, func(b []byte) []byte {
			m := hmac.New(sha256.New, []byte("secret"))
			m.Write(b)
			return m.Sum(nil)
		}},
		{"none", p256, func([]byte) []byte { return nil }},
	} {
		t.Run(c.alg, func(t *testing.T) {
			id := d.Issue("client", d.A, c.key, "https://client.test/app")
			var x5c []string
			for _, x := range id.Chain[:1] {
				x5c = append(x5c, base64.StdEncoding.EncodeToString(x.Raw))
			}
			now := time.Now().Unix()
			statement := compact(t, map[string]any{"alg": c.alg, "x5c": x5c}, map[string]any{
				"iss": "https://client.test/app", "sub": "https://client.test/app", "aud": d.Issuer +
					"/register", "iat": now, "exp": now + 60, "jti": "j-" + c.alg,
				"client_name": "HTEST", "contacts": []string{"mailto:x@client.test"}, "grant_types": []string{"client_credentials"},
				"token_endpoint_auth_method": "private_key_jwt", "scope": "system/*.read",
			}, c.sign)
			body := fmt.Sprintf(`{"software_statement":%q,"udap":"1"}`, statement)
			res := d.Do("POST", "/acme/oauth/register", strings.NewReader(body), "Content-Type", "application/json")
			text, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != 400 || !strings.Contains(string(text), `"invalid_software_statement"`) &&
				!strings.Contains(string(text), `"unapproved_software_statement"`) {
				t.Errorf("%s at registration: %d %s", c.alg, res.StatusCode, text)
			}

			form := "grant_type=client_credentials&udap=1&scope=system/*.read&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=" + statement
			res = d.Do("POST", "/acme/oauth/token", strings.NewReader(form), "Content-Type",
				"application/x-www-form-urlencoded")
			if text, err = io.ReadAll(res.Body); err != nil || res.StatusCode != 400 ||
				!strings.Contains(string(text), `"invalid_client"`) {
				t.Errorf("%s at the token endpoint: %d %s", c.alg, res.StatusCode, text)
			}
		})
	}
}
