package assess

import (
	"cmp"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// registering assesses registrations.
type registering struct{ *Assessor }

// The grants of UDAP Security.
const (
	codeGrant    = "authorization_code"
	clientGrant  = "client_credentials"
	refreshGrant = "refresh_token"
)

// registers assesses a registration request (UDAP Security 2.0, 3).
func (a registering) registers(r *request) {
	if r.Method != "POST" {
		return
	}

	discovering(a).uses(r, "registration_endpoint", "registration")
	if r.doc == nil {
		r.noStatement()
		return
	}

	r.shows("S1-069")
	if version, _ := r.body.Text("udap"); version != "1" {
		r.violates("S1-071", mistake{
			text:     `the registration has no udap with the value "1"`,
			expected: `"udap": "1"`,
			found:    r.body.Show("udap"),
			remedy:   `add "udap": "1", a string, beside software_statement`,
		})
	} else {
		r.shows("S1-071")
	}

	jwts(a).envelope(r)
	if r.doc.jws == nil {
		return
	}

	if r.forged() {
		return
	}
	a.statementClaims(r)
	r.supports("registration_endpoint_jwt_signing_alg_values_supported", algorithm(r.doc))
	if !r.doc.cancels() {
		applicant{r}.metadata()
	}
	r.certifications()
	a.registered(r)
}

// noStatement assesses a registration whose software_statement is not a string.
func (r *request) noStatement() {
	const member = "software_statement"
	if r.body.Has(member) && r.body.Kind(member) != "null" {
		r.violates("S1-003", mistake{
			text:     member + " is " + kindOf(r.body, member) + ", not a JWT",
			expected: "a string of three segments with dots between (RFC 7515 7.1)",
			found:    trace.Cut(r.body.Show(member), maxShown),
			remedy:   "sign the claims as a JWT, and send its compact serialization as a string",
		})
		return
	}

	text := "the registration has no software statement"
	if r.media() == form {
		text = "the registration is a form and not JSON, so there is no software statement"
	} else if r.body == nil && len(r.Request.Body) > 0 {
		text = "the body of the registration is not one JSON object, so there is no software statement"
	}

	r.violates("S1-071", mistake{
		text:     text,
		expected: `a JSON object with software_statement, udap "1" and perhaps certifications`,
		found:    bodyShown(r.body, r.Request.Body),
		remedy:   "POST it as application/json",
	})
}

// bodyShown describes a body that was no registration.
func bodyShown(o jose.Object, body []byte) string {
	switch {
	case len(body) == 0:
		return "an empty body"
	case o == nil:
		return "a body that is not one JSON object"
	}
	return "the members " + o.Names()
}

// statementClaims assesses who, for whom and when.
func (a registering) statementClaims(r *request) {
	d := r.doc
	iss := d.text("iss")
	switch names := d.names(); {
	case !d.has("iss"):
		r.violates("S1-075", mistake{
			text:     "the statement has no iss",
			expected: "iss, the client URI",
			found:    "no iss",
			remedy:   "add the client URI as iss",
		})
	case len(names) > 0 && !slices.Contains(names, iss):
		r.violates("S1-075", mistake{
			text:     "iss of the statement is no URI of the certificate",
			expected: "one of " + strings.Join(names, " "),
			found:    quote(iss),
			remedy:   nearly(iss, names),
		})
	default:
		r.shows("S1-075")
	}

	if sub := d.text("sub"); sub == "" || sub != iss && r.found("S1-075") == nil {
		r.violates("S1-076", mistake{
			text:     "sub of the statement is not iss",
			expected: quote(iss),
			found:    d.shown("sub"),
			remedy:   "sub and iss are both the client URI",
		})
	} else if sub == iss {
		r.shows("S1-076")
	}

	of := jwts(a)
	of.audience(r, "S1-077", "registration")
	of.times(r, timeRows{
		exp:      "S1-078",
		expired:  "S1-078",
		iat:      "S1-080",
		lifetime: "S1-079",
		check:    "statement",
	})
	of.identifier(r, "S1-081", "S1-082")
}

// nearly describes the difference of a name to the one that it may have meant.
func nearly(got string, names []string) string {
	for _, n := range names {
		switch {
		case strings.TrimSuffix(n, "/") == strings.TrimSuffix(got, "/"):
			return "they differ by the slash at the end; names are compared byte for byte"
		case strings.EqualFold(n, got):
			return "they differ by capital letters; names are compared byte for byte"
		}
	}
	return "send a URI of the certificate's Subject Alternative Name, byte for byte"
}

// applicant assesses what a client registers.
type applicant struct{ *request }

// metadata assesses the client metadata of a statement (UDAP Security 2.0, 3.1).
func (r applicant) metadata() {
	d := r.doc
	r.present("S1-083", "client_name", strings.TrimSpace(d.text("client_name")) != "", "a readable name")
	r.present("S1-096", "token_endpoint_auth_method", d.text("token_endpoint_auth_method") == "private_key_jwt",
		`"private_key_jwt"`)

	scope := d.text("scope")
	plain := scope != "" && strings.Join(words(scope), " ") == scope && !separatedByCommas(scope)
	r.present("S1-097", "scope", plain, "scopes with one space between")

	r.contacts()
	interactive, ok := r.grantTypes()
	if !ok {
		return
	}
	r.redirects(interactive)
	r.responses(interactive)
	r.logo(interactive)
	r.scopes(interactive, scope)
}

// present records whether a member of a statement is as it must be.
func (r applicant) present(row, member string, ok bool, expected string) {
	switch {
	case ok:
		r.shows(row)
	case !r.doc.has(member):
		r.violates(row, mistake{
			text:     "the statement has no " + member,
			expected: expected,
			found:    "no " + member,
			remedy:   r.meant(member),
		})
	default:
		r.violates(row, mistake{
			text:     r.amiss(member),
			expected: expected,
			found:    r.doc.shown(member),
		})
	}
}

// amiss describes what is wrong with a member that is not as it must be.
func (r applicant) amiss(member string) string {
	claims := r.doc.jws.Claims
	if member == "contacts" || member == "redirect_uris" {
		return cmp.Or(notList(claims, member), member+" has an element that is not a URI")
	}

	value, ok := claims.Text(member)
	switch {
	case !ok:
		return member + " is " + kindOf(claims, member) + ", not a string"
	case strings.TrimSpace(value) == "":
		return member + " is empty"
	case member == "scope" && separatedByCommas(value):
		return "scope has commas between its scopes, not spaces"
	case member == "scope":
		return "scope has more than single spaces between its scopes"
	}
	return member + " is " + quote(value)
}

// separatedByCommas reports whether a comma ends each scope of a list but the last.
func separatedByCommas(scope string) bool {
	_, rest, found := strings.Cut(scope, ",")
	level, _, more := strings.Cut(strings.TrimSpace(rest), "/")
	return found && more && slices.Contains([]string{"system", "user", "patient"}, level)
}

// meant returns a hint at a misspelt member.
func (r applicant) meant(member string) string {
	if other := r.doc.jws.Claims.DidYouMean(member); other != "" {
		return other
	}
	return "add " + member
}

// grantTypes assesses grant_types, and reports whether the code flow is among
// them, and whether it is clear which flow is meant.
func (r applicant) grantTypes() (interactive, clear bool) {
	const expected = "authorization_code or client_credentials and not both; refresh_token with the first only"
	grants, ok := r.doc.list("grant_types")
	codes := slices.Contains(grants, codeGrant)
	machine := slices.Contains(grants, clientGrant)
	refresh := slices.Contains(grants, refreshGrant)
	var text string

	switch {
	case !r.doc.has("grant_types"):
		text = "the statement has no grant_types"
	case !ok:
		text = "grant_types is not an array of strings"
	case codes && machine:
		text = "grant_types has both authorization_code and client_credentials"
	case !codes && !machine:
		text = "grant_types has neither authorization_code nor client_credentials"
	case refresh && !codes:
		text = "grant_types has refresh_token without authorization_code"
	}

	if text != "" {
		r.violates("S1-092", mistake{
			text:     text,
			expected: expected,
			found:    r.doc.shown("grant_types"),
			remedy:   "register each flow under a client URI of its own",
		})
		return codes, false
	}

	r.shows("S1-092")
	for _, g := range grants {
		r.supports("grant_types_supported", g)
	}
	return codes, true
}

func (r applicant) contacts() {
	list, ok := r.doc.list("contacts")
	all := ok && len(list) > 0
	mail := false
	for _, c := range list {
		u, err := url.Parse(c)
		all = all && err == nil && u.Scheme != ""
		mail = mail || err == nil && u.Scheme == "mailto" && strings.Contains(u.Opaque, "@")
	}

	r.present("S1-086", "contacts", all, `an array of URIs, such as ["mailto:help@example.org"]`)
	if all && !mail {
		r.violates("S1-087", mistake{
			text:     "none of the contacts is an e-mail address as a mailto URI",
			expected: "one mailto URI",
			found:    r.doc.shown("contacts"),
			remedy:   `write an address as "mailto:help@example.org"`,
		})
	} else if all {
		r.shows("S1-087")
	}
}

func (r applicant) redirects(interactive bool) {
	list, ok := r.doc.list("redirect_uris")
	switch {
	case interactive && (!ok || len(list) == 0):
		r.present("S1-084", "redirect_uris", false, "one or more redirection URIs, for authorization_code")
	case interactive:
		r.shows("S1-084")
		r.redirectSchemes(list)
	case r.doc.has("redirect_uris"):
		r.violates("S1-085", mistake{
			text:     "redirect_uris are present without authorization_code",
			expected: "no redirect_uris",
			found:    r.doc.shown("redirect_uris"),
			remedy:   "leave redirect_uris out: this grant redirects nobody",
		})
	default:
		r.shows("S1-085")
	}
}

func (r applicant) redirectSchemes(list []string) {
	for _, s := range list {
		if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Host == "" || u.Fragment != "" {
			r.violates("S2-11", mistake{
				text:     "a redirection URI is not a plain https URL",
				expected: "https URLs without a fragment",
				found:    quote(s),
				remedy:   "register an https URL",
			})
			return
		}
	}
	r.shows("S2-11")
}

func (r applicant) responses(interactive bool) {
	list, ok := r.doc.list("response_types")
	switch {
	case interactive && !r.doc.has("response_types"):
		r.present("S1-093", "response_types", false, `["code"]`)
	case interactive && (!ok || len(list) != 1 || list[0] != "code"):
		r.shows("S1-093")
		r.violates("S1-094", mistake{
			text:     `response_types is not ["code"]`,
			expected: `["code"]`,
			found:    r.doc.shown("response_types"),
		})
	case interactive:
		r.shows("S1-093", "S1-094")
	case r.doc.has("response_types"):
		r.violates("S1-095", mistake{
			text:     "response_types is present without authorization_code",
			expected: "no response_types",
			found:    r.doc.shown("response_types"),
			remedy:   "leave response_types out",
		})
	default:
		r.shows("S1-095")
	}
}

func (r applicant) logo(interactive bool) {
	if !r.doc.has("logo_uri") {
		if interactive {
			r.present("S1-088", "logo_uri", false, "an https URL of a PNG, JPG or GIF")
		}
		return
	}

	if interactive {
		r.shows("S1-088")
	}
	logo := r.doc.text("logo_uri")
	u, err := url.Parse(logo)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		r.violates("S1-090", mistake{
			text:     "logo_uri is not an https URL",
			expected: "an https URL",
			found:    quote(logo),
		})
		return
	}

	r.shows("S1-090")
	switch strings.ToLower(path.Ext(u.Path)) {
	case ".png", ".jpg", ".jpeg", ".gif":
		r.shows("S1-091")
	case "":
		r.warns("S1-091",
			"logo_uri has no file extension, so it is not known whether it leads to a PNG, JPG or GIF",
			"serve one of these, and end the path in .png, .jpg or .gif")
	default:
		r.violates("S1-091", mistake{
			text:     "logo_uri does not name a PNG, JPG or GIF",
			expected: "a path that ends in .png, .jpg or .gif",
			found:    quote(logo),
		})
	}
}

// scopes assesses which kind of scope a client asks for (UDAP Security 1.0, 3.1).
func (r applicant) scopes(interactive bool, scope string) {
	system, people := 0, 0
	for _, s := range words(scope) {
		switch {
		case strings.HasPrefix(s, "system/"):
			system++
		case strings.HasPrefix(s, "user/"), strings.HasPrefix(s, "patient/"):
			people++
		}
	}

	switch {
	case system+people == 0:
	case interactive && people == 0:
		r.violates(r.scopeRow("S1-100"), mistake{
			text:     "a client of authorization_code asks for system scopes alone",
			expected: "user or patient scopes",
			found:    trace.Cut(scope, maxShown),
		})
	case interactive:
		r.shows("S1-100")
	case system == 0:
		r.violates(r.scopeRow("S1-099"), mistake{
			text:     "a client of client_credentials asks for no system scope",
			expected: "system scopes",
			found:    trace.Cut(scope, maxShown),
		})
	case slices.ContainsFunc(words(scope), personal):
		r.warns("S1-099",
			"a client of client_credentials asks for a scope about a person who signs in, and nobody does",
			"leave out openid, fhirUser, launch and offline_access")
	default:
		r.shows("S1-099")
	}
}

// personal reports whether a scope is about a person who signs in.
func personal(scope string) bool {
	return slices.Contains([]string{"openid", "fhirUser", "profile", "offline_access", "online_access"}, scope) ||
		scope == "launch" || strings.HasPrefix(scope, "launch/")
}

// scopeRow returns row, or C-13 where the destination refused the scopes: then it is
// more than a recommendation that is not kept.
func (r applicant) scopeRow(row string) string {
	if r.refused("register.scope") {
		return "C-13"
	}
	return row
}

// certifications assesses that none are sent where none are supported.
func (r *request) certifications() {
	m := r.lane.announced
	if m == nil || !m.whole {
		return
	}

	list, ok := m.plain.List("udap_certifications_supported")
	switch {
	case !ok || len(list) > 0:
	case r.body.Has("certifications") && r.body.Show("certifications") != "[]":
		r.violates("S1-020", mistake{
			text:     "certifications were sent, and udap_certifications_supported is an empty array",
			expected: "no certifications",
			found:    "certifications in the request",
			remedy:   "read an empty array as: not supported",
		})
	default:
		r.shows("S1-020")
	}
}

// registered takes note of what a registration led to.
func (a registering) registered(r *request) {
	if !r.succeeded() {
		r.cancelledAgain()
		return
	}

	id, _ := r.answer.Text("client_id")
	grants, isList := r.answer.List("grant_types")
	if id == "" || !isList {
		return
	}

	l := r.lane
	if len(grants) == 0 {
		a.cancelled(r, id)
		return
	}

	a.unique(r, grants)
	granted, _ := r.answer.Text("scope")
	now := &registration{
		lane:     l,
		scopes:   words(granted),
		uri:      trace.ClientURI(trace.Cut(r.doc.text("iss"), maxURL)),
		grants:   grants,
		metadata: digestOf(r.doc),
	}
	l.last, l.ended = now, nil
	a.clients.set(digest(id), now)
	a.byKey.set("id "+digest(id), l)
	a.byKey.set(enrolledAt(r.Address), l)
	if len(l.ClientIDs) < maxIDs && !slices.Contains(l.ClientIDs, trace.ClientID(id)) {
		l.ClientIDs = append(l.ClientIDs, trace.ClientID(id))
	}
}

// cancelled takes note of a registration that the answer says is cancelled.
func (a registering) cancelled(r *request, id string) {
	ended, ok := a.clients.get(digest(id))
	if !ok {
		ended = &registration{lane: r.lane}
		a.clients.set(digest(id), ended)
	}
	ended.cancelled, ended.confirmed = r.N, r.Answered
	r.lane.last, r.lane.ended = nil, ended
	r.shows("S1-123")
}

// cancelledAgain assesses a cancellation that came after the answer that the
// registration is cancelled.
func (r *request) cancelledAgain() {
	ended := r.lane.ended
	if ended == nil || !r.refused("register.cancel") || !r.Received.After(ended.confirmed) {
		return
	}

	r.violates("S1-123", mistake{
		text:     "the registration is cancelled again, after the answer that it is cancelled",
		expected: "no second cancellation",
		found:    fmt.Sprintf("cancelled in exchange %d", ended.cancelled),
		remedy:   "read empty grant_types in the answer as: the registration is cancelled",
	})
}

// unique assesses a registration beside the one that it replaces.
func (a registering) unique(r *request, grants []string) {
	old := r.lane.last
	if old == nil || string(old.uri) != r.doc.text("iss") {
		r.shows("S1-102")
		return
	}

	was, is := slices.Contains(old.grants, codeGrant), slices.Contains(grants, codeGrant)
	switch {
	case was != is:
		r.violates("S1-102", mistake{
			text:     "the same client URI registered for another flow, which replaced the first registration",
			expected: "one client URI for each application and flow",
			found:    strings.Join(grants, " "),
			remedy:   "give each flow a URI of its own; a certificate may have several",
		})
	case old.metadata == digestOf(r.doc):
		r.violates("C-09", mistake{
			text:     "the client registered again with the same metadata, although it is registered",
			expected: "one registration, kept",
			found:    "another one",
			remedy:   "keep the client_id and use it",
		})
	default:
		r.shows("S1-102", "C-09")
	}
}
