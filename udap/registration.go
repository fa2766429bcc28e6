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
		"grant_types has authorization_code or client_credentials and not both, or is empty to cancel", "S1-092 S1-122 S2-11")
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
	checkScope = trace.NewCheck("registration.scope", "scope is a list of scopes with one space between", "S1-097")
	checkURIs  = trace.NewCheck("registration.uris",
		"client_uri, tos_uri, policy_uri and jwks_uri, where present, are web addresses", "S1-105 S2-24")
	checkNeeded = trace.NewCheck("registration.required", "The metadata that the community demands is there",
		"S1-105")
)

// clientMetadata judges the registration parameters of a statement (UDAP
// Security 3.1). A statement that cancels needs no others. Of one that is refused
// it returns the parameters that are in order.
func (val *validation) clientMetadata(claims jose.Object, p Policy) (*ClientMetadata, error) {
	m := &ClientMetadata{}
	err := val.grantTypes(claims, m)
	if err == nil && m.Cancels() {
		return m, nil
	}

	known := err == nil // without its grants, what a statement must have for them is unknown
	if known {
		claims = val.withoutNulls(claims, m)
	}
	step := func(check func(jose.Object, *ClientMetadata) error) func() error {
		return func() error { return check(claims, m) }
	}
	steps := []func() error{func() error { return err }, step(val.clientName), step(val.authMethod)}
	if known {
		redirects := func() error { return val.redirectURIs(claims, m, p) }
		steps = append(steps, redirects, step(val.responseTypes), step(val.contacts), step(val.logo))
	} else {
		steps = append(steps, step(val.contacts))
	}
	steps = append(steps, step(val.scope), step(val.webURIs), func() error { return val.needed(claims, p) })

	return m, val.tr.Collect(steps...)
}

// withoutNulls returns the claims without those optional parameters that are
// null: some clients write every parameter, and null for those without a value.
// A parameter that the grant requires stays, so that its null is refused.
func (val *validation) withoutNulls(claims jose.Object, m *ClientMetadata) jose.Object {
	out := claims
	for _, p := range []struct {
		name  string
		check trace.Check
		must  bool
	}{
		{"redirect_uris", checkRedirects, m.interactive()},
		{"response_types", checkResponses, m.interactive()},
		{"logo_uri", checkLogo, m.interactive()},
		{"client_uri", checkURIs, false},
		{"tos_uri", checkURIs, false},
		{"policy_uri", checkURIs, false},
		{"jwks_uri", checkURIs, false},
	} {
		if p.must || claims[p.name].Kind() != 'n' {
			continue
		}

		if len(out) == len(claims) {
			out = maps.Clone(claims)
		}
		delete(out, p.name)
		val.tr.Warn(p.check, trace.Finding{
			Expected: "no " + p.name,
			Found:    claims.Show(p.name),
			Remedy:   "leave out what has no value: a stricter server refuses null",
		})
	}

	return out
}

func (val *validation) refuseMetadata(c trace.Check, expected, found, remedy string) error {
	return val.tr.Refuse(c, trace.InvalidClientMetadata, trace.Finding{
		Expected: expected,
		Found:    found,
		Remedy:   remedy,
	})
}

// interactive reports whether people take part: the authorization code grant.
func (m *ClientMetadata) interactive() bool {
	return slices.Contains(m.GrantTypes, "authorization_code")
}

func (val *validation) grantTypes(o jose.Object, m *ClientMetadata) error {
	const expected = `grant_types ["authorization_code"], ["authorization_code","refresh_token"] or ["client_credentials"]; [] cancels`
	grants, ok := o.List("grant_types")
	if !ok {
		return val.refuseMetadata(checkGrants, expected, o.Show("grant_types"), "")
	}
	if why := grantsWrong(grants); why != "" {
		return val.refuseMetadata(checkGrants, expected, trace.Cut(strings.Join(grants, " "), 200)+": "+why, "")
	}

	m.GrantTypes = grants
	val.tr.Pass(checkGrants, expected, "["+strings.Join(grants, " ")+"]")
	return nil
}

func grantsWrong(grants []string) string {
	code, cred := slices.Contains(grants, "authorization_code"), slices.Contains(grants, "client_credentials")
	for i, g := range grants {
		switch {
		case !slices.Contains([]string{"authorization_code", "client_credentials", "refresh_token"}, g):
			return fmt.Sprintf("%q is not a grant type of this guide", trace.Cut(g, 60))
		case slices.Contains(grants[:i], g):
			return fmt.Sprintf("%q stands twice", g)
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

func (val *validation) clientName(o jose.Object, m *ClientMetadata) error {
	expected := fmt.Sprintf("client_name as 1 to %d readable characters", maxClientName)
	name, ok := o.Text("client_name")
	switch {
	case !ok || strings.TrimSpace(name) == "":
		return val.refuseMetadata(checkName, expected, o.Show("client_name"), "")
	case utf8.RuneCountInString(name) > maxClientName:
		return val.refuseMetadata(checkName, expected, fmt.Sprintf("%d characters", utf8.RuneCountInString(name)), "")
	case strings.ContainsFunc(name, unicode.IsControl):
		return val.refuseMetadata(checkName, expected, "control characters in "+name, "")
	}

	m.ClientName = name
	if strings.ContainsFunc(name, func(r rune) bool { return unicode.Is(unicode.Cf, r) }) {
		val.tr.Warn(checkName, trace.Finding{
			Expected: expected,
			Found:    name,
			Remedy:   "it has invisible or direction-changing characters; it is always shown escaped",
		})
		return nil
	}

	val.tr.Pass(checkName, expected, name)
	return nil
}

func (val *validation) authMethod(o jose.Object, m *ClientMetadata) error {
	method, ok := o.Text("token_endpoint_auth_method")
	if !ok || method != "private_key_jwt" {
		return val.refuseMetadata(checkAuthMethod, "private_key_jwt", o.Show("token_endpoint_auth_method"), "")
	}
	m.TokenEndpointAuthMethod = method
	val.tr.Pass(checkAuthMethod, "private_key_jwt", method)
	return nil
}

func (val *validation) redirectURIs(o jose.Object, m *ClientMetadata, p Policy) error {
	if !m.interactive() {
		return val.leftOut(checkRedirects, o, "redirect_uris")
	}

	uris, ok := o.List("redirect_uris")
	if !ok || len(uris) == 0 || len(uris) > maxRedirectURIs {
		return val.refuseMetadata(checkRedirects,
			fmt.Sprintf("redirect_uris as an array of 1 to %d URLs", maxRedirectURIs), o.Show("redirect_uris"), "")
	}

	for i, u := range uris {
		err := checkRedirectURI(u, p.AllowLoopbackRedirect)
		if err == nil && slices.Contains(uris[:i], u) {
			err = fmt.Errorf("it stands twice")
		}
		if err != nil {
			return val.tr.Refuse(checkRedirects, trace.InvalidRedirectURI, trace.Finding{
				Expected: "https URLs, each once, without fragment, user information or wildcard",
				Found:    fmt.Sprintf("%q: %v", trace.Cut(u, 200), err),
				Err:      err,
			})
		}
	}

	m.RedirectURIs = uris
	val.tr.Pass(checkRedirects, "https URLs", strings.Join(uris, " "))
	return nil
}

// leftOut judges a parameter that has no place beside client_credentials.
func (val *validation) leftOut(c trace.Check, o jose.Object, name string) error {
	if o.Has(name) {
		return val.refuseMetadata(c, "no "+name+" with client_credentials", o.Show(name), "leave "+name+" out")
	}
	return nil
}

func (val *validation) responseTypes(o jose.Object, m *ClientMetadata) error {
	if !m.interactive() {
		return val.leftOut(checkResponses, o, "response_types")
	}
	types, ok := o.List("response_types")
	if !ok || !slices.Equal(types, []string{"code"}) {
		return val.refuseMetadata(checkResponses, `["code"]`, o.Show("response_types"), "")
	}
	m.ResponseTypes = types
	val.tr.Pass(checkResponses, `["code"]`, `["code"]`)
	return nil
}

func (val *validation) contacts(o jose.Object, m *ClientMetadata) error {
	expected := fmt.Sprintf("contacts as 1 to %d URIs, one of them mailto:", maxContacts)
	contacts, ok := o.List("contacts")
	if !ok || len(contacts) == 0 || len(contacts) > maxContacts {
		return val.refuseMetadata(checkContacts, expected, o.Show("contacts"), "")
	}

	mail := false
	for _, c := range contacts {
		isMail, err := checkContact(c)
		if err != nil {
			return val.refuseMetadata(checkContacts, expected, fmt.Sprintf("%q: %v", trace.Cut(c, 200), err),
				contactRemedy(c))
		}
		mail = mail || isMail
	}

	if !mail {
		return val.refuseMetadata(checkContacts, expected, strings.Join(contacts, " "), "add a mailto: address")
	}

	m.Contacts = contacts
	val.tr.Pass(checkContacts, expected, strings.Join(contacts, " "))
	return nil
}

func contactRemedy(c string) string {
	if checkMailbox(c) == nil {
		return "write mailto:" + c
	}
	return ""
}

func (val *validation) logo(o jose.Object, m *ClientMetadata) error {
	const expected = "logo_uri as an https URL of a PNG, JPG or GIF"
	if !o.Has("logo_uri") && !m.interactive() {
		return nil
	}

	logo, ok := o.Text("logo_uri")
	if !ok {
		return val.refuseMetadata(checkLogo, expected, o.Show("logo_uri"), "")
	}

	sure, err := checkLogoURI(logo)
	if err != nil {
		return val.refuseMetadata(checkLogo, expected, fmt.Sprintf("%q: %v", trace.Cut(logo, 200), err), "")
	}

	m.LogoURI = logo
	if !sure {
		val.tr.Warn(checkLogo, trace.Finding{
			Expected: expected,
			Found:    logo,
			Remedy:   "the path does not end in .png, .jpg or .gif; serve one of these",
		})
		return nil
	}

	val.tr.Pass(checkLogo, expected, logo)
	return nil
}

func (val *validation) scope(o jose.Object, m *ClientMetadata) error {
	const expected = "scope as a string of scopes with one space between"
	text, ok := o.Text("scope")
	if !ok {
		return val.refuseMetadata(checkScope, expected, o.Show("scope"), "")
	}

	scopes, err := splitScope(text)
	if err != nil {
		return val.refuseMetadata(checkScope, expected, err.Error(), "")
	}

	m.Scope = scopes
	val.tr.Pass(checkScope, expected, text)
	return nil
}

func (val *validation) webURIs(o jose.Object, m *ClientMetadata) error {
	for _, f := range []struct {
		name  string
		into  *string
		https bool
	}{
		{"client_uri", &m.ClientURI, false},
		{"tos_uri", &m.TosURI, false},
		{"policy_uri", &m.PolicyURI, false},
		{"jwks_uri", &m.JWKSURI, true},
	} {
		if !o.Has(f.name) {
			continue
		}

		text, ok := o.Text(f.name)
		if !ok {
			return val.refuseMetadata(checkURIs, f.name+" as a string", o.Show(f.name), "")
		}
		if err := checkWebURI(text, f.https); err != nil {
			return val.refuseMetadata(checkURIs, f.name+" as a web address",
				fmt.Sprintf("%q: %v", trace.Cut(text, 200), err),
				"")
		}

		*f.into = text
		val.tr.Pass(checkURIs, f.name+" as a web address", text)
	}

	return nil
}

func (val *validation) needed(o jose.Object, p Policy) error {
	if len(p.RequiredMetadata) == 0 {
		return nil
	}

	var missing []string
	for _, name := range p.RequiredMetadata {
		if !o.Has(name) {
			missing = append(missing, name+o.DidYouMean(name))
		}
	}

	if len(missing) > 0 {
		return val.refuseMetadata(checkNeeded, strings.Join(p.RequiredMetadata, ", "),
			"without "+strings.Join(missing, ", "), "the community demands them")
	}

	val.tr.Pass(checkNeeded, strings.Join(p.RequiredMetadata, ", "), "all there")
	return nil
}
