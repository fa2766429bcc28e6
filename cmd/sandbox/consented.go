package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"fhirdest.example/certs"
	"fhirdest.example/udap/client"
)

// stewardScope is what the client asks for that keeps a patient's Consents.
const stewardScope = "system/Patient.rs system/Consent.cruds"

// urgentRead is the read that passes as an emergency, as the audit record has it.
const urgentRead = "steward read R patient BTG 0"

// breakGlass states emergency access (R4 security-labels.html).
var breakGlass = http.Header{"Category": {
	`http://terminology.hl7.org/CodeSystem/v3-ActReason#BTG; scheme="http://hl7.org/fhir/tag/security"`,
}}

// story is a patient, an application that the patient gives access, a client that
// keeps the patient's Consents and reads the record for several purposes, and one that
// finds each step in the audit record.
type story struct {
	*visit
	app     *client.Token
	steward *party
	joined  joined
	tokens  map[string]string // of the steward, by purpose of use
	consent string            // id of the patient's own Consent

	auditor *auditor
	chain   *chain
	// urgent is the id of the AuditEvent of the read that passed as an emergency.
	urgent string
}

// step is a part of a story, and what it leaves in the audit record: see
// auditor.line.
type step struct {
	name    string
	do      func(context.Context) error
	records []string
}

// steps are the story. DICOM's codes 110122 and 110137 are a person who signs in, and
// what that person allows and takes back; ITI-71 is a token.
func (s *story) steps() []step {
	return []step{
		{"granted", s.granted, []string{
			"application 110122 E 0",
			"application 110137 C patient 0",
			"application update U Consent 0",
			"application ITI-71 E patient 0",
			"application read R patient 0",
			"application read R Patient 4", // another patient
			"steward ITI-71 E 0",
			"steward read R patient TREAT 0",
			"steward search-type E patient TREAT 0",
		}},
		{"refused for marketing", s.refusedForMarketing, []string{
			"steward ITI-71 E 0",
			"steward read R patient HMARKT 0",
			"steward update U Consent TREAT 0",
			"steward read R patient HMARKT 4",
			"steward AuthZ-Consent E Consent HMARKT 4",
			"steward read R patient TREAT 0",
		}},
		{"emergency", s.emergency, []string{
			"steward update U Consent TREAT 0",
			"steward read R patient TREAT 4",
			"steward AuthZ-Consent E Consent TREAT 4",
			"steward ITI-71 E 0",
			"steward read R patient BTG 4",
			"steward AuthZ-Consent E Consent BTG 4",
			urgentRead,
			"steward AuthZ-Consent E Consent BTG 0",
		}},
		{"withdrawn", s.withdrawn, []string{
			"application 110137 D patient 0",
			"application patch U Consent 0",
			"steward search-type E patient TREAT 0",
		}},
	}
}

// disclosed are the disclosures of the story: see auditor.disclosures.
var disclosed = []string{
	"application Patient 1",
	"steward TREAT Consent 2 Patient 2",
	"steward HMARKT Patient 1",
	"steward BTG Patient 1",
}

// showConsented walks through what a patient grants, denies and withdraws, and finds
// each step in the audit record.
func showConsented(ctx context.Context, d *demo) (detail string, err error) {
	s, err := newStory(ctx, d)
	if err != nil {
		return "", err
	}
	defer s.auditor.client.Close()
	defer s.steward.client.Close()
	defer s.client.Close()

	defer func() { // the sandbox is as it was
		err = errors.Join(err, s.set(ctx, "inactive", "OPTIN", ""))
	}()
	for _, step := range s.steps() {
		if err := step.do(ctx); err != nil {
			return "", err
		}
		ids, err := s.auditor.recorded(ctx, step.name, step.records)
		if err != nil {
			return "", err
		}
		if id := ids[urgentRead]; id != "" {
			s.urgent = id
		}
	}

	if err := s.auditor.disclosures(ctx, disclosed); err != nil {
		return "", err
	}
	if err := s.chain.alteredIsFound(ctx, s.urgent); err != nil {
		return "", err
	}
	return fmt.Sprintf("granted and read; %s refused; emergency access passed; withdrawn: 401; each step is in the "+
		"audit record; its chain is sound, and AuditEvent/%s is found when it is altered in a copy", d.unwanted,
		s.urgent), nil
}

func newStory(ctx context.Context, d *demo) (*story, error) {
	v, err := newVisit(ctx, d, "consented", false)
	if err != nil {
		return nil, err
	}
	s := &story{
		visit:   v,
		tokens:  map[string]string{},
		consent: "sandbox-" + strings.ToLower(d.run),
	}
	if s.steward, err = d.newParty(d.community(0), "steward", certs.P256); err != nil {
		return nil, err
	}
	if s.joined.found, err = d.discover(ctx, s.steward.client); err != nil {
		return nil, err
	}
	if s.joined.reg, err = d.register(ctx, s.steward.client, s.joined.found, stewardScope); err != nil {
		return nil, err
	}

	if s.chain, err = newChain(ctx, d); err != nil {
		return nil, err
	}
	if s.auditor, err = newAuditor(ctx, d, v.user.Patient); err != nil {
		return nil, err
	}
	s.auditor.names[string(s.request.ClientID)] = "application"
	s.auditor.names[string(s.joined.reg.ClientID)] = "steward"
	if err := s.auditor.settle(ctx); err != nil {
		return nil, err
	}
	_, err = s.auditor.news(ctx) // what came before
	return s, err
}

// token returns a token of the steward for a purpose of use.
func (s *story) token(ctx context.Context, purpose string) (string, error) {
	if have := s.tokens[purpose]; have != "" {
		return have, nil
	}
	out, err := s.steward.client.Token(ctx, s.joined.found, client.TokenRequest{
		ClientID: s.joined.reg.ClientID,
		Scope:    stewardScope,
		B2B: &client.B2B{
			OrganizationID:   "https://originator.example/organization",
			OrganizationName: "Sandbox Originator",
			PurposeOfUse:     []string{"urn:oid:2.16.840.1.113883.5.8#" + purpose},
		},
	})
	s.keep(out.Trace)
	if err != nil {
		return "", err
	}
	s.tokens[purpose] = out.Access
	return out.Access, nil
}

// ask sends a request of the steward for a purpose, and returns status and answer.
func (s *story) ask(
	ctx context.Context, method, path, purpose, body string, header http.Header,
) (int, []byte, error) {
	token, err := s.token(ctx, purpose)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, s.manifest.PublicBase+"/"+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/fhir+json")
	}
	return s.send(req)
}

// reads asks for the patient for a purpose, and expects a status.
func (s *story) reads(ctx context.Context, purpose string, header http.Header, want int) error {
	got, _, err := s.ask(ctx, http.MethodGet, s.user.Patient, purpose, "", header)
	if err == nil && got != want {
		err = fmt.Errorf("%s for %s: %d, not %d", s.user.Patient, purpose, got, want)
	}
	return err
}

// set stores the patient's Consent, with a base and a purpose that it denies.
func (s *story) set(ctx context.Context, status, base, denied string) error {
	provision := ""
	if denied != "" {
		provision = `,"provision":{"type":"deny","purpose":[{"system":` +
			`"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"` + denied + `"}]}`
	}
	body := fmt.Sprintf(`{"resourceType":"Consent","id":%q,"status":%q,"scope":{"coding":[{"system":`+
		`"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}]},"category":[{"coding":[`+
		`{"system":"http://loinc.org","code":"59284-0"}]}],"patient":{"reference":%q},"policyRule":{"coding":[`+
		`{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":%q}]}%s}`,
		s.consent, status, s.user.Patient, base, provision)
	got, answer, err := s.ask(ctx, http.MethodPut, "Consent/"+s.consent, "TREAT", body, nil)
	if err == nil && got >= http.StatusMultipleChoices {
		err = fmt.Errorf("the Consent: %d %.200s", got, answer)
	}
	return err
}

// granted: the application reads the patient's record, and there is a Consent of it.
func (s *story) granted(ctx context.Context) error {
	code, err := s.signIn(ctx)
	if err != nil {
		return err
	}
	if s.app, err = s.visit.tokens(ctx, code); err != nil {
		return err
	}
	if err := s.readOwn(ctx, s.app); err != nil {
		return err
	}
	if err := s.reads(ctx, "TREAT", nil, http.StatusOK); err != nil {
		return err
	}
	return s.grants(ctx, true)
}

// grants looks for an active Consent of what the patient granted the application.
func (s *story) grants(ctx context.Context, want bool) error {
	_, answer, err := s.ask(ctx, http.MethodGet,
		"Consent?status=active&_elements=provision&patient="+s.user.Patient, "TREAT", "", nil)
	if err != nil {
		return err
	}
	if got := strings.Contains(string(answer), string(s.request.ClientID)); got != want {
		return fmt.Errorf("an active Consent of the grant is there: %v, not %v", got, want)
	}
	return nil
}

// refusedForMarketing: the patient denies a purpose, which is refused from then on.
func (s *story) refusedForMarketing(ctx context.Context) error {
	if err := s.reads(ctx, s.unwanted, nil, http.StatusOK); err != nil {
		return err
	}
	if err := s.set(ctx, "active", "OPTIN", "HMARKT"); err != nil {
		return err
	}
	return errors.Join(
		s.reads(ctx, s.unwanted, nil, http.StatusNotFound),
		s.reads(ctx, "TREAT", nil, http.StatusOK),
	)
}

// emergency: the patient denies everything, and who states an emergency reads.
func (s *story) emergency(ctx context.Context) error {
	if err := s.set(ctx, "active", "OPTOUT", ""); err != nil {
		return err
	}
	return errors.Join(
		s.reads(ctx, "TREAT", nil, http.StatusNotFound),
		s.reads(ctx, "BTG", nil, http.StatusNotFound),
		s.reads(ctx, "BTG", breakGlass, http.StatusOK),
	)
}

// withdrawn: the patient takes the grant back on the page of grants.
func (s *story) withdrawn(ctx context.Context) error {
	if err := s.withdraw(ctx); err != nil {
		return err
	}
	r, err := s.get(ctx, s.client, s.user.Patient, s.app.Access)
	if r.Refusal == nil || r.Refusal.Status != http.StatusUnauthorized {
		return fmt.Errorf("the application after the withdrawal: expected 401, got %w", err)
	}
	return errors.Join(
		s.auditor.refusedToken(ctx, r),
		s.grants(ctx, false),
	)
}

// withdraw presses the button of the application on the page of grants.
func (s *story) withdraw(ctx context.Context) error {
	b, closeAll, err := s.browser()
	if err != nil {
		return err
	}
	defer closeAll()

	s.person.Hosts = nil // of an earlier sign-in
	target := s.openid.Issuer + "/grants"
	p, err := b.Open(ctx, target)
	if err != nil {
		return err
	}
	if f, _ := p.Button("signin"); f != nil {
		if _, err = s.person.FillIn(ctx, b, p); err != nil {
			return err
		}
		if p, err = b.Open(ctx, target); err != nil {
			return err
		}
	}

	for i := range p.Forms {
		f := &p.Forms[i]
		if f.Values.Get("client") == string(s.request.ClientID) {
			_, err := b.Send(ctx, p, f)
			return err
		}
	}
	return fmt.Errorf("%q at %s has no access of %s", p.Title, p.URL, s.request.ClientID)
}
