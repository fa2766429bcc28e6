package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/authority"
	"fhirdest.example/cmd/internal/crlserver"
	"fhirdest.example/gateway/complaint"
)

const showUsage = `usage: community show FILE
       community show -ca PREFIX

Prints certificates, a list or a PKCS#12 file, and what is odd about them; with
-ca the community's trust sheet: what others need to trust it, and who is in it.

  -ca PREFIX           the community, as given to init
  -password-file FILE  its first line opens a PKCS#12 file

Examples:
  community show client.pem
  community show http-fetched.crl
  community show -ca trust/a > sheet.txt
`

func show(_ context.Context, args []string, e env) error {
	fs := flags("show", showUsage, e)
	prefix, passwordFile := fs.String("ca", "", ""), fs.String("password-file", "", "")
	rest, err := parse(fs, args, 1)
	if err != nil {
		return err
	}
	if (*prefix == "") == (len(rest) == 0) {
		return usageError{
			complaint.New("give either a FILE or -ca", "community show -h shows examples"),
		}
	}
	if *prefix != "" {
		return sheet(e.stdout, *prefix, e.now())
	}

	password, err := firstLine(*passwordFile)
	if err != nil {
		return err
	}
	return showFile(e.stdout, rest[0], password, e.now())
}

// showFile finds out by itself what a file is.
func showFile(w io.Writer, file, password string, now time.Time) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if l, err := certs.ParseCRL(data); err == nil {
		printList(w, file, l, now)
		return nil
	}

	if id, err := certs.ParsePKCS12(data, password); err == nil {
		fmt.Fprintf(w, "PKCS#12 with a private key (%s) and %d certificates\n",
			certs.DescribeKey(id.Key.Public()),
			len(id.Chain))
		return printChain(w, id.Chain, now)
	} else if strings.Contains(err.Error(), "password") {
		return complaint.New(fmt.Sprintf("%s: %v", file, err), "give -password-file")
	}

	chain, err := certs.ParseCertificates(data)
	if err != nil {
		return complaint.New(fmt.Sprintf("%s: %v", file, err),
			"a certificate, a list or a PKCS#12 file is expected")
	}

	return printChain(w, chain, now)
}

func printChain(w io.Writer, chain []*x509.Certificate, now time.Time) error {
	for i, c := range chain {
		fmt.Fprintf(w, "certificate %d\n", i+1)
		printCertificate(w, c)
		if i == 0 || !c.IsCA {
			printLints(w, lint(c, now))
		}
		if i > 0 && chain[i-1].CheckSignatureFrom(c) != nil {
			fmt.Fprintf(
				w,
				"  note: it did not issue certificate %d: a chain runs from leaf to issuer\n",
				i,
			)
		}
	}

	return nil
}

func printCertificate(w io.Writer, c *x509.Certificate) {
	fmt.Fprintf(w, "  subject  %s\n  issuer   %s\n  serial   0x%x\n", certs.Printable(c.Subject.String()),
		certs.Printable(c.Issuer.String()), c.SerialNumber)
	fmt.Fprintf(w, "  valid    %s to %s\n", c.NotBefore.UTC().Format(time.RFC3339),
		c.NotAfter.UTC().Format(time.RFC3339))
	fmt.Fprintf(
		w,
		"  key      %s\n  sha-256  %s\n",
		certs.DescribeKey(c.PublicKey),
		fingerprint(c),
	)
	uris, _ := certs.RawURIs(c) // lint reports what cannot be read
	for _, u := range uris {
		fmt.Fprintf(w, "  uri      %s\n", certs.Printable(u))
	}

	for _, d := range c.DNSNames {
		fmt.Fprintf(w, "  dns      %s\n", certs.Printable(d))
	}

	for _, u := range c.CRLDistributionPoints {
		fmt.Fprintf(w, "  crl      %s\n", certs.Printable(u))
	}

	for _, u := range c.IssuingCertificateURL {
		fmt.Fprintf(w, "  aia      %s\n", certs.Printable(u))
	}
}

func printList(w io.Writer, name string, l *x509.RevocationList, now time.Time) {
	fmt.Fprintf(w, "list %s\n  issuer   %s\n  number   %v\n  this     %s\n  next     %s\n  revoked  %d\n", name,
		certs.Printable(l.Issuer.String()),
		l.Number, l.ThisUpdate.UTC().Format(time.RFC3339), l.NextUpdate.UTC().Format(time.RFC3339), len(
			l.RevokedCertificateEntries))

	for _, r := range l.RevokedCertificateEntries {
		fmt.Fprintf(w, "           0x%x at %s, reason %s\n", r.SerialNumber,
			r.RevocationTime.UTC().Format(time.RFC3339), reasonName(r.ReasonCode))
	}

	if text := crlserver.Due(l, now, 7*24*time.Hour); text != "" {
		fmt.Fprintf(w, "  note: it %s: sign it anew with: community crl\n", text)
	}
}

// reasonName returns the name of a reason code (RFC 5280 5.3.1).
func reasonName(code int) string {
	for name, c := range reasons {
		if c == code {
			return name
		}
	}
	return fmt.Sprint(code)
}

func printLists(w io.Writer, a *authority.Authority, now time.Time) error {
	root, issuing, err := a.CRLs()
	if err != nil {
		return err
	}

	for _, of := range []struct {
		file string
		list *x509.RevocationList
	}{{a.File("-root.crl"), root}, {a.File(".crl"), issuing}} {
		if of.list == nil {
			fmt.Fprintf(
				w,
				"list %s is not there: make it with: community crl -ca %s\n",
				of.file,
				a.Prefix,
			)
			continue
		}
		printList(w, of.file, of.list, now)
	}

	return nil
}

// anyDue reports whether one of the lists is missing or ends within the time.
func anyDue(a *authority.Authority, now time.Time, within time.Duration) (bool, error) {
	root, issuing, err := a.CRLs()
	if err != nil {
		return false, err
	}
	return root == nil || issuing == nil || crlserver.Due(root, now, within) != "" ||
		crlserver.Due(issuing, now, within) != "", nil
}

// sheet prints what another party needs to trust this community, and its
// members: it is read aloud and compared at a connectathon's table.
func sheet(w io.Writer, prefix string, now time.Time) error {
	a, err := authority.Open(prefix)
	if err != nil {
		return err
	}

	_, list, err := a.CRLs()
	if err != nil {
		return err
	}

	issued, err := a.Issued()
	if err != nil {
		return err
	}

	fmt.Fprintf(w, "TRUST SHEET  %s\ncommunity    %s\nprinted      %s\n\n", a.Name, a.URI,
		now.UTC().Format(time.RFC3339))
	fmt.Fprintf(w, "ANCHOR       %s\n", a.File("-root.pem"))
	printCertificate(w, a.Root.Cert)
	fmt.Fprint(w, "\nISSUING CA\n")
	printCertificate(w, a.Issuing.Cert)
	fmt.Fprint(w, "\nLISTS\n")
	if err := printLists(w, a, now); err != nil {
		return err
	}

	fmt.Fprintf(w, "\nMEMBERS      %d certificates issued\n", len(issued))
	for _, c := range issued {
		printMember(w, c, list, now)
	}

	return nil
}

func printMember(w io.Writer, c *x509.Certificate, list *x509.RevocationList, now time.Time) {
	state := "good until " + c.NotAfter.UTC().Format(time.DateOnly)
	if now.After(c.NotAfter) {
		state = "expired " + c.NotAfter.UTC().Format(time.DateOnly)
	}
	if at, ok := revokedAt(list, c); ok {
		state = "REVOKED " + at.UTC().Format(time.RFC3339)
	}
	uris, _ := certs.RawURIs(c) // a SAN that cannot be read shows as no URI
	fmt.Fprintf(w, "  %s\n    serial 0x%x  %s  %s\n    sha-256 %s\n",
		certs.Printable(strings.Join(append(uris, c.DNSNames...), "  ")),
		c.SerialNumber, certs.DescribeKey(c.PublicKey), state, fingerprint(c))
}

func revokedAt(l *x509.RevocationList, c *x509.Certificate) (time.Time, bool) {
	if l == nil {
		return time.Time{}, false
	}

	for _, r := range l.RevokedCertificateEntries {
		if r.SerialNumber.Cmp(c.SerialNumber) == 0 {
			return r.RevocationTime, true
		}
	}

	return time.Time{}, false
}

// fingerprint is a certificate's SHA-256 as people compare it: pairs of hex
// with colons.
func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	var b bytes.Buffer
	for i, x := range sum {
		if i > 0 {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%02X", x)
	}

	return b.String()
}
