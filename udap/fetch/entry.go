package fetch

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"fhirdest.example/udap"
	"fhirdest.example/udap/trace"
)

// entry is what is known of one list. Its fields are guarded by Source.mu;
// key and issuer never change.
type entry struct {
	key     key
	issuer  *x509.Certificate
	list    *x509.RevocationList // nil until one was had
	fetched time.Time            // when list came
	given   []udap.CRLAnswer     // what answer returns while list counts; nil: not made yet
	tried   time.Time            // when the last fetch of this process ended
	err     error                // how the last fetch failed; nil when it did not
	used    time.Time            // when it was last asked for
	flight  *flight              // the fetch under way or waiting for its slot; nil when there is none
	odd     string               // a warning about the list that counts; empty when there is none

	kept *x509.RevocationList // the list that the store has; only the fetch under way looks at it
}

// keep replaces the list.
func (e *entry) keep(list *x509.RevocationList, fetched time.Time) {
	e.list, e.fetched, e.given = list, fetched, nil
}

// usable reports whether the list still counts. RFC 5280 6.3.3: not past nextUpdate.
func (e *entry) usable(now time.Time) bool {
	return e.list != nil && now.Before(e.list.NextUpdate)
}

// due reports whether a fetch should start: always at first (a stored list is
// looked at again at each start), then every refresh, sooner while there is
// no list that counts.
func (e *entry) due(now time.Time, refresh time.Duration) bool {
	if e.tried.IsZero() {
		return true
	}
	if !e.usable(now) {
		refresh = min(refresh, longestWait)
	}
	return now.Sub(e.tried) >= refresh
}

// land forgets a flight that has ended. The caller holds Source.mu.
func (e *entry) land(f *flight) {
	if e.flight == f {
		e.flight = nil
	}
}

func (e *entry) size() int64 {
	if e.list == nil {
		return 0
	}
	return int64(len(e.list.Raw))
}

// answer returns the CRL if it counts, and otherwise why there is none, as the one
// element of a slice that never changes. f is the flight that the caller waited for, if
// any.
func (e *entry) answer(now time.Time, f *flight) []udap.CRLAnswer {
	if !e.usable(now) {
		err := f.missed()
		if err == nil {
			err = e.reason(now)
		}
		return []udap.CRLAnswer{{
			URL: e.key.place,
			Err: err,
		}}
	}

	if e.given == nil {
		e.given = []udap.CRLAnswer{{
			URL:     e.key.place,
			List:    e.list,
			Fetched: e.fetched,
		}}
	}
	return e.given
}

// reason returns why there is no CRL that counts: none was ever fetched, or the
// last one has expired and no newer one came.
func (e *entry) reason(now time.Time) error {
	err := e.err
	if err == nil {
		err = errNotEnded
	}
	if e.list == nil {
		return err
	}

	return fmt.Errorf("list %s ran out %s ago (this update %s, next update %s) and no newer one came: %w",
		number(e.list), now.Sub(
			e.list.NextUpdate).Round(time.Second), trace.Stamp(e.list.ThisUpdate), trace.Stamp(e.list.NextUpdate), err)
}

func number(l *x509.RevocationList) string {
	if l.Number == nil {
		return "without a number"
	}
	return "number " + l.Number.String()
}

// errOtherIssuer: a configured list may belong to another issuer of the same
// community; that is no fault.
var errOtherIssuer = errors.New("the list is of another issuer")

// maxNumber is the greatest length of a list's number (RFC 5280 5.2.3: 20 octets).
const maxNumber = 20

// parse reads a list (DER, or PEM as some servers send it) and checks that it
// is genuine for its issuer and counts now.
func parse(data []byte, issuer *x509.Certificate, now time.Time) (*x509.RevocationList, error) {
	der, err := onlyCRL(data)
	if err != nil {
		return nil, err
	}

	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("the content is not a certificate revocation list: %w", err)
	}
	if !udap.SameName(list.RawIssuer, issuer.RawSubject) {
		return nil, fmt.Errorf("%w: %q, not %q", errOtherIssuer, list.Issuer, issuer.Subject)
	}
	if err := udap.CheckCRL(list, issuer, now); err != nil {
		return nil, fmt.Errorf("list %s is not used: %w", number(list), err)
	}

	return list, nil
}

// onlyCRL returns the DER of the one CRL that data holds, as DER or as PEM.
// Anything after it is refused: a second CRL could hold the revocation that the
// first one lacks.
func onlyCRL(data []byte) ([]byte, error) {
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("-----BEGIN")) {
		block, rest := pem.Decode(data)
		switch {
		case block == nil || block.Type != "X509 CRL":
			return nil, errors.New("the content is PEM, but not an X509 CRL")
		case len(bytes.TrimSpace(rest)) > 0:
			return nil, errors.New("the content goes on after the first CRL; publish one CRL at each address")
		}

		data = block.Bytes
	}

	var whole asn1.RawValue
	rest, err := asn1.Unmarshal(data, &whole)
	if err != nil {
		return nil, fmt.Errorf("the content is not a certificate revocation list: %w", err)
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes follow the CRL; publish one CRL, and nothing else, at each address",
			len(rest))
	}

	return data, nil
}

// newer refuses to roll a CRL back. RFC 5280 6.3.3 goes by thisUpdate, so a CRL
// with a later one counts, whatever its number; the returned warning reports a
// number that fell or is missing (RFC 5280 5.2.3). Of two with the same
// thisUpdate, the number decides.
func newer(old, next *x509.RevocationList) (warning string, err error) {
	if next.Number != nil && (next.Number.Sign() < 0 || len(next.Number.Bytes()) > maxNumber) {
		return "", fmt.Errorf("the CRL number is not one of at most %d octets", maxNumber)
	}
	if old == nil {
		return missingNumber(next), nil
	}

	fell := numberOf(next).Cmp(numberOf(old)) < 0
	if next.ThisUpdate.Before(old.ThisUpdate) || fell && next.ThisUpdate.Equal(old.ThisUpdate) {
		return "", fmt.Errorf("the CRL that was fetched (%s, this update %s) is older than the one known "+
			"(%s, this update %s): the known one is still used",
			number(next), trace.Stamp(next.ThisUpdate), number(old), trace.Stamp(old.ThisUpdate))
	}
	if next.Number != nil && fell {
		return fmt.Sprintf("the CRL number fell from %s to %s although this update is later; "+
			"the issuer must never reuse numbers (RFC 5280 5.2.3)", numberOf(old), next.Number), nil
	}

	return missingNumber(next), nil
}

// Older reports whether a list may not follow another, since that would roll it back.
func Older(next, old *x509.RevocationList) bool {
	_, err := newer(old, next)
	return err != nil
}

// missingNumber warns of a CRL without a number. Such a CRL revokes, but clears
// nobody.
func missingNumber(l *x509.RevocationList) string {
	if l.Number != nil {
		return ""
	}
	return "the CRL has no number (RFC 5280 5.2.3): what it revokes is revoked, but it clears no certificate"
}

// numberOf orders a CRL without a number below every other.
func numberOf(l *x509.RevocationList) *big.Int {
	if l.Number == nil {
		return big.NewInt(-1)
	}
	return l.Number
}
