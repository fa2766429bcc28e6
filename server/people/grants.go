package people

import (
	"context"
	"net/http"
	"slices"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
)

// grantsPage is what the page shows on which a person sees what they granted.
type grantsPage struct {
	Person string
	Grants []grantView
}

// grantView is one grant.
type grantView struct {
	ID       oauth.GrantID
	Client   client
	Gone     bool // the client is not registered any more
	Patient  string
	Sections []section
	Created  time.Time
	Used     time.Time
	Expires  time.Time
	Offline  bool // the client keeps access when the person is away
	Token    string
}

// notices are what has happened, by the word that a redirect of ours has for it.
var notices = map[string]string{
	"withdrawn": "Access was withdrawn. It has no effect from now on.",
	"gone":      "This access was withdrawn or had ended already.",
}

func (s *Service) getGrants(w http.ResponseWriter, r *http.Request, tr *trace.Trace) error {
	who, err := s.current(r, tr.Time)
	if err != nil {
		return s.trouble(tr, err)
	}

	c := s.newCall(w, r, tr)
	if who == nil {
		s.showSignIn(c, nil, http.StatusOK, signInPage{}, "")
		return nil
	}

	return s.showGrants(
		c,
		who,
		http.StatusOK,
		notices[r.URL.Query().Get("done")],
	)
}

func (s *Service) showGrants(c *call, who *signedIn, status int, notice string) error {
	all, err := s.cfg.Records.Grants(c.r.Context(), who.Subject)
	if err != nil {
		return s.trouble(c.tr, err)
	}

	page := grantsPage{Person: who.user.DisplayName()}
	for _, g := range slices.Backward(all) { // the newest first
		if !g.Expires.After(c.tr.Time) {
			continue
		}

		v, err := s.viewGrant(c, g)
		if err != nil {
			return s.trouble(c.tr, err)
		}

		v.Token = c.visit.token(
			"withdraw",
			who.Subject,
			string(g.ID),
		)
		page.Grants = append(page.Grants, v)
	}

	v := s.newView("Who has access", c.tr, c.visit, who)
	v.Data, v.Notice = page, notice
	s.write(c.w, c.r, status, "grants", v)
	return nil
}

func (s *finder) viewGrant(c *call, g *oauth.Grant) (v grantView, err error) {
	registration, err := s.cfg.Records.Client(c.r.Context(), g.ClientID)
	if err != nil {
		return v, err
	}

	v = grantView{
		ID:      g.ID,
		Gone:    registration == nil,
		Created: g.Created,
		Used:    g.Used,
		Expires: g.Expires,
		Offline: g.Refresh != nil,
	}

	if registration == nil {
		registration = &oauth.Registration{
			Community: g.Community,
			Client:    g.Client,
		}
	}

	v.Client = s.describe(registration, g.Code.RedirectURI)

	if v.Patient, err = s.patientName(c.r.Context(), g.Patient); err != nil {
		return v, err
	}

	v.Sections = sections(g.Scope, v.Patient, func(string) bool { return true })
	return v, nil
}

// patientName returns what a page calls a patient.
func (s *finder) patientName(ctx context.Context, id string) (string, error) {
	if id == "" {
		return "", nil
	}

	p, err := s.patient(ctx, id)
	if err != nil {
		return "", err
	}
	if p == nil || p.Name == "" {
		return "patient " + id, nil
	}

	return plain(p.Name), nil
}

// postGrants takes a grant back. From then on none of its tokens works, and the
// person is asked again.
func (s *Service) postGrants(w http.ResponseWriter, r *http.Request, tr *trace.Trace) error {
	f, err := s.readForm(w, r, tr)
	if err != nil {
		return err
	}

	who, err := s.current(r, tr.Time)
	if err != nil {
		return s.trouble(tr, err)
	}

	c, id := s.newCall(w, r, tr), oauth.GrantID(f.one("grant"))
	switch {
	case who == nil:
		s.showSignIn(
			c,
			nil,
			http.StatusForbidden,
			signInPage{},
			"You were signed out. Please sign in again.",
		)
		return nil
	case !c.visit.bound(f.one("token"), "withdraw", who.Subject, string(id)):
		outdated(tr)
		return s.showGrants(
			c,
			who,
			http.StatusForbidden,
			"This page was out of date. Please look at it again.",
		)
	}

	done, err := s.withdraw(r.Context(), who, id, tr)
	if err != nil {
		return s.trouble(tr, err)
	}

	s.leave(w, s.url("grants")+"?done="+done)
	return nil
}

// withdraw takes back one of a person's grants. What was remembered of its client goes
// first: if the server fails between the two, the person is asked again.
func (s *Service) withdraw(
	ctx context.Context, who *signedIn, id oauth.GrantID, tr *trace.Trace,
) (done string, err error) {
	all, err := s.cfg.Records.Grants(ctx, who.Subject)
	if err != nil {
		return "", err
	}

	i := slices.IndexFunc(all, func(g *oauth.Grant) bool { return g.ID == id })
	if i < 0 {
		tr.Skip(checkWithdrawn, "there is no such grant of the person")
		return "gone", nil
	}

	g := all[i]
	tr.Community, tr.Client, tr.ClientID = g.Community, g.Client, g.ClientID
	if err := s.cfg.Store.Forget(ctx, who.Subject, g.ClientID); err != nil {
		return "", err
	}
	if err := s.cfg.Records.Withdraw(ctx, id, who.Subject); err != nil {
		return "", err
	}

	tr.Pass(
		checkWithdrawn,
		"a grant of "+who.Subject,
		string(id),
	)
	return "withdrawn", nil
}
