package people

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/jose"
)

// client is what pages show of a client. All of it was signed by the client's
// certificate, or is that certificate.
type client struct {
	Name         string
	Organization string // of the certificate; empty: it names none
	Community    string
	Logo         string // URL; empty: none that is loaded
	Home         string // URLs, empty when the client gave none
	Terms        string
	Policy       string
	Contacts     []string
	Returns      string // host to which the browser goes back
	ReturnsTo    string // the redirect URI
	Certificate  certificate
	Endorsed     []endorsement
}

// certificate is the one that signed the client's registration.
type certificate struct {
	Subject, Issuer string
	URI             string
	From, Until     time.Time
	Fingerprint     string // SHA-256, in groups of four digits
}

// endorsement is a certification of the client that the community accepts.
type endorsement struct {
	Name   string
	Issuer string
}

// describe returns what pages show of a client that asks for an answer at a
// redirect URI; empty where no answer is asked for.
func (s *shell) describe(r *oauth.Registration, redirect string) client {
	c := client{
		Name:      r.Granted.ClientName,
		Community: s.cfg.Community(r.Community),
		Home:      webPage(r.Granted.ClientURI),
		Terms:     webPage(r.Granted.TosURI),
		Policy:    webPage(r.Granted.PolicyURI),
		ReturnsTo: redirect,
		Certificate: certificate{
			URI: string(r.Client),
		},
	}

	if c.Name == "" {
		c.Name = string(r.Client)
	}
	if len(pictureOrigin(r.Granted.LogoURI)) > 0 {
		c.Logo = r.Granted.LogoURI
	}
	if u, err := url.Parse(redirect); err == nil {
		c.Returns = u.Host
	}

	for _, contact := range r.Granted.Contacts {
		c.Contacts = append(c.Contacts, strings.TrimPrefix(contact, "mailto:"))
	}
	for _, text := range r.Certifications {
		c.Endorsed = append(c.Endorsed, endorsed(text))
	}

	if leaf, err := x509.ParseCertificate(r.Leaf); err == nil {
		c.Organization = strings.Join(leaf.Subject.Organization, ", ")
		c.Certificate.Subject = leaf.Subject.String()
		c.Certificate.Issuer = leaf.Issuer.String()
		c.Certificate.From, c.Certificate.Until = leaf.NotBefore, leaf.NotAfter
		c.Certificate.Fingerprint = fingerprint(leaf)
	}

	return c
}

// fingerprint writes a certificate's SHA-256 as people compare it.
func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	var groups []string
	for part := range slices.Chunk(sum[:], 2) {
		groups = append(groups, strings.ToUpper(hex.EncodeToString(part)))
	}
	return strings.Join(groups, " ")
}

// webPage returns a URL that may be a link: an https one.
func webPage(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return ""
	}
	return text
}

// endorsed reads the names in a certification that was verified at registration.
func endorsed(compact string) endorsement {
	e := endorsement{Name: "Certification"}
	jws, fault := jose.Open(compact, nil)
	if fault != nil {
		return e
	}

	if name, ok := jws.Claims.Text("certification_name"); ok && name != "" {
		e.Name = name
	}
	e.Issuer, _ = jws.Claims.Text("iss")
	return e
}

// identity is the digest of what a remembered decision was about: who the client
// is, and what it may do with an answer. A renewed certificate of the same names
// is the same client.
func identity(r *oauth.Registration, c client) string {
	about := struct {
		Community, Client, Subject, Issuer string
		Granted                            oauth.Parameters
		Certifications                     []string
	}{
		Community:      string(r.Community),
		Client:         string(r.Client),
		Subject:        c.Certificate.Subject,
		Issuer:         c.Certificate.Issuer,
		Granted:        r.Granted,
		Certifications: r.Certifications,
	}
	about.Granted.Scope = "" // Consent.Asked has what was shown of it

	return digest(about)
}

// digest returns the SHA-256 of a value's JSON, in hexadecimal.
func digest(v any) string {
	text, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return "" // values of strings and lists have no error
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
