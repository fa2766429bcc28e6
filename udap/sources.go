package udap

import (
	"context"
	"crypto/x509"
	"errors"
	"time"
)

// ErrUnavailable is the error of a source that could not ask because of this
// server: its load, or its own store. It is no information about a certificate:
// the verifier then refuses with temporarily_unavailable, under every policy.
var ErrUnavailable = errors.New("this server cannot look it up at present")

// StatusSource asks OCSP responders about certificates that have no list. Like
// a RevocationSource it is asked only about certificates whose path already
// leads to an anchor.
type StatusSource interface {
	Status(ctx context.Context, q StatusQuery) []StatusAnswer
}

// StatusQuery asks whether Certificate is revoked.
type StatusQuery struct {
	Certificate *x509.Certificate
	Issuer      *x509.Certificate // its issuer on the path that is being checked
	URLs        []string          // http(s) URLs of the certificate's responders
}

// StatusAnswer is the response of one responder, or why there is none. The
// verifier itself checks the response.
type StatusAnswer struct {
	URL      string
	Response []byte // DER of an OCSPResponse; nil when Err is set
	Fetched  time.Time
	Err      error
}

// IssuerSource fetches certificates of issuers that a client left out. It is
// asked before there is trust, and therefore only for URLs at an origin that
// the community's AIA list names: a stranger must not make this server fetch
// what it likes. What it returns is not trusted.
type IssuerSource interface {
	Issuers(ctx context.Context, url string) ([]*x509.Certificate, error)
}
