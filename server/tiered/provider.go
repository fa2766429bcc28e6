package tiered

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"time"

	"fhirdest.example/certs/netname"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/trace"
)

// How long what is known of a provider is used.
const (
	linkLife   = time.Minute     // verified metadata
	faultLife  = 2 * time.Second // a fault: people who come at once share it
	memberLife = time.Hour       // a registration; then it is made again, which changes nothing
	patience   = 10 * time.Second
)

// provider is a configured provider and what is known of it.
type provider struct {
	Provider
	service     *Service
	redirectURI string
	cookie      string // in names of cookies

	turn  chan struct{} // held while the fields below are used
	last  *link
	fault *trace.Error
	until time.Time // of last or fault
}

func (s *Service) newProvider(p Provider) *provider {
	return &provider{
		Provider:    p,
		service:     s,
		redirectURI: s.cfg.Issuer + "/callback/" + providerID(p.Base),
		cookie:      providerID(s.cfg.Issuer + " " + p.Base),
		turn:        make(chan struct{}, 1),
	}
}

// link is a provider that can be used: verified, and with a registration of ours.
type link struct {
	provider *provider
	client   *client.Client
	found    *client.Discovery
	openid   *client.OpenID
	id       trace.ClientID
	scope    string
}

// link returns the provider as it is at present. However many ask at once, the
// provider is asked once. A person who goes away does not end that for the others.
func (p *provider) link(ctx context.Context, tr *trace.Trace) (*link, *trace.Error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, p.unavailable(tr, checkMetadata, ctx.Err())
	}

	now := p.service.cfg.Now()
	if !now.Before(p.until) || p.last == nil && p.fault == nil {
		p.renew(context.WithoutCancel(ctx), now)
	}
	if p.fault != nil {
		return nil, tr.Refuse(faultCheck(p.fault), p.fault.Code, trace.Finding{
			Found: p.fault.Detail,
			Err:   p.fault,
		})
	}

	tr.Pass(
		checkMetadata,
		"signed by a member of "+string(p.Community),
		"verified until "+trace.Stamp(p.last.found.Expires),
	)
	tr.Pass(checkMember, "a registration", string(p.last.id))
	return p.last, nil
}

func faultCheck(e *trace.Error) trace.Check {
	for _, c := range []trace.Check{checkScopes, checkMember, checkStore} {
		if c.Name == e.Check {
			return c
		}
	}
	return checkMetadata
}

// renew asks the provider anew.
func (p *provider) renew(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()

	tr := trace.NewTrace("provider", now)
	tr.Community = p.Community
	l, fault := p.connect(ctx, tr)
	p.service.cfg.Record(tr)
	if p.last != nil && p.last != l {
		p.last.client.Close()
	}

	p.last, p.fault, p.until = l, fault, now.Add(linkLife)
	if fault != nil {
		p.last, p.until = nil, now.Add(faultLife)
	}
}

// connect verifies the provider and registers there.
func (p *provider) connect(ctx context.Context, tr *trace.Trace) (*link, *trace.Error) {
	cfg := p.service.cfg
	c, err := client.New(client.Config{
		Base:      p.Base,
		Community: p.Community,
		Chain:     p.Chain,
		Key:       p.Key,
		Verifier:  cfg.Verifier(p.Community),
		TLSRoots:  p.Roots,
		Timeout:   cfg.Timeout,
		Now:       cfg.Now,
	})
	if err != nil {
		return nil, p.refuse(tr, checkMetadata, err)
	}

	l := &link{
		provider: p,
		client:   c,
	}
	if fault := l.verify(ctx, tr); fault != nil {
		c.Close()
		return nil, fault
	}
	if fault := l.join(ctx, tr); fault != nil {
		c.Close()
		return nil, fault
	}

	return l, nil
}

// verify verifies the provider's metadata: before that nothing is sent to it, and
// afterwards to its origin only.
func (l *link) verify(ctx context.Context, tr *trace.Trace) *trace.Error {
	p := l.provider
	found, err := l.client.Discover(ctx)
	p.service.cfg.Record(found.Trace)
	if err != nil {
		return p.refuse(tr, checkMetadata, err)
	}

	if found.Base != p.Base {
		return tr.Refuse(checkMetadata, trace.InvalidIDP, trace.Finding{
			Expected: p.Base,
			Found:    found.Base,
			Remedy:   "write the base as the provider's certificate names it",
		})
	}

	for _, endpoint := range []string{found.Authorization, found.Token, found.Registration} {
		if endpoint == "" || netname.Origin(endpoint) != netname.Origin(p.Base) {
			return tr.Refuse(checkMetadata, trace.InvalidIDP, trace.Finding{
				Expected: "authorization, token and registration endpoint at " + netname.Origin(p.Base),
				Found:    endpoint,
				Remedy:   "no authentication token of ours goes elsewhere",
			})
		}
	}

	supported := found.List("scopes_supported")
	if !slices.Contains(supported, "openid") || !slices.Contains(supported, "udap") {
		return tr.Refuse(checkScopes, trace.InvalidIDP, trace.Finding{
			Expected: "openid and udap in scopes_supported",
			Found:    strings.Join(supported, " "),
		})
	}

	openid, err := l.client.OpenID(ctx, p.Base)
	p.service.cfg.Record(openid.Trace)
	if err != nil {
		return p.refuse(tr, checkMetadata, err)
	}

	l.found, l.openid, l.scope = found, openid, p.scopes(supported)
	tr.Pass(checkMetadata, "a member of "+string(p.Community), p.Base)
	tr.Pass(checkScopes, "openid and udap", l.scope)
	return nil
}

// scopes are those that we ask a provider for.
func (p *provider) scopes(supported []string) string {
	want := []string{"openid", "udap", "fhirUser"}
	if len(p.Match) > 0 {
		want = append(want, "profile")
	}
	return strings.Join(slices.DeleteFunc(want, func(s string) bool {
		return !slices.Contains(supported, s)
	}), " ")
}

// join finds our registration at the provider, or registers.
func (l *link) join(ctx context.Context, tr *trace.Trace) *trace.Error {
	p, cfg := l.provider, l.provider.service.cfg
	m, err := cfg.Store.Membership(ctx, p.Base)
	if err != nil {
		return p.service.trouble(tr, err)
	}
	if m != nil && l.current(*m, cfg.Now()) {
		l.id = m.ClientID
		tr.Pass(
			checkMember,
			"a registration",
			"that of "+trace.Stamp(m.Registered),
		)
		return nil
	}

	reg, err := l.client.Register(ctx, l.found, client.Registration{
		ClientName:   cfg.Name,
		Contacts:     []string{p.Contact},
		LogoURI:      p.service.logoURI(),
		RedirectURIs: []string{p.redirectURI},
		GrantTypes:   []string{"authorization_code"},
		Scope:        l.scope,
	})
	cfg.Record(reg.Trace)
	if err != nil {
		return p.refuse(tr, checkMember, err)
	}

	if err := cfg.Store.Join(ctx, Membership{
		Provider:    p.Base,
		Client:      reg.ClientURI,
		RedirectURI: p.redirectURI,
		Scope:       l.scope,
		ClientID:    reg.ClientID,
		Registered:  cfg.Now(),
	}); err != nil {
		return p.service.trouble(tr, err)
	}

	l.id = reg.ClientID
	tr.Pass(checkMember, "a registration", "as "+string(reg.ClientURI))
	return nil
}

// current reports whether a registration is the one that we would make now.
func (l *link) current(m Membership, now time.Time) bool {
	age := now.Sub(m.Registered)
	uris := l.provider.Chain[0].URIs
	return m.ClientID != "" && m.RedirectURI == l.provider.redirectURI && m.Scope == l.scope &&
		len(uris) == 1 && uris[0].String() == string(m.Client) && age >= 0 && age < memberLife
}

// forget has the next person find the provider and our registration there anew: the
// provider does not know us any more.
func (p *provider) forget(ctx context.Context, id trace.ClientID) error {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	if p.last != nil && p.last.id != id {
		return nil // somebody else has registered meanwhile
	}

	p.until = time.Time{}
	return p.service.cfg.Store.Join(ctx, Membership{Provider: p.Base})
}

// refuse refuses a provider: for now when it could not be reached, else as one that
// is not trusted.
func (p *provider) refuse(tr *trace.Trace, c trace.Check, err error) *trace.Error {
	if errors.As(err, new(*client.NoAnswer)) && !errors.As(err, new(*tls.CertificateVerificationError)) {
		return p.unavailable(tr, c, err)
	}
	return tr.Refuse(c, trace.InvalidIDP, trace.Finding{
		Expected: "the provider " + p.Base,
		Found:    detail(err),
		Err:      err,
	})
}

func (p *provider) unavailable(tr *trace.Trace, c trace.Check, err error) *trace.Error {
	return tr.Refuse(c, trace.TemporarilyUnavailable, trace.Finding{
		Expected: "an answer of " + p.Base,
		Found:    "none in time",
		Remedy:   "try again later, name another provider, or leave idp out to sign in here",
		Err:      err,
	})
}

// detail is what a check of the client found.
func detail(err error) string {
	var e *trace.Error
	if errors.As(err, &e) {
		return e.Check + ": " + e.Detail
	}
	return err.Error()
}
