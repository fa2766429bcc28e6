package udap

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// Assertion verifies an authentication token (UDAP JWT-based client
// authentication 6; UDAP Security 4.2.1, 5.2.1). lookup finds the registration
// that sub names; clientIDParam is the client_id parameter, empty when absent.
// The certificate must lead to the community of that registration, and have
// the URI to which it is bound; no other community counts. A refusal is an
// *Error with the code invalid_client, or invalid_request for a malformed scope
// claim. ValidateB2B checks the extensions.
func (v *Verifier) Assertion(
	ctx context.Context, compact, clientIDParam string, exp Expect,
	lookup func(trace.ClientID) (Binding, bool), tr *trace.Trace,
) (*AuthenticationToken, error) {
	val := v.begin(ctx, assertionKind, exp, tr)
	val.lookup = lookup
	e, err := val.open(compact)
	if err != nil {
		return nil, err
	}

	client := val.registration(e, lookup)
	ant := &AuthenticationToken{ClientID: client.id}
	if ant.Verified, err = val.trust(e, client.communities); err != nil {
		return nil, err
	}

	err = val.tr.Collect(
		func() error {
			return val.assertionNames(e, client, clientIDParam, &ant.Verified)
		},
		func() error { return val.common(e, &ant.Verified) },
		func() error { return val.antClaims(e, ant) },
	)
	if err != nil {
		return nil, err
	}

	return ant, nil
}

// caller is the registration that sub names.
type caller struct {
	id          trace.ClientID
	binding     Binding
	known       bool
	communities []*Community // to which its certificate may lead
}

// registration looks the client up. For an unknown one every community is
// tried, so that a stranger without a trusted certificate gets the same answer
// about a client that exists and one that does not.
func (val *validation) registration(e *envelope, lookup func(trace.ClientID) (Binding, bool)) caller {
	sub, _ := e.Claims.Text("sub")
	out := caller{
		id:          trace.ClientID(sub),
		communities: val.v.Communities,
	}
	if lookup == nil || sub == "" {
		return out
	}

	out.binding, out.known = lookup(out.id)
	if !out.known {
		return out
	}

	out.communities = nil
	for i, c := range val.v.Communities {
		if c.URI == out.binding.Community {
			out.communities = val.v.Communities[i : i+1]
		}
	}

	return out
}

// assertionNames checks iss, sub, client_id, and that the certificate has the
// URI to which the registration is bound.
func (val *validation) assertionNames(e *envelope, client caller, param string, out *Verified) error {
	k := val.kind.checks
	uris := e.leaf.uris
	iss, ok := string(client.id), e.Claims.Is("iss", string(client.id))
	if !ok {
		iss, ok = e.Claims.Text("iss")
	}
	switch {
	case !ok || iss == "":
		return val.refuseClaim(k.iss, trace.Finding{
			Expected: "iss as the client_id",
			Found:    e.Claims.Show("iss"),
		})

	case iss != string(client.id):
		return val.refuseClaim(k.sub, trace.Finding{
			Expected: "sub equal to iss, " + iss,
			Found:    e.Claims.Show("sub"),
			Remedy:   uriForID(uris, iss, string(client.id)),
		})

	case !client.known:
		return val.refuseClaim(k.iss, trace.Finding{
			Expected: "a client_id that is registered at the server of " + val.exp.Audience,
			Found:    iss,
			Remedy:   uriForID(uris, iss, iss),
		})
	}

	val.tr.ClientID = client.id
	val.tr.Pass(k.iss, "a registered client_id", iss)
	val.tr.Pass(k.sub, iss, string(client.id))
	if err := val.tr.Independent(func() error { return checkParam(val, iss, param) }); err != nil {
		return err
	}
	if !slices.Contains(uris, string(client.binding.Client)) {
		return val.refuseClaim(checkBinding, trace.Finding{
			Expected: string(client.binding.Client) + " among the certificate's URI names",
			Found:    e.leaf.urisList,
			Remedy:   sanHint(out.Leaf, uris, string(client.binding.Client)),
		})
	}

	val.tr.Pass(checkBinding, string(client.binding.Client), e.leaf.urisList)
	out.Client = client.binding.Client
	val.tr.Client = out.Client
	return nil
}

// checkParam checks the parameter client_id. The client is the one that signed,
// whatever the parameter is.
func checkParam(val *validation, iss, param string) error {
	if param == "" || param == iss {
		return nil
	}
	return val.refuseClaim(checkClientID, trace.Finding{
		Expected: iss,
		Found:    param,
		Remedy:   "leave client_id out, or let it equal iss and sub",
	})
}

// uriForID recognises a client URI where a client_id belongs.
func uriForID(uris []string, iss, sub string) string {
	switch {
	case slices.Contains(uris, iss) && slices.Contains(uris, sub):
		return "this is the client's URI; in an authentication token iss and sub are the client_id that registration " +
			"returned"
	case slices.Contains(uris, iss):
		return "iss is the client's URI; in an authentication token it is the client_id that registration returned"
	case slices.Contains(uris, sub):
		return "sub is the client's URI; in an authentication token it is the client_id that registration returned"
	}

	return "use the client_id of the registration response, or register again"
}

// antClaims reads the claims that grants use: extensions, scope, resources.
func (val *validation) antClaims(e *envelope, ant *AuthenticationToken) error {
	ant.Resources = e.Claims.Has("resources")
	if e.Claims.Has("extensions") {
		ext, err := e.Claims.Object("extensions")
		if err != nil {
			ant.extensionsKind = e.Claims.Show("extensions")
		}
		ant.Extensions = ext
	} else {
		ant.extensionsKind = e.Claims.Show("extensions")
	}

	ant.misplacedB2B = misplacedB2B(e.Claims, ant.Extensions)
	if !e.Claims.Has("scope") {
		return nil
	}

	text, ok := e.Claims.Text("scope")
	scopes, err := splitScope(text)
	if !ok || err != nil {
		f := trace.Finding{
			Expected: "scope as a string of scopes with one space between",
			Found:    e.Claims.Show("scope"),
			Err:      err,
		}
		return val.tr.Refuse(checkAntScope, trace.InvalidRequest, f)
	}

	ant.Scope = scopes
	val.tr.Pass(checkAntScope, "a list of scopes", trace.Cut(strings.Join(scopes, " "), 300))
	return nil
}

// misplacedB2B recognises a B2B object that is one level too high.
func misplacedB2B(claims, extensions jose.Object) string {
	switch {
	case claims.Has(B2BKey):
		return B2BKey + " is a claim of the token itself; move it into the claim extensions"
	case !extensions.Has(B2BKey) && (extensions.Has("purpose_of_use") ||
		extensions.Has("organization_id")):
		return "the members of the B2B object are in extensions itself; put them into an object named " + B2BKey
	case claims.Has("purpose_of_use") || claims.Has("organization_id"):
		return "the members of the B2B object are claims of the token itself; put them into extensions, in an object " +
			"named " + B2BKey
	}

	return ""
}

// maxScopes bounds a list of scopes: long lists are refused, never cut.
const maxScopes = 1000

// splitScope parses a scope value (RFC 6749 3.3).
func splitScope(s string) ([]string, error) {
	if s == "" {
		return nil, fmt.Errorf("it is empty")
	}

	parts := strings.Split(s, " ")
	if len(parts) > maxScopes {
		return nil, fmt.Errorf("%d scopes, more than %d", len(parts), maxScopes)
	}

	for _, p := range parts {
		if p == "" {
			return nil, fmt.Errorf("scopes need exactly one space between them, and none around them")
		}

		for i := range len(p) {
			if b := p[i]; b <= 0x20 || b == '"' || b == '\\' || b >= 0x7f {
				return nil, fmt.Errorf("the scope %q has a character that RFC 6749 3.3 does not allow",
					trace.Cut(p, 60))
			}
		}
	}

	return parts, nil
}
