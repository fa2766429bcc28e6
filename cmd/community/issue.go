package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/authority"
	"fhirdest.example/gateway/complaint"
)

const issueUsage = `usage: community issue -ca PREFIX -uri URI -out NAME [flags]

Makes a key and a certificate for it: NAME.pem (leaf first) and NAME.key. The
directory is made if need be.

  -ca PREFIX          the community, as given to init
  -uri URI            SAN URI, byte for byte, '#' included; may be repeated
  -out NAME           path and name of the files, without ending
  -force              replace files of that name; their key is lost
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
	p12, legacy, force             bool
	template                       certs.Template
}

func issue(_ context.Context, args []string, e env) error {
	r, err := parseIssue(args, e)
	if err != nil {
		return err
	}

	a, err := authority.Open(r.prefix)
	if err != nil {
		return complaint.New(err.Error(), "make it with: community init -ca "+r.prefix)
	}

	key, err := certs.NewKey(certs.KeyKind(r.key))
	if err != nil {
		return usageError{err}
	}

	if err := r.free(".pem", ".key", ".p12"); err != nil {
		return err
	}

	chain, err := a.Issue(r.dated(e.now()), key.Public(), func(chain []*x509.Certificate) error {
		return r.write(&certs.Identity{
			Chain: chain,
			Key:   key,
		})
	})
	if err != nil {
		return err
	}

	fmt.Fprintf(e.stdout, "issued %s\n  chain   %s.pem\n  key     %s.key\n", certs.Describe(chain[0]), r.out,
		r.out)
	if r.p12 {
		fmt.Fprintf(e.stdout, "  pkcs12  %s.p12\n", r.out)
	}
	printLints(e.stdout, lint(chain[0], e.now()))

	return nil
}

func parseIssue(args []string, e env) (*request, error) {
	r := &request{}
	fs := flags("issue", issueUsage, e)
	r.common(fs)
	fs.StringVar(&r.key, "key", "rsa2048", "")
	fs.BoolVar(&r.p12, "p12", false, "")
	fs.BoolVar(&r.legacy, "legacy", false, "")
	fs.StringVar(&r.passwordFile, "password-file", "", "")
	fs.Func("dns", "", func(s string) error {
		r.template.DNS = append(r.template.DNS, s)
		return nil
	})

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
			complaint.New(
				"-uri is missing",
				"a member is known by the URI in its certificate; community issue -h shows an example",
			),
		}
	}

	return r, r.complete()
}

// common declares the flags that issue and sign share.
func (r *request) common(fs *flag.FlagSet) {
	fs.StringVar(&r.prefix, "ca", "", "")
	fs.StringVar(&r.out, "out", "", "")
	fs.StringVar(&r.template.CommonName, "name", "", "")
	fs.StringVar(&r.template.Organization, "org", "", "")
	fs.IntVar(&r.days, "days", 365, "")
	fs.BoolVar(&r.force, "force", false, "")
	fs.Func("uri", "", func(s string) error {
		r.template.URIs = append(r.template.URIs, s)
		return checkURI(s)
	})
}

// complete checks what both commands were given and fills in the common name.
func (r *request) complete() error {
	if r.days < 1 {
		return usageError{
			complaint.New(fmt.Sprintf("-days %d is not a life", r.days), "give 1 or more"),
		}
	}

	if r.template.CommonName == "" {
		r.template.CommonName = append(r.template.URIs, r.template.DNS...)[0]
	}
	return nil
}

// dated returns the template with its dates.
func (r *request) dated(now time.Time) certs.Template {
	t := r.template
	t.NotBefore = now.Add(-time.Minute) // clocks of members differ
	t.NotAfter = now.AddDate(0, 0, r.days)
	return t
}

// free makes the directory of the files to write, and refuses to replace one of
// them without -force: a key that is overwritten is lost.
func (r *request) free(endings ...string) error {
	if err := os.MkdirAll(filepath.Dir(r.out), 0o700); err != nil {
		return err
	}
	if r.force {
		return nil
	}

	for _, ending := range endings {
		if _, err := os.Lstat(r.out + ending); !errors.Is(err, os.ErrNotExist) {
			return complaint.New(r.out+ending+" is there already",
				"choose another -out, or replace it with -force")
		}
	}

	return nil
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

const signUsage = `usage: community sign -ca PREFIX -csr FILE -out NAME [flags]

Issues a certificate for the key of a certificate signing request (PKCS#10, PEM
or DER): NAME.pem, leaf first. The member's private key stays with the member.

  -ca PREFIX    the community, as given to init
  -csr FILE     the request; its signature must be by its own key
  -uri URI      SAN URI instead of those that the request names; may be repeated
  -out NAME     path and name of the file, without ending
  -force        replace a file of that name
  -name TEXT    common name (default: that of the request, else the first URI)
  -org TEXT     organization
  -days N       how long it is good (default 365)

Example:
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout client.key \
    -subj /CN=client -addext subjectAltName=URI:https://client.example/app -out client.csr
  community sign -ca trust/a -csr client.csr -out client
`

func sign(_ context.Context, args []string, e env) error {
	r, csr, err := parseSign(args, e)
	if err != nil {
		return err
	}

	a, err := authority.Open(r.prefix)
	if err != nil {
		return complaint.New(err.Error(), "make it with: community init -ca "+r.prefix)
	}
	if err := r.free(".pem"); err != nil {
		return err
	}

	chain, err := a.Issue(r.dated(e.now()), csr.Key, func(chain []*x509.Certificate) error {
		return certs.WriteFile(
			r.out+".pem",
			certs.CertificatesPEM(chain...),
			certs.ModePublic,
		)
	})
	if err != nil {
		return err
	}

	fmt.Fprintf(e.stdout, "issued %s\n  chain   %s.pem\n", certs.Describe(chain[0]), r.out)
	printLints(e.stdout, lint(chain[0], e.now()))
	return nil
}

func parseSign(args []string, e env) (*request, *certs.Request, error) {
	r := &request{}
	fs := flags("sign", signUsage, e)
	r.common(fs)
	file := fs.String("csr", "", "")
	if _, err := parse(fs, args, 0, "ca", "csr", "out"); err != nil {
		return nil, nil, err
	}

	csr, err := certs.LoadRequest(*file)
	if err != nil {
		return nil, nil, err
	}

	if len(r.template.URIs) == 0 {
		r.template.URIs = csr.URIs
	}
	if len(r.template.URIs) == 0 {
		return nil, nil, usageError{complaint.New(
			*file+" names no URI in its subject alternative name",
			"give -uri: a member is known by the URI in its certificate",
		)}
	}

	for _, u := range r.template.URIs {
		if err := checkURI(u); err != nil {
			return nil, nil, usageError{
				complaint.New(fmt.Sprintf("%s: SAN URI %q %v", *file, u, err), "give -uri"),
			}
		}
	}

	if problems := lintKey(csr.Key); len(problems) > 0 {
		return nil, nil, complaint.New(
			*file+": "+problems[0],
			"make a request with another key",
		)
	}

	r.template.CommonName = cmp.Or(r.template.CommonName, csr.CommonName)
	return r, csr, r.complete()
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
