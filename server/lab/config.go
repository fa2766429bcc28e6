package lab

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/http"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/assess"
	"fhirdest.example/udap/trace"
)

// Config is what a Service takes from its surroundings.
type Config struct {
	Settings Settings
	Public   string   // URL of the public site: what is above the FHIR base
	Private  string   // URL of the private site
	Plain    string   // the destination's own FHIR base
	Own      string   // and its issuer
	Dir      string   // has one directory for each session
	Issuers  []Issuer // of the certificates of sessions and of their testers; the first is the default
	Store    Store
	Origins  Origins // of listeners for deliberate faults

	// Communities are those whose members are known in every session.
	Communities []Community

	// NewSite returns what answers below the URLs of a session.
	NewSite func(Place) (Site, error)
	// NewAssessor returns what assesses the exchanges of a session, from the first on;
	// nil: package assess does.
	NewAssessor func(Session) Assessor

	Now func() time.Time // required
	Log *slog.Logger     // required
}

// Community is a trust community of the destination.
type Community struct {
	URI     string
	Profile string // of Profiles, for sessions that have none; empty: ssraa-2
}

// Issuer is the issuing authority of a trust community that the lab may use.
type Issuer struct {
	Community string // its URI
	Name      string // for people
	CA        *certs.CA
	CRL       string // distribution point in the certificates; empty: none
	Anchors   []*x509.Certificate
}

// Site is a destination of a session. Close is called once nothing is served any more
// and Run has returned.
type Site interface {
	http.Handler
	Run(ctx context.Context)
	Close() error
}

// Place is where the Site of a session is, and how it answers.
type Place struct {
	Session Session
	Public  string // FHIR base
	Private string // the same under the private site
	Issuer  string
	Data    string // directory of its stores
	// Identities are its own certificates, as files that exist.
	Identities []Identity
	// Decided gets each decision of the site.
	Decided func(*trace.Trace)
}

// Identity is a certificate of a session in one trust community.
type Identity struct {
	Community string
	Chain     string // PEM file, leaf first
	Key       string // PEM file
}

// Assessor finds out what the exchanges of a session show, one after the other. What
// it returns depends on the exchanges alone.
type Assessor interface {
	Add(*conform.Exchange) Assessment
	Rows() []conform.Outcome
}

// Assessment is what one exchange shows.
type Assessment = assess.Assessment

// assessor returns the usual Assessor of a session.
func (c Config) assessor(s Session) Assessor {
	if c.NewAssessor != nil {
		return c.NewAssessor(s)
	}
	var communities []assess.Community
	for _, m := range c.Communities {
		communities = append(communities, assess.Community{
			URI:     trace.CommunityURI(m.URI),
			Profile: conform.Profile(m.Profile),
		})
	}

	return assess.New(assess.Setting{
		Base:    s.Base,
		Issuer:  s.Issuer,
		Profile: conform.Profile(s.Profile),

		Communities: communities,
	})
}
