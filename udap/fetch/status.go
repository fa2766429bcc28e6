package fetch

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"

	"fhirdest.example/udap"
)

const (
	maxStatuses    = 4096     // responses kept
	maxStatusBytes = 16 << 10 // of one: a response with its responder's certificate has 2 to 4 KB
)

// Status asks each responder, or returns its earlier response. A response
// is kept only once it is known to be genuine (udap.CheckOCSP).
func (s *Source) Status(ctx context.Context, q udap.StatusQuery) []udap.StatusAnswer {
	if q.Certificate == nil || q.Issuer == nil {
		return nil
	}

	urls := q.URLs[:min(len(q.URLs), maxPlaces)]
	answers := make([]udap.StatusAnswer, len(urls))
	var wg sync.WaitGroup

	for i, u := range urls {
		wg.Go(func() { answers[i] = s.status(ctx, u, q.Certificate, q.Issuer) })
	}

	wg.Wait()

	return answers
}

func (s *Source) status(ctx context.Context, place string, cert, issuer *x509.Certificate) udap.StatusAnswer {
	id := issuerID(issuer)
	key := hex.EncodeToString(id[:]) + " " + cert.SerialNumber.Text(16) + " " + place
	response, came, err := s.statuses.get(ctx, key, place, func() ([]byte, time.Time, error) {
		return s.askResponder(place, cert, issuer)
	})
	return udap.StatusAnswer{
		URL:      place,
		Response: response,
		Fetched:  came,
		Err:      err,
	}
}

// askResponder posts one request (RFC 6960 A.1). It runs in its own time, as
// others may wait for the same answer.
func (s *Source) askResponder(place string, cert, issuer *x509.Certificate) ([]byte, time.Time, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Timeout)
	defer cancel()
	u, err := target(place)
	if err != nil {
		return nil, time.Time{}, err
	}

	question, err := ocsp.CreateRequest(cert, issuer, nil)
	if err != nil {
		return nil, time.Time{}, err
	}

	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(question))
	if err != nil {
		return nil, time.Time{}, err
	}

	req.Header.Set("Content-Type", "application/ocsp-request")
	req.Header.Set("Accept", "application/ocsp-response")
	der, err := s.web.do(req, u, maxStatusBytes)
	if err != nil {
		return nil, time.Time{}, err
	}

	until, err := udap.CheckOCSP(der, cert, issuer, s.cfg.Now())
	return der, until, err
}
