package udap

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// Bounds of registration parameters.
const (
	maxClientName   = 200 // characters
	maxURI          = 2048
	maxRedirectURIs = 50
	maxContacts     = 20
)

// The checks on registration parameters, in the order in which they are made.
var (
	checkGrants = trace.NewCheck("registration.grant_types",
		"grant_types has authorization_code or client_credentials and not both, or is empty to cancel",
		"S1-092 S1-122 S2-11")
	checkName       = trace.NewCheck("registration.client_name", "client_name is a readable name", "S1-083")
	checkAuthMethod = trace.NewCheck("registration.token_endpoint_auth_method",
		"token_endpoint_auth_method is private_key_jwt", "S1-096")
	checkRedirects = trace.NewCheck("registration.redirect_uris",
		"redirect_uris are plain https URLs, present for authorization_code only", "S1-084 S1-085 S2-11")
	checkResponses = trace.NewCheck("registration.response_types",
		`response_types is ["code"] for authorization_code and absent otherwise`, "S1-093 S1-094 S1-095 S2-11")
	checkContacts = trace.NewCheck("registration.contacts", "contacts are URIs, one of them mailto",
		"S1-086 S1-087 S2-11")
	checkLogo = trace.NewCheck("registration.logo_uri",
		"logo_uri is an https URL of a PNG, JPG or GIF, present for authorization_code", "S1-088 S1-090 S1-091 S2-11")
	checkScope = trace.NewCheck("registration.scope", "scope is a list of scopes with one space between",
		"S1-097")
	checkURIs = trace.NewCheck("registration.uris",
		"client_uri, tos_uri, policy_uri and jwks_uri, where present, are web addresses", "S1-105 S2-24")
	checkBound = trace.NewCheck("registration.dpop_bound_access_tokens",
		"dpop_bound_access_tokens, where present, is true or false (RFC 9449 5.2)", "S1-105")
	checkNeeded = trace.NewCheck("registration.required", "The metadata that the community demands is there",
		"S1-105")
)

// parameters is one validation of registration parameters.
type parameters struct {
	tr     *trace.Trace
	policy Policy
	claims jose.Object
	out    *ClientMetadata
}

// clientMetadata checks the registration parameters of a statement (UDAP
// Security 3.1). A statement that cancels needs no others. Of one that is refused
// it returns the parameters that are in order, and so of one whose mistakes are
// only noted.
func (val *validation) clientMetadata(claims jose.Object, p Policy) (*ClientMetadata, error) {
	r := &parameters{
		tr:     val.tr,
		policy: p,
		claims: claims,
		out:    &ClientMetadata{},
	}
	err := r.grantTypes()
	if err == nil && r.out.Cancels() {
		return r.out, nil
	}

	steps := []func() error{func() error { return err }, r.clientName, r.authMethod}
	if err == nil { // without its grants, what a statement must have for them is unknown
		r.dropNulls()
		steps = append(steps, r.redirectURIs, r.responseTypes)
	}
	steps = append(steps, r.contacts)
	if err == nil {
		steps = append(steps, r.logo)
	}

	steps = append(steps, r.scope, r.webURIs, r.boundTokens, r.required)

	return r.out, r.tr.Independent(steps...)
}

// dropNulls leaves out those optional parameters that are null: some clients write
// every parameter, and null for those without a value. A parameter that the grant
// requires stays, so that its null is refused.
func (r *parameters) dropNulls() {
	all := r.claims
	for _, p := range []struct {
		name  string
		check trace.Check
		must  bool
	}{
		{"redirect_uris", checkRedirects, r.out.interactive()},
		{"response_types", checkResponses, r.out.interactive()},
		{"logo_uri", checkLogo, r.out.interactive()},
		{"client_uri", checkURIs, false},
		{"tos_uri", checkURIs, false},
		{"policy_uri", checkURIs, false},
		{"jwks_uri", checkURIs, false},
		{dpopBound, checkBound, false},
	} {
		if p.must || all[p.name].Kind() != 'n' {
			continue
		}

		if len(r.claims) == len(all) {
			r.claims = maps.Clone(all)
		}
		delete(r.claims, p.name)
		r.tr.Warn(p.check, trace.Finding{
			Expected: "no " + p.name,
			Found:    all.Show(p.name),
			Remedy:   "leave out what has no value: a stricter server refuses null",
		})
	}
}

func (r *parameters) refuse(c trace.Check, expected, found, remedy string) error {
	return r.tr.Refuse(c, trace.InvalidClientMetadata, trace.Finding{
		Expected: expected,
		Found:    found,
		Remedy:   remedy,
	})
}

// interactive reports whether people sign in: the authorization code grant.
func (m *ClientMetadata) interactive() bool {
	return slices.Contains(m.GrantTypes, "authorization_code")
}

func (r *parameters) grantTypes() error {
	const expected = `grant_types ["authorization_code"], ["authorization_code","refresh_token"] or ` +
		`["client_credentials"]; [] cancels`
	grants, ok := r.claims.List("grant_types")
	if !ok {
		return r.refuse(checkGrants, expected, r.claims.Show("grant_types"), "")
	}
	if why := grantsWrong(grants); why != "" {
		return r.refuse(checkGrants, expected, trace.Cut(strings.Join(grants, " "), 200)+": "+why, "")
	}

	r.out.GrantTypes = grants
	r.tr.Pass(checkGrants, expected, "["+strings.Join(grants, " ")+"]")
	return nil
}

func grantsWrong(grants []string) string {
	code, cred := slices.Contains(grants, "authorization_code"), slices.Contains(grants, "client_credentials")
	for i, g := range grants {
		switch {
		case !slices.Contains([]string{
			"authorization_code",
			"client_credentials",
			"refresh_token",
		}, g):
			return fmt.Sprintf("%q is not a grant type of this guide", trace.Cut(g, 60))

		case slices.Contains(grants[:i], g):
			return fmt.Sprintf("%q is listed twice", g)
		}
	}

	switch {
	case code && cred:
		return "both at once; register twice, with two URIs of the certificate"
	case len(grants) > 0 && !code && !cred:
		return "refresh_token needs authorization_code beside it"
	case cred && len(grants) > 1:
		return "refresh_token does not go with client_credentials"
	}

	return ""
}

func (r *parameters) clientName() error {
	expected := fmt.Sprintf("client_name as 1 to %d readable characters", maxClientName)
	name, ok := r.claims.Text("client_name")
	switch {
	case !ok || strings.TrimSpace(name) == "":
		return r.refuse(checkName, expected, r.claims.Show("client_name"), "")
	case utf8.RuneCountInString(name) > maxClientName:
		return r.refuse(checkName, expected, fmt.Sprintf("%d characters", utf8.RuneCountInString(name)), "")
	case strings.ContainsFunc(name, unicode.IsControl):
		return r.refuse(checkName, expected, "control characters in "+name, "")
	case !strings.ContainsFunc(name, seen):
		return r.refuse(checkName, expected, "no character that is seen in "+name, "")
	}

	r.out.ClientName = name
	if strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsSpace(r) && !trace.Visible(r)
	}) {
		r.tr.Warn(checkName, trace.Finding{
			Expected: expected,
			Found:    name,
			Remedy:   "it has invisible or direction-changing characters; it is always shown escaped",
		})

		return nil
	}

	r.tr.Pass(checkName, expected, name)
	return nil
}

// seen reports whether a character alone would make a name that people can read.
func seen(r rune) bool { return !unicode.IsSpace(r) && trace.Visible(r) }

func (r *parameters) authMethod() error {
	method, ok := r.claims.Text("token_endpoint_auth_method")
	if !ok || method != "private_key_jwt" {
		return r.refuse(checkAuthMethod, "private_key_jwt", r.claims.Show("token_endpoint_auth_method"), "")
	}
	r.out.TokenEndpointAuthMethod = method
	r.tr.Pass(checkAuthMethod, "private_key_jwt", method)
	return nil
}

func (r *parameters) redirectURIs() error {
	if !r.out.interactive() {
		return r.leftOut(checkRedirects, "redirect_uris")
	}

	uris, ok := r.claims.List("redirect_uris")
	if !ok || len(uris) == 0 || len(uris) > maxRedirectURIs {
		return r.refuse(checkRedirects,
			fmt.Sprintf("redirect_uris as an array of 1 to %d URLs",
				maxRedirectURIs), r.claims.Show("redirect_uris"), "")
	}

	for i, u := range uris {
		err := checkRedirectURI(u, r.policy.AllowLoopbackRedirect)
		if err == nil && slices.Contains(uris[:i], u) {
			err = fmt.Errorf("it is listed twice")
		}
		if err != nil {
			r.out.RedirectURIs = usable(uris)
			return r.tr.Refuse(checkRedirects, trace.InvalidRedirectURI, trace.Finding{
				Expected: "https URLs, each once, without fragment, user information or wildcard",
				Found:    fmt.Sprintf("%q: %v", trace.Cut(u, 200), err),
				Err:      err,
			})
		}
	}

	r.out.RedirectURIs = uris
	r.tr.Pass(checkRedirects, "https URLs", strings.Join(uris, " "))
	return nil
}

// usable returns those of a refused list to which a browser can be sent without harm
// to others: the ones that some policy allows.
func usable(uris []string) []string {
	var out []string
	for _, u := range uris {
		if checkRedirectURI(u, true) == nil && !slices.Contains(out, u) {
			out = append(out, u)
		}
	}
	return out
}

// leftOut refuses a parameter that has no use with client_credentials.
func (r *parameters) leftOut(c trace.Check, name string) error {
	if r.claims.Has(name) {
		return r.refuse(c, "no "+name+" with client_credentials", r.claims.Show(name), "leave "+
			name+" out")
	}
	return nil
}

func (r *parameters) responseTypes() error {
	if !r.out.interactive() {
		return r.leftOut(checkResponses, "response_types")
	}

	types, ok := r.claims.List("response_types")
	if !ok || !slices.Equal(types, []string{"code"}) {
		return r.refuse(checkResponses, `["code"]`, r.claims.Show("response_types"), "")
	}

	r.out.ResponseTypes = types
	r.tr.Pass(checkResponses, `["code"]`, `["code"]`)
	return nil
}

func (r *parameters) contacts() error {
	expected := fmt.Sprintf("contacts as 1 to %d URIs, one of them mailto:", maxContacts)
	contacts, ok := r.claims.List("contacts")
	if !ok || len(contacts) == 0 || len(contacts) > maxContacts {
		return r.refuse(checkContacts, expected, r.claims.Show("contacts"), "")
	}

	mail := false
	for _, c := range contacts {
		isMail, err := checkContact(c)
		if err != nil {
			return r.refuse(checkContacts, expected, fmt.Sprintf("%q: %v", trace.Cut(c, 200), err),
				contactRemedy(c))
		}
		mail = mail || isMail
	}

	if !mail {
		return r.refuse(checkContacts, expected, strings.Join(contacts, " "), "add a mailto: address")
	}

	r.out.Contacts = contacts
	r.tr.Pass(checkContacts, expected, strings.Join(contacts, " "))
	return nil
}

func contactRemedy(c string) string {
	if checkMailbox(c) == nil {
		return "write mailto:" + c
	}
	return ""
}

func (r *parameters) logo() error {
	const expected = "logo_uri as an https URL of a PNG, JPG or GIF"
	if !r.claims.Has("logo_uri") && !r.out.interactive() {
		return nil
	}

	logo, ok := r.claims.Text("logo_uri")
	if !ok {
		return r.refuse(checkLogo, expected, r.claims.Show("logo_uri"), "")
	}

	sure, err := checkLogoURI(logo)
	if err != nil {
		return r.refuse(checkLogo, expected, fmt.Sprintf("%q: %v", trace.Cut(logo, 200), err), "")
	}

	r.out.LogoURI = logo
	if !sure {
		r.tr.Warn(checkLogo, trace.Finding{
			Expected: expected,
			Found:    logo,
			Remedy:   "the path does not end in .png, .jpg or .gif; serve one of these",
		})

		return nil
	}

	r.tr.Pass(checkLogo, expected, logo)
	return nil
}

func (r *parameters) scope() error {
	const expected = "scope as a string of scopes with one space between"
	text, ok := r.claims.Text("scope")
	if !ok {
		return r.refuse(checkScope, expected, r.claims.Show("scope"), "")
	}

	scopes, err := splitScope(text)
	if err != nil {
		r.out.Scope, _ = splitScope(strings.Join(strings.Fields(text), " ")) // none, if more is wrong than the spaces
		return r.refuse(checkScope, expected, err.Error(), "")
	}

	r.out.Scope = scopes
	r.tr.Pass(checkScope, expected, text)
	return nil
}

func (r *parameters) webURIs() error {
	for _, f := range []struct {
		name  string
		into  *string
		https bool
	}{
		{"client_uri", &r.out.ClientURI, false},
		{"tos_uri", &r.out.TosURI, false},
		{"policy_uri", &r.out.PolicyURI, false},
		{"jwks_uri", &r.out.JWKSURI, true},
	} {
		if !r.claims.Has(f.name) {
			continue
		}

		text, ok := r.claims.Text(f.name)
		if !ok {
			return r.refuse(checkURIs, f.name+" as a string", r.claims.Show(f.name), "")
		}
		if err := checkWebURI(text, f.https); err != nil {
			return r.refuse(checkURIs, f.name+" as a web address",
				fmt.Sprintf("%q: %v", trace.Cut(text, 200), err),
				"")
		}

		*f.into = text
		r.tr.Pass(checkURIs, f.name+" as a web address", text)
	}

	return nil
}

// dpopBound is the parameter by which a client asks for no other tokens than those
// that are bound to a key.
const dpopBound = "dpop_bound_access_tokens"

func (r *parameters) boundTokens() error {
	if !r.claims.Has(dpopBound) {
		return nil
	}

	text := string(r.claims[dpopBound])
	if text != "true" && text != "false" {
		return r.refuse(checkBound, dpopBound+" as true or false", r.claims.Show(dpopBound), "")
	}
	r.out.DPoPBound = text == "true"
	r.tr.Pass(checkBound, "true or false", text)
	return nil
}

func (r *parameters) required() error {
	if len(r.policy.RequiredMetadata) == 0 {
		return nil
	}

	var missing []string
	for _, name := range r.policy.RequiredMetadata {
		if !r.claims.Has(name) {
			missing = append(missing, name+r.claims.DidYouMean(name))
		}
	}

	if len(missing) > 0 {
		return r.refuse(checkNeeded, strings.Join(r.policy.RequiredMetadata, ", "),
			"without "+strings.Join(missing, ", "), "the community demands them")
	}

	r.tr.Pass(checkNeeded, strings.Join(r.policy.RequiredMetadata, ", "), "all there")
	return nil
}
