package main

import (
	"context"
	"testing"

	"fhirdest.example/certs"
	"fhirdest.example/cmd/internal/testbed"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/client/forms"
	"fhirdest.example/udap/conform"
	"fhirdest.example/udap/conform/examine"
)

// The sandbox has no fault that can be found from outside: through the inbound gateway,
// for a member of each community, with every certificate that its issuer can make, and
// with a person who signs in.
func TestSandboxIsConformant(t *testing.T) {
	_, d := bedFor(t, testbed.Config{}, nil)
	seen := map[string]bool{}
	for _, member := range d.manifest.Clients {
		if seen[member.Community] {
			continue
		}
		seen[member.Community] = true

		t.Run(member.Name, func(t *testing.T) {
			r, err := examine.Run(t.Context(), examinationOf(t, d, member))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Findings {
				if f.Verdict == conform.Violated || f.Verdict == conform.Warned {
					t.Errorf("%s is %s: sent %s, found %s", f.Check, f.Verdict, f.Sent, f.Found)
				}
			}
			if n := r.Count(conform.Shown); n < 110 || len(r.Left) > 0 {
				t.Errorf("%d checks are shown; left: %v", n, r.Left)
			}
		})
	}
	if len(seen) < 4 {
		t.Errorf("members of %d communities", len(seen))
	}
}

// examinationOf is the setting that originator check -sandbox makes of a manifest.
func examinationOf(t *testing.T, d *demo, member testbed.Client) examine.Setting {
	t.Helper()
	id, err := certs.LoadIdentity(d.file(member.Chain), d.file(member.Key))
	if err != nil {
		t.Fatal(err)
	}

	s := examine.Setting{Profile: conform.SSRAA2}
	for _, c := range d.manifest.Communities {
		ca, err := certs.LoadCA(d.file(c.Issuer.Cert), d.file(c.Issuer.Key))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case c.URI == member.Community:
			s.Issuer, s.CRL = ca, c.CRL
			s.Client = d.clientConfig(c, &party{
				uri:      member.URI,
				identity: id,
			}, "public", "")
		case s.OtherIssuer == nil:
			s.OtherIssuer, s.OtherCRL = ca, c.CRL
		}
	}
	switch member.Community {
	case testbed.CommunityEdition1:
		s.Profile = conform.SSRAA1
	case testbed.CommunityTEFCA:
		s.Profile = conform.TEFCA
	}

	s.Login = func(ctx context.Context, target, stop string) (string, error) {
		c, err := client.New(s.Client)
		if err != nil {
			return "", err
		}
		defer c.Close()

		b, err := forms.New(c, stop)
		if err != nil {
			return "", err
		}
		p := &forms.Person{
			Username: d.manifest.Users[0].Username,
			Password: d.manifest.Users[0].Password,
		}
		return p.Visit(ctx, b, target)
	}
	return s
}
