package udap_test

import (
	"crypto/x509"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// Covers: S1-004, S1-006, S1-042, S1-045, case 012, case 020
func TestCommunityAlgorithms(t *testing.T) {
	if got := (udap.Policy{}).SignatureAlgorithms(); !slices.Equal(got, []string{"RS256", "ES256", "RS384", "ES384"}) {
		t.Errorf("by default %v", got)
	}
	if got := (udap.Policy{
		Algorithms: []string{"ES384", "none", "RS256"},
	}).SignatureAlgorithms(); !slices.Equal(got, []string{"RS256", "ES384"}) {
		t.Errorf("of a list with none in it %v", got)
	}

	w := udaptest.New(t, "p256")
	w.A.Community.Policy.Algorithms = []string{"RS256"}
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	_, tr, err := statement(w, c.Sign(t, c.Statement(w.Now)))
	expectRefusal(t, tr, err, expectation{code: trace.InvalidSoftwareStatement, check: "community.alg", says: "ES256"})
	_, tr, err = assertion(w, c.Sign(t, udaptest.Assertion(clientID, w.Now)))
	expectRefusal(t, tr, err, expectation{code: trace.InvalidClient, check: "community.alg"})

	for _, alg := range []string{"RS384", "ES384"} {
		t.Run(alg, func(t *testing.T) {
			kind := certs.KeyKind("rsa2048")
			if alg == "ES384" {
				kind = "p384"
			}
			w := udaptest.New(t, kind)
			c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
			compact, err := udap.Sign(c.Key, c.Chain, alg, c.Statement(w.Now).JSON(t))
			if err != nil {
				t.Fatal(err)
			}

			if s, _, err := statement(w, compact); err != nil || s.Algorithm != alg {
				t.Errorf("%s: %v", alg, err)
			}
		})
	}
}

// Covers: case 064
func TestMailConstraints(t *testing.T) {
	for _, c := range []struct {
		permitted, excluded, mail string
		ok                        bool
	}{
		{"a@example.test", "", "a@example.test", true},
		{"a@example.test", "", "b@example.test", false},
		{"example.test", "", "b@example.test", true},
		{"example.test", "", "b@mail.example.test", false},
		{"", "example.test", "b@example.test", false},
		{"", "example.test", "b@other.test", true},
	} {
		w := udaptest.New(t, "p256")
		ca := newCA(t, w, w.A.Root, "Mail", udaptest.Key(t, "p256", 7), func(cert *x509.Certificate) {
			cert.PermittedDNSDomainsCritical = true
			if c.permitted != "" {
				cert.PermittedEmailAddresses = []string{c.permitted}
			}
			if c.excluded != "" {
				cert.ExcludedEmailAddresses = []string{c.excluded}
			}
		})
		client := w.Client(t, ca, udaptest.Client1URI, func(t *certs.Template) { t.Emails = []string{c.mail} })
		_, tr, err := statement(w, client.Sign(t, client.Statement(w.Now)))

		want := unapproved("")
		if c.ok {
			want = expectation{}
		}
		t.Run(c.permitted+c.excluded+" "+c.mail, func(t *testing.T) { expectRefusal(t, tr, err, want) })
	}
}

// A trace is bounded and printable whatever a client sends, and holds no third
// segment of a JWT.
// Covers: case 062, case 119
func TestTraceIsBounded(t *testing.T) {
	tr := trace.NewTrace("register", udaptest.Now)
	c := trace.Checks()[0]
	for range 500 {
		tr.Pass(c, strings.Repeat("x", 10_000), "\x1b[2J\r\n\u202e\xff"+strings.Repeat("é", 10_000))
	}
	if len(tr.Steps) > 200 {
		t.Errorf("%d steps", len(tr.Steps))
	}

	b, err := json.Marshal(tr)
	if err != nil || len(b) > 1<<20 {
		t.Errorf("%d bytes, %v", len(b), err)
	}

	for _, s := range tr.Steps[:1] {
		if strings.ContainsAny(s.Found, "\x1b\r\n\u202e") || len(s.Found) > 700 {
			t.Errorf("found %q", s.Found)
		}
	}

	w, cl := sharedEnv(t, "p256")
	compact := cl.Sign(t, cl.Statement(w.Now).With("sub", "x"))
	_, tr, err = statement(w, compact)
	text, _ := json.Marshal(tr)
	if signature := compact[strings.LastIndex(compact, ".")+1:]; strings.Contains(string(text)+err.Error(), signature) {
		t.Error("the trace or the refusal holds the signature")
	}
}
