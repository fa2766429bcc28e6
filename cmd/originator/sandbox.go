package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"fhirdest.example/gateway/complaint"
	"github.com/go-json-experiment/json"
)

// manifest is the part of a sandbox's sandbox.json that an originator needs.
type manifest struct {
	PublicBase  string `json:"publicBase"`
	TLSCA       string `json:"tlsCA"`
	Lab         string `json:"lab"` // under which sessions of the lab are; empty: there is no lab
	Communities []struct {
		URI    string `json:"uri"`
		Anchor string `json:"anchor"`
		CRL    string `json:"crl"`
		Issuer struct {
			Cert string `json:"cert"`
			Key  string `json:"key"`
		} `json:"issuer"`
	} `json:"communities"`
	Clients []struct {
		Name      string `json:"name"`
		URI       string `json:"uri"`
		Community string `json:"community"`
		Chain     string `json:"chain"`
		Key       string `json:"key"`
	} `json:"clients"`
	Users []struct {
		Username string `json:"username"`
		Password string `json:"password"`
		Patient  string `json:"patient"`
	} `json:"users"`
}

// fromSandbox fills what was not given from a sandbox's manifest.
func (c *call) fromSandbox() error {
	m, err := readManifest(c.sandbox)
	if err != nil {
		return complaint.New(err.Error(), "-sandbox names the directory of a running sandbox (its -dir)")
	}

	in := func(name string) string { return filepath.Join(c.sandbox, name) }
	orElse(&c.Base, m.PublicBase)
	orElse(&c.TLSCA, in(m.TLSCA))
	if c.Cert == "" && c.P12 == "" {
		if err := c.sandboxClient(m, in); err != nil {
			return err
		}
	}

	anchors := len(c.Anchors) == 0
	for _, k := range m.Communities {
		if anchors {
			c.Anchors = append(c.Anchors, k.URI+"="+in(k.Anchor))
		}
		if u, err := url.Parse(k.CRL); err == nil && u.Host != "" {
			c.Allow = append(c.Allow, u.Scheme+"://"+u.Host)
		}
	}

	if c.command == "check" {
		sandboxExaminer(c, m, in)
	}
	return nil
}

// sandboxExaminer gives an examination the issuer of its community, that of the first
// other one, and a person.
func sandboxExaminer(c *call, m *manifest, in func(string) string) {
	for _, k := range m.Communities {
		if k.Issuer.Cert == "" {
			continue
		}

		f := &c.check.other
		if k.URI == c.Community {
			f = &c.check.issuer
		}
		if f.cert == "" {
			f.cert, f.key, f.crl = in(k.Issuer.Cert), in(k.Issuer.Key), k.CRL
		}
	}

	for _, u := range m.Users {
		if c.check.user == "" && u.Patient != "" {
			c.check.user, c.check.password = u.Username, u.Password
		}
	}
}

func (c *call) sandboxClient(m *manifest, in func(string) string) error {
	for _, k := range m.Clients {
		if c.client == "" || k.Name == c.client {
			c.Cert, c.Key = in(k.Chain), in(k.Key)
			orElse(&c.URI, k.URI)
			orElse(&c.Community, k.Community)
			return nil
		}
	}

	return complaint.New(
		fmt.Sprintf("the sandbox has no client %q", c.client),
		"its sandbox.json lists them under clients",
	)
}

func orElse(s *string, otherwise string) {
	if *s == "" {
		*s = otherwise
	}
}

func readManifest(dir string) (*manifest, error) {
	data, err := os.ReadFile(filepath.Join(dir, "sandbox.json"))
	if err != nil {
		return nil, err
	}

	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("sandbox.json: %w", err)
	}
	return &m, nil
}
