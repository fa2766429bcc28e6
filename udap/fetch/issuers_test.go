package fetch

import (
	"encoding/asn1"
	"encoding/pem"
	"strings"
	"testing"

	"fhirdest.example/certs/netname"
)

// What stands at an AIA URL is a certificate in one of three forms, or nothing.
func TestParseIssuers(t *testing.T) {
	ca := signer(t, "A")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
	pkcs7 := func(oid asn1.ObjectIdentifier, inner any) []byte {
		der, err := asn1.Marshal(struct {
			Type    asn1.ObjectIdentifier
			Content any `asn1:"explicit,tag:0"`
		}{oid, inner})
		if err != nil {
			t.Fatal(err)
		}

		return der
	}

	type signedData struct {
		Version      int
		Digests      asn1.RawValue
		Content      asn1.RawValue
		Certificates asn1.RawValue
		Signers      asn1.RawValue
	}

	set := asn1.RawValue{Tag: asn1.TagSet, IsCompound: true}
	data := func(certs []byte) signedData {
		return signedData{
			1, set, asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: []byte{5, 0}},
			asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: certs}, set,
		}
	}
	for name, c := range map[string]struct {
		data []byte
		want int
	}{
		"DER":                      {ca.cert.Raw, 1},
		"PEM":                      {certificate, 1},
		"many PEM":                 {[]byte(strings.Repeat(string(certificate), 20)), maxIssuerCerts},
		"PKCS#7":                   {pkcs7(oidSignedData, data(ca.cert.Raw)), 1},
		"PKCS#7 of nothing":        {pkcs7(oidSignedData, data(nil)), 0},
		"PKCS#7 of nonsense":       {pkcs7(oidSignedData, data([]byte{1, 2, 3})), 0},
		"PKCS#7 of another kind":   {pkcs7(asn1.ObjectIdentifier{1, 2, 3}, data(ca.cert.Raw)), 0},
		"PKCS#7 with a number":     {pkcs7(oidSignedData, 5), 0},
		"PEM of a key":             {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: ca.cert.Raw}), 0},
		"PEM of nonsense":          {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), 0},
		"broken PEM":               {[]byte("-----BEGIN CERTIFICATE-----\n!\n"), 0},
		"HTML":                     {[]byte("<html>"), 0},
		"nothing":                  {nil, 0},
		"a certificate and a byte": {append(ca.cert.Raw[:len(ca.cert.Raw):len(ca.cert.Raw)], 0), 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseIssuers(c.data)
			if len(got) != c.want || (err == nil) != (c.want > 0) {
				t.Errorf("%s: %d certificates, %v; want %d", name, len(got), err, c.want)
			}
		})
	}
}

// Where nothing is fetched from, whatever names it.
//
// Covers: case 075
func TestTargets(t *testing.T) {
	for text, ok := range map[string]bool{
		"http://a.example/x.crl": true, "https://a.example:8443/": true, "HTTP://A.example/": true,
		"http://a.example/" + strings.Repeat("x",
			maxURL): false, "http://[::1": false, "ftp://a.example/": false, "file:///etc/passwd": false,
		"http:///x": false, "http://u@a.example/": false, "http://a.example/#f": false, "": false, "//a.example/": false,
	} {
		t.Run(text, func(t *testing.T) {
			if _, err := target(text); (err == nil) != ok {
				t.Errorf("%.40q: %v", text, err)
			}
		})
	}

	for a, b := range map[string]string{
		"http://A.example/x": "http://a.example:80",
		"https://a.example":  "https://a.example:443",
		"http://[::1]/":      "http://[::1]:80",
	} {
		t.Run(a, func(t *testing.T) {
			u, err := target(a)
			if err != nil || netname.Origin(u.String()) != b {
				t.Errorf("origin of %s: %v, want %s", a, err, b)
			}
		})
	}
}
