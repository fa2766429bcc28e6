package udap_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// Covers: S1-075, S1-101, S1-106, S2-19, case 057, case 058, case 059
func TestIssuerIsNoURIName(t *testing.T) {
	const uri = udaptest.Client1URI
	cases := []struct {
		name, iss, says string
		edit            func(*certs.Template)
	}{
		{"another's URI", udaptest.Client2URI, "first difference", nil},
		{"slash more", uri + "/", "trailing slash", nil},
		{"case", "https://CLIENT1.test/app", "upper and lower case", nil},
		{"scheme", "http://client1.test/app", "scheme", nil},
		{"port", "https://client1.test:8443/app", "port", nil},
		{"fragment missing", uri, "fragment", func(t *certs.Template) { t.URIs = []string{uri + "#T-TREAT"} }},
		{"several names", "https://client3.test/app", "https://client2.test/app", func(t *certs.Template) {
			t.URIs = []string{uri, udaptest.Client2URI}
		}},
		{"a client_id", "Zv5Rgy0pbVoxR00drvyLfNviIdg", "client_id, say, is for authentication tokens", nil},
		{"a name without a scheme", "client1", "it has no scheme", func(t *certs.Template) {
			t.URIs = []string{uri, "client1"}
		}},
		{"a name without an authority", "//client1.test/app", "it has no scheme", func(t *certs.Template) {
			t.URIs = []string{"//client1.test/app"}
		}},
		{"a scheme alone", "https:", "nothing follows the scheme", func(t *certs.Template) {
			t.URIs = []string{"https:"}
		}},
		{"no SAN", uri, "no uniformResourceIdentifier", func(t *certs.Template) { t.URIs = nil }},
		{"DNS only", "client1.test", "another type", func(t *certs.Template) {
			t.URIs, t.DNS = nil, []string{"client1.test"}
		}},
		{"email only", "a@client1.test", "another type", func(t *certs.Template) {
			t.URIs, t.Emails = nil, []string{"a@client1.test"}
		}},
		{"common name", uri, "", func(t *certs.Template) { t.URIs, t.CommonName = nil, uri }},
		{"otherName", uri, "", func(t *certs.Template) { t.URIs = nil; t.Mutate = sanOf(0, true, mustDER(uri)) }},
		{"directoryName", uri, "", func(t *certs.Template) {
			t.URIs = nil
			t.Mutate = sanOf(4, true, mustDER(pkix.Name{CommonName: uri}.ToRDNSequence()))
		}},
		{"issuerAltName", uri, "", func(t *certs.Template) {
			t.URIs = nil
			t.Mutate = altNameOf(asn1.ObjectIdentifier{2, 5, 29, 18}, 6, false, []byte(uri))
		}},
	}
	for _, c := range cases {
		w := udaptest.New(t, "p256")
		client := w.Client(t, w.A.Int, uri, c.edit)
		_, tr, err := statement(w, client.Sign(t, client.Statement(w.Now).With("iss", c.iss).With("sub", c.iss)))
		t.Run(c.name, func(t *testing.T) {
			expectRefusal(t, tr, err, expectation{
				code:  trace.InvalidSoftwareStatement,
				check: "statement.iss",
				says:  c.says,
			})
		})
	}
}

// The bytes of the certificate count, not what a URL parser makes of them.
// Covers: S2-19, case 057
func TestRawURINames(t *testing.T) {
	for _, uri := range []string{
		"https://client1.test/a%7eb", "https://CLIENT1.test/App", "https://client1.test/app#",
		"urn:oid:1.2.3#T-TREAT", "https://client1.test:443/app", "HTTPS://client1.test/%2f",
	} {
		t.Run(uri, func(t *testing.T) {
			w := udaptest.New(t, "p256")
			c := w.Client(t, w.A.Int, uri, nil)
			s, _, err := statement(w, c.Sign(t, c.Statement(w.Now)))
			if err != nil || string(s.Client) != uri {
				t.Errorf("%s: %v", uri, err)
			}
			parsed, err := url.Parse(uri)
			if err != nil {
				t.Fatal(err)
			}

			if other := parsed.String(); other != uri {
				_, tr, err := statement(w, c.Sign(t, c.Statement(w.Now).With("iss", other).With("sub", other)))
				expectRefusal(t, tr, err, expectation{code: trace.InvalidSoftwareStatement, check: "statement.iss"})
			}
		})
	}
}

func sanOf(tag int, compound bool, content []byte) func(*x509.Certificate) {
	return altNameOf(asn1.ObjectIdentifier{2, 5, 29, 17}, tag, compound, content)
}

func altNameOf(oid asn1.ObjectIdentifier, tag int, compound bool, content []byte) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		name := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: compound, Bytes: content}
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oid, Value: mustDER([]asn1.RawValue{name})})
	}
}

// Covers: case 061
func TestSeveralURINames(t *testing.T) {
	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, func(t *certs.Template) {
		t.URIs = []string{udaptest.Client1URI, udaptest.Client2URI}
	})

	for _, uri := range []string{udaptest.Client1URI, udaptest.Client2URI} {
		s, _, err := statement(w, c.Sign(t, c.Statement(w.Now).With("iss", uri).With("sub", uri)))
		if err != nil || string(s.Client) != uri {
			t.Errorf("%s: %v", uri, err)
		}
	}

	other := w.Client(t, w.A.Int, udaptest.Client2URI, nil)
	_, tr, err := assertion(w, other.Sign(t, udaptest.Assertion(clientID, w.Now)))
	expectRefusal(t, tr, err, expectation{code: trace.InvalidClient, check: "assertion.certificate"})
}

// Covers: case 062
func TestSANSize(t *testing.T) {
	w := udaptest.New(t, "p256")
	key := udaptest.Key(t, "p256", 10)
	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprintf("https://client1.test/%d", i))
	}

	for name, uris := range map[string][]string{
		"names of more than 12 KiB": many, "60 KiB": {
			"https://client1.test/" + strings.Repeat("a", 60<<10),
		}, "3 KiB": {"https://client1.test/" + strings.Repeat("a", 3<<10)},
		"NUL": {"https://client1.test/\x00app"}, "LF": {"https://client1.test/\napp"}, "bidi": {"https://client1.test/\u202eapp"}, "latin": {"https://client1.test/\xe9"},
		"space": {"https://client1.test/a b"}, "user information": {"https://client1.test@evil.test/app"}, "user information, scheme": {"foo://a:b@c/"},
	} {
		tpl := w.Template("SAN")
		tpl.URIs = append([]string{udaptest.Client1URI}, uris...)
		der, err := w.A.Int.IssueDER(tpl, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
		header := udaptest.HeaderWith("ES256", map[string]any{"x5c": []string{base64.StdEncoding.EncodeToString(der)}})
		_, tr, err := statement(w, signer(c).Sign(t, header, c.Statement(w.Now).JSON(t)))
		t.Run(name, func(t *testing.T) {
			expectRefusal(t, tr, err, expectation{code: tr.Code, offline: true})
			oneOfBoth(t, tr.Code)
			for _, s := range tr.Steps {
				if strings.ContainsAny(s.Found+s.Expected+s.Remedy, "\n\x00\u202e") {
					t.Errorf("the trace has a raw control: %q", s.Found)
				}
			}
		})
	}
}

// The number of names does not count, only their bytes.
func TestManyNames(t *testing.T) {
	for _, n := range []int{1, 50, 51, 200, 400} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := udaptest.New(t, "p256")
			c := w.Client(t, w.A.Int, udaptest.Client1URI, func(tpl *certs.Template) {
				for i := range n - 1 {
					tpl.URIs = append(tpl.URIs, fmt.Sprintf("https://client1.test/%d", i))
				}
			})
			_, tr, err := statement(w, c.Sign(t, c.Statement(w.Now)))
			expectRefusal(t, tr, err, expectation{})
		})
	}
}

// Covers: case 064, case 065
func TestNameConstraints(t *testing.T) {
	permit := func(domains ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.PermittedURIDomains, c.PermittedDNSDomainsCritical = domains, true }
	}
	dns := func(domains ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = domains, true }
	}
	exclude := func(domains ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExcludedURIDomains, c.PermittedDNSDomainsCritical = domains, true }
	}
	for _, c := range []struct {
		name, uri string
		mutate    func(*x509.Certificate)
		ok        bool
	}{
		{"within", "https://example.test/app", permit("example.test"), true},
		{"port and case", "https://EXAMPLE.test:8443/app", permit("example.test"), true},
		{"below a host constraint", "https://a.example.test/app", permit("example.test"), false},
		{"below a domain constraint", "https://a.example.test/app", permit(".example.test"), true},
		{"the domain itself", "https://example.test/app", permit(".example.test"), false},
		{"IPv4", "https://192.0.2.1/app", permit("example.test"), false},
		{"IPv6", "https://[2001:db8::1]/app", permit("example.test"), false},
		{"IPv6 zone", "https://[fe80::1%25eth0]/app", permit("example.test"), false},
		{"urn", "urn:oid:1.2.3", permit("example.test"), false},
		{"did", "did:web:example.test", permit("example.test"), false},
		{"empty host", "https:///app", permit("example.test"), false},
		{"user information", "https://evil.example@example.test/", permit("example.test"), false},
		{"suffix", "https://example.test.evil.example/", permit("example.test"), false},
		{"prefix", "https://evilexample.test/", permit("example.test", ".example.test"), false},
		{"excluded", "https://example.test/", exclude("example.test"), false},
		{"excluded below", "https://a.example.test/", exclude(".example.test"), false},
		{"not excluded", "https://other.test/", exclude("example.test"), true},
		{"urn under exclusion", "urn:oid:1.2.3", exclude("example.test"), false},
		{"DNS tree, outside", "https://victim.other/", dns("example.test"), false},
		{"DNS tree, urn", "urn:oid:1.2.3", dns("example.test"), false},
		{"DNS tree, within", "https://a.example.test/", dns("example.test"), true},
	} {
		want := unapproved("")
		if c.ok {
			want = expectation{}
		}

		for _, k := range kinds {
			w := udaptest.New(t, k)
			client := w.Client(t, newCA(t, w, w.A.Root, "Constrained", udaptest.Key(t, k, 7), c.mutate), c.uri, nil)
			_, tr, err := statement(w, client.Sign(t, client.Statement(w.Now)))
			t.Run(c.name, func(t *testing.T) { expectRefusal(t, tr, err, want) })
		}
	}
}

// Constraints on directory names are not applied here; even where they are not
// critical, a CA that has them is refused.
// Covers: case 064
func TestConstraintsNotUnderstood(t *testing.T) {
	name := mustDER(pkix.Name{CommonName: "x"}.ToRDNSequence())
	base := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: name}
	subtree := asn1.RawValue{Class: 0, Tag: asn1.TagSequence, IsCompound: true, Bytes: mustDER(base)}
	permitted := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: mustDER(subtree)}
	value := mustDER([]asn1.RawValue{permitted})

	for _, critical := range []bool{true, false} {
		checkClient(t, fmt.Sprintf("directoryName critical %v", critical), unapproved(""),
			under(func(c *x509.Certificate) {
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
					Id:       asn1.ObjectIdentifier{2, 5, 29, 30},
					Critical: critical,
					Value:    value,
				})
			}, nil))
	}
}

// Covers: case 066
func TestNameConstraintBomb(t *testing.T) {
	w := udaptest.New(t, "p256")
	var domains []string
	for i := range 600 {
		domains = append(domains, fmt.Sprintf("d%d.test", i))
	}
	ca := newCA(t, w, w.A.Root, "Bomb", udaptest.Key(t, "p256", 7), func(c *x509.Certificate) {
		c.PermittedURIDomains = domains
	})
	c := w.Client(t, ca, "https://d599.test/", nil)
	compact := c.Sign(t, c.Statement(w.Now))

	var tr *trace.Trace
	var err error
	udaptest.Quick(t, "600 names", time.Second, func() { _, tr, err = statement(w, compact) })
	expectRefusal(t, tr, err, unapproved("chain.names"))
}

// Covers: case 067
func TestCertificatePolicies(t *testing.T) {
	explicit := pkix.Extension{
		Id:       asn1.ObjectIdentifier{2, 5, 29, 36},
		Critical: true,
		Value:    []byte{0x30, 3, 0x80, 1, 0},
	}
	checkClient(t, "explicit policy and none", unapproved("chain.policy"), under(func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, explicit)
	}, nil))

	one, two := mustOID(t, "1.2.3.4"), mustOID(t, "1.2.3.5")
	checkClient(t, "explicit policy and a matching one", expectation{}, under(func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, explicit)
		c.Policies = []x509.OID{one}
	}, func(t *certs.Template) { t.Mutate = func(c *x509.Certificate) { c.Policies = []x509.OID{one} } }))
	checkClient(t, "explicit policy and another", unapproved("chain.policy"), under(func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, explicit)
		c.Policies = []x509.OID{one}
	}, func(t *certs.Template) { t.Mutate = func(c *x509.Certificate) { c.Policies = []x509.OID{two} } }))

	inhibit := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 54}, Critical: true, Value: []byte{2, 1, 0}}
	anyPolicy := mustOID(t, "2.5.29.32.0")
	checkClient(t, "anyPolicy inhibited", unapproved("chain.policy"), under(func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, explicit, inhibit)
		c.Policies = []x509.OID{one}
	}, func(t *certs.Template) { t.Mutate = func(c *x509.Certificate) { c.Policies = []x509.OID{anyPolicy} } }))
	wanted := func(policy x509.OID) func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		return func(t *testing.T, w *udaptest.Env) *udaptest.Client {
			w.A.Community.Policy.CertificatePolicies = []string{"1.2.3.4"}
			return under(func(c *x509.Certificate) { c.Policies = []x509.OID{anyPolicy} }, func(t *certs.Template) {
				t.Mutate = func(c *x509.Certificate) { c.Policies = []x509.OID{policy} }
			})(t, w)
		}
	}
	checkClient(t, "the community's policy", expectation{}, wanted(one))

	checkClient(t, "not the community's policy", unapproved("chain.policy"), wanted(two))
}

func mustOID(t *testing.T, s string) x509.OID {
	t.Helper()
	o, err := x509.ParseOID(s)
	if err != nil {
		t.Fatal(err)
	}
	return o
}
