package people

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/look"
	"fhirdest.example/udap/trace"
)

// grantsPage is what the page shows on which a person sees what they granted.
type grantsPage struct {
	Person  string
	Clients []grantedClient
}

// grantedClient is a client that has access, by one grant or several.
type grantedClient struct {
	ID       trace.ClientID
	Client   client
	Gone     bool // the client is not registered any more
	Patients []string
	Sections []section
	Created  time.Time // of the first grant
	Used     time.Time // when a token was issued last
	Expires  time.Time // of the last grant
	Offline  bool      // the client keeps access when the person is away
	Token    string
}

// notices are what has happened, by the word that a redirect of ours has for it.
var notices = map[string]string{
	"withdrawn": "Access was withdrawn. It has no effect from now on.",
	"gone":      "This access was withdrawn or had ended already.",
}

func (s *Service) getGrants(w http.ResponseWriter, r *http.Request, tr *trace.Trace) error {
	who, err := s.current(r, tr)
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
	grants, err := s.live(c.r.Context(), who, c.tr.Time)
	if err != nil {
		return s.trouble(c.tr, err)
	}

	page := grantsPage{Person: who.user.DisplayName()}
	var order []trace.ClientID // the newest first
	byClient := map[trace.ClientID][]*oauth.Grant{}
	for _, g := range slices.Backward(grants) {
		if byClient[g.ClientID] == nil {
			order = append(order, g.ClientID)
		}
		byClient[g.ClientID] = append(byClient[g.ClientID], g)
	}

	for _, id := range order {
		v, err := s.viewClient(c.r.Context(), byClient[id])
		if err != nil {
			return s.trouble(c.tr, err)
		}

		v.Token = c.visit.token(
			"withdraw",
			who.Subject,
			string(id),
		)
		page.Clients = append(page.Clients, v)
	}

	v := s.newView(
		"Who has access",
		c.tr,
		c.visit,
		who,
	)
	v.Data, v.Notice = page, notice
	s.write(
		c.w,
		c.r,
		status,
		"grants",
		v,
	)
	return nil
}

// live returns a person's grants that have not ended, the earliest first.
func (s *finder) live(ctx context.Context, who *signedIn, now time.Time) ([]*oauth.Grant, error) {
	all, err := s.cfg.Records.Grants(ctx, who.Subject)
	if err != nil {
		return nil, err
	}

	var out []*oauth.Grant
	for _, g := range all {
		if g.Expires.After(now) {
			out = append(out, g)
		}
	}
	return out, nil
}

// viewClient returns what the page shows of a client and its grants, of which there
// is at least one; the newest is first.
func (s *finder) viewClient(ctx context.Context, grants []*oauth.Grant) (v grantedClient, err error) {
	newest := grants[0]
	registration, err := s.cfg.Records.Client(ctx, newest.ClientID)
	if err != nil {
		return v, err
	}

	v = grantedClient{
		ID:      newest.ClientID,
		Gone:    registration == nil,
		Created: grants[len(grants)-1].Created,
	}
	if registration == nil {
		registration = &oauth.Registration{
			Community: newest.Community,
			Client:    newest.Client,
		}
	}
	v.Client = s.describe(registration, newest.Code.RedirectURI)

	var scopes []string
	for _, g := range grants {
		scopes = append(scopes, g.Scope...)
		v.Offline = v.Offline || g.Refresh != nil
		if g.Used.After(v.Used) {
			v.Used = g.Used
		}
		if g.Expires.After(v.Expires) {
			v.Expires = g.Expires
		}

		name, err := s.patientName(ctx, g.Patient)
		if err != nil {
			return v, err
		}
		if name != "" && !slices.Contains(v.Patients, name) {
			v.Patients = append(v.Patients, name)
		}
	}

	slices.Sort(scopes)
	v.Sections = sections(
		slices.Compact(scopes),
		strings.Join(v.Patients, ", "),
		func(string) bool { return true },
	)
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

	return look.Visible(p.Name), nil
}

// postGrants takes back all that a person granted to a client. From then on none of
// its tokens works, and the person is asked again.
func (s *Service) postGrants(w http.ResponseWriter, r *http.Request, tr *trace.Trace) error {
	f, err := s.readForm(w, r, tr)
	if err != nil {
		return err
	}
	who, err := s.current(r, tr)
	if err != nil {
		return s.trouble(tr, err)
	}

	c, id := s.newCall(w, r, tr), trace.ClientID(f.one("client"))
	switch {
	case who == nil:
		s.showSignIn(
			c,
			nil,
			http.StatusForbidden,
			signInPage{},
			signedOutNotice,
		)
		return nil

	case !c.visit.bound(f.one("token"), "withdraw", who.Subject, string(id)):
		outdated(tr)
		return s.showGrants(
			c,
			who,
			http.StatusForbidden,
			outdatedNotice,
		)
	}

	done, err := s.withdraw(
		r.Context(),
		who,
		id,
		tr,
	)
	if err != nil {
		return s.trouble(tr, err)
	}

	s.leave(w, s.url("grants")+"?done="+done)
	return nil
}

// withdraw takes back a person's grants to a client. What was remembered of the client
// goes first: if the server fails in between, the person is asked again.
func (s *Service) withdraw(
	ctx context.Context, who *signedIn, id trace.ClientID, tr *trace.Trace,
) (done string, err error) {
	grants, err := s.live(ctx, who, tr.Time)
	if err != nil {
		return "", err
	}
	if err := s.cfg.Store.Forget(ctx, who.Subject, id); err != nil {
		return "", err
	}

	done = "gone"
	for _, g := range grants {
		if g.ClientID != id {
			continue
		}
		if err := s.cfg.Records.Withdraw(ctx, g.ID, who.Subject); err != nil {
			return "", err
		}

		done = "withdrawn"
		tr.Community, tr.Client, tr.ClientID = g.Community, g.Client, g.ClientID
		tr.Effect = trace.Withdrawn
		tr.Grant, tr.Patient = string(g.ID), g.Patient
		tr.Pass(
			checkWithdrawn,
			"a grant of "+who.Subject,
			string(g.ID),
		)
	}

	if done == "gone" {
		tr.Skip(checkWithdrawn, "the person has no such grant")
	}
	return done, nil
}
