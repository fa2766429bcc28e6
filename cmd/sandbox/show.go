package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/authority"
	"fhirdest.example/cmd/internal/supervise"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/trace"
)

// fullScope is what the demonstration's client registers.
const fullScope = "system/Patient.rs system/Observation.rs"

var errNeedsToken = errors.New("there is no token: an earlier claim failed")

func (d *originator) community(i int) testbed.Community {
	return d.manifest.Communities[i]
}

func showDiscovery(ctx context.Context, d *demo) (string, error) {
	p, err := d.newParty(d.community(0), "app", certs.RSA2048)
	if err != nil {
		return "", err
	}

	found, err := d.discover(ctx, p.client)
	if err != nil {
		return "", err
	}

	d.main = p
	d.discovery = found
	return fmt.Sprintf("%d checks, community %s", len(found.Trace.Steps), d.community(0).URI), nil
}

func showRegistered(ctx context.Context, d *demo) (string, error) {
	if d.discovery == nil {
		return "", errors.New("nothing was discovered: an earlier claim failed")
	}

	reg, err := d.register(ctx, d.main.client, d.discovery, fullScope)
	if err != nil {
		return "", err
	}
	if !reg.New {
		return "", fmt.Errorf("the destination knew %s already", d.main.uri)
	}

	d.registered = reg
	return fmt.Sprintf("201, client_id %s", reg.ClientID), nil
}

func showToken(ctx context.Context, d *demo) (string, error) {
	if d.registered == nil {
		return "", errors.New("nothing is registered: an earlier claim failed")
	}

	t, err := d.askToken(ctx, d.main.client, d.discovery, d.registered.ClientID, fullScope)
	if err != nil {
		return "", err
	}

	d.token = t
	return fmt.Sprintf("scope %s, for %s", t.Scope, t.Expires.Sub(d.now()).Round(time.Minute)), nil
}

// showData reads a patient and searches for observations, and finds the read
// in the evidence of both intermediaries.
func showData(ctx context.Context, d *demo) (string, error) {
	if d.token == nil {
		return "", errNeedsToken
	}

	id, err := d.firstPatient(ctx, d.main.client)
	if err != nil {
		return "", err
	}

	d.patient = id
	if err := d.readPatient(ctx, d.main.client, d.token.Access); err != nil {
		return "", err
	}

	n, err := d.search(
		ctx,
		d.main.client,
		"Observation?patient="+id+"&category=vital-signs",
	)
	if err != nil {
		return "", err
	}
	if n == 0 {
		return "", fmt.Errorf("no vital signs of %s", id)
	}

	answer, err := d.lastAnswer()
	if err != nil {
		return "", err
	}
	if err := d.passed(ctx, answer, true); err != nil {
		return "", err
	}

	return fmt.Sprintf("Patient/%s, %d vital signs", id, n), nil
}

// bundle is what the demonstration reads of a searchset.
type bundle struct {
	ResourceType string `json:"resourceType"`
	Entry        []struct {
		FullURL  string `json:"fullUrl"`
		Resource struct {
			ResourceType string `json:"resourceType"`
			ID           string `json:"id"`
		} `json:"resource"`
	} `json:"entry"`
}

func (d *demo) firstPatient(ctx context.Context, c *client.Client) (string, error) {
	b, err := d.bundle(ctx, c, "Patient?_count=1")
	if err != nil {
		return "", err
	}
	if len(b.Entry) == 0 || b.Entry[0].Resource.ResourceType != "Patient" {
		return "", errors.New("the destination has no patient")
	}
	return b.Entry[0].Resource.ID, nil
}

func (d *demo) search(ctx context.Context, c *client.Client, path string) (int, error) {
	b, err := d.bundle(ctx, c, path)
	if err != nil {
		return 0, err
	}
	return len(b.Entry), nil
}

// bundle searches, and holds every fullUrl to the public base (exchange
// routing, ER-02).
func (d *demo) bundle(ctx context.Context, c *client.Client, path string) (*bundle, error) {
	r, err := d.get(ctx, c, path, d.token.Access)
	if err != nil {
		return nil, err
	}

	b := &bundle{}
	if err := json.Unmarshal(r.Reply.Body, b); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if b.ResourceType != "Bundle" {
		return nil, fmt.Errorf("%s: the answer is a %q", path, b.ResourceType)
	}

	for _, e := range b.Entry {
		if !strings.HasPrefix(e.FullURL, d.manifest.PublicBase+"/") {
			return nil, fmt.Errorf(
				"%s: fullUrl %s is not under the public base",
				path,
				e.FullURL,
			)
		}
	}

	return b, nil
}

func (d *demo) readPatient(ctx context.Context, c *client.Client, token string) error {
	r, err := d.get(ctx, c, "Patient/"+d.patient, token)
	if err != nil {
		return err
	}

	var got struct {
		ResourceType string `json:"resourceType"`
		ID           string `json:"id"`
	}
	if err := json.Unmarshal(r.Reply.Body, &got); err != nil {
		return err
	}
	if got.ResourceType != "Patient" || got.ID != d.patient {
		return fmt.Errorf(
			"asked for Patient/%s, got %s/%s",
			d.patient,
			got.ResourceType,
			got.ID,
		)
	}

	if d.body == nil {
		d.body = r.Reply.Body
	}
	return nil
}

func showStraight(ctx context.Context, d *demo) (string, error) {
	if d.token == nil || d.patient == "" {
		return "", errNeedsToken
	}

	c, err := d.newClient(d.community(0), d.main, "private", "")
	if err != nil {
		return "", err
	}
	defer c.Close()

	found, err := d.discover(ctx, c)
	if err != nil {
		return "", err
	}

	t, err := d.askToken(ctx, c, found, d.registered.ClientID, fullScope)
	if err != nil {
		return "", err
	}

	answer, err := d.lastAnswer() // a token is like no other answer; a read may be
	if err != nil {
		return "", err
	}
	if err := d.readPatient(ctx, c, t.Access); err != nil {
		return "", err
	}
	if err := d.readPatient(ctx, c, d.token.Access); err != nil {
		return "", fmt.Errorf("with the token that came through the gateways: %w", err)
	}
	if err := d.passed(ctx, answer, false); err != nil {
		return "", err
	}

	return "discovery, token and read at " + d.manifest.Addresses["private"], nil
}

func showReplaced(ctx context.Context, d *demo) (string, error) {
	if d.token == nil || d.patient == "" {
		return "", errNeedsToken
	}

	public := supervise.Dialable(d.manifest.Addresses["public"])
	before, err := d.gatewayKey(ctx, public)
	if err != nil {
		return "", err
	}

	d.main.client.Close()
	dial, err := d.replaceGateway(ctx)
	if err != nil {
		return "", err
	}

	after, err := d.gatewayKey(ctx, cmp.Or(dial, public))
	if err != nil {
		return "", err
	}
	if before == after {
		return "", errors.New("the gateway has the same key as before")
	}
	if d.main.client, err = d.newClient(d.community(0), d.main, "public", dial); err != nil {
		return "", err
	}
	if err := d.readPatient(ctx, d.main.client, d.token.Access); err != nil {
		return "", fmt.Errorf("with the token from before: %w", err)
	}

	t, err := d.askToken(ctx, d.main.client, d.discovery, d.registered.ClientID, fullScope)
	if err != nil {
		return "", err
	}
	if err := d.readPatient(ctx, d.main.client, t.Access); err != nil {
		return "", err
	}

	return fmt.Sprintf("key %s is now %s", before, after), nil
}

// showChange drops a scope, sees that it counts, and cancels.
func showChange(ctx context.Context, d *demo) (string, error) {
	if d.registered == nil {
		return "", errors.New("nothing is registered: an earlier claim failed")
	}

	c := d.main.client
	changed, err := d.register(ctx, c, d.discovery, "system/Patient.rs")
	if err != nil {
		return "", err
	}
	if changed.New || changed.ClientID != d.registered.ClientID {
		return "", fmt.Errorf("the change made another registration: client_id %s, was %s", changed.ClientID,
			d.registered.ClientID)
	}
	if strings.Contains(changed.Scope, "Observation") {
		return "", fmt.Errorf("the scope given up is still there: %s", changed.Scope)
	}
	if _, err := d.askToken(ctx, c, d.discovery, changed.ClientID, "system/Observation.rs"); err == nil {
		return "", errors.New("a token was given for the scope given up")
	}

	gone, err := d.cancel(ctx, c, d.discovery)
	if err != nil {
		return "", err
	}
	if !gone.Cancelled {
		return "", errors.New("the destination did not confirm the cancellation")
	}

	t, err := d.askToken(ctx, c, d.discovery, changed.ClientID, "system/Patient.rs")
	if err == nil {
		return "", fmt.Errorf("a cancelled client got a token for %s", t.Scope)
	}
	return "200 with the same client_id; cancelled; then " + code(err), nil
}

// showCommunities lets a member of the second community use the URI of a
// member of the first: it gets a registration of its own and can do nothing to
// the other's.
func showCommunities(ctx context.Context, d *demo) (string, error) {
	ours, err := d.newParty(d.community(0), "shared", certs.P256)
	if err != nil {
		return "", err
	}

	theirs, err := d.partyFor(d.community(1), ours.uri, certs.RSA2048)
	if err != nil {
		return "", err
	}
	defer ours.client.Close()
	defer theirs.client.Close()

	a, b, err := d.registerBoth(ctx, ours, theirs)
	if err != nil {
		return "", err
	}

	refusal, err := d.notTheirs(ctx, theirs, b.found, a.reg.ClientID)
	if err != nil {
		return "", err
	}
	if _, err := d.cancel(ctx, theirs.client, b.found); err != nil {
		return "", fmt.Errorf("the other could not cancel its own registration: %w", err)
	}
	if _, err := d.askToken(ctx, ours.client, a.found, a.reg.ClientID, "system/Patient.rs"); err != nil {
		return "", fmt.Errorf(
			"after the other community's change and cancel our client gets no token: %w",
			err,
		)
	}

	again, err := d.register(ctx, ours.client, a.found, "system/Patient.rs")
	if err != nil {
		return "", err
	}
	if again.New || again.ClientID != a.reg.ClientID {
		return "", errors.New("our registration is another one now")
	}

	_, err = d.cancel(ctx, ours.client, a.found)
	return "own client_id for each; the other's assertion for ours: " + refusal, err
}

// joined is a party's discovery and registration.
type joined struct {
	found *client.Discovery
	reg   *client.Registered
}

func (d *demo) registerBoth(
	ctx context.Context, ours, theirs *party,
) (a, b joined, err error) {
	if a, err = d.join(ctx, ours); err != nil {
		return a, b, err
	}
	if b, err = d.join(ctx, theirs); err != nil {
		return a, b, fmt.Errorf("in the other community: %w", err)
	}
	if !a.reg.New || !b.reg.New || a.reg.ClientID == b.reg.ClientID {
		return a, b, fmt.Errorf("the other community's certificate reached our registration: client_id %s and %s",
			a.reg.ClientID, b.reg.ClientID)
	}

	return a, b, nil
}

func (d *demo) join(ctx context.Context, p *party) (j joined, err error) {
	if j.found, err = d.discover(ctx, p.client); err != nil {
		return j, err
	}
	j.reg, err = d.register(ctx, p.client, j.found, "system/Patient.rs")
	return j, err
}

// notTheirs asks for a token of our registration with the other's certificate.
func (d *demo) notTheirs(
	ctx context.Context, theirs *party, found *client.Discovery, id trace.ClientID,
) (string, error) {
	_, err := d.askToken(ctx, theirs.client, found, id, "system/Patient.rs")
	if err == nil {
		return "", errors.New("the other community's certificate got a token of our registration")
	}
	if got := code(err); got != string(trace.InvalidClient) {
		return "", fmt.Errorf("expected invalid_client, got %s", got)
	}

	return string(trace.InvalidClient), nil
}

// showRevoked registers, revokes, and waits until the list counts.
func showRevoked(ctx context.Context, d *demo) (string, error) {
	c := d.community(0)
	p, err := d.newParty(c, "revoked", certs.P256)
	if err != nil {
		return "", err
	}
	defer p.client.Close()

	j, err := d.join(ctx, p)
	if err != nil {
		return "", fmt.Errorf("before it was revoked: %w", err)
	}
	if err := d.revoke(c, p.identity); err != nil {
		return "", err
	}

	start := d.now()
	registering, err := d.untilRefused(ctx, func() error {
		_, err := d.register(ctx, p.client, j.found, "system/Patient.rs")
		return err
	})
	if err != nil {
		return "", err
	}

	took := d.now().Sub(start).Round(100 * time.Millisecond)
	if registering != string(trace.UnapprovedSoftwareStatement) {
		return "", fmt.Errorf(
			"registration: expected unapproved_software_statement, got %s",
			registering,
		)
	}

	_, err = d.askToken(ctx, p.client, j.found, j.reg.ClientID, "system/Patient.rs")
	if code(err) != string(trace.InvalidClient) {
		return "", fmt.Errorf("token: expected invalid_client, got %s", code(err))
	}
	return fmt.Sprintf("%s after %s; token: invalid_client; another of its issuer is served", registering,
		took), d.serves(ctx, c)
}

// serves shows that a member of the community is served that is not on the list: it is
// not the list itself that makes the destination refuse.
func (d *demo) serves(ctx context.Context, c testbed.Community) error {
	p, err := d.newParty(c, "unrevoked", certs.P256)
	if err != nil {
		return err
	}
	defer p.client.Close()

	if _, err := d.join(ctx, p); err != nil {
		return fmt.Errorf("a certificate that was not revoked is refused, too: %w", err)
	}
	return nil
}

// revoke puts the certificate on the issuer's list, in the file that is served.
func (d *demo) revoke(c testbed.Community, id *certs.Identity) error {
	ca, err := certs.LoadCA(d.file(c.Issuer.Cert), d.file(c.Issuer.Key))
	if err != nil {
		return err
	}

	file, err := d.listFile(c)
	if err != nil {
		return err
	}

	return ca.UpdateCRL(file, d.now(), authority.ListLife, certs.RevokedEntry{
		Serial: id.Leaf().SerialNumber,
		Time:   d.now(),
		Reason: 1,
	})
}

func (d *demo) untilRefused(ctx context.Context, try func() error) (string, error) {
	for end := d.now().Add(d.revokeTime); ; {
		if err := try(); err != nil {
			return code(err), nil
		}
		if !d.now().Before(end) {
			return "", fmt.Errorf(
				"a revoked certificate still worked %s later",
				d.revokeTime,
			)
		}
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return "", err
		}
	}
}
