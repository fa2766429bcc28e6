package bring

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"net/url"
	"strings"
	text "text/template"
	"unicode"

	"fhirdest.example/certs"
	"fhirdest.example/server/lab"
	"fhirdest.example/udap"
	"fhirdest.example/udap/look"
)

//go:embed page.html
var pageText string

//go:embed snippets
var snippetFiles embed.FS

var (
	page     = template.Must(look.Template("bring").Parse(pageText))
	programs = text.Must(text.New("").Delims("[[", "]]").ParseFS(snippetFiles, "snippets/*"))
)

// Material is what the page of one session is made of.
type Material struct {
	Session lab.Session
	Issuers []lab.Issuer        // the communities in which it issues certificates
	TLS     []*x509.Certificate // authorities of the site's TLS; none: public ones
}

// Choice is what somebody asks the page for.
type Choice struct {
	Community string // URI of that of an issuer; empty: the first
	Name      string // end of the client's URI; empty: my-client
}

// Names of the files that are downloaded.
const (
	tlsFile    = "tls.pem"
	anchorFile = "anchor.pem"
)

// defaultName is the end of the client's URI when none is chosen.
const defaultName = "my-client"

// view is the page of one choice, and what the programs are filled in with.
type view struct {
	Base         string
	Issuer       string
	Community    string
	Client       string // URI of the client
	Purpose      string // of use
	Organization string

	Name     string
	Root     string       // URL of the session's pages
	Query    template.URL // of the choice
	Issuers  []lab.Issuer
	Anchors  []certificate
	TLS      []certificate
	Programs []Program
}

type certificate struct {
	Subject string
	SHA256  string
}

// view returns the page of a choice. A choice that cannot be is an error for its
// reader.
func (m Material) view(c Choice) (*view, error) {
	issuer, err := m.issuer(c.Community)
	if err != nil {
		return nil, err
	}

	name := cmp.Or(c.Name, defaultName)
	if len(name) > 40 || strings.ContainsFunc(name, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-'
	}) {
		return nil, errors.New("a name has at most 40 letters, digits and hyphens")
	}

	v := &view{
		Base:         m.Session.Base,
		Issuer:       m.Session.Issuer,
		Community:    issuer.Community,
		Client:       m.Session.Page + "client/" + name,
		Purpose:      "urn:oid:2.16.840.1.113883.5.8#TREAT",
		Organization: "My organization",
		Name:         name,
		Root:         m.Session.Page,
		Issuers:      m.Issuers,
		Anchors:      certificates(issuer.Anchors),
		TLS:          certificates(m.TLS),
	}
	query := url.Values{
		"community": {issuer.Community},
		"name":      {name},
	}
	if m.tefca(issuer) {
		// TEFCA's facilitation SOP: each exchange purpose has a URI of its own.
		v.Client += "#" + treatment
		v.Purpose = udap.TEFCAEditions()[0].System + "#" + treatment
		v.Organization = "My organization, NPI 1234567893"
		query.Set("purpose", treatment)
	}

	v.Query = template.URL(query.Encode()) // it is escaped once
	return v, v.plain()
}

// treatment is TEFCA's exchange purpose of the programs.
const treatment = "T-TREAT"

func (m Material) tefca(issuer *lab.Issuer) bool {
	return m.Session.Profile == "tefca" || issuer.Community == string(udap.TEFCACommunity)
}

func (m Material) issuer(community string) (*lab.Issuer, error) {
	for i := range m.Issuers {
		if community == "" || m.Issuers[i].Community == community {
			return &m.Issuers[i], nil
		}
	}
	return nil, errors.New("the lab has no issuer in this community")
}

// plain returns an error unless everything that goes into a program is the same in
// the quotes of each language.
func (v *view) plain() error {
	for _, s := range []string{
		v.Base,
		v.Issuer,
		v.Community,
		v.Client,
		v.Purpose,
		v.Organization,
		v.Root,
		string(v.Query),
	} {
		if strings.ContainsFunc(s, func(r rune) bool {
			return r < ' ' || r > '~' || strings.ContainsRune("\"'\\`$", r)
		}) {
			return fmt.Errorf("bring: %q cannot be written into programs", s)
		}
	}
	return nil
}

func certificates(list []*x509.Certificate) []certificate {
	var all []certificate
	for _, c := range list {
		sum := sha256.Sum256(c.Raw)
		all = append(all, certificate{
			Subject: c.Subject.String(),
			SHA256:  hex.EncodeToString(sum[:]),
		})
	}
	return all
}

// Page returns the body of the page, below its frame. A choice that cannot be is an
// error for its reader.
func (m Material) Page(c Choice) (template.HTML, error) {
	v, err := m.view(c)
	if err != nil {
		return "", err
	}
	if v.Programs, err = v.programs(); err != nil {
		return "", err
	}

	var out strings.Builder
	if err := page.Execute(&out, v); err != nil {
		return "", err
	}
	return template.HTML(out.String()), nil
}

// File is something to download.
type File struct {
	Type    string // media type
	Content []byte
}

// File returns a file of a name for a choice; false: there is none.
func (m Material) File(name string, c Choice) (File, bool) {
	v, err := m.view(c)
	if err != nil {
		return File{}, false
	}

	switch name {
	case tlsFile:
		return pem(m.TLS), len(m.TLS) > 0

	case anchorFile:
		issuer, err := m.issuer(c.Community)
		if err != nil {
			return File{}, false
		}
		return pem(issuer.Anchors), true
	}

	list, err := v.programs()
	if err != nil {
		return File{}, false
	}
	for _, p := range list {
		if p.File == name {
			return File{"text/plain; charset=utf-8", []byte(p.Text)}, true
		}
	}
	return File{}, false
}

func pem(list []*x509.Certificate) File {
	return File{"application/x-pem-file", certs.CertificatesPEM(list...)}
}

// Request returns what the lab is asked for by somebody who sends a certificate
// signing request for a choice.
func (m Material) Request(c Choice, csr []byte) (lab.ClientRequest, error) {
	issuer, err := m.issuer(c.Community)
	if err != nil {
		return lab.ClientRequest{}, err
	}

	req := lab.ClientRequest{
		Community: issuer.Community,
		Name:      cmp.Or(c.Name, defaultName),
		CSR:       string(csr),
	}
	if m.tefca(issuer) {
		req.Purpose = treatment
	}
	return req, nil
}
