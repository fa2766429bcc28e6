package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/gateway/complaint"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/trace"
)

// begin opens the originator and discovers the destination, which every
// command but get does first.
func (c *call) begin(ctx context.Context) (*client.Client, *client.Discovery, error) {
	c.out.result.Command = c.command
	cl, err := c.open()
	if err != nil {
		return nil, nil, err
	}

	d, err := cl.Discover(ctx)
	c.out.result.Discovery = d
	c.out.trace(d.Trace)
	return cl, d, err
}

func discover(ctx context.Context, c *call) error {
	cl, d, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()

	c.out.say("base          %s", c.Base)
	c.out.say("registration  %s", d.Registration)
	c.out.say("token         %s", d.Token)
	if d.Authorization != "" {
		c.out.say("authorization %s", d.Authorization)
	}
	c.out.say("grant types   %s", strings.Join(d.List("grant_types_supported"), " "))
	c.out.say("scopes        %s", strings.Join(d.List("scopes_supported"), " "))
	if err := c.keep(); err != nil {
		return err
	}

	return c.out.done()
}

func (c *call) keep() error {
	if err := c.session.save(c.options.session); err != nil {
		return complaint.New("the session could not be kept: "+err.Error(),
			"name another session file (-session)")
	}
	return nil
}

// post is what register and cancel have in common: do sends a software
// statement made of the command's parameters.
func (c *call) post(
	ctx context.Context, do func(*client.Client, context.Context, *client.Discovery,
		client.Registration) (*client.Registered, error),
) (*client.Registered, client.Registration, error) {
	reg, err := c.parameters()
	if err != nil {
		return nil, reg, err
	}

	cl, d, err := c.begin(ctx)
	if err != nil {
		return nil, reg, err
	}
	defer cl.Close()

	out, err := do(cl, ctx, d, reg)
	c.out.result.Outcome = out
	c.out.trace(out.Trace)
	return out, reg, err
}

func register(ctx context.Context, c *call) error {
	out, reg, err := c.post(ctx, (*client.Client).Register)
	if err != nil {
		return err
	}

	s := c.session
	s.ClientID, s.Scope, s.Name, s.Contacts = string(out.ClientID), out.Scope, reg.ClientName, reg.Contacts
	s.Grants, s.Redirects, s.Logo = reg.GrantTypes, reg.RedirectURIs, reg.LogoURI
	s.forgetTokens() // those of before may no longer have the scopes
	if err := c.keep(); err != nil {
		return err
	}

	c.out.say("client_id  %s (%s)", out.ClientID, map[bool]string{
		true:  "new",
		false: "changed",
	}[out.New])
	c.out.say("scope      %s", out.Scope)

	return c.out.done()
}

// parameters are the flags of register, else what the session has.
func (c *call) parameters() (client.Registration, error) {
	reg := client.Registration{
		ClientName:   c.name,
		Contacts:     c.contacts,
		Scope:        c.scope,
		GrantTypes:   c.grants,
		RedirectURIs: c.redirects,
		LogoURI:      c.logo,
		ClientURI:    c.page,
		TosURI:       c.tos,
		PolicyURI:    c.policy,
	}
	orElse(&reg.ClientName, c.session.Name)

	orElse(&reg.LogoURI, c.session.Logo)

	for _, list := range []struct{ now, old *[]string }{
		{&reg.Contacts, &c.session.Contacts},
		{&reg.GrantTypes, &c.session.Grants},
		{&reg.RedirectURIs, &c.session.Redirects},
	} {
		if len(*list.now) == 0 {
			*list.now = *list.old
		}
	}

	for _, file := range c.certifications {
		data, err := os.ReadFile(file)
		if err != nil {
			return reg, complaint.New(err.Error(), "-certification names a file with one compact JWT")
		}
		reg.Certifications = append(reg.Certifications, strings.TrimSpace(string(data)))
	}

	return reg, nil
}

func cancel(ctx context.Context, c *call) error {
	out, _, err := c.post(ctx, (*client.Client).Cancel)
	if err != nil {
		return err
	}

	c.session.forget()
	if err := c.keep(); err != nil {
		return err
	}

	c.out.say("cancelled  %s", out.ClientID)
	return c.out.done()
}

func token(ctx context.Context, c *call) error {
	switch {
	case c.session.ClientID == "":
		return complaint.New("there is no registration yet", "originator register comes first")
	case c.refresh:
		return c.refreshToken(ctx)
	case slices.Contains(c.session.Grants, "authorization_code"):
		return complaint.New("this client is registered for people",
			"originator login gets its first token, and originator token -refresh the next ones")
	}

	req, err := c.tokenRequest()
	if err != nil {
		return err
	}

	key, err := c.bindTokens()
	if err != nil {
		return err
	}

	cl, d, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()

	out, err := cl.Token(ctx, d, req)
	c.out.result.Outcome = out
	c.out.trace(out.Trace)
	if err != nil {
		return err
	}

	c.session.Token, c.session.Expires, c.session.DPoPKey = out.Access, out.Expires, key
	if err := c.keep(); err != nil {
		return err
	}

	c.out.say("token    kept in %s%s", c.options.session, until(out.Expires))
	c.out.say("scope    %s", out.Scope)
	return c.out.done()
}

// until describes how long a token lives, if the destination sent that.
func until(t time.Time) string {
	if t.IsZero() {
		return "; the destination did not say how long it lives"
	}
	return " until " + t.UTC().Format("15:04:05 MST")
}

// defaultPurpose is treatment, as HL7 codes it.
const defaultPurpose = "urn:oid:2.16.840.1.113883.5.8#TREAT"

func (c *call) tokenRequest() (client.TokenRequest, error) {
	req := client.TokenRequest{
		ClientID: trace.ClientID(c.session.ClientID),
		Scope:    c.scope,
	}
	orElse(&req.Scope, c.session.Scope)

	var err error
	if req.Extensions, err = c.extensionObjects(); err != nil || c.noB2B {
		return req, err
	}
	if c.Organization == "" {
		return req, complaint.New(
			"-organization is missing",
			"the URI of the organisation that asks, for example https://example.org/fhir/Organization/1; or -no-b2b",
		)
	}

	if len(c.purposes) == 0 {
		c.purposes = texts{defaultPurpose}
	}
	req.B2B = &client.B2B{
		OrganizationID:   c.Organization,
		OrganizationName: c.OrganizationName,
		PurposeOfUse:     c.purposes,
		SubjectName:      c.subjectName,
		SubjectID:        c.subjectID,
		SubjectRole:      c.subjectRole,
		ConsentPolicy:    c.consentPolicies,
		ConsentReference: c.consentRefs,
	}

	return req, nil
}

// extensionObjects reads the files that -extension names.
func (c *call) extensionObjects() (map[string]jsontext.Value, error) {
	var out map[string]jsontext.Value
	for _, e := range c.extensions {
		name, file, ok := strings.Cut(e, "=")
		data, err := os.ReadFile(file)
		if !ok || err != nil || !jsontext.Value(data).IsValid() {
			return nil, complaint.New(fmt.Sprintf("-extension %q: want NAME=FILE with a JSON object (%v)", e,
				err), "")
		}

		if out == nil {
			out = map[string]jsontext.Value{}
		}
		out[name] = data
	}

	return out, nil
}

func get(ctx context.Context, c *call) error {
	c.out.result.Command = c.command
	return c.ask(func(cl *client.Client) (*client.Read, error) {
		return client.Reader{
			Client: cl,
			Token: &client.Token{
				Access:  c.session.Token,
				Expires: c.session.Expires,
			},
		}.Get(ctx, c.args[0])
	})
}

// match asks the destination which patients a description most likely means.
func match(ctx context.Context, c *call) error {
	c.out.result.Command = c.command
	parameters, err := c.described()
	if err != nil {
		return err
	}
	return c.ask(func(cl *client.Client) (*client.Read, error) {
		return cl.Match(ctx, parameters, c.session.Token)
	})
}

// ask sends one request for data, and gives what was answered.
func (c *call) ask(send func(*client.Client) (*client.Read, error)) error {
	if err := c.useKey(); err != nil {
		return err
	}

	cl, err := c.open()
	if err != nil {
		return err
	}
	defer cl.Close()

	out, err := send(cl)
	c.out.result.Outcome = out
	c.out.trace(out.Trace)
	if err != nil {
		return err
	}
	if err := c.body(out.Reply); err != nil {
		return err
	}

	return c.out.done()
}

// described returns the Parameters of $match: those of the file, or made of the
// Patient in it and of the flags.
func (c *call) described() ([]byte, error) {
	data, err := os.ReadFile(c.args[0])
	if err != nil {
		return nil, complaint.New(err.Error(), "match names a file with a Patient, or with Parameters, in FHIR JSON")
	}

	var head struct {
		ResourceType string `json:"resourceType"`
	}
	err = json.Unmarshal(data, &head)
	if err != nil || head.ResourceType != "Patient" && head.ResourceType != "Parameters" {
		return nil, complaint.New(c.args[0]+" holds neither a Patient nor Parameters in FHIR JSON", "")
	}
	if head.ResourceType == "Parameters" {
		if c.certain || c.count != 0 {
			return nil, complaint.New("-certain and -count go with a Patient", "Parameters have their own")
		}
		return data, nil
	}

	body := `{"resourceType":"Parameters","parameter":[{"name":"resource","resource":` + string(data) + `}`
	if c.certain {
		body += `,{"name":"onlyCertainMatches","valueBoolean":true}`
	}
	if c.count != 0 {
		body += fmt.Sprintf(`,{"name":"count","valueInteger":%d}`, c.count)
	}
	return []byte(body + `]}`), nil
}

// body gives what was read: into a file, or on standard output.
func (c *call) body(r *client.Reply) error {
	switch {
	case c.output != "":
		if err := os.WriteFile(c.output, r.Body, 0o600); err != nil {
			return complaint.New(err.Error(), "-o names a file to write")
		}
	case c.json && jsontext.Value(r.Body).IsValid():
		c.out.result.Body = r.Body
	case !c.json:
		_, err := c.out.out.Write(append(r.Body[:len(r.Body):len(r.Body)], '\n'))
		return err
	}

	return nil
}
