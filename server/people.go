package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"

	"fhirdest.example/fhir"
	"fhirdest.example/server/consents"
	"fhirdest.example/server/oauth"
	"fhirdest.example/server/people"
	"fhirdest.example/server/people/users"
	"fhirdest.example/udap/trace"
)

// UsersFile returns the path of the file of the people who can sign in; empty: none
// is configured.
func (c Config) UsersFile() string {
	return c.file(c.Users)
}

// users reads the file of the people who can sign in. Without one nobody can, and
// there is no authorization code grant.
func (l *loader) users() *users.Directory {
	if l.cfg.Users == "" {
		return nil
	}

	path := l.cfg.UsersFile()
	d, err := users.Read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.Add("destination user add makes it", "users: there is no file %s", path)
	case err != nil:
		l.Add("destination user add writes it without mistakes", "users: %v", err)
	}
	return d
}

// usersFile is the file of the people who can sign in. What does not fit leaves the
// people who could sign in before.
func (s *Site) usersFile(cfg Config) *files {
	if cfg.Users == "" {
		return newFiles(
			"the users",
			nil,
			s.deps.Log,
			func() (string, error) {
				return "nobody", nil
			},
		)
	}

	path := cfg.UsersFile()
	return newFiles("the users", []string{path}, s.deps.Log, func() (string, error) {
		d, err := users.Read(path)
		if err != nil {
			return "", err
		}
		s.users.Store(d)
		return fmt.Sprintf("%d users", len(d.All())), nil
	})
}

// newPeople returns what asks people, or nil when nobody can sign in.
func (s *Site) newPeople() (*people.Service, error) {
	if s.start.users == nil {
		return nil, nil
	}

	s.users.Store(s.start.users)
	role := "destination"
	if s.cfg.FHIR == "off" {
		role = "idp"
	}
	cfg := people.Config{
		Issuer:    s.cfg.Issuer,
		Name:      s.cfg.Name,
		Role:      role,
		Users:     s.users.Load,
		Store:     keeping{s}.remembered(),
		Records:   keeping{s}.grants(),
		Community: s.communityName,
		Explain:   s.explain(),

		TokenLifetime: s.cfg.TokenLifetime,
		Record:        s.decisions.Record,
		Log:           s.deps.Log,
		Now:           s.deps.Now,
		Address:       customer,
		Counted:       s.deps.People,
		Limits: people.Limits{
			SignInsPerAddress: s.cfg.Rates.SignInsPerAddress,
			SignInsPerUser:    s.cfg.Rates.SignInsPerUser,
		},
	}
	if s.tiered != nil { // an interface that holds a nil pointer is not nil
		cfg.Elsewhere = s.tiered
	}
	if s.cfg.FHIR == "on" {
		cfg.Patients = patients{s.stores.Resources, s.deps.Now}
	}

	return people.New(cfg)
}

// keeping has what a site does so that grants and their Consents agree.
type keeping struct{ site *Site }

// grants is the store of the authorization server. Where there is a FHIR service, the
// grants of patients have Consents in it.
func (k keeping) grants() oauth.Store {
	if k.site.consents == nil {
		return k.site.stores.Trust
	}
	return k.site.consents
}

// newKeeper returns what keeps the Consents of grants; nil when there is no FHIR
// service or nobody who can grant anything.
func (k keeping) newKeeper() *consents.Keeper {
	if k.site.cfg.FHIR == "off" || k.site.start.users == nil {
		return nil
	}
	return &consents.Keeper{
		Store:         k.site.stores.Trust,
		Resources:     k.site.stores.Resources,
		Service:       func() *fhir.Service { return k.site.service },
		Issuer:        k.site.cfg.Issuer,
		Forget:        k.site.stores.Trust.People().Forget,
		TokenLifetime: k.site.cfg.TokenLifetime,
		Now:           k.site.deps.Now,
		Log:           k.site.deps.Log,
	}
}

// remembered is the store of sessions and decisions.
func (k keeping) remembered() people.Store {
	if k.site.consents == nil {
		return k.site.stores.Trust.People()
	}
	return unended{k.site.stores.Trust.People(), k.site.consents}
}

// unended is a store of decisions that remembers none whose Consent was ended.
type unended struct {
	people.Store
	keeper *consents.Keeper
}

// Consent implements people.Store.
func (s unended) Consent(
	ctx context.Context, subject string, client trace.ClientID,
) (*people.Consent, error) {
	if _, err := s.keeper.Grants(ctx, subject); err != nil {
		return nil, err
	}
	return s.Store.Consent(ctx, subject, client)
}

// reach returns what the person of a grant may give access to at present: nothing
// when the Consent of the grant is not active any more.
func (k keeping) reach(ctx context.Context, g *oauth.Grant) (oauth.Reach, error) {
	reach, err := k.site.people.Reach(ctx, g)
	if err != nil || k.site.consents == nil || !reach.Enabled {
		return reach, err
	}

	active, err := k.site.consents.Active(ctx, g)
	if err == nil && !active {
		reach.Withdrawn = true
		err = k.site.consents.End(ctx, g)
	}
	return reach, err
}

// run brings grants and their Consents together until ctx ends.
func (k keeping) run(ctx context.Context) {
	if k.site.consents != nil {
		k.site.consents.Run(ctx)
	}
}

// interaction asks people, and knows whether what they granted has effect.
type interaction struct {
	*people.Service
	keeping
}

// Reach implements oauth.Interaction.
func (i interaction) Reach(ctx context.Context, g *oauth.Grant) (oauth.Reach, error) {
	return i.reach(ctx, g)
}

// communityName returns what people call a trust community.
func (s *Site) communityName(uri trace.CommunityURI) string {
	for _, m := range *s.current.Load() {
		if m.udap.URI == uri && m.udap.Name != "" {
			return m.udap.Name
		}
	}
	return string(uri)
}

// explain is who learns why a request was refused.
func (s *Site) explain() oauth.Explain {
	if s.cfg.Explain == "client" {
		return oauth.ExplainClient
	}
	return oauth.ExplainOperator
}

// customer is the party that limits per address count.
func customer(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return oauth.Customer(peer.Addr()).String()
}
