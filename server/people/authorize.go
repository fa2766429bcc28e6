package people

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/trace"
)

// call is one request of a browser.
type call struct {
	w     http.ResponseWriter
	r     *http.Request
	tr    *trace.Trace
	visit secret
}

func (s *Service) newCall(w http.ResponseWriter, r *http.Request, tr *trace.Trace) *call {
	return &call{
		w:     w,
		r:     r,
		tr:    tr,
		visit: s.visit(w, r),
	}
}

// step is a request in the course of an authorization request, with what is known
// of the person and their choices.
type step struct {
	*call
	req     *oauth.AuthorizationRequest
	who     *signedIn // nil: nobody is signed in
	fresh   bool      // the person has just signed in for this request
	patient *Patient  // whose data it is about; nil: nobody's, or not chosen yet
	forget  bool      // the decision is not to be remembered
	notice  string    // what has happened, for the next page
	status  int       // of the next page
}

// Authorize implements oauth.Interaction.
func (s *Service) Authorize(w http.ResponseWriter, r *http.Request, req *oauth.AuthorizationRequest) {
	if r.Method == http.MethodPost && cookie(r, s.sessionCookie) == nil && s.crossed(r) {
		// Browsers send no cookie with a form of another site, but with the
		// redirect that follows it.
		if location := s.url("authorize") + "?" + req.Query; len(location) < maxLocation {
			s.leave(w, location)
			return
		}
	}

	req.Query = ascii(req.Query)
	t := &step{
		call:   s.newCall(w, r, req.Trace),
		req:    req,
		status: http.StatusOK,
	}
	err := s.identify(t)
	if err == nil {
		err = s.proceed(t)
	}

	if err != nil {
		s.fail(w, r, err, req.Trace)
	}
}

// ascii escapes the bytes of a query that could come back from a page as others.
func ascii(query string) string {
	if trace.PlainASCII(query) {
		return query
	}

	var b strings.Builder
	for i := range len(query) {
		if c := query[i]; c < 0x20 || c > 0x7e {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}

	return b.String()
}

// maxLocation bounds the URL to which a browser is redirected, in bytes: the head of
// its request must not be too long for any hop.
const maxLocation = 48 << 10

// crossed reports whether a form may come from another site.
func (s *shell) crossed(r *http.Request) bool {
	_, ours := s.sameOrigin(r)
	return !ours
}

// identify finds out who is signed in.
func (s *Service) identify(t *step) error {
	who, err := s.current(t.r, t.tr)
	if err != nil {
		return s.trouble(t.tr, err)
	}
	t.who = who
	return nil
}

// proceed finds out what is missing for an answer to the client, and asks for it.
// When nothing is missing it answers.
func (s *Service) proceed(t *step) error {
	if why := s.mustSignIn(t); why != "" {
		s.askSignIn(t, why)
		return nil
	}

	t.tr.Pass(
		checkSession,
		"a person who is signed in",
		t.who.Subject,
	)

	done, err := s.settlePatient(t)
	if done || err != nil {
		return err
	}

	remembered, err := s.remembered(t)
	if err != nil {
		return err
	}
	if remembered != nil {
		return s.approve(t, remembered)
	}
	if t.silent() {
		s.decline(
			t,
			trace.ConsentRequired,
			"the person has not agreed to this yet",
		)
		return nil
	}

	s.showConsent(t, nil, "")
	return nil
}

// silent reports whether the client wants no page (OpenID Connect Core 3.1.2.1).
func (t *step) silent() bool { return slices.Contains(t.req.Prompt, "none") }

func (s *Service) decline(t *step, code trace.Code, reason string) {
	s.leave(t.w, s.oauth.Decline(t.req, code, reason))
}

// mustSignIn returns why the person must sign in (again), or nothing.
func (s *shell) mustSignIn(t *step) string {
	switch {
	case t.who == nil:
		return "nobody is signed in"
	case s.elsewhere(t) && t.who.IdP != t.req.IdP:
		return "the person did not sign in at " + t.req.IdP
	case t.fresh:
		return ""
	case slices.Contains(t.req.Prompt, "login"), slices.Contains(t.req.Prompt, "select_account"):
		return "the client wants the person to sign in"
	case t.req.Subject != "" && t.req.Subject != t.who.Subject:
		return "the person is not the one of id_token_hint"

	case t.req.MaxAge != nil && t.tr.Time.Sub(t.who.Authenticated()) > time.Duration(*t.req.MaxAge)*time.Second:
		return "the person signed in longer ago than max_age"
	}

	return ""
}

// elsewhere reports whether the person is to sign in at another provider.
func (s *shell) elsewhere(t *step) bool { return t.req.IdP != "" && s.cfg.Elsewhere != nil }

func (s *Service) askSignIn(t *step, why string) {
	t.tr.Skip(checkSession, why)
	switch {
	case t.silent():
		s.decline(t, trace.LoginRequired, why)
	case s.elsewhere(t) && s.cfg.Elsewhere.Begin(t.w, t.r, t.req):
	default:
		s.showSignIn(
			t.call,
			t.req,
			t.status,
			signInPage{},
			t.notice,
		)
	}
}

// aboutPatient reports whether a grant of these scopes is about one patient.
func aboutPatient(scopes []string) bool {
	return slices.ContainsFunc(scopes, func(text string) bool {
		return text == "launch" || text == "launch/patient" || strings.HasPrefix(text, "patient/")
	})
}

// settlePatient establishes whose data the request is about. It returns true when
// it has answered.
func (s *Service) settlePatient(t *step) (answered bool, err error) {
	if t.patient != nil || !aboutPatient(t.req.Scope) {
		return false, nil
	}

	if t.req.EHR != nil {
		return s.launchedPatient(t)
	}

	own, err := s.ownPatients(t.r.Context(), t.who)
	if err != nil {
		return false, s.trouble(t.tr, err)
	}
	if len(own) == 1 && !t.who.user.Clinician() {
		t.patient = &own[0]
		t.tr.Pass(
			checkPatient,
			"the person's one patient",
			t.patient.ID,
		)
		return false, nil
	}

	if t.silent() {
		s.decline(
			t,
			trace.InteractionRequired,
			"the person must choose a patient",
		)
		return true, nil
	}

	s.showPatients(t, patientPage{Own: own}, "")
	return true, nil
}

// launchedPatient takes the patient for whom an EHR launched the app. A person who
// may not share that patient's data cannot go on: the client learns it.
func (s *Service) launchedPatient(t *step) (answered bool, err error) {
	err = s.choose(t, t.req.EHR.Patient)
	var refused *trace.Error
	if errors.As(err, &refused) && refused.Code == trace.AccessDenied {
		s.decline(
			t,
			trace.AccessDenied,
			"the person may not share the data of the patient for whom the app was launched",
		)
		return true, nil
	}

	return false, err
}

// ownPatients returns the patients of whom a person need not search.
func (s *finder) ownPatients(ctx context.Context, who *signedIn) ([]Patient, error) {
	var out []Patient
	for _, id := range who.user.OwnPatients() {
		p, err := s.patient(ctx, id)
		if err != nil {
			return nil, err
		}
		if p != nil {
			out = append(out, *p)
		}
	}

	return out, nil
}

func (s *finder) patient(ctx context.Context, id string) (*Patient, error) {
	if s.cfg.Patients == nil {
		return nil, nil
	}
	return s.cfg.Patients.Patient(ctx, id)
}

// choose sets the patient that the person chose.
func (s *Service) choose(t *step, id string) error {
	refuse := func(found string) error {
		return t.tr.Refuse(checkPatient, trace.AccessDenied, trace.Finding{
			Expected: "a patient whose data the person may share",
			Found:    found,
		})
	}

	switch {
	case t.req.EHR != nil && id != t.req.EHR.Patient:
		return refuse("another than the one for whom the app was launched")
	case !t.who.user.MayShare(id):
		return refuse("another")
	}

	p, err := s.patient(t.r.Context(), id)
	if err != nil {
		return s.trouble(t.tr, err)
	}
	if p == nil {
		return refuse("none of this id")
	}

	t.patient = p
	t.tr.Pass(
		checkPatient,
		"a patient whose data the person may share",
		id,
	)
	return nil
}

// remembered returns a decision of the person that covers the request, or nil.
func (s *Service) remembered(t *step) (*decision, error) {
	if slices.Contains(t.req.Prompt, "consent") {
		t.tr.Skip(checkRemembered, "the client wants the person to be asked")
		return nil, nil
	}

	c, err := s.cfg.Store.Consent(
		t.r.Context(),
		t.who.Subject,
		t.req.Registration.ID,
	)
	if err != nil {
		return nil, s.trouble(t.tr, err)
	}

	why, d := covers(
		c,
		t,
		s.describe(t.req.Registration, t.req.RedirectURI),
	)
	if why != "" {
		t.tr.Skip(checkRemembered, why)
		return nil, nil
	}

	t.tr.Pass(
		checkRemembered,
		"what the person agreed to on "+trace.Stamp(c.Given),
		strings.Join(d.scope, " "),
	)
	return d, nil
}

// covers returns the decision that a remembered one comes to for a request, or why
// the person must be asked.
func covers(c *Consent, t *step, shown client) (why string, d *decision) {
	switch {
	case c == nil:
		return "the person has not agreed to this before", nil
	case c.Shown != identity(t.req.Registration, shown):
		return "the client has changed since the person agreed", nil
	}

	d = &decision{}
	for _, text := range t.req.Scope {
		if !slices.Contains(c.Asked, text) {
			return "the client asks for more than before: " + text, nil
		}
		if slices.Contains(c.Scope, text) {
			d.scope = append(d.scope, text)
		}
	}

	gives := func(text string) bool { return !staysConnected(text) }
	if !slices.ContainsFunc(d.scope, gives) {
		return "nothing of what the client asks for was agreed to", nil
	}
	return "", d
}

// decision is what a person agrees to.
type decision struct {
	scope    []string
	remember *Consent // to be stored with it; nil: nothing is
}

// approve stores what the person agreed to, and redirects to the client.
func (s *Service) approve(t *step, d *decision) error {
	a := oauth.Approval{
		Person: t.who.person(),
		Session: oauth.Session{
			ID:      t.who.ID.String(),
			Expires: t.who.SignedIn.Add(Life),
		},
		Scope: d.scope,
	}

	if t.patient != nil && aboutPatient(d.scope) {
		a.Patient = t.patient.ID
	}

	location, err := s.oauth.Approve(t.r.Context(), t.req, a)
	if errors.Is(err, oauth.ErrNoRegistration) {
		return s.changed(t)
	}
	if err != nil {
		return err
	}

	if d.remember != nil {
		if err := s.cfg.Store.Remember(t.r.Context(), *d.remember); err != nil {
			return s.trouble(t.tr, err)
		}
	}

	s.leave(t.w, location)
	return nil
}

// changed shows the request again, as it is now.
func (s *Service) changed(t *step) error {
	req, err := s.oauth.ParseAuthorization(
		t.r.Context(),
		t.req.Query,
		t.tr,
	)
	if err != nil {
		return err
	}

	t.req = req
	t.status = http.StatusConflict
	s.showConsent(t, nil, changedNotice)
	return nil
}

// What a page reports above its content.
const (
	signedOutNotice = "You were signed out. Please sign in again."
	outdatedNotice  = "This page was out of date. Please look at it again."
	changedNotice   = "The application has changed since this page was shown. Please look at it again."
)
