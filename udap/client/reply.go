package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fhirdest.example/udap/trace"
)

// Reply is an answer of the destination as it came.
type Reply struct {
	Status      int    `json:"status"`
	ContentType string `json:"contentType,omitempty"`
	TraceID     string `json:"traceId,omitempty"` // the destination's own record of its decision
	Body        []byte `json:"-"`

	header http.Header
}

const formType = "application/x-www-form-urlencoded"

const (
	maxAnswer   = 1 << 20  // bytes of a protocol answer
	maxResource = 64 << 20 // bytes of a FHIR answer
	skewAllowed = 60 * time.Second
)

func randomJTI() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails (Go 1.24)
	return hex.EncodeToString(b[:])
}

// postTo posts a body to an endpoint that the metadata names, for JSON.
func (c *Client) postTo(ctx context.Context, tr *trace.Trace, endpoint, mediaType string, body []byte) (*Reply, error) {
	req, err := http.NewRequest(http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, stop(tr, checkConnect, "an endpoint that can be posted to", err.Error(), "")
	}

	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Accept", "application/json")
	if mediaType == formType { // a registration is signed already
		if err := c.cfg.Proofs.prove(req, "", c.cfg.Now()); err != nil {
			return nil, stop(tr, checkConnect, "a DPoP proof", err.Error(), "")
		}
	}

	return c.send(ctx, tr, req, maxAnswer)
}

// send makes one request and reads the answer whole. A redirect comes back as
// what it is; nothing is followed.
func (c *Client) send(ctx context.Context, tr *trace.Trace, req *http.Request, most int64) (*Reply, error) {
	res, err := c.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, c.unreachable(tr, req.URL, err)
	}
	defer res.Body.Close()

	tr.Pass(checkConnect, "", shownURL(req.URL)+tlsShown(c.lastTLS.Load()))
	c.compareClocks(tr, res.Header.Get("Date"))
	body, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	if err != nil {
		return nil, tr.Refuse(checkBody, CodeStopped, trace.Finding{
			Expected: "a whole answer",
			Found:    err.Error(),
			Remedy:   "an intermediary or the destination broke the connection; try again",
			Err:      &NoAnswer{err},
		})
	}
	if int64(len(body)) > most {
		return nil, stop(tr, checkBody, fmt.Sprintf("at most %d bytes", most), "more", "")
	}

	return &Reply{
		Status:      res.StatusCode,
		ContentType: res.Header.Get("Content-Type"),
		TraceID:     res.Header.Get("Trace-Id"),
		Body:        body,
		header:      res.Header,
	}, nil
}

// shownURL leaves out what may be private: the query of a search.
func shownURL(u *url.URL) string {
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}

func tlsShown(s *tls.ConnectionState) string {
	if s == nil || len(s.PeerCertificates) == 0 {
		return ""
	}
	return fmt.Sprintf(", %s, certificate of %s", tls.VersionName(s.Version), s.PeerCertificates[0].Subject)
}

// compareClocks warns when Date and our clock lie apart: every time claim
// that we sign will look wrong there.
func (c *Client) compareClocks(tr *trace.Trace, date string) {
	theirs, err := http.ParseTime(date)
	if err != nil {
		tr.Skip(checkClock, "the answer has no Date")
		return
	}

	ours := c.cfg.Now()
	ahead := ours.Sub(theirs).Round(time.Second)
	if ahead.Abs() <= skewAllowed {
		tr.Pass(checkClock, "", "")
		return
	}
	tr.Warn(checkClock, trace.Finding{
		Expected: theirs.UTC().Format(time.RFC3339) + " by the destination's clock",
		Found:    ours.UTC().Format(time.RFC3339) + " by ours",
		Remedy:   clockRemedy(ahead),
	})
}

func clockRemedy(ahead time.Duration) string {
	if ahead > 0 {
		return fmt.Sprintf("our clock is %d s ahead of the destination's: set it, or iat will lie in the future there",
			int(ahead.Seconds()))
	}
	return fmt.Sprintf("our clock is %d s behind the destination's: set it, or exp will have passed there",
		int(-ahead.Seconds()))
}

// unreachable records why no answer came.
func (c *Client) unreachable(tr *trace.Trace, u *url.URL, err error) error {
	found, remedy := unreached{&c.cfg}.connectFault(u.Hostname(), err)
	return tr.Refuse(checkConnect, CodeStopped, trace.Finding{
		Expected: "an answer from " + shownURL(u), Found: found, Remedy: remedy, Err: &NoAnswer{err},
	})
}

// NoAnswer is the cause of a refusal where no answer came, or not the whole of one: the
// connection was not made, broke, or did not end in time. Nothing can be concluded
// from it about who runs the server, unless Err is a *tls.CertificateVerificationError.
type NoAnswer struct {
	Err error
}

func (e *NoAnswer) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *NoAnswer) Unwrap() error { return e.Err }

// unreached explains why a connection was not made.
type unreached struct{ cfg *Config }

func (c unreached) connectFault(host string, err error) (found, remedy string) {
	var cert *tls.CertificateVerificationError
	var dns *net.DNSError
	var op *net.OpError
	var head tls.RecordHeaderError
	switch {
	case errors.As(err, &cert):
		return c.certificateFault(host, cert)
	case errors.As(err, &head):
		return "what answers there does not speak TLS", "is it a plain http port?"
	case errors.As(err, &dns):
		return "the name " + dns.Name + " has no address", "check the base URL, or name an address to connect to"
	case errors.As(err, &op) && op.Op == "remote error":
		return fmt.Sprintf("what listens there ended the TLS handshake for the name %s: %v", c.serverName(host),
				op.Err),
			"commonly it has no certificate of that name: check the base URL's host, or the TLS name"

	case errors.As(err, &op) && op.Op == "dial":
		return op.Error(), "nothing listens there, or a firewall stands between; is the gateway or destination up?"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time", "the gateway's next hop may be down: ask its operator for the evidence line " +
			"of this time"
	}

	return plain(err).Error(), ""
}

func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// serverName is the TLS name that was asked for.
func (c unreached) serverName(host string) string {
	if c.cfg.Dial != "" && c.cfg.DialName != "" {
		return c.cfg.DialName
	}
	return host
}

// certificateFault distinguishes TLS anchors from community anchors: the two are
// confused more often than either is wrong.
func (c unreached) certificateFault(host string, e *tls.CertificateVerificationError) (found, remedy string) {
	leaf := e.UnverifiedCertificates[0]
	var name x509.HostnameError
	var bad x509.CertificateInvalidError
	switch {
	case errors.As(e.Err, &name):
		return fmt.Sprintf("the web server's certificate is for %s, not for %s",
				strings.Join(leaf.DNSNames, ", "),
				c.serverName(host)),
			"check the host of the base URL; when dialling a private port, give its TLS name as well"

	case errors.As(e.Err, &bad) && bad.Reason == x509.Expired:
		return fmt.Sprintf("the web server's certificate counts from %s to %s and our clock says %s",
			trace.Stamp(leaf.NotBefore), trace.Stamp(
				leaf.NotAfter), trace.Stamp(c.cfg.Now())), "it has to be renewed, or our clock is wrong"

	case c.underCommunity(e.UnverifiedCertificates):
		return fmt.Sprintf("the web server's certificate (%s) was issued under an anchor of the trust community, "+
				"which is no TLS anchor here", leaf.Subject),
			"if that is meant, give the community's anchor as TLS anchor too; they are two separate lists"
	}

	return fmt.Sprintf("the web server's certificate (%s, issued by %s) leads to none of the TLS anchors",
			leaf.Subject, leaf.Issuer),
		"give the anchor of the web server's certificate; the anchors of the trust community are another matter"
}

// underCommunity reports whether a TLS chain leads to a community's anchor.
func (c unreached) underCommunity(chain []*x509.Certificate) bool {
	if c.cfg.Verifier == nil {
		return false
	}

	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, m := range c.cfg.Verifier.Communities {
		addAll(roots, m.Anchors)
		addAll(between, m.Intermediates)
	}

	addAll(between, chain[1:])
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: between,
		CurrentTime:   c.cfg.Now(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err == nil
}

func addAll(pool *x509.CertPool, certs []*x509.Certificate) {
	for _, c := range certs {
		pool.AddCert(c)
	}
}

// isJSON reports whether a media type is JSON, with or without parameters.
func isJSON(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && (t == "application/json" || strings.HasSuffix(t, "+json"))
}

// readObject reads the JSON object of an answer.
func readObject(tr *trace.Trace, r *Reply) (object, error) {
	o, err := parseObject(r.Body)
	if err != nil {
		return nil, tr.Refuse(checkBody, CodeStopped, trace.Finding{
			Expected: "one JSON object",
			Found:    "content type " + r.ContentType + ": " + err.Error(),
			Err:      err,
			Remedy:   "is this the right URL? A web page or a proxy's error page is no UDAP answer",
		})
	}
	if !isJSON(r.ContentType) {
		tr.Warn(checkBody, trace.Finding{
			Expected: "content type application/json",
			Found:    r.ContentType,
		})
		return o, nil
	}

	tr.Pass(checkBody, "", fmt.Sprintf("%d bytes", len(r.Body)))
	return o, nil
}
