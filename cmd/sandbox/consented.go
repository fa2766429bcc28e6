package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"fhirdest.example/certs"
	"fhirdest.example/udap/client"
)

// stewardScope is what the client asks for that keeps a patient's Consents.
const stewardScope = "system/Patient.rs system/Consent.cruds system/AuditEvent.rs"

// breakGlass states emergency access (R4 security-labels.html).
var breakGlass = http.Header{"Category": {
	`http://terminology.hl7.org/CodeSystem/v3-ActReason#BTG; scheme="http://hl7.org/fhir/tag/security"`,
}}

// story is a patient, an application that the patient gives access, and a client that
// keeps the patient's Consents and reads the record for several purposes.
type story struct {
	*visit
	steward *party
	joined  joined
	tokens  map[string]string // of the steward, by purpose of use
	consent string            // id of the patient's own Consent
}

// showConsented walks through what a patient grants, denies and withdraws, and finds
// each step in the audit record.
func showConsented(ctx context.Context, d *demo) (detail string, err error) {
	s, err := newStory(ctx, d)
	if err != nil {
		return "", err
	}
	defer s.steward.client.Close()
	defer s.client.Close()

	code, err := s.signIn(ctx)
	if err != nil {
		return "", err
	}
	app, err := s.visit.tokens(ctx, code)
	if err != nil {
		return "", err
	}

	defer func() { // the sandbox is as it was
		err = errors.Join(err, s.set(ctx, "inactive", "OPTIN", ""))
	}()
	for _, step := range []func(context.Context, *client.Token) error{
		s.granted,
		s.refusedForMarketing,
		s.emergency,
		s.withdrawn,
		s.audited,
	} {
		if err := step(ctx, app); err != nil {
			return "", err
		}
	}
	return "granted and read; " + d.unwanted + " refused; emergency access passed; withdrawn: 401; " +
		"each refusal and the emergency in the audit record", nil
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
	s.joined.reg, err = d.register(ctx, s.steward.client, s.joined.found, stewardScope)
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
func (s *story) granted(ctx context.Context, app *client.Token) error {
	if err := s.readOwn(ctx, app); err != nil {
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
func (s *story) refusedForMarketing(ctx context.Context, _ *client.Token) error {
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
func (s *story) emergency(ctx context.Context, _ *client.Token) error {
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
func (s *story) withdrawn(ctx context.Context, app *client.Token) error {
	if err := s.withdraw(ctx); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.manifest.PublicBase+"/"+s.user.Patient, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+app.Access)
	got, _, err := s.send(req)
	if err == nil && got != http.StatusUnauthorized {
		err = fmt.Errorf("the application after the withdrawal: %d, not 401", got)
	}
	return errors.Join(err, s.grants(ctx, false))
}

// withdraw presses the button of the application on the page of grants.
func (s *story) withdraw(ctx context.Context) error {
	b, closeAll, err := s.browser()
	if err != nil {
		return err
	}
	defer closeAll()

	s.hosts = nil // of an earlier sign-in
	target := s.openid.Issuer + "/grants"
	p, err := b.Open(ctx, target)
	if err != nil {
		return err
	}
	if f, _ := p.Button("signin"); f != nil {
		if _, err = s.fillIn(ctx, b, p); err != nil {
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

// audited: the refusals, the emergency and the reads are in the steward's record.
func (s *story) audited(ctx context.Context, _ *client.Token) error {
	if err := s.set(ctx, "inactive", "OPTIN", ""); err != nil {
		return err
	}
	for _, row := range []struct {
		what, query string
		least       int
	}{
		{"reads", "action=R&outcome=0", 3},
		{"refusals by the Consent", "subtype=AuthZ-Consent&outcome=4", 3},
		{"emergencies that passed it", "subtype=AuthZ-Consent&outcome=0", 1},
	} {
		path := "AuditEvent?_summary=count&patient=" + s.user.Patient + "&" + row.query
		status, answer, err := s.ask(ctx, http.MethodGet, path, "TREAT", "", nil)
		if err != nil {
			return err
		}
		var b struct {
			Total int `json:"total"`
		}
		if err := json.Unmarshal(answer, &b); err != nil || status != http.StatusOK {
			return fmt.Errorf("%s: %d %.200s", path, status, answer)
		}
		if b.Total < row.least {
			return fmt.Errorf("the audit record has %d %s, not %d", b.Total, row.what, row.least)
		}
	}
	return nil
}
