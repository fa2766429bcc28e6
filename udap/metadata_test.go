package udap_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

func discover(w *udaptest.Env, doc []byte) (*udap.ServerMetadata, *trace.Trace, error) {
	tr := trace.NewTrace("discover", w.Now)
	m, err := w.Verifier().Metadata(ctx, doc, udap.ExpectMetadata{
		Now:       w.Now,
		Base:      udaptest.Base,
		Community: udaptest.CommunityA,
	}, tr)
	return m, tr, err
}

// Covers: S1-046, S1-048, S1-049, S1-050, S1-051, S1-052, S1-053, S1-054, S1-055, S1-057,
// S1-058, S1-059, S2-07, case 006, case 333
func TestMetadataRefused(t *testing.T) {
	w := udaptest.New(t, "rsa2048")
	server := w.Client(t, w.A.Int, udaptest.Base, nil)
	now := w.Now
	for _, c := range []struct {
		name, check string
		edit        func(plain, signed udaptest.Claims)
	}{
		{"iss is another base", "metadata.iss", func(_, s udaptest.Claims) {
			s["iss"], s["sub"] = "https://evil.test/fhir", "https://evil.test/fhir"
		}},
		{"iss with a slash", "metadata.iss", func(_, s udaptest.Claims) {
			s["iss"], s["sub"] = udaptest.Base+"/", udaptest.Base+"/"
		}},
		{"sub differs", "metadata.sub", func(_, s udaptest.Claims) { s["sub"] = "https://evil.test/fhir" }},
		{"expired", "metadata.exp", func(_, s udaptest.Claims) { s["exp"] = now.Add(-2 * time.Minute).Unix() }},
		{"no exp", "metadata.exp", func(_, s udaptest.Claims) { delete(s, "exp") }},
		{"two years", "metadata.lifetime", func(_, s udaptest.Claims) { s["exp"] = now.AddDate(2, 0, 0).Unix() }},
		{"issued ahead", "metadata.iat", func(_, s udaptest.Claims) { s["iat"] = now.Add(time.Hour).Unix() }},
		{"no jti", "metadata.jti", func(_, s udaptest.Claims) { delete(s, "jti") }},
		{"token endpoint not signed", "metadata.endpoints", func(_, s udaptest.Claims) {
			delete(s, "token_endpoint")
		}},
		{"registration endpoint not signed", "metadata.endpoints", func(_, s udaptest.Claims) {
			delete(s, "registration_endpoint")
		}},
		{"registration endpoint misspelt", "metadata.endpoints", func(_, s udaptest.Claims) {
			delete(s, "registration_endpoint")
			s["register_endpoint"] = udaptest.Registration
		}},
		{"authorization endpoint plain only", "metadata.endpoints", func(p, _ udaptest.Claims) {
			p["authorization_endpoint"] = "https://fhir.test/oauth/authorize"
		}},
		{"endpoint on http", "metadata.endpoints", func(_, s udaptest.Claims) {
			s["token_endpoint"] = "http://fhir.test/oauth/token"
		}},
		{"endpoint relative", "metadata.endpoints", func(_, s udaptest.Claims) {
			s["token_endpoint"] = "/oauth/token"
		}},
		{"endpoint no string", "metadata.endpoints", func(_, s udaptest.Claims) {
			s["token_endpoint"] = []string{udaptest.Token}
		}},
	} {
		_, tr, err := discover(w, udaptest.Metadata(t, server, now, c.edit))
		t.Run(c.name, func(t *testing.T) {
			expectRefusal(t, tr, err, expectation{code: udap.UntrustedMetadata, check: c.check})
		})
	}
}

// Covers: S1-050, S2-06, S2-07, case 003, case 006, case 007, case 016, case 333
func TestMetadataSigner(t *testing.T) {
	w := udaptest.New(t, "rsa2048")
	good := w.Client(t, w.A.Int, udaptest.Base, nil)
	es := udaptest.New(t, "p256")
	for _, c := range []struct {
		name, check string
		w           *udaptest.Env
		server      *udaptest.Client
	}{
		{"signed with ES256", "metadata.alg", es, es.Client(t, es.A.Int, udaptest.Base, nil)},
		{"another community", "chain.path", w, w.Client(t, w.B.Int, udaptest.Base, nil)},
		{"a stranger", "chain.path", w, w.Client(t, w.X.Int, udaptest.Base, nil)},
		{
			"another SAN",
			"metadata.iss",
			w,
			&udaptest.Client{
				URI:   udaptest.Base,
				Key:   good.Key,
				Chain: w.Client(t, w.A.Int, "https://other.test/fhir", nil).Chain,
			},
		},
		{"expired certificate", "chain.validity", w, w.Client(t, w.A.Int, udaptest.Base, func(t *certs.Template) {
			t.NotAfter = w.Now.Add(-time.Second)
		})},
		{
			"another key",
			"jws.signature",
			w,
			&udaptest.Client{URI: udaptest.Base, Key: udaptest.Key(t, "rsa2048", 20), Chain: good.Chain},
		},
	} {
		_, tr, err := discover(c.w, udaptest.Metadata(t, c.server, c.w.Now, nil))
		t.Run(c.name, func(t *testing.T) {
			expectRefusal(t, tr, err, expectation{code: udap.UntrustedMetadata, check: c.check})
		})
	}

	w.Publish(t, w.A.Int, good.Leaf().SerialNumber)
	_, tr, err := discover(w, udaptest.Metadata(t, good, w.Now, nil))
	expectRefusal(t, tr, err, expectation{code: udap.UntrustedMetadata, check: "chain.revocation"})
	two := w.Client(t, w.A.Int, udaptest.Base, func(t *certs.Template) {
		t.URIs = []string{udaptest.Base, "https://other.test/fhir"}
	})
	_, tr, err = discover(w, udaptest.Metadata(t, &udaptest.Client{
		URI:   "https://other.test/fhir",
		Key:   two.Key,
		Chain: two.Chain,
	}, w.Now, nil))
	expectRefusal(t, tr, err, expectation{code: udap.UntrustedMetadata, check: "metadata.base"})
}

// Covers: S1-015, S1-046, S1-047, case 034
func TestMetadataDocument(t *testing.T) {
	w := udaptest.New(t, "rsa2048")
	good := string(udaptest.Metadata(t, w.Client(t, w.A.Int, udaptest.Base, nil), w.Now, nil))
	for name, doc := range map[string]string{
		"nothing": "", "HTML": "<html>", "array": "[]", "no signed_metadata": "{}", "number": `{"signed_metadata":1}`, "twice": `{"signed_metadata":"x",` + good[1:],
		"token endpoint twice": `{"Token_endpoint":"https://evil.test/",` + good[1:], "trailing": good +
			"x", "huge": `{"a":"` + strings.Repeat("a",
			600<<10) + `"}`, "signed_metadata no JWT": `{"signed_metadata":"x"}`,
	} {
		_, tr, err := discover(w, []byte(doc))
		t.Run(name, func(t *testing.T) { expectRefusal(t, tr, err, expectation{code: udap.UntrustedMetadata}) })
	}
}

// Signed endpoints take precedence, with a warning.
// Covers: case 333
func TestSignedEndpointsCount(t *testing.T) {
	w := udaptest.New(t, "rsa2048")
	doc := udaptest.Metadata(t, w.Client(t, w.A.Int, udaptest.Base, nil), w.Now, func(plain, _ udaptest.Claims) {
		plain["token_endpoint"] = "https://evil.test/token"
	})
	m, tr, err := discover(w, doc)
	if err != nil || m.TokenEndpoint != udaptest.Token || len(tr.Warnings()) != 1 {
		t.Errorf("%+v, %v, %+v", m, err, tr.Warnings())
	}

	w.A.Community.Anchors = nil
	_, _, err = discover(w, doc)
	var refusal *trace.Error
	if !errors.As(err, &refusal) || refusal.Check != "chain.path" {
		t.Errorf("without anchors: %v", err)
	}
}

// A server that supports authorization_code without an endpoint for it can
// still be used with the other grants.
func TestMetadataWithoutAuthorizationEndpoint(t *testing.T) {
	w := udaptest.New(t, "rsa2048")
	server := w.Client(t, w.A.Int, udaptest.Base, nil)
	m, tr, err := discover(w, udaptest.Metadata(t, server, udaptest.Now, func(p, _ udaptest.Claims) {
		p["grant_types_supported"] = []string{"authorization_code", "client_credentials"}
	}))
	if err != nil || m.AuthorizationEndpoint != "" {
		t.Fatalf("error %v, metadata %+v", err, m)
	}

	if got := tr.Warnings(); len(got) != 1 || got[0].Check != "metadata.endpoints" {
		t.Errorf("warnings %+v", got)
	}
}

// Endpoints at http are for loopback hosts, and only where the caller says so.
func TestMetadataAtLoopback(t *testing.T) {
	w := udaptest.New(t, "rsa2048")
	server := w.Client(t, w.A.Int, udaptest.Base, nil)
	for _, c := range []struct {
		endpoint string
		told     bool
		accepted bool
	}{
		{"http://localhost:8080/token", true, true},
		{"http://127.0.0.1:8080/token", true, true},
		{"http://[::1]:8080/token", true, true},
		{"http://localhost:8080/token", false, false},
		{"http://fhir.test/token", true, false},
		{"http://localhost.fhir.test/token", true, false},
		{"ftp://localhost/token", true, false},
	} {
		t.Run(fmt.Sprintf("%s told %v", c.endpoint, c.told), func(t *testing.T) {
			document := udaptest.Metadata(t, server, udaptest.Now, func(_, s udaptest.Claims) {
				s["token_endpoint"] = c.endpoint
			})
			_, err := w.Verifier().Metadata(context.Background(), document, udap.ExpectMetadata{
				Now:          udaptest.Now,
				Base:         udaptest.Base,
				LoopbackHTTP: c.told,
			}, nil)
			if (err == nil) != c.accepted {
				t.Errorf("error %v, want accepted %v", err, c.accepted)
			}
		})
	}
}
