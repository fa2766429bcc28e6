package client

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"fhirdest.example/udap"
	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// statementLife is exp minus iat of all that we sign (UDAP Security: at most
// five minutes). Exactly five is allowed, and a little less is never refused.
const statementLife = 4 * time.Minute

func (c *Client) algorithm() string {
	if c.cfg.Algorithm != "" || c.cfg.Key == nil {
		return c.cfg.Algorithm
	}
	return jose.AlgorithmFor(c.cfg.Key.Public())
}

// identity checks our own certificate before anything is signed with it, and
// returns the URI that we go by.
func (c *Client) identity(tr *trace.Trace) (trace.ClientURI, error) {
	if c.cfg.Key == nil || len(c.cfg.Chain) == 0 {
		return "", stop(tr, checkIdentity, "a certificate chain and its key", "none", "give the certificate "+
			"chain of this client and its key")
	}

	leaf, now := c.cfg.Chain[0], c.cfg.Now()
	shown := fmt.Sprintf("%s, serial %X", leaf.Subject, leaf.SerialNumber)
	tr.Certificate = shown

	switch {
	case leaf.IsCA:
		return "", stop(tr, checkIdentity, "the leaf first", "the first certificate is a CA: "+shown,
			"put the leaf first in the chain")
	case now.Before(leaf.NotBefore) || now.After(leaf.NotAfter):
		return "", stop(tr, checkIdentity, "a certificate that counts now, "+trace.Stamp(now),
			fmt.Sprintf("%s counts from %s to %s", shown, trace.Stamp(leaf.NotBefore),
				trace.Stamp(leaf.NotAfter)), "renew it, or set the clock")
	case leaf.NotAfter.Sub(now) < expiringWithin:
		tr.Warn(checkIdentity, trace.Finding{
			Found:  shown + " runs out on " + trace.Stamp(leaf.NotAfter),
			Remedy: "renew it; the same URI needs no new registration",
		})

	default:
		tr.Pass(checkIdentity, "", shown+", until "+trace.Stamp(leaf.NotAfter))
	}

	return c.clientURI(tr)
}

const expiringWithin = 30 * 24 * time.Hour

// clientURI picks the URI and prints all that the certificate has.
func (c *Client) clientURI(tr *trace.Trace) (trace.ClientURI, error) {
	uris, err := udap.RawSANURIs(c.cfg.Chain[0])
	if err != nil || len(uris) == 0 {
		return "", stop(tr, checkURI, "a URI in the Subject Alternative Name", fmt.Sprintf("none (%v)", err),
			"this certificate cannot be used for UDAP: ask the community for one with a URI")
	}

	all := strings.Join(uris, ", ")
	uri := c.cfg.ClientURI
	switch {
	case uri == "" && len(uris) > 1:
		return "", stop(tr, checkURI, "one client URI", "the certificate has "+
			all, "choose one of them")
	case uri == "":
		uri = trace.ClientURI(uris[0])
	case !slices.Contains(uris, string(uri)):
		return "", stop(tr, checkURI, string(uri), "the certificate has "+
			all, difference(string(uri), uris[0]))
	}

	tr.Client = uri
	tr.Pass(checkURI, "one of "+all, string(uri))
	return uri, nil
}
