package udap

import (
	"crypto/x509"
	"encoding/asn1"
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

// checkNames applies the name constraints of every CA on the path to the URI
// names of every certificate below it, as RFC 5280 4.2.1.10 means them. Names of
// other kinds are left to the second opinion.
func checkNames(path []*x509.Certificate) *certFault {
	for i := len(path) - 1; i > 0; i-- {
		ca := path[i]
		if value, err := extensionValue(ca, oidNameConstraints); value == nil && err == nil {
			continue
		}
		if f := checkConstraintForm(ca, i); f != nil {
			return f
		}

		for j := range i {
			uris, err := RawSANURIs(path[j])
			if err != nil {
				return &certFault{
					check:    checkCertForm,
					index:    j,
					cert:     path[j],
					expected: "a readable Subject Alternative Name",
					found:    err.Error(),
				}
			}

			err = mailWithin(ca, path[j].EmailAddresses)
			for _, u := range uris {
				if e := withinConstraints(ca, u); e != nil {
					err = e
				}
			}

			if err != nil {
				return &certFault{
					check:    checkCertNames,
					index:    j,
					cert:     path[j],
					expected: "names that its issuer " + jose.CertName(ca) + " may give",
					found:    err.Error(),
				}
			}
		}
	}

	return nil
}

// checkConstraintForm refuses constraints of kinds that nobody here applies
// (Go ignores them when they are not critical) and too many of them.
func checkConstraintForm(ca *x509.Certificate, index int) *certFault {
	n := len(ca.PermittedDNSDomains) + len(ca.ExcludedDNSDomains) + len(
		ca.PermittedURIDomains) + len(ca.ExcludedURIDomains) +
		len(ca.PermittedIPRanges) + len(ca.ExcludedIPRanges) + len(
		ca.PermittedEmailAddresses) + len(ca.ExcludedEmailAddresses)
	value, err := extensionValue(ca, oidNameConstraints)
	if err == nil {
		err = onlyKnownConstraints(value, n)
	}
	if err != nil {
		return &certFault{
			check:    checkCertNames,
			index:    index,
			cert:     ca,
			expected: fmt.Sprintf("at most %d name constraints on URI, DNS, IP and email names", maxConstraints),
			found:    err.Error(),
		}
	}

	return nil
}

// onlyKnownConstraints counts the subtrees of the extension and compares with
// how many the parser understood.
func onlyKnownConstraints(value []byte, understood int) error {
	if understood > maxConstraints {
		return fmt.Errorf("%d name constraints", understood)
	}

	var nc struct {
		Permitted []asn1.RawValue `asn1:"optional,tag:0"`
		Excluded  []asn1.RawValue `asn1:"optional,tag:1"`
	}
	rest, err := asn1.Unmarshal(value, &nc)
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("name constraints that cannot be read (%v)", err)
	}
	if n := len(nc.Permitted) + len(nc.Excluded); n != understood {
		return fmt.Errorf("%d name constraints, of which %d are of a kind that is not understood", n, n-understood)
	}

	return nil
}

// withinConstraints judges one URI name against one CA. A CA that is limited in
// DNS names and not in URIs is held to that limit for the hosts of URIs: else
// it could name anybody.
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
		return fmt.Errorf("URI name %q is not within the %s constraints %q", trace.Cut(uri, 200), kind, permitted)
	}

	return nil
}

// mailWithin judges mail addresses against one CA: a constraint is one mailbox,
// all on one host, or (with a leading dot) all on hosts below a domain. Go takes
// the second for the third.
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

// constrainedHost returns the host of a URI that stands under constraints. RFC
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

// secondOpinion asks Go's verifier about exactly this path when it carries name
// constraints or policy rules. It knows policy trees (RFC 5280 6.1) and
// constraints on DNS, IP and email names; both verifiers must accept.
func secondOpinion(path []*x509.Certificate, now time.Time) *certFault {
	if !constrained(path) {
		return nil
	}

	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // an empty list would mean serverAuth
	}
	opts.Roots.AddCert(path[len(path)-1])
	for _, c := range path[1 : len(path)-1] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := path[0].Verify(opts); err != nil {
		return &certFault{
			check:    checkCertPolicy,
			expected: "a path whose names and policies are valid",
			found:    err.Error(),
			err:      err,
		}
	}

	return nil
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
			if e.Id.Equal(oidNameConstraints) || e.Id.Equal(oidPolicyMappings) || e.Id.Equal(oidPolicyConstraints) ||
				e.Id.Equal(oidInhibitAnyPolicy) {
				return true
			}
		}
	}
	return false
}
