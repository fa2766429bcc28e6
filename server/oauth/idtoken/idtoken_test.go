package idtoken_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"fhirdest.example/server/oauth/idtoken"
	"fhirdest.example/udap/jose"
)

var now = time.Unix(1_800_000_000, 0)

func rotated(t *testing.T, keys idtoken.Keys, at time.Time, wantChange bool) idtoken.Keys {
	t.Helper()
	next, changed, err := keys.Rotated(at)
	if err != nil {
		t.Fatal(err)
	}
	if changed != wantChange {
		t.Fatalf("changed: %v, want %v (%d keys, then %d)", changed, wantChange, len(keys), len(next))
	}
	return next
}

// signer returns the kid of an ID token, after its signature was verified with the
// published key of that name.
func signer(t *testing.T, keys idtoken.Keys, at time.Time) string {
	t.Helper()
	text, err := keys.Sign(idtoken.Claims{Issuer: "https://fhir.test"}, "token", at)
	if err != nil {
		t.Fatal(err)
	}
	jws, fault := jose.Open(text, nil)
	if fault == nil {
		fault = jws.CheckAlgorithm()
	}
	if fault != nil || jws.Algorithm != "RS256" {
		t.Fatalf("%s: %v", text, fault)
	}

	id, _ := jws.Header.Text("kid")
	for _, k := range keys {
		if k.ID == id {
			if fault := jws.VerifyKey(k.Private.Public()); fault != nil {
				t.Error(fault)
			}
			return id
		}
	}
	t.Fatalf("kid %q is of no published key", id)
	return ""
}

// TestRotation follows the keys through a year: a key signs only when it has been
// published for a day, and is published for a day after it has signed last.
func TestRotation(t *testing.T) {
	keys := rotated(t, nil, now, true)
	first := signer(t, keys, now)
	rotated(t, keys, now.Add(idtoken.KeyLife-time.Second), false)

	at := now.Add(idtoken.KeyLife)
	two := rotated(t, keys, at, true)
	if len(two) != 2 || signer(t, two, at) != first {
		t.Errorf("a new key signs before it was published for a day (%d keys)", len(two))
	}

	at = at.Add(idtoken.Published)
	second := signer(t, two, at)
	if second == first {
		t.Error("the new key does not sign after a day")
	}
	rotated(t, two, at.Add(idtoken.Published-time.Second), false)
	one := rotated(t, two, at.Add(idtoken.Published), true)
	if len(one) != 1 || one[0].ID != second {
		t.Errorf("%d keys are published, want the second alone", len(one))
	}
}

// TestKeysInFile reads what Encode wrote, and keys that an operator made.
func TestKeysInFile(t *testing.T) {
	keys := rotated(t, rotated(t, nil, now, true), now.Add(idtoken.KeyLife), true)
	text, err := keys.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := idtoken.ParseKeys(text)
	if err != nil || len(again) != 2 || again[0].ID != keys[0].ID || !again[1].Created.Equal(keys[1].Created) {
		t.Errorf("read again: %+v, %v", again, err)
	}

	undated := strings.ReplaceAll(string(text), "Created: ", "Note: ")
	own, err := idtoken.ParseKeys([]byte(undated))
	if err != nil || signer(t, own, now) != keys[0].ID {
		t.Errorf("the first of two keys without dates does not sign: %v", err)
	}
}

// TestKeysRefused reads what is no file of such keys.
func TestKeysRefused(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}

	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{
			Type:  kind,
			Bytes: b,
		}))
	}
	for name, text := range map[string]string{
		"empty":       "",
		"no PEM":      "key",
		"certificate": block("CERTIFICATE", der),
		"EC":          block("PRIVATE KEY", der),
		"damaged":     block("PRIVATE KEY", der[:20]),
	} {
		t.Run(name, func(t *testing.T) {
			if keys, err := idtoken.ParseKeys([]byte(text)); err == nil {
				t.Errorf("%d keys", len(keys))
			}
		})
	}
}

// TestClaims compares an ID token with what was to be said, at_hash included
// (OpenID Connect Core 3.1.3.6).
func TestClaims(t *testing.T) {
	keys := rotated(t, nil, now, true)
	text, err := keys.Sign(idtoken.Claims{
		Issuer:   "https://fhir.test/oauth",
		Subject:  "p-1",
		Audience: "client",
		SignedIn: now.Add(-time.Minute).Unix(),
		Nonce:    "n",
		FHIRUser: "https://fhir.test/fhir/Patient/1",
	}, "the access token", now)
	if err != nil {
		t.Fatal(err)
	}
	jws, fault := jose.Open(text, nil)
	if fault != nil {
		t.Fatal(fault)
	}

	sum := sha256.Sum256([]byte("the access token"))
	for name, want := range map[string]string{
		"iss":       `"https://fhir.test/oauth"`,
		"sub":       `"p-1"`,
		"aud":       `"client"`,
		"iat":       "1800000000",
		"exp":       "1800000600",
		"auth_time": "1799999940",
		"nonce":     `"n"`,
		"fhirUser":  `"https://fhir.test/fhir/Patient/1"`,
		"at_hash":   `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`,
	} {
		if got := string(jws.Claims[name]); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if jws.Claims.Has("name") {
		t.Error("a name, though there is none")
	}

	if _, err := (idtoken.Keys)(nil).Sign(idtoken.Claims{}, "x", now); err == nil {
		t.Error("signed without a key")
	}
}
