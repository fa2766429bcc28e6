package udap

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fhirdest.example/udap/trace"
)

// kind is what differs between the JWTs that a Verifier judges.
type kind struct {
	name      string     // "software statement"
	malformed trace.Code // form or signature
	untrusted trace.Code // no path, expired, revoked
	claims    trace.Code
	checks    claimChecks
	life      time.Duration // longest time from iat to exp
}

// maxLife is how long software statements and authentication tokens may live
// (UDAP Security 3.1, 4.2.1, 5.2.1).
const maxLife = 300 * time.Second

var (
	statementKind = kind{
		"software statement", trace.InvalidSoftwareStatement, trace.UnapprovedSoftwareStatement,
		trace.InvalidSoftwareStatement, statementChecks, maxLife,
	}
	assertionKind = kind{
		"authentication token", trace.InvalidClient, trace.InvalidClient, trace.InvalidClient, assertionChecks,
		maxLife,
	}
)

// judgement is one decision under way.
type judgement struct {
	v    *Verifier
	ctx  context.Context
	kind kind
	exp  Expect
	tr   *trace.Trace

	lookup func(trace.ClientID) (Binding, bool) // of registrations, for authentication tokens; else nil
}

func (v *Verifier) judge(ctx context.Context, k kind, exp Expect, tr *trace.Trace) *judgement {
	if tr == nil {
		tr = trace.NewTrace(k.name, exp.Now)
	}
	return &judgement{v: v, ctx: ctx, kind: k, exp: exp, tr: tr}
}

// verdict records one check on form: passed, or refused with the fault.
func (j *judgement) verdict(c trace.Check, code trace.Code, f *fault, expected, found string) error {
	if f != nil {
		return j.tr.Refuse(c, code, f.finding())
	}
	j.tr.Pass(c, expected, found)
	return nil
}

// open takes the compact form apart and establishes that the key of x5c[0]
// signed it. Nothing is known about that key yet.
func (j *judgement) open(compact string) (*envelope, error) {
	code := j.kind.malformed
	e, f := openCompact(compact, &j.v.memory)
	if err := j.verdict(checkForm, code, f, "three strict segments", strconv.Itoa(len(compact))+" bytes"); err != nil {
		return nil, err
	}
	if err := j.verdict(checkHeaders, code, e.checkHeader(), "no crit, b64 or zip",
		"header members "+e.header.names()); err != nil {
		return nil, err
	}
	if err := j.verdict(checkAlg, code, e.checkAlg(), algorithmsShown, e.alg); err != nil {
		return nil, err
	}
	if err := j.certificates(e, code); err != nil {
		return nil, err
	}

	return e, j.verdict(checkSignature, code, e.verifySignature(), "made by the key of x5c[0]",
		e.alg+" with "+e.leaf.key)
}

// certificates reads x5c and judges the signer's key before it is used.
func (j *judgement) certificates(e *envelope, code trace.Code) error {
	f := j.readX5C(e)
	if err := j.verdict(checkX5C, code, f, "base64 DER, the signer first",
		strconv.Itoa(len(e.certs))+" certificate(s)"); err != nil {
		return err
	}

	const sound = "RSA of 2048 bits or more, P-256 or P-384"
	e.leaf = j.v.factsOf(e.certs[0])
	j.tr.Certificate = e.leaf.shown
	if err := e.leaf.keyFault; err != nil {
		return j.tr.Refuse(checkSignerKey, j.kind.untrusted, trace.Finding{
			Expected: sound,
			Found:    err.Error(),
			Remedy:   "have a certificate issued for a stronger key",
		})
	}

	j.tr.Pass(checkSignerKey, sound, e.leaf.key)
	if !e.header.has("x5t") && !e.header.has("x5t#S256") {
		return nil
	}
	return j.verdict(checkThumbprint, code, e.checkThumbprints(), "the thumbprint of x5c[0]", "the same")
}

// readX5C reads the certificates, or remembers them from the same header.
func (j *judgement) readX5C(e *envelope) *fault {
	if e.known != nil {
		e.certs = e.known.certs
		return nil
	}
	if url := j.keySetURL(e); url != "" {
		var f *fault
		e.certs, f = j.certsByJKU(e, url)
		return f
	}
	return e.checkX5C(j.v.parseCertificate)
}

// trust finds the community and the path of the signer, and asks about
// revocation on it.
func (j *judgement) trust(e *envelope, among []*Community) (*Verified, error) {
	community, found, f := j.lead(e, among)
	if f != nil {
		f.remedy += j.otherCommunity(e, among)
		return nil, j.tr.Refuse(f.check, j.kind.untrusted, f.finding())
	}

	j.v.remember(e, found.paths[0])
	j.tr.Community = community.URI
	if algs := community.Policy.SignatureAlgorithms(); !slices.Contains(algs, e.alg) {
		return nil, j.tr.Refuse(checkCommunities, j.kind.malformed, trace.Finding{
			Expected: "one of " + strings.Join(algs, ", "),
			Found:    e.alg,
		})
	}

	j.tr.Pass(checkCommunities, "an algorithm of the community", e.alg)
	path, err := j.notRevoked(community, found.paths)
	if err != nil {
		return nil, err
	}

	return &Verified{
		Community: community,
		Leaf:      path[0],
		Chain:     path,
		Algorithm: e.alg,
		Raw:       e.raw,
	}, nil
}

// lead returns the first community, in configuration order, to which the
// signer's certificate leads, with every acceptable path (UDAP Security 3.4).
func (j *judgement) lead(e *envelope, among []*Community) (*Community, *foundPaths, *certFault) {
	var nearest *certFault
	reach := -1
	for _, c := range among {
		found, f, got := j.pathsTo(c, e)
		if found != nil {
			j.passPath(found)
			return c, found, nil
		}
		if f != nil && got > reach {
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

// otherCommunity tells a member of another community of ours that this is not
// the one in which its client is registered. A stranger learns nothing.
func (j *judgement) otherCommunity(e *envelope, among []*Community) string {
	for _, c := range j.v.Communities {
		if slices.Contains(among, c) {
			continue
		}

		s := &search{
			community: c,
			now:       j.exp.Now,
			pool:      pool(e.certs[1:], c.Intermediates),
			signed:    j.v.signedBy,
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

func (j *judgement) pathShown(c *Community, path []*x509.Certificate) string {
	names := make([]string, len(path))
	for i, cert := range path {
		names[i] = j.v.factsOf(cert).shown
	}
	return fmt.Sprintf("community %s: %s", c.URI, strings.Join(names, " < "))
}

func (j *judgement) passPath(found *foundPaths) {
	j.tr.Pass(checkPath, "a path to an anchor", found.shown)
	for _, k := range [...]trace.Check{
		checkCertForm, checkCertKey, checkCertSig, checkCertCA, checkCertDates, checkCertNames,
		checkCertPolicy, checkLeaf, checkUsage,
	} {
		j.tr.Pass(k, "", "")
	}
}

// notRevoked returns the first path on which nothing is revoked. When every
// path fails, the refusal is that of a revoked certificate if there is one.
func (j *judgement) notRevoked(c *Community, paths [][]*x509.Certificate) ([]*x509.Certificate, error) {
	rule := c.Policy.Revocation
	if rule == RevocationOff {
		j.tr.Warn(checkRevocation, trace.Finding{
			Expected: "revocation looked at",
			Found:    "the community's policy turns it off (revocation: off)",
		})
		return paths[0], nil
	}

	var worst *certFault
	var soft []*x509.Certificate
	revoked := false

	for _, path := range paths {
		notes, f, unknown := j.v.revocationOf(j.ctx, c, path, j.exp.Now)
		if f == nil {
			j.tr.Pass(checkRevocation, "no certificate revoked", notes)
			return path, nil
		}

		if unknown && soft == nil && rule == RevocationSoft {
			soft = path
		}
		if worst == nil || !unknown {
			worst = f
		}
		revoked = revoked || !unknown
	}

	if soft != nil && !revoked {
		f := worst.finding()
		f.Remedy = "accepted because the community's policy says so (revocation: soft)"
		j.tr.Warn(checkRevocation, f)
		return soft, nil
	}

	return nil, j.tr.Refuse(checkRevocation, j.kind.untrusted, worst.finding())
}
