package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/authority"
)

const initUsage = `usage: community init -ca PREFIX -uri URI [flags]

Makes a root, an issuing CA and both lists as files PREFIX*.

  -ca PREFIX   path and first part of the names of the files, such as trust/a
  -uri URI     the community's own URI, as clients name it in ?community=
  -name TEXT   its name for people (default: the URI)
  -base URL    where its lists will be served; goes into every certificate as
               distribution point. Without it there are none, and those who
               rely on them need the list by other means
  -key KIND    rsa2048 (default), rsa3072, p256, p384

Example:
  community init -ca trust/a -uri https://a.example/trust -name "Sandbox A" -base http://localhost:9481
`

func initCommunity(_ context.Context, args []string, e env) error {
	fs := flags("init", initUsage, e)
	var about authority.About
	prefix, kind := fs.String("ca", "", ""), fs.String("key", "rsa2048", "")
	fs.StringVar(&about.URI, "uri", "", "")
	fs.StringVar(&about.Name, "name", "", "")
	fs.StringVar(&about.Base, "base", "", "")
	if _, err := parse(fs, args, 0, "ca", "uri"); err != nil {
		return err
	}

	about.Base = strings.TrimSuffix(about.Base, "/")
	if about.Name == "" {
		about.Name = about.URI
	}
	if authority.Exists(*prefix) {
		return hinted{"there is a community at " + *prefix + " already", "choose another -ca, or remove its files"}
	}
	if err := os.MkdirAll(filepath.Dir(*prefix), 0o700); err != nil {
		return err
	}

	a, err := authority.Create(*prefix, about, certs.KeyKind(*kind), e.now())
	if err != nil {
		return err
	}

	fmt.Fprintf(e.stdout, "made community %s\n  anchor  %s\n  sha-256 %s\n", about.URI, a.File("-root.pem"),
		fingerprint(a.Root.Cert))
	return nil
}

const issueUsage = `usage: community issue -ca PREFIX -uri URI -out NAME [flags]

Makes a key and a certificate for it: NAME.pem (leaf first) and NAME.key.

  -ca PREFIX          the community, as given to init
  -uri URI            SAN URI, byte for byte, '#' included; may be repeated
  -out NAME           path and name of the files, without ending
  -name TEXT          common name (default: the first URI)
  -org TEXT           organization
  -key KIND           rsa2048 (default), rsa3072, p256, p384
  -days N             how long it is good (default 365)
  -dns NAME, -ip IP   makes it a TLS server's certificate; may be repeated
  -p12                also write NAME.p12
  -legacy             3DES and SHA-1 in NAME.p12, for old software
  -password-file FILE its first line opens NAME.p12 (default: no password)

Examples:
  community issue -ca trust/a -uri https://client.example/app -out client
  community issue -ca trust/t -uri 'https://client.example/app#T-TREAT' -key p256 -p12 -password-file pw -out treat
`

// request is what issue was asked for.
type request struct {
	prefix, out, key, passwordFile string
	days                           int
	p12, legacy                    bool
	template                       certs.Template
}

func issue(_ context.Context, args []string, e env) error {
	r, err := parseIssue(args, e)
	if err != nil {
		return err
	}

	a, err := authority.Open(r.prefix)
	if err != nil {
		return hinted{err.Error(), "make it with: community init -ca " + r.prefix}
	}

	key, err := certs.NewKey(certs.KeyKind(r.key))
	if err != nil {
		return usageError{err}
	}

	r.template.NotBefore = e.now().Add(-time.Minute) // clocks of members differ
	r.template.NotAfter = e.now().AddDate(0, 0, r.days)
	chain, err := a.Issue(r.template, key.Public())
	if err != nil {
		return err
	}
	if err := r.write(&certs.Identity{Chain: chain, Key: key}); err != nil {
		return err
	}

	fmt.Fprintf(e.stdout, "issued %s\n  chain   %s.pem\n  key     %s.key\n", certs.Describe(chain[0]), r.out, r.out)
	if r.p12 {
		fmt.Fprintf(e.stdout, "  pkcs12  %s.p12\n", r.out)
	}
	printLints(e.stdout, lint(chain[0], e.now()))

	return nil
}

func parseIssue(args []string, e env) (*request, error) {
	r := &request{}
	fs := flags("issue", issueUsage, e)
	fs.StringVar(&r.prefix, "ca", "", "")
	fs.StringVar(&r.out, "out", "", "")
	fs.StringVar(&r.key, "key", "rsa2048", "")
	fs.StringVar(&r.template.CommonName, "name", "", "")
	fs.StringVar(&r.template.Organization, "org", "", "")
	fs.IntVar(&r.days, "days", 365, "")

	fs.BoolVar(&r.p12, "p12", false, "")
	fs.BoolVar(&r.legacy, "legacy", false, "")
	fs.StringVar(&r.passwordFile, "password-file", "", "")
	fs.Func("uri", "", func(s string) error { r.template.URIs = append(r.template.URIs, s); return checkURI(s) })
	fs.Func("dns", "", func(s string) error { r.template.DNS = append(r.template.DNS, s); return nil })
	fs.Func("ip", "", func(s string) error {
		ip := net.ParseIP(s)
		if ip == nil {
			return errors.New("is not an IP address")
		}
		r.template.IPs = append(r.template.IPs, ip)
		return nil
	})

	if _, err := parse(fs, args, 0, "ca", "out"); err != nil {
		return nil, err
	}
	if len(r.template.URIs)+len(r.template.DNS) == 0 {
		return nil, usageError{
			hinted{
				"-uri is missing",
				"a member is known by the URI in its certificate; community issue -h shows an example",
			},
		}
	}
	if r.days < 1 {
		return nil, usageError{hinted{fmt.Sprintf("-days %d is not a life", r.days), "give 1 or more"}}
	}

	if r.template.CommonName == "" {
		r.template.CommonName = append(r.template.URIs, r.template.DNS...)[0]
	}
	return r, nil
}

func (r *request) write(id *certs.Identity) error {
	if err := certs.WriteIdentity(r.out+".pem", r.out+".key", id); err != nil {
		return err
	}
	if !r.p12 {
		return nil
	}

	password, err := firstLine(r.passwordFile)
	if err != nil {
		return err
	}

	data, err := id.PKCS12(password, r.legacy)
	if err != nil {
		return err
	}
	return certs.WriteFile(r.out+".p12", data, certs.ModeSecret)
}

// firstLine reads a password; secrets do not travel in arguments, which every
// user of a machine can list.
func firstLine(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}

const revokeUsage = `usage: community revoke -ca PREFIX (-cert FILE | -serial HEX) [-reason NAME]

Signs the next list with the certificate on it. Revoking one twice changes
nothing but the list's number. The issuing CA's own certificate goes on the
root's list.

  -ca PREFIX    the community, as given to init
  -cert FILE    the certificate, PEM or DER; the first of a chain
  -serial HEX   or its serial number, as show prints it
  -reason NAME  unspecified (default), keyCompromise, affiliationChanged,
                superseded, cessationOfOperation, certificateHold,
                privilegeWithdrawn

Example:
  community revoke -ca trust/a -cert client.pem -reason keyCompromise
`

// reasons are the codes of RFC 5280 5.3.1 that fit a member.
var reasons = map[string]int{
	"unspecified": 0, "keyCompromise": 1, "affiliationChanged": 3, "superseded": 4,
	"cessationOfOperation": 5, "certificateHold": 6, "privilegeWithdrawn": 9,
}

func revoke(_ context.Context, args []string, e env) error {
	fs := flags("revoke", revokeUsage, e)
	prefix, file, hex, reason := fs.String("ca", "", ""), fs.String("cert", "", ""), fs.String("serial", "",
		""), fs.String("reason", "unspecified", "")
	if _, err := parse(fs, args, 0, "ca"); err != nil {
		return err
	}

	code, ok := reasons[*reason]
	if !ok {
		return usageError{hinted{fmt.Sprintf("-reason %q is not known", *reason), "community revoke -h lists them"}}
	}
	if (*file == "") == (*hex == "") {
		return usageError{hinted{"give either -cert or -serial", "community revoke -h shows an example"}}
	}

	a, err := authority.Open(*prefix)
	if err != nil {
		return err
	}

	serial, err := authority.Serial(*hex)
	if *file != "" {
		var leaf *x509.Certificate
		if leaf, err = issuedBy(a, *file); err == nil {
			serial = leaf.SerialNumber
		}
	}

	if err != nil {
		return err
	}
	if err := a.Revoke(serial, code, e.now()); err != nil {
		return err
	}

	fmt.Fprintf(e.stdout, "revoked serial 0x%x\n", serial)
	return printLists(e.stdout, a, e.now())
}

// issuedBy reads the first certificate of a file and makes sure that one of the
// community's authorities signed it: another CA's serial on our list would
// revoke nothing, or a stranger.
func issuedBy(a *authority.Authority, file string) (*x509.Certificate, error) {
	chain, err := certs.LoadCertificates(file)
	if err != nil {
		return nil, err
	}

	for _, ca := range []*certs.CA{a.Issuing, a.Root} {
		if chain[0].CheckSignatureFrom(ca.Cert) == nil {
			return chain[0], nil
		}
	}

	return nil, hinted{
		fmt.Sprintf("%s: issued by %s, not by this community", file, certs.Printable(chain[0].Issuer.String())),
		"name the community that issued it with -ca",
	}
}

const crlUsage = `usage: community crl -ca PREFIX [-life DURATION] [-when-due DURATION]

Signs both lists anew: the same entries, the next number, fresh dates.

  -ca PREFIX          the community, as given to init
  -life DURATION      how long the lists are good (default 720h)
  -when-due DURATION  only when a list ends within this; for a daily job

Example:
  community crl -ca trust/a -when-due 168h
`

func renew(_ context.Context, args []string, e env) error {
	fs := flags("crl", crlUsage, e)
	prefix := fs.String("ca", "", "")
	life, due := fs.Duration("life", authority.ListLife, ""), fs.Duration("when-due", 0, "")
	if _, err := parse(fs, args, 0, "ca"); err != nil {
		return err
	}
	if *life <= 0 || *due < 0 {
		return usageError{
			hinted{"-life and -when-due must be positive", "write for example -life 720h -when-due 168h"},
		}
	}

	a, err := authority.Open(*prefix)
	if err != nil {
		return err
	}

	isDue, err := anyDue(a, e.now(), *due)
	if err != nil {
		return err
	}

	if *due == 0 || isDue {
		if err := a.Renew(e.now(), *life); err != nil {
			return err
		}
	}

	return printLists(e.stdout, a, e.now())
}
