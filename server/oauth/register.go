package oauth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/fhir/scope"
	"fhirdest.example/udap"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// RegistrationRequest is a request to register, change or cancel (UDAP DCR 3).
type RegistrationRequest struct {
	Statement      string
	Version        jsontext.Value // of the member udap, as sent; nil when absent
	Certifications []string
	Trace          *trace.Trace // nil: a new one
}

// RegistrationResponse is a successful answer (RFC 7591 3.2.1, UDAP DCR 5.1).
type RegistrationResponse struct {
	Status         int            `json:"-"` // 201 for a new registration, 200 for a changed or cancelled one
	ClientID       trace.ClientID `json:"client_id"`
	Statement      string         `json:"software_statement"`
	Certifications []string       `json:"certifications,omitempty"`
	Parameters     `json:",inline"`
}

// maxCertifications bounds the certifications of one request.
const maxCertifications = 16

// parseRegistration reads the body of a registration request strictly. Unknown
// members are ignored (RFC 7591 2), doubled or case-variant ones are not: two
// readers could each read another of them.
func parseRegistration(body []byte, tr *trace.Trace) (RegistrationRequest, error) {
	var in struct {
		Statement      *string                   `json:"software_statement"`
		Version        jsontext.Value            `json:"udap"`
		Certifications []string                  `json:"certifications"`
		Others         map[string]jsontext.Value `json:",embed"`
	}
	err := json.Unmarshal(body, &in, json.MatchCaseInsensitiveNames(false))
	variant, remedy := caseVariant(in.Others), ""
	switch {
	case err != nil:
		err = errors.New(readable(err))
	case in.Statement == nil && variant == "":
		err = errors.New("no software_statement")
		remedy = "UDAP registers a client by a signed software statement; " +
			"the parameters are its claims (UDAP Security 2.0, 3)"
	case variant != "":
		err = fmt.Errorf("the member %q: names are compared with their case", variant)

	case len(in.Certifications) > maxCertifications:
		err = fmt.Errorf("%d certifications, at most %d are allowed", len(in.Certifications), maxCertifications)
	}

	if err != nil {
		return RegistrationRequest{}, tr.Refuse(checkRegisterBody, trace.InvalidClientMetadata, trace.Finding{
			Expected: `one JSON object with the string software_statement and "udap": "1"`,
			Found:    err.Error(),
			Remedy:   remedy,
			Err:      err,
		})
	}

	return RegistrationRequest{
		Statement:      *in.Statement,
		Version:        in.Version,
		Certifications: in.Certifications,
		Trace:          tr,
	}, nil
}

// caseVariant returns the first name that differs from one of ours in case.
func caseVariant(others map[string]jsontext.Value) string {
	for _, name := range slices.Sorted(maps.Keys(others)) {
		for _, ours := range []string{"software_statement", "udap", "certifications"} {
			if strings.EqualFold(name, ours) {
				return name
			}
		}
	}
	return ""
}

// readable rewords an error of the JSON decoder without the names of Go types.
func readable(err error) string {
	return strings.NewReplacer(
		"jsontext: ", "",
		"json: cannot unmarshal ", "",
		"json: ", "",
		" into Go []string", " where an array of strings belongs",
		" into Go string", " where a string belongs",
		" into Go *string", " where a string belongs",
		" into Go struct", " where an object belongs",
		`'\ufeff'`, "U+FEFF (a byte order mark)",
	).Replace(err.Error())
}

// Register registers a client, changes its registration or cancels it. A
// refusal spends nothing.
func (s *Service) Register(ctx context.Context, req RegistrationRequest) (*RegistrationResponse, error) {
	tr := s.trace(req.Trace, "register")
	expect := s.expect(s.urls.Register, tr.Time)
	expect.Further = func(m udap.ClientMetadata, tr *trace.Trace) error {
		_, err := s.grantRegistered(m, tr)
		return err
	}
	statement, err := s.verifier().Statement(ctx, req.Statement, expect, tr)
	if err != nil {
		return nil, err
	}
	if err := s.limitRegistration(statement, tr); err != nil {
		return nil, err
	}

	version := func() error {
		return checkVersion(req.Version, statement.Community.Policy, tr)
	}
	if statement.Metadata.Cancels() {
		if err := tr.Independent(version); err != nil {
			return nil, err
		}
		return s.cancel(ctx, statement, tr)
	}

	var granted Parameters
	err = tr.Independent(version, func() (err error) {
		granted, err = s.grantParameters(statement, tr)
		return err
	})
	if err != nil {
		return nil, err
	}

	return s.register(ctx, req, statement, granted, tr)
}

// checkVersion checks the member udap.
func checkVersion(v jsontext.Value, p udap.Policy, tr *trace.Trace) error {
	f := trace.Finding{
		Expected: `"udap": "1", a string`,
		Found:    "none",
	}
	if v != nil {
		f.Found = string(v[:min(len(v), 40)])
	}

	text, _ := jose.Text(v)
	switch {
	case text == "1":
		tr.Pass(checkRegisterUDAP, f.Expected, f.Found)
	case string(v) == "1" && p.UDAPNumber:
		f.Remedy = "accepted by the community's policy (udapNumber); write it as a string"
		tr.Warn(checkRegisterUDAP, f)
	default:
		f.Remedy = `it must be the string "1"`
		return tr.Refuse(checkRegisterUDAP, trace.InvalidClientMetadata, f)
	}

	return nil
}

func (s *Service) limitRegistration(st *udap.SoftwareStatement, tr *trace.Trace) error {
	if err := limited(tr, s.limits.registrant, "certificate", certificateKey(&st.Verified),
		tr.Time); err != nil {
		return err
	}
	community := func() string { return string(st.Community.URI) }
	return limited(tr, s.limits.community, "trust community", community, tr.Time)
}

func (s *Service) cancel(
	ctx context.Context, st *udap.SoftwareStatement, tr *trace.Trace,
) (*RegistrationResponse, error) {
	var old *Registration
	sp := s.spend(&st.Verified, string(st.Client), "register", tr.Time)
	once := use{
		store:    s.cfg.Store,
		spend:    &sp,
		verified: &st.Verified,
		refuse: func(tr *trace.Trace, err error) error {
			return refuseCancel(tr, st, err)
		},
	}
	err := once.commit(ctx, tr, func() (err error) {
		old, err = s.cfg.Store.Cancel(ctx, sp, st.Community.URI, st.Client)
		return err
	})
	if err != nil {
		return nil, err
	}

	tr.ClientID = old.ID
	tr.Effect = trace.Cancelled
	tr.Pass(checkRegisterCancel, "a registration to cancel", string(old.ID)+" is cancelled")

	return &RegistrationResponse{
		Status:     http.StatusOK,
		ClientID:   old.ID,
		Statement:  st.Raw,
		Parameters: Parameters{GrantTypes: []string{}},
	}, nil
}

func refuseCancel(tr *trace.Trace, st *udap.SoftwareStatement, err error) error {
	if !errors.Is(err, ErrNoRegistration) {
		return refuseSpend(tr, checkRegisterJTI, trace.InvalidSoftwareStatement, err)
	}
	return tr.Refuse(checkRegisterCancel, trace.InvalidClientMetadata, trace.Finding{
		Expected: "a registration of " + string(st.Client) + " in " + string(st.Community.URI),
		Found:    "none",
		Remedy:   "grant_types [] cancels, and there is nothing to cancel",
	})
}

func (s *Service) register(
	ctx context.Context, req RegistrationRequest, st *udap.SoftwareStatement, granted Parameters, tr *trace.Trace,
) (*RegistrationResponse, error) {
	certifications, err := s.acceptCertifications(ctx, req.Certifications, st, tr)
	if err != nil {
		return nil, err
	}

	next := Registration{
		ID:             newClientID(),
		Community:      st.Community.URI,
		Client:         st.Client,
		Granted:        granted,
		Statement:      st.Raw,
		Certifications: certifications,
		Leaf:           st.Leaf.Raw,
		Created:        tr.Time,
		Changed:        tr.Time,
	}

	var stored, previous *Registration
	sp := s.spend(&st.Verified, string(st.Client), "register", tr.Time)
	once := use{
		store:    s.cfg.Store,
		spend:    &sp,
		verified: &st.Verified,
		refuse: func(tr *trace.Trace, err error) error {
			return refuseSpend(tr, checkRegisterJTI, trace.InvalidSoftwareStatement, err)
		},
	}
	err = once.commit(ctx, tr, func() (err error) {
		stored, previous, err = s.cfg.Store.Register(ctx, sp, next)
		return err
	})
	if err != nil {
		return nil, err
	}

	tr.ClientID = stored.ID
	passJTI(tr, checkRegisterJTI)
	noteRegistered(s.urls.Issuer, stored, previous, st, tr)
	status := http.StatusCreated
	if previous != nil {
		status = http.StatusOK
	}

	return &RegistrationResponse{
		Status:         status,
		ClientID:       stored.ID,
		Statement:      st.Raw,
		Certifications: certifications,
		Parameters:     stored.Granted,
	}, nil
}

// noteRegistered records what became of the registration, and that the
// certificate is another one than before, where it is: people renew certificates
// and then look for the reason of a changed behaviour.
func noteRegistered(issuer string, stored, previous *Registration, st *udap.SoftwareStatement, tr *trace.Trace) {
	under := fmt.Sprintf("%s, %s at %s", stored.Community, stored.Client, issuer)
	if previous == nil {
		tr.Effect = trace.Registered
		tr.Pass(checkRegistered, under, "registered as "+string(stored.ID))
		return
	}

	tr.Effect = trace.Changed
	tr.Pass(checkRegistered, under,
		"changed, still "+string(stored.ID)+changes(previous.Granted, stored.Granted))
	if slices.Equal(previous.Leaf, stored.Leaf) {
		tr.Pass(checkRenewed, "the same certificate or a renewed one", "the same")
	} else {
		tr.Pass(checkRenewed, "the same certificate or a renewed one",
			fmt.Sprintf("another one, serial %X, until %s", st.Leaf.SerialNumber,
				st.Leaf.NotAfter.UTC().Format("2006-01-02")))
	}
}

// changes names the parameters that a change touched, with both values of the
// name under which people know the client.
func changes(old, next Parameters) string {
	var touched []string
	for _, f := range []struct {
		name string
		same bool
	}{
		{"client_uri", old.ClientURI == next.ClientURI},
		{"tos_uri", old.TosURI == next.TosURI},
		{"policy_uri", old.PolicyURI == next.PolicyURI},
		{"logo_uri", old.LogoURI == next.LogoURI},
		{"jwks_uri", old.JWKSURI == next.JWKSURI},
		{"redirect_uris", slices.Equal(old.RedirectURIs, next.RedirectURIs)},
		{"contacts", slices.Equal(old.Contacts, next.Contacts)},
		{"grant_types", slices.Equal(old.GrantTypes, next.GrantTypes)},
		{"scope", old.Scope == next.Scope},
		{"dpop_bound_access_tokens", old.DPoPBound == next.DPoPBound},
	} {
		if !f.same {
			touched = append(touched, f.name)
		}
	}

	if old.ClientName != next.ClientName {
		touched = append(touched, fmt.Sprintf("client_name from %q to %q", old.ClientName, next.ClientName))
	}
	if len(touched) == 0 {
		return ", with the same parameters"
	}

	return ", with another " + strings.Join(touched, ", ")
}

// grantParameters returns the parameters that a client is registered with, of
// those that it asks for.
func (s *Service) grantParameters(st *udap.SoftwareStatement, tr *trace.Trace) (Parameters, error) {
	m := st.Metadata
	if !st.Community.Policy.JKU {
		m.JWKSURI = "" // nothing would be done with it
	}
	s.noteGrantTypes(m, tr)
	scopes, err := s.grantRegistered(m, tr)
	return Parameters{
		ClientName:              m.ClientName,
		ClientURI:               m.ClientURI,
		TosURI:                  m.TosURI,
		PolicyURI:               m.PolicyURI,
		LogoURI:                 m.LogoURI,
		JWKSURI:                 m.JWKSURI,
		RedirectURIs:            m.RedirectURIs,
		Contacts:                m.Contacts,
		GrantTypes:              m.GrantTypes,
		ResponseTypes:           m.ResponseTypes,
		TokenEndpointAuthMethod: m.TokenEndpointAuthMethod,
		Scope:                   strings.Join(scopes, " "),
		DPoPBound:               m.DPoPBound,
	}, err
}

// noteGrantTypes flags a registration for a grant that is not offered here: it
// is stored, so that it can be used as soon as the grant works.
func (s *Service) noteGrantTypes(m udap.ClientMetadata, tr *trace.Trace) {
	offered := "grant types " + strings.Join(s.grantTypes(), ", ")
	asked := strings.Join(m.GrantTypes, ", ")
	if slices.Contains(m.GrantTypes, authorizationCode) && !s.cfg.people() {
		tr.Warn(checkRegisterGrants, trace.Finding{
			Expected: offered,
			Found:    asked,
			Remedy:   "registered, but nobody can sign in here, so the metadata does not list the grant",
		})

		return
	}

	tr.Pass(checkRegisterGrants, offered, asked)
}

// grantTypes are those that the metadata lists. They must not be changed.
func (s *Service) grantTypes() []string { return s.offered }

// offers returns the grant types that the metadata lists.
func (c Config) offers() (names []string) {
	if !c.NoFHIR {
		names = append(names, clientCredentials)
	}
	if c.people() {
		names = append(names, authorizationCode, refreshToken)
	}
	return names
}

// grantRegistered returns the scopes for which a client is registered: those it
// asks for that the clients of its grant type may have. With a refusal it returns
// those that are beyond doubt.
func (s *Service) grantRegistered(m udap.ClientMetadata, tr *trace.Trace) ([]string, error) {
	g := grantTypeNamed(clientCredentials)
	if slices.Contains(m.GrantTypes, authorizationCode) {
		g = grantTypeNamed(authorizationCode)
	}

	request := scope.Request{Scopes: m.Scope}
	answer, err := s.negotiate(g, request, scopeCheck{checkRegisterScope, trace.InvalidClientMetadata}, tr)
	if err != nil {
		return answer.Granted, err
	}

	s.noteGranted(g, request, answer, checkRegisterScope, tr)
	return answer.Granted, nil
}

// newClientID makes an identifier that nobody can guess and that is never used
// again: 160 random bits.
func newClientID() trace.ClientID {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails (Go 1.24)
	return trace.ClientID(base64.RawURLEncoding.EncodeToString(b[:]))
}
