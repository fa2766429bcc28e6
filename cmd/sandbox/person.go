package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/client/forms"
	"fhirdest.example/udap/trace"
)

// personalScope is what an application for people asks for.
const personalScope = "openid fhirUser launch/patient patient/Patient.rs"

// errNoPeople is the error where a manifest has nobody who can sign in.
var errNoPeople = errors.New("the manifest has no users with a patient")

// visit is an application of the demonstration with a person in front of it.
type visit struct {
	*demo
	*party
	user    testbed.User
	found   *client.Discovery
	openid  *client.OpenID
	request client.Authorization
	person  forms.Person
}

// newVisit registers an application for people. With idp it names the manifest's
// identity provider.
func newVisit(ctx context.Context, d *demo, name string, idp bool) (*visit, error) {
	v := &visit{demo: d}
	for _, u := range d.manifest.Users {
		if u.Patient != "" && v.user.Patient == "" {
			v.user = u
		}
	}
	if v.user.Patient == "" {
		return nil, errNoPeople
	}
	v.person.Username, v.person.Password = v.user.Username, v.user.Password

	var err error
	if v.party, err = d.newParty(d.community(0), name, certs.P256); err != nil {
		return nil, err
	}
	if v.found, err = d.discover(ctx, v.client); err != nil {
		return nil, err
	}

	v.openid, err = v.client.OpenIDOf(ctx, v.found)
	d.keep(v.openid.Trace)
	if err != nil {
		return nil, err
	}

	v.request = client.Authorization{
		RedirectURI: v.uri + "/callback",
		Scope:       personalScope,
		State:       client.NewSecret(),
		Verifier:    client.NewSecret(),
		Nonce:       client.NewSecret(),
		Further:     url.Values{"aud": {d.manifest.PublicBase}},
	}
	if idp {
		v.request.Scope += " udap"
		v.request.Further.Set("idp", d.manifest.IDP)
	}
	return v, v.register(ctx)
}

func (v *visit) register(ctx context.Context) error {
	r := registration(v.request.Scope)
	r.GrantTypes = []string{"authorization_code"}
	r.RedirectURIs = []string{v.request.RedirectURI}
	r.LogoURI = "https://originator.example/logo.png"
	reg, err := v.client.Register(ctx, v.found, r)
	v.keep(reg.Trace)
	v.request.ClientID = reg.ClientID
	return err
}

// browser is the person's. What it sends to the destination's public URLs goes the way
// of the client's requests, and is in the originator's evidence.
func (v *visit) browser() (*forms.Browser, func(), error) {
	tr := v.transport()
	b, err := forms.New(tr, v.request.RedirectURI+"?")
	return b, tr.CloseIdleConnections, err
}

// signIn has the person sign in, agree, and come back; it returns the code.
func (v *visit) signIn(ctx context.Context) (string, error) {
	tr := trace.NewTrace("login", v.now())
	defer v.keep(tr)
	target, err := v.client.AuthorizationURL(v.found, v.request, tr)
	if err != nil {
		return "", err
	}

	b, closeAll, err := v.browser()
	if err != nil {
		return "", err
	}
	defer closeAll()

	query, err := v.person.Visit(ctx, b, target)
	if err != nil {
		return "", err
	}

	back, err := client.ReadRedirect(
		query,
		v.request.State,
		v.openid.Issuer,
		v.openid.AnnouncesIssuer,
		tr,
	)
	if err != nil {
		return "", err
	}
	if back.Refusal != nil {
		return "", fmt.Errorf(
			"the person came back with %s: %s",
			back.Refusal.Code,
			back.Refusal.Description,
		)
	}
	return back.Code, nil
}

// tokens exchanges the code, and verifies who the person is.
func (v *visit) tokens(ctx context.Context, code string) (*client.Token, error) {
	token, err := v.client.Exchange(ctx, v.found, client.CodeRequest{
		ClientID:    v.request.ClientID,
		Code:        code,
		RedirectURI: v.request.RedirectURI,
		Verifier:    v.request.Verifier,
		Scope:       v.request.Scope,
	})
	v.keep(token.Trace)
	if err != nil {
		return nil, err
	}

	tr := trace.NewTrace("id_token", v.now())
	id, err := v.client.VerifyIDToken(ctx, v.openid, token.IDToken, client.ExpectIDToken{
		ClientID: v.request.ClientID,
		Nonce:    v.request.Nonce,
		Access:   token.Access,
		MaxAge:   -1,
	}, tr)
	v.keep(tr)
	if err != nil {
		return nil, err
	}

	if got := id.Text("fhirUser"); got != v.manifest.PublicBase+"/"+v.user.FHIRUser {
		return nil, fmt.Errorf(
			"the ID token is about %q, not about %s",
			got,
			v.user.FHIRUser,
		)
	}
	return token, nil
}

// readOwn reads the person's record, finds the answer at both intermediaries, and is
// refused the record of somebody else.
func (v *visit) readOwn(ctx context.Context, token *client.Token) error {
	if got := "Patient/" + token.Text("patient"); got != v.user.Patient {
		return fmt.Errorf("the token is for %s, not for %s", got, v.user.Patient)
	}
	if _, err := v.get(ctx, v.client, v.user.Patient, token.Access); err != nil {
		return err
	}

	answer, err := v.lastAnswer()
	if err != nil {
		return err
	}
	if err := v.passed(ctx, answer, true); err != nil {
		return err
	}

	for _, u := range v.manifest.Users {
		if u.Patient == "" || u.Patient == v.user.Patient {
			continue
		}
		if _, err := v.get(ctx, v.client, u.Patient, token.Access); err == nil {
			return fmt.Errorf("the token of %s reads %s too", v.user.Patient, u.Patient)
		}
		return nil
	}
	return errNoPeople
}

// whole is a visit from its beginning to its end.
func whole(ctx context.Context, d *demo, name string, idp bool) (*visit, error) {
	v, err := newVisit(ctx, d, name, idp)
	if err != nil {
		return nil, err
	}
	defer v.client.Close()

	code, err := v.signIn(ctx)
	if err != nil {
		return nil, err
	}

	token, err := v.tokens(ctx, code)
	if err != nil {
		return nil, err
	}
	return v, v.readOwn(ctx, token)
}

func showPerson(ctx context.Context, d *demo) (string, error) {
	v, err := whole(ctx, d, "person", false)
	if err != nil {
		return "", err
	}
	hosts := strings.Join(v.person.Hosts, ", ")
	return fmt.Sprintf("%s signed in at %s, read %s", v.user.Username, hosts, v.user.Patient),
		nil
}

func showTiered(ctx context.Context, d *demo) (string, error) {
	if d.manifest.IDP == "" {
		return "", hidden{"the manifest names no identity provider"}
	}

	v, err := whole(ctx, d, "tiered", true)
	if err != nil {
		return "", err
	}
	if at := testbed.HostOf(d.manifest.IDP); len(v.person.Hosts) != 1 || v.person.Hosts[0] != at {
		return "", fmt.Errorf(
			"the password was asked for at %s, not at %s alone",
			strings.Join(v.person.Hosts, ", "),
			at,
		)
	}
	return fmt.Sprintf("%s signed in at %s, agreed at %s, read %s", v.user.Username, d.manifest.IDP,
		v.openid.Issuer, v.user.Patient), nil
}
