// Package doctor examines from outside, as a stranger would, how a web server keeps
// its communication secure: its TLS, its certificate, and what its answers disclose.
// It has no token, sends nothing secret and changes nothing.
package doctor

import (
	"context"
	"crypto/x509"
	"net"
	"net/url"
	"time"

	"fhirdest.example/udap/trace"
)

// Config is what an examination takes from its surroundings.
type Config struct {
	Now   func() time.Time
	Roots *x509.CertPool // to which a certificate must lead; nil: the system's
	// Dial connects to an address that a URL names; nil: as any program would.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Place is one server to examine.
type Place struct {
	Name string // "public" or "private", for people
	Base string // FHIR base URL, https
	// NoFHIR reports that there is no FHIR service: an identity provider.
	NoFHIR bool
	// Token is the URL of the token endpoint; empty: it is not asked.
	Token string
	// Hidden are host names and the like that no answer may have, such as the name of
	// the private base in answers of the public one.
	Hidden []string
	// Explains reports that refusals have more in them by configuration: what they
	// disclose is then a warning.
	Explains bool
	// ClientCertificate reports that callers must have a certificate: of a stranger the
	// handshake alone is examined.
	ClientCertificate bool
}

// Address is the HOST:PORT of the base URL; empty when it is no URL.
func (p Place) Address() string {
	u, err := url.Parse(p.Base)
	switch {
	case err != nil || u.Host == "":
		return ""
	case u.Port() == "":
		return net.JoinHostPort(u.Hostname(), "443")
	}
	return u.Host
}

// Grade sums up an examination.
type Grade string

// The grades.
const (
	Good     Grade = "good"     // nothing was found
	Adequate Grade = "adequate" // something could be better
	Poor     Grade = "poor"     // something must be mended
)

// Report is what was found at one place.
type Report struct {
	Name     string       `json:"name"`
	Base     string       `json:"base"`
	Grade    Grade        `json:"grade"`
	Wrong    int          `json:"wrong"`    // checks that failed
	Doubtful int          `json:"doubtful"` // checks that passed with a warning
	Trace    *trace.Trace `json:"trace"`
}

// patience bounds one connection and one request.
const patience = 10 * time.Second

// examination is that of one place.
type examination struct {
	Config
	Place
	host  string // of the base, without port
	addr  string // HOST:PORT of the base
	trace *trace.Trace
}

// Examine connects to a place and returns what it found: everything, and not only the
// first fault.
func Examine(ctx context.Context, c Config, p Place) *Report {
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: patience}).DialContext
	}

	e := &examination{
		Config: c,
		Place:  p,
		trace:  trace.NewTrace("doctor", c.Now()),
	}
	e.examine(ctx)

	return e.report()
}

func (e *examination) examine(ctx context.Context) {
	u, err := url.Parse(e.Base)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		e.refuse(checkReach, trace.Finding{
			Expected: "an https URL",
			Found:    e.Base,
			Remedy:   "name the FHIR base URL",
		})
		return
	}

	e.host, e.addr = u.Hostname(), e.Address()
	if !e.examineTLS(ctx) {
		return
	}

	e.examinePlain(ctx, u)
	if e.ClientCertificate {
		e.trace.Skip(checkAnswers, "callers must have a client certificate")
		return
	}
	e.examineHTTP(ctx)
}

// report counts the verdicts.
func (e *examination) report() *Report {
	r := &Report{
		Name:  e.Name,
		Base:  e.Base,
		Grade: Good,
		Trace: e.trace,
	}

	for _, s := range e.trace.Steps {
		switch s.Verdict {
		case trace.Refused:
			r.Wrong++
		case trace.Warned:
			r.Doubtful++
		}
	}

	switch {
	case r.Wrong > 0:
		r.Grade = Poor
	case r.Doubtful > 0:
		r.Grade = Adequate
	}

	return r
}

// Worst returns the worst grade of several reports.
func Worst(reports []*Report) Grade {
	worst := Good
	for _, r := range reports {
		if r.Grade == Poor || worst == Good {
			worst = r.Grade
		}
	}
	return worst
}

// refuse records that a check failed.
func (e *examination) refuse(c trace.Check, f trace.Finding) {
	e.trace.Refuse(c, CodeFound, f)
}
