package client

import (
	"context"
	"fmt"
	"strings"

	"fhirdest.example/certs/netname"
	"fhirdest.example/udap/trace"
)

// checkIssuer is the check that an issuer is that of the signed endpoints.
var checkIssuer = trace.NewCheck("openid.issuer",
	"The issuer is that of the authorization server that signed metadata names", "")

// OpenIDOf reads the OpenID Connect metadata of a destination's authorization
// server, which must name the endpoints that the signed metadata names.
func (c *Client) OpenIDOf(ctx context.Context, d *Discovery) (*OpenID, error) {
	tr := trace.NewTrace("openid", c.cfg.Now())
	if err := verified(tr, d); err != nil {
		return &OpenID{Trace: tr}, err
	}

	issuer := issuerOf(ctx, c, d, tr)
	if netname.Origin(issuer) != netname.Origin(d.Authorization) {
		return &OpenID{Trace: tr}, stop(tr, checkIssuer, "an issuer at "+netname.Origin(d.Authorization),
			fmt.Sprintf("%q", issuer), "without an issuer of its own, an answer of another server is not recognised "+
				"(RFC 9207)")
	}

	out, err := c.OpenID(ctx, issuer)
	if err != nil {
		return out, err
	}

	for _, e := range []struct{ name, signed, published string }{
		{"authorization_endpoint", d.Authorization, out.Authorization},
		{"token_endpoint", d.Token, out.Token},
	} {
		if e.signed != e.published {
			return out, stop(out.Trace, checkIssuer, e.name+" "+e.signed+", as signed", e.published,
				difference(e.signed, e.published))
		}
	}

	out.Trace.Pass(checkIssuer, "the signed endpoints", issuer)
	return out, nil
}

// issuerOf returns the issuer that a destination names in its SMART configuration, or,
// at an identity provider, in the OpenID Connect metadata under its base URL. Where
// neither has one it is taken to be what the authorization endpoint is below.
// Nothing of this is signed: OpenIDOf compares what the issuer itself publishes.
func issuerOf(ctx context.Context, c *Client, d *Discovery, tr *trace.Trace) string {
	for _, path := range []string{
		"/.well-known/smart-configuration",
		"/.well-known/openid-configuration",
	} {
		if o := quietly(ctx, c, tr, path); o != nil && o.text("issuer") != "" {
			return o.text("issuer")
		}
	}

	return strings.TrimSuffix(d.Authorization, "/authorize")
}
