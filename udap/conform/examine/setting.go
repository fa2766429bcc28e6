package examine

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/http"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/trace"
)

// Setting is what an examination has. Client is always needed, with a certificate
// that the destination's community issued.
type Setting struct {
	Client client.Config // the destination, who we are, and whom we believe

	// Issuer issued Client.Chain[0]. With it the examination goes by a new URI of its
	// own, and can make certificates that are wrong. nil: without them.
	Issuer *certs.CA
	CRL    string // distribution point of the certificates that Issuer makes; empty: none

	// Revoked has a revoked certificate of the same community. nil: none at hand.
	Revoked *certs.Identity
	// Other is a member of another community that the destination trusts, under the
	// URI of Client. OtherIssuer makes it, where that is at hand.
	Other       *certs.Identity
	OtherIssuer *certs.CA
	OtherCRL    string // as CRL, for OtherIssuer

	Profile        conform.Profile // whose rows count; empty: edition 2
	Scope          string          // to register and to ask for; empty: chosen from scopes_supported
	Organization   string          // organization_id of hl7-b2b; empty: the client's URI
	Purpose        string          // purpose_of_use; empty: that of the URI (TEFCA), else treatment
	Certifications []string        // compact JWTs, sent with each registration

	// Login opens a URL in a browser with a person who signs in and agrees, and
	// returns the query of the redirect to a URL that begins with stop. nil: there
	// is no person.
	Login func(ctx context.Context, target, stop string) (query string, err error)

	Found    func(Finding)                              // is called after each check; nil: nothing
	NewKey   func(certs.KeyKind) (crypto.Signer, error) // nil: certs.NewKey
	Wait     time.Duration                              // the most that a 429 is waited for; 0: a minute
	Requests int                                        // the most that are made; 0: 2,000
}

// Report is what an examination found.
type Report struct {
	Findings []Finding       `json:"findings"`
	Base     string          `json:"base"`
	Profile  conform.Profile `json:"profile"`
	Began    time.Time       `json:"began"`
	Took     time.Duration   `json:"-"`
	Requests int             `json:"requests"`
	Left     []string        `json:"left,omitempty"` // registrations that could not be cancelled
}

const (
	defaultWait     = time.Minute
	defaultRequests = 2000
	endingTime      = 3 * time.Minute // for the cancellations at the end, where 429 asks to wait
	mostLost        = 5               // requests without an answer, after which the metadata is asked for again
	mostSilence     = 5 * time.Minute // of waiting in vain, after which the destination is left alone
	treatment       = "urn:oid:2.16.840.1.113883.5.8#TREAT"
)

// Run makes every check. Its error is about the setting alone: what the destination
// does is in the report. When ctx ends, the checks that are left are not exercised,
// and the registrations are cancelled all the same.
func Run(ctx context.Context, s Setting) (*Report, error) {
	x, err := newExamination(ctx, s)
	if err != nil {
		return nil, err
	}
	defer x.client.Close()

	r := &Report{
		Base:    s.Client.Base,
		Profile: x.Profile,
		Began:   x.now(),
	}
	defer x.leave(r) // also if a check panics

	for _, c := range Checks() {
		if !c.binds(r.Profile) {
			continue
		}

		f := c.finding(x.make(c), r.Profile)
		r.Findings = append(r.Findings, f)
		if s.Found != nil {
			s.Found(f)
		}
	}

	r.Requests = x.requests
	r.Took = s.Client.Now().Sub(r.Began)
	return r, nil
}

func newExamination(ctx context.Context, s Setting) (*examination, error) {
	if s.Client.Key == nil || len(s.Client.Chain) == 0 {
		return nil, errors.New("examine: no certificate of a member was given")
	}
	if s.Client.Verifier == nil || len(s.Client.Verifier.Communities) == 0 {
		return nil, errors.New("examine: no anchor of a community was given")
	}
	if s.Wait <= 0 {
		s.Wait = defaultWait
	}
	if s.Requests <= 0 {
		s.Requests = defaultRequests
	}
	if s.NewKey == nil {
		s.NewKey = certs.NewKey
	}
	if s.Profile == "" {
		s.Profile = conform.SSRAA2
	}

	c, err := client.New(s.Client)
	if err != nil {
		return nil, err
	}
	x := &examination{
		Setting: s,
		ctx:     ctx,
		client:  c,
		now:     s.Client.Now,
	}
	if err := furnish(x); err != nil {
		c.Close()
		return nil, fmt.Errorf("examine: %w", err)
	}
	return x, nil
}

// examination is one run.
type examination struct {
	Setting
	ctx      context.Context // of the whole run
	client   *client.Client
	now      func() time.Time
	requests int
	lost     int           // requests without an answer, one after the other
	silence  time.Duration // in which answers were waited for that did not come
	left     bool          // alone: it does not answer any more
	busy     *reply        // to the last request that was put off to the end; nil: none was

	self *member // under whose URI everything is registered

	meta     *metadata // of the first check
	register *registered
	change   *registered
	ended    *reply // the answer to the cancellation
	code     *codeFlow
	issued   *reply            // the answer with the token
	refusals map[string]refuse // by endpoint: how wrong requests were answered
	made     []*member         // those whose registrations may be left
	strays   []*stray          // registrations by wrong statements
}

// make makes one check.
func (x *examination) make(c Check) answer {
	if x.ctx.Err() != nil {
		return skipped("the examination was interrupted")
	}
	if x.requests >= x.Requests {
		return skipped("the examination has made its %d requests", x.Requests)
	}

	if gone(x) {
		return skipped("the destination does not answer any more")
	}
	if why := x.unreadable(); why != "" && c.Name != "metadata.json" {
		return skipped("%s", why)
	}

	if c.needs != nil {
		if why := c.needs(x); why != "" {
			return skipped("%s", why)
		}
	}

	x.busy = nil
	a := c.run(x)
	if x.ctx.Err() != nil {
		return skipped("the examination was interrupted")
	}
	if x.busy != nil && c.Name != "metadata.open" { // a request that was put off was not refused
		return skipped("the destination asked to wait each of %d times: %s", maxTries, x.busy)
	}
	a.found = trace.Cut(a.found, maxShown)
	a.sent = trace.Cut(a.sent, maxShown)
	return a
}

// unreadable returns why the metadata shows nothing; empty: it can be read, or was not
// asked for yet.
func (x *examination) unreadable() string {
	switch {
	case x.meta == nil:
		return ""
	case x.meta.err != nil || x.meta.status != http.StatusOK:
		return "there is no metadata"
	case x.meta.object == nil:
		return "the metadata could not be read"
	}
	return ""
}

const maxShown = 1000 // characters of a text in a finding
