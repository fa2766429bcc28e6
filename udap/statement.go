package udap

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"fhirdest.example/udap/trace"
)

// Statement verifies a software statement posted for registration (UDAP DCR 4,
// UDAP Security 3.1 and 3.2.3): form, signature, trust, revocation, claims, and
// the form of the registration parameters. Whether its jti was seen before, and
// what is granted, is for the caller. A refusal is an *Error with the codes
// invalid_software_statement, unapproved_software_statement,
// invalid_client_metadata or invalid_redirect_uri.
func (v *Verifier) Statement(
	ctx context.Context, compact string, exp Expect, tr *trace.Trace,
) (*SoftwareStatement, error) {
	val := v.begin(ctx, statementKind, exp, tr)
	e, err := val.open(compact)
	if err != nil {
		return nil, err
	}

	verified, err := val.trust(e, v.Communities)
	if err != nil {
		return nil, err
	}

	var m *ClientMetadata
	err = val.tr.Collect(
		func() error { return val.statementNames(e, &verified) },
		func() error { return val.common(e, &verified) },
		func() (err error) {
			m, err = val.clientMetadata(e.Claims, verified.Community.Policy)
			return err
		},
	)
	if err != nil {
		return nil, val.further(err, m)
	}

	return &SoftwareStatement{
		Verified: verified,
		Metadata: *m,
	}, nil
}

// further adds what else is wrong with a refused statement to the trace, and
// returns the refusal.
func (val *validation) further(refusal error, m *ClientMetadata) error {
	if val.exp.Further == nil || len(m.Scope) == 0 {
		return refusal
	}
	return val.tr.Collect(
		func() error { return refusal },
		func() error { return val.exp.Further(*m, val.tr) },
	)
}

// statementNames checks iss and sub.
func (val *validation) statementNames(e *envelope, out *Verified) error {
	iss, err := val.issuerInSAN(e)
	if err != nil {
		return err
	}

	sub, ok := e.Claims.Text("sub")
	if !ok || sub != iss {
		return val.refuseClaim(val.kind.checks.sub, trace.Finding{
			Expected: iss,
			Found:    e.Claims.Show("sub"),
			Remedy:   "sub equals iss" + subHint(iss, sub),
		})
	}

	val.tr.Pass(val.kind.checks.sub, iss, sub)
	out.Client = trace.ClientURI(iss)
	val.tr.Client = out.Client
	return nil
}

func subHint(iss, sub string) string {
	if sub == "" {
		return ""
	}
	return "; " + difference(iss, sub)
}

// issuerInSAN checks that iss is a URI name of the certificate, compared with
// the certificate's own bytes (UDAP Security 7.1.5).
func (val *validation) issuerInSAN(e *envelope) (string, error) {
	c, uris := val.kind.checks.iss, e.leaf.uris
	if err := e.leaf.urisErr; err != nil {
		return "", val.refuseClaim(c, trace.Finding{
			Expected: "a readable Subject Alternative Name",
			Found:    err.Error(),
			Err:      err,
		})
	}

	iss, ok := e.Claims.Text("iss")
	switch {
	case !ok || iss == "":
		return "", val.refuseClaim(c, trace.Finding{
			Expected: "iss among the certificate's URI names " + list(uris),
			Found:    e.Claims.Show("iss"),
		})

	case !slices.Contains(uris, iss):
		return "", val.refuseClaim(c, trace.Finding{
			Expected: "iss among the certificate's URI names " + list(uris),
			Found:    iss,
			Remedy:   sanHint(e.certs[0], uris, iss),
		})
	}

	if _, err := absoluteURI(iss); err != nil {
		// RFC 5280 4.2.1.6: a URI name is never relative. Without a scheme it
		// could be anything, another client's client_id included.
		return "", val.refuseClaim(c, trace.Finding{
			Expected: "a URI name with a scheme",
			Found:    iss + ": " + err.Error(),
			Err:      err,
		})
	}

	val.tr.Pass(c, list(uris), iss)
	return iss, nil
}

// sanHint describes why a URI is not among the names of a certificate.
func sanHint(leaf *x509.Certificate, uris []string, iss string) string {
	switch {
	case slices.Contains(leaf.DNSNames, iss) || slices.Contains(leaf.EmailAddresses, iss):
		return "the certificate has it as a name of another type; a uniformResourceIdentifier is needed"
	case len(uris) > 0 && !strings.Contains(iss, ":"):
		return "that is no URI; a client_id, say, is for authentication tokens: in a software statement iss and sub " +
			"are the client's URI"
	case len(uris) == 0:
		return "the certificate has no uniformResourceIdentifier in its Subject Alternative Name; have one issued " +
			"that has"
	}

	for _, u := range uris {
		if base, _, ok := strings.Cut(u, "#"); ok && base == iss {
			return "only the fragment differs: the certificate has " + u
		}
		if strings.EqualFold(u, iss) || strings.TrimRight(u, "/") == strings.TrimRight(iss, "/") {
			return fmt.Sprintf("compared with %s: %s", u, difference(u, iss))
		}
	}

	return fmt.Sprintf("compared with %s: %s", uris[0], difference(uris[0], iss))
}

// list shows names for a finding.
func list(names []string) string {
	if len(names) == 0 {
		return "(none)"
	}
	return "[" + trace.Cut(strings.Join(names, ", "), 400) + "]"
}
