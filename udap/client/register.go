package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"fhirdest.example/certs/netname"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// Registration are the parameters to register with.
type Registration struct {
	ClientName     string
	ClientURI      string // of the client's web page, not its identity
	LogoURI        string
	TosURI         string
	PolicyURI      string
	RedirectURIs   []string
	Contacts       []string
	GrantTypes     []string // empty: client_credentials
	Scope          string
	Certifications []string // compact JWTs, passed on as they are
}

// Registered is the outcome of a registration, a change of it or a cancellation.
type Registered struct {
	Trace     *trace.Trace    `json:"trace"`
	Reply     *Reply          `json:"reply,omitempty"`
	Refusal   *Refusal        `json:"refusal,omitempty"`
	ClientID  trace.ClientID  `json:"clientId,omitempty"`
	ClientURI trace.ClientURI `json:"clientUri,omitempty"`
	New       bool            `json:"new"` // 201: not a change of an earlier one
	Cancelled bool            `json:"cancelled"`
	Scope     string          `json:"scope,omitempty"`
}

// claims of a software statement (UDAP Security 2.0, registration 3.1).
type statementClaims struct {
	Iss           string   `json:"iss"`
	Sub           string   `json:"sub"`
	Aud           string   `json:"aud"`
	Exp           int64    `json:"exp"`
	Iat           int64    `json:"iat"`
	JTI           string   `json:"jti"`
	ClientName    string   `json:"client_name,omitempty"`
	ClientURI     string   `json:"client_uri,omitempty"`
	LogoURI       string   `json:"logo_uri,omitempty"`
	TosURI        string   `json:"tos_uri,omitempty"`
	PolicyURI     string   `json:"policy_uri,omitempty"`
	RedirectURIs  []string `json:"redirect_uris,omitempty"`
	Contacts      []string `json:"contacts,omitempty"`
	GrantTypes    []string `json:"grant_types"` // an empty array cancels
	ResponseTypes []string `json:"response_types,omitempty"`
	AuthMethod    string   `json:"token_endpoint_auth_method"`
	Scope         string   `json:"scope,omitempty"`
}

// registrationBody is what is posted.
type registrationBody struct {
	Statement      string   `json:"software_statement"`
	Certifications []string `json:"certifications,omitempty"`
	UDAP           string   `json:"udap"`
}

// Register registers this client, or changes its registration: the
// destination distinguishes the two by community and client URI.
func (c *Client) Register(ctx context.Context, d *Discovery, reg Registration) (*Registered, error) {
	if len(reg.GrantTypes) == 0 {
		reg.GrantTypes = []string{grantClientCredentials}
	}
	return c.post(ctx, d, "register", reg)
}

// Cancel ends the registration: grant_types is an empty array (UDAP DCR 6).
func (c *Client) Cancel(ctx context.Context, d *Discovery, reg Registration) (*Registered, error) {
	reg.GrantTypes, reg.RedirectURIs, reg.Certifications = []string{}, nil, nil
	return c.post(ctx, d, "cancel", reg)
}

const (
	grantClientCredentials = "client_credentials"
	grantCode              = "authorization_code"
	grantRefresh           = "refresh_token"
)

func (c *Client) post(ctx context.Context, d *Discovery, action string, reg Registration) (*Registered, error) {
	out := &Registered{Trace: trace.NewTrace(action, c.cfg.Now())}
	out.Trace.Community = c.cfg.Community
	body, err := c.statement(d, reg, out)
	if err != nil {
		return out, err
	}

	posted, err := json.Marshal(body)
	if err != nil {
		return out, stop(out.Trace, checkPosted, "a JSON body", err.Error(), "")
	}
	if out.Reply, err = c.postTo(ctx, out.Trace, d.Registration, "application/json", posted); err != nil {
		return out, err
	}

	return out, out.read(reg, body.Statement)
}

// statement makes the body to post; every rule it could break is checked first.
func (c *Client) statement(d *Discovery, reg Registration, out *Registered) (body *registrationBody, err error) {
	tr := out.Trace
	if err := verified(tr, d); err != nil {
		return nil, err
	}
	if out.ClientURI, err = c.identity(tr); err != nil {
		return nil, err
	}
	if err := checkParameters(tr, reg); err != nil {
		return nil, err
	}

	c.checkDemands(tr, reg)
	grant := ""
	if len(reg.GrantTypes) > 0 {
		grant = reg.GrantTypes[0]
	}
	if err := d.canUse(tr, grant, c.algorithm(),
		"registration_endpoint_jwt_signing_alg_values_supported"); err != nil {
		return nil, err
	}

	compact, err := c.sign(c.statementClaims(d, reg, string(out.ClientURI)))
	if err != nil {
		return nil, stop(tr, checkPosted, "a signature", err.Error(), "")
	}

	tr.Pass(checkPosted, "",
		fmt.Sprintf("%s to %s, signed with %s, %d certificates", tr.Action, d.Registration, c.algorithm(),
			len(c.cfg.Chain)))

	return &registrationBody{
		Statement:      compact,
		Certifications: reg.Certifications,
		UDAP:           "1",
	}, nil
}

// verified stops every workflow whose discovery did not end well (S2-07).
func verified(tr *trace.Trace, d *Discovery) error {
	if d == nil || !d.Verified {
		return stop(tr, checkSigned, "verified metadata", "none",
			"discover first; nothing is sent to a destination that was not verified")
	}
	return nil
}

func (c *Client) statementClaims(d *Discovery, reg Registration, uri string) statementClaims {
	now := c.cfg.Now()
	s := statementClaims{
		Iss:          uri,
		Sub:          uri,
		Aud:          d.Registration,
		Iat:          now.Unix(),
		Exp:          now.Add(statementLife).Unix(),
		JTI:          c.cfg.NewJTI(),
		ClientName:   reg.ClientName,
		ClientURI:    reg.ClientURI,
		LogoURI:      reg.LogoURI,
		TosURI:       reg.TosURI,
		PolicyURI:    reg.PolicyURI,
		RedirectURIs: reg.RedirectURIs,
		Contacts:     reg.Contacts,
		GrantTypes:   reg.GrantTypes,
		AuthMethod:   "private_key_jwt",
		Scope:        reg.Scope,
	}

	if slices.Contains(reg.GrantTypes, grantCode) {
		s.ResponseTypes = []string{"code"}
	}
	return s
}

func (c *Client) sign(claims any) (string, error) {
	data, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return udap.Sign(c.cfg.Key, c.cfg.Chain, c.cfg.Algorithm, data)
}

// checkParameters checks the rules for registration parameters (UDAP Security
// 2.0, registration 3.1) before anything is sent.
func checkParameters(tr *trace.Trace, reg Registration) error {
	for _, f := range parameterFaults(reg) {
		return stop(tr, checkStatement, f.expected, f.found, f.remedy)
	}
	tr.Pass(checkStatement, "", fmt.Sprintf("grant types %v, scope %q", reg.GrantTypes, reg.Scope))
	return nil
}

// checkDemands warns about metadata that this originator's profile of the
// community requires; the destination decides.
func (c *Client) checkDemands(tr *trace.Trace, reg Registration) {
	given := map[string]bool{
		"client_name": reg.ClientName != "", "client_uri": reg.ClientURI != "", "logo_uri": reg.LogoURI != "",
		"tos_uri":    reg.TosURI != "",
		"policy_uri": reg.PolicyURI != "", "contacts": len(reg.Contacts) > 0, "scope": reg.Scope != "",
	}

	var missing []string

	for _, m := range c.vouching() {
		for _, name := range m.Policy.RequiredMetadata {
			if !given[name] && !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
		}
	}

	switch {
	case len(reg.GrantTypes) == 0:
		tr.Skip(checkDemanded, "the registration is being cancelled")
	case len(missing) > 0:
		tr.Warn(checkDemanded, trace.Finding{
			Expected: strings.Join(missing, ", "),
			Found:    "none",
			Remedy:   "the community demands them: give them",
		})

	default:
		tr.Pass(checkDemanded, "", "")
	}
}

type parameterFault struct{ expected, found, remedy string }

func parameterFaults(reg Registration) []parameterFault {
	var out []parameterFault
	add := func(bad bool, expected, found, remedy string) {
		if bad {
			out = append(out, parameterFault{expected, found, remedy})
		}
	}
	add(reg.ClientName == "", "client_name", "none", "give the client a name")
	add(!slices.ContainsFunc(reg.Contacts, isMailto), "at least one mailto: URI in contacts",
		fmt.Sprint(reg.Contacts),
		"give a contact such as mailto:ops@client.example")
	if len(reg.GrantTypes) == 0 {
		return out
	}

	code, machine := slices.Contains(reg.GrantTypes, grantCode), slices.Contains(reg.GrantTypes,
		grantClientCredentials)
	add(code == machine, "either authorization_code or client_credentials", fmt.Sprint(reg.GrantTypes),
		"register twice under two URIs if both are needed")
	add(machine && slices.Contains(reg.GrantTypes, grantRefresh), "client_credentials alone",
		fmt.Sprint(reg.GrantTypes), "refresh_token goes with authorization_code only")
	add(machine && len(reg.RedirectURIs) > 0, "no redirect_uris for client_credentials",
		fmt.Sprint(reg.RedirectURIs),
		"")

	add(code && len(reg.RedirectURIs) == 0, "redirect_uris for authorization_code", "none", "give one")

	add(code && slices.ContainsFunc(reg.RedirectURIs, func(u string) bool {
		return !isHTTPS(u) && !isLoopback(u)
	}), "https redirect_uris, or http ones at a loopback address where the community allows them",
		fmt.Sprint(reg.RedirectURIs), "")
	add(code && !isLogo(reg.LogoURI), "an https logo_uri that ends in .png, .jpg, .jpeg or .gif",
		fmt.Sprintf("%q", reg.LogoURI), "give one")
	add(reg.Scope == "", "scope", "none", "say which scopes to register")

	return out
}

// isLoopback reports whether a redirect URI leads to the person's own machine (RFC
// 8252 7.3).
func isLoopback(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "http" && netname.Loopback(u.Hostname()) && u.Fragment == "" && u.User == nil
}

func isMailto(s string) bool {
	return strings.HasPrefix(s, "mailto:") && strings.Contains(s, "@")
}

func isLogo(text string) bool {
	u, err := url.Parse(text)
	if err != nil || !isHTTPS(text) {
		return false
	}
	path := strings.ToLower(u.Path)
	return slices.ContainsFunc([]string{".png", ".jpg", ".jpeg", ".gif"}, func(e string) bool {
		return strings.HasSuffix(path, e)
	})
}

// read checks the answer (UDAP Security 2.0, registration 3.2.3). statement is
// the software statement that was posted.
func (out *Registered) read(reg Registration, statement string) (err error) {
	tr, r := out.Trace, out.Reply
	if r.Status != http.StatusCreated && r.Status != http.StatusOK {
		out.Refusal, err = refused(tr, checkAccepted, r, "201 or 200")
		return err
	}

	tr.Pass(checkAccepted, "201 when new, 200 when changed", fmt.Sprint(r.Status))
	o, err := readObject(tr, r)
	if err != nil {
		return err
	}

	if _, ok := o["error"]; ok {
		out.Refusal, err = refused(tr, checkAccepted, r, "201 or 200, and no error")
		return err
	}

	out.ClientID = trace.ClientID(o.text("client_id"))
	if out.ClientID == "" {
		return stop(tr, checkClientID, "client_id", "none", "the destination's answer breaks RFC 7591 3.2.1")
	}

	tr.ClientID = out.ClientID
	tr.Pass(checkClientID, "", string(out.ClientID))
	out.New, out.Scope = r.Status == http.StatusCreated, o.text("scope")
	return out.compare(reg, statement, o)
}

// compare checks what was registered against what was asked for. The answer must
// hold every registered value (RFC 7591 3.2.1): one that was replaced ends the
// workflow, one that is missing is a warning.
func (out *Registered) compare(reg Registration, statement string, o object) error {
	grants, err := o.list("grant_types")
	out.Cancelled = len(reg.GrantTypes) == 0
	if out.Cancelled && (err != nil || len(grants) > 0) {
		out.Cancelled = false
		return stop(out.Trace, checkEcho, "an empty grant_types: cancelled", fmt.Sprint(grants),
			"the registration may still be in force")
	}
	if out.Cancelled {
		out.Trace.Pass(checkEcho, "", "grant_types is empty")
		return nil
	}

	var absent []string
	for _, v := range []struct {
		name  string
		asked any
		same  bool
	}{
		{"grant_types", reg.GrantTypes, sameSet(grants, reg.GrantTypes)},
		{
			"token_endpoint_auth_method",
			"private_key_jwt",
			o.text("token_endpoint_auth_method") == "private_key_jwt",
		},
		{
			"software_statement",
			"the one that was posted",
			o.text("software_statement") == statement,
		},
		{"redirect_uris", reg.RedirectURIs, len(reg.RedirectURIs) == 0 ||
			sameSet(o.listOrNil("redirect_uris"),
				reg.RedirectURIs)},
	} {
		_, there := o[v.name]
		if there && !v.same {
			return stop(out.Trace, checkEcho, fmt.Sprintf("%s %v", v.name, v.asked),
				trace.Cut(fmt.Sprintf("%s %s", v.name, o[v.name]), 200),
				"the destination registered something else: cancel it, and ask its operator")
		}
		if !there && (v.name != "redirect_uris" || len(reg.RedirectURIs) > 0) {
			absent = append(absent, v.name)
		}
	}

	return out.compareScope(reg, grants, absent)
}

// compareScope ends compare: fewer or more scopes than asked for, and members
// that the answer lacks, are warnings.
func (out *Registered) compareScope(reg Registration, grants, absent []string) error {
	missing, added := lacking(reg.Scope, out.Scope), lacking(out.Scope, reg.Scope)
	var remedies []string
	if len(missing) > 0 {
		remedies = append(remedies, "not registered: "+strings.Join(missing, " "))
	}
	if len(added) > 0 {
		remedies = append(remedies, "registered without being asked for: "+strings.Join(added, " "))
	}

	if len(absent) > 0 {
		remedies = append(remedies,
			"the answer does not repeat "+strings.Join(absent, ", ")+" (RFC 7591 3.2.1)")
	}

	if len(remedies) > 0 {
		out.Trace.Warn(checkEcho, trace.Finding{
			Expected: reg.Scope,
			Found:    out.Scope,
			Remedy:   strings.Join(remedies, "; "),
		})

		return nil
	}

	out.Trace.Pass(checkEcho, "", fmt.Sprintf("grant types %v, scope %q", grants, out.Scope))
	return nil
}

// sameSet reports whether two lists hold the same values, in any order.
func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

// lacking are the scopes of asked that given does not have.
func lacking(asked, given string) []string {
	have := strings.Fields(given)
	return slices.DeleteFunc(strings.Fields(asked), func(s string) bool {
		return slices.Contains(have, s)
	})
}
