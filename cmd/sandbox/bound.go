package main

import (
	"context"
	"fmt"
	"net/http"

	"fhirdest.example/certs"
	"fhirdest.example/udap/client"
)

// showBound gets a token that is bound to a key, and shows that it is the key that
// counts: with it the token reads, and a copy of the token, also with a proof that was
// used or with one of another key, does not.
func showBound(ctx context.Context, d *demo) (string, error) {
	if d.patient == "" {
		return "", errNeedsToken
	}

	p, err := d.newParty(d.community(0), "bound", certs.P256)
	if err != nil {
		return "", err
	}
	p.client.Close()

	cfg := d.clientConfig(d.community(0), p, "public", "")
	if cfg.Proofs, err = d.newKey(); err != nil {
		return "", err
	}
	if p.client, err = client.New(cfg); err != nil {
		return "", err
	}
	defer p.client.Close()

	j, err := d.join(ctx, p)
	if err != nil {
		return "", err
	}

	token, err := d.askToken(ctx, p.client, j.found, j.reg.ClientID, "system/Patient.rs")
	if err != nil {
		return "", err
	}
	if _, err := d.get(ctx, p.client, "Patient/"+d.patient, token.Access); err != nil {
		return "", fmt.Errorf("with the key: %w", err)
	}

	return "200 with the key; 401 for the token alone, with a used proof, and with one of another key",
		useless(ctx, d, cfg.Proofs, token.Access)
}

// useless tries all that an intermediary has: the token, and a proof of the very
// request that it repeats.
func useless(ctx context.Context, d *demo, owner *client.Proofs, token string) error {
	target := d.manifest.PublicBase + "/Patient/" + d.patient
	proof, err := owner.Proof(http.MethodGet, target, token, d.now())
	if err != nil {
		return err
	}

	thief, err := d.newKey()
	if err != nil {
		return err
	}
	other, err := thief.Proof(http.MethodGet, target, token, d.now())
	if err != nil {
		return err
	}

	for _, try := range []struct {
		name, scheme, proof string
		want                int
	}{
		{"the owner's own request", "DPoP", proof, http.StatusOK},
		{"the same request again", "DPoP", proof, http.StatusUnauthorized},
		{"the token without a proof", "DPoP", "", http.StatusUnauthorized},
		{"the token as a bearer token", "Bearer", "", http.StatusUnauthorized},
		{"the token with a proof of another key", "DPoP", other, http.StatusUnauthorized},
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return err
		}

		req.Header.Set("Authorization", try.scheme+" "+token)
		if try.proof != "" {
			req.Header.Set("DPoP", try.proof)
		}

		got, _, err := d.send(req)
		if err != nil {
			return err
		}
		if got != try.want {
			return fmt.Errorf("%s: %d, not %d", try.name, got, try.want)
		}
	}

	return nil
}
