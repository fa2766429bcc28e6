package udap

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"fhirdest.example/udap/jose"
	"fhirdest.example/udap/trace"
)

// maxConstraints bounds the name constraints of one certificate, so that names
// times constraints stays small.
const maxConstraints = 128

var (
	oidNameConstraints   = asn1.ObjectIdentifier{2, 5, 29, 30}
	oidPolicyMappings    = asn1.ObjectIdentifier{2, 5, 29, 33}
	oidPolicyConstraints = asn1.ObjectIdentifier{2, 5, 29, 36}
	oidInhibitAnyPolicy  = asn1.ObjectIdentifier{2, 5, 29, 54}
)

// checkNames applies the name constraints of every CA on the path to the names
// of every certificate below it (RFC 5280 4.2.1.10): URI, directory and mail
// names here, DNS names and IP addresses in the second opinion. Self-issued CAs
// are exempt (RFC 5280 6.1.3 b, c).
func checkNames(path []*x509.Certificate) *certFault {
	for i := len(path) - 1; i > 0; i-- {
		ca := path[i]
		if !hasExtension(ca, oidNameConstraints) {
			continue
		}

		subtrees, err := directorySubtrees(ca)
		if err != nil {
			return &certFault{
				check: checkCertNames,
				index: i,
				cert:  ca,
				expected: fmt.Sprintf("at most %d name constraints on URI, DNS, IP, mail and directory names, without "+
					"minimum and maximum", maxConstraints),
				found: err.Error(),
				err:   err,
			}
		}

		for below, c := range path[:i] {
			if below > 0 && selfIssued(c) {
				continue
			}
			if f := checkNamesUnder(ca, subtrees, c); f != nil {
				f.index, f.cert = below, c
				return f
			}
		}
	}

	return nil
}

// checkNamesUnder applies the constraints of one CA to the names of one
// certificate below it.
func checkNamesUnder(ca *x509.Certificate, subtrees *subtrees, c *x509.Certificate) *certFault {
	uris, err := RawSANURIs(c)
	var names []distinguishedName
	if err == nil {
		names, err = directoryNames(c)
	}
	if err != nil {
		return &certFault{
			check:    checkCertForm,
			expected: "a readable subject and Subject Alternative Name",
			found:    err.Error(),
			err:      err,
		}
	}

	err = mailWithin(ca, mailAddresses(c))
	for _, u := range uris {
		if e := withinConstraints(ca, u); e != nil {
			err = e
		}
	}

	for _, n := range names {
		if e := subtrees.permit(n); e != nil {
			err = e
		}
	}

	if err == nil {
		return nil
	}

	return &certFault{
		check:    checkCertNames,
		expected: "names that its issuer " + jose.CertName(ca) + " may give",
		found:    err.Error(),
		err:      err,
	}
}

// directoryNames returns the subject of a certificate, if it is not empty, and
// the directory names of its Subject Alternative Name.
func directoryNames(c *x509.Certificate) ([]distinguishedName, error) {
	var out []distinguishedName
	subject, err := parseName(c.RawSubject)
	if err != nil {
		return nil, fmt.Errorf("the subject: %w", err)
	}

	if len(subject) > 0 {
		out = append(out, subject)
	}

	value, err := extensionValue(c, oidSubjectAltName)
	if err != nil || value == nil {
		return out, err
	}

	san, err := elements(value)
	if err != nil {
		return nil, fmt.Errorf("the Subject Alternative Name: %w", err)
	}

	for _, n := range san {
		if n.Class != asn1.ClassContextSpecific || n.Tag != tagDirectoryName {
			continue
		}

		name, err := parseName(n.Bytes)
		if err != nil {
			return nil, fmt.Errorf("a directory name of the Subject Alternative Name: %w", err)
		}
		out = append(out, name)
	}

	return out, nil
}

// tagDirectoryName is the tag of a directory name among the GeneralNames.
const tagDirectoryName = 4

// subtrees are the constraints of one CA on directory names.
type subtrees struct {
	permitted, excluded []distinguishedName
}

// permit returns why a name is not allowed.
func (s *subtrees) permit(n distinguishedName) error {
	shown := trace.Cut(strings.Join(n, ", "), 200)
	if slices.ContainsFunc(s.excluded, n.within) {
		return fmt.Errorf("the directory name %q is excluded", shown)
	}
	if len(s.permitted) > 0 && !slices.ContainsFunc(s.permitted, n.within) {
		return fmt.Errorf("the directory name %q is not within the permitted ones", shown)
	}
	return nil
}

// directorySubtrees parses the name constraints of a CA and returns those on
// directory names; Go has parsed the others. It refuses constraints of kinds
// that are not applied here (Go ignores them unless they are critical), too
// many of them, and any with minimum or maximum.
func directorySubtrees(ca *x509.Certificate) (*subtrees, error) {
	understood := len(ca.PermittedDNSDomains) + len(ca.ExcludedDNSDomains) +
		len(ca.PermittedURIDomains) + len(ca.ExcludedURIDomains) +
		len(ca.PermittedIPRanges) + len(ca.ExcludedIPRanges) +
		len(ca.PermittedEmailAddresses) + len(ca.ExcludedEmailAddresses)
	if understood > maxConstraints {
		return nil, fmt.Errorf("%d name constraints", understood)
	}

	value, err := extensionValue(ca, oidNameConstraints)
	if err != nil {
		return nil, err
	}

	var nc struct {
		Permitted []asn1.RawValue `asn1:"optional,tag:0"`
		Excluded  []asn1.RawValue `asn1:"optional,tag:1"`
	}
	rest, err := asn1.Unmarshal(value, &nc)
	if err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("name constraints that cannot be parsed (%v)", err)
	}

	all := len(nc.Permitted) + len(nc.Excluded)
	if all > maxConstraints {
		return nil, fmt.Errorf("%d name constraints", all)
	}

	out := &subtrees{}
	if out.permitted, err = directoryBases(nc.Permitted); err != nil {
		return nil, err
	}
	if out.excluded, err = directoryBases(nc.Excluded); err != nil {
		return nil, err
	}

	understood += len(out.permitted) + len(out.excluded)
	if all != understood {
		return nil, fmt.Errorf("%d name constraints, of which %d are of a kind that is not understood", all,
			all-understood)
	}

	return out, nil
}

// directoryBases returns the bases of those GeneralSubtrees that are directory
// names. minimum must be zero and maximum absent in all of them (RFC 5280
// 4.2.1.10).
func directoryBases(list []asn1.RawValue) ([]distinguishedName, error) {
	var out []distinguishedName
	for _, subtree := range list {
		parts, err := elements(subtree.FullBytes)
		if err != nil || len(parts) == 0 {
			return nil, fmt.Errorf("a name constraint that cannot be parsed (%v)", err)
		}

		for _, p := range parts[1:] {
			zero := p.Tag == 0 && len(p.Bytes) == 1 && p.Bytes[0] == 0
			if p.Class != asn1.ClassContextSpecific || !zero {
				return nil, errors.New("a name constraint with minimum or maximum")
			}
		}

		base := parts[0]
		if base.Class != asn1.ClassContextSpecific || base.Tag != tagDirectoryName {
			continue
		}

		name, err := parseName(base.Bytes)
		if err != nil {
			return nil, fmt.Errorf("a name constraint on a directory name that cannot be parsed: %w", err)
		}
		out = append(out, name)
	}

	return out, nil
}

// withinConstraints applies the constraints of one CA to one URI name. The limits of a CA on
// DNS names apply to the hosts of URIs too if it has none on URIs: otherwise it
// could name any host.
func withinConstraints(ca *x509.Certificate, uri string) error {
	kind, match := "URI", matchURIHost
	permitted, excluded := ca.PermittedURIDomains, ca.ExcludedURIDomains
	if len(permitted)+len(excluded) == 0 {
		kind, match = "DNS", matchDNSHost
		permitted, excluded = ca.PermittedDNSDomains, ca.ExcludedDNSDomains
	}
	if len(permitted)+len(excluded) == 0 {
		return nil
	}

	host, err := constrainedHost(uri)
	if err != nil {
		return fmt.Errorf("URI name %q under name constraints: %w", trace.Cut(uri, 200), err)
	}
	if c, ok := matchAny(host, excluded, match); ok {
		return fmt.Errorf("URI name %q is excluded by the %s constraint %q", trace.Cut(uri, 200), kind, c)
	}
	if _, ok := matchAny(host, permitted, match); !ok && len(permitted) > 0 {
		return fmt.Errorf("URI name %q is not within the %s constraints %q", trace.Cut(uri, 200), kind,
			permitted)
	}

	return nil
}

// mailWithin applies the constraints of one CA to mail addresses: a constraint
// is one mailbox, all mailboxes of one host, or (with a leading dot) all of the
// hosts below a domain. Go treats the second as the third.
func mailWithin(ca *x509.Certificate, addresses []string) error {
	for _, a := range addresses {
		match := func(_, constraint string) bool { return matchMail(a, constraint) }
		if c, ok := matchAny(a, ca.ExcludedEmailAddresses, match); ok {
			return fmt.Errorf("mail address %q is excluded by %q", trace.Cut(a, 100), c)
		}
		if p := ca.PermittedEmailAddresses; len(p) > 0 {
			if _, ok := matchAny(a, p, match); !ok {
				return fmt.Errorf("mail address %q is not within %q", trace.Cut(a, 100), p)
			}
		}
	}

	return nil
}

func matchMail(address, constraint string) bool {
	at := strings.LastIndex(address, "@")
	if strings.Contains(constraint, "@") {
		return strings.EqualFold(address, constraint)
	}
	return matchURIHost(strings.ToLower(address[at+1:]), constraint)
}

// constrainedHost returns the host of a URI to which constraints apply. RFC
// 5280: a URI without an authority, or with an IP address for host, is refused.
func constrainedHost(uri string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", err
	}
	if u.User != nil || strings.Contains(uriAuthority(uri), "@") {
		return "", fmt.Errorf("it has user information")
	}

	host := strings.ToLower(u.Hostname())
	if host == "" || strings.ContainsAny(host, "%\\") || strings.HasSuffix(host, ".") {
		return "", fmt.Errorf("it has no plain host name")
	}
	if strings.Contains(u.Host, "[") {
		return "", fmt.Errorf("its host is an IP address")
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return "", fmt.Errorf("its host is an IP address")
	}

	return host, nil
}

func matchAny(host string, constraints []string, match func(host, constraint string) bool) (string, bool) {
	for _, c := range constraints {
		if match(host, strings.ToLower(c)) {
			return c, true
		}
	}
	return "", false
}

// matchURIHost: ".example.com" means hosts below it, "example.com" that host
// alone (RFC 5280 4.2.1.10).
func matchURIHost(host, constraint string) bool {
	if strings.HasPrefix(constraint, ".") {
		return strings.HasSuffix(host, constraint) && len(host) > len(constraint)
	}
	return host == constraint
}

// matchDNSHost: a DNS constraint covers the name and everything below it; the
// empty one covers all.
func matchDNSHost(host, constraint string) bool {
	constraint = strings.TrimPrefix(constraint, ".")
	return constraint == "" || host == constraint || strings.HasSuffix(host, "."+constraint)
}

// secondOpinion asks Go's verifier about exactly this path when it has name
// constraints or policy rules: Go knows policy trees (RFC 5280 6.1) and
// constraints on DNS names and IP addresses.
func secondOpinion(path []*x509.Certificate, now time.Time) *certFault {
	if !constrained(path) {
		return nil
	}

	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // an empty list would mean serverAuth
	}
	opts.Roots.AddCert(forGo(path[len(path)-1]))

	for _, c := range path[1 : len(path)-1] {
		opts.Intermediates.AddCert(forGo(c))
	}

	if _, err := forGo(path[0]).Verify(opts); err != nil {
		return &certFault{
			check:    checkCertPolicy,
			expected: "a path whose names and policies are valid",
			found:    err.Error(),
			err:      err,
		}
	}

	return nil
}

// forGo returns a copy of a certificate without the rules that were applied here
// and that Go would apply in another way: it compares names byte for byte,
// counts self-issued CAs towards path lengths, knows no constraints on
// directory names, and reads those on mail addresses and URIs differently. The
// signed bytes are the same, so the signatures are verified once more.
func forGo(c *x509.Certificate) *x509.Certificate {
	out := *c
	out.RawSubject, out.RawIssuer = []byte(nameKey(c.RawSubject)), []byte(nameKey(c.RawIssuer))
	out.MaxPathLen, out.MaxPathLenZero = -1, false
	out.PermittedEmailAddresses, out.ExcludedEmailAddresses = nil, nil
	out.PermittedURIDomains, out.ExcludedURIDomains = nil, nil
	out.UnhandledCriticalExtensions = unhandled(c)
	return &out
}

// unhandled returns the critical extensions of a certificate that neither Go nor
// this package processes.
func unhandled(c *x509.Certificate) []asn1.ObjectIdentifier {
	return slices.DeleteFunc(slices.Clone(c.UnhandledCriticalExtensions), oidNameConstraints.Equal)
}

// anyPolicy is the policy under which a CA may issue under all (RFC 5280 4.2.1.4).
const anyPolicy = "2.5.29.32.0"

// checkPolicies applies the community's list, if it has one: the leaf must
// carry one of them, and every CA between it and the anchor that one or
// anyPolicy. Mappings between policies are not followed.
func checkPolicies(path []*x509.Certificate, wanted []string) *certFault {
	if len(wanted) == 0 {
		return nil
	}

	for _, w := range wanted {
		if allCarry(path, w) {
			return nil
		}
	}

	var have []string
	for _, p := range path[0].Policies {
		have = append(have, p.String())
	}

	return &certFault{
		check:    checkCertPolicy,
		index:    0,
		cert:     path[0],
		expected: "a path valid for one of the policies " + strings.Join(wanted, ", "),
		found:    "the leaf's policies " + list(have),
	}
}

func allCarry(path []*x509.Certificate, policy string) bool {
	for i, c := range path[:len(path)-1] {
		if !slices.ContainsFunc(c.Policies, func(p x509.OID) bool {
			return p.String() == policy || i > 0 && p.String() == anyPolicy
		}) {
			return false
		}
	}
	return true
}

func constrained(path []*x509.Certificate) bool {
	for _, c := range path {
		for _, e := range c.Extensions {
			if e.Id.Equal(oidNameConstraints) || e.Id.Equal(oidPolicyMappings) ||
				e.Id.Equal(oidPolicyConstraints) ||
				e.Id.Equal(oidInhibitAnyPolicy) {
				return true
			}
		}
	}

	return false
}
