package udap_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
	"golang.org/x/crypto/ocsp"
)

var (
	oidCommonName   = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidOrganization = asn1.ObjectIdentifier{2, 5, 4, 10}
	oidCountry      = asn1.ObjectIdentifier{2, 5, 4, 6}
)

// attr is one attribute of a name with a string of a chosen type.
type attr struct {
	oid   asn1.ObjectIdentifier
	tag   int
	value string
}

// nameOf is the DER of a name with one attribute in each RDN.
func nameOf(attrs ...attr) []byte {
	var rdns []asn1.RawValue
	for _, a := range attrs {
		rdns = append(rdns, rdn(a))
	}
	return mustDER(rdns)
}

// rdn is one RDN with several attributes, in the order given.
func rdn(attrs ...attr) asn1.RawValue {
	var content []byte
	for _, a := range attrs {
		content = append(content, mustDER(struct {
			Type  asn1.ObjectIdentifier
			Value asn1.RawValue
		}{a.oid, asn1.RawValue{Tag: a.tag, Bytes: []byte(a.value)}})...)
	}
	return asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: content}
}

// Names are compared by RFC 5280 7.1: neither the type of a string nor case nor
// runs of spaces count.
func TestSameName(t *testing.T) {
	const printable, utf8, ia5, bmp, teletex = asn1.TagPrintableString, asn1.TagUTF8String, asn1.TagIA5String,
		asn1.TagBMPString, asn1.TagT61String
	cn := func(tag int, value string) []byte { return nameOf(attr{oidCommonName, tag, value}) }
	base := cn(printable, "Test CA")

	for _, row := range []struct {
		name string
		a, b []byte
		same bool
	}{
		{"the same bytes", base, cn(printable, "Test CA"), true},
		{"PrintableString and UTF8String", base, cn(utf8, "Test CA"), true},
		{"PrintableString and IA5String", base, cn(ia5, "Test CA"), true},
		{"PrintableString and TeletexString", base, cn(teletex, "Test CA"), true},
		{"PrintableString and BMPString", base, cn(bmp, "\x00T\x00e\x00s\x00t\x00 \x00C\x00A"), true},
		{"UniversalString", cn(utf8, "A"), cn(28, "\x00\x00\x00A"), true},
		{"case", base, cn(printable, "tEST ca"), true},
		{"spaces between", base, cn(printable, "Test   CA"), true},
		{"spaces around", base, cn(utf8, "  Test CA "), true},
		{"other white space", base, cn(utf8, "Test\u00a0\t CA"), true},
		{"composed and decomposed", cn(utf8, "M\u00fcnchen"), cn(utf8, "Mu\u0308nchen"), true},
		{"compatibility forms", cn(utf8, "\ufb01ne"), cn(utf8, "FINE"), true},
		{"sharp s", cn(utf8, "stra\u00dfe"), cn(utf8, "STRASSE"), false},
		{"an invisible character", base, cn(utf8, "Te\u200bst CA"), true},
		{"another letter", base, cn(printable, "Test CB"), false},
		{"no space", base, cn(printable, "TestCA"), false},
		{"another attribute", base, nameOf(attr{oidOrganization, printable, "Test CA"}), false},
		{
			"one more RDN",
			base,
			nameOf(attr{oidCommonName, printable, "Test CA"}, attr{oidCountry, printable, "US"}),
			false,
		},
		{
			"another order of RDNs",
			nameOf(attr{oidCommonName, printable, "x"}, attr{oidCountry, printable, "US"}),
			nameOf(attr{oidCountry, printable, "US"}, attr{oidCommonName, printable, "x"}), false,
		},
		{
			"another order in one RDN",
			mustDER([]asn1.RawValue{rdn(attr{oidCommonName, utf8, "x"}, attr{oidCountry, printable, "us"})}),
			mustDER([]asn1.RawValue{rdn(attr{oidCountry, printable, "US"}, attr{oidCommonName, printable, "X"})}), true,
		},
		{
			"one RDN of two and two of one",
			mustDER([]asn1.RawValue{rdn(attr{oidCommonName, utf8, "x"}, attr{oidCountry, utf8, "us"})}),
			nameOf(attr{oidCommonName, utf8, "x"}, attr{oidCountry, utf8, "us"}), false,
		},
		{"a value that looks like two", cn(utf8, "x+2.5.4.6=tus"), mustDER([]asn1.RawValue{rdn(
			attr{oidCommonName, utf8, "x"}, attr{oidCountry, utf8, "us"})}), false},
		{"values that are not strings", cn(asn1.TagOctetString, "a"), cn(asn1.TagOctetString, "A"), false},
		{"not a name", []byte{0x30, 1}, []byte{0x30, 2}, false},
		{"not a name, the same bytes", []byte{0x30, 1}, []byte{0x30, 1}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := udap.SameName(row.a, row.b); got != row.same {
				t.Errorf("SameName is %v, want %v", got, row.same)
			}
			if got := udap.SameName(row.b, row.a); got != row.same {
				t.Errorf("SameName the other way round is %v, want %v", got, row.same)
			}
		})
	}
}

// spelled is an authority that writes its own name in another way when it issues
// certificates and CRLs. The name in its certificate stays as it is.
func spelled(ca *certs.CA, tag int, name string) *certs.CA {
	cert := *ca.Cert
	cert.RawSubject = nameOf(attr{oidCommonName, tag, name})
	return &certs.CA{Cert: &cert, Key: ca.Key, Parents: ca.Parents}
}

// spellings are ways to write "Int A", the name of the issuing authority.
var spellings = []struct {
	name string
	tag  int
	text string
	same bool
}{
	{"UTF8String", asn1.TagUTF8String, "Int A", true},
	{"PrintableString", asn1.TagPrintableString, "Int A", true},
	{"case", asn1.TagPrintableString, "INT a", true},
	{"spaces", asn1.TagUTF8String, " Int    A ", true},
	{"another name", asn1.TagUTF8String, "Int C", false},
}

// A chain holds although certificates and CRLs write the name of their issuer
// differently (RFC 5280 7.1): leaf and intermediate, and the CRL.
// Covers: S1-105, S1-176, case 048
func TestSpellingsOfIssuers(t *testing.T) {
	for _, s := range spellings {
		path, revocation := expectation{}, expectation{}
		if !s.same {
			path = unapproved("chain.path")
			revocation = expectation{code: path.code, check: "chain.revocation"}
		}

		checkClient(t, "leaf, "+s.name, path, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
			c := w.Client(t, spelled(w.A.Int, s.tag, s.text), udaptest.Client1URI, nil)
			c.Chain[1] = w.A.Int.Cert
			return c
		})

		checkClient(t, "CRL, "+s.name, revocation, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
			list := listOf(t, w, spelled(w.A.Int, s.tag, s.text), listTemplate(w))
			w.Answer(w.A.Int, udap.CRLAnswer{URL: "http://crl.test/list", List: list, Fetched: w.Now})
			return w.Client(t, w.A.Int, udaptest.Client1URI, nil)
		})
	}
}

// A revoked certificate stays revoked however the CRL writes its issuer.
// Covers: S1-105, S1-176
func TestSpelledCRLRevokes(t *testing.T) {
	want := expectation{code: unapproved("").code, check: "chain.revocation", says: "revoked"}
	checkClient(t, "revoked", want, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
		c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
		tpl := listTemplate(w)
		tpl.Revoked = []certs.RevokedEntry{{Serial: c.Leaf().SerialNumber, Time: w.Now}}
		list := listOf(t, w, spelled(w.A.Int, asn1.TagUTF8String, "int  a"), tpl)
		w.Answer(w.A.Int, udap.CRLAnswer{URL: "http://crl.test/list", List: list, Fetched: w.Now})
		return c
	})
}

// directory is a constraint on directory names.
func directory(tag int, names ...[]byte) func(*x509.Certificate) {
	var list []asn1.RawValue
	for _, n := range names {
		list = append(list, subtree(4, n))
	}
	value := mustDER([]asn1.RawValue{{
		Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: concatDER(list),
	}})
	return extension(oidNameConstraints, true, value)
}

func concatDER(list []asn1.RawValue) []byte {
	var out []byte
	for _, v := range list {
		out = append(out, mustDER(v)...)
	}
	return out
}

// Constraints on directory names are applied to the subject and to the directory
// names of the Subject Alternative Name (RFC 5280 4.2.1.10).
// Covers: case 064
func TestDirectoryConstraints(t *testing.T) {
	const permitted, excluded = 0, 1
	org := nameOf(attr{oidOrganization, asn1.TagPrintableString, "Clinic"})
	other := nameOf(attr{oidOrganization, asn1.TagUTF8String, "Other"})
	subject := func(attrs ...attr) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.RawSubject = nameOf(attrs...) }
	}
	clinic := attr{oidOrganization, asn1.TagUTF8String, "clinic"}
	leafName := attr{oidCommonName, asn1.TagUTF8String, "Leaf"}

	for _, row := range []struct {
		name string
		ca   func(*x509.Certificate)
		leaf func(*x509.Certificate)
		ok   bool
	}{
		{"within", directory(permitted, org), subject(clinic, leafName), true},
		{"the base itself", directory(permitted, org), subject(clinic), true},
		{"within one of two", directory(permitted, other, org), subject(clinic, leafName), true},
		{"outside", directory(permitted, org), subject(leafName), false},
		{"in another order", directory(permitted, org), subject(leafName, clinic), false},
		{"excluded", directory(excluded, org), subject(clinic, leafName), false},
		{
			"excluded in another encoding",
			directory(excluded, org),
			subject(attr{oidOrganization, asn1.TagBMPString, "\x00C\x00L\x00I\x00N\x00I\x00C"}, leafName), false,
		},
		{"not excluded", directory(excluded, other), subject(clinic, leafName), true},
		{"no subject", directory(permitted, org), subject(), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			want := expectation{}
			if !row.ok {
				want = unapproved("chain.names")
			}
			checkClient(t, row.name, want, under(row.ca, func(tpl *certs.Template) { tpl.Mutate = row.leaf }))
		})
	}
}

// A directory name of the Subject Alternative Name is held to the same
// constraints as the subject.
// Covers: case 064
func TestDirectoryConstraintsOnAlternativeNames(t *testing.T) {
	org := nameOf(attr{oidOrganization, asn1.TagPrintableString, "Clinic"})
	for name, row := range map[string]struct {
		san []byte
		ok  bool
	}{
		"within":  {nameOf(attr{oidOrganization, asn1.TagUTF8String, "CLINIC"}), true},
		"outside": {nameOf(attr{oidOrganization, asn1.TagUTF8String, "Other"}), false},
	} {
		want := expectation{}
		if !row.ok {
			want = unapproved("chain.names")
		}
		checkClient(t, name, want, under(directory(0, org), func(tpl *certs.Template) {
			tpl.URIs = nil
			tpl.Mutate = func(c *x509.Certificate) {
				c.RawSubject = org
				uri := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(udaptest.Client1URI)}
				dir := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: row.san}
				extension(asn1.ObjectIdentifier{2, 5, 29, 17}, false, mustDER([]asn1.RawValue{uri, dir}))(c)
			}
		}))
	}
}

// Constraints hold for what a self-issued CA issues, not for that CA itself
// (RFC 5280 6.1.3 b).
// Covers: case 064
func TestConstraintsAndSelfIssuedCAs(t *testing.T) {
	org := nameOf(attr{oidOrganization, asn1.TagPrintableString, "Clinic"})
	for name, row := range map[string]struct {
		subject []byte
		want    expectation
	}{
		"a leaf within":  {nameOf(attr{oidOrganization, asn1.TagUTF8String, "Clinic"}), expectation{}},
		"a leaf outside": {nameOf(attr{oidOrganization, asn1.TagUTF8String, "Other"}), unapproved("chain.names")},
	} {
		checkClient(t, name, row.want, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
			one := newCA(t, w, w.A.Root, "Int 2", udaptest.Key(t, w.Kind, 7), directory(0, org))
			self := newCA(t, w, one, "Int 2", udaptest.Key(t, w.Kind, 8), nil)
			return w.Client(t, self, udaptest.Client1URI, func(tpl *certs.Template) {
				tpl.Mutate = func(c *x509.Certificate) { c.RawSubject = row.subject }
			})
		})
	}
}

// Without a Subject Alternative Name, mail constraints apply to the addresses of
// the subject (RFC 5280 4.2.1.10).
// Covers: case 064
func TestMailConstraintsOnTheSubject(t *testing.T) {
	mail := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
	for name, row := range map[string]struct {
		address string
		want    expectation
	}{
		"within":  {"op@client1.test", expectation{code: unapproved("").code}},
		"outside": {"op@evil.test", unapproved("chain.names")},
	} {
		w := udaptest.New(t, "p256")
		ca := newCA(t, w, w.A.Root, "Int 2", udaptest.Key(t, w.Kind, 7), func(c *x509.Certificate) {
			c.PermittedEmailAddresses = []string{"client1.test"}
		})
		c := w.Client(t, ca, udaptest.Client1URI, func(tpl *certs.Template) {
			tpl.URIs = nil
			tpl.Mutate = func(c *x509.Certificate) {
				c.Subject = pkix.Name{}
				c.RawSubject = nameOf(attr{mail, asn1.TagIA5String, row.address})
				c.SerialNumber = big.NewInt(4711)
			}
		})
		_, tr, err := statement(w, c.Sign(t, c.Statement(w.Now)))
		t.Run(name, func(t *testing.T) {
			if name == "within" { // the path holds; such a certificate has no URI that iss could be
				row.want = expectation{code: tr.Code, check: "statement.iss"}
			}
			expectRefusal(t, tr, err, row.want)
		})
	}
}

// An OCSP response counts however the issuer's name is written: in the
// identifier of the certificate, as the certificate or as the issuer has it (RFC
// 6960 4.1.1), and in the certificate of a delegated responder.
// Covers: S1-105, S1-176
func TestSpellingsInOCSP(t *testing.T) {
	w := udaptest.New(t, "p256")
	for _, s := range spellings {
		issuer := spelled(w.A.Int, s.tag, s.text)
		c := w.Client(t, issuer, udaptest.Client1URI, nil)
		responder := w.Client(t, issuer, "urn:responder", func(tpl *certs.Template) {
			tpl.Mutate = func(c *x509.Certificate) {
				c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
				extension(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, false, []byte{5, 0})(c)
			}
		})

		for _, row := range []struct {
			name      string
			named     *x509.Certificate // whose name the identifier has
			signer    *x509.Certificate
			key       crypto.Signer
			delegated bool
			ok        bool
		}{
			{"as the certificate has it", issuer.Cert, w.A.Int.Cert, w.A.Int.Key, false, true},
			{"as the issuer has it", w.A.Int.Cert, w.A.Int.Cert, w.A.Int.Key, false, true},
			{"of another issuer", w.B.Int.Cert, w.A.Int.Cert, w.A.Int.Key, false, false},
			{"by a delegate", w.A.Int.Cert, responder.Leaf(), responder.Key, true, s.same},
		} {
			t.Run(s.name+"/"+row.name, func(t *testing.T) {
				tpl := ocsp.Response{
					Status:       ocsp.Good,
					SerialNumber: c.Leaf().SerialNumber,
					ThisUpdate:   w.Now,
					NextUpdate:   w.Now.Add(time.Hour),
				}

				named := *row.named
				named.RawSubjectPublicKeyInfo = w.A.Int.Cert.RawSubjectPublicKeyInfo
				if row.delegated {
					tpl.Certificate = responder.Leaf()
				}
				der, err := ocsp.CreateResponse(&named, row.signer, tpl, row.key)
				if err != nil {
					t.Fatal(err)
				}

				if _, err := udap.CheckOCSP(der, c.Leaf(), w.A.Int.Cert, w.Now); (err == nil) != row.ok {
					t.Errorf("accepted %v, want %v: %v", err == nil, row.ok, err)
				}
			})
		}
	}
}

// Issuers that are fetched (AIA) are found by name in the same way.
// Covers: S1-105, S1-176
func TestSpellingsInAIA(t *testing.T) {
	const url = "http://aia.test/int.cer"
	for _, s := range spellings {
		t.Run(s.name, func(t *testing.T) {
			w := udaptest.New(t, "p256")
			w.A.Community.Intermediates = nil
			w.A.Community.Policy.AIA = []string{"http://aia.test"}
			c := w.Client(t, spelled(w.A.Int, s.tag, s.text), udaptest.Client1URI, func(tpl *certs.Template) {
				tpl.Mutate = func(c *x509.Certificate) { c.IssuingCertificateURL = []string{url} }
			})

			v := w.Verifier()
			v.Issuers = issuersAt{url: {w.A.Int.Cert}}
			tr := trace.NewTrace("register", w.Now)
			_, err := v.Statement(ctx, c.SignChain(t, c.Statement(w.Now), c.Leaf()), udap.Expect{
				Now:      w.Now,
				Audience: udaptest.Registration,
			}, tr)
			want := expectation{}

			if !s.same {
				want = unapproved("chain.path")
			}
			expectRefusal(t, tr, err, want)
		})
	}
}

// issuersAt are certificates by the address at which they are published.
type issuersAt map[string][]*x509.Certificate

func (i issuersAt) Issuers(_ context.Context, url string) ([]*x509.Certificate, error) {
	if certs, ok := i[url]; ok {
		return certs, nil
	}
	return nil, errors.New("not found")
}

// busyIssuers is a source of issuers that has no time for a fetch.
type busyIssuers struct{}

func (busyIssuers) Issuers(context.Context, string) ([]*x509.Certificate, error) {
	return nil, udap.ErrUnavailable
}

// Where this server was too busy to look for a path to one community, it is not
// known whether the certificate is trusted, whatever the other communities found.
// Covers: S1-105, S1-114
func TestBusyAIAOfOneCommunity(t *testing.T) {
	for _, order := range []string{"first", "last"} {
		t.Run(order, func(t *testing.T) {
			w := udaptest.New(t, "p256")
			w.B.Community.Intermediates = nil
			w.B.Community.Policy.AIA = []string{"http://aia.test"}
			c := w.Client(t, w.B.Int, udaptest.Client1URI, func(tpl *certs.Template) {
				tpl.Mutate = func(c *x509.Certificate) {
					c.IssuingCertificateURL = []string{"http://aia.test/int.cer"}
				}
			})

			v := w.Verifier()
			v.Issuers = busyIssuers{}
			if order == "first" {
				v.Communities = []*udap.Community{w.B.Community, w.A.Community}
			}
			tr := trace.NewTrace("register", w.Now)
			_, err := v.Statement(ctx, c.SignChain(t, c.Statement(w.Now), c.Leaf()), udap.Expect{
				Now:      w.Now,
				Audience: udaptest.Registration,
			}, tr)
			expectRefusal(t, tr, err, expectation{code: trace.TemporarilyUnavailable, check: "chain.path"})
		})
	}
}
