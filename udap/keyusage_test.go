package udap_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
	"fhirdest.example/udap/udaptest"
)

// extension adds an extension with this DER to a certificate.
func extension(id asn1.ObjectIdentifier, critical bool, value []byte) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Critical: critical, Value: value})
	}
}

// keyUsage replaces keyUsage by these bits, the first of which is
// digitalSignature; none gives an extension without any bit.
func keyUsage(bits ...byte) func(*x509.Certificate) {
	value := []byte{asn1.TagBitString, byte(1 + len(bits)), 0}
	return func(c *x509.Certificate) {
		c.KeyUsage = 0
		extension(oidKeyUsage, true, append(value, bits...))(c)
	}
}

var (
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidNameConstraints  = asn1.ObjectIdentifier{2, 5, 29, 30}
)

// A leaf must be allowed to sign, and has no rights of a CA (RFC 5280 4.2.1.3,
// 4.2.1.9, 4.2.1.10).
// Covers: S1-105, S1-176
func TestLeafExtensions(t *testing.T) {
	constraints := mustDER(struct {
		Permitted []asn1.RawValue `asn1:"tag:0"`
	}{[]asn1.RawValue{subtree(6, []byte("client1.test"))}})

	for _, row := range []struct {
		name   string
		mutate func(*x509.Certificate)
		want   expectation
	}{
		{"no keyUsage at all", func(c *x509.Certificate) { c.KeyUsage = 0 }, expectation{}},
		{"digitalSignature", keyUsage(0x80), expectation{}},
		{"digitalSignature and keyEncipherment", keyUsage(0xa0), expectation{}},
		{"keyUsage without any bit", keyUsage(), unapproved("chain.leaf")},
		{"keyUsage of zero bits", keyUsage(0), unapproved("chain.leaf")},
		{"keyEncipherment alone", keyUsage(0x20), unapproved("chain.leaf")},
		{"decipherOnly alone", keyUsage(0, 0x80), unapproved("chain.leaf")},
		{"keyCertSign too", keyUsage(0x84), unapproved("chain.leaf")},
		{"name constraints", extension(oidNameConstraints, true, constraints), unapproved("chain.leaf")},
		{"name constraints, not critical", extension(oidNameConstraints, false, constraints), unapproved("chain.leaf")},
		{"pathLenConstraint without CA", func(c *x509.Certificate) {
			c.BasicConstraintsValid = false
			extension(oidBasicConstraints, true, []byte{0x30, 3, 2, 1, 0})(c)
		}, unapproved("chain.leaf")},
	} {
		t.Run(row.name, func(t *testing.T) {
			checkClient(t, row.name, row.want, mutated(row.mutate))
		})
	}
}

// A CA whose keyUsage lacks keyCertSign issues nothing, and one whose keyUsage
// lacks cRLSign revokes nothing (RFC 5280 4.2.1.3).
// Covers: S1-105, S1-176
func TestIssuerKeyUsage(t *testing.T) {
	for _, row := range []struct {
		name  string
		usage func(*x509.Certificate)
		want  expectation
	}{
		{"no keyUsage at all", func(c *x509.Certificate) { c.KeyUsage = 0 }, expectation{}},
		{"keyCertSign and cRLSign", keyUsage(0x06), expectation{}},
		{"keyUsage without any bit", keyUsage(), unapproved("chain.ca")},
		{"keyUsage of zero bits", keyUsage(0), unapproved("chain.ca")},
		{"digitalSignature alone", keyUsage(0x80), unapproved("chain.ca")},
		{"cRLSign alone", keyUsage(0x02), unapproved("chain.ca")},
		{
			"keyCertSign without cRLSign", keyUsage(0x04),
			expectation{code: unapproved("").code, check: "chain.revocation", says: "may not sign lists"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			checkClient(t, row.name, row.want, func(t *testing.T, w *udaptest.Env) *udaptest.Client {
				ca := newCA(t, w, w.A.Root, "Int 2", udaptest.Key(t, w.Kind, 7), row.usage)
				publishWith(t, w, ca)
				return w.Client(t, ca, udaptest.Client1URI, nil)
			})
		})
	}
}

// publishWith publishes a CRL of an authority whatever its keyUsage is.
func publishWith(t *testing.T, w *udaptest.Env, ca *certs.CA) {
	t.Helper()
	able := *ca.Cert
	able.KeyUsage |= x509.KeyUsageCRLSign
	list := listOf(t, w, &certs.CA{Cert: &able, Key: ca.Key}, listTemplate(w))
	w.Answer(ca, udap.CRLAnswer{URL: "http://crl.test/list", List: list, Fetched: w.Now})
}

// subtree is a GeneralSubtree with one base and further fields.
func subtree(tag int, base []byte, further ...asn1.RawValue) asn1.RawValue {
	compound := tag == 4
	content := mustDER(asn1.RawValue{
		Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: compound, Bytes: base,
	})
	for _, f := range further {
		content = append(content, mustDER(f)...)
	}
	return asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: content}
}

// distance is a minimum (tag 0) or maximum (tag 1) of a GeneralSubtree.
func distance(tag int, n byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte{n}}
}

// minimum is zero and maximum absent in every name constraint (RFC 5280
// 4.2.1.10), whatever the kind of name and whether or not it is critical.
// Covers: case 064
func TestConstraintDistances(t *testing.T) {
	names := []struct {
		kind string
		tag  int
		base []byte
	}{
		{"URI", 6, []byte("client1.test")},
		{"DNS", 2, []byte("client1.test")},
		{"mail", 1, []byte("client1.test")},
		{"IP", 7, []byte{192, 0, 2, 0, 255, 255, 255, 0}},
		{"directory", 4, mustDER(pkix.Name{}.ToRDNSequence())},
	}
	for _, n := range names {
		t.Run(n.kind, func(t *testing.T) {
			for _, row := range []struct {
				name    string
				further []asn1.RawValue
				want    expectation
			}{
				{"none", nil, expectation{}},
				{"minimum 0 written out", []asn1.RawValue{distance(0, 0)}, expectation{}},
				{"minimum 1", []asn1.RawValue{distance(0, 1)}, unapproved("chain.names")},
				{"maximum 0", []asn1.RawValue{distance(1, 0)}, unapproved("chain.names")},
				{"minimum 0 and maximum 9", []asn1.RawValue{distance(0, 0), distance(1, 9)}, unapproved("chain.names")},
			} {
				for _, critical := range []string{"critical", "not critical"} {
					value := mustDER(struct {
						Permitted []asn1.RawValue `asn1:"tag:0"`
					}{[]asn1.RawValue{subtree(n.tag, n.base, row.further...)}})
					checkClient(t, n.kind+" "+row.name+" "+critical, row.want,
						under(extension(oidNameConstraints, critical == "critical", value), nil))
				}
			}
		})
	}
}

// A CRL has a number of at most 20 octets, and each extension once (RFC 5280
// 5.2, 5.2.3). One without a number clears nobody.
// Covers: S1-105, S1-176
func TestCRLNumber(t *testing.T) {
	w := udaptest.New(t, "p256")
	c := w.Client(t, w.A.Int, udaptest.Client1URI, nil)
	number := asn1.ObjectIdentifier{2, 5, 29, 20}
	with := func(values ...*big.Int) func(*udaptest.Env) *x509.RevocationList {
		return func(w *udaptest.Env) *x509.RevocationList {
			list := *listOf(t, w, w.A.Int, listTemplate(w))
			list.Number, list.Extensions = nil, nil
			for _, v := range values {
				list.Number = v
				list.Extensions = append(list.Extensions, pkix.Extension{Id: number, Value: mustDER(v)})
			}
			return &list
		}
	}

	for _, row := range []struct {
		name string
		list func(*udaptest.Env) *x509.RevocationList
		ok   bool
	}{
		{"a number", with(big.NewInt(7)), true},
		{"zero", with(big.NewInt(0)), true},
		{"20 octets", with(new(big.Int).Lsh(big.NewInt(1), 158)), true},
		{"none", with(), false},
		{"negative", with(big.NewInt(-1)), false},
		{"21 octets", with(new(big.Int).Lsh(big.NewInt(1), 160)), false},
		{"two", with(big.NewInt(7), big.NewInt(8)), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w.Answer(w.A.Int, udap.CRLAnswer{URL: "http://crl.test/list", List: row.list(w), Fetched: w.Now})
			_, tr, err := statement(w, c.Sign(t, c.Statement(w.Now)))
			want := expectation{}
			if !row.ok {
				want = expectation{code: trace.UnapprovedSoftwareStatement, check: "chain.revocation"}
			}
			expectRefusal(t, tr, err, want)
		})
	}
}
