package udap

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"weak"

	"fhirdest.example/udap/trace"
)

// maxListURLs bounds how many distribution points of a certificate are used.
const maxListURLs = 8

// status is what is known about one certificate of a path.
type status struct {
	revoked bool
	known   bool
	text    string // what was looked at, with the outcome of each list
	err     error
}

// revocationOf checks every certificate of a path but the anchor, against the
// issuer that it has on this path. It stops at the first that is not good; where
// an unknown status would be let pass, at the first that is revoked.
func (v *Verifier) revocationOf(
	ctx context.Context, c *Community, path []*x509.Certificate, now time.Time,
) (notes string, f *certFault, unknown bool) {
	var room [512]byte
	all := room[:0]
	for i, cert := range path[:len(path)-1] {
		st := v.statusOf(ctx, c, cert, path[i+1], now)
		if st.revoked || !st.known && f == nil {
			expected := "a certificate that is known not to be revoked"
			f = &certFault{
				check:    checkRevocation,
				index:    i,
				cert:     cert,
				expected: expected,
				found:    st.text,
				remedy:   revocationRemedy(st),
				err:      st.err,
			}
		}

		if st.revoked || f != nil && c.Policy.Revocation != RevocationSoft {
			return "", f, !st.revoked
		}

		if i > 0 {
			all = append(all, "; "...)
		}
		all = append(all, "certificate "...)
		all = strconv.AppendInt(all, int64(i), 10)
		all = append(all, ": "...)
		all = append(all, st.text...)
	}

	return string(all), f, f != nil
}

func revocationRemedy(st status) string {
	if errors.Is(st.err, ErrUnavailable) {
		return "try again; this server could not ask in time"
	}
	if st.revoked {
		return "ask the community for a new certificate; the same URI name keeps the registration"
	}
	return "publish a current list at the certificate's distribution point, signed by its issuer; then try again"
}

// statusOf asks the source and checks each CRL that it returns: any usable one
// that names the certificate revokes it; one usable list that does not clears it.
func (v *Verifier) statusOf(ctx context.Context, c *Community, cert, issuer *x509.Certificate, now time.Time) status {
	if v.Revocation == nil {
		return status{text: "no source of revocation lists is configured"}
	}

	q := CRLQuery{
		Community:   c.URI,
		Certificate: cert,
		Issuer:      issuer,
		URLs:        v.factsOf(cert).lists,
	}
	var out status
	var few [4]string
	texts := few[:0]
	for _, a := range v.Revocation.CRLs(ctx, q) {
		if a.Err != nil || a.List == nil {
			out.err = errors.Join(out.err, a.Err)
			texts = append(texts, fmt.Sprintf("%s: not available (%v)", shownURL(a.URL), a.Err))
			continue
		}

		text, good, err := v.clearedBy(a, cert, issuer, now)
		texts = append(texts, text)
		if err == nil {
			out.known = true
			out.revoked = out.revoked || !good
		}
	}

	switch {
	case len(texts) > 0:
		out.text = strings.Join(texts, "; ")
	case len(q.URLs) > 0:
		out.text = "no list from " + strings.Join(q.URLs, ", ")
	default:
		out.text = "no list: the certificate names no http distribution point and none is configured for its issuer"
	}
	if out.known || len(q.URLs) > 0 || v.Status == nil || len(webURLs(cert.OCSPServer, 1)) == 0 {
		return out
	}

	// The configured lists, if there are any, may be those of other issuers.
	asked := v.byResponder(ctx, cert, issuer, now)
	if !asked.known && len(texts) > 0 {
		asked.text, asked.err = out.text+"; "+asked.text, errors.Join(out.err, asked.err)
	}
	return asked
}

// clearedKey is one certificate that one list does not name.
type clearedKey struct {
	cert, issuer *x509.Certificate
	list         weak.Pointer[x509.RevocationList]
}

// cleared is the description of that. The dates of the CRL are checked each time.
type cleared struct {
	url     string
	fetched time.Time
	text    string
}

// clearedBy reports whether a CRL clears the certificate, and describes it.
func (v *Verifier) clearedBy(
	a CRLAnswer, cert, issuer *x509.Certificate, now time.Time,
) (text string, good bool, err error) {
	k := clearedKey{cert, issuer, weak.Make(a.List)}
	if c, ok := v.memory.cleared.get(k); ok && c.url == a.URL && c.fetched.Equal(a.Fetched) &&
		checkCRLDates(a.List, now) == nil {
		return c.text, true, nil
	}

	entry, err := v.findInCRL(a.List, cert, issuer, now)
	text, good = showCRL(a)+showEntry(entry, err), err == nil && entry == nil
	if good {
		v.memory.cleared.put(k, &cleared{a.URL, a.Fetched, text}, maxCachedCerts)
	}

	return text, good, err
}

// findInCRL returns the entry of the certificate, nil when the list is usable
// and does not have it, or why the CRL does not count for it.
func (v *Verifier) findInCRL(
	list *x509.RevocationList, cert, issuer *x509.Certificate, now time.Time,
) (*x509.RevocationListEntry, error) {
	if err := checkCRLDates(list, now); err != nil {
		return nil, err
	}

	checked := v.checkedCRL(list, issuer)
	if checked.err != nil {
		return nil, checked.err
	}
	if err := checked.scope.covers(cert); err != nil {
		return nil, err
	}
	if i, ok := checked.entries[string(cert.SerialNumber.Bytes())]; ok {
		return &list.RevokedCertificateEntries[i], nil
	}
	if list.Number == nil {
		return nil, errors.New("it has no CRL number (RFC 5280 5.2.3), so it clears no certificate")
	}

	return nil, nil
}

// checkedCRL is a CRL whose signature and form were checked against one issuer.
type checkedCRL struct {
	scope   crlScope
	entries map[string]int // serial to index
	err     error
}

func checkCRLOnce(list *x509.RevocationList, issuer *x509.Certificate) *checkedCRL {
	if err := checkCRLForm(list, issuer); err != nil {
		return &checkedCRL{err: err}
	}

	out := &checkedCRL{entries: make(map[string]int, len(list.RevokedCertificateEntries))}
	out.scope, out.err = scopeOf(list)
	for i := range list.RevokedCertificateEntries {
		out.entries[string(list.RevokedCertificateEntries[i].SerialNumber.Bytes())] = i
	}

	return out
}

func crlURLs(cert *x509.Certificate) []string {
	return webURLs(cert.CRLDistributionPoints, maxListURLs)
}

// webURLs returns the URLs that can be fetched, at most so many. They must be
// printable ASCII, which no parser has checked in a certificate's extension.
func webURLs(urls []string, most int) []string {
	var out []string
	for _, u := range urls {
		if !trace.PlainASCII(u) {
			continue
		}
		if p, err := url.Parse(u); err == nil && (p.Scheme == "http" || p.Scheme == "https") &&
			len(out) < most {
			out = append(out, u)
		}
	}

	return out
}

func shownURL(u string) string {
	if u == "" {
		return "the configured list"
	}
	return trace.Cut(u, 200)
}

// showCRL describes a CRL so that a person can recognise a stale or wrong one.
func showCRL(a CRLAnswer) string {
	number := "without a number"
	if a.List.Number != nil {
		number = "number " + a.List.Number.String()
	}
	age := ""
	if !a.Fetched.IsZero() {
		age = ", fetched at " + trace.Stamp(a.Fetched)
	}

	return fmt.Sprintf("list %s from %s (%s to %s%s): ", number, shownURL(a.URL),
		trace.Stamp(a.List.ThisUpdate),
		trace.Stamp(a.List.NextUpdate), age)
}

func showEntry(entry *x509.RevocationListEntry, err error) string {
	switch {
	case err != nil:
		return "not usable: " + err.Error()
	case entry != nil:
		return fmt.Sprintf("revoked at %s, reason %s", trace.Stamp(entry.RevocationTime),
			reasonShown(entry.ReasonCode))
	}
	return "not revoked"
}

var revocationReasons = map[int]string{
	0: "unspecified", 1: "keyCompromise", 2: "cACompromise", 3: "affiliationChanged", 4: "superseded",
	5: "cessationOfOperation", 6: "certificateHold", 8: "removeFromCRL", 9: "privilegeWithdrawn", 10: "aACompromise",
}

func reasonShown(code int) string {
	if name, ok := revocationReasons[code]; ok {
		return name
	}
	return fmt.Sprint(code)
}
