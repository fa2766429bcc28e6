package people

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"fhirdest.example/server/oauth"
	"fhirdest.example/udap/look"
	"fhirdest.example/udap/trace"
)

// consentPage is what the page shows that asks for a decision.
type consentPage struct {
	Client   client
	Patient  *Patient // nil: it is about no single patient
	Self     bool     // the patient is the person
	Sections []section
	Person   string
	IdP      string // where the person signed in; empty: here
	Request  string
	Shown    string // digest of the page: a decision is about this and nothing else
	Token    string
	Switch   string // token of the form to sign in as somebody else
	Identity bool   // it is about who the person is, and about no record
	Several  bool   // the person can choose another patient
	Pick     string // token of the form to do so
	Remember bool
	Ends     string // how long the client has access, unless it stays connected
}

// patientPage is what the page for choosing a patient shows.
type patientPage struct {
	Client  client
	Own     []Patient
	Search  bool   // the person may search
	Text    string // that was searched for
	Found   []Patient
	More    bool // there are more than were found
	Tried   bool // a search was made
	Person  string
	Request string
	Token   string
	Switch  string
}

// maxFound bounds the patients that one search shows.
const maxFound = 20

// getConsent shows what is to be asked next.
func (s *Service) getConsent(w http.ResponseWriter, r *http.Request, tr *trace.Trace) error {
	f := form{r.URL.Query()}
	t, err := s.newStep(w, r, tr, f)
	if err != nil {
		return err
	}

	if t.who != nil {
		t.fresh = t.freshBy(f.one("fresh"))
		if id := f.one("patient"); id != "" && s.mustSignIn(t) == "" {
			if err := s.choose(t, id); err != nil {
				return err
			}
			// A link can name a patient: the person must see whom it is about.
			t.tr.Skip(checkRemembered, "the person chooses the patient")
			s.showConsent(t, nil, "")
			return nil
		}
	}

	return s.proceed(t)
}

// newStep parses the authorization request that a form or URL carries.
func (s *Service) newStep(w http.ResponseWriter, r *http.Request, tr *trace.Trace, f form) (*step, error) {
	req, err := s.oauth.ParseAuthorization(
		r.Context(),
		f.one("request"),
		tr,
	)
	if err != nil {
		return nil, err
	}

	t := &step{
		call:   s.newCall(w, r, tr),
		req:    req,
		status: http.StatusOK,
	}
	return t, s.identify(t)
}

// freshBy reports whether a token shows that the person has just signed in for
// this request.
func (t *step) freshBy(token string) bool {
	return t.tr.Time.Sub(t.who.SignedIn) < Idle && secret(t.who.ID[:]).bound(
		token,
		"fresh",
		t.req.Query,
	)
}

func (s *Service) postConsent(w http.ResponseWriter, r *http.Request, tr *trace.Trace) error {
	f, err := s.readForm(w, r, tr)
	if err != nil {
		return err
	}

	t, err := s.newStep(w, r, tr, f)
	if err != nil {
		return err
	}

	t.fresh = true // what is posted is of a page that was shown after sign-in
	if why := s.mustSignIn(t); why != "" {
		t.status = http.StatusForbidden
		t.notice = signedOutNotice
		s.askSignIn(t, why)
		return nil
	}

	switch do := f.one("do"); do {
	case "search", "choose", "other":
		return s.postPatient(t, f)
	default:
		return s.postDecision(t, f, do)
	}
}

// showAgain shows what is to be asked next, in place of doing what an outdated page
// asked for. That page may never have been shown, so it proves no sign-in.
func (s *Service) showAgain(t *step) error {
	outdated(t.tr)
	t.status = http.StatusForbidden
	t.notice = outdatedNotice
	t.fresh = false
	if why := s.mustSignIn(t); why != "" {
		s.askSignIn(t, why)
		return nil
	}

	if own, err := s.settlePatient(t); own || err != nil {
		return err
	}
	s.showConsent(t, nil, t.notice)
	return nil
}

// showPatients answers with the page for choosing a patient.
func (s *Service) showPatients(t *step, p patientPage, problem string) {
	p.Client = s.describe(t.req.Registration, t.req.RedirectURI)
	p.Search = t.who.user.Clinician()
	p.Person = t.who.user.DisplayName()
	p.Request = t.req.Query
	p.Token = t.visit.token(
		"patient",
		t.who.Subject,
		t.req.Query,
	)
	p.Switch = t.visit.token("signin", t.req.Query)

	v := s.newView("Choose a patient", t.tr, t.visit, t.who)
	v.Data, v.Error, v.Notice = p, problem, t.notice
	s.write(
		t.w,
		t.r,
		t.status,
		"patient",
		v,
		pictureOrigin(p.Client.Logo)...,
	)
}

// postPatient searches for patients, or goes on with the one that was chosen.
func (s *Service) postPatient(t *step, f form) error {
	if !t.visit.bound(f.one("token"), "patient", t.who.Subject, t.req.Query) {
		return s.showAgain(t)
	}
	if f.one("do") == "choose" {
		if err := s.choose(t, f.one("patient")); err != nil {
			return err
		}
		return s.chosen(t)
	}

	own, err := s.ownPatients(t.r.Context(), t.who)
	if err != nil {
		return s.trouble(t.tr, err)
	}

	if f.one("do") == "other" {
		s.showPatients(t, patientPage{Own: own}, "")
		return nil
	}

	text := strings.TrimSpace(f.one("text"))
	page := patientPage{
		Own:  own,
		Text: text[:min(len(text), look.MaxShown)],
	}
	if !t.who.user.Clinician() || s.cfg.Patients == nil {
		s.showPatients(t, page, "Please choose from the list.")
		return nil
	}
	if text == "" {
		t.status = http.StatusUnprocessableEntity
		s.showPatients(
			t,
			page,
			"Please write a name, a birth date or a number to search for.",
		)
		return nil
	}

	page.Tried = true
	if page.Found, page.More, err = s.cfg.Patients.Search(t.r.Context(), page.Text, maxFound); err != nil {
		return s.trouble(t.tr, err)
	}

	s.showPatients(t, page, "")
	return nil
}

// chosen goes on with the patient that was chosen by a form.
func (s *Service) chosen(t *step) error {
	remembered, err := s.remembered(t)
	if err != nil {
		return err
	}
	if remembered != nil {
		return s.approve(t, remembered)
	}

	s.leave(t.w, s.url("consent")+"?"+url.Values{
		"request": {t.req.Query},
		"patient": {t.patient.ID},
		"fresh":   {freshToken(t.who, t.req.Query)},
	}.Encode())

	return nil
}

// shown is the digest of a page that asks for a decision.
func shown(t *step, c client) string {
	patient := ""
	if t.patient != nil {
		patient = t.patient.ID
	}
	return digest([]any{identity(t.req.Registration, c), t.req.RedirectURI, t.req.Scope, patient, t.who.Subject})
}

// showConsent answers with the page that asks for a decision. ticked reports what
// was ticked already; nil: nothing was changed yet.
func (s *Service) showConsent(t *step, ticked func(string) bool, problem string) {
	described := s.describe(t.req.Registration, t.req.RedirectURI)
	about := "the patient"
	if t.patient != nil {
		about = look.Visible(t.patient.Name)
	}
	if ticked == nil {
		ticked = func(string) bool { return true }
	}

	p := consentPage{
		Client:   described,
		Patient:  t.patient,
		Identity: !slices.ContainsFunc(t.req.Scope, aboutRecords),
		Self:     t.patient != nil && t.who.user.FHIRUser == "Patient/"+t.patient.ID,
		Sections: sections(t.req.Scope, about, ticked),
		Person:   t.who.user.DisplayName(),
		IdP:      t.who.IdP,
		Request:  t.req.Query,
		Shown:    shown(t, described),
		Switch:   t.visit.token("signin", t.req.Query),
		Several: t.patient != nil && t.req.EHR == nil &&
			(t.who.user.Clinician() || len(t.who.user.OwnPatients()) > 1),
		Remember: !t.forget,
		Ends:     s.ends(t.req.Scope),
	}
	p.Pick = t.visit.token("patient", t.who.Subject, t.req.Query)

	p.Token = t.visit.token(
		"consent",
		t.who.Subject,
		t.req.Query,
		p.Shown,
	)

	v := s.newView("Allow access?", t.tr, t.visit, t.who)
	v.Data, v.Error, v.Notice = p, problem, t.notice
	s.write(
		t.w,
		t.r,
		t.status,
		"consent",
		v,
		pictureOrigin(described.Logo)...,
	)
}

// aboutRecords reports whether a scope is about health records.
func aboutRecords(text string) bool {
	return strings.Contains(text, "/") || strings.HasPrefix(text, "launch")
}

// ends returns how long a client has access that does not ask to stay connected.
func (s *shell) ends(scopes []string) string {
	if s.cfg.TokenLifetime == 0 || slices.ContainsFunc(scopes, staysConnected) {
		return ""
	}
	return fmt.Sprintf("The application has access for %d minutes. After that it must ask you again.",
		int(s.cfg.TokenLifetime.Minutes()))
}

// postDecision does what the person decided.
func (s *Service) postDecision(t *step, f form, do string) error {
	if !t.visit.bound(f.one("token"), "consent", t.who.Subject, t.req.Query, f.one("shown")) {
		return s.showAgain(t)
	}
	if do != "approve" {
		s.decline(
			t,
			trace.AccessDenied,
			"the person did not allow it",
		)
		return nil
	}

	if id := f.one("patient"); id != "" {
		if err := s.choose(t, id); err != nil {
			return err
		}
	} else if aboutPatient(t.req.Scope) {
		return s.showAgain(t)
	}

	described := s.describe(t.req.Registration, t.req.RedirectURI)
	if shown(t, described) != f.one("shown") {
		t.tr.Refuse(checkShown, trace.InvalidRequest, trace.Finding{
			Expected: "the client and its request as the page showed them",
			Found:    "they have changed since",
			Remedy:   "the page is shown again",
		})

		t.status = http.StatusConflict
		s.showConsent(t, nil, changedNotice)
		return nil
	}

	t.tr.Pass(checkShown, "as the page showed them", "the same")

	return s.decide(t, f, described)
}

// decide approves the items that are ticked.
func (s *Service) decide(t *step, f form, described client) error {
	t.forget = f.one("remember") != "yes"
	ticked := func(text string) bool {
		return slices.ContainsFunc(f.Values["scope"], func(value string) bool {
			return slices.Contains(strings.Fields(value), text)
		})
	}

	d := &decision{}
	for _, text := range t.req.Scope {
		if others[text].Required != "" || ticked(text) {
			d.scope = append(d.scope, text)
		}
	}

	if !worthwhile(d.scope, t.req.Scope) {
		t.tr.Refuse(checkChoice, trace.InvalidRequest, trace.Finding{
			Expected: "at least one thing to share",
			Found:    "none",
		})
		t.status = http.StatusUnprocessableEntity
		s.showConsent(
			t,
			ticked,
			"Please tick at least one thing to share, or choose “Do not allow”.",
		)
		return nil
	}

	t.tr.Pass(
		checkChoice,
		strings.Join(t.req.Scope, " "),
		strings.Join(d.scope, " "),
	)
	if !t.forget {
		d.remember = &Consent{
			Subject: t.who.Subject,
			Client:  t.req.Registration.ID,
			Shown:   identity(t.req.Registration, described),
			Asked:   t.req.Scope,
			Scope:   d.scope,
			Given:   t.tr.Time,
		}
	}

	return s.approve(t, d)
}

// worthwhile reports whether something is left of what was asked for that the
// person could have left out; where there was nothing to leave out, all is. To stay
// connected alone is nothing.
func worthwhile(agreed, asked []string) bool {
	optional := func(text string) bool {
		return others[text].Required == "" && !staysConnected(text)
	}
	return slices.ContainsFunc(agreed, optional) || !slices.ContainsFunc(asked, optional)
}

// Refuse implements oauth.Interaction: it shows a refusal on a page.
func (s *shell) Refuse(w http.ResponseWriter, r *http.Request, refusal *oauth.Refusal, tr *trace.Trace) {
	if refusal.Of.Err != nil {
		s.cfg.Log.Warn(
			"a page refused a request",
			"trace",
			tr.ID,
			"check",
			refusal.Of.Check,
			"cause",
			refusal.Of.Err,
		)
	}
	for name, values := range refusal.Header {
		w.Header()[name] = values
	}

	v := s.newView(refusalTitle(refusal.Status), tr, nil, nil)
	p := refusalPage{
		Sentence: refusalSentence(refusal),
		Code:     string(refusal.Of.Code),
		Remedy:   refusalRemedy(refusal),
	}

	if s.cfg.Explain == oauth.ExplainClient {
		p.Check, p.Detail = refusal.Of.Check, refusal.Of.Detail
	}
	v.Data = p
	s.write(w, r, refusal.Status, "refusal", v)
}

// refusalPage is what the page of a refusal shows.
type refusalPage struct {
	Sentence, Remedy, Code string
	Check, Detail          string // empty: they are for the operator alone
}

func refusalTitle(status int) string {
	switch {
	case status >= 500 || status == http.StatusTooManyRequests:
		return "This is not possible right now"
	case status == http.StatusForbidden:
		return "This is not allowed"
	}
	return "This request cannot be answered"
}

func refusalSentence(r *oauth.Refusal) string {
	switch {
	case r.Status == http.StatusTooManyRequests:
		return "There were too many requests from where you are."
	case r.Status >= 500:
		return "The server could not do this. Nothing was shared."
	case r.Of.Check == checkForm.Name:
		return "What your browser sent did not come from a page of this site. Nothing was shared."
	case r.Of.Code == trace.InvalidClient:
		return "The application that sent you here is not known to this server. Nothing was shared."
	}

	return "What your browser sent cannot be answered safely. Nothing was shared, and you were not sent back " +
		"to the application."
}

func refusalRemedy(r *oauth.Refusal) string {
	switch {
	case r.Status >= 500 || r.Status == http.StatusTooManyRequests:
		return "Please wait a moment, go back to the application and start again."
	case r.Of.Check == checkForm.Name:
		return "Please go back to the application and start again. Cookies must be allowed for this site."
	}
	return "Please close this page and start again in the application. If that does not help, tell the application's " +
		"makers the number below."
}
