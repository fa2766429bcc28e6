package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/labclient"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/conform"
	labreport "fhirdest.example/udap/conform/report"
	"fhirdest.example/udap/trace"
)

// leastShown is how many requirements a good run of client_credentials shows.
const leastShown = 30

// ofAud is the requirement on aud of an authentication token: the mistake that the
// demonstration's bad client makes.
const ofAud = "S1-155"

// showExamined has two clients assessed, each in a session of the lab: one that makes
// no mistake, and one whose authentication token has another audience.
func showExamined(ctx context.Context, d *demo) (string, error) {
	if d.manifest.Lab == "" {
		return "", hidden{"the destination has no lab"}
	}

	good, err := examineVisitor(ctx, &visitor{
		demo: d,
		name: "good",
		aud:  func(found *client.Discovery) string { return found.Token },
	})
	if err != nil {
		return "", err
	}
	if red := good.With(conform.Violated); len(red) > 0 {
		return "", fmt.Errorf("the client that makes no mistake violates %s", rowsOf(red))
	}
	if good.Summary.Shown < leastShown {
		return "", fmt.Errorf("of the client that makes no mistake %d requirements are shown, expected %d",
			good.Summary.Shown, leastShown)
	}

	bad, err := examineVisitor(ctx, &visitor{
		demo: d,
		name: "bad",
		aud:  d.mistakenAud,
	})
	if err != nil {
		return "", err
	}
	red := bad.With(conform.Violated)
	if got := rowsOf(red); got != ofAud {
		return "", fmt.Errorf("the client with a wrong audience violates %s, expected %s", got, ofAud)
	}

	return fmt.Sprintf("%d requirements shown, none violated; with another aud: %s, %q", good.Summary.Shown, ofAud,
		red[0].Text), nil
}

func rowsOf(rows []conform.Outcome) string {
	if len(rows) == 0 {
		return "nothing"
	}

	var ids []string
	for _, o := range rows {
		ids = append(ids, o.Row)
	}
	slices.Sort(ids)
	return strings.Join(ids, ", ")
}

// visitor is a client that is assessed in a session of the lab.
type visitor struct {
	*demo
	name string
	aud  func(*client.Discovery) string // audience of its authentication token
}

// examineVisitor opens a session, runs a client there through the gateways, and returns the
// report.
func examineVisitor(ctx context.Context, v *visitor) (r *labreport.Report, err error) {
	transport := v.transport()
	defer transport.CloseIdleConnections()
	lab := labclient.Client{
		Root: v.manifest.Lab,
		HTTP: &http.Client{Transport: transport},
	}

	session, err := lab.Open(ctx, labclient.Opening{
		Name:    "demonstration, " + v.name,
		Profile: string(conform.SSRAA2),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lab.Close(ctx, session.ID)) }()

	if err := v.visit(ctx, session.Base); err != nil {
		return nil, fmt.Errorf("the %s client: %w", v.name, err)
	}
	return lab.Report(ctx, session.ID)
}

// visit is a run of a client at the base of a session: it ends with a read or, where
// the audience is not that of the token endpoint, with a refusal.
func (v *visitor) visit(ctx context.Context, base string) error {
	const scope = "system/Patient.rs"
	uri := "https://originator.example/" + v.run + "/lab/" + v.name
	id, err := v.mint(v.community(0), uri, certs.P256)
	if err != nil {
		return err
	}
	p := &party{
		uri:      uri,
		identity: id,
	}

	cfg := v.clientConfig(v.community(0), p, "public", "")
	cfg.Base = base
	if p.client, err = client.New(cfg); err != nil {
		return err
	}
	defer p.client.Close()

	found, err := v.discover(ctx, p.client)
	if err != nil {
		return err
	}
	reg, err := v.register(ctx, p.client, found, scope)
	if err != nil {
		return err
	}

	if other := v.aud(found); other != found.Token {
		return v.mistake(ctx, id, reg.ClientID, found.Token, other)
	}

	token, err := v.askToken(ctx, p.client, found, reg.ClientID, scope)
	if err != nil {
		return err
	}
	if _, err := v.get(ctx, p.client, "Patient?_count=1", token.Access); err != nil {
		return err
	}

	answer, err := v.lastAnswer()
	if err != nil {
		return err
	}
	return v.passed(ctx, answer, true)
}

// mistake asks for a token with an audience that is not that of the token endpoint.
func (v *visitor) mistake(
	ctx context.Context, id *certs.Identity, clientID trace.ClientID, endpoint, aud string,
) error {
	status, answer, err := v.askAs(ctx, id, tokenRequest{
		client:   clientID,
		endpoint: endpoint,
		aud:      aud,
	})
	if err == nil && status != http.StatusBadRequest {
		err = fmt.Errorf("the audience %s: expected 400, got %d %s", aud, status, answer)
	}
	return err
}
