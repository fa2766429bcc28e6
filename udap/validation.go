package udap

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fhirdest.example/udap/trace"
)

// kind is what differs between the JWTs that a Verifier verifies.
type kind struct {
	name      string     // "software statement"
	malformed trace.Code // form or signature
	untrusted trace.Code // no path, expired, revoked
	claims    trace.Code
	checks    claimChecks
	life      time.Duration // longest time from iat to exp
	lifeShown string        // the rule about it
}

// maxLife is how long software statements and authentication tokens may live
// (UDAP Security 3.1, 4.2.1, 5.2.1).
const maxLife = 300 * time.Second

// lifeRule returns the rule about the longest time from iat to exp.
func lifeRule(life time.Duration) string {
	return "exp after iat by at most " + seconds(life)
}

var (
	statementKind = kind{
		name:      "software statement",
		malformed: trace.InvalidSoftwareStatement,
		untrusted: trace.UnapprovedSoftwareStatement,
		claims:    trace.InvalidSoftwareStatement,
		checks:    statementChecks,
		life:      maxLife,
		lifeShown: lifeRule(maxLife),
	}
	assertionKind = kind{
		name:      "authentication token",
		malformed: trace.InvalidClient,
		untrusted: trace.InvalidClient,
		claims:    trace.InvalidClient,
		checks:    assertionChecks,
		life:      maxLife,
		lifeShown: lifeRule(maxLife),
	}
)

// validation is one decision under way.
type validation struct {
	v    *Verifier
	ctx  context.Context
	kind kind
	exp  Expect
	tr   *trace.Trace
	sigs *signatures // of the whole request
	own  signatures  // what sigs points to, unless it is shared
	jwt  envelope    // see open

	lookup func(trace.ClientID) (Binding, bool) // of registrations, for authentication tokens; else nil
}

func (v *Verifier) begin(ctx context.Context, k kind, exp Expect, tr *trace.Trace) *validation {
	if tr == nil {
		tr = trace.NewTrace(k.name, exp.Now)
	}

	val := &validation{
		v:    v,
		ctx:  ctx,
		kind: k,
		exp:  exp,
		tr:   tr,
		own:  signatures{v: v},
	}
	val.sigs = &val.own

	return val
}

// orBusy returns code, or temporarily_unavailable if the refusal comes from the
// load on this server and not from the client.
func orBusy(code trace.Code, err error) trace.Code {
	if errors.Is(err, ErrUnavailable) {
		return trace.TemporarilyUnavailable
	}
	return code
}

// trust finds the community and the path of the signer, and asks about
// revocation on it.
func (val *validation) trust(e *envelope, among []*Community) (v Verified, err error) {
	community, found, f := val.findCommunity(e, among)
	if f != nil {
		f.remedy += val.otherCommunity(e, among)
		return v, val.tr.Refuse(f.check, orBusy(val.kind.untrusted, f.err), f.finding())
	}

	val.v.remember(e, found.paths[0])
	val.tr.Community = community.URI
	if !community.Policy.accepts(e.Algorithm) {
		return v, val.tr.Refuse(checkCommunities, val.kind.malformed, trace.Finding{
			Expected: "one of " + strings.Join(community.Policy.SignatureAlgorithms(), ", "),
			Found:    e.Algorithm,
		})
	}

	val.tr.Pass(checkCommunities, "an algorithm of the community", e.Algorithm)
	path, err := val.notRevoked(community, found.paths)
	if err != nil {
		return v, err
	}

	return Verified{
		Community: community,
		Leaf:      path[0],
		Chain:     path,
		Algorithm: e.Algorithm,
		Raw:       e.Raw,
	}, nil
}

// findCommunity returns the first community, in configuration order, to which the
// signer's certificate leads, with every acceptable path (UDAP Security 3.4). If
// there is none and this server could not look for one in some community, that is
// the fault: it is not known whether the certificate leads there.
func (val *validation) findCommunity(e *envelope, among []*Community) (*Community, *foundPaths, *certFault) {
	var nearest *certFault
	reach := -1
	for _, c := range among {
		found, f, got := val.pathsTo(c, e)
		if found != nil {
			val.passPath(found)
			return c, found, nil
		}
		if f != nil && (got > reach || f.busy()) && !nearest.busy() {
			nearest, reach = f, got
		}
	}

	if nearest == nil {
		nearest = &certFault{
			check:    checkPath,
			expected: "a path to an anchor of a trust community",
			found:    "no trust community is configured here",
		}
	}

	return nil, nil, nearest
}

// otherCommunity returns a hint for a member of another community: that this is
// not the one in which its client is registered. A stranger learns nothing.
func (val *validation) otherCommunity(e *envelope, among []*Community) string {
	for _, c := range val.v.Communities {
		if slices.Contains(among, c) {
			continue
		}

		s := &search{
			community: c,
			now:       val.exp.Now,
			pool:      pool(e.certs[1:], c.Intermediates),
			sigs:      val.sigs,
		}
		if paths, _ := findPaths(s, e.certs[0]); len(paths) > 0 {
			return fmt.Sprintf("; this certificate leads to community %s, where this client_id is not registered",
				c.URI)
		}
	}

	return ""
}

// pool joins what the client sent with what is configured, each certificate once.
func pool(sent, configured []*x509.Certificate) []*x509.Certificate {
	out := make([]*x509.Certificate, 0, len(sent)+len(configured))
	for _, c := range slices.Concat(sent, configured) {
		if !slices.ContainsFunc(out, c.Equal) {
			out = append(out, c)
		}
	}
	return out
}

func (val *validation) pathShown(c *Community, path []*x509.Certificate) string {
	names := make([]string, len(path))
	for i, cert := range path {
		names[i] = val.v.factsOf(cert).shown
	}
	return fmt.Sprintf("community %s: %s", c.URI, strings.Join(names, " < "))
}

func (val *validation) passPath(found *foundPaths) {
	val.tr.Pass(checkPath, "a path to an anchor", found.shown)
	for _, k := range [...]trace.Check{
		checkCertForm, checkCertKey, checkCertSig, checkCertCA, checkCertDates, checkCertNames,
		checkCertPolicy, checkLeaf, checkPlace, checkUsage,
	} {
		val.tr.Pass(k, "", "")
	}
}

// notRevoked returns the first path on which nothing is revoked. When every
// path fails, the refusal is that of a revoked certificate if there is one.
func (val *validation) notRevoked(c *Community, paths [][]*x509.Certificate) ([]*x509.Certificate, error) {
	rule := c.Policy.Revocation
	if rule == RevocationOff {
		val.tr.Warn(checkRevocation, trace.Finding{
			Expected: "revocation looked at",
			Found:    "the community's policy turns it off (revocation: off)",
		})
		return paths[0], nil
	}

	var worst, busy *certFault
	var soft []*x509.Certificate
	revoked := false

	for _, path := range paths {
		notes, f, unknown := val.v.revocationOf(val.ctx, c, path, val.exp.Now)
		if f == nil {
			val.tr.Pass(checkRevocation, "no certificate revoked", notes)
			return path, nil
		}

		if unknown && errors.Is(f.err, ErrUnavailable) {
			busy = f
		}
		if unknown && soft == nil && rule == RevocationSoft {
			soft = path
		}
		if worst == nil || !unknown {
			worst = f
		}

		revoked = revoked || !unknown
	}

	if busy != nil && !revoked {
		return nil, val.tr.Refuse(checkRevocation, trace.TemporarilyUnavailable, busy.finding())
	}
	if soft != nil && !revoked {
		f := worst.finding()
		f.Remedy = "accepted because the community's policy says so (revocation: soft)"
		val.tr.Warn(checkRevocation, f)
		return soft, nil
	}

	return nil, val.tr.Refuse(checkRevocation, val.kind.untrusted, worst.finding())
}
