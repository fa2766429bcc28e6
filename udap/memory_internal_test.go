package udap

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap/trace"
)

// Strangers leave nothing in a verifier's memory but the digests of signatures
// between their own certificates, and no cache grows past its bound.
// Covers: case 043, case 098
func TestStrangersAreNotRemembered(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	key, err := certs.NewKey("p256")
	if err != nil {
		t.Fatal(err)
	}
	dates := certs.Template{CommonName: "Stranger", NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	root, err := certs.NewRoot(dates, key)
	if err != nil {
		t.Fatal(err)
	}

	v := &Verifier{Communities: []*Community{{URI: "urn:empty"}}}
	for i := range 20 {
		tpl := dates
		tpl.URIs = []string{fmt.Sprintf("https://stranger.test/%d", i)}
		leaf, err := root.Issue(tpl, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		compact, err := Sign(key, []*x509.Certificate{leaf, root.Cert}, "", []byte(`{}`))
		if err != nil {
			t.Fatal(err)
		}

		if _, err := v.Statement(context.Background(), compact, Expect{
			Now:      now,
			Audience: "https://x.test/",
		}, nil); err == nil {
			t.Fatal("a stranger is accepted")
		}
	}

	m := &v.memory
	if n := len(m.headers.new) + len(m.certs.new) + len(m.facts.new) + len(m.paths.new) + len(m.lists.new) + len(
		m.cleared.new); n != 0 {
		t.Errorf("%d things are remembered of strangers", n)
	}
	var b bounded[int, int]
	for i := range 1000 {
		b.put(i, i, 10)
	}

	if n := len(b.new) + len(b.old); n > 10 || n < 5 {
		t.Errorf("a cache of 10 holds %d", n)
	}
}

// What a member sends beyond need is not kept either: it could make one
// hundred thousand bytes of each request stay.
//
// Covers: case 035, case 043
func TestNeedlessThingsAreNotRemembered(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	key, err := certs.NewKey("p256")
	if err != nil {
		t.Fatal(err)
	}
	dates := certs.Template{CommonName: "Root", NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	root, err := certs.NewRoot(dates, key)
	if err != nil {
		t.Fatal(err)
	}

	issue := func(uris ...string) *x509.Certificate {
		tpl := dates
		tpl.CommonName, tpl.URIs = "Leaf", uris
		c, err := root.Issue(tpl, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	leaf, junk := issue("https://member.test/"), issue("https://member.test/"+strings.Repeat("x", 11_000))
	for _, c := range []struct {
		chain   []*x509.Certificate
		headers int
	}{{[]*x509.Certificate{leaf, junk}, 0}, {[]*x509.Certificate{leaf, root.Cert}, 1}} {
		v := &Verifier{Communities: []*Community{{URI: "urn:a", Anchors: []*x509.Certificate{root.Cert}}}}
		compact, err := Sign(key, c.chain, "", []byte(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		tr := trace.NewTrace("register", now)
		if _, err := v.Statement(context.Background(), compact, Expect{
			Now:      now,
			Audience: "https://x.test/",
		}, tr); err == nil || tr.Community != "urn:a" {
			t.Fatalf("not a member: %v", err)
		}

		if n := len(v.memory.headers.new); n != c.headers {
			t.Errorf("%d headers kept, want %d", n, c.headers)
		}
		if _, kept := v.memory.certs.get(sha256.Sum256(junk.Raw)); kept {
			t.Error("a certificate on no path is kept")
		}
		if _, kept := v.memory.certs.get(sha256.Sum256(leaf.Raw)); !kept {
			t.Error("the member's own is not kept")
		}
	}
}
