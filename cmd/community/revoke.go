package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/authority"
	"fhirdest.example/gateway/complaint"
)

const revokeUsage = `usage: community revoke -ca PREFIX (-cert FILE | -serial HEX) [-reason NAME]

Signs the next list with the certificate on it. Revoking one twice changes
nothing but the list's number. The issuing CA's own certificate goes on the
root's list.

  -ca PREFIX    the community, as given to init
  -cert FILE    the certificate, PEM or DER; the first of a chain
  -serial HEX   or its serial number, as show prints it; one that this
                community has no record of is refused
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
	prefix, file := fs.String("ca", "", ""), fs.String("cert", "", "")
	hex, reason := fs.String("serial", "", ""), fs.String("reason", "unspecified", "")
	if _, err := parse(fs, args, 0, "ca"); err != nil {
		return err
	}

	code, ok := reasons[*reason]
	if !ok {
		return usageError{complaint.New(fmt.Sprintf("-reason %q is not known", *reason), "community revoke -h "+
			"lists them")}
	}
	if (*file == "") == (*hex == "") {
		return usageError{
			complaint.New("give either -cert or -serial", "community revoke -h shows an example"),
		}
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
	if err := a.Revoke(serial, *file != "", code, e.now()); err != nil {
		return remedied(a, err)
	}

	fmt.Fprintf(e.stdout, "revoked serial 0x%x\n", serial)
	return printLists(e.stdout, a, e.now())
}

// remedied adds what to do to the errors of an authority that have a remedy.
func remedied(a *authority.Authority, err error) error {
	switch {
	case errors.Is(err, authority.ErrNoCRL):
		return complaint.New(
			err.Error(),
			"put the file back from a backup; a new one would forget every revocation. Where that is meant: "+
				"community crl -ca "+a.Prefix+" -restart, and then revoke each certificate again",
		)

	case errors.Is(err, authority.ErrUnknownSerial):
		return complaint.New(err.Error(),
			"community show -ca "+a.Prefix+" lists the certificates; or give the "+
				"certificate with -cert")
	}

	return err
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

	return nil, complaint.New(
		fmt.Sprintf("%s: issued by %s, not by this community", file, certs.Printable(chain[0].Issuer.String())),
		"name the community that issued it with -ca",
	)
}

const crlUsage = `usage: community crl -ca PREFIX [-life DURATION] [-when-due DURATION]

Signs both lists anew: the same entries, the next number, fresh dates.

  -ca PREFIX          the community, as given to init
  -life DURATION      how long the lists are good (default 720h)
  -when-due DURATION  only when a list ends within this; for a daily job
  -restart            start a list whose file is lost without any entry, under
                      a number above all earlier ones: what was revoked is
                      good again until it is revoked anew

Example:
  community crl -ca trust/a -when-due 168h
`

func renew(_ context.Context, args []string, e env) error {
	fs := flags("crl", crlUsage, e)
	prefix := fs.String("ca", "", "")
	life, due := fs.Duration("life", authority.ListLife, ""), fs.Duration(
		"when-due",
		0,
		"",
	)
	restart := fs.Bool("restart", false, "")
	if _, err := parse(fs, args, 0, "ca"); err != nil {
		return err
	}
	if *life <= 0 || *due < 0 {
		return usageError{
			complaint.New("-life and -when-due must be positive",
				"write for example -life 720h -when-due 168h"),
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

	if *due == 0 || isDue || *restart {
		sign := a.Renew
		if *restart {
			sign = a.Restart
		}
		if err := sign(e.now(), *life); err != nil {
			return remedied(a, err)
		}
	}

	return printLists(e.stdout, a, e.now())
}
