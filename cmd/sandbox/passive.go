package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/gatewayd"
	"fhirdest.example/cmd/internal/supervise"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// showEither reads the patient by the gateway that took the place of the first, and
// straight, and holds both to what the first one passed.
func showEither(ctx context.Context, d *demo) (string, error) {
	if d.token == nil || d.body == nil {
		return "", errNeedsToken
	}

	for _, role := range []string{"public", "private"} {
		body, err := d.readBy(ctx, role)
		if err != nil {
			return "", fmt.Errorf("by the %s listener: %w", role, err)
		}
		if !bytes.Equal(d.body, body) {
			return "", fmt.Errorf("by the %s listener the patient has other bytes", role)
		}
		if err := d.asSent(ctx); err != nil {
			return "", fmt.Errorf("by the %s listener: %w", role, err)
		}
	}

	return fmt.Sprintf("the same %d bytes by the first gateway, by the one in its place, and straight",
		len(d.body)), nil
}

// readBy reads the patient by a listener.
func (d *demo) readBy(ctx context.Context, role string) ([]byte, error) {
	c := d.main.client
	if role == "private" {
		var err error
		if c, err = d.newClient(d.community(0), d.main, role, ""); err != nil {
			return nil, err
		}
		defer c.Close()
	}

	r, err := d.get(ctx, c, "Patient/"+d.patient, d.token.Access)
	if err != nil {
		return nil, err
	}
	return r.Reply.Body, nil
}

// gatewayName is the host of one of the manifest's gateways.
func (d *demo) gatewayName(i int) string {
	u, err := url.Parse(d.manifest.Gateways[i])
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// showNames asks each listener for its certificate (exchange routing, ER-09, ER-10).
func showNames(ctx context.Context, d *demo) (string, error) {
	public, delegate, private := d.manifest.PublicHost(), d.gatewayName(1), d.privateName()
	for _, l := range []struct {
		role, own string
		others    []string
	}{
		{"public", public, []string{delegate, private}},
		{"delegate", delegate, []string{public, private}},
		{"private", private, []string{public, delegate}},
	} {
		leaf, err := d.leafOf(ctx, l.role, l.own)
		if err != nil {
			return "", err
		}

		for _, other := range l.others {
			if leaf.VerifyHostname(other) == nil {
				return "", fmt.Errorf("the certificate of the %s listener, %s, is good for %s too", l.role,
					l.own,
					other)
			}
		}
	}

	return fmt.Sprintf("%s at the gateway, %s and %s behind it; none is good for another's name", public,
		delegate,
		private), nil
}

// leafOf is the certificate that a listener shows for a name; it is good for it.
func (d *demo) leafOf(ctx context.Context, role, name string) (*x509.Certificate, error) {
	dialer := &tls.Dialer{
		Config: &tls.Config{
			RootCAs:    d.roots,
			ServerName: name,
			NextProtos: []string{"http/1.1"},
			Time:       d.now,
			MinVersion: tls.VersionTLS12,
		},
	}
	conn, err := dialer.DialContext(
		ctx,
		"tcp",
		supervise.Dialable(d.manifest.Addresses[role]),
	)
	if err != nil {
		return nil, fmt.Errorf(
			"the %s listener has no certificate for %s: %w",
			role,
			name,
			err,
		)
	}
	defer conn.Close()

	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// showCopied says plainly what a bearer token is.
func showCopied(ctx context.Context, d *demo) (string, error) {
	if d.token == nil || d.patient == "" {
		return "", errNeedsToken
	}

	thief, err := d.newParty(d.community(1), "thief", certs.P256)
	if err != nil {
		return "", err
	}
	defer thief.client.Close()

	if err := d.readPatient(ctx, thief.client, d.token.Access); err != nil {
		return "", err
	}
	return "read by a stranger of another community; the token ends at " + d.token.Expires.UTC().Format(
		time.RFC3339), nil
}

// showMinted tries, with all that the gateways hold, to get a token and to alter one.
func showMinted(ctx context.Context, d *demo) (string, error) {
	if d.token == nil || d.patient == "" {
		return "", errNeedsToken
	}

	for _, hop := range []string{"gateway", "delegate"} {
		if err := d.cannotMint(ctx, hop); err != nil {
			return "", err
		}
	}

	n, err := d.cannotAlter(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("an assertion signed with either's key: invalid_client; %d altered tokens: 401", n), nil
}

// cannotMint signs an assertion for the registered client with each key of a hop.
func (d *demo) cannotMint(ctx context.Context, hop string) error {
	ids, err := d.hopIdentities(hop)
	if err != nil {
		return hidden{fmt.Sprintf("the keys of the %s are not at hand: %v", hop, err)}
	}

	for _, id := range ids {
		if err := d.cannotSign(ctx, hop, id); err != nil {
			return err
		}
	}

	return nil
}

func (d *demo) cannotSign(ctx context.Context, hop string, id *certs.Identity) error {
	status, answer, err := d.askAs(ctx, id, tokenRequest{
		client:   d.registered.ClientID,
		endpoint: d.discovery.Token,
		aud:      d.discovery.Token,
	})
	if err != nil {
		return err
	}
	if status == http.StatusOK {
		return fmt.Errorf(
			"the destination gave a token for an assertion that the %s signed",
			hop,
		)
	}
	if !bytes.Contains(answer, []byte(`"`+trace.InvalidClient+`"`)) {
		return fmt.Errorf("an assertion that the %s signed: expected invalid_client, got %d %s", hop, status,
			answer)
	}

	return nil
}

// tokenRequest is a request for a token that our own client would not send.
type tokenRequest struct {
	client   trace.ClientID
	endpoint string
	aud      string // of the assertion
}

// askAs asks for a token of a registered client with any key and audience: our own
// client would see that the certificate is not that client's, and not ask.
func (d *demo) askAs(
	ctx context.Context, id *certs.Identity, t tokenRequest,
) (status int, answer []byte, err error) {
	claims, err := json.Marshal(map[string]any{
		"iss": t.client, "sub": t.client, "aud": t.aud,
		"iat": d.now().Unix(), "exp": d.now().Add(time.Minute).Unix(), "jti": runID(),
		"extensions": map[string]any{"hl7-b2b": map[string]any{
			"version": "1", "organization_id": "https://originator.example/organization",
			"organization_name": "Sandbox Originator",
			"purpose_of_use":    []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
		}},
	})
	if err != nil {
		return 0, nil, err
	}

	assertion, err := udap.Sign(id.Key, id.Chain, "", claims)
	if err != nil {
		return 0, nil, err
	}

	return d.post(ctx, t.endpoint, url.Values{
		"grant_type": {"client_credentials"}, "scope": {"system/Patient.rs"}, "udap": {"1"},
		"client_assertion":      {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	})
}

// transport connects as the originator does: to the destination's public URLs by the
// gateway, with evidence; to others, such as an identity provider, directly.
func (d *originator) transport() *http.Transport {
	public := testbed.HostOf(d.manifest.PublicBase)
	return &http.Transport{
		DisableCompression: true,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			name, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}

			dialer := &tls.Dialer{
				Config: &tls.Config{
					RootCAs:    d.roots,
					ServerName: name,
					NextProtos: []string{"http/1.1"},
					Time:       d.now,
					MinVersion: tls.VersionTLS12,
				},
			}
			if address != public && address != public+":443" {
				return dialer.DialContext(ctx, network, address)
			}

			conn, err := dialer.DialContext(
				ctx,
				network,
				supervise.Dialable(d.manifest.Addresses["public"]),
			)
			if err != nil {
				return nil, err
			}
			return d.tap(conn), nil
		},
	}
}

// post sends a form to a public URL, as the originator would.
func (d *demo) post(
	ctx context.Context, target string, form url.Values,
) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(
		ctx,
		http.MethodPost,
		target,
		strings.NewReader(form.Encode()),
	)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return d.send(req)
}

// send sends a request that no client of ours would make.
func (d *originator) send(req *http.Request) (status int, answer []byte, err error) {
	tr := d.transport()
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()

	answer, err = io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, answer, err
}

// hopIdentities are the certificates, with their keys, with which a gateway serves and
// asks the next hop; the first is that of clients who name no host.
func (d *demo) hopIdentities(hop string) (ids []*certs.Identity, err error) {
	file := d.file(d.manifest.Configs[hop])
	c, err := gatewayd.Read(file)
	if err != nil {
		return nil, err
	}
	if len(c.TLS) == 0 {
		return nil, errors.New("its configuration names none")
	}

	at := func(name string) string {
		if filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(filepath.Dir(file), name)
	}

	pairs := c.TLS
	for _, r := range c.Routes {
		if r.Cert != "" {
			pairs = append(pairs, gatewayd.KeyPair{
				Cert: r.Cert,
				Key:  r.Key,
			})
		}
	}

	for _, p := range pairs {
		id, err := certs.LoadIdentity(at(p.Cert), at(p.Key))
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}

	return ids, nil
}

// cannotAlter changes one character of the token here and there, and its length.
func (d *demo) cannotAlter(ctx context.Context) (int, error) {
	token := d.token.Access
	other := func(i int) string {
		by := "A"
		if token[i] == 'A' {
			by = "B"
		}
		return token[:i] + by + token[i+1:]
	}
	altered := []string{other(0), other(len(token) / 2), token[:len(token)-1], token + "A"}
	for _, t := range altered {
		r, err := d.get(ctx, d.main.client, "Patient/"+d.patient, t)
		if err == nil {
			return 0, errors.New("an altered token was taken")
		}
		if r.Refusal == nil || r.Refusal.Status != http.StatusUnauthorized {
			return 0, fmt.Errorf("an altered token: expected 401, got %w", err)
		}
	}

	return len(altered), nil
}

// showAtOnce cancels a registration and uses its token at once, through the gateways.
func showAtOnce(ctx context.Context, d *demo) (string, error) {
	if d.patient == "" {
		return "", errNeedsToken
	}

	p, err := d.newParty(d.community(0), "leaving", certs.P256)
	if err != nil {
		return "", err
	}
	defer p.client.Close()

	j, err := d.join(ctx, p)
	if err != nil {
		return "", err
	}

	t, err := d.askToken(ctx, p.client, j.found, j.reg.ClientID, "system/Patient.rs")
	if err != nil {
		return "", err
	}
	if err := d.readPatient(ctx, p.client, t.Access); err != nil {
		return "", fmt.Errorf("before it was cancelled: %w", err)
	}
	if _, err := d.cancel(ctx, p.client, j.found); err != nil {
		return "", err
	}

	start := d.now()
	r, err := d.get(ctx, p.client, "Patient/"+d.patient, t.Access)
	if err == nil {
		return "", errors.New("the token of a cancelled registration still works")
	}
	if r.Refusal == nil || r.Refusal.Status != http.StatusUnauthorized {
		return "", fmt.Errorf("expected 401, got %w", err)
	}

	return fmt.Sprintf("the next read, %s after the cancellation: 401",
		d.now().Sub(start).Round(time.Millisecond)), nil
}
