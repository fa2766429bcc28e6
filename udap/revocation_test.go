package udap_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// notClear is what a certificate gets whose status is bad or unknown.
var notClear = expectation{code: trace.UnapprovedSoftwareStatement, check: "chain.revocation"}

func listTemplate(w *udaptest.Env) certs.CRLTemplate {
	return certs.CRLTemplate{Number: 8, ThisUpdate: w.Now.Add(-time.Hour), NextUpdate: w.Now.Add(time.Hour)}
}

// listed is a client about whose issuer the environment publishes a changed list.
func listed(
	change func(w *udaptest.Env, c *udaptest.Client, tpl *certs.CRLTemplate),
) func(*testing.T, *udaptest.Env) *udaptest.Client {
	return func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
		tpl := listTemplate(w)
		change(w, c, &tpl)
		w.PublishList(t, w.A.Int, tpl)
		return c
	}
}

// Covers: S1-105, S1-176, case 068, case 069, case 136
func TestRevoked(t *testing.T) {
	for _, reason := range []int{0, 1, 5, 6} {
		want := notClear
		want.says = "revoked"
		checkClient(t, "leaf, reason "+big.NewInt(int64(reason)).String(), want,
			listed(func(w *udaptest.Env, c *udaptest.Client, tpl *certs.CRLTemplate) {
				tpl.Revoked = []certs.RevokedEntry{
					{Serial: c.Leaf().SerialNumber, Time: w.Now.Add(-time.Minute), Reason: reason},
				}
			}))
	}

	checkClient(t, "another leaf", expectation{},
		listed(func(w *udaptest.Env, c *udaptest.Client, tpl *certs.CRLTemplate) {
			tpl.Revoked = []certs.RevokedEntry{{Serial: big.NewInt(77), Time: w.Now, Reason: 1}}
		}))
	want := notClear
	want.says = "certificate 1 of the path"
	checkClient(t, "intermediate", want, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		w.Publish(t, w.A.Root, w.A.Int.Cert.SerialNumber)
		return w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	})
}

// Covers: case 071
func TestListUnusable(t *testing.T) {
	for name, change := range map[string]func(w *udaptest.Env, tpl *certs.CRLTemplate){
		"expired": func(w *udaptest.Env, tpl *certs.CRLTemplate) { tpl.NextUpdate = w.Now.Add(-time.Second) },
		"not yet valid": func(w *udaptest.Env, tpl *certs.CRLTemplate) {
			tpl.ThisUpdate = w.Now.Add(10 * time.Minute)
		},
	} {
		want := notClear
		want.says = "list number 8 from http://crl.test/list"
		checkClient(t, name, want, listed(func(w *udaptest.Env, c *udaptest.Client, tpl *certs.CRLTemplate) {
			change(w, tpl)
		}))
	}

	checkClient(t, "not available", notClear, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		w.Answer(w.A.Int, udap.CRLAnswer{URL: "http://crl.test/a", Err: errors.New("404 Not Found")})
		return w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	})
	checkClient(t, "no answer", notClear, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		w.Answer(w.A.Int)
		return w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	})

	checkClient(t, "an answer without a list", notClear, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		w.Answer(w.A.Int, udap.CRLAnswer{URL: "http://crl.test/a"})
		return w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	})
	checkClient(t, "no nextUpdate", notClear, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		list := listOf(t, w, w.A.Int, listTemplate(w))
		list.NextUpdate = time.Time{}
		w.Answer(w.A.Int, udap.CRLAnswer{List: list})
		return w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	})

	checkClient(t, "one of two is good", expectation{}, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		w.Answer(w.A.Int, udap.CRLAnswer{URL: "http://crl.test/a", Err: errors.New("refused")}, udap.CRLAnswer{
			URL:  "http://crl.test/b",
			List: listOf(t, w, w.A.Int, listTemplate(w)),
		})
		return w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	})

	checkClient(t, "one of two revokes", notClear, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
		bad := listTemplate(w)
		bad.Revoked = []certs.RevokedEntry{{Serial: c.Leaf().SerialNumber, Time: w.Now}}
		w.Answer(w.A.Int, udap.CRLAnswer{
			List: listOf(t, w, w.A.Int, listTemplate(w)),
		}, udap.CRLAnswer{List: listOf(t, w, w.A.Int, bad)})
		return c
	})
}

func listOf(t *testing.T, w *udaptest.Env, ca *certs.CA, tpl certs.CRLTemplate) *x509.RevocationList {
	t.Helper()
	der, err := ca.CRL(tpl)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Covers: case 072
func TestListOfAnother(t *testing.T) {
	checkClient(t, "attacker's key, same name", notClear, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		evil := newCA(t, w, w.X.Root, "Int A", udaptest.Key(t, w.Kind, 22), func(c *x509.Certificate) {
			c.SubjectKeyId = w.A.Int.Cert.SubjectKeyId
		})
		w.Answer(w.A.Int, udap.CRLAnswer{List: listOf(t, w, evil, listTemplate(w))})
		return w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	})

	checkClient(t, "list of root B", notClear, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		w.Answer(w.A.Int, udap.CRLAnswer{List: listOf(t, w, w.B.Root, listTemplate(w))})
		return w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	})
	checkClient(t, "issuer without cRLSign", notClear, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		key := udaptest.Key(t, w.Kind, 7)
		able := newCA(t, w, w.A.Root, "Int 2", key, nil)
		unable := newCA(t, w, w.A.Root, "Int 2", key, func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageCertSign
		})
		w.Answer(unable, udap.CRLAnswer{List: listOf(t, w, able, listTemplate(w))})
		c := w.Client(t, unable, udaptest.Client1URI, nil)
		return c
	})
}

// contextField is a field of an ASN.1 structure with a context-specific tag.
func contextField(tag int, content []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: content}
}

// compoundField is one that holds others.
func compoundField(tag int, content asn1.RawValue) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: mustDER(content)}
}

// idp is an issuing distribution point.
func idp(critical bool, parts ...asn1.RawValue) pkix.Extension {
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: critical, Value: mustDER(parts)}
}

// pointNamed is the field of a distribution point with a full name.
func pointNamed(uri string) asn1.RawValue {
	return compoundField(0, compoundField(0, contextField(6, []byte(uri))))
}

var derTrue = []byte{0xff}

// Covers: case 074
func TestListExtensions(t *testing.T) {
	for name, c := range map[string]struct {
		ext pkix.Extension
		ok  bool
	}{
		"unknown critical": {
			pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}},
			false,
		},
		"unknown": {pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}, true},
		"delta": {
			pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}},
			false,
		},
		"delta, not critical": {
			pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Value: []byte{2, 1, 1}},
			false,
		},
		"only users":                {idp(true, contextField(1, derTrue)), true},
		"only CAs, then not":        {idp(true, contextField(2, derTrue), contextField(2, []byte{0})), false},
		"fields out of order":       {idp(true, contextField(4, []byte{0}), contextField(1, derTrue)), false},
		"only CAs":                  {idp(true, contextField(2, derTrue)), false},
		"only CAs, not critical":    {idp(false, contextField(2, derTrue)), false},
		"only some reasons":         {idp(true, contextField(3, []byte{1, 0x60})), false},
		"only some reasons, empty":  {idp(true, contextField(3, []byte{0})), false},
		"only some reasons, broken": {idp(true, contextField(3, nil)), false},
		"indirect":                  {idp(true, contextField(4, derTrue)), false},
		"only attributes":           {idp(true, contextField(5, derTrue)), false},
		"its distribution point":    {idp(true, pointNamed("http://crl.test/Int A.crl")), true},
		"another point":             {idp(true, pointNamed("http://crl.test/other.crl")), false},
		"a relative name": {
			idp(true, compoundField(0, contextField(1, nil))),
			false,
		},
		"a broken name": {
			idp(true, asn1.RawValue{
				Class:      asn1.ClassContextSpecific,
				Tag:        0,
				IsCompound: true,
				Bytes: mustDER(asn1.RawValue{
					Class:      asn1.ClassContextSpecific,
					Tag:        0,
					IsCompound: true,
					Bytes:      []byte{0x86},
				}),
			}),
			false,
		},
		"a field of another kind": {idp(true, asn1.RawValue{Tag: asn1.TagBoolean, Bytes: derTrue}), false},
		"a broken field": {
			pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 1, 0x81}},
			false,
		},
		"unreadable": {
			pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{1}},
			false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := notClear
			if c.ok {
				want = expectation{}
			}
			checkClient(t, name, want, listed(func(w *udaptest.Env, cl *udaptest.Client, tpl *certs.CRLTemplate) {
				tpl.Further = append(tpl.Further, c.ext)
			}))
		})
	}
}

// Covers: case 074
func TestListScopes(t *testing.T) {
	checkClient(t, "two distribution points", notClear,
		listed(func(w *udaptest.Env, cl *udaptest.Client, tpl *certs.CRLTemplate) {
			tpl.Further = append(tpl.Further, idp(true, contextField(2, derTrue)), idp(true, contextField(1, derTrue)))
		}))
	want := notClear
	want.says = "end-entity certificates only"
	checkClient(t, "only users, for an issuer", want, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		tpl := listTemplate(w)
		tpl.Further = append(tpl.Further, idp(true, contextField(1, derTrue)))
		w.PublishList(t, w.A.Root, tpl)
		return w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	})

	for _, critical := range []bool{true, false} {
		want := notClear
		if !critical {
			want = expectation{}
		}
		checkClient(t, "entry extension", want,
			listed(func(w *udaptest.Env, c *udaptest.Client, tpl *certs.CRLTemplate) {
				ext := pkix.Extension{
					Id:       asn1.ObjectIdentifier{2, 5, 29, 29},
					Critical: critical,
					Value:    mustDER([]asn1.RawValue{}),
				}
				tpl.Revoked = []certs.RevokedEntry{{Serial: big.NewInt(5), Time: w.Now, Further: []pkix.Extension{ext}}}
			}))
	}
}

// Every softening is flagged, and none forgives a revoked certificate.
// Covers: case 071
func TestRevocationPolicies(t *testing.T) {
	for _, c := range []struct {
		rule    udap.RevocationRule
		revoked bool
		ok      bool
	}{
		{udap.RevocationSoft, false, true},
		{udap.RevocationSoft, true, false},
		{udap.RevocationOff, false, true},
		{udap.RevocationOff, true, true},
	} {
		t.Run(fmt.Sprintf("%s, revoked %v", c.rule, c.revoked), func(t *testing.T) {
			w := udaptest.New(t, "p256")
			w.A.Community.Policy.Revocation = c.rule
			client := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
			w.Answer(w.A.Int, udap.CRLAnswer{Err: errors.New("timeout")})
			if c.revoked {
				w.Publish(t, w.A.Int, client.Leaf().SerialNumber)
			}
			_, tr, err := statement(w, client.Sign(t, client.Statement(w.Now)))
			if (err == nil) != c.ok {
				t.Errorf("%s, revoked %v: %v", c.rule, c.revoked, err)
			}

			warned := slices.ContainsFunc(tr.Warnings(), func(s trace.Step) bool {
				return s.Check == "chain.revocation"
			})
			if c.ok && !warned {
				t.Errorf("%s is used without a warning", c.rule)
			}
		})
	}
}

// Soft means unknown, never revoked, on any of the paths.
// Covers: case 069, case 071
func TestSoftStillRefusesRevokedPath(t *testing.T) {
	w := udaptest.New(t, "p256")
	w.A.Community.Policy.Revocation = udap.RevocationSoft
	key := udaptest.Key(t, "p256", 7)
	one, two := newCA(t, w, w.A.Root, "Cross", key, nil), newCA(t, w, w.B.Root, "Cross", key, nil)
	w.A.Community.Anchors = append(w.A.Community.Anchors, w.B.Root.Cert)
	c := w.Client(t, one, udaptest.Client1URI, nil)
	c.Chain = []*x509.Certificate{c.Leaf(), one.Cert, two.Cert}
	w.Publish(t, one, c.Leaf().SerialNumber)

	w.Answer(two, udap.CRLAnswer{Err: errors.New("timeout")})
	_, tr, err := statement(w, c.Sign(t, c.Statement(w.Now)))
	expectRefusal(t, tr, err, expectation{
		code:  trace.UnapprovedSoftwareStatement,
		check: "chain.revocation",
		says:  "revoked at",
	})
}

// A status that may pass unknown does not hide one that is known further up.
// Covers: case 069, case 071
func TestSoftLooksAtTheWholePath(t *testing.T) {
	for name, revoked := range map[string]bool{"intermediate revoked": true, "intermediate good": false} {
		w := udaptest.New(t, "p256")
		w.A.Community.Policy.Revocation = udap.RevocationSoft
		c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
		w.Answer(w.A.Int, udap.CRLAnswer{Err: errors.New("timeout")})
		if revoked {
			w.Publish(t, w.A.Root, w.A.Int.Cert.SerialNumber)
		}
		_, tr, err := statement(w, c.Sign(t, c.Statement(w.Now)))
		if !revoked {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}

		expectRefusal(t, tr, err, expectation{
			code:  trace.UnapprovedSoftwareStatement,
			check: "chain.revocation",
			says:  "revoked at",
		})
	}
}

// Revocation is judged per path: a good path is found beside a revoked one.
// Covers: case 078
func TestRevokedOnOnePath(t *testing.T) {
	w := udaptest.New(t, "p256")
	key := udaptest.Key(t, "p256", 7)
	one, two := newCA(t, w, w.A.Root, "Cross", key, nil), newCA(t, w, w.B.Root, "Cross", key, nil)
	w.A.Community.Anchors = append(w.A.Community.Anchors, w.B.Root.Cert)
	w.Publish(t, w.A.Root, one.Cert.SerialNumber)
	c := w.Client(t, one, udaptest.Client1URI, nil)
	c.Chain = []*x509.Certificate{c.Leaf(), one.Cert, two.Cert}
	s, _, err := statement(w, c.Sign(t, c.Statement(w.Now)))
	if err != nil || !s.Chain[len(s.Chain)-1].Equal(w.B.Root.Cert) {
		t.Errorf("the good path is not taken: %v", err)
	}
}

// A certificate revoked in the first community that it leads to is not saved by
// a second one.
// Covers: case 070, case 079
func TestFirstCommunityDecides(t *testing.T) {
	w := udaptest.New(t, "p256")
	key := udaptest.Key(t, "p256", 7)
	one, two := newCA(t, w, w.A.Root, "Cross", key, nil), newCA(t, w, w.B.Root, "Cross", key, nil)
	c := w.Client(t, one, udaptest.Client1URI, nil)
	c.Chain = []*x509.Certificate{c.Leaf(), one.Cert, two.Cert}
	s, _, err := statement(w, c.Sign(t, c.Statement(w.Now)))
	if err != nil || s.Community.URI != udaptest.CommunityA {
		t.Fatalf("taken into %v, %v", s, err)
	}

	w.Publish(t, w.A.Root, one.Cert.SerialNumber)
	_, tr, err := statement(w, c.Sign(t, c.Statement(w.Now)))
	expectRefusal(t, tr, err, expectation{code: trace.UnapprovedSoftwareStatement, check: "chain.revocation"})
	v := w.Verifier()

	for id, ok := range map[trace.ClientID]bool{clientID: false, "client-b": true} {
		t.Run(string(id), func(t *testing.T) {
			_, err := v.Assertion(ctx, c.Sign(t, udaptest.Assertion(id, w.Now)), "", udap.Expect{
				Now:      w.Now,
				Audience: udaptest.Token,
			}, lookup, nil)
			if (err == nil) != ok {
				t.Errorf("%s: %v", id, err)
			}
		})
	}
}

// CheckCRL is what keeps a fetched list from replacing a better one.
// Covers: case 072, case 074
func TestCheckList(t *testing.T) {
	w := udaptest.New(t, "p256")
	good := listOf(t, w, w.A.Int, listTemplate(w))
	if err := udap.CheckCRL(good, w.A.Int.Cert, w.Now); err != nil {
		t.Errorf("a good list: %v", err)
	}
	if err := udap.CheckCRL(good, w.B.Int.Cert, w.Now); err == nil {
		t.Error("a list of another issuer passes")
	}

	if err := udap.CheckCRL(good, w.A.Int.Cert, w.Now.Add(2*time.Hour)); err == nil {
		t.Error("an old list passes")
	}
	if err := udap.CheckCRL(nil, w.A.Int.Cert, w.Now); err == nil {
		t.Error("no list passes")
	}
	rsa := udaptest.New(t, "rsa2048")
	tpl := listTemplate(rsa)
	tpl.Mutate = func(l *x509.RevocationList) { l.SignatureAlgorithm = x509.SHA256WithRSAPSS }

	if err := udap.CheckCRL(listOf(t, rsa, rsa.A.Int, tpl), rsa.A.Int.Cert, rsa.Now); err == nil ||
		!strings.Contains(err.Error(), "signed with") {
		t.Errorf("a list signed with RSA-PSS: %v", err)
	}
}
