package udap

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap/trace"
)

// countingIssuers publishes more authorities of the same name with each fetch.
type countingIssuers struct {
	make func() []*x509.Certificate
}

func (c countingIssuers) Issuers(context.Context, string) ([]*x509.Certificate, error) {
	return c.make(), nil
}

// One request costs at most maxSignatures signatures between certificates, over
// all communities and whatever is fetched; the same signature is never verified
// twice; and the refusal names the budget.
// Covers: case 043, case 098
func TestSignaturesOfOneRequest(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	key := mustKey(t)
	template := func(name string) certs.Template {
		return certs.Template{CommonName: name, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	}
	root := func(name string) *certs.CA {
		ca, err := certs.NewRoot(template(name), mustKey(t))
		if err != nil {
			t.Fatal(err)
		}
		return ca
	}

	// A stranger's leaf and the nine authorities of one name above it: by their
	// names, each of them may have issued the leaf and each other one.
	ca := root("Same name")
	var above []*x509.Certificate
	for range 9 {
		next, err := ca.NewCA(template("Same name"), mustKey(t))
		if err != nil {
			t.Fatal(err)
		}
		above, ca = append(above, next.Cert), next
	}

	tpl := template("Leaf")
	tpl.URIs = []string{"https://stranger.test/"}
	tpl.Mutate = func(c *x509.Certificate) {
		c.IssuingCertificateURL = []string{"http://aia.test/1", "http://aia.test/2"}
	}
	leaf, err := ca.Issue(tpl, key.Public())
	if err != nil {
		t.Fatal(err)
	}

	chain := append([]*x509.Certificate{leaf}, above...)

	var communities []*Community
	for i := range 40 {
		communities = append(communities, &Community{
			URI:     trace.CommunityURI(fmt.Sprintf("urn:community:%d", i)),
			Anchors: []*x509.Certificate{root("Same name").Cert},
			Policy:  Policy{AIA: []string{"http://aia.test"}},
		})
	}

	fetched := countingIssuers{func() (out []*x509.Certificate) {
		for range 8 {
			out = append(out, root("Same name").Cert)
		}
		return out
	}}

	for _, row := range []struct {
		name        string
		communities []*Community
		chain       []*x509.Certificate
		issuers     IssuerSource
		exhausted   bool
	}{
		{"a short chain", communities[:1], chain[:3], nil, false},
		{"a short chain and twenty communities", communities[:20], chain[:1], nil, false},
		{"nine of one name", communities[:1], chain, nil, true},
		{"nine of one name and fetched issuers", communities[:1], chain, fetched, true},
		{"forty communities", communities, chain[:1], nil, true},
		{"forty communities and fetched issuers", communities, chain, fetched, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			compact, err := Sign(key, row.chain, "", []byte(`{"sub":"x","iss":"x"}`))
			if err != nil {
				t.Fatal(err)
			}
			expect := Expect{Now: now, Audience: "https://as.test/"}
			v := &Verifier{Communities: row.communities, Issuers: row.issuers}
			_, err = v.Statement(t.Context(), compact, expect, nil)
			checkBudget(t, err, row.exhausted)

			v = &Verifier{Communities: row.communities, Issuers: row.issuers}
			_, err = v.Assertion(t.Context(), compact, "", expect, nil, nil)
			checkBudget(t, err, row.exhausted)

			v = &Verifier{Communities: row.communities, Issuers: row.issuers}
			val := v.begin(t.Context(), statementKind, expect, nil)
			e, err := val.open(compact)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = val.trust(e, v.Communities)
			known, failed := len(v.memory.sigs.new), len(val.sigs.failed)

			if used := val.sigs.used; used > maxSignatures || used != known+failed {
				t.Errorf("%d signatures verified: %d good ones, %d bad ones", used, known, failed)
			}
		})
	}
}

// checkBudget checks that a refusal is one of trust, and names the budget if it
// was used up.
func checkBudget(t *testing.T, err error, exhausted bool) {
	t.Helper()
	var e *trace.Error
	if !errors.As(err, &e) || e.Code != trace.UnapprovedSoftwareStatement && e.Code != trace.InvalidClient {
		t.Fatalf("refused as %v", err)
	}
	budget := fmt.Sprintf("at most %d signatures", maxSignatures)
	if named := strings.Contains(e.Detail, budget); named != exhausted || exhausted && e.Check != "chain.path" {
		t.Errorf("names the budget %v, want %v: %v", named, exhausted, err)
	}
}

func mustKey(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := certs.NewKey("p256")
	if err != nil {
		t.Fatal(err)
	}
	return k
}
