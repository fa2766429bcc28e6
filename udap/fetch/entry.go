package fetch

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"fhirdest.example/udap"
)

// entry is what is known of one list. Its fields are guarded by Source.mu;
// key and issuer never change.
type entry struct {
	key     key
	issuer  *x509.Certificate
	list    *x509.RevocationList // nil until one was had
	fetched time.Time            // when list came
	tried   time.Time            // when the last fetch of this process ended
	err     error                // how the last fetch failed; nil when it did not
	used    time.Time            // when it was last asked for
	flight  chan struct{}        // closed when the fetch under way ends; nil when none is

	kept *x509.RevocationList // the list that the store has; only the fetch under way looks at it
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

func (e *entry) size() int64 {
	if e.list == nil {
		return 0
	}
	return int64(len(e.list.Raw))
}

func (e *entry) answer(now time.Time) udap.CRLAnswer {
	a := udap.CRLAnswer{URL: e.key.place}
	if e.usable(now) {
		a.List, a.Fetched = e.list, e.fetched
		return a
	}
	a.Err = e.reason(now)
	return a
}

// reason says why there is no list: that the last one ran out, and why no
// other came.
func (e *entry) reason(now time.Time) error {
	err := e.err
	if err == nil {
		err = errors.New("the fetch has not ended yet")
	}
	if e.list == nil {
		return err
	}
	return fmt.Errorf("list %s ran out %s ago (this update %s, next update %s) and no newer one came: %w",
		number(e.list), now.Sub(
			e.list.NextUpdate).Round(time.Second), stamp(e.list.ThisUpdate), stamp(e.list.NextUpdate), err)
}

func number(l *x509.RevocationList) string {
	if l.Number == nil {
		return "without a number"
	}
	return "number " + l.Number.String()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// errOtherIssuer: a configured list may belong to another issuer of the same
// community; that is no fault.
var errOtherIssuer = errors.New("the list is of another issuer")

// maxNumber is the greatest length of a list's number (RFC 5280 5.2.3: 20 octets).
const maxNumber = 20

// parse reads a list (DER, or PEM as some servers send it) and checks that it
// is genuine for its issuer and counts now.
func parse(data []byte, issuer *x509.Certificate, now time.Time) (*x509.RevocationList, error) {
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("-----BEGIN")) {
		block, _ := pem.Decode(data)
		if block == nil || block.Type != "X509 CRL" {
			return nil, errors.New("what was fetched is PEM, but no X509 CRL")
		}
		data = block.Bytes
	}

	list, err := x509.ParseRevocationList(data)
	if err != nil {
		return nil, fmt.Errorf("what was fetched is no certificate revocation list: %w", err)
	}
	if !bytes.Equal(list.RawIssuer, issuer.RawSubject) {
		return nil, fmt.Errorf("%w: %q, not %q", errOtherIssuer, list.Issuer, issuer.Subject)
	}
	if err := udap.CheckCRL(list, issuer, now); err != nil {
		return nil, fmt.Errorf("list %s is not used: %w", number(list), err)
	}

	return list, nil
}

// newer refuses to roll a list back: neither number nor thisUpdate may fall.
func newer(old, next *x509.RevocationList) error {
	if next.Number != nil && (next.Number.Sign() < 0 || len(next.Number.Bytes()) > maxNumber) {
		return fmt.Errorf("the list's number is not one of at most %d octets", maxNumber)
	}
	if old == nil {
		return nil
	}
	if numberOf(next).Cmp(numberOf(old)) < 0 || next.ThisUpdate.Before(old.ThisUpdate) {
		return fmt.Errorf("the list that was fetched (%s, this update %s) is older than the one known (%s, this update %s): kept the known one",
			number(next), stamp(next.ThisUpdate), number(old), stamp(old.ThisUpdate))
	}

	return nil
}

// numberOf counts a list without a number below every other.
func numberOf(l *x509.RevocationList) *big.Int {
	if l.Number == nil {
		return big.NewInt(-1)
	}
	return l.Number
}
