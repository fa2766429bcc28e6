package servertest

import (
	"context"
	"crypto/x509"

	"fhirdest.example/certs"
	"fhirdest.example/udap"
	"fhirdest.example/udap/client"
	"fhirdest.example/udap/fetch"
	"fhirdest.example/udap/trace"
)

// Originator makes an originator with a certificate of community A, or of B
// when the identity leads there. It trusts servers of that community.
func (d *Destination) Originator(c *certs.Community, id *certs.Identity) *client.Client {
	d.tb.Helper()
	return d.OriginatorWith(c, id, "")
}

// OriginatorWith is Originator for one that signs with a given algorithm.
func (d *Destination) OriginatorWith(
	c *certs.Community, id *certs.Identity, alg string,
) *client.Client {
	d.tb.Helper()
	uri := trace.CommunityURI(URIA)
	if c == d.B {
		uri = URIB
	}
	source, err := fetch.New(fetch.Config{
		Allow: []string{d.Lists.URL},
		Now:   d.Now,
	})
	d.must(err)

	roots := x509.NewCertPool()
	roots.AddCert(d.TLS.Cert)

	o, err := client.New(client.Config{
		Base:      d.Base,
		Community: uri,
		Chain:     id.Chain,
		Key:       id.Key,
		Algorithm: alg,
		Proofs:    d.Proofs,
		TLSRoots:  roots,
		Dial:      d.Addr,
		Wrap:      d.Wrap,
		Now:       d.Now,
		Verifier: &udap.Verifier{
			Revocation: source,
			Communities: []*udap.Community{
				{
					URI:     uri,
					Anchors: []*x509.Certificate{c.Root.Cert},
				},
			},
		},
	})
	d.must(err)

	d.tb.Cleanup(o.Close)
	return o
}

// Treatment is an hl7-b2b object that every community of an Env accepts.
func Treatment() *client.B2B {
	return &client.B2B{
		OrganizationName: "HTEST clinic", OrganizationID: "https://clinic.test/organization/1",
		PurposeOfUse: []string{"urn:oid:2.16.840.1.113883.5.8#TREAT"},
	}
}

// Session is an originator that has registered and holds a token.
type Session struct {
	Client     *client.Client
	Discovered *client.Discovery
	Registered *client.Registered
	Token      *client.Token
}

// Session discovers, registers and gets a token for a scope.
func (d *Destination) Session(c *certs.Community, id *certs.Identity, scope string) *Session {
	d.tb.Helper()
	s := &Session{Client: d.Originator(c, id)}
	ctx := context.Background()
	var err error
	s.Discovered, err = s.Client.Discover(ctx)
	d.must(err)
	s.Registered, err = s.Client.Register(ctx, s.Discovered, client.Registration{
		ClientName: "HTEST client",
		Contacts:   []string{"mailto:test@client.test"},
		Scope:      scope,
	})
	d.must(err)

	s.Token, err = s.Client.Token(ctx, s.Discovered, client.TokenRequest{
		ClientID: s.Registered.ClientID,
		Scope:    scope,
		B2B:      Treatment(),
	})
	d.must(err)

	return s
}
