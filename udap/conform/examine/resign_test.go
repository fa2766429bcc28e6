package examine_test

import (
	"net/http"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/servertest"
	"fhirdest.example/udap/forge"
)

// signer signs a destination's metadata anew.
type signer struct {
	*forge.Client
	header map[string]any                 // members beside alg and x5c
	change func(claims members, time int) // time counts the signatures
	count  int
}

// own is the destination's identity in a community: "a" or "b".
func own(t *testing.T, d *servertest.Destination, community string) *forge.Client {
	t.Helper()
	id, err := certs.LoadIdentity(d.Dir+"/"+community+".pem", d.Dir+"/"+community+".key")
	if err != nil {
		t.Fatal(err)
	}
	return &forge.Client{
		Key:   id.Key,
		Chain: id.Chain,
	}
}

// named is the destination's key with a certificate of community A for another URI.
func named(t *testing.T, d *servertest.Destination, uri string) *forge.Client {
	t.Helper()
	key := own(t, d, "a").Key
	id := d.Issue("a", d.A, key, uri)
	return &forge.Client{
		Key:   key,
		Chain: id.Chain,
	}
}

// elliptic is the destination with a P-256 key.
func elliptic(t *testing.T, d *servertest.Destination) *forge.Client {
	t.Helper()
	id := d.Issue("a", d.A, d.Key("p256"), d.Base)
	return &forge.Client{
		Key:   id.Key,
		Chain: id.Chain,
	}
}

// resigned signs what the destination signed, with a change.
func resigned(t *testing.T, s signer) fault {
	t.Helper()
	return func(e *exchange, next func()) {
		next()
		if !e.at(metadataPath) || e.status != http.StatusOK {
			return
		}

		o := e.object()
		claims := claimsOf(o["signed_metadata"].(string))
		s.count++
		if s.change != nil {
			s.change(claims, s.count)
		}
		payload, err := forge.Claims(claims).JSON()
		if err != nil {
			t.Error(err)
			return
		}
		o["signed_metadata"], err = s.Raw().Sign(forge.HeaderWith(s.Algorithm(), s.header, s.Chain...), payload)
		if err != nil {
			t.Error(err)
			return
		}
		e.set(e.status, o)
	}
}

// reclaimed signs the metadata anew, by the destination's own key, with one claim
// changed; nil removes it.
func reclaimed(t *testing.T, d *servertest.Destination, name string, value any) fault {
	t.Helper()
	return resigned(t, signer{
		Client: own(t, d, "a"),
		change: func(claims members, _ int) { put(claims, name, value) },
	})
}

// signedFaults are what can be wrong with signed_metadata.
func signedFaults(t *testing.T, d *servertest.Destination) []row {
	self, now := own(t, d, "a"), d.Now()
	const elsewhere = "https://elsewhere.test/fhir"
	return []row{
		{check: "signed.present", fault: with("signed_metadata", nil)},
		{check: "signed.form", fault: with("signed_metadata", "e30.e30")},
		{check: "signed.alg", fault: resigned(t, signer{Client: self, header: members{"alg": forge.Absent}})},
		{check: "signed.crit", fault: resigned(t, signer{Client: self, header: members{"crit": []string{"exp"}}})},
		{check: "signed.rs256", fault: resigned(t, signer{Client: elliptic(t, d)})},
		{check: "signed.x5c", fault: resigned(t, signer{Client: self, header: members{"x5c": "MIIB"}})},
		{check: "signed.signature", fault: resigned(t, signer{Client: &forge.Client{
			Key:   d.Key("rsa2048"),
			Chain: self.Chain,
		}})},
		{check: "signed.trust", fault: resigned(t, signer{Client: own(t, d, "b")})},
		{check: "signed.iss", fault: reclaimed(t, d, "iss", nil)},
		{check: "signed.iss.name", fault: resigned(t, signer{Client: named(t, d, elsewhere)})},
		{check: "signed.iss.base", fault: resigned(t, signer{
			Client: named(t, d, elsewhere),
			change: func(claims members, _ int) { claims["iss"], claims["sub"] = elsewhere, elsewhere },
		})},
		{check: "signed.sub", fault: reclaimed(t, d, "sub", elsewhere)},
		{check: "signed.exp", fault: reclaimed(t, d, "exp", now.Add(-time.Hour).Unix())},
		{check: "signed.lifetime", fault: reclaimed(t, d, "exp", now.AddDate(2, 0, 0).Unix())},
		{check: "signed.iat", fault: reclaimed(t, d, "iat", nil)},
		{check: "signed.jti", fault: reclaimed(t, d, "jti", 7)},
		{check: "signed.jti.once", fault: resigned(t, signer{
			Client: self,
			change: func(claims members, n int) {
				claims["jti"] = "the same"
				claims["iat"] = now.Unix() - int64(n)
			},
		})},
		{check: "signed.authorization_endpoint", fault: reclaimed(t, d, "authorization_endpoint", nil)},
		{check: "signed.token_endpoint", fault: reclaimed(t, d, "token_endpoint", nil)},
		{
			check: "signed.token_endpoint",
			name:  "with http",
			fault: reclaimed(t, d, "token_endpoint", "http://fhir.test/acme/oauth/token"),
			also:  []string{"signed.agrees"},
		},
		{check: "signed.registration_endpoint", fault: reclaimed(t, d, "registration_endpoint", nil)},
		{check: "signed.agrees", fault: with("token_endpoint", "https://elsewhere.test/token")},
	}
}
