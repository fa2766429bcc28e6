package server

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/url"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/server/doctor"
	"fhirdest.example/server/lab"
	"fhirdest.example/server/postgres"
)

// Places are this destination's base URLs as package doctor examines them: the public
// one, at which its gateway answers, and the private one where that differs.
func (c Config) Places() []doctor.Place {
	c = c.withDefaults()
	public := doctor.Place{
		Name:   "public",
		Base:   c.Public,
		Token:  c.Issuer + "/token",
		NoFHIR: c.FHIR == "off",
		// "explain: client" is for sandboxes
		Explains: c.Explain == "client",
	}
	private := public
	private.Name = "private"

	private.Base = c.Private
	private.ClientCertificate = c.TLS.ClientCA != ""

	if c.Private == c.Public {
		public.ClientCertificate = private.ClientCertificate
		return []doctor.Place{public}
	}

	private.Token = origin(c.Private) + c.privatePath(pathOf(public.Token))
	if authority(c.Private) != authority(c.Public) {
		public.Hidden = []string{authority(c.Private)}
	}
	return []doctor.Place{public, private}
}

// origin is the scheme and authority of a base URL.
func origin(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// Warnings are what CheckFiles accepts and an operator should look at, such as
// certificates that are about to end.
func (c Config) Warnings(now time.Time) []string {
	m, _ := c.withDefaults().load(now) // complaints are those of CheckFiles
	out := m.warnings
	if m.tls != nil {
		out = append(out, ending("tls.cert", now, m.tls.Leaf())...)
	}
	out = append(out, endingMembers(m.communities, now)...)
	if postgres.IsURL(c.Data) {
		database := storage{c}.database()
		out = append(out, database.Warnings()...)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		out = append(out, database.ServerWarnings(ctx)...)
	}
	return append(out, labWarnings(c.Lab)...)
}

// labWarnings are about what the lab opens to others. They are no warnings of a running
// destination: they are what its operator may have wanted.
func labWarnings(s *lab.Settings) (out []string) {
	if s == nil {
		return nil
	}
	if s.Open == "public" && s.Plain {
		out = append(out, "lab: with open: public and plain: true, everybody who reaches the public site reads what "+
			"the destination's own base answers, so data of patients: write open: console or plain: false "+
			"where the data are not made up")
	}

	for _, issuer := range s.Issuers {
		out = append(out, fmt.Sprintf("lab: other servers of %s accept the certificates that the lab issues as those "+
			"of members: name the issuer of a community for tests, which guards no real data", issuer.Community))
	}
	return out
}

// endingMembers are the warnings about certificates of communities.
func endingMembers(communities []*member, now time.Time) (out []string) {
	for _, m := range communities {
		uri := string(m.udap.URI)
		out = append(out, ending("our certificate in "+uri, now, leaves(m.own)...)...)
		out = append(out, ending("an anchor of "+uri, now, m.udap.Anchors...)...)
	}
	return out
}

func leaves(ids []*certs.Identity) (out []*x509.Certificate) {
	for _, id := range ids {
		out = append(out, id.Leaf())
	}
	return out
}

// ending describes those of some certificates that are about to end.
func ending(what string, now time.Time, list ...*x509.Certificate) (out []string) {
	for _, c := range list {
		if certs.EndsSoon(c, now) {
			out = append(out, fmt.Sprintf("%s (%s) ends on %s: replace it", what, certs.Describe(c),
				c.NotAfter.UTC().Format(time.RFC3339)))
		}
	}
	return out
}
