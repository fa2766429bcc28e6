package udap_test

import (
	"errors"
	"strings"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

var kinds = []certs.KeyKind{"rsa2048", "p256"}

// eachKind runs a test in an environment of RSA keys and in one of P-256 keys.
func eachKind(t *testing.T, f func(t *testing.T, w *udaptest.Env)) {
	for _, k := range kinds {
		t.Run(string(k), func(t *testing.T) { f(t, udaptest.New(t, k)) })
	}
}

const clientID = trace.ClientID("client-1")

func statement(w *udaptest.Env, compact string) (*udap.SoftwareStatement, *trace.Trace, error) {
	tr := trace.NewTrace("register", w.Now)
	s, err := w.Verifier().Statement(ctx, compact, udap.Expect{
		Now:      w.Now,
		Audience: udaptest.Registration,
		OurURLs:  ourURLs,
	}, tr)
	return s, tr, err
}

func assertion(w *udaptest.Env, compact string) (*udap.AuthenticationToken, *trace.Trace, error) {
	tr := trace.NewTrace("token", w.Now)
	a, err := w.Verifier().Assertion(ctx, compact, "", udap.Expect{
		Now:      w.Now,
		Audience: udaptest.Token,
		OurURLs:  ourURLs,
	}, lookup, tr)
	return a, tr, err
}

func lookup(id trace.ClientID) (udap.Binding, bool) {
	b, ok := map[trace.ClientID]udap.Binding{
		clientID:   {Community: udaptest.CommunityA, Client: udaptest.Client1URI},
		"client-2": {Community: udaptest.CommunityA, Client: udaptest.Client2URI},
		"client-b": {Community: udaptest.CommunityB, Client: udaptest.Client1URI},
	}[id]
	return b, ok
}

var ourURLs = map[string]string{
	udaptest.Registration:                "registration endpoint",
	udaptest.Token:                       "token endpoint",
	udaptest.Base:                        "FHIR base URL",
	"https://fhir.test/oauth":            "issuer",
	"https://fhir.test/oauth/introspect": "introspection endpoint",
}

// Covers: S1-073, S1-074, S1-105, S1-106, S1-107, S1-108, S1-109, case 042, case 118
func TestStatementAccepted(t *testing.T) {
	eachKind(t, func(t *testing.T, w *udaptest.Env) {
		c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
		s, tr, err := statement(w, c.Sign(t, c.Statement(w.Now)))
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		if s.Client != udaptest.Client1URI || s.Community.URI != udaptest.CommunityA || !s.Leaf.Equal(c.Leaf()) ||
			len(s.Chain) != 3 {
			t.Errorf("accepted as %s in %s with a chain of %d", s.Client, s.Community.URI, len(s.Chain))
		}

		if len(s.Metadata.Scope) != 2 || s.Metadata.ClientName != "Test client" || s.Metadata.Cancels() {
			t.Errorf("metadata read as %+v", s.Metadata)
		}
		if w := tr.Warnings(); len(w) > 0 {
			t.Errorf("warned: %+v", w)
		}
		if tr.Code != "" || len(tr.Steps) < 20 || tr.Client != udaptest.Client1URI {
			t.Errorf("trace of %d steps, code %q, client %q", len(tr.Steps), tr.Code, tr.Client)
		}
	})
}

// Covers: S1-173, S1-176, S1-177, S1-179, S1-180, S2-21
func TestAssertionAccepted(t *testing.T) {
	eachKind(t, func(t *testing.T, w *udaptest.Env) {
		c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
		a, tr, err := assertion(w, c.Sign(t, udaptest.Assertion(clientID, w.Now)))
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		if a.ClientID != clientID || a.Client != udaptest.Client1URI || a.Community.URI != udaptest.CommunityA ||
			a.JTI == "" {
			t.Errorf("accepted as %+v", a)
		}

		b, err := udap.ValidateB2B(a, a.Community.Policy, tr)
		if err != nil || b.OrganizationID != "https://client1.test/org" || len(b.PurposeOfUse) != 1 {
			t.Errorf("hl7-b2b judged as %+v, %v", b, err)
		}
	})
}

// Covers: S1-046, S1-048, S1-050, S1-051, S1-053, S1-058, S1-059, S2-06, S2-07
func TestMetadataAccepted(t *testing.T) {
	w := udaptest.New(t, "rsa2048")
	s := w.Client(t, w.A.Int, udaptest.Base, nil)
	doc := udaptest.Metadata(t, s, w.Now, nil)
	tr := trace.NewTrace("discover", w.Now)
	m, err := w.Verifier().Metadata(ctx, doc, udap.ExpectMetadata{
		Now:       w.Now,
		Base:      udaptest.Base,
		Community: udaptest.CommunityA,
	}, tr)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}

	if m.TokenEndpoint != udaptest.Token || m.RegistrationEndpoint != udaptest.Registration ||
		m.AuthorizationEndpoint != "" {
		t.Errorf("endpoints read as %+v", m)
	}
}

// Covers: S1-007, S1-008, S1-161
func TestSign(t *testing.T) {
	for _, kind := range []certs.KeyKind{"rsa2048", "p256", "p384"} {
		w := udaptest.New(t, kind)
		c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
		compact, err := udap.Sign(c.Key, c.Chain, "", c.Statement(w.Now).JSON(t))
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if _, _, err := statement(w, compact); err != nil {
			t.Errorf("%s: our own signature is refused: %v", kind, err)
		}
	}

	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	for name, sign := range map[string]func() (string, error){
		"another key": func() (string, error) {
			return udap.Sign(udaptest.Key(t, "p256", 11), c.Chain, "", []byte(`{}`))
		},
		"another algorithm": func() (string, error) { return udap.Sign(c.Key, c.Chain, "RS256", []byte(`{}`)) },
		"no certificate":    func() (string, error) { return udap.Sign(c.Key, nil, "", []byte(`{}`)) },
		"no key":            func() (string, error) { return udap.Sign(nil, c.Chain, "", []byte(`{}`)) },
		"claims of two forms": func() (string, error) {
			return udap.Sign(c.Key, c.Chain, "", []byte(`{"a":1,"a":2}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := sign(); err == nil {
				t.Errorf("%s: signed %s", name, got)
			}
		})
	}
}

// The zero value refuses, with a reason.
func TestZeroVerifierRefuses(t *testing.T) {
	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	var v udap.Verifier
	_, err := v.Statement(ctx, c.Sign(t, c.Statement(w.Now)), udap.Expect{
		Now:      w.Now,
		Audience: udaptest.Registration,
	}, nil)
	var refusal *trace.Error
	if !errors.As(err, &refusal) || refusal.Code != trace.UnapprovedSoftwareStatement ||
		!strings.Contains(refusal.Detail, "no trust community") {
		t.Errorf("a verifier without communities said %v", err)
	}

	known := &udap.Verifier{Communities: []*udap.Community{w.A.Community}}
	_, err = known.Statement(ctx, c.Sign(t, c.Statement(w.Now)), udap.Expect{
		Now:      w.Now,
		Audience: udaptest.Registration,
	}, nil)
	if !errors.As(err, &refusal) || refusal.Check != "chain.revocation" {
		t.Errorf("a verifier without a revocation source said %v", err)
	}
}
